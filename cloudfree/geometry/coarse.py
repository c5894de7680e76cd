"""Between an image and a coarser grid of the same outline: area averages down, bilinear interpolation up."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

from cloudfree.arrays import Image, Mask, known_of


def averaged(image: Image, valid: Mask, shape: tuple[int, int]) -> Image:
    """The mean (C, h, w) over the valid pixels (H, W) of an image (C, H, W) in each coarse pixel; NaN where none is."""
    share = _area_sum(valid.astype(np.float32), shape)
    total = np.stack([_area_sum(np.where(valid, band, np.float32(0)), shape) for band in image])
    return np.where(share > 0, total / np.maximum(share, 1e-6), np.nan).astype(np.float32)


def touched(mask: Mask, shape: tuple[int, int]) -> Mask:
    """The coarse pixels (h, w) that a mask (H, W) reaches into."""
    return np.asarray(_area_sum(mask.astype(np.float32), shape) > 0)


def upsampled(image: Image, shape: tuple[int, int], rows: slice, cols: slice = slice(None)) -> Image:
    """A window (C, rows, cols) of an image (C, h, w) over `shape` (H, W): bilinear, constant beyond the outer centres.

    Every value depends on its own position alone, so that strips equal the whole.
    """
    (above, below, down), (left, right, across) = (
        neighbours(length, full, chosen)
        for length, full, chosen in zip(image.shape[1:], shape, (rows, cols), strict=True)
    )
    band = image[:, above] + (image[:, below] - image[:, above]) * down[:, None]
    near, values = band[..., left], band[..., right]
    values -= near
    values *= across
    values += near
    return values


def neighbours(length: int, full: int, chosen: slice) -> tuple[NDArray[np.intp], NDArray[np.intp], Image]:
    """For pixels of an axis upsampled from `length` to `full`: the two nearest before, and the share of the second."""
    position = np.clip((np.arange(full)[chosen] + 0.5) * length / full - 0.5, 0, length - 1)
    before = np.minimum(position.astype(np.intp), max(0, length - 2))
    return before, np.minimum(before + 1, length - 1), (position - before).astype(np.float32)


def without_gaps(image: Image, valid: Mask) -> Image:
    """The image (C, h, w) with its invalid pixels filled from the valid ones (h, w), at ever coarser resolution.

    Zero where nothing is valid.
    """
    if valid.all():
        return image
    if not valid.any():
        return np.zeros_like(image)
    half = (-(-valid.shape[0] // 2), -(-valid.shape[1] // 2))
    coarser = averaged(image, valid, half)
    filled = without_gaps(coarser, known_of(coarser))
    return np.where(valid, image, upsampled(filled, (valid.shape[0], valid.shape[1]), slice(0, valid.shape[0])))


@lru_cache(maxsize=8)
def overlaps(length: int, parts: int) -> csr_array:
    """How many pixels (parts, length) of an axis each of its equal parts shares with each pixel; sparse."""
    cuts = np.unique(np.concatenate([np.arange(length + 1), np.arange(parts + 1) * length / parts]))
    middles = (cuts[1:] + cuts[:-1]) / 2
    part, pixel = (middles * parts / length).astype(np.intp), middles.astype(np.intp)
    return csr_array((np.diff(cuts).astype(np.float32), (part, pixel)), shape=(parts, length))


def _area_sum(band: Image, shape: tuple[int, int]) -> Image:
    """The sum (h, w) of a band (H, W) over the area of each coarse pixel."""
    down, across = (overlaps(fine, coarse) for fine, coarse in zip(band.shape, shape, strict=True))
    summed: Image = (across @ (down @ band).T).T
    return summed
