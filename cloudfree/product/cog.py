"""Rows in, a valid Cloud-Optimized GeoTIFF out, and nothing at the target's name until it is whole."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np
import rasterio
import rasterio.shutil
from numpy.typing import NDArray
from rasterio.enums import ColorInterp
from rasterio.errors import RasterioError
from rasterio.windows import Window
from rio_cogeo.cogeo import cog_validate

from cloudfree.errors import OutputError
from cloudfree.grid import Grid

BLOCK_PX = 512
WORK_ROWS = 64
"""Rows that are best written at once: blocks of the work file are so high, and one half written would be read back."""


@dataclass(frozen=True)
class Product:
    """What a raster holds, apart from its pixels."""

    dtype: str
    descriptions: tuple[str, ...]
    colorinterp: tuple[ColorInterp, ...]
    scales: tuple[float, ...]
    overviews: str
    compress: str = "deflate"
    units: tuple[str, ...] = field(default=())
    nodata: float = 0.0


class Staging:
    """Files being made in hidden folders beside their targets."""

    def __init__(self, folders: dict[Path, Path]) -> None:
        self._folders = folders
        self._moves: dict[Path, Path] = {}

    def path(self, target: Path) -> Path:
        """Where to write what shall become `target`."""
        self._moves[target] = self._folders[target.parent] / target.name
        return self._moves[target]

    def publish(self, overwrite: bool) -> None:
        """Give every file its name, each in one step, all on disk before the first."""
        for staged in self._moves.values():
            with staged.open("rb") as file:
                os.fsync(file.fileno())
        if not overwrite:
            refuse_existing(self._moves)
        for target, staged in self._moves.items():
            staged.replace(target)


@contextmanager
def staging(targets: Sequence[Path], overwrite: bool) -> Iterator[Staging]:
    """Make files beside their targets; move them there if the block succeeds, and leave nothing behind if not."""
    with ExitStack() as stack:
        folders = {parent: stack.enter_context(_hidden_folder(parent)) for parent in {t.parent for t in targets}}
        stage = Staging(folders)
        yield stage
        stage.publish(overwrite)


def check_targets(targets: Sequence[Path], inputs: Sequence[Path], overwrite: bool) -> None:
    """Raise OutputError for targets that are inputs, equal to each other, existing, or that cannot be written."""
    for position, target in enumerate(targets):
        if any(_same(target, source) for source in inputs):
            raise OutputError(f"{target} is an input; the output must be another file: choose another name")
        if any(_same(target, other) for other in targets[:position]):
            raise OutputError(f"{target} is named for two outputs; each needs a file of its own: choose another name")
        if target.is_dir():
            raise OutputError(f"{target} is a folder; the output must be a file: add a file name")
        if not target.parent.is_dir():
            raise OutputError(
                f"the folder {target.parent} does not exist; outputs go into existing folders: make it first"
            )
        if not os.access(target.parent, os.W_OK):
            raise OutputError(
                f"the folder {target.parent} cannot be written; choose another, or change its permissions"
            )
    if not overwrite:
        refuse_existing(targets)


def refuse_existing(targets: Sequence[Path] | dict[Path, Path]) -> None:
    """Raise OutputError if a target exists."""
    for target in targets:
        if target.exists():
            raise OutputError(f"{target} exists and is kept; give --overwrite to replace it, or another name")


class CogWriter:
    """Writes rows from top to bottom to a plain tiled GeoTIFF; `finish` copies that to the COG at `path`.

    Tags are set before the copy, for editing a finished COG breaks its layout; and the copy, not GDAL's COG `Create`,
    decides on BigTIFF (gdal#14841).
    """

    def __init__(self, path: Path, grid: Grid, product: Product) -> None:
        self._path = path
        self._work = path.with_name(path.name + ".work.tif")
        self._product = product
        self._row = 0
        self._dataset = rasterio.open(
            self._work,
            "w",
            driver="GTiff",
            width=grid.width,
            height=grid.height,
            count=len(product.descriptions),
            dtype=product.dtype,
            crs=grid.crs,
            transform=grid.transform,
            nodata=product.nodata,
            tiled=True,
            blockxsize=BLOCK_PX,
            blockysize=WORK_ROWS,
            interleave="pixel",
            BIGTIFF="IF_SAFER",
            photometric="MINISBLACK",
        )
        self._dataset.descriptions = product.descriptions
        self._dataset.scales = product.scales
        self._dataset.colorinterp = product.colorinterp
        if product.units:
            self._dataset.units = product.units

    def write(self, block: NDArray[np.generic]) -> None:
        """Append rows (bands, rows, width)."""
        rows = block.shape[1]
        with _writing(self._path):
            self._dataset.write(block, window=Window(0, self._row, block.shape[2], rows))
        self._row += rows

    def finish(self, tags: dict[str, str]) -> None:
        """Set the tags, copy to a COG, and hold it against the specification. Raises OutputError."""
        assert self._row == self._dataset.height, "every row must be written"
        with _writing(self._path):
            self._dataset.update_tags(**tags)
            self._dataset.close()
            self._copy()
        self._work.unlink()
        _require_valid(self._path)

    def _copy(self) -> None:
        product = self._product
        compression = {} if product.compress == "none" else {"PREDICTOR": "YES"}
        rasterio.shutil.copy(
            self._work,
            self._path,
            driver="COG",
            COMPRESS=product.compress.upper(),
            BLOCKSIZE=str(BLOCK_PX),
            OVERVIEW_RESAMPLING=product.overviews.upper(),
            OVERVIEW_COMPRESS=product.compress.upper(),
            BIGTIFF="IF_SAFER",
            NUM_THREADS="ALL_CPUS",
            **compression,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if not self._dataset.closed:
            self._dataset.close()


@contextmanager
def _hidden_folder(parent: Path) -> Iterator[Path]:
    try:
        folder = Path(tempfile.mkdtemp(prefix=".cloudfree-", dir=parent))
    except OSError as error:
        raise OutputError(f"the folder {parent} cannot be written ({error.strerror}); choose another") from error
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def _writing(path: Path) -> Iterator[None]:
    try:
        yield
    except (RasterioError, OSError) as error:
        cause = " ".join(str(error.__cause__ or error).split())[:200]
        raise OutputError(f"writing {path.name} failed ({cause}); free space on the disk and run again") from error


def _require_valid(path: Path) -> None:
    valid, errors, warnings = cog_validate(path, strict=True, quiet=True)
    if not valid:
        raise OutputError(
            f"{path.name} did not come out as a valid COG ({'; '.join([*errors, *warnings])}); "
            "nothing was kept: check the disk's free space, then report this"
        )


def _same(a: Path, b: Path) -> bool:
    return a.resolve() == b.resolve() or (a.exists() and b.exists() and a.samefile(b))
