"""Small true-to-life rasters, made from seeds, and the command run in this process."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from affine import Affine
from click.testing import CliRunner, Result
from rasterio.crs import CRS
from scipy.ndimage import gaussian_filter

from cloudfree.cli import main

UTM33 = CRS.from_epsg(32633)
ORIGIN = (400_000.0, 5_000_000.0)
SHARED = Path(__file__).resolve().parents[2] / "shared"


def pattern(height: int, width: int, seed: int = 0, smooth: float = 3.0) -> np.ndarray:
    """A smooth random field of mean 0 and deviation 1."""
    noise = np.random.default_rng(seed).standard_normal((height, width))
    field = gaussian_filter(noise, smooth, mode="wrap") if min(height, width) > 1 else noise
    return (field - field.mean()) / (field.std() or 1)


def write_raster(path: Path, values: np.ndarray, transform: Affine, crs: CRS | None = UTM33, **profile: Any) -> Path:
    """Write (bands, rows, columns)."""
    descriptions = profile.pop("descriptions", None)
    count, height, width = values.shape
    options = {"driver": "GTiff", "dtype": values.dtype, "count": count, "height": height, "width": width} | profile
    with rasterio.open(path, "w", crs=crs, transform=transform, **options) as dataset:
        dataset.write(values)
        if descriptions:
            dataset.descriptions = descriptions
    return path


def scene_dn(height: int, width: int, bands: int = 4, seed: int = 0) -> np.ndarray:
    """Digital numbers (bands, H, W) of land: 500..4000, correlated between bands."""
    ground = pattern(height, width, seed)
    return np.stack(
        [
            np.clip(1500 + 300 * b + 500 * ground + 50 * pattern(height, width, seed + 1 + b), 1, 9000)
            for b in range(bands)
        ]
    ).astype(np.uint16)


def sar_values_db(height: int, width: int, seed: int = 0) -> np.ndarray:
    """VV and VH in dB (2, H, W)."""
    ground = pattern(height, width, seed)
    return np.stack([-10 + 3 * ground, -17 + 3 * ground]).astype(np.float32)


@pytest.fixture
def make_scene(tmp_path: Path) -> Callable[..., Path]:
    """Write a scene at 3 m; keywords change what is odd about it."""

    def make(
        height: int = 96,
        width: int = 96,
        *,
        name: str = "scene.tif",
        dn: np.ndarray | None = None,
        transform: Affine | None = None,
        **profile: Any,
    ) -> Path:
        values = scene_dn(height, width) if dn is None else dn
        transform = transform or Affine(3, 0, ORIGIN[0], 0, -3, ORIGIN[1])
        return write_raster(tmp_path / name, values, transform, **{"nodata": 0} | profile)

    return make


@pytest.fixture
def make_sar(tmp_path: Path) -> Callable[..., Path]:
    """Write Sentinel-1 at 10 m over 3 km around the scenes."""

    def make(
        size: int = 300,
        *,
        name: str = "s1.tif",
        values: np.ndarray | None = None,
        transform: Affine | None = None,
        **profile: Any,
    ) -> Path:
        data = sar_values_db(size, size) if values is None else values
        transform = transform or Affine(10, 0, ORIGIN[0] - 1004, 0, -10, ORIGIN[1] + 1003)
        return write_raster(tmp_path / name, data, transform, **{"descriptions": ("VV", "VH")} | profile)

    return make


@pytest.fixture
def make_mask(tmp_path: Path) -> Callable[..., Path]:
    """Write a mask on the grid of the default scene."""

    def make(values: np.ndarray, *, name: str = "mask.tif", transform: Affine | None = None, **profile: Any) -> Path:
        data = values[None] if values.ndim == 2 else values
        transform = transform or Affine(3, 0, ORIGIN[0], 0, -3, ORIGIN[1])
        return write_raster(tmp_path / name, data.astype(np.uint8), transform, **profile)

    return make


@pytest.fixture
def cli() -> Callable[..., Result]:
    """Run `cloudfree ARGS` in this process; a bug raises, a known failure is an exit status."""

    def run(*args: object) -> Result:
        result = CliRunner().invoke(main, [str(arg) for arg in args])
        if result.exception and not isinstance(result.exception, SystemExit):
            raise result.exception
        return result

    return run


@pytest.fixture
def shared_data() -> Path:
    """The real imagery beside the checkout, where there is some."""
    folder = SHARED / "data"
    if not folder.is_dir():
        pytest.skip("no real imagery beside this checkout")
    return folder
