"""A part of a scene: a box in degrees, or the box of the polygons in a file, snapped outwards to the scene's pixels."""

from __future__ import annotations

import importlib
import json
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import shapely
import shapely.errors
import shapely.geometry
from rasterio.crs import CRS
from rasterio.errors import CRSError
from shapely.geometry.base import BaseGeometry

from cloudfree.errors import UNPARSABLE, GridError, InputError
from cloudfree.geometry import WGS84, Grid, transformer
from cloudfree.geometry.grid import at_turns
from cloudfree.inputs import limits
from cloudfree.inputs.raster.admitted import states_crs
from cloudfree.inputs.values import REALS

Feature = tuple[BaseGeometry, dict[str, Any]]
"""A polygon and its properties by name."""

BBox = tuple[float, float, float, float]
"""West, south, east, north in degrees of WGS84; west > east crosses the antimeridian."""

_NOISE_PX = 1e-6  # of transformed coordinates, so that an edge on a pixel's edge does not need the next pixel
_ORDER = "--bbox is WEST,SOUTH,EAST,NORTH in degrees"
_AROUND = {"--aoi": "one around the area", "--mask": "them around clouds and shadows"}
_BOX_HINT = "compare it with the scene's corners (cloudfree info, rio bounds)"


@dataclass(frozen=True)
class Part:
    """Pixels of a scene: from a row and a column on."""

    row: int
    col: int
    height: int
    width: int

    @classmethod
    def whole(cls, grid: Grid) -> Part:
        return cls(0, 0, grid.height, grid.width)

    @property
    def shape(self) -> tuple[int, int]:
        """(rows, columns)."""
        return self.height, self.width

    @property
    def rows(self) -> slice:
        return slice(self.row, self.row + self.height)

    @property
    def cols(self) -> slice:
        return slice(self.col, self.col + self.width)

    @property
    def centre(self) -> tuple[float, float]:
        """Row and column of the middle, from the corner of the scene."""
        return self.row + self.height / 2, self.col + self.width / 2

    def within(self, wider: Part) -> tuple[slice, slice]:
        """Its rows and columns of a wider part."""
        row, col = self.row - wider.row, self.col - wider.col
        return slice(row, row + self.height), slice(col, col + self.width)

    def of(self, grid: Grid) -> Grid:
        """The part of the scene's grid."""
        return grid.window(self.row, self.col, self.height, self.width)


def of_scene(grid: Grid, bbox: BBox | None, aoi: Path | None) -> Part:
    """The part of a scene in a box or in the polygons of a file; all of it without either.

    Raises InputError or GridError.
    """
    if bbox is not None and aoi is not None:
        raise InputError("--bbox and --aoi are both given; one says which part is wanted: leave the other out")
    if bbox is not None:
        west, south, east, north = _checked(bbox)
        return _around(grid, shapely.box(west, south, east, north), WGS84, f"--bbox {','.join(map(str, bbox))}")
    if aoi is not None:
        return _around(grid, *read_polygons(aoi), f"--aoi {aoi.name}")
    return Part.whole(grid)


def _checked(bbox: Sequence[float]) -> BBox:
    """The box, its east beyond 180 degrees where it crosses them. Raises InputError."""
    box = ",".join(f"{value:g}" for value in bbox)
    if len(bbox) != 4 or not all(map(math.isfinite, bbox)):
        raise InputError(f"--bbox is {box}; four finite numbers are needed, WEST,SOUTH,EAST,NORTH: give these")
    west, south, east, north = map(float, bbox)
    if not (-90 <= south <= 90 and -90 <= north <= 90 and -360 <= west <= 360 and -360 <= east <= 360):
        raise InputError(
            f"--bbox is {box}, which are no degrees; latitudes of -90..90 and longitudes of -180..180 (or 0..360) are "
            f"needed: {_ORDER}"
        )
    if south >= north:
        raise InputError(f"--bbox is {box}, whose south is not under its north; {_ORDER}: put them in this order")
    east_of_west = east + 360 if west > east else east
    if east_of_west - west > 180 or west == east:
        raise InputError(
            f"--bbox is {box}, which is {(east_of_west - west) % 360:g} degrees wide from west to east; up to 180 are "
            f"allowed, and west > east crosses the antimeridian: {_ORDER}, so put them in this order"
        )
    return west, south, east_of_west, north


