"""PlanetScope scenes: what a file is, and its pixels as digital numbers and reflectance."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from rasterio import DatasetReader
from rasterio.windows import Window

from cloudfree.arrays import Float64Array, Image, Mask
from cloudfree.bands import DN_MIN, REFLECTANCE_SCALE
from cloudfree.errors import InputError
from cloudfree.geometry import Grid, overlaps
from cloudfree.geometry.grid import strips
from cloudfree.inputs import acquisition
from cloudfree.inputs.acquisition import UNKNOWN, Acquisition
from cloudfree.inputs.decision import Decision
from cloudfree.inputs.location import containers
from cloudfree.inputs.location.source import AnyPath, Source
from cloudfree.inputs.optical import planet_product, quantity
from cloudfree.inputs.optical.bands import choose_bands
from cloudfree.inputs.optical.quantity import QuantityOptions, Radiometry
from cloudfree.inputs.optical.sun import Sun
from cloudfree.inputs.optical.sun import of_scene as sun_of_scene
from cloudfree.inputs.raster import access, sample, validity
from cloudfree.stages import prefetch

log = logging.getLogger(__name__)

_STRIP_ROWS = 512
_DN_MAX = np.iinfo(np.uint16).max
_DARK = 0.1  # reflectance that water and deep shadow stay under


@dataclass(frozen=True)
class Conversion:
    """How stored numbers become digital numbers: times `factor` plus `shift`, by band (4,).

    Data are at least `DN_MIN`, so that zero says that there are none, as where a band is far under zero.
    """

    factor: tuple[float, ...]
    shift: tuple[float, ...]

    def digital_numbers(self, stored: NDArray[np.generic]) -> NDArray[np.uint16]:
        """Stored numbers (4, H, W), converted, rounded and clipped to uint16; any number where they are not finite."""
        factor, shift = (np.array(numbers)[:, None, None] for numbers in (self.factor, self.shift))
        with np.errstate(over="ignore", invalid="ignore"):
            dn = np.rint(stored.astype(np.float64) * factor + shift)
            far_under_zero = (dn < validity.FAR_UNDER_ZERO).any(axis=0)  # fill of one band: the fraction -1
            converted = np.clip(np.nan_to_num(dn), DN_MIN, _DN_MAX).astype(np.uint16)
        return np.where(far_under_zero, np.uint16(0), converted)


@dataclass(frozen=True)
class Scene:
    """An optical scene and how its bands become reflectance.

    `band_indexes` are the one-based blue, green, red and NIR; `scale` turns their digital numbers into reflectance;
    `quantity` is one of the constants of `planet_product`; `reasons` say why the file was taken for this.

    Digital numbers are uint16, and so is the product: those of a uint16 file are its own, bit for bit; those of other
    integers keep their step, with an offset of the scale taken in; those of floats are reflectance x 10000.
    `conversion` makes them of what is stored; None for a file's own. `sun`: where it stood, if metadata
    beside the scene says so.
    """

    path: Source
    grid: Grid
    band_indexes: tuple[int, ...]
    scale: tuple[float, ...]
    quantity: str
    reasons: tuple[Decision, ...]
    conversion: Conversion | None = None
    acquired: Acquisition = UNKNOWN
    sun: Sun | None = None

    @property
    def dn_of_one(self) -> Image:
        """The digital number of a reflectance of one, by band (4,); 10000 for surface reflectance."""
        return np.minimum(np.rint(1 / np.array(self.scale)), _DN_MAX).astype(np.float32)

    @contextmanager
    def open(self) -> Iterator[SceneReader]:
        """A reader of the scene's pixels."""
        with access.opened(self.path) as dataset:
            yield SceneReader(self, dataset)

    def reflectance(self, dn: NDArray[np.uint16] | Image) -> Image:
        """Digital numbers (4, H, W) as reflectance (4, H, W), not clipped: saturated clouds stay over one."""
        return dn * np.array(self.scale, np.float32)[:, None, None]

    def digital_numbers(self, reflectance: Image) -> Image:
        """The inverse of `reflectance`, not rounded."""
        return reflectance / np.array(self.scale, np.float32)[:, None, None]

    def stored(self, reflectance: float) -> Float64Array:
        """The number that the file holds for a reflectance, by band (4,)."""
        dn = reflectance / np.array(self.scale)
        return (dn - self.conversion.shift) / self.conversion.factor if self.conversion else dn


