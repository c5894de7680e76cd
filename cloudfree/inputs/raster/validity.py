"""Where a raster has data, by all that says so in the file or beside it: nodata, masks, alpha bands."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from rasterio import DatasetReader
from rasterio.enums import ColorInterp, MaskFlags
from rasterio.windows import Window

from cloudfree.arrays import Mask


def complete(dataset: DatasetReader, indexes: tuple[int, ...], window: Window, stored: NDArray[np.generic]) -> Mask:
    """Where all of the bands have data (rows, columns), given their `stored` values (N, rows, columns) of a window.

    A band has none at its own nodata value, at NaN and infinity, and where a mask says so: an internal one, a `.msk`,
    or an alpha band of zero. An alpha band among `indexes` is not treated as one. `stored` may be thinned.
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
    """Where an image has data (rows, columns): its bands are `complete`, and not all zero."""
    nonzero = np.asarray(stored[0] != 0)
    for band in stored[1:]:  # several times as fast as over the axis
        nonzero |= np.asarray(band != 0)
    return complete(dataset, indexes, window, stored) & nonzero


def alpha_bands(dataset: DatasetReader) -> tuple[int, ...]:
    """One-based bands that are called alpha."""
    colours = zip(dataset.indexes, dataset.colorinterp, strict=True)
    return tuple(index for index, colour in colours if colour == ColorInterp.alpha)


def in_words(dataset: DatasetReader, indexes: tuple[int, ...]) -> str:
    """What decides where there is data, in words."""
    nodata = (dataset.nodatavals[index - 1] for index in indexes)
    values = sorted({f"{value:g}" for value in nodata if value is not None})
    parts = [f"nodata {', '.join(values)}"] if values else []
    parts += ["its mask"] if _masked(dataset, indexes) else []
    parts += ["its alpha band"] if _alphas(dataset, indexes) else []
    return " and ".join(parts) or "nothing but zero in all bands"


def _alphas(dataset: DatasetReader, indexes: tuple[int, ...]) -> list[int]:
    """Alpha bands but for `indexes`; GDAL itself uses one in files of two or four bands alone."""
    return [index for index in alpha_bands(dataset) if index not in indexes]


def _masked(dataset: DatasetReader, indexes: tuple[int, ...]) -> list[int]:
    """Bands whose mask has to be read, as it is not made of nodata or alpha; one band where all share the mask."""
    masked = []
    for index in indexes:
        flags = dataset.mask_flag_enums[index - 1]
        of_values = MaskFlags.nodata in flags and MaskFlags.per_dataset not in flags
        if MaskFlags.all_valid in flags or MaskFlags.alpha in flags or of_values:
            continue
        masked.append(index)
        if MaskFlags.per_dataset in flags:
            break
    return masked
