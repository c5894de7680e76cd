"""Calls in processes of their own: one that dies, or takes too long, costs no other.

There are as many processes as calls are made at once, each of which makes one after the other. One that dies is
replaced, and its call is made again in the new one, three times in all: what else ends processes, and what earlier
calls have left behind, is not its fault. The processes talk by pipes, and listen on no network.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cache
from multiprocessing.connection import Connection, wait
from multiprocessing.context import ForkServerContext, SpawnContext
from multiprocessing.process import BaseProcess
from pathlib import Path
from types import FrameType
from typing import Any, NamedTuple, NoReturn

import torch
from threadpoolctl import threadpool_limits

from cloudfree import process
from cloudfree.batch.told import Told, call_and_tell, levels

_PATIENCE_S = 60.0
"""For a file to be opened."""

_MOST_TRIES = 3
_GRACE_S = 5.0
"""For a process that is told to end, to remove what it has begun."""


class Call(NamedTuple):
    """A function and its arguments, which can be sent to another process, and what it is about."""

    name: str
    function: Callable[..., Any]
    arguments: tuple[Any, ...]


@dataclass(frozen=True)
class Lost:
    """A call that did not come back, after some seconds: its process died, or it took too long; `why` in words."""

    why: str
    seconds: float
    timed_out: bool


def answers(calls: Sequence[Call], *, apart: bool) -> list[Any]:
    """What calls that open a file each return, in their order, in this process or another, where some are `Lost`."""
    if not apart:
        return [call.function(*call.arguments) for call in calls]
    by_number = dict(calls_apart(calls, 1, _PATIENCE_S))
    return [by_number[number] for number in range(len(calls))]


def calls_apart(
    calls: Sequence[Call],
    workers: int,
    timeout_s: float | None,
    goes_on: Callable[[], bool] = lambda: True,
    begun: Callable[[int], None] = lambda _: None,
) -> Iterator[tuple[int, Any]]:
    """Make calls, so many at once, and yield the number of each with what it returned, or `Lost`, as they come.

    No more are begun once `goes_on` returns False; `begun` is called with the number of each that is. What is logged
    during a call is logged here, under its name, when it comes back. Raises nothing that a call raises: functions are
    to return their failures.
    """
    waiting = list(reversed(list(enumerate(calls))))
    with _lanes(min(workers, len(calls)), timeout_s) as lanes:
        while True:
            for lane in lanes:
                if lane.is_idle and waiting and goes_on():
                    number, call = waiting.pop()
                    lane.begin(number, call)
                    begun(number)
            if all(lane.is_idle for lane in lanes):
                return
            yield from _finished(lanes)


@contextmanager
def _lanes(count: int, timeout_s: float | None) -> Iterator[list[_Lane]]:
    lanes = [_Lane(number, count, timeout_s) for number in range(count)]
    try:
        yield lanes
    finally:
        for lane in lanes:
            lane.tell_to_end()
        for lane in lanes:
            lane.clear()


def _finished(lanes: Sequence[_Lane]) -> Iterator[tuple[int, Any]]:
    """Wait until something happens in a lane, and yield what is finished then."""
    busy = [lane for lane in lanes if not lane.is_idle]
    deadlines = [lane.deadline_s for lane in busy if lane.deadline_s is not None]
    patience_s = max(0.0, min(deadlines) - time.monotonic()) if deadlines else None
    wait([lane.connection for lane in busy], patience_s)
    for lane in busy:
        if answer := lane.answer():
            yield answer


class _Lane:
    """A process that makes one call at a time; it is started with the first, and anew after a death."""

    connection: Connection
    _process: BaseProcess

    def __init__(self, number: int, count: int, timeout_s: float | None) -> None:
        self._number, self._count, self._timeout_s = number, count, timeout_s
        self._call: tuple[int, Call] | None = None
        self._runs = False
        self._tries = 0
        self._since_s = 0.0

    @property
    def is_idle(self) -> bool:
        return self._call is None

    @property
    def deadline_s(self) -> float | None:
        """When its call will have taken too long, by the monotonic clock."""
        return None if self._timeout_s is None else self._since_s + self._timeout_s

    def begin(self, number: int, call: Call, tries: int = 1) -> None:
        """Send the process a call with its number, for the first time or again."""
        if not self._runs or not self._process.is_alive():
            self.clear()
            self._start()
        self._call, self._since_s, self._tries = (number, call), time.monotonic(), tries
        with suppress(BrokenPipeError):  # it has just died, as `answer` will find
            self.connection.send((levels(), call.function, *call.arguments))

    def answer(self) -> tuple[int, Any] | None:
        """The number of the call, and what it returned or `Lost`; None where it is being made still."""
        assert self._call
        number, call = self._call
        seconds = time.monotonic() - self._since_s
        if self.connection.poll():
            try:
                told: Told = self.connection.recv()
            except (EOFError, ConnectionResetError):
                return self._after_death(seconds)
            self._call = None
            return number, told.log(call.name)
        if self._timeout_s is not None and seconds >= self._timeout_s:
            self.clear()
            return number, Lost(f"it took more than {self._timeout_s / 60:g} minutes and was ended", seconds, True)
        return None

    def _after_death(self, seconds: float) -> tuple[int, Any] | None:
        assert self._call
        (number, call), tries, exit_status = self._call, self._tries, self.clear()
        if tries == _MOST_TRIES:
            why = f"its process died {tries} times ({_how(exit_status)}), perhaps for want of memory"
            return number, Lost(why, seconds, False)
        self.begin(number, call, tries + 1)
        return None

    def tell_to_end(self) -> None:
        """Ask the process to end, without waiting for that."""
        if self._runs and self._process.is_alive():
            self._process.terminate()

    def clear(self) -> int | None:
        """End the process, and return its exit status; None where there is none."""
        if not self._runs:
            return None
        self.tell_to_end()
        self._process.join(_GRACE_S)
        self._process.kill()
        self._process.join()
        self.connection.close()
        self._call, self._runs = None, False
        return self._process.exitcode

    def _start(self) -> None:
        self.connection, theirs = _context().Pipe()
        arguments = theirs, self._number, self._count, dict(os.environ), Path.cwd()
        self._process = _context().Process(target=_serve, args=arguments)
        self._process.start()
        theirs.close()  # so that its death is the end of the connection
        self._runs = True


@cache
def _context() -> ForkServerContext | SpawnContext:
    """Processes come from one that has imported all, and has no threads; where there are no forks, from nothing."""
    if "forkserver" not in multiprocessing.get_all_start_methods():
        return multiprocessing.get_context("spawn")
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["cloudfree.batch"])
    return context


def _how(exit_status: int | None) -> str:
    if exit_status is not None and exit_status < 0:
        with suppress(ValueError):
            return signal.Signals(-exit_status).name
    return f"exit status {exit_status}"


# --- in the process of a lane ---


def _serve(connection: Connection, number: int, count: int, environment: dict[str, str], folder: Path) -> None:
    """Make the calls that come, until none can come any more."""
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
            connection.send(call_and_tell(*connection.recv()))


def _share(number: int, count: int) -> None:
    """Take one of so many shares of the cores, and one of the cards."""
    threads = max(1, process.cores() // count)
    torch.set_num_threads(threads)
    threadpool_limits(threads)
    cards = os.environ.get("CUDA_VISIBLE_DEVICES", ",".join(map(str, range(torch.cuda.device_count())))).split(",")
    if len(cards) > 1:
        os.environ["CUDA_VISIBLE_DEVICES"] = cards[number % len(cards)]


def _exit(number: int, _frame: FrameType | None) -> NoReturn:
    """End so that what was begun is removed."""
    sys.exit(128 + number)
