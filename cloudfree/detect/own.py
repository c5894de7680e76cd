"""The detector that comes with the package: a small network, in windows, on the processor."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import numpy as np
import torch
from torch import Tensor

from cloudfree.arrays import Image, Mask
from cloudfree.bands import SkyClass
from cloudfree.detect.detector import View
from cloudfree.network.models.cloud_detector import REACH_PX, CloudDetector
from cloudfree.network.predict import Precision, autocast
from cloudfree.network.weights import load_detector

WEIGHTS = "cloud-detector"

_CORE_PX = 752  # of a window, beside its margins; a multiple of all that the network halves by


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

    def probability(self, view: View, core_px: int = _CORE_PX) -> Image:
        """See `Detector`. Memory is that of windows of `core_px` and their margins, a multiple of 16.

        Windows overlap by all that the network can see, so that they give what the whole would give.
        """
        height, width = view.valid.shape
        probability = np.empty((len(SkyClass), height, width), np.float32)
        for row in range(0, height, core_px):
            for col in range(0, width, core_px):
                rows, cols = slice(row, min(row + core_px, height)), slice(col, min(col + core_px, width))
                probability[:, rows, cols] = self._window(view, rows, cols)
        return probability

    def _window(self, view: View, rows: slice, cols: slice) -> Image:
        """Probability (5, rows, columns) of a window, which the network sees with its margins."""
        outer = tuple(
            slice(max(0, each.start - REACH_PX), min(each.stop + REACH_PX, side))
            for each, side in zip((rows, cols), view.valid.shape, strict=True)
        )
        with torch.inference_mode(), autocast(torch.device("cpu"), self.precision):
            logits = self.network(*(_tensor(each[..., outer[0], outer[1]]) for each in _images(view)))
            found: Image = logits.float().softmax(1)[0].numpy()
        y, x = (inner.start - each.start for inner, each in zip((rows, cols), outer, strict=True))
        return found[:, y : y + rows.stop - rows.start, x : x + cols.stop - cols.start]


def _images(view: View) -> tuple[Image | Mask, ...]:
    return view.reflectance, view.valid, view.sar_db, view.other


def _tensor(image: Image | Mask) -> Tensor:
    """As a batch of one."""
    return torch.from_numpy(np.ascontiguousarray(image))[None]
