"""Opening rasters: failures of GDAL become one clear line, and GDAL's settings stay the caller's."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import rasterio
from numpy.typing import NDArray
from rasterio import DatasetReader
from rasterio.env import getenv, hasenv
from rasterio.errors import RasterioError, RasterioIOError
from rasterio.windows import Window

from cloudfree.errors import InputError

_GDAL_SETTINGS = {
    "GDAL_CACHEMAX": 128,  # MB; GDAL's own default, a share of all memory, would defeat the bound by the scene's width
    "GDAL_NUM_THREADS": "ALL_CPUS",
    "COG_TMP_COMPRESSION": "NONE",  # of overviews on their way into a COG; packing them takes a third of its time
    "GDAL_PAM_ENABLED": "NO",  # a statistic asked of a read-only input must not try to write beside it
}


def gdal_settings() -> rasterio.Env:
    """An Env with cloudfree's settings, except those that the caller or the environment has made."""
    taken = set(os.environ) | (set(getenv()) if hasenv() else set())
    return rasterio.Env(**{key: value for key, value in _GDAL_SETTINGS.items() if key not in taken})


@contextmanager
def opened(path: Path) -> Iterator[DatasetReader]:
    """Open a raster to read; InputError where that, or a later read within the block, fails."""
    if not path.exists():
        raise InputError(f"{path} does not exist; a raster file is needed: check the path")
    try:
        with rasterio.open(path) as dataset:
            yield dataset
    except RasterioIOError as error:
        raise InputError(
            f"{path} cannot be read as a raster ({_first_line(error)}); fetch or export it again"
        ) from error
    except RasterioError as error:
        raise InputError(f"{path} cannot be used: {_first_line(error)}; check the file with rio info") from error


def read(
    dataset: DatasetReader,
    indexes: list[int],
    window: Window,
    out_shape: tuple[int, int] | None = None,
) -> NDArray[np.generic]:
    """Bands (N, rows, columns) of one window, thinned to `out_shape`; InputError where the file is damaged."""
    shape = None if out_shape is None else (len(indexes), *out_shape)
    try:
        values: NDArray[np.generic] = dataset.read(indexes, window=window, out_shape=shape)
    except RasterioError as error:
        raise InputError(
            f"{dataset.name} is damaged or cut short ({_first_line(error)}); a whole file is needed: fetch it again"
        ) from error
    return values


def _first_line(error: BaseException) -> str:
    """The root cause in one line: rasterio's own text only points to GDAL's."""
    cause = error.__cause__ or error
    return " ".join(str(cause).split())[:200]