def _around(grid: Grid, area: BaseGeometry, crs: CRS, option: str) -> Part:
    """The pixels around the part of an area that lies in a scene. Raises GridError where none does."""
    outline = grid.footprint(crs)
    common = shapely.union_all([outline.intersection(turned) for turned in at_turns(area, outline, crs)])
    if common.is_empty or common.area == 0:
        left, lower, right, upper = grid.footprint(WGS84).bounds
        raise GridError(
            f"{option} does not overlap the scene, which lies at {left:.4f},{lower:.4f},{right:.4f},{upper:.4f}; a "
            f"part of it is needed: {_BOX_HINT}"
        )
    xy = shapely.get_coordinates(shapely.segmentize(common, max(common.length / 400, 1e-9)))
    x, y = transformer(crs, grid.crs).transform(xy[:, 0], xy[:, 1])
    col, row = ~grid.transform @ (np.asarray(x), np.asarray(y))
    row, col = grid.in_turn(row, col)
    (row0, row1), (col0, col1) = _snapped(row, grid.height), _snapped(col, grid.width)
    return Part(row0, col0, row1 - row0, col1 - col0)


def _snapped(at: Any, length: int) -> tuple[int, int]:
    """First pixel and last plus one that positions along an axis lie in, clipped to its length; one pixel at least."""
    first = min(max(math.floor(at.min() + _NOISE_PX), 0), length - 1)
    return first, max(min(math.ceil(at.max() - _NOISE_PX), length), first + 1)


# --- polygons in files ---


def read_polygons(path: Path) -> tuple[BaseGeometry, CRS]:
    """The polygons of an area's file as one geometry, and their CRS. Raises InputError."""
    features, crs = read_features(path, "--aoi")
    return shapely.union_all([polygon for polygon, _ in features]), crs


def read_features(path: Path, option: str) -> tuple[list[Feature], CRS]:
    """The polygons of a vector file with their properties, and their CRS: GeoJSON, or what pyogrio or fiona can read.

    `option` is by which it was given. Raises InputError.
    """
    if not path.is_file():
        raise InputError(f"{path} does not exist; {option} is a file of polygons, GeoJSON for one: check the path")
    try:
        document = json.loads(_content(path))
    except UNPARSABLE as error:
        if path.suffix.lower() in (".json", ".geojson"):
            why = shortened(error)
            raise InputError(f"{path.name} is no GeoJSON that can be read ({why}); export it again") from error
        geometries, crs = _by_library(path)
    else:
        geometries, crs = _by_json(path, document)
    polygons = [(shapely.make_valid(shape), properties) for shape, properties in geometries if shape.area > 0]
    if not polygons:
        kinds = ", ".join(sorted({shape.geom_type for shape, _ in geometries})) or "nothing"
        raise InputError(f"{path.name} holds {kinds}; {option} needs polygons: draw {_AROUND[option]}")
    return polygons, crs


def _content(path: Path) -> bytes:
    """Raises ValueError for more than a document has: other vector files are for libraries to read."""
    with path.open("rb") as file:
        content = file.read(limits.DOCUMENT_BYTES + 1)
    if len(content) > limits.DOCUMENT_BYTES:
        raise ValueError(f"it has more than {limits.DOCUMENT_BYTES >> 20} MB")
    return content


def shortened(error: BaseException) -> str:
    return " ".join(str(error).split())[:120] or type(error).__name__


