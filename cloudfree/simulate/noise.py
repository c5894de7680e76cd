"""Random fields with the statistics of nature: power-law spectra, whose exponent is the roughness (Mandelbrot 1982).

Land, cloud and speckle are all made of them. The fields are periodic, being sums of waves that fit the canvas; clouds
use that to let a shadow come in from beyond the edge.
"""

from __future__ import annotations

import math

import numpy as np
from scipy import fft

from cloudfree.arrays import Image, as_image


def fractal_noise(
    rng: np.random.Generator,
    shape: tuple[int, int],
    *,
    slope: float,
    outer_px: float,
    inner_px: float = 0.0,
    elongation: float = 1.0,
    direction_rad: float = 0.0,
) -> Image:
    """A periodic Gaussian field (H, W) of mean 0 and standard deviation 1.

    `slope` is the exponent of the amplitude spectrum: 1.3 is rugged, 2 cloud-like, 3 smooth. Features grow no further
    beyond `outer_px` and fade below `inner_px`. An `elongation` above 1 draws them out along `direction_rad`, counted
    from +x towards +y (down the image).
    """
    f2 = _squared_frequency(shape, elongation, direction_rad)
    amplitude = (f2 + np.float32(1 / outer_px**2)) ** np.float32(-slope / 2)
    if inner_px:
        amplitude *= np.exp(f2 * np.float32(-0.5 * inner_px**2))
    amplitude[0, 0] = 0.0  # the mean
    waves = rng.standard_normal((*amplitude.shape, 2), dtype=np.float32).view(np.complex64)[..., 0]
    field = as_image(fft.irfft2(waves * amplitude, s=shape, overwrite_x=True))
    field /= max(field.std(), np.float32(1e-12))
    return field


def fast_shape(height: int, width: int) -> tuple[int, int]:
    """The next larger shape whose Fourier transform is quick; primes are many times slower."""
    return fft.next_fast_len(height, real=True), fft.next_fast_len(width, real=True)


def _squared_frequency(shape: tuple[int, int], elongation: float, direction_rad: float) -> Image:
    fy = fft.fftfreq(shape[0]).astype(np.float32)[:, None]
    fx = fft.rfftfreq(shape[1]).astype(np.float32)[None, :]
    if elongation == 1.0:
        return fx * fx + fy * fy
    cos, sin = np.float32(math.cos(direction_rad)), np.float32(math.sin(direction_rad))
    along, across = fx * cos + fy * sin, fy * cos - fx * sin
    return np.float32(elongation) * along * along + np.float32(1 / elongation) * across * across
