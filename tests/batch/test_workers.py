"""Scenes in processes of their own: what ends one, or never ends, costs its scene alone; what they warn of is told."""

import logging
import multiprocessing
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from cloudfree.batch import Outcome, Settings
from cloudfree.batch.jobs import Job, read_jobs
from cloudfree.batch.workers import run_jobs_apart
from cloudfree.plan import Options

Make = Callable[..., Path]

SIDE = 96
FAST = {"weights": "identity", "find_clouds": "never", "edge_limit_m": 0.0}
COMMAND = "--weights", "identity", "--find-clouds", "never", "--edge-limit", "0"


@dataclass(frozen=True)
class Odd(Settings):
    """Settings by which some scenes end their process, by name: kill, once (in the first process only), sleep, deaf."""

    def options(self, job: Job) -> Options:
        if multiprocessing.parent_process():
            _do(job.planet.stem.partition("_")[0], job.output.with_suffix(".begun"))
        return super().options(job)


def _do(what: str, begun: Path) -> None:
    if what == "kill" or (what == "once" and not begun.exists()):
        begun.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    if what == "deaf":
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    if what in ("sleep", "deaf"):
        time.sleep(120)


@pytest.fixture
def jobs_of(make_scene: Make, make_sar: Make, make_mask: Make, tmp_path: Path) -> Callable[..., list[Job]]:
    """Jobs of scenes by their names, with one radar image and one mask."""

    def make(*names: str) -> list[Job]:
        sar, mask = make_sar(), make_mask(np.pad(np.ones((30, 30)), 33))
        scene = make_scene()
        rows = []
        for number, name in enumerate(names):
            path = tmp_path / f"{name}_{number}.tif"
            path.hardlink_to(scene)
            rows.append(f"{path.name},{sar.name},{mask.name}")
        (tmp_path / "list.csv").write_text("\n".join(["planet,sar,mask", *rows]) + "\n")
        (tmp_path / "made").mkdir()
        return read_jobs(tmp_path / "list.csv", tmp_path / "made")

    return make


def statuses(outcomes: list[Outcome]) -> list[str]:
    return [outcome.status for outcome in outcomes]


def hidden(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.name.startswith(".")]


@pytest.mark.attack(6)
@pytest.mark.parametrize("workers", [1, 2])
def test_a_scene_that_ends_its_process_costs_no_other(jobs_of: Callable[..., list[Job]], workers: int) -> None:
    jobs, seen = jobs_of("a", "kill", "b", "once", "kill", "c"), list[Outcome]()
    outcomes = run_jobs_apart(jobs, Odd(FAST), workers, seen.append)
    assert [outcome.job for outcome in outcomes] == jobs
    assert statuses(outcomes) == ["made", "failed", "made", "made", "failed", "made"]
    assert "SIGKILL" in outcomes[1].error
    assert sorted(statuses(seen)) == sorted(statuses(outcomes))
    assert not hidden(jobs[0].output.parent)


