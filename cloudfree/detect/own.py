"""The detector that comes with the package: a small network, in windows, on the processor."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Self

import numpy as np
import torch
from torch import Tensor

from cloudfree.arrays import Image, Mask
from cloudfree.bands import SkyClass
from cloudfree.detect.detector import DetectorInput
from cloudfree.network.device import Precision, autocast
from cloudfree.network.models.cloud_detector import REACH_PX, CloudDetector
from cloudfree.network.weights import load_detector
from cloudfree.reconstruct.tiles import spans

WEIGHTS = "cloud-detector"

_WINDOW_PX = 1136  # at most; a third of it is margin, and memory goes with its square


@dataclass(frozen=True)
class OwnDetector:
    """The network and the pixel size that it was trained for; it was shown some of half and of twice that."""

    network: CloudDetector
    precision: Precision = "fp32"
    name: str = "own"
    pixel_size_m: float = 10.0

    @classmethod
    def load(cls, weights: str = WEIGHTS, precision: Precision = "fp32") -> Self:
        """By a registered name or a file. Raises WeightsError."""
        return cls(load_detector(weights), precision)

    def probability(self, scene: DetectorInput, window_px: int = _WINDOW_PX) -> Image:
        """See `Detector`. Memory is that of a window of at most `window_px`, a multiple of 16.

        Windows overlap by all that the network can see, so that they give what the whole would give. They are of one
        size: what one has freed, the next takes.
        """
        height, width = scene.valid.shape
        probability = np.empty((len(SkyClass), height, width), np.float32)
        for rows, its_rows in _windows(height, window_px):
            for cols, its_cols in _windows(width, window_px):
                seen = self._window(scene, rows, cols)
                top, left = its_rows.start - rows.start, its_cols.start - cols.start
                own = seen[:, top : top + len(its_rows), left : left + len(its_cols)]
                probability[:, its_rows.start : its_rows.stop, its_cols.start : its_cols.stop] = own
        return probability

    def _window(self, scene: DetectorInput, rows: range, cols: range) -> Image:
        """Probability (5, rows, columns), as the network has it."""
        window = (..., slice(rows.start, rows.stop), slice(cols.start, cols.stop))
        nothing = torch.full((1, 1, len(rows), len(cols)), torch.nan)
        sar_db = nothing.expand(1, 2, -1, -1)  # it did not help on real clouds (benchmarks/quality)
        other = nothing.expand(1, 4, -1, -1) if scene.other is None else _tensor(scene.other[window])
        with torch.inference_mode(), autocast(torch.device("cpu"), self.precision):
            logits = self.network(_tensor(scene.reflectance[window]), _tensor(scene.valid[window]), sar_db, other)
            probability: Image = logits.float().softmax(1)[0].numpy()
        return probability


def _windows(side: int, window_px: int) -> Iterator[tuple[range, range]]:
    """The windows along one side, each with the pixels that are taken from it: up to the middle of what two share."""
    windows = spans(side, window_px, 2 * REACH_PX)
    cuts = [0, *((one.stop + other.start) // 2 for one, other in pairwise(windows)), side]
    for window, (start, stop) in zip(windows, pairwise(cuts), strict=True):
        yield range(window.start, window.stop), range(start, stop)


def _tensor(image: Image | Mask) -> Tensor:
    """As a batch of one."""
    return torch.from_numpy(np.ascontiguousarray(image))[None]
