"""How far an image is moved over the ground: by a translation, or by a field that changes smoothly."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from cloudfree.arrays import Float64Array
from cloudfree.geometry.grid import Grid

POWERS = ((0, 0), (1, 0), (0, 1), (2, 0), (1, 1), (0, 2), (3, 0), (2, 1), (1, 2), (0, 3))
"""Exponents of u and v, term by term: one term is a translation, 3 are linear, 6 quadratic, 10 cubic."""


def basis(u: Float64Array, v: Float64Array, terms: int) -> Float64Array:
    """The first `terms` terms of u and v, stacked along a new last axis."""
    return np.stack([u**i * v**j for i, j in POWERS[:terms]], axis=-1)


def means(terms: int) -> Float64Array:
    """The means (terms,) of the first terms over the square of u and v."""
    # Over -1..1 an odd power averages to 0 and an even one, i, to 1 / (i + 1).
    return np.array([0.0 if i % 2 or j % 2 else 1 / ((i + 1) * (j + 1)) for i, j in POWERS[:terms]])


@dataclass(frozen=True)
class Displacement:
    """Metres east and north along the axes of the CRS of `area`, for each position on the ground.

    An image so displaced shows at a position what the image as delivered shows at that position *minus* the
    displacement. `east_m` and `north_m` are coefficients of the terms in `POWERS`; u and v run from -1 to 1 over the
    columns and the rows of `area`.
    """

    area: Grid
    east_m: tuple[float, ...] = (0.0,)
    north_m: tuple[float, ...] = (0.0,)

    @property
    def is_uniform(self) -> bool:
        return len(self.east_m) == 1

    @property
    def mean_m(self) -> tuple[float, float]:
        """East and north, averaged over the area: the translation, where it is one."""
        share = means(len(self.east_m))
        return float(share @ self.east_m), float(share @ self.north_m)

    def at(self, x: Float64Array, y: Float64Array) -> tuple[Float64Array, Float64Array]:
        """East and north in metres at coordinates of the CRS."""
        col, row = ~self.area.transform @ (x, y)
        terms = basis(2 * col / self.area.width - 1, 2 * row / self.area.height - 1, len(self.east_m))
        return terms @ np.array(self.east_m), terms @ np.array(self.north_m)

    def sources_of(self, x: Float64Array, y: Float64Array) -> tuple[Float64Array, Float64Array]:
        """Coordinates in the image as delivered of the ground that the displaced image shows at x, y."""
        east, north = self.at(x, y)
        per_x, per_y = self.area.units_per_metre_xy
        return x - east * per_x, y - north * per_y
