"""How samples are varied: symmetries of the square, colour jitter, and radar as coarse as it comes with a scene."""

from __future__ import annotations

import numpy as np
from scipy import ndimage

from cloudfree.arrays import Image, as_image
from cloudfree.simulate.surface import EQUIVALENT_LOOKS

_SAR_PIXEL_PX = 3  # a radar pixel's side in pixels of the scene: 10 m and 3 m


def random_d4(rng: np.random.Generator, *images: Image) -> list[Image]:
    """One of the eight symmetries of the square (the group D4), the same for all images (bands, H, W)."""
    turns, flip = int(rng.integers(4)), rng.random() < 0.5
    rotated = [np.rot90(image, turns, (1, 2)) for image in images]
    return [image[..., ::-1] if flip else image for image in rotated]


def colour_jitter(rng: np.random.Generator, reflectance: Image, sar_db: Image) -> tuple[Image, Image]:
    """Other seasons, soils, sensors and incidence angles, mildly: gains of each band, shared for the most part.

    Reflectance (4, H, W) is scaled and stays within 0..1; backscatter (2, H, W) in dB is shifted.
    """
    gain = np.exp(rng.normal(0, 0.15) + rng.normal(0, 0.05, 4)).astype(np.float32)
    offset_db = (rng.normal(0, 0.8) + rng.normal(0, 0.3, 2)).astype(np.float32)
    return np.clip(reflectance * gain[:, None, None], 0, 1), sar_db + offset_db[:, None, None]


def coarse_sar(rng: np.random.Generator, sar_db: Image) -> Image:
    """Radar (2, H, W) in dB as it comes with a scene whose pixels are three times finer, and as many pixels of it.

    Its power is averaged over its own larger pixels, speckled there, and interpolated.
    """
    _, height, width = sar_db.shape
    rows, columns = -(-height // _SAR_PIXEL_PX), -(-width // _SAR_PIXEL_PX)
    power = ndimage.uniform_filter(10 ** (sar_db / 10), (0, _SAR_PIXEL_PX, _SAR_PIXEL_PX))
    speckle = rng.gamma(EQUIVALENT_LOOKS, 1 / EQUIVALENT_LOOKS, (2, rows, columns))
    coarse = power[:, ::_SAR_PIXEL_PX, ::_SAR_PIXEL_PX] * speckle
    y = (np.arange(height) / _SAR_PIXEL_PX)[:, None].repeat(width, 1)
    x = (np.arange(width) / _SAR_PIXEL_PX)[None].repeat(height, 0)
    decibels = 10 * np.log10(np.maximum(coarse, 1e-5))
    return as_image(np.stack([ndimage.map_coordinates(band, (y, x), order=1, mode="nearest") for band in decibels]))
