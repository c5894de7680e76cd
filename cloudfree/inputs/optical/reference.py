"""A reference: an optical image of a scene's ground on another date, as reflectance on any grid."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import date

import numpy as np
from numpy.typing import NDArray
from rasterio import DatasetReader
from rasterio.windows import Window

from cloudfree.arrays import Float64Array, Image, Mask
from cloudfree.bands import OPTICAL_BANDS, PLANET_BANDS
from cloudfree.errors import InputError
from cloudfree.geometry.displacement import Displacement
from cloudfree.geometry.distance import squared_distance_px
from cloudfree.geometry.grid import Grid
from cloudfree.geometry.resample import PIECE_PX, PixelSource, resample
from cloudfree.inputs import acquisition
from cloudfree.inputs.location import containers
from cloudfree.inputs.location.source import AnyPath, Source
from cloudfree.inputs.masks.codes import State
from cloudfree.inputs.masks.mask import BUFFER_M, CloudMask, MaskReader, identify_udm2
from cloudfree.inputs.optical import planet_product, quantity
from cloudfree.inputs.optical.bands import band_words, bands_by_words
from cloudfree.inputs.optical.scene import is_product
from cloudfree.inputs.raster import access, validity

CLOUD_BUFFER_M = BUFFER_M
"""Ground around the reference's own clouds that is left out too."""

_LEAST_REFLECTANCE = -0.5  # under it lies fill that no tag declares: -9999, -32768
_MASK_ROWS = 16  # of a thinned mask that are taken at once: hundreds of its own


