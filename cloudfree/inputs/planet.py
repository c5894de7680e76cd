"""PlanetScope scenes: what a file is, and its pixels as digital numbers and reflectance."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
from numpy.typing import NDArray
from rasterio import DatasetReader
from rasterio.windows import Window
from scipy.sparse import csr_array

from cloudfree.arrays import Image, Mask
from cloudfree.bands import OPTICAL_BANDS, PLANET_BANDS, REFLECTANCE_SCALE
from cloudfree.errors import InputError
from cloudfree.grid import Grid
from cloudfree.inputs import raster

_STRIP_ROWS = 512

_PRODUCT = re.compile(r"_3B_AnalyticMS.*$", re.IGNORECASE)
_CORRECTED = "atmospheric_correction"  # in the description of a surface-reflectance product


@dataclass(frozen=True)
class Scene:
    """An optical scene and how its bands become reflectance.

    `band_indexes` are the one-based blue, green, red and NIR; `scale` turns their digital numbers into reflectance;
    `reasons` say in words why the file was taken for this.
    """

    path: Path
    grid: Grid
    band_indexes: tuple[int, ...]
    scale: tuple[float, ...]
    nodata: float | None
    quantity: str
    reasons: tuple[str, ...]

    @property
    def is_surface_reflectance(self) -> bool:
        return self.quantity == "surface reflectance"

    @property
    def dn_of_one(self) -> Image:
        """The digital number of a reflectance of one, by band (4,); 10000 for surface reflectance."""
        return np.minimum(np.rint(1 / np.array(self.scale)), np.iinfo(np.uint16).max).astype(np.float32)

    @contextmanager
    def open(self) -> Iterator[SceneReader]:
        """A reader of the scene's pixels."""
        with raster.opened(self.path) as dataset:
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
        """Blue, green, red, NIR digital numbers (4, rows, width); all four zero where the scene has no data.

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
        window = Window(col, row, width, height)
        return self._zero_is_nodata(raster.read(self._dataset, list(self._scene.band_indexes), window))

    def averaged(self, height: int, width: int) -> NDArray[np.uint16]:
        """The whole scene averaged to (4, height, width), nodata left out of the averages."""
        down, across = _overlaps(self._dataset.height, height), _overlaps(self._dataset.width, width)
        total = np.zeros((5, height, width), np.float32)  # of each band, and of the pixels with data
        # GDAL's own average decodes every block once for each band, which takes most of a minute for a whole scene.
        for start in range(0, self._dataset.height, _STRIP_ROWS):
            stop = min(start + _STRIP_ROWS, self._dataset.height)
            first, last = start * height // self._dataset.height, -(-stop * height // self._dataset.height)
            dn = self.rows(start, stop)
            for layer, values in zip(total, (*dn, has_data(dn)), strict=True):
                layer[first:last] += (across @ (down[first:last, start:stop] @ values.astype(np.float32)).T).T
        return np.rint(total[:4] / np.maximum(total[4], np.float32(1e-6))).astype(np.uint16)

    def _zero_is_nodata(self, dn: NDArray[np.generic]) -> NDArray[np.uint16]:
        nodata = self._scene.nodata
        values: NDArray[np.uint16] = dn.astype(np.uint16, copy=False)
        if nodata:
            values[:, (values == nodata).all(axis=0)] = 0
        return values


def has_data(dn: NDArray[np.uint16]) -> Mask:
    """Where a scene has data (H, W): a pixel may be black in some band, but not in all."""
    return np.asarray(dn.max(axis=0) > 0)


def identify(path: Path, band_numbers: tuple[int, ...] | None = None) -> Scene:
    """What the file at `path` is, by its own metadata.

    `band_numbers` are one-based blue, green, red, NIR, and override the product's order. Raises InputError, GridError.
    """
    with raster.opened(path) as dataset:
        if any(kind != "uint16" for kind in dataset.dtypes):
            raise InputError(
                f"{path.name} holds {dataset.dtypes[0]}; a scene is uint16, reflectance x 10000: "
                "order an analytic product (ortho_analytic_4b_sr or _8b_sr), not a visual one"
            )
        indexes, why_bands = _bands(dataset, band_numbers)
        quantity, scale, why_units = radiometry(path, dataset, indexes)
        return Scene(path, Grid.of(dataset), indexes, scale, dataset.nodata, quantity, (why_bands, why_units))


def is_product(dataset: DatasetReader) -> bool:
    """Whether a file is an analytic product, by its name or its tag, in the order of bands that Planet delivers."""
    named = _PRODUCT.search(Path(dataset.name).name) is not None
    return dataset.count in PLANET_BANDS and (named or _CORRECTED in _image_description(dataset))


def sensor(path: Path, band_count: int) -> str:
    """Which sensor took a scene, as far as its name and number of bands tell."""
    if band_count == 8:
        return "PlanetScope SuperDove (PSB.SD) scene"
    return "PlanetScope scene" if _PRODUCT.search(path.name) else "optical scene"


def _overlaps(length: int, parts: int) -> csr_array:
    """How many pixels (parts, length) of a row each of its equal parts shares with each pixel."""
    cuts = np.unique(np.concatenate([np.arange(length + 1), np.arange(parts + 1) * length / parts]))
    middles = (cuts[1:] + cuts[:-1]) / 2
    part, pixel = (middles * parts / length).astype(np.intp), middles.astype(np.intp)
    return csr_array((np.diff(cuts).astype(np.float32), (part, pixel)), shape=(parts, length))


def udm2_sibling(scene: Path) -> Path | None:
    """The usable data mask that Planet delivers beside a scene, if it is there."""
    return _sibling(scene, ("_3B_udm2.tif", "_3B_udm2_clip.tif"))


def _bands(dataset: DatasetReader, band_numbers: tuple[int, ...] | None) -> tuple[tuple[int, ...], str]:
    name = Path(dataset.name).name
    if band_numbers is not None:
        if len(band_numbers) != 4 or not all(1 <= n <= dataset.count for n in band_numbers):
            raise InputError(
                f"--planet-bands {','.join(map(str, band_numbers))} does not fit the {dataset.count} bands of {name}; "
                f"four numbers of 1..{dataset.count} are needed: blue, green, red, NIR"
            )
        return band_numbers, f"blue, green, red, NIR are bands {_join(band_numbers)}: --planet-bands"
    described = _by_description(dataset)
    if described is not None:
        return described, f"blue, green, red, NIR are bands {_join(described)}: band descriptions"
    if dataset.count not in PLANET_BANDS:
        raise InputError(
            f"{name} has {_count(dataset.count)} without names; a scene has 4 (blue, green, red, NIR) "
            "or 8 (SuperDove): give the analytic product, or say which is which with --planet-bands"
        )
    order = PLANET_BANDS[dataset.count]
    return order, f"blue, green, red, NIR are bands {_join(order)}: order of PlanetScope's {dataset.count}-band product"


def _by_description(dataset: DatasetReader) -> tuple[int, ...] | None:
    names = [(text or "").strip().lower() for text in dataset.descriptions]
    found = [names.index(band) + 1 for band in OPTICAL_BANDS if names.count(band) == 1]
    return tuple(found) if len(found) == 4 else None


def radiometry(path: Path, dataset: DatasetReader, indexes: tuple[int, ...]) -> tuple[str, tuple[float, ...], str]:
    """Quantity, scale to reflectance and the reason. A product's own statement wins over the name.

    Raises InputError where it is radiance without the coefficients beside it.
    """
    surface = ("surface reflectance", (REFLECTANCE_SCALE,) * 4)
    if _CORRECTED in _image_description(dataset):
        return *surface, "surface reflectance x 10000: the file's atmospheric correction tag"
    name = path.name.lower()
    if "analyticms" not in name or "_sr" in name:
        why = "the name says _SR" if "_sr" in name else "nothing says otherwise"
        return *surface, f"surface reflectance x 10000: {why}"
    coefficients = _reflectance_coefficients(path)
    if coefficients is None or not all(index in coefficients for index in indexes):
        raise InputError(
            f"{path.name} is top-of-atmosphere radiance by its name (AnalyticMS without _SR); reflectance is needed: "
            "order the _SR product, or put the scene's _metadata.xml with the reflectance coefficients beside it"
        )
    scale = tuple(coefficients[index] for index in indexes)
    return (
        "top-of-atmosphere radiance",
        scale,
        "radiance: the name says AnalyticMS without _SR; coefficients from its XML",
    )


def _image_description(dataset: DatasetReader) -> str:
    text: str = dataset.tags().get("TIFFTAG_IMAGEDESCRIPTION", "")
    return text


def _reflectance_coefficients(scene: Path) -> dict[int, float] | None:
    """Reflectance of one digital number by one-based band, from the metadata XML that Planet puts beside a scene."""
    sibling = _sibling(
        scene, (f"{scene.stem}_metadata.xml", "_3B_AnalyticMS_metadata.xml", "_3B_AnalyticMS_metadata_clip.xml")
    )
    if sibling is None:
        return None
    try:
        root = ElementTree.parse(sibling).getroot()
        pairs = [
            (_child(e, "bandNumber"), _child(e, "reflectanceCoefficient"))
            for e in root.iter()
            if _tag(e) == "bandSpecificMetadata"
        ]
        return {int(number): float(value) for number, value in pairs if number and value}
    except (ElementTree.ParseError, ValueError) as error:
        raise InputError(f"{sibling.name} is not Planet's metadata ({error}); fetch it again or remove it") from error


def _sibling(scene: Path, endings: tuple[str, ...]) -> Path | None:
    stem = _PRODUCT.sub("", scene.name)
    candidates = [scene.with_name(e if e.startswith(scene.stem) else stem + e) for e in endings]
    return next((c for c in candidates if c.is_file() and c != scene), None)


def _tag(element: ElementTree.Element) -> str:
    return element.tag.rpartition("}")[2]


def _child(element: ElementTree.Element, tag: str) -> str | None:
    return next((e.text for e in element if _tag(e) == tag), None)


def _join(numbers: tuple[int, ...]) -> str:
    return ", ".join(map(str, numbers))


def _count(bands: int) -> str:
    return "1 band" if bands == 1 else f"{bands} bands"
