"""How near a restored image is to the truth, by the usual measures and their true definitions.

Images are (C, H, W) reflectance; `mask` (H, W) chooses the pixels that count, all where it is None. Each measure is of
the chosen pixels alone: a score under cloud is not diluted by the clear pixels around it. Of no pixel, it is NaN.
Angles and similarity are maps, whose `mean` is the measure of any pixels.
"""

from __future__ import annotations

import math

import numpy as np
from scipy import ndimage

from cloudfree.arrays import Float64Array, Image, Mask

# Wang et al. (2004): a Gaussian window of 11 pixels, and two constants that keep flat areas from dividing by nothing.
_SSIM_WINDOW = np.exp(-((np.arange(11) - 5) ** 2) / (2 * 1.5**2))
_SSIM_WINDOW /= _SSIM_WINDOW.sum()
_SSIM_K1, _SSIM_K2 = 0.01, 0.03


def psnr(restored: Image, truth: Image, mask: Mask | None = None) -> float:
    """Peak signal-to-noise ratio in dB: -10 log10(MSE), one MSE over pixels and bands; infinite if equal."""
    squared = np.square(restored.astype(np.float64) - truth).mean(0)
    chosen = squared if mask is None else squared[mask]
    error = float(np.sqrt(chosen.mean())) if chosen.size else math.nan
    return math.inf if error == 0 else float(20 * np.log10(1 / error))


def mean(values: Float64Array, mask: Mask | None = None) -> float:
    """The mean of the chosen values (H, W) that are numbers, NaN if none is: mean absolute error, angle, similarity."""
    chosen = values[~np.isnan(values) if mask is None else mask & ~np.isnan(values)]
    return float(chosen.mean()) if chosen.size else math.nan


def angle_map(restored: Image, truth: Image, squared_norm_floor: float = 0.0) -> Float64Array:
    """Spectral angles (H, W) in degrees, 0..180: between the band vectors of a pixel, blind to brightness.

    NaN where either vector is zero: such a pixel does not count.
    """
    a, b = restored.astype(np.float64), truth.astype(np.float64)
    lengths = np.sqrt(np.maximum((a * a).sum(0), squared_norm_floor) * np.maximum((b * b).sum(0), squared_norm_floor))
    with np.errstate(invalid="ignore", divide="ignore"):
        angle: Float64Array = np.degrees(np.arccos(np.clip((a * b).sum(0) / lengths, -1, 1)))
    return angle


def similarity_map(restored: Image, truth: Image, window: Float64Array = _SSIM_WINDOW) -> Float64Array:
    """Structural similarity (H, W) of Wang et al. (2004) for values of 0..1, the mean of the bands.

    Gaussian windows of standard deviation 1.5, 11 pixels wide, reflected at the image's edge. A window reaches past
    the mask that is later laid over the map, so pixels within 5 of it take part.
    """
    bands = [_ssim_map(a, b, window) for a, b in zip(restored, truth, strict=True)]
    return np.asarray(np.mean(bands, axis=0))


def _ssim_map(restored: Image, truth: Image, window: Float64Array) -> Float64Array:
    def local_mean(image: Float64Array) -> Float64Array:
        smooth: Float64Array = ndimage.correlate1d(ndimage.correlate1d(image, window, axis=0), window, axis=1)
        return smooth

    a, b = restored.astype(np.float64), truth.astype(np.float64)
    mean_a, mean_b = local_mean(a), local_mean(b)
    spread = local_mean(a * a) - mean_a**2 + local_mean(b * b) - mean_b**2
    covariance = local_mean(a * b) - mean_a * mean_b
    c1, c2 = _SSIM_K1**2, _SSIM_K2**2
    similarity: Float64Array = (
        (2 * mean_a * mean_b + c1) * (2 * covariance + c2) / ((mean_a**2 + mean_b**2 + c1) * (spread + c2))
    )
    return similarity
