"""The outline of a product's data as GeoJSON (RFC 7946): it covers all pixels with data, and little more."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
import shapely
import shapely.affinity
import shapely.geometry
from affine import Affine
from rasterio.crs import CRS
from rasterio.features import shapes
from scipy.ndimage import label
from shapely.geometry.base import BaseGeometry
from shapely.geometry.polygon import orient

from cloudfree.arrays import Float64Array, Mask
from cloudfree.geometry import WGS84, Grid, transformer

_MOST_PX = 1024  # along a side of the mask that is outlined
_MOST_PARTS, _MOST_POINTS = 20, 200  # of an outline, holes included
_PIECES = 20  # into which a side of the product is cut before it is transformed, for straight lines become curves
_STRAIGHT_DEGREES = 1e-6  # tolerance of simplification, about a decimetre
_DECIMALS = 7  # of degrees, about a centimetre
_NEXT_DEGREES = 10.0**-_DECIMALS
_UNCOVERED_PX = 1e-6  # area in pixels that rounding may leave uncovered


class Footprint(NamedTuple):
    """The outline of a product's data.

    `own`: in the CRS of the grid. `geometry`: GeoJSON in WGS84, cut at the antimeridian. `bbox`: west, south, east,
    north in degrees; west > east where it crosses the antimeridian. `centroid`: lat and lon in degrees.
    """

    own: BaseGeometry
    geometry: dict[str, Any]
    bbox: list[float]
    centroid: dict[str, float]


def of_data(grid: Grid, coarse: Grid, data: Mask) -> Footprint:
    """Return the footprint of a product on `grid`, from where there are data (h, w) on a coarser grid that covers it.

    Without any data it is the outline of the grid.
    """
    outline = grid.footprint()
    own = _outlined(coarse, data).intersection(outline) if data.any() else outline
    step = max(grid.width, grid.height) * np.sqrt(abs(grid.transform.determinant)) / _PIECES
    lon, lat = _centre(grid)
    unrolled = shapely.transform(shapely.segmentize(own, step), lambda xy: _unrolled(xy, grid.crs, lon))
    unrolled = shapely.make_valid(shapely.simplify(unrolled, _STRAIGHT_DEGREES))
    west, south, east, north = unrolled.bounds
    centroid = unrolled.centroid if unrolled.area else shapely.Point(lon, lat)
    return Footprint(
        own,
        _geojson(list(_between_antimeridians(unrolled))),
        [_rounded(degrees) for degrees in (turned(west, -180), south, turned(east, 180), north)],
        {"lat": _rounded(centroid.y), "lon": _rounded(turned(centroid.x, -180))},
    )


def _outlined(grid: Grid, data: Mask) -> BaseGeometry:
    """Return polygons around a mask (h, w), pooled until they have at most `_MOST_PARTS` and `_MOST_POINTS`."""
    factor, transform = -(-max(data.shape) // _MOST_PX), grid.transform
    while True:
        data, transform = _pooled(data, factor), transform @ Affine.scale(factor)
        if label(data)[1] + label(~data)[1] <= _MOST_PARTS:
            lines = _around(data, transform)
            if shapely.get_num_coordinates(lines) <= _MOST_POINTS:
                return lines
        factor = 2


def _around(data: Mask, transform: Affine) -> BaseGeometry:
    """Return polygons that cover a mask (h, w), up to three pixels larger, with straight lines for steps of pixels."""
    outlines = shapes(data.astype(np.uint8), mask=data, transform=transform)
    exact = shapely.union_all([shapely.geometry.shape(outline) for outline, _ in outlines])
    pixel = float(np.sqrt(abs(transform.determinant)))
    straight = shapely.simplify(exact, pixel)
    near = straight.buffer(pixel, join_style="mitre", mitre_limit=2)
    # To keep rings apart, GEOS moves lines by more than the tolerance.
    covered = exact.difference(near).area < _UNCOVERED_PX * pixel**2
    return near if covered else straight.buffer(2 * pixel, join_style="mitre", mitre_limit=2)


def _pooled(data: Mask, factor: int) -> Mask:
    """Return where any pixel of each square of `factor` x `factor` is set."""
    height, width = (-(-length // factor) for length in data.shape)
    padded = np.zeros((height * factor, width * factor), bool)
    padded[: data.shape[0], : data.shape[1]] = data
    return np.asarray(padded.reshape(height, factor, width, factor).any(axis=(1, 3)))


def _unrolled(xy: Float64Array, crs: CRS, centre: float) -> Float64Array:
    """Return longitude and latitude of points (N, 2) of a CRS, longitudes within 180 degrees of the centre's."""
    lon, lat = transformer(crs, WGS84).transform(xy[:, 0], xy[:, 1])
    return np.column_stack([centre + (lon - centre + 180) % 360 - 180, lat])


def _centre(grid: Grid) -> tuple[float, float]:
    """Return longitude (-180..180) and latitude of the centre of a grid."""
    x, y = grid.transform @ (grid.width / 2, grid.height / 2)
    lon, lat = transformer(grid.crs, WGS84).transform(x, y)
    return turned(lon, -180), lat


def turned(lon: float, kept: int) -> float:
    """Return a longitude in -180..180; the antimeridian as `kept`, which is -180 or 180."""
    within = round((lon + 180) % 360 - 180, _DECIMALS)
    return float(kept) if abs(within) == 180 else float(within)


def _between_antimeridians(unrolled: BaseGeometry) -> Iterator[shapely.Polygon]:
    """Yield the parts of a shape to both sides of the antimeridian, each within -180..180."""
    for turn in (-360, 0, 360):
        piece = unrolled.intersection(shapely.box(turn - 180, -90, turn + 180, 90))
        for part in shapely.get_parts(shapely.affinity.translate(piece, -turn)):
            if isinstance(part, shapely.Polygon) and part.area:
                yield part


def _geojson(pieces: list[shapely.Polygon]) -> dict[str, Any]:
    """Return polygons as GeoJSON that is valid after rounding, outlines counterclockwise."""
    rounded = shapely.set_precision(shapely.MultiPolygon(pieces), _NEXT_DEGREES)
    parts = [orient(part) for part in shapely.get_parts(rounded)]
    whole = parts[0] if len(parts) == 1 else shapely.MultiPolygon(parts)
    return plain(shapely.transform(whole, lambda xy: np.round(xy, _DECIMALS)))


def plain(shape: BaseGeometry) -> dict[str, Any]:
    """Return a shape as GeoJSON with lists, as JSON reads it back, in place of tuples."""
    geojson: dict[str, Any] = json.loads(json.dumps(shapely.geometry.mapping(shape)))
    return geojson


def _rounded(degrees: float) -> float:
    return round(float(degrees), _DECIMALS)