class SceneReader:
    """Rows of an open scene."""

    def __init__(self, scene: Scene, dataset: DatasetReader) -> None:
        self._scene = scene
        self._dataset = dataset
        height = min(dataset.block_shapes[0][0], _STRIP_ROWS)
        self._rows_px = _STRIP_ROWS // height * height
        self._cached = -1, np.empty((4, 0, 0), np.uint16)
        self._dark = scene.stored(_DARK)
        self._fill_px = self._lacking_px = 0

    def rows(self, start: int, stop: int) -> NDArray[np.uint16]:
        """Digital numbers (4, rows, width) of blue, green, red, NIR; all four zero where the scene lacks any of them.

        Strips from top to bottom, overlapping ones too, unpack each block of the file once.
        """
        dn = np.empty((4, stop - start, self._dataset.width), np.uint16)
        for number in range(start // self._rows_px, -(-stop // self._rows_px)):
            top = number * self._rows_px
            first, last = max(start, top), min(stop, top + self._rows_px)
            dn[:, first - start : last - start] = self._block_rows(number)[:, first - top : last - top]
        return dn

    def _block_rows(self, number: int) -> NDArray[np.uint16]:
        """Full rows of the file's blocks, kept until others are asked for."""
        if self._cached[0] != number:
            top = number * self._rows_px
            height = min(self._rows_px, self._dataset.height - top)
            self._cached = number, self.window(top, 0, height, self._dataset.width)
        return self._cached[1]

    def window(self, row: int, col: int, height: int, width: int) -> NDArray[np.uint16]:
        """Digital numbers (4, height, width), as in `rows`, of the pixels from a row and a column on."""
        window, indexes = Window(col, row, width, height), self._scene.band_indexes
        stored = access.read(self._dataset, list(indexes), window)
        known = validity.of_image(self._dataset, indexes, window, stored, self._dark)
        if not known.all():
            fill = validity.undeclared_fill(stored)
            self._fill_px += validity.undeclared_px(self._dataset, indexes, window, stored, fill)
            self._lacking_px += int((validity.lacking(self._dataset, indexes, stored) & ~known & ~fill).sum())
        conversion = self._scene.conversion
        dn = conversion.digital_numbers(stored) if conversion else stored.astype(np.uint16, copy=False)
        return np.multiply(dn, known, out=dn)

    def averaged(self, height: int, width: int, part: Window | None = None) -> NDArray[np.uint16]:
        """Digital numbers of the scene, or of a `part`, averaged by area to (4, height, width), nodata left out."""
        part = part or Window(0, 0, self._dataset.width, self._dataset.height)
        down, across = overlaps(part.height, height), overlaps(part.width, width)
        total = np.zeros((5, height, width), np.float32)  # of each band, and of the pixels with data
        rows = strips(part.height, _STRIP_ROWS)

        def read(strip: tuple[int, int]) -> NDArray[np.uint16]:
            dn = self.rows(part.row_off + strip[0], part.row_off + strip[1])
            return dn[..., part.col_off : part.col_off + part.width]

        # GDAL's own average decodes every block once for each band, which takes most of a minute for a whole scene.
        with prefetch(read, rows) as read_strips:
            for (start, stop), dn in zip(rows, read_strips, strict=True):
                touched = slice(start * height // part.height, -(-stop * height // part.height))
                for layer, values in zip(total, (*dn, has_data(dn)), strict=True):
                    layer[touched] += (across @ (down[touched, start:stop] @ values.astype(np.float32)).T).T
        if (part.height, part.width) == self._dataset.shape:
            self._tell_left_out()
        return np.rint(total[:4] / np.maximum(total[4], np.float32(1e-6))).astype(np.uint16)

    def _tell_left_out(self) -> None:
        """Warn of pixels, read so far, that are no data though the file does not quite say so."""
        name = self._scene.path.name
        if self._fill_px:
            validity.tell_fill(name, _pixels(self._fill_px))
        if self._lacking_px:
            log.warning(
                "%s has %s with nodata in one band and not in all; they count as no data",
                name,
                _pixels(self._lacking_px),
            )


def _pixels(count: int) -> str:
    return f"{count} pixel{'s' if count > 1 else ''}"


def has_data(dn: NDArray[np.uint16]) -> Mask:
    """Where digital numbers (4, H, W) of a scene are data (H, W): a pixel without any has four zeros."""
    return np.asarray(dn.max(axis=0) > 0)


def grid_of(path: AnyPath, date: str | None = None) -> Grid:
    """Where the scene at `path` lies, of which no pixel is read. Raises as `identify_scene` does."""
    with access.opened(containers.one(Source.of(path), containers.SCENE, date)[0]) as dataset:
        return Grid.of(dataset)


def identify_scene(
    path: AnyPath,
    band_numbers: tuple[int, ...] | None = None,
    options: QuantityOptions | None = None,
    date: str | None = None,
) -> Scene:
    """Identify the scene at `path`, or the one scene of a container, by its metadata, checked against its values.

    `band_numbers` are one-based blue, green, red, NIR, and override the file's; `options` override what its numbers
    are. Raises InputError, GridError.
    """
    source, chosen = containers.one(Source.of(path), containers.SCENE, date)
    if date and not source.is_stack:
        log.warning("--planet-date is for netCDF files of several dates, and decides nothing of %s", source.name)
    with access.opened(source) as dataset:
        grid = Grid.of(dataset)
        indexes, which = choose_bands(dataset, is_planet=True, numbers=band_numbers)
        dtype = dataset.dtypes[indexes[0] - 1]
        _refuse_picture(dataset, dtype, options)
        values = sample.of_data(dataset, indexes)
        radiometry = quantity.identify(dataset, indexes, values, options)
        if not (options and options.scale):
            quantity.check(source.name, dtype, values, radiometry)
        scale, conversion = _digital(dtype, radiometry)
        valid = Decision("a pixel that lacks one of the bands is no data", validity.in_words(dataset, indexes))
        sun = sun_of_scene(source)
        lit = [Decision(str(sun), sun.stated_by)] if sun else []
        reasons = which, *radiometry.reasons, valid, planet_product.which_udm2(source), *lit, *chosen
        acquired = acquisition.of_scene(dataset)
        return Scene(source, grid, indexes, scale, radiometry.quantity, reasons, conversion, acquired, sun)


def _refuse_picture(dataset: DatasetReader, dtype: str, options: QuantityOptions | None) -> None:
    """Raise InputError for types that hold no reflectance, bytes without a scale among them."""
    access.refuse_complex(dataset, "reflectance is needed: order an analytic product (ortho_analytic_4b_sr or _8b_sr)")
    if dtype in ("uint8", "int8") and not (options and options.scale) and set(dataset.scales) == {1.0}:
        raise InputError(
            f"{dataset.source.name} holds {dtype}; a scene is reflectance, as uint16 or int16 x 10000 or as floats: "
            "order an analytic product (ortho_analytic_4b_sr or _8b_sr), not a visual one, or say what one number is "
            "with --planet-scale"
        )


def _digital(dtype: str, radiometry: Radiometry) -> tuple[tuple[float, ...], Conversion | None]:
    """The scale of the scene's digital numbers, and how stored ones become these.

    An integer keeps its step, and an offset is taken in to half a step.
    """
    scale, offset = np.array(radiometry.scale), np.array(radiometry.offset)
    if dtype.startswith("float"):
        step = REFLECTANCE_SCALE
        return (step,) * len(scale), Conversion(tuple(scale / step), tuple(offset / step))
    if dtype == "uint16" and not offset.any():
        return radiometry.scale, None
    return radiometry.scale, Conversion((1.0,) * len(scale), tuple(np.rint(offset / scale)))
