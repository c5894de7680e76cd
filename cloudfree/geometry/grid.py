"""The pixel grid as a value: where each pixel of a raster lies on the ground."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Protocol

import numpy as np
import shapely
import shapely.affinity
from affine import Affine
from pyproj import Geod, Transformer
from pyproj.exceptions import ProjError
from rasterio import DatasetReader
from rasterio.crs import CRS
from rasterio.errors import RasterioError
from shapely.geometry.base import BaseGeometry

from cloudfree.arrays import Float64Array
from cloudfree.errors import GridError

WGS84 = CRS.from_epsg(4326)
_GEOD = Geod(ellps="WGS84")
_STEP_M, _STEP_DEGREES = 10.0, 1e-4  # over which the local scale is measured
_TRUE_TO_SCALE = 0.01
SMALLEST_PIXEL_M, LARGEST_PIXEL_M = 0.1, 10_000.0
"""Sides of pixels of images of the ground: far others would make a raster of another size of a few pixels."""
_CYCLIC_PROJECTIONS = {3857: 2 * math.pi * 6378137.0, 3395: 2 * math.pi * 6378137.0}
"""By EPSG code, projections whose x comes around, and after how many metres: the Mercators of the whole Earth."""


class Outlined(Protocol):
    """Something with a footprint on the ground."""

    def footprint(self, crs: CRS | None = None) -> BaseGeometry:
        """The outline in a CRS."""


@dataclass(frozen=True)
class Grid:
    """Coordinate reference system, affine transform (pixel corner to CRS units) and size in pixels.

    Any invertible transform is allowed: north-up, south-up, rotated.
    """

    crs: CRS
    transform: Affine
    width: int
    height: int

    @classmethod
    def of(cls, dataset: DatasetReader) -> Grid:
        """The grid of an open raster. Raises GridError where the file does not say where it lies."""
        grid = cls(dataset.crs, dataset.transform, dataset.width, dataset.height)
        if flaw := _unreferenced(dataset) or _unplaceable(grid.crs) or _nowhere(grid) or _unlikely(grid):
            raise GridError(f"{Path(dataset.name).name} {flaw}")
        return grid

    @property
    def shape(self) -> tuple[int, int]:
        """(rows, columns)."""
        return self.height, self.width

    def rows(self, start: int, stop: int) -> Grid:
        """The full-width strip of rows start..stop, which may reach beyond the grid."""
        return self.window(start, 0, stop - start, self.width)

    def strips(self, rows: int) -> list[Grid]:
        """The grid cut from top to bottom into full-width strips of `rows` rows, the last of what is left."""
        return [self.rows(start, stop) for start, stop in strips(self.height, rows)]

    def window(self, row: int, col: int, height: int, width: int) -> Grid:
        """The pixels from a row and a column on."""
        return Grid(self.crs, self.transform @ Affine.translation(col, row), width, height)

    def resized(self, height: int, width: int) -> Grid:
        """The same ground cut into another number of pixels."""
        scale = Affine.scale(self.width / width, self.height / height)
        return Grid(self.crs, self.transform @ scale, width, height)

    @cached_property
    def units_per_metre_xy(self) -> tuple[float, float]:
        """CRS units in one metre of ground along the CRS's own axes, at the centre of the grid.

        A projection whose metres are of the ground to a hundredth, as UTM's are, keeps its own.
        """
        x, y = self._centre_xy
        projected = self.crs.is_projected
        stated = 1 / self.crs.linear_units_factor[1] if projected else 0.0
        step = _STEP_M * stated if projected else _STEP_DEGREES
        lon, lat = self._lon_lat([x, x + step, x], [y, y, y + step])
        metres_x = _GEOD.inv(lon[0], lat[0], lon[1], lat[1])[2]
        metres_y = _GEOD.inv(lon[0], lat[0], lon[2], lat[2])[2]
        measured = step / metres_x, step / metres_y
        if projected and all(abs(units / stated - 1) < _TRUE_TO_SCALE for units in measured):
            return stated, stated
        return measured

    @property
    def pixel_sides_m(self) -> tuple[float, float]:
        """Ground length in metres of a pixel along a row and along a column, at the centre of the grid."""
        t, (per_x, per_y) = self.transform, self.units_per_metre_xy
        return math.hypot(t.a / per_x, t.d / per_y), math.hypot(t.b / per_x, t.e / per_y)

    @cached_property
    def pixel_size_m(self) -> float:
        """Ground size of a pixel in metres: the root of its area, at the centre of the grid."""
        per_x, per_y = self.units_per_metre_xy
        return math.sqrt(abs(self.transform.determinant) / (per_x * per_y))

    def pixels_to_metres(self, shift_yx_px: tuple[float, float]) -> tuple[float, float]:
        """A displacement in pixels (rows down, columns right) as metres (east, north)."""
        dy, dx = shift_yx_px
        t = self.transform
        per_x, per_y = self.units_per_metre_xy
        return (t.a * dx + t.b * dy) / per_x, (t.d * dx + t.e * dy) / per_y

    def footprint(self, crs: CRS | None = None) -> BaseGeometry:
        """The outline, densified so that it stays true in another CRS (default: the grid's own).

        Where it crosses the antimeridian, it runs on beyond 180 degrees.
        """
        corners = [self.transform @ c for c in ((0, 0), (self.width, 0), (self.width, self.height), (0, self.height))]
        outline = shapely.Polygon(corners)
        if crs is None or crs == self.crs:
            return outline
        dense = shapely.segmentize(outline, outline.length / 80)
        to_crs = transformer(self.crs, crs)

        def moved(xy: Float64Array) -> Float64Array:
            x, y = to_crs.transform(xy[:, 0], xy[:, 1])
            return np.column_stack([unrolled(x, crs), y])

        return shapely.make_valid(shapely.transform(dense, moved))

    def pixel_bounds_of(self, other: Outlined) -> tuple[int, int, int, int]:
        """Rows and columns (row_start, row_stop, col_start, col_stop) of this grid that hold `other`, clipped to it.

        Empty (start >= stop) where the two are disjoint.
        """
        outline = shapely.get_coordinates(self._turns_of(other.footprint(self.crs)))
        outline = outline[np.isfinite(outline).all(axis=1)]
        if not len(outline):
            return 0, 0, 0, 0
        cols, rows = _apply(~self.transform, outline)
        row_start, row_stop = math.floor(rows.min()), math.ceil(rows.max())
        col_start, col_stop = math.floor(cols.min()), math.ceil(cols.max())
        return max(row_start, 0), min(row_stop, self.height), max(col_start, 0), min(col_stop, self.width)

    def overlap_share(self, other: Outlined) -> float:
        """Share (0..1) of this grid's ground that `other` covers."""
        own = self.footprint()
        theirs = self._turns_of(other.footprint(self.crs))
        return min(1.0, sum(float(own.intersection(turned).area) for turned in theirs) / own.area)

    def in_turn(self, row: Float64Array, col: Float64Array) -> tuple[Float64Array, Float64Array]:
        """Rows and columns, moved by whole turns around the Earth to where they are nearest to the grid's centre."""
        turn = turn_of(self.crs)
        if turn is None:
            return row, col
        across, down = (~self.transform).a * turn, (~self.transform).d * turn
        away = (self.width / 2 - 0.5 - col) * across + (self.height / 2 - 0.5 - row) * down
        count = np.rint(away / (across**2 + down**2))
        return row + count * down, col + count * across

    def _turns_of(self, shape: BaseGeometry) -> list[BaseGeometry]:
        return at_turns(shape, self.footprint(), self.crs)

    @property
    def _centre_xy(self) -> tuple[float, float]:
        x, y = self.transform @ (self.width / 2, self.height / 2)
        return float(x), float(y)

    def _lon_lat(self, x: list[float], y: list[float]) -> tuple[list[float], list[float]]:
        lon, lat = transformer(self.crs, WGS84).transform(x, y)
        return list(lon), list(lat)


@lru_cache(maxsize=32)
def transformer(source: CRS, target: CRS) -> Transformer:
    """From x, y of one CRS to x, y of another; of a geographic one these are longitude and latitude in degrees."""
    return Transformer.from_crs(source, target, always_xy=True)


@lru_cache(maxsize=32)
def turn_of(crs: CRS) -> float | None:
    """Length along x, in units of the CRS, of a turn around the Earth (360 degrees); None where x does not cycle."""
    if crs.is_geographic:
        return round(2 * math.pi / crs.units_factor[1], 6)
    return _CYCLIC_PROJECTIONS.get(crs.to_epsg() or 0) if crs.is_projected else None


def at_turns(shape: BaseGeometry, outline: BaseGeometry, crs: CRS) -> list[BaseGeometry]:
    """A shape in a CRS at each turn around the Earth at which it may meet an outline."""
    turn = turn_of(crs)
    if turn is None or not np.isfinite(shape.bounds).all():
        return [shape]
    left, _, right, _ = outline.bounds
    first, last = math.ceil((left - shape.bounds[2]) / turn), math.floor((right - shape.bounds[0]) / turn)
    return [shapely.affinity.translate(shape, k * turn) for k in range(first, last + 1)]


def unrolled(x: Float64Array, crs: CRS) -> Float64Array:
    """x (N,) of neighbouring points in a CRS, running on where it would jump by a whole turn around the Earth.

    A ring around a pole cannot, and stays as it is.
    """
    turn, known = turn_of(crs), np.isfinite(x)
    if turn is None or not known.any():
        return x
    turns = np.cumsum(np.rint(np.diff(x[known], prepend=x[known][:1]) / turn))
    if turns[-1] and x[known][0] == x[known][-1]:
        return x
    run_on = np.array(x, np.float64)
    run_on[known] -= turn * turns  # whole turns: a ring stays closed to the last bit
    return run_on


def strips(height: int, rows: int) -> list[tuple[int, int]]:
    """Starts and stops of strips of `rows` rows that `height` rows are cut into, the last of what is left."""
    return [(start, min(start + rows, height)) for start in range(0, height, rows)]


def side_by_side(length: int, side: int) -> list[int]:
    """Starts of the fewest windows of `side` <= `length` pixels that cover a length, with even overlaps."""
    return [int(start) for start in np.linspace(0, length - side, -(-length // side))]


# --- what is no grid, in words: found, needed, and what to do; "" where nothing is wrong ---


def _unreferenced(dataset: DatasetReader) -> str:
    if dataset.crs is not None and dataset.transform != Affine.identity():
        return ""
    if dataset.rpcs:
        return (
            "is not orthorectified: it has rational polynomial coefficients (RPC) and no map projection; an "
            "orthorectified raster is needed: order ortho_analytic, or use gdalwarp -rpc"
        )
    if dataset.gcps[0]:
        return (
            "has ground control points and no map projection; a projected raster is needed: terrain-correct it first "
            "(SNAP, ASF HyP3, Earth Engine), or of Sentinel-1 give the whole SAFE"
        )
    missing = "no coordinate reference system" if dataset.crs is None else "no geotransform"
    return f"has {missing}; a georeferenced raster is needed: assign one with rio edit-info"


def _unplaceable(crs: CRS) -> str:
    """For a CRS that nothing leads from to the Earth: an engineering one, or a damaged one."""
    try:
        transformer(crs, WGS84)
    except (ProjError, RasterioError):
        shown = " ".join(crs.to_wkt().split())[:60]
        return (
            f"has a coordinate reference system that cannot be placed on the Earth ({shown}...); a geographic or "
            "projected one is needed: assign it with rio edit-info --crs EPSG:N"
        )
    return ""


def _nowhere(grid: Grid) -> str:
    """For a geotransform that is not invertible, not finite, or leads beyond the Earth."""
    with np.errstate(all="ignore"):
        corners = np.array([grid.transform @ corner for corner in ((0, 0), (grid.width, 0), (0, grid.height))])
        (ax, ay), (bx, by) = corners[1:] - corners[0]
        area = abs(ax * by - ay * bx)
        there = np.isfinite(corners).all() and 0 < area < math.inf and not grid.transform.is_degenerate
    if there and _has_size(grid):
        return ""
    numbers = ", ".join(f"{value:g}" for value in grid.transform[:6])
    return (
        f"has a geotransform that leads nowhere on the Earth ({numbers}); an invertible one in the units of its "
        "coordinate reference system is needed: mend it with rio edit-info --transform"
    )


def _has_size(grid: Grid) -> bool:
    """Whether a pixel covers ground: beyond a pole, or far off the map, there is none."""
    try:
        return 0 < grid.pixel_size_m < math.inf
    except ZeroDivisionError:
        return False


def _unlikely(grid: Grid) -> str:
    """For pixels of which a few stand for millions of another image, or the other way around."""
    across, down = grid.pixel_sides_m
    if all(SMALLEST_PIXEL_M <= side <= LARGEST_PIXEL_M for side in (across, down)):
        return ""
    return (
        f"has pixels of {across:g} x {down:g} m; {SMALLEST_PIXEL_M:g} m to {LARGEST_PIXEL_M / 1000:g} km are read: "
        "mend it with rio edit-info --transform, or --crs"
    )


def _apply(affine: Affine, xy: Float64Array) -> tuple[Float64Array, Float64Array]:
    x, y = xy[:, 0], xy[:, 1]
    return affine.a * x + affine.b * y + affine.c, affine.d * x + affine.e * y + affine.f
