"""Where a made-up landscape is drawn: pixels with positions in metres, and the one source of randomness."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from cloudfree.arrays import Image
from cloudfree.simulate.noise import fast_shape, fractal_noise


@dataclass(frozen=True)
class Canvas:
    """A random generator, and where each pixel (H, W) lies: metres below and right of the upper left corner."""

    rng: np.random.Generator
    shape: tuple[int, int]
    pixel_size_m: float
    y_m: Image
    x_m: Image

    @classmethod
    def blank(cls, rng: np.random.Generator, height: int, width: int, pixel_size_m: float) -> Canvas:
        """`height` x `width` pixels with no draw taken from the generator yet."""
        y, x = np.mgrid[:height, :width].astype(np.float32) * np.float32(pixel_size_m)
        return cls(rng, (height, width), pixel_size_m, y, x)

    @property
    def size_m(self) -> tuple[float, float]:
        """(height, width)."""
        return self.shape[0] * self.pixel_size_m, self.shape[1] * self.pixel_size_m

    def noise(self, slope: float, outer_m: float) -> Image:
        """Fractal noise (H, W) with features of up to `outer_m`: see `fractal_noise`."""
        field = fractal_noise(self.rng, fast_shape(*self.shape), slope=slope, outer_px=outer_m / self.pixel_size_m)
        return field[: self.shape[0], : self.shape[1]]
