"""A coarse look at the whole scene first: coverage, typical values, and what co-registration compares."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from cloudfree.arrays import Image, as_image
from cloudfree.bands import TYPICAL_SAR_DB
from cloudfree.errors import InputError
from cloudfree.geometry import Grid
from cloudfree.inputs.files import InputReader, Pixels
from cloudfree.inputs.optical.scene import Scene

_PIXEL_M = 10.0  # Sentinel-1's own; nothing finer can be matched
MOST_PIXELS = 4_000_000
"""Bounds the memory whatever the scene's area."""


@dataclass(frozen=True)
class Survey(Pixels):
    """Scene, radar, mask and references averaged onto one coarse grid of the scene's outline."""

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

    def median_dn(self) -> Image:
        """Median digital number of each band (4,), of clear pixels where there are any: a neutral fill."""
        chosen = self.clear if self.clear.any() else self.data
        return np.median(self.dn[:, chosen], axis=1).astype(np.float32)

    def median_sar_db(self) -> Image:
        """Median backscatter of each polarisation (2,) in dB, of land in general without radar: a neutral fill."""
        if not self.sar_valid.any():
            return as_image(TYPICAL_SAR_DB)
        return np.median(self.sar_db[:, self.sar_valid], axis=1).astype(np.float32)


def take(scene: Scene, reader: InputReader) -> Survey:
    """Look at the whole scene, at Sentinel-1's resolution or coarser. Raises InputError."""
    pixels = reader.averaged(_coarse(scene.grid))
    survey = Survey(pixels.grid, pixels.dn, pixels.sar_db, pixels.cloudy, pixels.others)
    if not survey.data.any():
        raise InputError(f"{scene.path.name} holds no data, all pixels are nodata; give another scene")
    if not reader.sar.is_empty and not (survey.sar_valid & survey.data).any():
        raise InputError(
            f"Sentinel-1 has no valid pixel where {scene.path.name} has data; an image that sees the same ground is "
            "needed: compare the footprints with cloudfree info"
        )
    return survey


def _coarse(grid: Grid) -> Grid:
    factor = max(1.0, _PIXEL_M / grid.pixel_size_m, math.sqrt(grid.width * grid.height / MOST_PIXELS))
    return grid.resized(max(1, round(grid.height / factor)), max(1, round(grid.width / factor)))