@dataclass(frozen=True)
class Reference:
    """An optical image and how its bands become reflectance.

    `band_indexes` are the one-based blue, green, red and NIR; reflectance is what is stored times `scale` plus
    `offset`. `mask` says where it has clouds itself; `acquired` is its date, where that is known; `reasons` say in
    words why the file was taken for this. `displacement` is how far it is moved over the ground when it is read.
    """

    path: Source
    grid: Grid
    band_indexes: tuple[int, ...]
    scale: tuple[float, ...]
    offset: tuple[float, ...]
    mask: CloudMask | None
    acquired: date | None
    reasons: tuple[str, ...]
    displacement: Displacement | None = None

    @contextmanager
    def open(self) -> Iterator[ReferenceReader]:
        """A reader of the image's pixels."""
        with ExitStack() as stack:
            dataset = stack.enter_context(access.opened(self.path))
            mask = stack.enter_context(self.mask.open()) if self.mask else None
            yield ReferenceReader(self, dataset, mask)

    def reflectance(self, stored: NDArray[np.generic], known: Mask) -> Image:
        """Stored values (4, H, W) as reflectance, not clipped; NaN in all bands where the file has no data."""
        scale, offset = (np.array(each, np.float32)[:, None, None] for each in (self.scale, self.offset))
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
        """Blue, green, red and NIR reflectance (4, H, W) on `grid`, displaced over the ground by its displacement.

        NaN where the image says nothing: without data, beyond it, and up to `CLOUD_BUFFER_M` around its own clouds,
        which move with it. Going finer, it is interpolated bilinearly; going coarser, averaged by area; either once,
        from what lies under `grid` alone, which is read in pieces, on `all_cores` if so told.
        """
        # An average looks at more of the image; pieces of fewer pixels keep the memory of one the same.
        piece_px = max(1, PIECE_PX // self._source.parts_of(grid))
        return resample([self._source], grid, self._reference.displacement, piece_px, all_cores=all_cores)

    def _clear_reflectance(self, window: Window) -> Image:
        """Reflectance of a window (4, rows, columns) in the image's own pixels, NaN where the ground is not seen."""
        indexes = self._reference.band_indexes
        stored = access.read(self._dataset, list(indexes), window)
        values = self._reference.reflectance(stored, validity.of_image(self._dataset, indexes, window, stored))
        if self._mask:
            own = self._reference.grid.window(window.row_off, window.col_off, window.height, window.width)
            values[:, self._mask.states(own) == State.UNKNOWN] = np.nan
            values[:, self._near_cloud(self._mask, window)] = np.nan
        return values

    def _near_cloud(self, mask: MaskReader, window: Window) -> Mask:
        """The mask and its buffer in a window, by as much of the mask around it as the buffer reaches."""
        reach, height, width = math.ceil(self._buffer_px), window.height, window.width
        around = self._reference.grid.window(
            window.row_off - reach, window.col_off - reach, height + 2 * reach, width + 2 * reach
        )
        near = squared_distance_px(mask.on_grid(around), reach) <= self._buffer_px**2
        return np.asarray(near[reach : reach + height, reach : reach + width])


def identify_reference(told: AnyPath, area: Grid) -> Reference:
    """What an optical image is, or the one in a container, judged where it lies over `area`.

    With the UDM2 beside it if there is one. Raises InputError or GridError where it is of no use there.
    """
    path, taken = containers.one(Source.of(told), containers.REFERENCE)
    with access.opened(path) as dataset:
        _refuse_complex(dataset)
        grid = Grid.of(dataset)
        indexes, why_bands = _bands(dataset)
        udm2 = planet_product.find(path, planet_product.UDM2)
        sample, thinned = access.sample_over(dataset, list(indexes), area, "a reference")
        row0, row1, col0, col1 = grid.pixel_bounds_of(area)
        known = validity.of_image(dataset, indexes, Window(col0, row0, col1 - col0, row1 - row0), sample)
        mask = identify_udm2(udm2, area) if udm2 else None
        values = _clear(path.name, sample, known, mask, thinned)
        found = quantity.identify(path, dataset, indexes, values)
        scale, offset = np.array(found.scale)[:, None], np.array(found.offset)[:, None]
        _refuse_no_reflectance(path.name, indexes, values * scale + offset)
        reasons = why_bands, found.reasons[1].why, str(found.reasons[0]), *map(str, taken)
        return Reference(path, grid, indexes, found.scale, found.offset, mask, _acquired(dataset), reasons)


# --- which band is which colour ---


def _bands(dataset: DatasetReader) -> tuple[tuple[int, ...], str]:
    """One-based blue, green, red and NIR, and the reason: by names, Planet's order, colours, or position."""
    words = [band_words(dataset, index) for index in dataset.indexes]
    colours = [{colour.name} - {"undefined", "gray"} for colour in dataset.colorinterp]
    if found := bands_by_words(words):
        why = "band descriptions or tags"
    elif is_product(dataset):
        found, why = PLANET_BANDS[dataset.count], f"order of PlanetScope's {dataset.count}-band product"
    elif found := bands_by_words(colours):
        why = "color interpretation"
    elif (found := _by_position(dataset)) and not set().union(*words, *colours) & {*OPTICAL_BANDS, "alpha"}:
        why = "by position, for nothing names them"
    else:
        raise InputError(
            f"blue, green, red and NIR cannot be told apart in {_listing(dataset)}; one band named each is needed: "
            "name the bands with rio edit-info --bidx N --description NAME"
        )
    return found, f"blue, green, red, NIR are bands {', '.join(map(str, found))}: {why}"


def _by_position(dataset: DatasetReader) -> tuple[int, ...] | None:
    """Four bands in order; eight only in the type of a PlanetScope scene, whose name may have been changed."""
    return PLANET_BANDS.get(dataset.count) if dataset.count == 4 or dataset.dtypes[0] == "uint16" else None


def _listing(dataset: DatasetReader) -> str:
    texts = [text or colour.name for text, colour in zip(dataset.descriptions, dataset.colorinterp, strict=True)]
    named = ", ".join(texts[:12]) + (", ..." if len(texts) > 12 else "")
    return f"the {dataset.count} band{'s' if dataset.count > 1 else ''} of {dataset.source.name} ({named})"


# --- what its values are ---


def _refuse_complex(dataset: DatasetReader) -> None:
    if any(kind.startswith("complex") for kind in dataset.dtypes):
        raise InputError(
            f"{dataset.source.name} holds complex numbers; reflectance is needed: give an optical image, not radar"
        )


def _clear(name: str, sample: NDArray[np.generic], known: Mask, mask: CloudMask | None, grid: Grid) -> Float64Array:
    """The values (4, N) of a sample on `grid` that have data and no cloud. Raises InputError where there are none."""
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
    return sample[:, known].astype(np.float64)


def _cloudy(mask: CloudMask, grid: Grid) -> Mask:
    """A mask on a coarse grid, of which a few rows hold much of it."""
    strips = (grid.rows(row, min(row + _MASK_ROWS, grid.height)) for row in range(0, grid.height, _MASK_ROWS))
    with mask.open() as reader:
        return np.concatenate([reader.on_grid(strip) for strip in strips])


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


def _acquired(dataset: DatasetReader) -> date | None:
    moment = acquisition.of(dataset).moment
    return moment.date() if moment else None