@pytest.mark.attack(5)
@pytest.mark.parametrize("kind", ["sleep", "deaf"])
def test_a_scene_that_never_ends_is_ended(
    jobs_of: Callable[..., list[Job]], kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also one that does not listen to SIGTERM."""
    monkeypatch.setattr("cloudfree.batch.apart._GRACE_S", 0.5)
    jobs = jobs_of("a", kind, "b")
    outcomes = run_jobs_apart(jobs, Odd(FAST, timeout_s=6.0), 1, lambda outcome: None)
    assert statuses(outcomes) == ["made", "failed", "made"]
    assert "more than 0.1 minutes" in outcomes[1].error
    assert "--timeout" in outcomes[1].error
    assert not hidden(jobs[0].output.parent)


def test_no_more_are_begun_after_enough_have_failed(jobs_of: Callable[..., list[Job]]) -> None:
    outcomes = run_jobs_apart(jobs_of("a", "kill", "b"), Odd(FAST, max_failures=0), 1, lambda outcome: None)
    assert statuses(outcomes) == ["made", "failed", "not begun"]


@pytest.mark.attack(6)
def test_what_is_warned_of_elsewhere_is_logged_here_and_in_the_results(
    jobs_of: Callable[..., list[Job]], make_sar: Make, caplog: pytest.LogCaptureFixture
) -> None:
    jobs = jobs_of("20240606")
    make_sar(name="s1_20200101.tif")
    jobs = [Job(one.planet, (one.sar[0].plain.with_name("s1_20200101.tif"),), one.output) for one in jobs]  # type: ignore[union-attr]
    caplog.set_level(logging.INFO, logger="cloudfree")
    (outcome,) = run_jobs_apart(jobs, Settings(FAST), 1, lambda outcome: None)
    assert outcome.status == "made"
    assert outcome.warnings
    for warning in outcome.warnings:
        assert f"20240606_0.tif: {warning}" in caplog.messages
        assert warning in outcome.as_row()["warnings"]
        assert warning in outcome.as_json()["warnings"]
    assert any(record.levelno == logging.INFO for record in caplog.records)


# --- the command ---


def descendants(pid: int) -> set[int]:
    """The processes below one, by /proc."""
    parents = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            rest = stat.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        parents[int(stat.parent.name)] = int(rest[1])
    below, grown = {pid}, True
    while grown:
        more = {child for child, parent in parents.items() if parent in below} - below
        below, grown = below | more, bool(more)
    return below - {pid}


def listening(pids: set[int]) -> list[str]:
    """The TCP sockets on which processes listen."""
    inodes = set()
    for pid in pids:
        for link in Path(f"/proc/{pid}/fd").glob("*"):
            try:
                inodes.add(str(link.readlink()))
            except OSError:
                continue
    lines = [line.split() for name in ("tcp", "tcp6") for line in Path(f"/proc/net/{name}").read_text().splitlines()]
    return [line[1] for line in lines if line[3] == "0A" and f"socket:[{line[9]}]" in inodes]


def started(tmp_path: Path, jobs: list[Job]) -> subprocess.Popen[str]:
    """The command with two scenes at once, that has begun to make something."""
    assert jobs
    # Where tests run in the background, Ctrl-C is ignored, also by what they start.
    main = "import signal; signal.signal(2, signal.default_int_handler); from cloudfree.cli import main; main()"
    words = [sys.executable, "-c", main, "batch", tmp_path / "list.csv", "-o", tmp_path / "made", *COMMAND]
    process = subprocess.Popen(
        list(map(str, [*words, "--workers", 2])),
        stderr=subprocess.PIPE,
        text=True,
    )
    until = time.monotonic() + 60
    while not list((tmp_path / "made").glob(".cloudfree-a_*")) and time.monotonic() < until:
        time.sleep(0.005)
    return process


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="processes are seen by /proc")
@pytest.mark.attack(6)
@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGKILL])
def test_a_batch_that_is_ended_takes_its_processes_along(
    jobs_of: Callable[..., list[Job]], tmp_path: Path, number: signal.Signals
) -> None:
    """And no process of it ever listens on the network."""
    process = started(tmp_path, jobs_of(*"a" * 60))
    below = descendants(process.pid)
    assert len(below) >= 3
    assert not listening(below | {process.pid})
    process.send_signal(number)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == {signal.SIGTERM: 143, signal.SIGINT: 1, signal.SIGKILL: -9}[number]
    # Python ignores Ctrl-C, and says so, where it arrives amid its own cleaning up.
    assert "Traceback" not in errors or "Exception ignored" in errors
    until = time.monotonic() + 10
    while (alive := [pid for pid in below if _runs(pid)]) and time.monotonic() < until:
        time.sleep(0.05)
    assert not alive
    if number != signal.SIGKILL:
        assert not hidden(tmp_path / "made")


def _runs(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False
