"""An image on any grid: where its pixels lie there, and their interpolation or average. No file is known here."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from rasterio.windows import Window

from cloudfree import process
from cloudfree.arrays import Float64Array, Image, Mask, as_image, known_of
from cloudfree.geometry.displacement import Displacement
from cloudfree.geometry.geolocation_grid import GeolocationGrid, Geometry
from cloudfree.geometry.grid import Grid, strips, transformer, turn_of

PIECE_PX = 512
"""Side of what is resampled at once: it sees little of the image, and stays in the processor's cache."""

_COARSER = 1.5  # of the image's own pixel: from here on, pixels are averaged
_LATTICE_PX = 16  # between points that are transformed exactly
_CACHED_ROWS = 64  # of a piece, on which arithmetic in float64 stays in the cache

Load = Callable[[Window], Image]
"""Pixels (bands, rows, columns) of a window of an image, NaN where they are invalid."""


@dataclass(frozen=True)
class PixelSource:
    """Bands of an image: where it lies, how many they are, and how to load a window of them.

    A pixel is valid where all of its bands are. `to_linear` converts values to those that are averaged, and
    `from_linear` converts the averages back.
    """

    grid: Geometry
    bands: int
    load: Load
    to_linear: Callable[[Image], Image] = np.asarray
    from_linear: Callable[[Image], Image] = np.asarray

    def parts_of(self, grid: Grid) -> int:
        """Parts per side that a pixel of `grid` is cut into for averaging; 1 where it is not much coarser."""
        fineness = grid.pixel_size_m / self.grid.pixel_size_m
        return 1 if fineness <= _COARSER else math.ceil(fineness)

    def on_grid(self, grid: Grid, displacement: Displacement | None) -> Image:
        """The bands (bands, H, W) on `grid`, NaN where most of a pixel is invalid or beyond the image."""
        parts = self.parts_of(grid)
        if parts == 1:
            return self.interpolated(grid, displacement)
        linear = self.interpolated(grid.resized(grid.height * parts, grid.width * parts), displacement, linear=True)
        return self.from_linear(block_means(linear, parts))

    def interpolated(self, grid: Grid, displacement: Displacement | None, linear: bool = False) -> Image:
        """Bands (bands, H, W), bilinear at the pixel centres of `grid`; NaN where most of the weight is invalid.

        If `linear`, of the values that `to_linear` gives.
        """
        taps = bilinear_taps(self.grid, grid, displacement)
        if taps is None:
            return np.full((self.bands, *grid.shape), np.nan, np.float32)
        values = self.load(taps.window)
        if linear:
            values = self.to_linear(values)
        valid, known = known_of(values), taps.inside
        out = np.empty((self.bands, *grid.shape), np.float32)
        for band, out_of_band in zip(values, out, strict=True):
            taps.interpolate(np.where(valid, band, 0), out_of_band)
        if not valid.all():
            weight = taps.interpolate(valid.astype(np.float32), np.empty(grid.shape, np.float32))
            known = known & (weight >= 0.5)
            out /= np.maximum(weight, 0.5)
        if not known.all():
            np.copyto(out, np.nan, where=~known)
        return out


class Resampled(Protocol):
    """Bands that can be brought onto a grid."""

    @property
    def bands(self) -> int:
        """How many they are."""

    def on_grid(self, grid: Grid, displacement: Displacement | None) -> Image:
        """The bands (bands, H, W) on `grid`, NaN where they are invalid."""


def resample(
    source: Resampled,
    grid: Grid,
    displacement: Displacement | None,
    piece_px: int = PIECE_PX,
    columns: NDArray[np.bool_] | None = None,
    all_cores: bool = False,
) -> Image:
    """The bands (bands, H, W) of a source on `grid`, moved over the ground by a displacement; NaN where invalid.

    Pixels are resampled once, whatever the displacement and the coordinate systems: onto a finer grid bilinearly, onto
    a coarser one as means over each pixel's area of which at least half is valid. Only what lies under `grid` is
    loaded, in pieces of `piece_px` a side, on all cores if `all_cores`. Where `columns` (W,) are given, pieces without
    any of them stay NaN.
    """
    out = np.empty((source.bands, *grid.shape), np.float32)

    def fill(piece: tuple[range, range]) -> None:
        rows, cols = piece
        part = out[:, rows.start : rows.stop, cols.start : cols.stop]
        if columns is not None and not columns[cols.start : cols.stop].any():
            part[:] = np.nan
        else:
            part[:] = source.on_grid(grid.window(rows.start, cols.start, len(rows), len(cols)), displacement)

    with ThreadPoolExecutor(process.threads() if all_cores else 1) as pool:
        deque(pool.map(fill, _pieces(range(grid.height), range(grid.width), piece_px)), maxlen=0)
    return out


