"""Where a raster has data: whatever says so, in the file or beside it, holds together."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from rasterio import DatasetReader
from rasterio.enums import ColorInterp, MaskFlags
from rasterio.windows import Window

from cloudfree.arrays import Mask


def complete(dataset: DatasetReader, indexes: tuple[int, ...], window: Window, stored: NDArray[np.generic]) -> Mask:
    """Where all of the bands have data (rows, columns), given their `stored` values (N, rows, columns) of a window.

    A band lacks it at its own nodata value, at NaN and infinity, and where the dataset's mask says so: internal,
    `.msk`, or an alpha band of zero. An alpha band among `indexes` is not believed to be one. `stored` may be thinned.
    """
    known = np.isfinite(stored).all(axis=0) if stored.dtype.kind == "f" else np.ones(stored.shape[1:], bool)
    for index, values in zip(indexes, stored, strict=True):
        nodata = dataset.nodatavals[index - 1]
        if nodata is not None and not np.isnan(nodata):
            known &= values != nodata
    for index in _masked(dataset, indexes):
        known &= dataset.read_masks(index, window=window, out_shape=stored.shape[1:]) > 0
    for index in _alphas(dataset, indexes):
        known &= dataset.read(index, window=window, out_shape=stored.shape[1:]) > 0
    return np.asarray(known)


def of_image(dataset: DatasetReader, indexes: tuple[int, ...], window: Window, stored: NDArray[np.generic]) -> Mask:
    """Where an image says something (rows, columns): its bands are `complete`, and not zero in each."""
    some = np.asarray(stored[0] != 0)
    for band in stored[1:]:  # several times as fast as over the axis
        some |= np.asarray(band != 0)
    return complete(dataset, indexes, window, stored) & some


def alpha_bands(dataset: DatasetReader) -> tuple[int, ...]:
    """One-based bands that are called alpha."""
    colours = zip(dataset.indexes, dataset.colorinterp, strict=True)
    return tuple(index for index, colour in colours if colour == ColorInterp.alpha)


def in_words(dataset: DatasetReader, indexes: tuple[int, ...]) -> str:
    """What says where there is data."""
    nodata = (dataset.nodatavals[index - 1] for index in indexes)
    values = sorted({f"{value:g}" for value in nodata if value is not None})
    found = [f"nodata {', '.join(values)}"] if values else []
    found += ["its mask"] if _masked(dataset, indexes) else []
    found += ["its alpha band"] if _alphas(dataset, indexes) else []
    return " and ".join(found) or "nothing but zero in all bands"


def _alphas(dataset: DatasetReader, indexes: tuple[int, ...]) -> list[int]:
    """Alpha bands beside the ones asked for; GDAL itself heeds one in files of two or four bands alone."""
    return [index for index in alpha_bands(dataset) if index not in indexes]


def _masked(dataset: DatasetReader, indexes: tuple[int, ...]) -> list[int]:
    """Bands whose mask has to be read, for it is not of values or of alpha; one where all share it."""
    found = []
    for index in indexes:
        flags = dataset.mask_flag_enums[index - 1]
        of_values = MaskFlags.nodata in flags and MaskFlags.per_dataset not in flags
        if MaskFlags.all_valid in flags or MaskFlags.alpha in flags or of_values:
            continue
        found.append(index)
        if MaskFlags.per_dataset in flags:
            break
    return found
