"""Where the samples of a radar image lie on the ground, by the grid of points in its annotation.

Between the points, positions are interpolated bicubically in earth-centred coordinates, which have no antimeridian and
follow the curvature of the Earth. That is exact to a centimetre, where a polynomial of longitude and latitude is off by
metres. A point's `line` and `pixel` are the centre of the sample of that number: in ESA's grids, line 0 has the time of
the first line, and pixel 0 the slant range time of the first sample.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import shapely
from numpy.typing import NDArray
from rasterio.crs import CRS
from shapely.geometry.base import BaseGeometry

from cloudfree.arrays import Float64Array
from cloudfree.geometry.grid import LARGEST_PIXEL_M, SMALLEST_PIXEL_M, WGS84, Grid, transformer, unrolled

if TYPE_CHECKING:
    from scipy.interpolate import RectBivariateSpline

_SEMI_MAJOR_M, _ECCENTRICITY_2 = 6378137.0, 6.69437999014e-3  # WGS84
_EARTH_CENTRED = CRS.from_epsg(4978)

_STEPS = 12  # of Newton's method; four are enough within the image
_SETTLED_PX = 1e-3
_HIGHEST_M = 20_000.0  # over the ellipsoid; what is farther off is the other side of the Earth


@dataclass(frozen=True, eq=False)
class GeolocationGrid:
    """Positions of samples (line, pixel), whose centres are whole numbers, of an image of `height` x `width` samples.

    `lines` (R,) and `pixels` (C,) rise; at their crossings are `position_m` (3, R, C), earth-centred (EPSG:4978), the
    ground's `height_m` (R, C) over the ellipsoid, and `incidence_deg` (R, C) from the vertical.
    """

    lines: Float64Array
    pixels: Float64Array
    position_m: Float64Array
    height_m: Float64Array
    incidence_deg: Float64Array
    width: int
    height: int

    @classmethod
    def of_points(cls, points: Float64Array, width: int, height: int) -> GeolocationGrid:
        """Of an image of `width` x `height` samples, from points (6, N) in any order.

        Their rows: line, pixel, longitude and latitude in degrees, height in metres over the ellipsoid, incidence in
        degrees. Raises ValueError where the points are no full grid of lines and pixels, or samples of no likely size.
        """
        points = points[:, np.lexsort(points[::-1])]
        lines, pixels = np.unique(points[0]), np.unique(points[1])
        shape = lines.size, pixels.size
        whole = points[0].size == lines.size * pixels.size and (points[1].reshape(shape) == pixels).all()
        if min(shape) < 2 or not whole or (abs(points[3]) > 90).any():
            raise ValueError("the points are no full grid of lines and pixels")
        lon, lat, height_m, incidence = points[2:].reshape(-1, *shape)
        grid = cls(lines, pixels, _Ground.at(lon, lat).raised(height_m), height_m, incidence, width, height)
        if not SMALLEST_PIXEL_M <= grid.pixel_size_m <= LARGEST_PIXEL_M:
            raise ValueError("the points are too near to each other, or too far away")
        return grid

    def __eq__(self, other: object) -> bool:
        return isinstance(other, GeolocationGrid) and self._key == other._key

    def __hash__(self) -> int:
        return hash(self._key)

    @cached_property
    def _key(self) -> tuple[int, int, bytes]:
        parts = (self.lines, self.pixels, self.position_m)
        return self.width, self.height, b"".join(part.tobytes() for part in parts)

    # --- as a Grid has it ---

    @property
    def crs(self) -> CRS:
        """Of the points in the annotation: geographic."""
        return WGS84

    @cached_property
    def pixel_size_m(self) -> float:
        """Ground size of a sample in metres: the root of its area, at the centre of the image."""
        _, down, across = self._place(np.array([self.height / 2]), np.array([self.width / 2]))
        return float(np.sqrt(np.linalg.norm(np.cross(down, across, axis=0))))

    def footprint(self, crs: CRS | None = None) -> BaseGeometry:
        """The outline in a CRS (default: longitude and latitude, over 180 degrees where it crosses them)."""
        crs = crs or self.crs
        lines = np.clip(self.lines, -0.5, self.height - 0.5)
        pixels = np.clip(self.pixels, -0.5, self.width - 0.5)
        top, left = np.full_like(pixels, -0.5), np.full_like(lines, -0.5)
        around_line = np.concatenate([top, lines, top + self.height, lines[::-1]])
        around_pixel = np.concatenate([pixels, left + self.width, pixels[::-1], left])
        place = self._place(around_line, around_pixel)[0]
        x, y, _ = transformer(_EARTH_CENTRED, crs).transform(place[0], place[1], place[2])
        return _polygon(unrolled(x, crs), y)

    def pixel_bounds_of(self, other: Grid | GeolocationGrid) -> tuple[int, int, int, int]:
        """Lines and pixels (line_start, line_stop, pixel_start, pixel_stop) that hold `other`, clipped to the image.

        Empty (start >= stop) where the two are disjoint.
        """
        outline = self._outline_of(other)
        if outline.is_empty:
            return 0, 0, 0, 0
        left, upper, right, lower = outline.bounds
        lines, pixels = (math.floor(upper), math.ceil(lower)), (math.floor(left), math.ceil(right))
        return max(lines[0], 0), min(lines[1], self.height), max(pixels[0], 0), min(pixels[1], self.width)

    def overlap_share(self, other: Grid | GeolocationGrid) -> float:
        """Share (0..1) of this image that `other` covers."""
        image = shapely.box(0, 0, self.width, self.height)
        return float(image.intersection(self._outline_of(other)).area / image.area)

    def _outline_of(self, other: Grid | GeolocationGrid) -> BaseGeometry:
        """The outline of `other` in pixels and lines of this image, counted from its corner."""
        outline = other.footprint()
        xy = shapely.get_coordinates(shapely.segmentize(outline, outline.length / 80))
        line, pixel = self.pixels_at(other.crs, xy[:, 0], xy[:, 1])
        return _polygon(pixel + 0.5, line + 0.5)

    # --- positions ---

    def pixels_at(self, crs: CRS, x: Float64Array, y: Float64Array) -> tuple[Float64Array, Float64Array]:
        """Line and pixel, sample centres being whole numbers, that show the ground at coordinates of a CRS.

        Arrays of any one shape. Around the image they go on linearly; NaN where that leads nowhere.
        """
        lon, lat = transformer(crs, WGS84).transform(np.ravel(x), np.ravel(y))
        ground = _Ground.at(np.where(np.isfinite(lon), lon, np.nan), np.where(np.isfinite(lat), lat, np.nan))
        with np.errstate(all="ignore"):
            line, pixel = self._inverted(ground)
        return line.reshape(np.shape(x)), pixel.reshape(np.shape(x))

    def _inverted(self, ground: _Ground) -> tuple[Float64Array, Float64Array]:
        """By Newton's method: a sample shows the ground above or below which it lies, whatever its height."""
        line, pixel = self._roughly @ np.vstack([ground.position_m, np.ones_like(ground.position_m[:1])])
        for _ in range(_STEPS):
            position, down, across = self._place(line, pixel)
            miss = ground.position_m - position
            (east, a, b), (north, c, d), (up, _, _) = (
                [(axis * vector).sum(axis=0) for vector in (miss, down, across)]
                for axis in (ground.east, ground.north, ground.up)
            )
            steps = np.array([d * east - b * north, a * north - c * east]) / (a * d - b * c)
            line, pixel = line + steps[0], pixel + steps[1]
            settled = (np.abs(steps) < _SETTLED_PX).all(axis=0) & (np.abs(up) < _HIGHEST_M)
            if settled.all():
                break
        return np.where(settled, line, np.nan), np.where(settled, pixel, np.nan)

    def _place(self, line: Float64Array, pixel: Float64Array) -> tuple[Float64Array, Float64Array, Float64Array]:
        """Positions (3, N) in metres, and their change by a line and by a pixel; beyond the points they go on."""
        at = (
            np.nan_to_num(np.clip(line, self.lines[0], self.lines[-1])),
            np.nan_to_num(np.clip(pixel, self.pixels[0], self.pixels[-1])),
        )
        splines = self._splines
        down = np.stack([spline.ev(*at, dx=1) for spline in splines])
        across = np.stack([spline.ev(*at, dy=1) for spline in splines])
        position = np.stack([spline.ev(*at) for spline in splines])
        return position + down * (line - at[0]) + across * (pixel - at[1]), down, across

    @cached_property
    def _splines(self) -> list[RectBivariateSpline]:
        from scipy.interpolate import RectBivariateSpline  # noqa: PLC0415 - slow to import, and of SAFE products alone

        kx, ky = min(3, self.lines.size - 1), min(3, self.pixels.size - 1)
        return [RectBivariateSpline(self.lines, self.pixels, axis, kx=kx, ky=ky) for axis in self.position_m]

    @cached_property
    def _roughly(self) -> Float64Array:
        """The affine map (2, 4) from positions to line and pixel that fits the points best."""
        known = np.vstack([self.position_m.reshape(3, -1), np.ones(self.height_m.size)]).T
        wanted = np.stack(np.meshgrid(self.lines, self.pixels, indexing="ij")).reshape(2, -1).T
        return np.asarray(np.linalg.lstsq(known, wanted, rcond=None)[0].T)

    def relief_over(self, area: Grid | GeolocationGrid) -> Relief:
        """The terrain in and around `area`, by the heights of the points there."""
        row0, row1, col0, col1 = self.pixel_bounds_of(area)
        near = np.ix_(_around(self.lines, row0, row1), _around(self.pixels, col0, col1))
        heights = self.height_m[near]
        low, high = float(heights.min()), float(heights.max())
        incidence = math.radians(float(np.median(self.incidence_deg[near])))
        return Relief(low, high, (high - low) / math.tan(incidence))


