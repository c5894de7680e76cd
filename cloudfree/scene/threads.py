"""Rows of an image some at a time, on all processors: numpy and scipy let threads run beside each other."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from cloudfree import process

_STRIP_ROWS = 128


def over_rows(work: Callable[[slice], None], height: int) -> None:
    """Do the work on all rows of an image of that height, some at a time, in any order."""
    strips = [slice(start, min(start + _STRIP_ROWS, height)) for start in range(0, height, _STRIP_ROWS)]
    with ThreadPoolExecutor(process.threads()) as pool:
        deque(pool.map(work, strips), maxlen=0)
