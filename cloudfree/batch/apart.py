"""Jobs in processes of their own: one that dies, or takes too long, is a failure of its scene alone.

There are as many processes as scenes are made at once. Each does one job after the other, and keeps its network from
scene to scene. One that dies is replaced, and the scene is tried again in the new process, unless it was the first of
the old one: what earlier scenes have left behind is not its fault. Nothing listens on the network.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import cache
from multiprocessing.connection import Connection, wait
from multiprocessing.context import ForkServerContext, SpawnContext
from multiprocessing.process import BaseProcess
from pathlib import Path
from types import FrameType
from typing import NoReturn

import torch
from threadpoolctl import threadpool_limits

from cloudfree import process
from cloudfree.batch.jobs import Job
from cloudfree.batch.results import Outcome
from cloudfree.batch.runner import Settings, enough_failed, not_begun
from cloudfree.batch.told import Told, levels, run_and_tell
from cloudfree.errors import OutputError
from cloudfree.product.locks import claimed

_GRACE_S = 5.0
"""For a process that is told to end, to remove what it has begun."""


def run_jobs_apart(
    jobs: Sequence[Job], settings: Settings, workers: int, done: Callable[[Outcome], None]
) -> list[Outcome]:
    """Do all jobs, so many at once, and return their outcomes in the order of the jobs.

    `done` is called with each outcome as it comes. What is logged of a scene is logged here once it is done.
    """
    outcomes: dict[int, Outcome] = {}
    waiting = list(reversed(list(enumerate(jobs))))

    def keep(number: int, outcome: Outcome) -> None:
        outcomes[number] = outcome
        done(outcome)

    with _lanes(min(workers, len(jobs)), settings) as lanes:
        while len(outcomes) < len(jobs):
            if enough_failed(outcomes.values(), settings):
                while waiting:
                    number, job = waiting.pop()
                    keep(number, not_begun(job, settings))
            for lane in lanes:
                if lane.is_idle and waiting:
                    lane.begin(*waiting.pop())
            for number, outcome in _finished(lanes):
                keep(number, outcome)
    return [outcomes[number] for number in range(len(jobs))]


@contextmanager
def _lanes(count: int, settings: Settings) -> Iterator[list[_Lane]]:
    lanes = [_Lane(number, count, settings) for number in range(count)]
    try:
        yield lanes
    finally:
        for lane in lanes:
            lane.tell_to_end()
        for lane in lanes:
            lane.clear()


def _finished(lanes: Sequence[_Lane]) -> Iterator[tuple[int, Outcome]]:
    """Wait until something happens in a lane, and yield what is finished then, by the number of its job."""
    busy = [lane for lane in lanes if not lane.is_idle]
    if not busy:
        return
    deadlines = [lane.deadline_s for lane in busy if lane.deadline_s is not None]
    patience_s = max(0.0, min(deadlines) - time.monotonic()) if deadlines else None
    wait([lane.connection for lane in busy], patience_s)
    for lane in busy:
        if outcome := lane.outcome():
            yield outcome


class _Lane:
    """A process that does one job at a time; it is started with the first, and anew after a death."""

    connection: Connection
    _process: BaseProcess

    def __init__(self, number: int, count: int, settings: Settings) -> None:
        self._number, self._count, self._settings = number, count, settings
        self._job: tuple[int, Job] | None = None
        self._jobs_begun: int | None = None  # by this process; None where there is none
        self.deadline_s: float | None = None

    @property
    def is_idle(self) -> bool:
        return self._job is None

    def begin(self, number: int, job: Job) -> None:
        """Send the lane a job with its number."""
        if self._jobs_begun is None or not self._process.is_alive():
            self.clear()
            self._start()
        self._job = number, job
        self._jobs_begun = (self._jobs_begun or 0) + 1
        timeout_s = self._settings.timeout_s
        self.deadline_s = None if timeout_s is None else time.monotonic() + timeout_s
        with suppress(BrokenPipeError):  # it has just died, as `outcome` will find
            self.connection.send((job, self._settings, levels()))

    def outcome(self) -> tuple[int, Outcome] | None:
        """What became of the job, by its number; None where it is being done still."""
        assert self._job
        number, job = self._job
        if self.connection.poll():
            try:
                told: Told = self.connection.recv()
            except (EOFError, ConnectionResetError):
                return self._after_death(number, job)
            self._job = None
            return number, told.log()
        if self.deadline_s is not None and time.monotonic() >= self.deadline_s:
            self.clear()
            minutes = (self._settings.timeout_s or 0) / 60
            why = f"it took more than {minutes:g} minutes and was ended; give it more time with --timeout MINUTES"
            return number, Outcome(job, "failed", minutes * 60, f"{job.planet.name}: {why}")
        return None

    def _after_death(self, number: int, job: Job) -> tuple[int, Outcome] | None:
        was_first, exit_status = self._jobs_begun == 1, self.clear()
        if not was_first:
            self.begin(number, job)
            return None
        why = f"its process died ({_how(exit_status)}); it may need more memory than there is, or be damaged"
        return number, Outcome(job, "failed", error=f"{job.planet.name}: {why}: look at it with cloudfree info")

    def tell_to_end(self) -> None:
        """Ask the process to end, without waiting for that."""
        if self._jobs_begun is not None and self._process.is_alive():
            self._process.terminate()

    def clear(self) -> int | None:
        """End the process, remove what it has left of its job, and return its exit status; None where there is none."""
        if self._jobs_begun is None:
            return None
        self.tell_to_end()
        self._process.join(_GRACE_S)
        self._process.kill()
        self._process.join()
        self.connection.close()
        if self._job:
            targets = self._settings.options(self._job[1]).targets
            with suppress(OutputError), claimed(targets):  # unless another run has them
                pass
        self._job = self._jobs_begun = None
        return self._process.exitcode

    def _start(self) -> None:
        self.connection, theirs = _context().Pipe()
        arguments = theirs, self._number, self._count, dict(os.environ), Path.cwd()
        self._process = _context().Process(target=_serve, args=arguments)
        self._process.start()
        theirs.close()  # so that its death is the end of the connection
        self._jobs_begun = 0


@cache
def _context() -> ForkServerContext | SpawnContext:
    """Processes come from one that has imported all, and has no threads; where there are no forks, from nothing."""
    if "forkserver" not in multiprocessing.get_all_start_methods():
        return multiprocessing.get_context("spawn")
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["cloudfree.batch.apart"])
    return context


def _how(exit_status: int | None) -> str:
    if exit_status is not None and exit_status < 0:
        with suppress(ValueError):
            return signal.Signals(-exit_status).name
    return f"exit status {exit_status}"


# --- in the process of a lane ---


def _serve(connection: Connection, number: int, count: int, environment: dict[str, str], folder: Path) -> None:
    """Do the jobs that come, until none can come any more."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the other process's to answer
    signal.signal(signal.SIGTERM, _exit)
    process.end_with_parent()
    os.environ |= environment
    os.chdir(folder)
    process.tune()
    if count > 1:
        _share(number, count)
    with suppress(EOFError, ConnectionResetError, BrokenPipeError):  # nobody is there any more
        while True:
            connection.send(run_and_tell(*connection.recv()))


def _share(number: int, count: int) -> None:
    """Take one of so many shares of the cores, and one of the cards."""
    threads = max(1, (os.cpu_count() or 1) // count)
    torch.set_num_threads(threads)
    threadpool_limits(threads)
    cards = os.environ.get("CUDA_VISIBLE_DEVICES", ",".join(map(str, range(torch.cuda.device_count())))).split(",")
    if len(cards) > 1:
        os.environ["CUDA_VISIBLE_DEVICES"] = cards[number % len(cards)]


def _exit(number: int, _frame: FrameType | None) -> NoReturn:
    """End so that what was begun is removed."""
    sys.exit(128 + number)
