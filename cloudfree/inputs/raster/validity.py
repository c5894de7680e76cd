"""Where a raster has data, by all that says so in the file or beside it: nodata, masks, alpha bands."""

from __future__ import annotations

import logging
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rasterio import DatasetReader
from rasterio.enums import ColorInterp, MaskFlags
from rasterio.windows import Window

from cloudfree.arrays import Float64Array, Mask

log = logging.getLogger(__name__)

FAR_UNDER_ZERO = -5000
"""No reflectance is stored as less, as a fraction or x 10000: -9999, -32768, -3.4e38 are fill."""
_SATURATED = 65535
"""Floats of all bands over this are fill: 1e20, 9.97e36."""
_ALIKE_UNDER, _ALIKE_OVER = -50, 32767
"""Bands that are all the same are fill at -1, under the one (-99, -999), and from the other on: 65535, or 55537, which
is -9999 in uint16."""


def complete(
    dataset: DatasetReader,
    indexes: tuple[int, ...],
    window: Window,
    stored: NDArray[np.generic],
    spared: Mask | None = None,
) -> Mask:
    """Where all of the bands have data (rows, columns), given their `stored` values (N, rows, columns) of a window.

    A band has none at its own nodata value, but where it is `spared` (rows, columns) or (N, rows, columns); at NaN and
    infinity; and where a mask says so: an internal one, a `.msk`, or an alpha band of zero. An alpha band among
    `indexes` is not treated as one. `stored` may be thinned.
    """
    known = np.isfinite(stored).all(axis=0) if stored.dtype.kind == "f" else np.ones(stored.shape[1:], bool)
    for number, (index, values) in enumerate(zip(indexes, stored, strict=True)):
        nodata = dataset.nodatavals[index - 1]
        if nodata is not None and not np.isnan(nodata):
            is_data = values != nodata
            known &= is_data if spared is None else is_data | np.broadcast_to(spared, stored.shape)[number]
    for index in _masked(dataset, indexes):
        known &= dataset.read_masks(index, window=window, out_shape=stored.shape[1:]) > 0
    for index in _alphas(dataset, indexes):
        known &= dataset.read(index, window=window, out_shape=stored.shape[1:]) > 0
    return np.asarray(known)


def of_image(
    dataset: DatasetReader,
    indexes: tuple[int, ...],
    window: Window,
    stored: NDArray[np.generic],
    dark: Float64Array | None = None,
) -> Mask:
    """Where an optical image has data (rows, columns): its bands are `complete`, not all zero, and no undeclared fill.

    `dark` (N,): numbers that dark ground stays under. Where all bands do, one at a nodata of zero is as dark as that,
    as water is in the near infrared.
    """
    nonzero = np.asarray(stored[0] != 0)
    for band in stored[1:]:  # several times as fast as over the axis
        nonzero |= np.asarray(band != 0)
    spared = None
    if dark is not None and all(dataset.nodatavals[index - 1] == 0 for index in indexes):
        spared = np.logical_and.reduce([band < most for band, most in zip(stored, dark, strict=True)])
    return complete(dataset, indexes, window, stored, spared) & nonzero & ~undeclared_fill(stored)


def undeclared_fill(stored: NDArray[Any]) -> Mask:
    """Where an image's values (N, rows, columns) are such that they stand for no data, declared or not."""
    fill, first = np.zeros(stored.shape[1:], bool), stored[0]
    if stored.dtype.itemsize == 1:
        return fill
    has_sign = stored.dtype.kind != "u"
    suspect = first >= _ALIKE_OVER
    if has_sign:
        suspect |= (first == -1) | (first <= _ALIKE_UNDER)
    if suspect.any():
        fill |= suspect & (stored == first).all(axis=0)
        fill |= (stored > _SATURATED).all(axis=0)
    if has_sign and (stored < FAR_UNDER_ZERO).any():
        fill |= (stored < FAR_UNDER_ZERO).any(axis=0)
    return fill


def undeclared_px(
    dataset: DatasetReader, indexes: tuple[int, ...], window: Window, stored: NDArray[np.generic], fill: Mask
) -> int:
    """How many pixels of `fill` (rows, columns) are data by all that a file says."""
    return int((fill & complete(dataset, indexes, window, stored)).sum()) if fill.any() else 0


def tell_fill(name: str, amount: str) -> None:
    """Warn of fill in so much of a file."""
    log.warning(
        "%s has %s that are no reflectance (far under zero, or saturated in all bands), which it does not declare as "
        "nodata; they count as no data",
        name,
        amount,
    )


def lacking(dataset: DatasetReader, indexes: tuple[int, ...], stored: NDArray[np.generic]) -> Mask:
    """Where values (N, rows, columns) are at their nodata in some of the bands, and not in the others."""
    nodata = [dataset.nodatavals[index - 1] for index in indexes]
    at_nodata = np.stack([band == value for band, value in zip(stored, nodata, strict=True)])
    return np.asarray(at_nodata.any(axis=0) & ~at_nodata.all(axis=0))


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
    return f"{' and '.join(parts) or 'zero in all bands'}, and numbers that are no reflectance"


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
