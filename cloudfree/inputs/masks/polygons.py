"""Masks that are polygons in a file of vectors, GeoJSON for one, burnt into a scene's pixels."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import shapely
from numpy.typing import NDArray
from rasterio.crs import CRS
from rasterio.features import rasterize
from shapely.geometry.base import BaseGeometry

from cloudfree.errors import UNPARSABLE, GridError, InputError
from cloudfree.geometry import Grid, transformer
from cloudfree.geometry.grid import at_turns
from cloudfree.inputs.area import Feature, read_features, shortened
from cloudfree.inputs.location.source import Source
from cloudfree.inputs.masks import names
from cloudfree.inputs.optical import planet_product

ENDINGS = (".geojson", ".json", ".shp", ".gpkg", ".fgb", ".kml", ".kmz", ".gml", ".gpx")
"""Of files of vectors."""

_OTHER_ENDINGS = (".geojsonl", ".geojsons", ".ndjson", ".topojson", ".wkt", ".wkb", ".dxf", ".dwg", ".tab", ".parquet")
"""Of files of vectors, or parts of one, that are not read."""

_CLASSES = (
    *("class", "classes", "class_name", "classname", "category", "label", "dn", "gridcode", "raster_val"),
    *("masktype", "type", "value"),
)
"""Properties that hold a polygon's class, without case; the first that there is counts."""

_CLOUD_KINDS = re.compile(r"\b(?:thick|thin|opaque|dense|cumulus|stratus)\b")
_GROUND = re.compile(r"\b(?:background|ground|land|water|snow|ice|soil|vegetation|false|none|no)\b")

_DESCRIPTIONS = ("stac_version", "assets", "_links")
"""Keys of documents that describe a scene by its outline."""

_BEYOND = 0.05  # of the scene's extent around it, so that none of its edges is an edge of a polygon
_SEGMENTS = 400  # along the scene's outline: straight lines of one CRS are curves in another


@dataclass(frozen=True)
class Burnt:
    """Polygons near a scene in the CRS of its grid; `count` of them are in the file.

    `by_class` is the property that says which of the file's count, if any, and `are_cloud` whether they are cloud or
    clear ground by it; None where it does not say.
    """

    shape: BaseGeometry
    count: int
    by_class: str | None = None
    are_cloud: bool | None = None

    def on_grid(self, grid: Grid) -> NDArray[np.uint8]:
        """1 where a pixel's centre lies in a polygon, else 0 (H, W), on a part of the scene's grid or a coarser one."""
        if self.shape.is_empty:
            return np.zeros(grid.shape, np.uint8)
        return np.asarray(rasterize([self.shape], out_shape=grid.shape, transform=grid.transform, dtype="uint8"))


def are_in(source: Source) -> bool:
    """Whether a file is one of vectors, by its ending."""
    return source.suffix in ENDINGS + _OTHER_ENDINGS


def read(source: Source, area: Grid) -> Burnt:
    """The polygons of a file of vectors around the pixels of an `area`. Raises InputError or GridError."""
    if source.suffix in _OTHER_ENDINGS:
        raise InputError(
            f"{source.name} is vectors of a kind that is not read; polygons are read as GeoJSON: convert it (ogr2ogr "
            f"-f GeoJSON -t_srs EPSG:4326 {source.stem}.geojson {source.name})"
        )
    if source.plain is None:
        raise InputError(
            f"{source} is a file of vectors in an archive or at an address; one on this machine is read: unpack or "
            "download it, and give its path"
        )
    _refuse_description(source)
    features, crs = read_features(source.plain, "--mask")
    key, kept, are_cloud = _chosen(source.name, features)
    shape = shapely.union_all([polygon for polygon, _ in features])
    outline = area.footprint(crs)
    near = outline.buffer(_BEYOND * max(outline.bounds[2] - outline.bounds[0], outline.bounds[3] - outline.bounds[1]))
    common = _within(near, shape, crs)
    if not common.intersects(outline):
        raise GridError(
            f"{source.name} has no polygon over the scene; a mask of the same ground is needed: compare it with the "
            "scene's corners (cloudfree info)"
        )
    if len(kept) < len(features):
        shape = shapely.union_all(kept)
        common = _within(near, shape, crs)
    count = len(shape.geoms) if isinstance(shape, shapely.MultiPolygon) else min(1, len(kept))
    if crs == area.crs or common.is_empty:
        return Burnt(common, count, key, are_cloud)
    to_grid = transformer(crs, area.crs)
    fine = shapely.segmentize(common, max(outline.length / _SEGMENTS, 1e-9))
    moved = shapely.transform(fine, lambda xy: np.column_stack(to_grid.transform(xy[:, 0], xy[:, 1])))
    return Burnt(shapely.make_valid(moved), count, key, are_cloud)


