"""The ground that a product has data of, as GeoJSON (RFC 7946) for catalogues: a little more than it, never less."""

from __future__ import annotations

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
from cloudfree.geometry.grid import WGS84, Grid, transformer

_MOST_PX = 1024  # along a side of the mask that outlines are drawn around
_MOST_PARTS, _MOST_POINTS = 20, 200  # of an outline, holes among them
_PIECES = 20  # of an outline as long as a side of the product, between which a curve is a line on the ground
_STRAIGHT_DEGREES = 1e-6  # a decimetre
_DECIMALS = 7  # of degrees, a centimetre
_NEXT_DEGREES = 10.0**-_DECIMALS  # from one number that is written to the next
_A_TRACE = 1e-6  # of a pixel


class Footprint(NamedTuple):
    """`own` is in the grid's CRS; `geometry` is GeoJSON of it in WGS84, cut at the antimeridian, where `bbox` has its
    west (degrees: west, south, east, north) over its east. `centroid` is lat, lon.
    """

    own: BaseGeometry
    geometry: dict[str, Any]
    bbox: list[float]
    centroid: dict[str, float]


def of_data(grid: Grid, coarse: Grid, data: Mask) -> Footprint:
    """Of a product's grid, by where data are (h, w) on a coarser one that covers it. The grid's outline without any."""
    outline = grid.footprint()
    own = _outlined(coarse, data).intersection(outline) if data.any() else outline
    step = max(grid.width, grid.height) * np.sqrt(abs(grid.transform.determinant)) / _PIECES
    lon, lat = _centre(grid)
    unrolled = shapely.transform(shapely.segmentize(own, step), _ToWgs84(grid.crs, lon))
    unrolled = shapely.make_valid(shapely.simplify(unrolled, _STRAIGHT_DEGREES))
    west, south, east, north = unrolled.bounds
    centroid = unrolled.centroid if unrolled.area else shapely.Point(lon, lat)
    return Footprint(
        own,
        _geojson(list(_between_antimeridians(unrolled))),
        [_rounded(each) for each in (turned(west, -180), south, turned(east, 180), north)],
        {"lat": _rounded(centroid.y), "lon": _rounded(turned(centroid.x, -180))},
    )


def _outlined(grid: Grid, data: Mask) -> BaseGeometry:
    """Polygons around a mask (h, w), of few points: the pixels are as much coarser as that needs."""
    factor, transform = -(-max(data.shape) // _MOST_PX), grid.transform
    while True:
        data, transform = _pooled(data, factor), transform @ Affine.scale(factor)
        if label(data)[1] + label(~data)[1] <= _MOST_PARTS:
            lines = _around(data, transform)
            if shapely.get_num_coordinates(lines) <= _MOST_POINTS:
                return lines
        factor = 2


def _around(data: Mask, transform: Affine) -> BaseGeometry:
    """Polygons that cover a mask (h, w), up to three pixels larger, with straight lines for its steps."""
    found = shapes(data.astype(np.uint8), mask=data, transform=transform)
    exact = shapely.union_all([shapely.geometry.shape(shape) for shape, _ in found])
    pixel = float(np.sqrt(abs(transform.determinant)))
    straight = shapely.simplify(exact, pixel)
    near = straight.buffer(pixel, join_style="mitre", mitre_limit=2)
    # Where it keeps rings apart, GEOS goes farther from the exact ones than it is told to.
    covered = exact.difference(near).area < _A_TRACE * pixel**2
    return near if covered else straight.buffer(2 * pixel, join_style="mitre", mitre_limit=2)


def _pooled(data: Mask, factor: int) -> Mask:
    """Where any pixel of a square of `factor` is set."""
    height, width = (-(-length // factor) for length in data.shape)
    padded = np.zeros((height * factor, width * factor), bool)
    padded[: data.shape[0], : data.shape[1]] = data
    return np.asarray(padded.reshape(height, factor, width, factor).any(axis=(1, 3)))


class _ToWgs84:
    """Points (N, 2) of a CRS to longitude and latitude, without a jump within half a turn of a longitude."""

    def __init__(self, crs: CRS, lon: float) -> None:
        self._transformer, self._lon = transformer(crs, WGS84), lon

    def __call__(self, xy: Float64Array) -> Float64Array:
        lon, lat = self._transformer.transform(xy[:, 0], xy[:, 1])
        return np.column_stack([self._lon + (lon - self._lon + 180) % 360 - 180, lat])


def _centre(grid: Grid) -> tuple[float, float]:
    """Longitude within -180..180, and latitude."""
    x, y = grid.transform @ (grid.width / 2, grid.height / 2)
    lon, lat = transformer(grid.crs, WGS84).transform(x, y)
    return turned(lon, -180), lat


def turned(lon: float, kept: int) -> float:
    """A longitude within -180..180, one of which is `kept` where it is either."""
    within = round((lon + 180) % 360 - 180, _DECIMALS)
    return float(kept) if abs(within) == 180 else float(within)


def _between_antimeridians(unrolled: BaseGeometry) -> Iterator[shapely.Polygon]:
    """The pieces of a shape around -180..180, each moved into it."""
    for turn in (-360, 0, 360):
        piece = unrolled.intersection(shapely.box(turn - 180, -90, turn + 180, 90))
        for part in shapely.get_parts(shapely.affinity.translate(piece, -turn)):
            if isinstance(part, shapely.Polygon) and part.area:
                yield part


def _geojson(pieces: list[shapely.Polygon]) -> dict[str, Any]:
    """Valid when rounded too, outlines counterclockwise."""
    rounded = shapely.set_precision(shapely.MultiPolygon(pieces), _NEXT_DEGREES)
    parts = [orient(part) for part in shapely.get_parts(rounded)]
    whole = parts[0] if len(parts) == 1 else shapely.MultiPolygon(parts)
    return plain(shapely.transform(whole, lambda xy: np.round(xy, _DECIMALS)))


def plain(shape: BaseGeometry) -> dict[str, Any]:
    """A shape as GeoJSON, of lists as JSON reads them back."""
    mapped = shapely.geometry.mapping(shape)
    return {"type": mapped["type"], "coordinates": _listed(mapped["coordinates"])}


def _listed(nested: Any) -> Any:
    return [_listed(each) for each in nested] if isinstance(nested, tuple | list) else float(nested)


def _rounded(degrees: float) -> float:
    return round(float(degrees), _DECIMALS)
