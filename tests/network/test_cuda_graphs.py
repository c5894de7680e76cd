"""Capturing what comes often: on CPU with a stand-in for the capture, on CUDA with graphs."""

import pytest
import torch
from torch import Tensor

from cloudfree.network.cuda_graphs import Forward, GraphedForward, capture_graph
from cloudfree.network.models import AlignCR


def added(optical: Tensor, sar_db: Tensor) -> Tensor:
    return optical + sar_db


class Capture:
    """Captures by keeping the shapes, and notes what was replayed."""

    def __init__(self, error: RuntimeError | None = None) -> None:
        self.captured: list[int] = []
        self.replayed: list[int] = []
        self.error = error

    def __call__(self, function: Forward, optical: Tensor, sar_db: Tensor) -> Forward:
        size = len(optical)
        self.captured.append(size)
        if self.error:
            raise self.error

        def replay(optical: Tensor, sar_db: Tensor) -> Tensor:
            assert len(optical) == size
            self.replayed.append(size)
            return function(optical, sar_db)

        return replay


def call(run: GraphedForward, size: int, times: int) -> None:
    for i in range(times):
        assert torch.equal(run(torch.full((size,), i), torch.ones(size)), torch.full((size,), i + 1.0))


def test_only_what_comes_often_is_captured() -> None:
    capture = Capture()
    run = GraphedForward(added, capture)
    call(run, 3, 4)
    assert not capture.captured
    call(run, 3, 6)
    call(run, 2, 2)
    assert capture.captured == [3]
    assert capture.replayed == [3] * 6
    call(run, 2, 3)
    call(run, 1, 9)  # a third pair of shapes is one too many
    assert capture.captured == [3, 2]
    assert run.release()
    assert not run.release()
    call(run, 3, 9)
    assert len(capture.replayed) == 7


def test_what_cannot_be_captured_runs_as_it_is() -> None:
    capture = Capture(torch.OutOfMemoryError("CUDA out of memory"))
    call(GraphedForward(added, capture), 3, 9)
    assert capture.captured == [3]  # tried, and not again
    call(GraphedForward(added, None), 3, 9)


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@pytest.mark.parametrize("precision", [torch.float32, torch.bfloat16])
def test_a_graph_gives_what_the_network_gives(precision: torch.dtype) -> None:
    model = AlignCR(AlignCR.small).cuda().prepare_for_inference()

    def forward(optical: Tensor, sar_db: Tensor) -> Tensor:
        with torch.autocast("cuda", precision, enabled=precision != torch.float32):
            return model(optical, sar_db).float()

    inputs = [(torch.rand(2, 4, 64, 64).cuda(), -15 * torch.rand(2, 2, 64, 64).cuda()) for _ in range(3)]
    with torch.inference_mode():
        replay = capture_graph(forward, *inputs[0])
        for pair in inputs:
            torch.testing.assert_close(replay(*pair), forward(*pair), rtol=0, atol=1e-3)
