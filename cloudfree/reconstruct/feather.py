"""How a mask fades out: how much of each pixel around it to reconstruct."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from cloudfree.arrays import Image, Mask
from cloudfree.geometry import squared_distance_px
from cloudfree.inputs.masks.mask import BUFFER_M

FEATHER_PX = 2.0
"""Width of the ring at the outer end of the buffer in which the reconstruction fades into the observation."""


@dataclass(frozen=True)
class Feather:
    """How a mask fades out, in pixels: within a buffer around it, whose outer `feather_px` are blended."""

    buffer_px: float
    feather_px: float

    @classmethod
    def of_pixel_size(cls, pixel_size_m: float, buffer_m: float = BUFFER_M) -> Feather:
        """The feather for a pixel size and a buffer in metres; no wider than the buffer."""
        return cls(buffer_m / pixel_size_m, min(buffer_m / pixel_size_m, FEATHER_PX))

    @property
    def alone(self) -> Feather:
        """As much of it as is needed to blend, without the rest of the buffer."""
        return Feather(self.feather_px, self.feather_px)

    @property
    def reach_px(self) -> int:
        """Pixels beyond a mask that it can touch: the halo that a strip needs."""
        return math.ceil(self.buffer_px)

    def weight(self, cloudy: Mask) -> Image:
        """Blend weight (H, W) of a reconstruction: 1 in the mask and most of its buffer, falling to 0 at its end."""
        if not cloudy.any():
            return np.zeros(cloudy.shape, np.float32)
        distance_px = np.sqrt(np.arange((self.reach_px + 1) ** 2 + 1))
        weights = np.clip((self.buffer_px - distance_px) / max(self.feather_px, 1e-6), 0, 1).astype(np.float32)
        weights[0] = 1
        return weights.take(squared_distance_px(cloudy, self.reach_px))
