"""The arrays that pass from room to room, by name."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

Image = NDArray[np.float32]
"""Pixels (H, W) or (bands, H, W): reflectance, backscatter, shares."""

Mask = NDArray[np.bool_]
"""Which pixels (H, W)."""

Float64Array = NDArray[np.float64]
"""What must not be rounded: coordinates, coefficients, sums."""


def known_of(image: Image) -> Mask:
    """Where an image (bands, H, W) says something in all of its bands: no NaN, nothing infinite."""
    return np.asarray(np.isfinite(image).all(axis=0))


def as_image(values: ArrayLike) -> Image:
    """The values as float32; copies only where they are not."""
    return np.asarray(values, np.float32)
