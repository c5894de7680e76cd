"""CUDA graphs: a forward pass that comes often is captured once, and then replayed as a whole."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable

import torch
from torch import Tensor

Forward = Callable[[Tensor, Tensor], Tensor]
Capture = Callable[[Forward, Tensor, Tensor], Forward]

_WARMUP_CALLS = 4
"""Of one pair of shapes, before its capture: a small scene ends before that, and does not pay for a graph."""
_MAX_GRAPHS = 2
"""Full batches, and those at the end of a row of tiles. Each keeps its own memory."""

log = logging.getLogger(__name__)


class GraphedForward:
    """A function of two tensors that is captured, with `capture`, for shapes that come often, and replayed for them.

    Its results are those of the function, in memory of the caller's own. Where a capture fails, or `capture` is None,
    the function runs as it is.
    """

    def __init__(self, function: Forward, capture: Capture | None) -> None:
        self._function = function
        self._capture = capture
        self._calls: Counter[tuple[torch.Size, torch.Size]] = Counter()
        self._graphs: dict[tuple[torch.Size, torch.Size], Forward] = {}

    def __call__(self, optical: Tensor, sar_db: Tensor) -> Tensor:
        shapes = optical.shape, sar_db.shape
        self._calls[shapes] += 1
        is_new = shapes not in self._graphs and len(self._graphs) < _MAX_GRAPHS
        if self._capture and is_new and self._calls[shapes] > _WARMUP_CALLS:
            try:
                self._graphs[shapes] = self._capture(self._function, optical, sar_db)
            except RuntimeError as error:  # out of memory among them: what runs without a graph goes on without
                log.info("the network is not captured as a CUDA graph (%s)", str(error).partition("\n")[0])
                self.release()
        return self._graphs.get(shapes, self._function)(optical, sar_db)

    def release(self) -> bool:
        """Give the memory of all graphs back, and capture none any more. Whether there were any."""
        had_any = bool(self._graphs)
        self._graphs.clear()
        self._capture = None
        return had_any


def capture_graph(function: Forward, optical: Tensor, sar_db: Tensor) -> Forward:
    """A function captured for inputs of these shapes. Raises RuntimeError where it does what a graph cannot hold."""
    static_inputs = optical.clone(), sar_db.clone()
    with torch.cuda.device(optical.device):
        # What the allocator keeps from earlier calls is of no use to a graph, which has a pool of its own.
        torch.cuda.empty_cache()
        side_stream = torch.cuda.Stream()  # type: ignore[no-untyped-call]
        side_stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side_stream):
            function(*static_inputs)  # libraries choose their algorithms and make their workspaces before the capture
        torch.cuda.current_stream().wait_stream(side_stream)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            static_output = function(*static_inputs)

    def replay(optical: Tensor, sar_db: Tensor) -> Tensor:
        for static, given in zip(static_inputs, (optical, sar_db), strict=True):
            static.copy_(given)
        graph.replay()
        return static_output.clone()  # the next replay writes to the same memory

    return replay
