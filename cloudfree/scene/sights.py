"""Where a scene is looked at in pixels of its own: all over, or in a few places that are clear."""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from scipy.ndimage import uniform_filter

from cloudfree.arrays import Float64Array, Mask
from cloudfree.geometry import Grid
from cloudfree.inputs.area import Part

_SIDE_PX = 128  # of a part
_MOST = 5  # parts along either axis
_LEAST_SEEN = 0.15  # share of a part


@dataclass(frozen=True)
class Sights:
    """Parts of a grid, of one shape, and rows and columns (N, 2) of the middles of the cells that hold one each.

    A cell in which hardly anything is seen has no part.
    """

    parts: tuple[Part, ...]
    cells: Float64Array


def clearest(grid: Grid, seen: Mask) -> Sights:
    """Parts spread over a grid, each where most of its cell is `seen` (h, w: on a coarser grid of the same outline)."""
    rows, cols = (_Axis.of(length, few) for length, few in zip(grid.shape, seen.shape, strict=True))
    share = uniform_filter(seen.astype(np.float32), (rows.coarse_side, cols.coarse_side), mode="constant")
    parts, middles = [], []
    for down in rows.cells:
        for across in cols.cells:
            cell = share[down, across]
            y, x = np.unravel_index(int(cell.argmax()), cell.shape)
            middles.append([rows.middle(down), cols.middle(across)])
            if cell[y, x] >= _LEAST_SEEN:
                corner = rows.start(down.start + int(y)), cols.start(across.start + int(x))
                parts.append(Part(*corner, rows.side, cols.side))
    return Sights(tuple(parts), np.array(middles))


def around(part: Part, margin_px: int, grid: Grid) -> Part:
    """A part and up to `margin_px` around it, as far as the grid reaches."""
    (top, bottom), (left, right) = (
        (max(0, span.start - margin_px), min(length, span.stop + margin_px))
        for span, length in zip((part.rows, part.cols), grid.shape, strict=True)
    )
    return Part(top, left, bottom - top, right - left)


@dataclass(frozen=True)
class _Axis:
    """Parts of `side` pixels along an axis of `length`; the middle of each lies in a cell of coarse pixels."""

    length: int
    side: int
    coarser: float  # pixels of the grid to one of the coarse grid
    cells: tuple[slice, ...]

    @classmethod
    def of(cls, length: int, few: int) -> _Axis:
        count = min(max(length // _SIDE_PX, 1), _MOST)
        side, coarser = min(length, _SIDE_PX), length / few
        edges = [round(few * n / count) for n in range(count + 1)]
        margin = math.ceil(side / coarser / 2)  # a part lies in its cell, so that no two overlap
        middles = [(low + margin, high - margin) for low, high in pairwise(edges)]
        cells = [slice(min(low, (low + high) // 2), max(high, (low + high) // 2 + 1)) for low, high in middles]
        return cls(length, side, coarser, tuple(cells))

    @property
    def coarse_side(self) -> int:
        return max(1, round(self.side / self.coarser))

    def middle(self, cell: slice) -> float:
        return (cell.start + cell.stop) / 2 * self.coarser

    def start(self, middle: int) -> int:
        """Where the part begins whose middle is a pixel of the coarse grid."""
        return int(np.clip((middle + 0.5) * self.coarser - self.side / 2, 0, self.length - self.side))
