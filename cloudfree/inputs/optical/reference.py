"""A reference: an optical image of a scene's ground on another date, as reflectance on any grid."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from datetime import date

import numpy as np
from numpy.typing import NDArray
from rasterio import DatasetReader
from rasterio.windows import Window

from cloudfree.arrays import Float64Array, Image, Mask
from cloudfree.bands import OPTICAL_BANDS, REFLECTANCE_SCALE
from cloudfree.errors import InputError
from cloudfree.geometry import Displacement, Grid, PixelSource, squared_distance_px
from cloudfree.geometry.resample import PIECE_PX, resample
from cloudfree.inputs import acquisition
from cloudfree.inputs.decision import Decision
from cloudfree.inputs.location import containers
from cloudfree.inputs.location.source import AnyPath, Source
from cloudfree.inputs.masks.codes import State
from cloudfree.inputs.masks.found import FoundClouds
from cloudfree.inputs.masks.mask import BUFFER_M, CloudMask, MaskReader, identify_udm2
from cloudfree.inputs.optical import planet_product, quantity
from cloudfree.inputs.optical.bands import choose_bands
from cloudfree.inputs.raster import access, sample, validity

CLOUD_BUFFER_M = BUFFER_M
"""Ground around the reference's own clouds that is left out too."""

_INPUTS_TAG = "CLOUDFREE_INPUTS"
_STATE = "state its scale and offset (gdal_edit.py -scale -offset)"
_LEAST_REFLECTANCE = REFLECTANCE_SCALE * validity.FAR_UNDER_ZERO
_MASK_ROWS = 16  # of a thinned mask, which are hundreds of its own


@dataclass(frozen=True)
class Reference:
    """An optical image and how its bands become reflectance.

    `band_indexes` are the one-based blue, green, red and NIR; reflectance is the stored number times `scale` plus
    `offset`, by band (4,). `mask` says where the image itself has clouds; `acquired` is its date (UTC) if known;
    `reasons` say why the file was taken for this. `displacement` moves it over the ground when it is read. `found` are
    clouds that were detected in an image without a mask. `made_of`: the inputs that a product of ours states.
    """

    path: Source
    grid: Grid
    band_indexes: tuple[int, ...]
    scale: tuple[float, ...]
    offset: tuple[float, ...]
    mask: CloudMask | None
    acquired: date | None
    reasons: tuple[Decision, ...]
    displacement: Displacement | None = None
    found: FoundClouds | None = None
    made_of: str = ""

    @contextmanager
    def open(self) -> Iterator[ReferenceReader]:
        """A reader of the image's pixels."""
        with ExitStack() as stack:
            dataset = stack.enter_context(access.opened(self.path))
            mask = stack.enter_context(self.mask.open()) if self.mask else None
            yield ReferenceReader(self, dataset, mask)

    def reflectance(self, stored: NDArray[np.generic], known: Mask) -> Image:
        """Stored values (4, H, W) as reflectance, not clipped; NaN in all bands where the file has no data."""
        scale, offset = (np.array(numbers, np.float32)[:, None, None] for numbers in (self.scale, self.offset))
        with np.errstate(over="ignore"):  # nodata of float64 may be its largest number
            values: Image = stored.astype(np.float32) * scale + offset
        values[:, ~known | (values < _LEAST_REFLECTANCE).any(axis=0)] = np.nan
        return values


