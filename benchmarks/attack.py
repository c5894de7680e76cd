"""The attacks on the tool as an unattended service whose files come from others: a line each, and a table by point.

    python benchmarks/attack.py [--points 1 5] [--only NAMES]

An attack is a test that is marked `attack(point)`, and makes its files, its server and its secret itself. `held` means
that it did no harm: nothing was read that is not the input's own, no wrong pixel and no half file was left, and the
failure, if there was one, was one line. `python benchmarks/fuzz.py` damages files at random, beside these.
"""

from __future__ import annotations

import argparse
import sys
from collections import Counter
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).resolve().parents[1]

POINTS = {
    1: "files and addresses out of inputs",
    2: "a failed read is a failure",
    3: "identity is that of the pixels",
    4: "one file and the whole batch",
    5: "limits of size, memory and time",
    6: "workers",
    7: "links in shared folders",
    8: "weights and metadata",
    9: "words: secrets, forged lines, names",
    10: "numbers",
    11: "signals, renames, full logs",
}


class Attacks:
    """Chooses the tests that are attacks on some points, prints what became of each, and counts."""

    def __init__(self, points: list[int]) -> None:
        self.wanted, self.tries, self.failures = points, Counter[int](), Counter[int]()
        self.points: dict[str, int] = {}

    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        for item in items:
            if mark := item.get_closest_marker("attack"):
                self.points[item.nodeid] = mark.args[0]
        items[:] = [item for item in items if self.points.get(item.nodeid) in self.wanted]
        items.sort(key=lambda item: self.points[item.nodeid])

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.passed and report.when != "call":
            return
        point = self.points[report.nodeid]
        self.tries[point] += not report.skipped
        self.failures[point] += report.failed
        what = "FAILED" if report.failed else "skipped" if report.skipped else "held"
        print(f"{point:3d}  {what:8s}{report.nodeid.removeprefix('tests/')}", flush=True)


def attack(points: list[int], options: list[str]) -> Attacks:
    """Run all attacks on some points, with further options of pytest's."""
    attacks = Attacks(points)
    quiet = ["-p", "no:terminal", "-p", "no:cacheprovider", "-o", "addopts=--strict-markers"]
    pytest.main([*quiet, "--rootdir", str(CHECKOUT), str(CHECKOUT / "tests"), *options], [attacks])
    return attacks


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--points", type=int, nargs="*", choices=list(POINTS), default=list(POINTS))
    parser.add_argument("--only", help="names of tests, as pytest's -k takes them")
    arguments = parser.parse_args()
    attacks = attack(arguments.points, ["-k", arguments.only] if arguments.only else [])
    print("\n| | tries | failures |\n| --- | ---: | ---: |")
    for point, tries in sorted(attacks.tries.items()):
        print(f"| {point}. {POINTS[point]} | {tries} | {attacks.failures[point]} |")
    sys.exit(1 if attacks.failures.total() or not attacks.tries else 0)


if __name__ == "__main__":
    main()
