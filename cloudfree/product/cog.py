"""Rows in, a valid Cloud-Optimized GeoTIFF out."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np
import rasterio
import rasterio.shutil
from numpy.typing import NDArray
from rasterio._err import CPLE_BaseError  # what copying raises where a disk is full
from rasterio.enums import ColorInterp, Resampling
from rasterio.errors import RasterioError
from rasterio.io import DatasetWriter
from rasterio.windows import Window

from cloudfree.errors import OutputError
from cloudfree.geometry import Grid

BLOCK_PX = 512
WORK_ROWS = 64
"""Height in rows of the blocks of the work file: writing whole ones is fastest, part of one would be read back."""

# Files of seven scenes came out 0.98 to 1.03 times as large as at GDAL's own 6, in 0.5 to 0.9 of the processor's time.
_DEFLATE_LEVEL = "1"


@dataclass(frozen=True)
class CogProfile:
    """Data type, and names, colours, scales and units of the bands of a raster.

    `overviews` is the resampling of overviews, by rasterio's name. `colormap` has red, green, blue and alpha (0..255)
    of each value of the first band.
    """

    dtype: str
    descriptions: tuple[str, ...]
    colorinterp: tuple[ColorInterp, ...]
    scales: tuple[float, ...]
    overviews: str
    units: tuple[str, ...] = field(default=())
    nodata: float = 0.0
    colormap: Mapping[int, tuple[int, int, int, int]] = field(default_factory=dict)


class CogWriter:
    """Writes rows from top to bottom to a tiled GeoTIFF beside `path`; `finish` copies that to the COG at `path`.

    `compress` is the compression of the COG, by GDAL's name or "none". Tags are set before the copy, because editing a
    finished COG breaks its layout. The copy decides on BigTIFF, because GDAL's COG `Create` does not (gdal#14841).
    """

    def __init__(self, path: Path, grid: Grid, profile: CogProfile, compress: str) -> None:
        self._path = path
        self._work = path.with_name(path.name + ".work.tif")
        self._profile = profile
        self._compress = compress.upper()
        self._row = 0
        with writing(path):
            self._dataset = self._opened(grid, profile)

    def _opened(self, grid: Grid, profile: CogProfile) -> DatasetWriter:
        dataset = rasterio.open(
            self._work,
            "w",
            driver="GTiff",
            width=grid.width,
            height=grid.height,
            count=len(profile.descriptions),
            dtype=profile.dtype,
            crs=grid.crs,
            transform=grid.transform,
            nodata=profile.nodata,
            tiled=True,
            blockxsize=BLOCK_PX,
            blockysize=WORK_ROWS,
            interleave="pixel",
            BIGTIFF="IF_SAFER",
            photometric="MINISBLACK",
        )
        dataset.descriptions = profile.descriptions
        dataset.scales = profile.scales
        dataset.colorinterp = profile.colorinterp
        if profile.colormap:
            dataset.write_colormap(1, profile.colormap)
        if profile.units:
            dataset.units = profile.units
        return dataset

    def write(self, block: NDArray[np.generic]) -> None:
        """Append rows (bands, rows, width)."""
        rows = block.shape[1]
        with writing(self._path):
            self._dataset.write(block, window=Window(0, self._row, block.shape[2], rows))
        self._row += rows

    def finish(self, tags: dict[str, str]) -> None:
        """Set the tags, copy to a COG, and validate it. Raises OutputError."""
        assert self._row == self._dataset.height, "every row must be written"
        with writing(self._path):
            self._dataset.update_tags(**tags)
            self._dataset.close()
            with ThreadPoolExecutor(1) as beside:
                beside.submit(import_module, "rio_cogeo.cogeo")  # takes a tenth of a second, in which GDAL works
                self._copy()
            self._work.unlink()
            _require_valid(self._path)

    def _copy(self) -> None:
        profile, compress = self._profile, self._compress
        common = {"COMPRESS": compress, "BIGTIFF": "IF_SAFER", "NUM_THREADS": "ALL_CPUS"}
        if profile.colormap:
            self._copy_with_colormap({**common, **({} if compress == "NONE" else {"PREDICTOR": "2"})})
            return
        rasterio.shutil.copy(
            self._work,
            self._path,
            driver="COG",
            BLOCKSIZE=str(BLOCK_PX),
            OVERVIEW_RESAMPLING=profile.overviews.upper(),
            OVERVIEW_COMPRESS=compress,
            **common,
            **({} if compress == "NONE" else {"PREDICTOR": "YES"}),
            **({"LEVEL": _DEFLATE_LEVEL} if compress == "DEFLATE" else {}),
        )

    def _copy_with_colormap(self, options: dict[str, str]) -> None:
        """Copy by the GeoTIFF driver: with a colour map GDAL's COG driver takes the second band for alpha."""
        with rasterio.open(self._work, "r+") as work:
            halvings = max(0, math.ceil(math.log2(max(work.shape) / BLOCK_PX)))
            work.build_overviews([2**n for n in range(1, halvings + 1)], Resampling[self._profile.overviews])
        rasterio.shutil.copy(
            self._work,
            self._path,
            driver="GTiff",
            TILED="YES",
            BLOCKXSIZE=str(BLOCK_PX),
            BLOCKYSIZE=str(BLOCK_PX),
            COPY_SRC_OVERVIEWS="YES",
            PHOTOMETRIC="MINISBLACK",
            **options,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if not self._dataset.closed:
            self._dataset.close()


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Turn errors of GDAL and the system in the block into an OutputError that names the file."""
    try:
        yield
    except (RasterioError, CPLE_BaseError, OSError) as error:
        cause = " ".join(str(error.__cause__ or error).split())[:200]
        raise OutputError(f"writing {path.name} failed ({cause}); free space on the disk and run again") from error


def _require_valid(path: Path) -> None:
    from rio_cogeo.cogeo import cog_validate  # noqa: PLC0415 - slow to import, and of no use before a file is there

    valid, errors, warnings = cog_validate(path, strict=True, quiet=True)
    if not valid:
        raise OutputError(
            f"{path.name} did not come out as a valid COG ({'; '.join([*errors, *warnings])}); "
            "nothing was kept: check the disk's free space, then report this"
        )
