"""Between a scene at full resolution and its coarse grid: averages on the way down, interpolation on the way up."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from cloudfree.arrays import Image, Mask, known_of


def averaged(image: Image, valid: Mask, shape: tuple[int, int]) -> Image:
    """The mean (C, h, w) over the valid pixels (H, W) of an image (C, H, W) in each coarse pixel; NaN where none is."""
    down, across = (_overlap(*lengths) for lengths in zip(shape, valid.shape, strict=True))
    weight = valid.astype(np.float32)
    total, share = down @ np.where(valid, image, 0) @ across.T, down @ weight @ across.T
    return np.where(share > 0, total / np.maximum(share, 1e-6), np.nan).astype(np.float32)


def touched(mask: Mask, shape: tuple[int, int]) -> Mask:
    """The coarse pixels (h, w) that a mask (H, W) reaches into."""
    down, across = (_overlap(*lengths) for lengths in zip(shape, mask.shape, strict=True))
    return np.asarray(down @ mask.astype(np.float32) @ across.T > 0)


def stretched(image: Image, shape: tuple[int, int], rows: slice, cols: slice = slice(None)) -> Image:
    """A window (C, rows, cols) of an image (C, h, w) over `shape` (H, W): bilinear, constant beyond the outer centres.

    Every value depends on its own position alone, so that strips equal the whole.
    """
    (above, below, down), (left, right, across) = (
        neighbours(length, full, chosen)
        for length, full, chosen in zip(image.shape[1:], shape, (rows, cols), strict=True)
    )
    band = image[:, above] + (image[:, below] - image[:, above]) * down[:, None]
    near, found = band[..., left], band[..., right]
    found -= near
    found *= across
    found += near
    return found


def neighbours(length: int, full: int, chosen: slice) -> tuple[NDArray[np.intp], NDArray[np.intp], Image]:
    """For pixels of an axis stretched from `length` to `full`: the two nearest before, and the share of the second."""
    position = np.clip((np.arange(full)[chosen] + 0.5) * length / full - 0.5, 0, length - 1)
    before = np.minimum(position.astype(np.intp), max(0, length - 2))
    return before, np.minimum(before + 1, length - 1), (position - before).astype(np.float32)


def without_gaps(image: Image, valid: Mask) -> Image:
    """The image (C, h, w) with its invalid pixels filled from the valid ones (h, w), at ever coarser resolution.

    Nothing is valid: zero.
    """
    if valid.all():
        return image
    if not valid.any():
        return np.zeros_like(image)
    half = (-(-valid.shape[0] // 2), -(-valid.shape[1] // 2))
    coarser = averaged(image, valid, half)
    filled = without_gaps(coarser, known_of(coarser))
    return np.where(valid, image, stretched(filled, (valid.shape[0], valid.shape[1]), slice(0, valid.shape[0])))


def _overlap(coarse: int, fine: int) -> Image:
    """(coarse, fine): the share of each coarse pixel of an axis that lies in each fine one; rows sum to one."""
    edges = np.arange(coarse + 1)[:, None] * (fine / coarse)
    covered = np.clip(edges - np.arange(fine), 0, 1)
    return (np.diff(covered, axis=0) * -1 * (coarse / fine)).astype(np.float32)
