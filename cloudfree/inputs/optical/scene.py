"""PlanetScope scenes: what a file is, and its pixels as digital numbers and reflectance."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from rasterio import DatasetReader
from rasterio.windows import Window
from scipy.sparse import csr_array

from cloudfree.arrays import Float64Array, Image, Mask
from cloudfree.bands import DN_MIN, PLANET_BANDS, REFLECTANCE_SCALE
from cloudfree.errors import InputError
from cloudfree.geometry.grid import Grid
from cloudfree.inputs.decision import Decision
from cloudfree.inputs.location import containers
from cloudfree.inputs.location.source import AnyPath, Source
from cloudfree.inputs.optical import planet_product, quantity
from cloudfree.inputs.optical.bands import band_words, bands_by_wavelength, bands_by_words
from cloudfree.inputs.optical.quantity import QuantityOptions, Radiometry
from cloudfree.inputs.raster import access, validity
from cloudfree.stages import prefetch

_STRIP_ROWS = 512
# A sample: all of a small scene, or blocks of the file in a lattice; and so many of their pixels.
_WHOLE_PX, _LATTICE, _SAMPLE_PX = 1024, 4, 2**18
_LEAST_BLOCK_PX, _MOST_BLOCK_PX = 64, 512

_DN_MAX = np.iinfo(np.uint16).max
_PRODUCT_WORDS = {"analyticms", "analytic", "bgrn"}


@dataclass(frozen=True)
class Conversion:
    """How stored numbers that are no digital numbers of ours become such: times `factor` plus `shift`, by band (4,).

    Data are at least `DN_MIN`, so that zero says that there are none.
    """

    factor: tuple[float, ...]
    shift: tuple[float, ...]

    def digital_numbers(self, stored: NDArray[np.generic]) -> NDArray[np.uint16]:
        """Stored numbers (4, H, W) rounded and clipped to what uint16 holds; anything where they are not finite."""
        factor, shift = (np.array(each)[:, None, None] for each in (self.factor, self.shift))
        with np.errstate(over="ignore", invalid="ignore"):
            dn = np.rint(stored.astype(np.float64) * factor + shift)
            return np.clip(np.nan_to_num(dn), DN_MIN, _DN_MAX).astype(np.uint16)


@dataclass(frozen=True)
class Scene:
    """An optical scene and how its bands become reflectance.

    `band_indexes` are the one-based blue, green, red and NIR; `scale` turns their digital numbers into reflectance;
    `reasons` say why the file was taken for this. Digital numbers are uint16, and so is the product: those of a uint16
    file itself, bit for bit; another integer's in its own step, an offset of its scale taken in; floats, and what they
    become, as reflectance x 10000. `conversion` is how, or None for the file's own.
    """

    path: Source
    grid: Grid
    band_indexes: tuple[int, ...]
    scale: tuple[float, ...]
    quantity: str
    reasons: tuple[Decision, ...]
    conversion: Conversion | None = None

    @property
    def is_surface_reflectance(self) -> bool:
        return self.quantity == "surface reflectance"

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
        """Digital numbers (4, H, W) as reflectance, not clipped: saturated clouds stay over one."""
        return dn * np.array(self.scale, np.float32)[:, None, None]

    def digital_numbers(self, reflectance: Image) -> Image:
        """The inverse of `reflectance`, not rounded."""
        return reflectance / np.array(self.scale, np.float32)[:, None, None]


class SceneReader:
    """Rows of an open scene."""

    def __init__(self, scene: Scene, dataset: DatasetReader) -> None:
        self._scene = scene
        self._dataset = dataset
        height = min(dataset.block_shapes[0][0], _STRIP_ROWS)
        self._rows_px = _STRIP_ROWS // height * height
        self._cached = -1, np.empty((4, 0, 0), np.uint16)

    def rows(self, start: int, stop: int) -> NDArray[np.uint16]:
        """Blue, green, red, NIR digital numbers (4, rows, width); all four zero where the scene lacks any of them.

        Strips from top to bottom, overlapping ones too, unpack each block of the file once.
        """
        found = np.empty((4, stop - start, self._dataset.width), np.uint16)
        for number in range(start // self._rows_px, -(-stop // self._rows_px)):
            top = number * self._rows_px
            first, last = max(start, top), min(stop, top + self._rows_px)
            found[:, first - start : last - start] = self._block_rows(number)[:, first - top : last - top]
        return found

    def _block_rows(self, number: int) -> NDArray[np.uint16]:
        """Full rows of the file's blocks, kept until others are asked for."""
        if self._cached[0] != number:
            top = number * self._rows_px
            height = min(self._rows_px, self._dataset.height - top)
            self._cached = number, self.window(top, 0, height, self._dataset.width)
        return self._cached[1]

    def window(self, row: int, col: int, height: int, width: int) -> NDArray[np.uint16]:
        """The same of the pixels from a row and a column on."""
        window, indexes = Window(col, row, width, height), self._scene.band_indexes
        stored = access.read(self._dataset, list(indexes), window)
        known = validity.of_image(self._dataset, indexes, window, stored)
        conversion = self._scene.conversion
        dn = conversion.digital_numbers(stored) if conversion else stored.astype(np.uint16, copy=False)
        return np.multiply(dn, known, out=dn)

    def averaged(self, height: int, width: int, part: Window | None = None) -> NDArray[np.uint16]:
        """The whole scene, or a part of it, averaged to (4, height, width), nodata left out of the averages."""
        part = part or Window(0, 0, self._dataset.width, self._dataset.height)
        down, across = _overlaps(part.height, height), _overlaps(part.width, width)
        total = np.zeros((5, height, width), np.float32)  # of each band, and of the pixels with data
        strips = [slice(start, min(start + _STRIP_ROWS, part.height)) for start in range(0, part.height, _STRIP_ROWS)]

        def read(strip: slice) -> NDArray[np.uint16]:
            dn = self.rows(part.row_off + strip.start, part.row_off + strip.stop)
            return dn[..., part.col_off : part.col_off + part.width]

        # GDAL's own average decodes every block once for each band, which takes most of a minute for a whole scene.
        with prefetch(read, strips) as found:
            for strip, dn in zip(strips, found, strict=True):
                some = slice(strip.start * height // part.height, -(-strip.stop * height // part.height))
                for layer, values in zip(total, (*dn, has_data(dn)), strict=True):
                    layer[some] += (across @ (down[some, strip] @ values.astype(np.float32)).T).T
        return np.rint(total[:4] / np.maximum(total[4], np.float32(1e-6))).astype(np.uint16)


def has_data(dn: NDArray[np.uint16]) -> Mask:
    """Where digital numbers (4, H, W) of a scene's reader are data (H, W): a pixel without any is four zeros."""
    return np.asarray(dn.max(axis=0) > 0)


def identify_scene(
    path: AnyPath, band_numbers: tuple[int, ...] | None = None, told: QuantityOptions | None = None
) -> Scene:
    """What the file at `path` is, or the one scene of a container, by its own metadata, checked against its values.

    `band_numbers` are one-based blue, green, red, NIR, and override the product's order; `told` overrides what its
    numbers are. Raises InputError, GridError.
    """
    source, taken = containers.one(Source.of(path), containers.SCENE)
    with access.opened(source) as dataset:
        grid = Grid.of(dataset)
        indexes, which = _bands(dataset, band_numbers)
        dtype = dataset.dtypes[indexes[0] - 1]
        _refuse_picture(source.name, dataset, dtype, told)
        values = _sample(dataset, indexes)
        found = quantity.identify(source, dataset, indexes, values, told)
        if not (told and told.scale):
            quantity.check(source.name, dtype, values, found)
        scale, conversion = _digital(dtype, found)
        valid = Decision("a pixel that lacks one of the bands is no data", validity.in_words(dataset, indexes))
        reasons = which, *found.reasons, valid, planet_product.decision(source, planet_product.UDM2), *taken
        return Scene(source, grid, indexes, scale, found.quantity, reasons, conversion)


def is_product(dataset: DatasetReader) -> bool:
    """Whether a file is an analytic product, by its name or its tag, in the order of bands that Planet delivers."""
    named = _PRODUCT_WORDS & quantity.words_of(dataset.source, dataset)
    return dataset.count in PLANET_BANDS and bool(named or set(quantity.HEADER_KEYS) & set(quantity.header(dataset)))


def sensor(source: Source, band_count: int) -> str:
    """Which sensor took a scene, as far as its name and number of bands tell."""
    if band_count == 8:
        return "PlanetScope SuperDove (PSB.SD) scene"
    return "PlanetScope scene" if _PRODUCT_WORDS & set(planet_product.words(source.stem)) else "optical scene"


def _overlaps(length: int, parts: int) -> csr_array:
    """How many pixels (parts, length) of a row each of its equal parts shares with each pixel."""
    cuts = np.unique(np.concatenate([np.arange(length + 1), np.arange(parts + 1) * length / parts]))
    middles = (cuts[1:] + cuts[:-1]) / 2
    part, pixel = (middles * parts / length).astype(np.intp), middles.astype(np.intp)
    return csr_array((np.diff(cuts).astype(np.float32), (part, pixel)), shape=(parts, length))


# --- which band is which ---


def _bands(dataset: DatasetReader, band_numbers: tuple[int, ...] | None) -> tuple[tuple[int, ...], Decision]:
    """One-based blue, green, red, NIR: as told, by names, by wavelengths, or by order where nothing is named.

    What a file says of colours decides nothing: PlanetScope's own say red, green, blue, and mean blue, green, red. An
    alpha band beside four or eight others is none of them.
    """
    if band_numbers is not None:
        return _told_bands(dataset, band_numbers)
    words = [band_words(dataset, index) for index in dataset.indexes]
    if found := bands_by_words(words):
        return found, _which(found, "band descriptions or tags")
    if found := bands_by_wavelength(dataset):
        return found, _which(found, "central wavelengths")
    count = dataset.count
    if count - 1 in PLANET_BANDS and validity.alpha_bands(dataset) == (count,):
        count, words = count - 1, words[:-1]
    if any(words) or count not in PLANET_BANDS:
        _refuse_bands(dataset)
    return PLANET_BANDS[count], _which(PLANET_BANDS[count], f"order of PlanetScope's {count}-band product")


def _told_bands(dataset: DatasetReader, numbers: tuple[int, ...]) -> tuple[tuple[int, ...], Decision]:
    if len(numbers) != 4 or not all(1 <= n <= dataset.count for n in numbers):
        raise InputError(
            f"--planet-bands {','.join(map(str, numbers))} does not fit the {dataset.count} bands of "
            f"{dataset.source.name}; four numbers of 1..{dataset.count} are needed: blue, green, red, NIR"
        )
    return numbers, _which(numbers, "--planet-bands")


def _refuse_bands(dataset: DatasetReader) -> None:
    named = [text for text in dataset.descriptions if text]
    shown = f"named {', '.join(named[:12])}" if named else "without names"
    count = "1 band" if dataset.count == 1 else f"{dataset.count} bands"
    raise InputError(
        f"{dataset.source.name} has {count} {shown}; a scene has 4 (blue, green, red, NIR) or 8 (SuperDove), in "
        "this order or so named: give the analytic product, or say which is which with --planet-bands"
    )


def _which(numbers: tuple[int, ...], why: str) -> Decision:
    return Decision(f"blue, green, red, NIR are bands {', '.join(map(str, numbers))}", why, "--planet-bands")


# --- what its numbers are ---


def _refuse_picture(name: str, dataset: DatasetReader, dtype: str, told: QuantityOptions | None) -> None:
    """Raise InputError for types that hold no reflectance, bytes without a scale among them."""
    scaled = (told and told.scale) or set(dataset.scales) != {1.0}
    if dtype.startswith("complex") or (dtype in ("uint8", "int8") and not scaled):
        raise InputError(
            f"{name} holds {dtype}; a scene is reflectance, as uint16 or int16 x 10000 or as floats: order an analytic "
            "product (ortho_analytic_4b_sr or _8b_sr), not a visual one, or say what one number is with --planet-scale"
        )


def _sample(dataset: DatasetReader, indexes: tuple[int, ...]) -> Float64Array:
    """Stored values (4, N) of data, thinned: of all of a small scene, of some blocks of a larger one, or all if these
    have none.
    """
    height, width = dataset.height, dataset.width
    whole = [(Window(0, 0, width, height), (min(height, _WHOLE_PX), min(width, _WHOLE_PX)))]
    if max(height, width) <= _WHOLE_PX:
        return _known(dataset, indexes, whole)
    rows, cols = map(_some_blocks, (height, width), dataset.block_shapes[indexes[0] - 1])
    blocks = [Window.from_slices(row, col) for row in rows for col in cols]
    lattice = [(block, (block.height, block.width)) for block in blocks]
    found = _known(dataset, indexes, lattice)
    return found if found.size else _known(dataset, indexes, whole)


def _some_blocks(length: int, block: int) -> list[slice]:
    """Pixels of some blocks of a file spread along an axis: none is unpacked twice."""
    side = min(block * max(1, _LEAST_BLOCK_PX // block), _MOST_BLOCK_PX)
    count = -(-length // side)
    chosen = sorted({int((place + 0.5) * count / _LATTICE) for place in range(_LATTICE)})
    return [slice(number * side, min((number + 1) * side, length)) for number in chosen]


def _known(
    dataset: DatasetReader, indexes: tuple[int, ...], parts: list[tuple[Window, tuple[int, int]]]
) -> Float64Array:
    """Values (4, N) of the pixels with data, evenly thinned to about `_SAMPLE_PX` of them."""
    found = []
    for window, shape in parts:
        stored = access.read(dataset, list(indexes), window, shape)
        known = validity.of_image(dataset, indexes, window, stored)
        found.append((stored.reshape(len(stored), -1), np.flatnonzero(known)))
    step = max(1, sum(known.size for _, known in found) // _SAMPLE_PX)
    return np.concatenate([stored[:, known[::step]] for stored, known in found], axis=1).astype(np.float64)


def _digital(dtype: str, found: Radiometry) -> tuple[tuple[float, ...], Conversion | None]:
    """The scale of the scene's digital numbers, and how stored ones become these.

    An integer keeps its step, and an offset is taken in to half a step.
    """
    scale, offset = np.array(found.scale), np.array(found.offset)
    if dtype.startswith("float"):
        step = REFLECTANCE_SCALE
        return (step,) * len(scale), Conversion(tuple(scale / step), tuple(offset / step))
    if dtype == "uint16" and not offset.any():
        return found.scale, None
    return found.scale, Conversion((1.0,) * len(scale), tuple(np.rint(offset / scale)))
