"""Small true-to-life rasters, made from seeds, and small networks."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import rasterio
import torch
from affine import Affine
from rasterio.crs import CRS
from rasterio.transform import from_origin
from scipy.ndimage import gaussian_filter

from cloudfree.network.models import AlignCRConfig, UNet, UNetConfig

UTM33 = CRS.from_epsg(32633)
ORIGIN = (400_000.0, 5_000_000.0)
SHARED = Path(__file__).resolve().parents[2] / "shared"

# Networks of every part that run in milliseconds.
TINY = AlignCRConfig(
    width=16,
    blocks=2,
    shallow_blocks=1,
    shallow_expanded=24,
    shallow_bottleneck=12,
    deformable_groups=4,
    dense_layers=2,
    growth=8,
    heads=2,
    mlp_ratio=2,
    tail_width=8,
)
TINY_ONE_BLOCK = AlignCRConfig(width=16, blocks=1, heads=2, growth=8, dense_layers=2, deformable_groups=2)


def tiny_seeing(seed: int = 3, step: float = 0.5) -> UNet:
    """A small network that sees, and moves the ground by about `step` deviations of the model."""
    torch.manual_seed(seed)
    network = UNet(UNetConfig(width=4))
    torch.nn.init.normal_(network.answer.weight, std=step)
    return network


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


def write_pixels(path: Path, pixels: np.ndarray) -> None:
    """Write (bands, rows, columns) at 10 m, as data sets for training have them."""
    count, height, width = pixels.shape
    profile = {"count": count, "height": height, "width": width, "dtype": pixels.dtype, "crs": "EPSG:32633"}
    with rasterio.open(path, "w", driver="GTiff", transform=from_origin(5e5, 5e6, 10, 10), **profile) as dataset:
        dataset.write(pixels)


def network_inputs(
    height: int, width: int, batch: int = 1, dtype: torch.dtype = torch.float32
) -> tuple[torch.Tensor, torch.Tensor]:
    """Reflectance (batch, 4, H, W) and dB (batch, 2, H, W) of noise."""
    generator = torch.Generator().manual_seed(height * 1000 + width)
    reflectance = torch.rand(batch, 4, height, width, generator=generator, dtype=dtype)
    return reflectance, -30 * torch.rand(batch, 2, height, width, generator=generator, dtype=dtype)
