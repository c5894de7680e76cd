"""Where clouds and shadows are: a UDM2 or any mask, on the scene's grid, and how much of each pixel to reconstruct."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from rasterio import DatasetReader
from rasterio.enums import Resampling
from rasterio.warp import reproject
from rasterio.windows import Window
from rasterio.windows import transform as window_transform
from scipy.ndimage import distance_transform_edt

from cloudfree.arrays import Image, Mask
from cloudfree.bands import UDM2_BAND_COUNT, UDM2_OBSCURED
from cloudfree.errors import GridError, InputError
from cloudfree.grid import Grid
from cloudfree.inputs import raster
from cloudfree.inputs.planet import Scene, udm2_sibling

BUFFER_M = 30.0
"""Ground beyond the mask that is taken for cloudy too: Planet advises to buffer UDM2, which misses thin edges."""

FEATHER_M = 30.0
"""Ground beyond the buffer over which the reconstruction fades into the observation."""


@dataclass(frozen=True)
class CloudMask:
    """A mask file: non-zero in any of the one-based `band_indexes` is cloud or shadow."""

    path: Path
    grid: Grid
    band_indexes: tuple[int, ...]
    nodata: float | None

    @contextmanager
    def open(self) -> Iterator[MaskReader]:
        """A reader of the mask's pixels."""
        with raster.opened(self.path) as dataset:
            yield MaskReader(self, dataset)


class MaskReader:
    """An open mask, on any grid."""

    def __init__(self, mask: CloudMask, dataset: DatasetReader) -> None:
        self._mask = mask
        self._dataset = dataset

    def on_grid(self, grid: Grid) -> Mask:
        """Cloud or shadow (H, W), by the nearest pixel of the mask; False where the mask does not reach."""
        out = np.zeros(grid.shape, np.uint8)
        row0, row1, col0, col1 = self._mask.grid.pixel_bounds_of(grid, margin_px=2)
        if row0 >= row1 or col0 >= col1:
            return out.astype(bool)
        window = Window(col0, row0, col1 - col0, row1 - row0)
        stored = raster.read(self._dataset, list(self._mask.band_indexes), window)
        cloudy = (stored != 0) & ~_is_nodata(stored, self._mask.nodata)
        reproject(
            cloudy.any(axis=0).astype(np.uint8),
            out,
            src_transform=window_transform(window, self._mask.grid.transform),
            src_crs=self._mask.grid.crs,
            dst_transform=grid.transform,
            dst_crs=grid.crs,
            resampling=Resampling.nearest,
        )
        return out.astype(bool)


def identify(scene: Scene, udm2: Path | None, mask: Path | None) -> CloudMask | None:
    """The mask of a scene: the one file given, or else the UDM2 beside the scene, or none."""
    if mask and udm2:
        raise InputError("--mask and --udm2 are both given; one says where the clouds are: leave the other out")
    if mask:
        return identify_mask(mask, scene.grid)
    udm2 = udm2 or udm2_sibling(scene.path)
    return identify_udm2(udm2, scene.grid) if udm2 else None


def identify_udm2(path: Path, area: Grid) -> CloudMask:
    """A usable data mask 2, whose shadow, haze and cloud bands count. Raises InputError or GridError."""
    with raster.opened(path) as dataset:
        if dataset.count != UDM2_BAND_COUNT:
            raise InputError(
                f"{path.name} has {dataset.count} band(s); a UDM2 has {UDM2_BAND_COUNT}: "
                "give the scene's _udm2 file, or another kind of mask with --mask"
            )
        return _overlapping(CloudMask(path, Grid.of(dataset), tuple(int(b) for b in UDM2_OBSCURED), None), area)


def identify_mask(path: Path, area: Grid) -> CloudMask:
    """A raster of one band, non-zero where there is cloud or shadow. Raises InputError or GridError."""
    with raster.opened(path) as dataset:
        if dataset.count != 1:
            raise InputError(
                f"{path.name} has {dataset.count} bands; a mask has one, non-zero where there is cloud or shadow: "
                "give a UDM2 with --udm2, or write one band of it to a file"
            )
        return _overlapping(CloudMask(path, Grid.of(dataset), (1,), dataset.nodata), area)


@dataclass(frozen=True)
class Feather:
    """How a mask fades out, in pixels: a buffer around it that is reconstructed whole, then a feather."""

    buffer_px: float
    feather_px: float

    @classmethod
    def on(cls, grid: Grid, buffer_m: float = BUFFER_M) -> Feather:
        """The feather for a grid's pixel size; at least one pixel wide."""
        return cls(buffer_m / grid.pixel_size_m, max(1.0, FEATHER_M / grid.pixel_size_m))

    @property
    def reach_px(self) -> int:
        """Pixels beyond a mask that it can touch: the halo that a strip needs."""
        return math.ceil(self.buffer_px + self.feather_px)

    def weight(self, cloudy: Mask) -> Image:
        """Blend weight (H, W) of a reconstruction: 1 in the mask and its buffer, falling to 0 at the feather's end."""
        if not cloudy.any():
            return np.zeros(cloudy.shape, np.float32)
        distance_px = distance_transform_edt(~cloudy)
        return np.clip((self.buffer_px + self.feather_px - distance_px) / self.feather_px, 0, 1).astype(np.float32)


def _overlapping(mask: CloudMask, area: Grid) -> CloudMask:
    if area.overlap_share(mask.grid) == 0:
        raise GridError(
            f"{mask.path.name} does not overlap the scene; a mask of the same ground is needed: "
            "compare the footprints with cloudfree info"
        )
    return mask


def _is_nodata(values: NDArray[np.generic], nodata: float | None) -> Mask:
    unknown: Mask = np.isnan(values)
    return unknown if nodata is None else unknown | (values == nodata)