def _pieces(rows: range, cols: range, side_px: int) -> Iterator[tuple[range, range]]:
    """Squares of at most `side_px`, neighbours one soon after the other: a file's blocks are then still unpacked."""
    if max(len(rows), len(cols)) <= side_px:
        yield rows, cols
    elif len(rows) >= len(cols):
        for half in _halves(rows, side_px):
            yield from _pieces(half, cols, side_px)
    else:
        for half in _halves(cols, side_px):
            yield from _pieces(rows, half, side_px)


def _halves(span: range, side_px: int) -> tuple[range, range]:
    """Of whole squares, but the last."""
    middle = math.ceil(len(span) / side_px) // 2 * side_px
    return span[:middle], span[middle:]


@dataclass(frozen=True)
class BilinearTaps:
    """The neighbours in an image of each pixel (H, W) of a grid, for bilinear interpolation.

    `window` is the part of the image to read; `first` the flat index of the upper left of four neighbours in it, padded
    by one row and column; `down` and `across` the weights (0..1) of the lower and the right ones; `inside` is where
    pixels are on the image.
    """

    window: Window
    inside: Mask
    first: NDArray[np.intp]
    down: Image
    across: Image

    def interpolate(self, values: Image, out: Image) -> Image:
        """The window's values interpolated into `out` (H, W), which is returned; beyond the window as at its edge."""
        padded = np.pad(values, (0, 1), mode="edge")
        upper, lower = (self._between_columns(padded, skipped * padded.shape[1]) for skipped in (0, 1))
        lower -= upper
        lower *= self.down
        return np.add(upper, lower, out=out)

    def _between_columns(self, padded: Image, offset: int) -> Image:
        left, right = (padded.ravel()[offset + step :].take(self.first) for step in (0, 1))
        right -= left
        right *= self.across
        right += left
        return right


@lru_cache(maxsize=4)  # sources that are resampled together, VV and VH, are mostly on one grid, in as many threads
def bilinear_taps(source: Geometry, grid: Grid, displacement: Displacement | None) -> BilinearTaps | None:
    """The neighbours in `source` of each pixel centre of `grid`; None where there are none."""
    nodes = _nodes(source, grid, displacement)
    if _all_beyond(source, *nodes):
        return None
    at, lengths = _at_pixels(source, grid, nodes), (source.height, source.width)
    # Of most pieces every pixel lies between centres of the image's: then all the rest is a matter of a few passes.
    ends = [(axis.min(), axis.max()) for axis in at]
    inside: Mask = np.broadcast_to(np.True_, grid.shape)
    between = all(low >= 0 and high <= length - 1 for (low, high), length in zip(ends, lengths, strict=True))
    if not between:
        inside = _inside(*at, *lengths)
        if not inside.any():
            return None
        ends = [(axis[inside].min(), axis[inside].max()) for axis in at]
    (row0, row1), (col0, col1) = map(_extent, ends, lengths)
    row, col = at
    if not between:  # fmin and fmax take the number where the other is NaN
        row, col = np.fmin(np.fmax(row, row0), row1 - 1), np.fmin(np.fmax(col, col0), col1 - 1)
    first, (down, across) = np.empty(grid.shape, np.intp), np.empty((2, *grid.shape), np.float32)
    for start, stop in strips(grid.height, _CACHED_ROWS):
        rows = slice(start, stop)
        upper, left = np.floor(row[rows]), np.floor(col[rows])
        down[rows], across[rows] = row[rows] - upper, col[rows] - left
        first[rows] = (upper - row0) * (col1 - col0 + 1) + (left - col0)
    return BilinearTaps(Window(col0, row0, col1 - col0, row1 - row0), inside, first, down, across)


def _inside(row: Float64Array, col: Float64Array, height: int, width: int) -> Mask:
    """Which positions are on an image, to the edges of its pixels; NaN is not."""
    return np.asarray((row >= -0.5) & (row <= height - 0.5) & (col >= -0.5) & (col <= width - 0.5))


def _extent(ends: tuple[float, float], length: int) -> tuple[int, int]:
    """First and last pixel plus one that bilinear interpolation between these positions touches."""
    return max(0, math.floor(ends[0])), min(length, math.floor(ends[1]) + 2)


def positions(source: Geometry, grid: Grid, displacement: Displacement | None) -> tuple[Float64Array, Float64Array]:
    """Row and column (H, W) in `source` of each pixel centre of `grid`, centres being whole numbers; NaN beyond maps.

    Exact on a lattice and linear in between, which is off by a millimetre at most for map projections, and by
    centimetres for the most bent displacements.
    """
    return _at_pixels(source, grid, _nodes(source, grid, displacement))