class Relief(NamedTuple):
    """Lowest and highest terrain in metres, and how many metres ignoring the difference moves ground in the image."""

    lowest_m: float
    highest_m: float
    moved_m: float


Geometry = Grid | GeolocationGrid
"""Where an image lies: on a map, or by points of its annotation."""


class _Ground(NamedTuple):
    """Points of the ellipsoid (3, ...) in metres, earth-centred, and the unit vectors there."""

    position_m: Float64Array
    east: Float64Array
    north: Float64Array
    up: Float64Array

    @classmethod
    def at(cls, lon_deg: Float64Array, lat_deg: Float64Array) -> _Ground:
        lon, lat = np.radians(lon_deg), np.radians(lat_deg)
        up = np.stack([np.cos(lat) * np.cos(lon), np.cos(lat) * np.sin(lon), np.sin(lat)])
        east = np.stack([-np.sin(lon), np.cos(lon), np.zeros_like(lon)])
        north = np.stack([-np.sin(lat) * np.cos(lon), -np.sin(lat) * np.sin(lon), np.cos(lat)])
        curvature_m = _SEMI_MAJOR_M / np.sqrt(1 - _ECCENTRICITY_2 * np.sin(lat) ** 2)
        flattened = np.stack([up[0], up[1], up[2] * (1 - _ECCENTRICITY_2)])
        return cls(curvature_m * flattened, east, north, up)

    def raised(self, height_m: Float64Array) -> Float64Array:
        """The points at a height over the ellipsoid."""
        return self.position_m + height_m * self.up


def _polygon(x: Float64Array, y: Float64Array) -> BaseGeometry:
    """The polygon of corners, without those that are nowhere."""
    corners = np.column_stack([x, y])
    corners = corners[np.isfinite(corners).all(axis=1)]
    return shapely.make_valid(shapely.Polygon(corners)) if len(corners) > 3 else shapely.Polygon()


def _around(known: Float64Array, start: int, stop: int) -> NDArray[np.intp]:
    """Positions in `known` of what lies from start to stop, and of one more at either end."""
    first = max(int(np.searchsorted(known, start, "right")) - 1, 0)
    last = min(int(np.searchsorted(known, stop)), known.size - 1)
    return np.arange(first, last + 1)
