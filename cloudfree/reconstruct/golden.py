"""Golden tensors of the registered weights through a predictor: whether a card computes what it must, and how fast."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise

import torch
from safetensors.torch import load_file
from torch import Tensor

from cloudfree.network import kernels
from cloudfree.network.device import Precision, resolve_precision
from cloudfree.network.models import ARCHITECTURES, CloudRemovalModel, Seen
from cloudfree.network.weights import GOLDEN_OUTPUT, GOLDEN_TOLERANCE, load_model, registry
from cloudfree.reconstruct.predictor import Predictor

HALF_TOLERANCE = 1e-2
"""Reflectance by which an output in a half precision may differ."""

_TIMED_PX, _REPEATS = 512, 3  # golden tensors are small: they are laid side by side to be timed
_SLOWER = 1.2  # times as long, from which it is no chance


@dataclass(frozen=True)
class GoldenRun:
    """One way to compute: `kernels` as of `kernels.implementation`. difference: largest of reflectance from the golden
    output; seconds: of a tile of 512 pixels, the shortest of some.
    """

    kernels: str
    precision: Precision
    difference: float
    seconds: float

    @property
    def sound(self) -> bool:
        return self.difference < (GOLDEN_TOLERANCE if self.precision == "fp32" else HALF_TOLERANCE)

    @property
    def way(self) -> str:
        return f"{self.precision} by {self.kernels}"

    def __str__(self) -> str:
        return f"{self.way} to {self.difference:.0e} in {1e3 * self.seconds:.0f} ms"


def golden_names() -> list[str]:
    """Registered weights that remove clouds and have golden tensors."""
    return [entry.name for entry in registry() if entry.architecture in ARCHITECTURES and entry.golden_path.exists()]


def golden_runs(name: str, device: torch.device) -> list[GoldenRun]:
    """By the reference first, then as a run would by default, in float32 and in the precision that it would choose.

    Raises what the device raises, TileTooLargeError where a tile does not fit it.
    """
    ways: list[tuple[str, Precision]] = [("reference", "fp32"), ("auto", "fp32")]
    best = resolve_precision("auto", device)
    return [_run(name, device, *way) for way in [*ways, *([("auto", best)] if best != "fp32" else [])]]


def slower_than_it_should_be(runs: Sequence[GoldenRun]) -> list[str]:
    """Each way that takes longer than the one before it, which it is there to make quicker."""
    return [
        f"{run.way} takes {run.seconds / before.seconds:.1f} times as long as {before.way}"
        for before, run in pairwise(runs)
        if run.seconds > _SLOWER * before.seconds
    ]


def _run(name: str, device: torch.device, choice: str, precision: Precision) -> GoldenRun:
    model = load_model(name)
    golden = load_file(next(entry for entry in registry() if entry.name == name).golden_path)
    expected, images = golden.pop(GOLDEN_OUTPUT), [image.to(device) for image in _arguments(model, golden)]
    with _kernels(choice):
        predict = Predictor(model, device, precision, batch=1)
        difference = float((predict(*images).cpu() - expected).abs().max())
        large = [image.tile(1, 1, *(-(-_TIMED_PX // side) for side in image.shape[2:])) for image in images]
        seconds = min(_seconds(predict, large) for _ in range(_REPEATS + 1))
        return GoldenRun(kernels.implementation(images[0]), precision, difference, seconds)


def _arguments(model: CloudRemovalModel, golden: dict[str, Tensor]) -> Sequence[Tensor]:
    return Seen(**golden) if model.planes else (golden["reflectance"], golden["sar_db"])


def _seconds(predict: Predictor, images: Sequence[Tensor]) -> float:
    started = time.perf_counter()
    predict(*images).sum().item()  # waits for the device
    return time.perf_counter() - started


@contextmanager
def _kernels(choice: str) -> Iterator[None]:
    before = os.environ.get(kernels.VARIABLE)
    os.environ[kernels.VARIABLE] = choice
    try:
        yield
    finally:
        del os.environ[kernels.VARIABLE]
        if before is not None:
            os.environ[kernels.VARIABLE] = before
