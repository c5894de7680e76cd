"""Between a scene's grid and a detector's coarser one: means there, bilinear back."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from cloudfree.arrays import Float64Array, Image, Mask, as_image


def averaged(image: Image, known: Mask, shape: tuple[int, int]) -> Image:
    """Means (bands, h, w) of the known pixels of an image (bands, H, W) that is no coarser; NaN where there are none.

    A pixel counts where its centre lies.
    """
    rows, cols = (np.arange(n) * m // n for n, m in zip(known.shape, shape, strict=True))
    firsts = [np.searchsorted(each, np.arange(m)) for each, m in zip((rows, cols), shape, strict=True)]
    count = _sums(known.astype(np.float32), firsts)
    sums = np.stack([_sums(np.where(known, band, np.float32(0)), firsts) for band in image])
    with np.errstate(invalid="ignore"):
        return as_image(np.where(count > 0, sums / np.maximum(count, 1), np.nan))


def stretched(image: Image, shape: tuple[int, int]) -> Image:
    """An image (bands, h, w) interpolated over `shape` (H, W), centres on centres, constant beyond the outermost."""
    if image.shape[1:] == shape:
        return image
    rows, cols = (
        np.clip((np.arange(n) + 0.5) * m / n - 0.5, 0, m - 1) for n, m in zip(shape, image.shape[1:], strict=True)
    )
    return np.stack([_bilinear(band, rows, cols) for band in image])


def _sums(band: Image, firsts: list[NDArray[np.intp]]) -> Image:
    rows = np.add.reduceat(band, firsts[0], axis=0)
    return as_image(np.add.reduceat(rows, firsts[1], axis=1))


def _bilinear(band: Image, rows: Float64Array, cols: Float64Array) -> Image:
    top, left = rows.astype(np.intp), cols.astype(np.intp)
    below, right = np.minimum(top + 1, len(band) - 1), np.minimum(left + 1, band.shape[1] - 1)
    across = as_image(cols - left)
    upper = band[:, left] * (1 - across) + band[:, right] * across
    along = as_image(rows - top)[:, None]
    return as_image(upper[top] * (1 - along) + upper[below] * along)
