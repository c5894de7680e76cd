"""Where the pixels of one grid lie in another, and bilinear interpolation there: pure geometry."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pyproj import Transformer
from rasterio.crs import CRS
from rasterio.windows import Window

from cloudfree.arrays import Float64Array, Image, Mask
from cloudfree.grid import Grid
from cloudfree.inputs.displacement import Displacement

_LATTICE_PX = 16  # between points that are transformed exactly


@dataclass(frozen=True)
class BilinearTaps:
    """Where bilinear interpolation looks in an image, for each pixel (H, W) of a grid.

    `window` is the part of the image to read, `first` the upper left of four neighbours in it (with one more row and
    column), `down` and `across` the share (0..1) of the lower and the right ones; `inside` tells what is on the image.
    """

    window: Window
    inside: Mask
    first: NDArray[np.intp]
    down: Image
    across: Image

    def interpolate(self, values: Image) -> Image:
        """The window's values, interpolated; beyond its edge as at its edge."""
        padded = np.pad(values, (0, 1), mode="edge")
        upper, lower = (self._between_columns(padded, skipped * padded.shape[1]) for skipped in (0, 1))
        return upper + self.down * (lower - upper)

    def _between_columns(self, padded: Image, offset: int) -> Image:
        left, right = (padded.ravel()[offset + step :].take(self.first) for step in (0, 1))
        return left + self.across * (right - left)


@lru_cache(maxsize=1)  # VV and VH are mostly on one grid
def bilinear_taps(source: Grid, grid: Grid, displacement: Displacement | None) -> BilinearTaps | None:
    """The neighbours in `source` of each pixel centre of `grid`; None where there are none."""
    row, col = _positions(source, grid, displacement)
    inside = (row >= -0.5) & (row <= source.height - 0.5) & (col >= -0.5) & (col <= source.width - 0.5)
    if not inside.any():
        return None
    row0, row1 = _extent(row[inside], source.height)
    col0, col1 = _extent(col[inside], source.width)
    # fmin and fmax take the number where the other is NaN.
    row, col = np.fmin(np.fmax(row - row0, 0), row1 - row0 - 1), np.fmin(np.fmax(col - col0, 0), col1 - col0 - 1)
    upper, left = row.astype(np.intp), col.astype(np.intp)
    return BilinearTaps(
        window=Window(col0, row0, col1 - col0, row1 - row0),
        inside=inside,
        first=upper * (col1 - col0 + 1) + left,
        down=(row - upper).astype(np.float32),
        across=(col - left).astype(np.float32),
    )


def _extent(at: Float64Array, length: int) -> tuple[int, int]:
    """First and last pixel plus one that bilinear interpolation at these positions touches."""
    return max(0, math.floor(at.min())), min(length, math.floor(at.max()) + 2)


def _positions(source: Grid, grid: Grid, displacement: Displacement | None) -> tuple[Float64Array, Float64Array]:
    """Row and column (H, W) in `source` of each pixel centre of `grid`, centres being whole numbers; NaN beyond maps.

    Exact on a lattice, linear between its nodes: wrong by a millimetre at most for map projections, by centimetres for
    the most bent of fields.
    """
    rows, cols = (np.arange(0, length + _LATTICE_PX, _LATTICE_PX, dtype=np.float64) for length in grid.shape)
    nodes = np.meshgrid(cols + 0.5, rows + 0.5)
    to_crs: Any = grid.transform  # annotated for numbers only
    x, y = to_crs @ (nodes[0], nodes[1])
    if displacement is not None:
        x, y = displacement.sources_of(x, y)
    if source.crs != grid.crs:
        x, y = _transformer(grid.crs, source.crs).transform(x, y)
    col, row = ~source.transform @ (np.where(np.isfinite(x), x, np.nan), np.where(np.isfinite(y), y, np.nan))
    return _between(row - 0.5, grid.shape), _between(col - 0.5, grid.shape)


@lru_cache(maxsize=8)
def _transformer(source: CRS, target: CRS) -> Transformer:
    return Transformer.from_crs(source, target, always_xy=True)


def _between(nodes: Float64Array, shape: tuple[int, int]) -> Float64Array:
    """Values (H, W) from those at every `_LATTICE_PX`-th row and column, linear in between."""
    for axis, length in enumerate(shape):
        index, fraction = np.divmod(np.arange(length), _LATTICE_PX)
        share = np.expand_dims(fraction / _LATTICE_PX, 1 - axis)
        nodes = nodes.take(index, axis) * (1 - share) + nodes.take(index + 1, axis) * share
    return nodes