class ReferenceReader:
    """Reflectance of an open reference on any grid."""

    def __init__(self, reference: Reference, dataset: DatasetReader, mask: MaskReader | None) -> None:
        self._reference = reference
        self._dataset = dataset
        self._mask = mask
        self._buffer_px = CLOUD_BUFFER_M / reference.grid.pixel_size_m
        self._source = PixelSource(reference.grid, len(OPTICAL_BANDS), self._clear_reflectance)

    def on_grid(self, grid: Grid, all_cores: bool = False) -> Image:
        """Reflectance (4, H, W) of blue, green, red and NIR on `grid`, moved over the ground by its displacement.

        NaN beyond the image, where it has no data, and up to `CLOUD_BUFFER_M` around its own clouds, which move with
        it. Onto a finer grid it is interpolated bilinearly, onto a coarser one averaged by area. Only what lies under
        `grid` is read, in pieces; on all cores if `all_cores`.
        """
        # An average looks at more of the image; pieces of fewer pixels keep the memory of one the same.
        piece_px = max(1, PIECE_PX // self._source.parts_of(grid))
        return resample(self._source, grid, self._reference.displacement, piece_px, all_cores=all_cores)

    def _clear_reflectance(self, window: Window) -> Image:
        """Reflectance of a window (4, rows, columns) in the image's own pixels, NaN where the ground is not seen."""
        indexes = self._reference.band_indexes
        stored = access.read(self._dataset, list(indexes), window)
        values = self._reference.reflectance(stored, validity.of_image(self._dataset, indexes, window, stored))
        own = self._reference.grid.window(window.row_off, window.col_off, window.height, window.width)
        if self._mask:
            values[:, self._mask.states(own) == State.UNKNOWN] = np.nan
            values[:, self._near_cloud(self._mask, window)] = np.nan
        if self._reference.found:
            values[:, self._reference.found.on_grid(own)] = np.nan
        return values

    def _near_cloud(self, mask: MaskReader, window: Window) -> Mask:
        """The mask and its buffer in a window, by as much of the mask around it as the buffer reaches."""
        reach, height, width = math.ceil(self._buffer_px), window.height, window.width
        around = self._reference.grid.window(
            window.row_off - reach, window.col_off - reach, height + 2 * reach, width + 2 * reach
        )
        near = squared_distance_px(mask.on_grid(around), reach) <= self._buffer_px**2
        return np.asarray(near[reach : reach + height, reach : reach + width])


def identify_reference(path: AnyPath, area: Grid) -> Reference:
    """Identify an optical image of another date, or the one in a container, by what it shows of `area`.

    With the UDM2 beside it, if there is one. Raises InputError or GridError where it is of no use there.
    """
    source, chosen = containers.one(Source.of(path), containers.REFERENCE)
    with access.opened(source) as dataset:
        access.refuse_complex(dataset, "reflectance is needed: give an optical image, not radar")
        grid = Grid.of(dataset)
        indexes, which = choose_bands(dataset, is_planet=False)
        udm2 = planet_product.find(source, planet_product.UDM2)
        stored, window = sample.over(dataset, indexes, grid, area, "a reference")
        known = validity.of_image(dataset, indexes, window, stored)
        if count := validity.undeclared_px(dataset, indexes, window, stored, validity.undeclared_fill(stored)):
            validity.tell_fill(source.name, f"{100 * count / known.size:.1f} % of pixels")
        mask = identify_udm2(udm2, area) if udm2 else None
        thinned = grid.window(window.row_off, window.col_off, window.height, window.width).resized(*known.shape)
        values = _clear(source.name, stored, known, mask, thinned)
        radiometry = quantity.identify(dataset, indexes, values)
        scale, offset = np.array(radiometry.scale)[:, None], np.array(radiometry.offset)[:, None]
        _refuse_no_reflectance(source.name, indexes, values * scale + offset)
        quantity.check(source.name, dataset.dtypes[indexes[0] - 1], values, radiometry, _STATE)
        moment = acquisition.of(dataset).moment
        acquired = moment.date() if moment else None
        reasons = which, *(replace(reason, option=None) for reason in radiometry.reasons), *chosen
        made_of, scaling = dataset.tags().get(_INPUTS_TAG, ""), (radiometry.scale, radiometry.offset)
        return Reference(source, grid, indexes, *scaling, mask, acquired, reasons, made_of=made_of)


def _clear(name: str, stored: NDArray[np.generic], known: Mask, mask: CloudMask | None, grid: Grid) -> Float64Array:
    """The values (4, N) of a sample on `grid` with data and without cloud. Raises InputError where there are none."""
    if not known.any():
        raise InputError(
            f"{name} has no valid pixel over the scene (all zero, NaN or nodata); an image that sees the ground there "
            "is needed: take another date"
        )
    if mask:
        known = known & ~_cloudy(mask, grid)
        if not known.any():
            raise InputError(
                f"{name} has no clear pixel over the scene, by {mask.path.name}; an image that sees the ground there "
                "is needed: take another date"
            )
    return stored[:, known].astype(np.float64)


def _cloudy(mask: CloudMask, grid: Grid) -> Mask:
    """A mask on a coarse grid (H, W), of which a few rows hold much of it."""
    with mask.open() as reader:
        return np.concatenate([reader.on_grid(strip) for strip in grid.strips(_MASK_ROWS)])


def _refuse_no_reflectance(name: str, indexes: tuple[int, ...], reflectance: Float64Array) -> None:
    """Raise InputError where values (4, N) cannot be reflectance of land or water."""
    median = float(np.median(reflectance))
    if median < 0:
        raise InputError(
            f"{name} has a median of {median:.3g} over the scene; reflectance is positive: give an optical image, "
            "not radar or an index, and see that its nodata is declared"
        )
    for index, lowest, highest in zip(indexes, reflectance.min(axis=1), reflectance.max(axis=1), strict=True):
        if lowest == highest:
            raise InputError(
                f"band {index} of {name} is {lowest:.3g} everywhere over the scene; an image that shows the ground is "
                "needed: take another date, or export it again"
            )
