"""Opening rasters: failures of GDAL become one clear line, and GDAL's settings stay the caller's."""

from __future__ import annotations

import os
import re
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

from cloudfree.errors import GridError, InputError
from cloudfree.grid import Grid
from cloudfree.inputs.geolocation_grid import Geometry

_SAMPLE_PX = 512
_STRIP_ROWS = 512

_GDAL_SETTINGS = {
    "GDAL_CACHEMAX": 128,  # MB; GDAL's own default, a share of all memory, would defeat the bound by the scene's width
    "GDAL_NUM_THREADS": "ALL_CPUS",
    "COG_TMP_COMPRESSION": "NONE",  # of overviews on their way into a COG; packing them takes a third of its time
    "GDAL_PAM_ENABLED": "NO",  # nothing is written beside a product; inputs are opened with it, see `opened`
}


def gdal_settings() -> rasterio.Env:
    """An Env with cloudfree's settings, except those that the caller or the environment has made."""
    taken = set(os.environ) | (set(getenv()) if hasenv() else set())
    return rasterio.Env(**{key: value for key, value in _GDAL_SETTINGS.items() if key not in taken})


@contextmanager
def opened(path: Path) -> Iterator[DatasetReader]:
    """Open a raster to read; InputError where that, or a later read within the block, fails."""
    if not path.exists():
        if re.match(r"/?vsi|[a-z0-9]+:/", str(path)):
            raise InputError(f"{path} is an address; a raster file on disk is needed: download or unzip it first")
        raise InputError(f"{path} does not exist; a raster file is needed: check the path")
    if path.suffix.lower() == ".zip":
        raise InputError(f"{path} is an archive; a raster file is needed: unzip it, and give the scene inside")
    with opened_by_gdal(str(path)) as dataset:
        yield dataset


@contextmanager
def opened_by_gdal(name: str) -> Iterator[DatasetReader]:
    """Open whatever GDAL knows by this name, as `opened` does."""
    try:
        with _with_sidecars():
            dataset = rasterio.open(name)
        with dataset:
            yield dataset
    except RasterioIOError as error:
        raise InputError(
            f"{name} cannot be read as a raster ({_first_line(error)}); fetch or export it again"
        ) from error
    except RasterioError as error:
        raise InputError(f"{name} cannot be used: {_first_line(error)}; check the file with rio info") from error
    except UnicodeDecodeError as error:
        raise InputError(
            f"{name} has band names or tags that are no UTF-8 ({error.object[:40]!r}); write it anew without them "
            "(gdal_translate -nomd)"
        ) from error


def _with_sidecars() -> rasterio.Env:
    """What `FILE.aux.xml` says of an input counts (nodata, names, CRS), unless the environment switches that off."""
    return rasterio.Env(**({} if "GDAL_PAM_ENABLED" in os.environ else {"GDAL_PAM_ENABLED": "YES"}))


def read(
    dataset: DatasetReader,
    indexes: list[int],
    window: Window,
    out_shape: tuple[int, int] | None = None,
) -> NDArray[np.generic]:
    """Bands (N, rows, columns) of one window, thinned to `out_shape`; InputError where the file is damaged.

    What reads like a dataset and is none of GDAL's thins by itself.
    """
    try:
        if not isinstance(dataset, DatasetReader):
            own: NDArray[np.generic] = dataset.read(indexes, window=window, out_shape=out_shape)
            return own
        if out_shape is None:
            values: NDArray[np.generic] = dataset.read(indexes, window=window)
            return values
        return _thinned(dataset, indexes, window, out_shape)
    except RasterioError as error:
        raise InputError(
            f"{dataset.name} is damaged or cut short ({_first_line(error)}); a whole file is needed: fetch it again"
        ) from error


def _thinned(
    dataset: DatasetReader, indexes: list[int], window: Window, out_shape: tuple[int, int]
) -> NDArray[np.generic]:
    """The nearest pixels of a window, or an overview's where there is one."""
    if dataset.overviews(indexes[0]):
        overview: NDArray[np.generic] = dataset.read(indexes, window=window, out_shape=(len(indexes), *out_shape))
        return overview
    rows, cols = nearest(window.height, out_shape[0]), nearest(window.width, out_shape[1])
    parts = []
    # GDAL, told to thin, unpacks a block once for each row that it takes from it, which takes minutes for a scene.
    for start in range(0, window.height, _STRIP_ROWS):
        stop = min(start + _STRIP_ROWS, window.height)
        strip = Window(window.col_off, window.row_off + start, window.width, stop - start)
        chosen = rows[(rows >= start) & (rows < stop)] - start
        parts.append(dataset.read(indexes, window=strip)[:, chosen[:, None], cols])
    return np.concatenate(parts, axis=1)


def nearest(length: int, count: int) -> NDArray[np.intp]:
    """Which of a row's pixels lie in the middle of `count` equal parts, as GDAL takes them."""
    return ((np.arange(count) + 0.5) * (length / count) + 1e-10).astype(np.intp)


def sample_over(
    dataset: DatasetReader, indexes: list[int], area: Grid, needed: str
) -> tuple[NDArray[np.generic], Grid]:
    """Bands (N, rows, columns) over `area`, thinned to some hundred pixels a side, and where these lie.

    GridError where the raster lies elsewhere; `needed` says in its message what should be given instead.
    """
    grid = Grid.of(dataset)
    window = window_over(dataset, grid, area, needed)
    shape = sampled(window)
    values = read(dataset, indexes, window, out_shape=shape)
    return values, grid.window(window.row_off, window.col_off, window.height, window.width).resized(*shape)


def window_over(dataset: DatasetReader, geometry: Geometry, area: Geometry, needed: str) -> Window:
    """The part of a raster that lies under `area`. Raises GridError as `sample_over` does."""
    row0, row1, col0, col1 = geometry.pixel_bounds_of(area)
    if row0 >= row1 or col0 >= col1 or geometry.overlap_share(area) == 0:
        raise GridError(
            f"{Path(dataset.name).name} does not overlap the scene; {needed} over the same ground is needed: "
            "compare the footprints with cloudfree info"
        )
    return Window(col0, row0, col1 - col0, row1 - row0)


def sampled(window: Window) -> tuple[int, int]:
    """The shape to which a window is thinned to look at its values."""
    return min(window.height, _SAMPLE_PX), min(window.width, _SAMPLE_PX)


def _first_line(error: BaseException) -> str:
    """The root cause in one line: rasterio's own text only points to GDAL's."""
    cause = error.__cause__ or error
    return " ".join(str(cause).split())[:200]
