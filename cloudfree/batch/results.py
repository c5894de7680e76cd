"""The outcome of each job, and results.csv and results.json, which are rewritten every few seconds."""

from __future__ import annotations

import csv
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from cloudfree.bands import RECONSTRUCTED
from cloudfree.batch.jobs import Job
from cloudfree.errors import OutputError
from cloudfree.product.locks import claimed
from cloudfree.product.targets import write_json

Status = Literal["made", "skipped", "failed", "not begun"]

RESULTS = "results.csv", "results.json"

_EVERY_S = 5.0
_OTHERS_S = 60.0  # in which another batch has written the same file
_COLUMNS = "planet", "sar", "references", "output", "status", "seconds", "reconstructed_pixels", "error"


@dataclass(frozen=True)
class Outcome:
    """The outcome of a job.

    `status`: made; skipped, because the product was there; failed; or not begun, after too many had failed. `error`:
    one line. `details`: numbers of the run.
    """

    job: Job
    status: Status
    seconds: float = 0.0
    error: str = ""
    details: dict[str, Any] = field(default_factory=dict)

    def as_json(self) -> dict[str, Any]:
        """Return plain data for --json and results.json."""
        result = {"status": self.status, "seconds": round(self.seconds, 2), "error": self.error or None}
        return {**self.job.describe(), **result, **self.details}

    def as_row(self) -> dict[str, Any]:
        """Return a row of results.csv."""
        pixels = self.details.get("pixels")
        return {
            "planet": _cell(str(self.job.planet)),
            "sar": _cell(";".join(map(str, self.job.sar))),
            "references": _cell(";".join(map(str, self.job.references))),
            "output": _cell(str(self.job.output)),
            "status": self.status,
            "seconds": round(self.seconds, 2),
            "reconstructed_pixels": sum(pixels[qa.name.lower()] for qa in RECONSTRUCTED) if pixels else "",
            "error": _cell(self.error),
        }


def _cell(text: str) -> str:
    """A text that no spreadsheet takes for a formula."""
    return f"'{text}" if text.startswith(("=", "+", "-", "@")) else text


@contextmanager
def recording(folder: Path, done: Callable[[Outcome], None] | None = None) -> Iterator[Callable[[Outcome], None]]:
    """Yield a function that keeps an outcome and calls `done` with it.

    The results in `folder`, which is made if need be, are written every few seconds, and at the end. Raises
    OutputError.
    """
    with _writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
    outcomes, written_s = list[Outcome](), 0.0

    def keep(outcome: Outcome) -> None:
        nonlocal written_s
        outcomes.append(outcome)
        if time.monotonic() - written_s >= _EVERY_S:  # results of ten thousand scenes take long to write
            _write_results(folder, outcomes)
            written_s = time.monotonic()
        if done:
            done(outcome)

    try:
        yield keep
    except OutputError:
        outcomes.clear()  # they cannot be written
        raise
    finally:
        if outcomes:
            _write_results(folder, outcomes)


def _write_results(folder: Path, outcomes: Sequence[Outcome]) -> None:
    """Write results.csv and results.json in a folder, each replaced in one step. Raises OutputError."""
    with replaced(folder / RESULTS[0]) as file, file.open("w", newline="", encoding="utf-8") as table:
        writer = csv.DictWriter(table, _COLUMNS)
        writer.writeheader()
        writer.writerows(outcome.as_row() for outcome in outcomes)
    with replaced(folder / RESULTS[1]) as file:
        write_json(file, [outcome.as_json() for outcome in outcomes])


@contextmanager
def replaced(path: Path) -> Iterator[Path]:
    """Yield a path in a hidden folder beside another, locked and swept as those of products (`locks.claimed`).

    The file there replaces it at the end of the block. Raises OutputError.
    """
    with _writing(path.parent), claimed([path], _OTHERS_S) as folders:
        new = folders[path] / path.name
        yield new
        new.replace(path)


@contextmanager
def _writing(folder: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise OutputError(
            f"{folder} cannot be written ({error.strerror}); results.csv and results.json need a folder: choose "
            "another, or make room"
        ) from error
