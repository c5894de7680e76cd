"""Pictures for people: before, SAR and after, side by side."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
import rasterio
from numpy.typing import NDArray
from rasterio.enums import Resampling
from rasterio.errors import NotGeoreferencedWarning

from cloudfree.planet import Scene, has_data
from cloudfree.survey import Survey

_PANEL_PX = 900
_GAP_PX = 8
_VV_RANGE_DB, _VH_RANGE_DB, _RATIO_RANGE_DB = (-22.0, -2.0), (-28.0, -8.0), (2.0, 14.0)


def quicklook(target: Path, surveyed: Survey, scene: Scene, result: Path) -> None:
    """Write a PNG of three panels: the cloudy scene, Sentinel-1 (red VV, green VH, blue VV/VH) and the result.

    Both optical panels share one stretch, taken from the result, so that they can be compared.
    """
    height, width = _panel_shape(scene.grid.shape)
    before, after = (
        _true_colour(scene.path, scene.band_indexes, height, width),
        _true_colour(result, (1, 2, 3, 4), height, width),
    )
    low, high = _stretch(after)
    sar = _nearest(surveyed.sar_db, height, width)
    panels = [_stretched(before, low, high), _sar_colour(sar), _stretched(after, low, high)]
    write_png(target, _side_by_side(panels))


def write_png(target: Path, rgb: NDArray[np.uint8]) -> None:
    """Write (3, H, W) as a PNG, without the side files that GDAL likes to add."""
    with rasterio.Env(GDAL_PAM_ENABLED="NO"), warnings.catch_warnings():
        warnings.simplefilter("ignore", NotGeoreferencedWarning)
        count, height, width = rgb.shape
        with rasterio.open(target, "w", driver="PNG", width=width, height=height, count=count, dtype="uint8") as image:
            image.write(rgb)


def _panel_shape(shape: tuple[int, int]) -> tuple[int, int]:
    scale = min(1.0, _PANEL_PX / max(shape))
    return max(1, round(shape[0] * scale)), max(1, round(shape[1] * scale))


def _true_colour(path: Path, indexes: tuple[int, ...], height: int, width: int) -> NDArray[np.float32]:
    """Red, green, blue (3, height, width), NaN without data."""
    with rasterio.open(path) as dataset:
        dn = dataset.read(list(indexes), out_shape=(4, height, width), resampling=Resampling.average)
    return np.where(has_data(dn), dn[2::-1].astype(np.float32), np.nan)


def _stretch(image: NDArray[np.float32]) -> tuple[float, float]:
    values = image[np.isfinite(image)]
    low, high = np.percentile(values, (1, 99)) if values.size else (0.0, 1.0)
    return float(low), float(max(high, low + 1))


def _stretched(image: NDArray[np.float32], low: float, high: float) -> NDArray[np.uint8]:
    """0..255 with a gamma that opens the shadows; black without data."""
    unit = np.clip((np.nan_to_num(image, nan=low) - low) / (high - low), 0, 1)
    return np.rint(255 * unit**0.8).astype(np.uint8)


def _sar_colour(sar_db: NDArray[np.float32]) -> NDArray[np.uint8]:
    layers = (sar_db[0], sar_db[1], sar_db[0] - sar_db[1])
    ranges = (_VV_RANGE_DB, _VH_RANGE_DB, _RATIO_RANGE_DB)
    return np.stack([_stretched(layer, *bounds) for layer, bounds in zip(layers, ranges, strict=True)])


def _nearest(image: NDArray[np.float32], height: int, width: int) -> NDArray[np.float32]:
    rows = (np.arange(height) * image.shape[1]) // height
    cols = (np.arange(width) * image.shape[2]) // width
    return image[:, rows[:, None], cols]


def _side_by_side(panels: list[NDArray[np.uint8]]) -> NDArray[np.uint8]:
    gap = np.full((3, panels[0].shape[1], _GAP_PX), 255, np.uint8)
    return np.concatenate([panels[0], gap, panels[1], gap, panels[2]], axis=2)
