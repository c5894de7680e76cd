"""The stages of a job: beside each other, told to whoever listens, and the time that each is waited for."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TypeVar

Listener = Callable[[str], None]
"""Called with the name of each stage as it begins, in words."""

_LISTENER: ContextVar[Listener | None] = ContextVar("cloudfree.stages", default=None)

T = TypeVar("T")
R = TypeVar("R")


@contextmanager
def prefetch(function: Callable[[T], R], items: Iterable[T]) -> Iterator[Iterator[R]]:
    """`map(function, items)` by a thread that works on one item ahead of what the consumer has asked for.

    The thread runs `function` alone, in order; `items` are drawn by the consumer. So a slow source of items (the
    network) is consumer and producer at once: what reads for it, and what writes after it, each run beside it.

    An error of `function` is raised where its result is asked for. At the end of the block, however it ends, what has
    not begun is dropped, what has is waited for, and the thread is gone. GDAL's settings hold in it as they do here:
    rasterio makes them for the whole process.
    """
    pool = ThreadPoolExecutor(1, thread_name_prefix="prefetch")
    try:
        yield _results(pool, function, items)
    finally:
        pool.shutdown(cancel_futures=True)


def _results(pool: ThreadPoolExecutor, function: Callable[[T], R], items: Iterable[T]) -> Iterator[R]:
    pending: list[Future[R]] = []
    for item in items:
        pending.append(pool.submit(function, item))
        del item  # it may be large, and is the thread's now
        if len(pending) > 1:
            yield pending.pop(0).result()
    if pending:
        yield pending.pop().result()


@contextmanager
def heard_by(listener: Listener) -> Iterator[None]:
    """Have the stages that begin in the block told to a listener, in this thread."""
    token = _LISTENER.set(listener)
    try:
        yield
    finally:
        _LISTENER.reset(token)


def begin(stage: str) -> None:
    """Tell whoever listens that a stage begins."""
    if listener := _LISTENER.get():
        listener(stage)


class Stopwatch:
    """Seconds by the name of a stage; of stages within each other, every second counts once."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    @contextmanager
    def timing(self, stage: str) -> Iterator[None]:
        """Count the time of a block."""
        started = time.perf_counter()
        yield
        self._add(stage, time.perf_counter() - started)

    def waiting(self, items: Iterator[T], stage: str) -> Iterator[T]:
        """Count the time that `items` are waited for, less that of the stages within, which count their own."""
        while True:
            started, inside = time.perf_counter(), sum(self.seconds.values())
            item = next(items, None)
            self._add(stage, time.perf_counter() - started - (sum(self.seconds.values()) - inside))
            if item is None:
                return
            yield item
            del item  # it may be large

    def _add(self, stage: str, seconds: float) -> None:
        self.seconds[stage] = self.seconds.get(stage, 0.0) + seconds
