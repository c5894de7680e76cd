"""Where a scene is looked at in pixels of its own: all over, or in a few places that are clear, put into one image."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from scipy.ndimage import uniform_filter

from cloudfree.arrays import Image, Mask
from cloudfree.bands import OPTICAL_BANDS
from cloudfree.geometry import Grid
from cloudfree.inputs.area import Part

_SIDE_PX, _MOST = 192, 3  # of a part: what a window of co-registration is at most; how many along either axis
_LEAST_SEEN = 0.15  # share of a part

Read = Callable[[Part], Image]
"""What an image shows of a part of the scene's grid (4, H, W), NaN where that is nothing."""


@dataclass(frozen=True)
class Sight:
    """Parts of a scene, of one shape, and how many pixels lie between them in the one image that shows them all.

    An offset is the same in all parts, and if it is no larger than the gap, none is taken for a part's neighbour.
    """

    parts: tuple[Part, ...]
    gap_px: int = 0

    @property
    def _pitch(self) -> tuple[int, int]:
        height, width = self.parts[0].shape
        return height + self.gap_px, width + self.gap_px

    @property
    def _columns(self) -> int:
        return math.ceil(math.sqrt(len(self.parts)))

    def image(self, read: Read) -> Image:
        """What is read of the parts (4, H, W), NaN between them."""
        (height, width), (down, across) = self.parts[0].shape, self._pitch
        shape = -(-len(self.parts) // self._columns) * down - self.gap_px, self._columns * across - self.gap_px
        image = np.full((len(OPTICAL_BANDS), *shape), np.nan, np.float32)
        for number, part in enumerate(self.parts):
            row, col = number // self._columns * down, number % self._columns * across
            image[:, row : row + height, col : col + width] = read(part)
        return image

    def place(self, yx: tuple[float, float]) -> tuple[float, float]:
        """The row and the column in the scene of a place in the image; of one in a gap, those of the part beside it."""
        (row, y), (col, x) = (divmod(at, pitch) for at, pitch in zip(yx, self._pitch, strict=True))
        part = self.parts[min(int(row) * self._columns + int(col), len(self.parts) - 1)]
        return part.row + min(y, part.height), part.col + min(x, part.width)


def clearest(grid: Grid, seen: Mask, gap_px: int) -> Sight | None:
    """Parts of a grid, spread over it, each where most is `seen` (h, w: on a coarser grid of the same outline).

    None where hardly anything is.
    """
    rows, cols = (_Axis.of(length, few) for length, few in zip(grid.shape, seen.shape, strict=True))
    share = uniform_filter(seen.astype(np.float32), (rows.coarse_side, cols.coarse_side), mode="constant")
    parts = []
    for down in rows.cells:
        for across in cols.cells:
            cell = share[down, across]
            y, x = np.unravel_index(int(cell.argmax()), cell.shape)
            if cell[y, x] >= _LEAST_SEEN:
                corner = rows.start(down.start + int(y)), cols.start(across.start + int(x))
                parts.append(Part(*corner, rows.side, cols.side))
    return Sight(tuple(parts), gap_px) if parts else None


@dataclass(frozen=True)
class _Axis:
    """Parts along one axis of a grid of `length` pixels: of `side` pixels each, one in each cell of a coarse grid."""

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

    def start(self, middle: int) -> int:
        """Where the part begins whose middle is a pixel of the coarse grid."""
        return int(np.clip((middle + 0.5) * self.coarser - self.side / 2, 0, self.length - self.side))