def _by_json(path: Path, document: Any) -> tuple[list[Feature], CRS]:
    """GeoJSON, in longitude and latitude (RFC 7946) or in the CRS that older files name."""
    try:
        with np.errstate(invalid="ignore"):  # what is no number is refused below
            features = [(shapely.geometry.shape(member), of_it) for member, of_it in _members(document, {})]
        geometries = [shape for shape, _ in features]
        named = document.get("crs")
        crs = _named_system(named["properties"]["name"]) if named else WGS84
        _refuse_wild(geometries)
    except (AttributeError, TypeError, CRSError, shapely.errors.ShapelyError, *UNPARSABLE) as error:
        raise InputError(
            f"{path.name} is no GeoJSON that can be read ({shortened(error)}); a Feature, a "
            "FeatureCollection or a geometry is needed: export it again"
        ) from error
    bounds = np.array([shape.bounds for shape in geometries if not shape.is_empty]).reshape(-1, 4)
    if crs.is_geographic and (np.abs(bounds) > [360, 90, 360, 90]).any():
        raise InputError(
            f"{path.name} has coordinates like {np.abs(bounds).max():.6g} and names no CRS; GeoJSON is in degrees of "
            "longitude and latitude: export it in EPSG:4326"
        )
    return features, crs


def _refuse_wild(geometries: Sequence[BaseGeometry]) -> None:
    """Raise ValueError for coordinates that are on no map."""
    coordinates = shapely.get_coordinates(list(geometries))
    if not (np.abs(coordinates) <= REALS.most).all():
        raise ValueError("it has coordinates that are no numbers, or endless")


def _named_system(name: Any) -> CRS:
    if not isinstance(name, str) or not states_crs(name):
        raise ValueError(f"its CRS is neither EPSG nor WKT: {str(name)[:60]!r}")
    return CRS.from_user_input(name)


def _members(document: Any, properties: Any) -> Iterator[tuple[Any, dict[str, Any]]]:
    """The geometries of a GeoJSON object, with the properties of their features."""
    kind = document["type"]
    if kind == "FeatureCollection":
        for feature in document["features"]:
            yield from _members(feature, {})
    elif kind == "Feature":
        if document["geometry"] is not None:
            yield from _members(document["geometry"], document.get("properties"))
    elif kind == "GeometryCollection":
        for geometry in document["geometries"]:
            yield from _members(geometry, properties)
    else:
        yield document, properties if isinstance(properties, dict) else {}


def _by_library(path: Path) -> tuple[list[Feature], CRS]:
    """Other vector files, by a library that may be there."""
    for read in (_by_pyogrio, _by_fiona):
        try:
            features, crs = read(path)
            _refuse_wild([shape for shape, _ in features])
        except ImportError:
            continue
        except (RuntimeError, OSError, *UNPARSABLE) as error:  # of which those of both libraries are
            raise InputError(
                f"{path.name} cannot be read as vectors ({shortened(error)}); a file of polygons is "
                "needed: give GeoJSON"
            ) from error
        if not crs:
            raise InputError(f"{path.name} names no coordinate reference system; one is needed: give GeoJSON")
        return features, CRS.from_user_input(crs)
    raise InputError(
        f"{path.name} is no GeoJSON, and neither pyogrio nor fiona is installed, which read other vector files; give "
        f"GeoJSON (ogr2ogr -f GeoJSON -t_srs EPSG:4326 {path.stem}.geojson {path.name}), or install one: pip install "
        "pyogrio"
    )


def _by_pyogrio(path: Path) -> tuple[list[Feature], str | None]:
    meta, _, geometry, columns = importlib.import_module("pyogrio.raw").read(path, columns=None)
    names, rows = list(meta.get("fields", ())), zip(*columns, strict=True)
    wkbs = geometry if geometry is not None else ()
    properties = [dict(zip(names, row, strict=True)) for row in rows] if names else [{} for _ in wkbs]
    return [(shapely.from_wkb(wkb), of_it) for wkb, of_it in zip(wkbs, properties, strict=True) if wkb], meta["crs"]


def _by_fiona(path: Path) -> tuple[list[Feature], str | None]:
    with importlib.import_module("fiona").open(path) as layer:
        features = [feature for feature in layer if feature.geometry]
        return [(shapely.geometry.shape(each.geometry), dict(each.properties)) for each in features], layer.crs_wkt
