"""Fixtures of all rooms: files as a user has them, and the command run in this process."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from affine import Affine
from click.testing import CliRunner, Result
from support import ORIGIN, SHARED, sar_values_db, scene_dn, write_raster

from cloudfree.cli import main


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
