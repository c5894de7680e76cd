"""How a mask fades out: how much of each pixel around it to reconstruct."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from cloudfree.arrays import Image, Mask
from cloudfree.geometry import squared_distance_px
from cloudfree.inputs.masks.mask import BUFFER_M

FEATHER_M = 30.0
"""Ground beyond the buffer over which the reconstruction fades into the observation."""


@dataclass(frozen=True)
class Feather:
    """How a mask fades out, in pixels: a buffer around it that is reconstructed whole, then a feather."""

    buffer_px: float
    feather_px: float

    @classmethod
    def of_pixel_size(cls, pixel_size_m: float, buffer_m: float = BUFFER_M) -> Feather:
        """The feather for a pixel size in metres; at least one pixel wide."""
        return cls(buffer_m / pixel_size_m, max(1.0, FEATHER_M / pixel_size_m))

    @property
    def reach_px(self) -> int:
        """Pixels beyond a mask that it can touch: the halo that a strip needs."""
        return math.ceil(self.buffer_px + self.feather_px)

    def weight(self, cloudy: Mask) -> Image:
        """Blend weight (H, W) of a reconstruction: 1 in the mask and its buffer, falling to 0 at the feather's end."""
        if not cloudy.any():
            return np.zeros(cloudy.shape, np.float32)
        distance_px = np.sqrt(np.arange((self.reach_px + 1) ** 2 + 1))
        weights = np.clip((self.buffer_px + self.feather_px - distance_px) / self.feather_px, 0, 1).astype(np.float32)
        return weights.take(squared_distance_px(cloudy, self.reach_px))