def _within(near: BaseGeometry, shape: BaseGeometry, crs: CRS) -> BaseGeometry:
    """What of a shape lies in an area, in whatever turn of longitude it is written."""
    return shapely.union_all([near.intersection(turned) for turned in at_turns(shape, near, crs)])


def _chosen(name: str, features: Sequence[Feature]) -> tuple[str | None, list[BaseGeometry], bool | None]:
    """The property of polygons that holds classes, those that count, and whether they are cloud or clear by it.

    Zero is no cloud, one other number is; words say it. Raises InputError for several numbers, and for words that say
    nothing beside ones that do.
    """
    polygons = [polygon for polygon, _ in features]
    of_each = [{str(key).casefold(): value for key, value in properties.items()} for _, properties in features]
    for key in _CLASSES:
        classes = [_class_of(properties.get(key)) for properties in of_each]
        held = {of_it for of_it in classes if of_it is not None}
        numbers = {of_it for of_it in held if isinstance(of_it, float)}
        said = {of_it: of_it != 0.0 if isinstance(of_it, float) else _is_cloud(of_it) for of_it in held}
        unsaid = [of_it for of_it, is_cloud in said.items() if is_cloud is None]
        if not held or len(unsaid) == len(held):  # names of polygons, say
            continue
        if len(numbers - {0.0}) > 1 or unsaid:
            listed = ", ".join(sorted(f"{of_it:g}" if isinstance(of_it, float) else of_it for of_it in held)[:12])
            raise InputError(
                f"{name} has polygons whose {key} is {listed}, and nothing says which are cloud; one number but zero, "
                f"or words like cloud and clear are read: keep the polygons of cloud and shadow alone, without {key}"
            )
        if not numbers and not any(said.values()) and _says_clear(held):
            return key, polygons, False
        kept = [shape for shape, of_it in zip(polygons, classes, strict=True) if of_it is None or said[of_it]]
        return key, kept, True if held - numbers else None
    return None, polygons, None


def _class_of(value: Any) -> float | str | None:
    """A class as a number or a word; None without any."""
    if value is None or isinstance(value, dict | list):
        return None
    try:
        number = float(value)
    except ValueError:
        return str(value)[:60].strip() or None
    return number if math.isfinite(number) else None


def _is_cloud(word: str) -> bool | None:
    """Whether a word for a class says cloud or something else; None where it says nothing."""
    if (meaning := names.meaning_in(word)) in ("cloud", "clear"):
        return meaning == "cloud"
    spaced = " ".join(planet_product.words(word))
    return True if _CLOUD_KINDS.search(spaced) else False if _GROUND.search(spaced) else None


def _says_clear(words: Iterable[float | str]) -> bool:
    return all(isinstance(word, str) and names.meaning_in(word) == "clear" for word in words)


def _refuse_description(source: Source) -> None:
    """Raise InputError for a document that describes a scene, whose polygon is the scene's outline."""
    if source.suffix not in (".json", ".geojson") or not source.exists:
        return
    try:
        document = json.loads(source.read_bytes())
    except UNPARSABLE as error:
        raise InputError(
            f"{source.name} is no GeoJSON that can be read ({shortened(error)}); --mask is a raster, or GeoJSON of "
            "polygons around clouds: export it again"
        ) from error
    properties = document.get("properties") if isinstance(document, dict) else None
    is_item = isinstance(properties, dict) and {"acquired", "datetime"} & properties.keys()
    if isinstance(document, dict) and (is_item or any(key in document for key in _DESCRIPTIONS)):
        raise InputError(
            f"{source.name} describes a scene, and its polygon is the scene's outline; --mask is a raster, or polygons "
            "around clouds: give the scene's UDM2 (--udm2), or another file"
        )
