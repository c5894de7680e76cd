"""The offset of radar by each window of co-registration, as arrows to draw over the scene."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from cloudfree.arrays import Float64Array
from cloudfree.geometry import Grid
from cloudfree.scene.offset import Vector

_SIDE = 640  # units of the drawing along its longer side
_HEAD = 7.0  # length of an arrow's head in these units
_OF_SPACING = 0.65  # length of the longest arrow over the distance between windows
_ROUND = (1.0, 2.0, 5.0)


@dataclass(frozen=True)
class Arrow:
    """From `x`, `y` along an SVG `path`."""

    x: float
    y: float
    path: str
    used: bool


@dataclass(frozen=True)
class Drawing:
    """Arrows in units of a view box `width` by `height`, and one of `scale_m` metres as a scale."""

    width: float
    height: float
    arrows: tuple[Arrow, ...]
    scale: Arrow
    scale_m: float
    times: float


def drawn(grid: Grid, vectors: Sequence[Vector]) -> Drawing | None:
    """Return a drawing of vectors in pixels of a survey's grid; None without vectors."""
    if not vectors:
        return None
    unit = _SIDE / max(grid.shape)
    width, height = grid.width * unit, grid.height * unit
    longest = max(float(np.hypot(*vector.shift_yx_px)) for vector in vectors)
    spacing = math.sqrt(width * height / len(vectors))
    times = _OF_SPACING * spacing / max(longest * unit, 1e-6) if longest > 0.01 else 1.0
    scale_m = _rounded(max(longest, 0.5) * grid.pixel_size_m)
    length = scale_m / grid.pixel_size_m * unit * times
    arrows = tuple(_arrow(np.array(v.centre_yx_px) * unit, np.array(v.shift_yx_px) * unit * times, v) for v in vectors)
    scale = _arrow(np.array([height - 16.0, 16.0]), np.array([0.0, length]))
    return Drawing(round(width, 1), round(height, 1), arrows, scale, scale_m, times)


def _arrow(start: Float64Array, way: Float64Array, vector: Vector | None = None) -> Arrow:
    """Return an arrow: a shaft, and a head of two strokes that is never longer than it."""
    (y, x), (tip_y, tip_x) = start, start + way
    length, angle = math.hypot(*way), math.atan2(way[0], way[1])
    barbs = [angle + turn for turn in (math.pi - 0.5, math.pi + 0.5)] if length > 1 else []
    head = min(_HEAD, 0.6 * length)
    strokes = "".join(
        f"M{tip_x + head * math.cos(barb):.1f} {tip_y + head * math.sin(barb):.1f}L{tip_x:.1f} {tip_y:.1f}"
        for barb in barbs
    )
    path = f"M{x:.1f} {y:.1f}L{tip_x:.1f} {tip_y:.1f}{strokes}"
    return Arrow(round(float(x), 1), round(float(y), 1), path, vector is None or vector.used)


def _rounded(metres: float) -> float:
    """Return the largest number of the series 1, 2, 5, 10, 20, ... up to `metres`."""
    power = 10.0 ** math.floor(math.log10(max(metres, 1e-3)))
    return max(digit * power for digit in _ROUND if digit * power <= metres * (1 + 1e-9))
