"""The offset of another image as a value: how far, how sure, and why it was accepted or not."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from cloudfree.geometry import Displacement, Grid
from cloudfree.geometry.displacement import means


@dataclass(frozen=True)
class Vector:
    """What one window found, `used` if it bears the estimate out. Pixels: rows down, columns right."""

    centre_yx_px: tuple[float, float]
    shift_yx_px: tuple[float, float]
    used: bool


@dataclass(frozen=True)
class Offset:
    """A displacement of Sentinel-1 or of another date over the ground, in pixels of the images compared.

    `coefficients_yx_px` are rows down and columns right of the terms in `displacement.POWERS`, one term for a
    translation: what must be *added* to positions in that image to match the scene. `confidence` is 0..1;
    `reason` says in words why it was accepted or not. `vectors` are of the windows compared, `windows` counts also
    those without enough clear ground; `spread_px` is the root mean square distance of the used vectors from the fit.
    """

    coefficients_yx_px: tuple[tuple[float, float], ...]
    confidence: float
    accepted: bool
    reason: str
    windows: int = 0
    vectors: tuple[Vector, ...] = ()
    spread_px: float = 0.0

    @property
    def shift_yx_px(self) -> tuple[float, float]:
        """The translation; of a field, its mean over the scene."""
        dy, dx = means(len(self.coefficients_yx_px)) @ np.array(self.coefficients_yx_px)
        return float(dy), float(dx)

    @property
    def windows_used(self) -> int:
        return sum(vector.used for vector in self.vectors)

    def on(self, grid: Grid) -> Displacement:
        """The displacement in metres to apply, over the grid of the images compared; none where it was refused."""
        if not self.accepted:
            return Displacement(grid)
        east, north = zip(*(grid.pixels_to_metres(pair) for pair in self.coefficients_yx_px), strict=True)
        return Displacement(grid, east, north)

    def describe(self, grid: Grid) -> dict[str, Any]:
        """Plain data for JSON and tags; metres along the axes of the grid of the images compared."""
        applied = self.on(grid)
        (east, north), uniform = applied.mean_m, applied.is_uniform
        plain: dict[str, Any] = {
            "accepted": self.accepted,
            "shift_m": {"east": round(east, 2), "north": round(north, 2)},
            "confidence": round(self.confidence, 6),
            "windows": {"used": self.windows_used, "rejected": self.windows - self.windows_used},
            "residual_spread_m": round(self.spread_px * grid.pixel_size_m, 2),
            "reason": self.reason,
        }
        if not uniform:
            coefficients = {"east": applied.east_m, "north": applied.north_m}
            plain["field_m"] = {axis: [round(c, 3) for c in values] for axis, values in coefficients.items()}
        return plain
