"""How samples are varied: symmetries of the square, colour jitter, radar as coarse as it comes; and chosen."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TypeVar

import numpy as np
from scipy import ndimage

from cloudfree.arrays import Image, as_image
from cloudfree.bands import TYPICAL_SAR_DB
from cloudfree.simulate.surface import EQUIVALENT_LOOKS

_SAR_PIXEL_PX = 3  # a radar pixel's side in pixels of the scene: 10 m and 3 m
_LOOKS = (4.0, 30.0)
# Reflectance of clear air over land, at most, in blue, green, red and NIR.
_AIR, _AIR_SHARE = np.array([0.08, 0.05, 0.03, 0.01], np.float32), 0.3

T = TypeVar("T")


def pick(rng: np.random.Generator, items: Sequence[T]) -> T:
    """One of them, each as likely."""
    return items[int(rng.integers(len(items)))]


def choice(rng: np.random.Generator, shares: Mapping[str, float]) -> str:
    """One of the names, as likely as its share of the sum of all."""
    return str(rng.choice(list(shares), p=np.array(list(shares.values())) / sum(shares.values())))


def draw_d4(rng: np.random.Generator) -> Callable[[Image], Image]:
    """One of the eight symmetries of the square (the group D4), to be done to images (bands, H, W)."""
    turns, flip = int(rng.integers(4)), rng.random() < 0.5
    return lambda image: np.rot90(image, turns, (1, 2))[..., :: -1 if flip else 1]


def random_d4(rng: np.random.Generator, *images: Image) -> list[Image]:
    """One of the eight symmetries of the square, the same for all images (bands, H, W)."""
    return list(map(draw_d4(rng), images))


def colour_jitter(rng: np.random.Generator, reflectance: Image, sar_db: Image) -> tuple[Image, Image]:
    """Other seasons, soils, sensors and incidence angles, mildly: gains of each band, shared for the most part.

    Reflectance (4, H, W) is scaled and stays within 0..1; in a share of the cases the light of the air is added, as in
    top-of-atmosphere products. Backscatter (2, H, W) in dB is shifted.
    """
    gain = np.exp(rng.normal(0, 0.15) + rng.normal(0, 0.05, 4)).astype(np.float32)
    air = rng.uniform(0, 1) * _AIR if rng.random() < _AIR_SHARE else np.zeros(4, np.float32)
    offset_db = (rng.normal(0, 0.8) + rng.normal(0, 0.3, 2)).astype(np.float32)
    lit = reflectance * gain[:, None, None] + as_image(air)[:, None, None]
    return np.clip(lit, 0, 1), sar_db + offset_db[:, None, None]


def without_vh(sar_db: Image) -> Image:
    """Radar (2, H, W) in dB as it is shown where an image has VV alone: VH is what is typical of land."""
    return np.stack([sar_db[0], np.full_like(sar_db[1], TYPICAL_SAR_DB[1])])


def speckle(rng: np.random.Generator, sar_db: Image) -> Image:
    """Radar (2, H, W) in dB with speckle of a number of looks: means of many acquisitions have none of their own."""
    looks = rng.uniform(*_LOOKS)
    return as_image(sar_db + 10 * np.log10(np.maximum(rng.gamma(looks, 1 / looks, sar_db.shape), 1e-3)))


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
