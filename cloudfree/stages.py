"""Work done ahead of whoever consumes it, in a thread."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import TypeVar

T = TypeVar("T")
R = TypeVar("R")


@contextmanager
def ahead(function: Callable[[T], R], items: Iterable[T], depth: int = 1) -> Iterator[Iterator[R]]:
    """`map(function, items)`, of which one thread makes up to `depth` results that nobody has asked for yet.

    The thread runs `function` alone, in order; `items` are drawn by the consumer. So a slow source of items (the
    network) is consumer and producer at once: what reads for it, and what writes after it, each run beside it.

    An error of `function` is raised where its result is asked for. At the end of the block, however it ends, what has
    not begun is dropped, what has is waited for, and the thread is gone. GDAL's settings hold in it as they do here:
    rasterio makes them for the whole process.
    """
    pool = ThreadPoolExecutor(1, thread_name_prefix="ahead")
    try:
        yield _results(pool, function, items, depth)
    finally:
        pool.shutdown(cancel_futures=True)


def _results(pool: ThreadPoolExecutor, function: Callable[[T], R], items: Iterable[T], depth: int) -> Iterator[R]:
    pending: deque[Future[R]] = deque()
    for item in items:
        pending.append(pool.submit(function, item))
        del item  # it may be large, and is the thread's now
        if len(pending) > depth:
            yield pending.popleft().result()
    while pending:
        yield pending.popleft().result()
