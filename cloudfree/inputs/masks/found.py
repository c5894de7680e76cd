"""Clouds and shadows that were detected in the scene itself, on a coarse grid of its outline."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from rasterio.windows import Window

from cloudfree.arrays import Image, Mask
from cloudfree.bands import SKY_HIDDEN
from cloudfree.geometry import Grid
from cloudfree.inputs.masks.mask import nearest


@dataclass(frozen=True)
class FoundClouds:
    """Detected clouds on a coarse grid (h, w).

    classes: `bands.SkyClass`, SKY_NODATA where the scene has no data. probability, 0..1: of cloud, haze or shadow.
    """

    grid: Grid
    classes: NDArray[np.uint8]
    probability: Image

    @property
    def hidden(self) -> Mask:
        """Cloud, haze or shadow (h, w)."""
        return np.isin(self.classes, SKY_HIDDEN)

    def on_grid(self, grid: Grid) -> Mask:
        """Cloud, haze or shadow on another grid (H, W), by the nearest pixel."""
        return np.isin(self.classes_on(grid), SKY_HIDDEN)

    def classes_on(self, grid: Grid) -> NDArray[np.uint8]:
        """Classes on another grid (H, W), by the nearest pixel."""
        return self._on(grid, self.classes)

    def percent_on(self, grid: Grid) -> NDArray[np.uint8]:
        """Probability in percent on another grid (H, W), by the nearest pixel."""
        return self._on(grid, np.rint(100 * self.probability).astype(np.uint8))

    def _on(self, grid: Grid, values: NDArray[np.uint8]) -> NDArray[np.uint8]:
        def read(window: Window) -> NDArray[np.uint8]:
            return values[window.toslices()]

        return nearest(self.grid, grid, read)
