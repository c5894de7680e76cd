"""Images under Gaussians, a few rows at a time: all scales of a whole image together would be much of the memory."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from cloudfree.arrays import Image
from cloudfree.geometry import upsampled

_TRUNCATE = 3.0  # standard deviations
_COARSE_SIGMA_PX = 3.0  # of a wide Gaussian on its coarser grid


@dataclass(frozen=True)
class Smoothed:
    """An image (C, h, w) under a Gaussian of `sigma_px`, beyond its edges its nearest pixel.

    A wide Gaussian costs much and leaves little detail, so it is taken of `image`, the averages over squares of
    `factor` pixels, and interpolated from there. That moves a pixel by up to half a square, a sixth of `sigma_px`.
    """

    image: Image
    shape: tuple[int, int]
    sigma_px: float
    factor: int = 1

    @classmethod
    def of(cls, image: Image, sigma_px: float) -> Smoothed:
        shape = image.shape[1], image.shape[2]
        factor = max(1, round(sigma_px / _COARSE_SIGMA_PX))
        if factor == 1:
            return cls(image, shape, sigma_px)
        # Averaging and interpolating smooth too: by a box's variance, and by a sixth of the squared distance of nodes.
        left = sigma_px**2 - (factor**2 - 1) / 12 - factor**2 / 6
        return cls(_gaussian(_averaged(image, factor), np.sqrt(left) / factor), shape, sigma_px, factor)

    def rows(self, rows: slice) -> Image:
        """Some rows (C, rows, w), which are those of the whole to the bit."""
        if self.factor > 1:
            whole = self.image.shape[1] * self.factor, self.image.shape[2] * self.factor
            return upsampled(self.image, whole, rows, slice(0, self.shape[1]))
        reach = int(_TRUNCATE * self.sigma_px + 0.5)
        first, last = max(0, rows.start - reach), min(self.shape[0], rows.stop + reach)
        return _gaussian(self.image[:, first:last], self.sigma_px)[:, rows.start - first : rows.stop - first]


def _gaussian(image: Image, sigma_px: float) -> Image:
    smooth: Image = ndimage.gaussian_filter(image, (0, sigma_px, sigma_px), mode="nearest", truncate=_TRUNCATE)
    return smooth


def _averaged(image: Image, factor: int) -> Image:
    """Over squares (C, h / factor, w / factor), rounded up: the last ones reach beyond the image."""
    beyond = [(0, -length % factor) for length in image.shape[1:]]
    padded = np.pad(image, [(0, 0), *beyond], mode="edge")
    total = sum(padded[:, row::factor, col::factor] for row in range(factor) for col in range(factor))
    return np.asarray(total * np.float32(1 / factor**2), np.float32)
