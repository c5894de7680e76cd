"""Distances of pixels from a mask, exact up to a reach."""

from __future__ import annotations

import math
from itertools import pairwise, product

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import distance_transform_edt

from cloudfree.arrays import Image, Mask, as_image

_FAR_PX = 100
_CACHED = 64, 512  # rows and columns of distances, compared while the cache holds them


def distance_m(mask: Mask, pixel_size_m: float, reach_m: float) -> Image:
    """Distance (H, W) in metres of each pixel from the mask: exact up to `reach_m`, and more than that beyond."""
    squared = squared_distance_px(mask, math.ceil(reach_m / pixel_size_m))
    return as_image(pixel_size_m * np.sqrt(squared, dtype=np.float32))


def squared_distance_px(mask: Mask, reach_px: int) -> NDArray[np.unsignedinteger]:
    """Squared distance (H, W) of each pixel from the mask, exact up to `reach_px`, and (reach_px + 1)^2 beyond.

    Along columns first, then along rows (Saito and Toriwaki 1994). At 20 pixels that takes a sixth to an eighth of the
    time of a transform of any reach, at 100 a third to two thirds.
    """
    beyond = (reach_px + 1) ** 2
    if reach_px > _FAR_PX:
        return np.minimum(np.rint(distance_transform_edt(~mask) ** 2), beyond).astype(np.uint32)
    along = np.pad(
        _distance_along_columns(mask, reach_px), ((0, 0), (reach_px, reach_px)), constant_values=reach_px + 1
    )
    along *= along
    nearest = along[:, reach_px : reach_px + mask.shape[1]]
    squared = np.empty_like(nearest)
    for row, col in product(*map(range, (0, 0), mask.shape, _CACHED)):
        piece = np.s_[row : row + _CACHED[0], col : col + _CACHED[1]]
        farthest, around = int(nearest[piece].max()), along[piece[0], col : piece[1].stop + 2 * reach_px]
        if around.min() == beyond:
            squared[piece] = beyond
        else:
            # A column farther away than the farthest distance is nearest to no pixel.
            near = _nearest_along_rows(around, min(reach_px, math.isqrt(farthest)))
            squared[piece] = near[:, reach_px : near.shape[1] - reach_px]
    return squared


def _nearest_along_rows(along: NDArray[np.unsignedinteger], reach_px: int) -> NDArray[np.unsignedinteger]:
    """The least (H, W) sum of squared distances along columns and rows; wrong at the ends of rows."""
    beside, flat = np.empty(along.size, along.dtype), along.ravel()  # rows as one, on which arithmetic is fastest
    least = flat.copy()
    for step in range(1, reach_px + 1):
        np.add(flat, step * step, out=beside)
        np.minimum(least[step:], beside[:-step], out=least[step:])
        np.minimum(least[:-step], beside[step:], out=least[:-step])
    return least.reshape(along.shape)


def _distance_along_columns(mask: Mask, reach_px: int) -> NDArray[np.unsignedinteger]:
    """Rows (H, W) to the nearest pixel of the mask above or below, reach + 1 at most."""
    fits = np.uint16 if 2 * (reach_px + 1) ** 2 <= np.iinfo(np.uint16).max else np.uint32
    distance = np.where(mask, fits(0), fits(reach_px + 1))
    for rows in (distance, distance[::-1]):
        for before, row in pairwise(rows):
            np.minimum(row, before + fits(1), out=row)
    return distance
