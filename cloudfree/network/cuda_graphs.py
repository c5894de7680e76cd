"""CUDA graphs for the steady state: what is computed again and again is recorded once, and then launched as a whole."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable

import torch
from torch import Tensor

Forward = Callable[[Tensor, Tensor], Tensor]
Record = Callable[[Forward, Tensor, Tensor], Forward]

_CALLS_BEFORE = 4
"""Of one pair of shapes, before it is recorded: a small scene ends before that, and does not pay for a recording."""
_MAX_RECORDINGS = 2
"""Full batches, and those at the end of a row of tiles. Each keeps its own memory."""

log = logging.getLogger(__name__)


class Replayed:
    """A function of two tensors that is recorded, with `record`, for shapes that come often, and replayed for them.

    Its results are those of the function, in memory of the caller's own. Where a recording fails, or `record` is None,
    the function runs as it is.
    """

    def __init__(self, function: Forward, record: Record | None) -> None:
        self._function = function
        self._record = record
        self._calls: Counter[tuple[torch.Size, torch.Size]] = Counter()
        self._recordings: dict[tuple[torch.Size, torch.Size], Forward] = {}

    def __call__(self, optical: Tensor, sar_db: Tensor) -> Tensor:
        shapes = optical.shape, sar_db.shape
        self._calls[shapes] += 1
        is_new = shapes not in self._recordings and len(self._recordings) < _MAX_RECORDINGS
        if self._record and is_new and self._calls[shapes] > _CALLS_BEFORE:
            try:
                self._recordings[shapes] = self._record(self._function, optical, sar_db)
            except RuntimeError as error:  # out of memory among them: what runs without a recording goes on without
                log.info("the network is not recorded as a CUDA graph (%s)", str(error).partition("\n")[0])
                self.forget()
        return self._recordings.get(shapes, self._function)(optical, sar_db)

    def forget(self) -> bool:
        """Give the memory of all recordings back, and make none any more. Whether there were any."""
        had_any = bool(self._recordings)
        self._recordings.clear()
        self._record = None
        return had_any


def cuda_graph(function: Forward, optical: Tensor, sar_db: Tensor) -> Forward:
    """Record a function for inputs of these shapes. Raises RuntimeError where it does what a graph cannot hold."""
    held = optical.clone(), sar_db.clone()
    device = optical.device
    with torch.cuda.device(device):
        # What the allocator keeps from earlier calls is of no use to a graph, which has a pool of its own.
        torch.cuda.empty_cache()
        beside = torch.cuda.Stream()  # type: ignore[no-untyped-call]
        beside.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(beside):
            function(*held)  # libraries choose their algorithms and make their workspaces outside of the recording
        torch.cuda.current_stream().wait_stream(beside)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            result = function(*held)

    def replay(optical: Tensor, sar_db: Tensor) -> Tensor:
        for place, given in zip(held, (optical, sar_db), strict=True):
            place.copy_(given)
        graph.replay()
        return result.clone()  # the next replay writes to the same memory

    return replay
