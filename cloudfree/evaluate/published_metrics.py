"""The published scores of M3R-CR with their deviations, to compare with its tables; `metrics` has the true definitions.

The Gaussian of SSIM is off-centre by half a pixel, SAM floors squared norms (so that a perfect but dark pixel scores
tens of degrees), PSNR of equal images is 100, and only the centre of an image counts. Averages are of batches: of
images, at one a batch. Written from a description of these deviations; what it leaves open is as in `metrics`.
"""

from __future__ import annotations

import numpy as np

from cloudfree.arrays import Float64Array, Image
from cloudfree.evaluate import metrics

CROP_PX = 160
"""Side of the centre that counts."""

PSNR_OF_EQUAL = 100.0

_NORM_FLOOR = 9.77e-4
_WINDOW = np.exp(-((np.arange(11) - 5.5) ** 2) / (2 * 1.5**2))


def angle_map(restored: Image, truth: Image) -> Float64Array:
    """Spectral angles (H, W) in degrees, their squared norms floored."""
    return metrics.angle_map(restored, truth, squared_norm_floor=_NORM_FLOOR)


def similarity_map(restored: Image, truth: Image) -> Float64Array:
    """Structural similarity (H, W), the mean of the bands, by the window that is centred between two pixels."""
    return metrics.similarity_map(restored, truth, window=_WINDOW / _WINDOW.sum())


def centre(height: int, width: int) -> tuple[slice, slice]:
    """Rows and columns of the centre that counts, the whole of a smaller image."""
    top, left = max(0, height - CROP_PX) // 2, max(0, width - CROP_PX) // 2
    return slice(top, top + CROP_PX), slice(left, left + CROP_PX)
