"""A coarse look at the whole scene first: coverage, typical values, and what co-registration compares."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from cloudfree.arrays import Image, Mask
from cloudfree.errors import InputError
from cloudfree.grid import Grid
from cloudfree.inputs.cloudmask import MaskReader
from cloudfree.inputs.displacement import Displacement
from cloudfree.inputs.planet import Scene, SceneReader, has_data
from cloudfree.inputs.sentinel1 import SarReader

_PIXEL_M = 10.0  # Sentinel-1's own; nothing finer can be matched
_MAX_PIXELS = 4_000_000  # bounds the memory whatever the scene's area
_STRIP_ROWS = 256


@dataclass(frozen=True)
class Survey:
    """Scene, SAR and mask averaged onto one coarse `grid` of the scene's outline.

    `dn` (4, H, W) uint16, all zero without data; `sar_db` (2, H, W), NaN where invalid; `cloudy` (H, W).
    """

    grid: Grid
    dn: NDArray[np.uint16]
    sar_db: Image
    cloudy: Mask

    @property
    def data(self) -> Mask:
        return has_data(self.dn)

    @property
    def clear(self) -> Mask:
        clear: Mask = np.logical_and(self.data, np.logical_not(self.cloudy))
        return clear

    @property
    def sar_valid(self) -> Mask:
        return np.asarray(np.isfinite(self.sar_db).all(axis=0))

    @property
    def data_share(self) -> float:
        """Share (0..1) of the raster that holds data."""
        return float(self.data.mean())

    @property
    def cloudy_share(self) -> float:
        """Share (0..1) of the data under the mask."""
        return float(self.cloudy[self.data].mean())

    @property
    def sar_share(self) -> float:
        """Share (0..1) of the data where Sentinel-1 is valid."""
        return float(self.sar_valid[self.data].mean())

    def typical_dn(self) -> Image:
        """Median digital number of each band (4,), of clear pixels where there are any: a neutral filler."""
        chosen = self.clear if self.clear.any() else self.data
        return np.median(self.dn[:, chosen], axis=1).astype(np.float32)

    def typical_sar_db(self) -> Image:
        """Median backscatter of each polarisation (2,) in dB: a neutral filler."""
        return np.median(self.sar_db[:, self.sar_valid], axis=1).astype(np.float32)


def with_sar_moved(surveyed: Survey, sar: SarReader, moved: Displacement) -> Survey:
    """The same survey with Sentinel-1 displaced over the ground."""
    return replace(surveyed, sar_db=sar.on_grid(surveyed.grid, moved))


def take(scene: Scene, pixels: SceneReader, sar: SarReader, mask: MaskReader | None) -> Survey:
    """Look at the whole scene, at Sentinel-1's resolution or coarser. Raises InputError."""
    grid = _coarse(scene.grid)
    dn = pixels.coarse(grid.height, grid.width)
    if not has_data(dn).any():
        raise InputError(f"{scene.path.name} holds no data, all pixels are nodata; give another scene")
    cloudy = np.zeros(grid.shape, bool)
    if mask is not None:
        cloudy = np.concatenate([mask.on_grid(grid.rows(*rows)) for rows in _strips(grid)])
    survey = Survey(grid, dn, sar.on_grid(grid), cloudy)
    if not (survey.sar_valid & survey.data).any():
        raise InputError(
            f"Sentinel-1 has no valid pixel where {scene.path.name} has data; an image that sees the same ground is "
            "needed: compare the footprints with cloudfree info"
        )
    return survey


def _strips(grid: Grid) -> list[tuple[int, int]]:
    return [(row, min(row + _STRIP_ROWS, grid.height)) for row in range(0, grid.height, _STRIP_ROWS)]


def _coarse(grid: Grid) -> Grid:
    factor = max(1.0, _PIXEL_M / grid.pixel_size_m, math.sqrt(grid.width * grid.height / _MAX_PIXELS))
    return grid.resized(max(1, round(grid.height / factor)), max(1, round(grid.width / factor)))