def _nodes(source: Geometry, grid: Grid, displacement: Displacement | None) -> tuple[Float64Array, Float64Array]:
    """Row and column in `source` of every `_LATTICE_PX`-th pixel of `grid`, all at one turn around the Earth."""
    rows, cols = (np.arange(0, length + _LATTICE_PX, _LATTICE_PX, dtype=np.float64) for length in grid.shape)
    nodes = np.meshgrid(cols + 0.5, rows + 0.5)
    to_crs: Any = grid.transform  # annotated for numbers only
    x, y = to_crs @ (nodes[0], nodes[1])
    if displacement is not None:
        x, y = displacement.sources_of(x, y)
    return source.pixels_at(grid.crs, x, y) if isinstance(source, GeolocationGrid) else _on_map(source, grid, x, y)


def _at_pixels(
    source: Geometry, grid: Grid, nodes: tuple[Float64Array, Float64Array]
) -> tuple[Float64Array, Float64Array]:
    row, col = (_between(axis, grid.shape) for axis in nodes)
    return (row, col) if isinstance(source, GeolocationGrid) else source.in_turn(row, col)


def _all_beyond(source: Geometry, row: Float64Array, col: Float64Array) -> bool:
    """Whether all nodes lie on one side of an image, as for most images of a mosaic: nothing between is on it then."""
    if isinstance(source, Grid):
        row, col = source.in_turn(row, col)
    known = np.isfinite(row) & np.isfinite(col)
    if not known.all():
        return not known.any()
    return any(at.max() < -0.5 or at.min() > length - 0.5 for at, length in ((row, source.height), (col, source.width)))


def spread_positions(source: Grid, grid: Grid) -> tuple[Float64Array, Float64Array]:
    """`positions` as arrays that broadcast to (H, W): (H, 1) and (1, W) for grids along the same axes."""
    straight = all((own.transform.b, own.transform.d) == (0, 0) for own in (source, grid))
    if source.crs != grid.crs or not straight or turn_of(source.crs) is not None:
        return positions(source, grid, None)
    to_source: Any = ~source.transform @ grid.transform
    rows, cols = np.arange(grid.height) + 0.5, np.arange(grid.width) + 0.5
    return (to_source.e * rows + to_source.f - 0.5)[:, None], (to_source.a * cols + to_source.c - 0.5)[None]


def _on_map(source: Grid, grid: Grid, x: Float64Array, y: Float64Array) -> tuple[Float64Array, Float64Array]:
    """Row and column in `source` of coordinates in the CRS of `grid`, all at one turn around the Earth."""
    if source.crs != grid.crs:
        x, y = transformer(grid.crs, source.crs).transform(x, y)
    x, turn = np.where(np.isfinite(x), x, np.nan), turn_of(source.crs)
    if turn is not None and np.isfinite(x).any():
        x = x - turn * np.rint((x - x[np.isfinite(x)][0]) / turn)  # or what lies between would be around the Earth
    col, row = ~source.transform @ (x, np.where(np.isfinite(y), y, np.nan))
    return row - 0.5, col - 0.5


def _between(nodes: Float64Array, shape: tuple[int, int]) -> Float64Array:
    """Values (H, W) from those at every `_LATTICE_PX`-th row and column, linear in between."""
    share = np.arange(_LATTICE_PX) / _LATTICE_PX
    across = _weighed(nodes[:-1, None], nodes[1:, None], share[:, None]).reshape(-1, nodes.shape[1])[: shape[0]]
    return _weighed(across[:, :-1, None], across[:, 1:, None], share).reshape(len(across), -1)[:, : shape[1]]


def _weighed(first: Float64Array, second: Float64Array, share: Float64Array) -> Float64Array:
    """The mean of two values, weighted by the share (0..1) of the second."""
    mean = first * (1 - share)
    mean += second * share
    return mean


def block_means(values: Image, parts: int) -> Image:
    """Means (bands, H, W) of the finite pixels in blocks of parts x parts; NaN where more than half are not finite."""
    known = np.isfinite(values)
    count = _block_sums(known, parts)
    mean = _block_sums(np.where(known, values, 0), parts) / np.maximum(count, 1)
    return np.where(2 * count >= parts**2, mean, np.float32(np.nan))


def _block_sums(values: Image | Mask, parts: int) -> Image:
    """Sums down the blocks first, then across: over both at once numpy is several times as slow."""
    bands, height, width = values.shape
    down = values.reshape(bands, height // parts, parts, width).sum(axis=2, dtype=np.float32)
    return as_image(sum(down[..., col::parts] for col in range(parts)))
