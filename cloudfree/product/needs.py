"""The disk and memory that making a product takes at most, so that too little is told before anything is made."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable, Mapping
from pathlib import Path

from cloudfree.errors import OutputError
from cloudfree.process import available_memory_gb
from cloudfree.product.kinds import Kind
from cloudfree.scene.survey import MOST_PIXELS

_OVERVIEWS = 4 / 3

# Peak memory of a process, somewhat more than measured (benchmarks/README.md): itself and the default network; the
# survey of the whole scene, on a grid of bounded size, and of each other date; strips across the scene.
_GB_AT_LEAST, _BYTES_PER_COARSE_PIXEL, _BYTES_PER_COARSE_PIXEL_AND_DATE = 0.65, 120, 65
_BYTES_PER_COLUMN = 80_000


def check_needs(files: Mapping[Kind, Path], scene: tuple[int, int], part: tuple[int, int], references: int = 0) -> None:
    """Raise OutputError where too little memory or disk is there to make files of a part of a scene.

    `scene`, `part`: their rows and columns. What this process has loaded is not counted again.
    """
    check_memory(
        peak_memory_gb(scene, references) - _GB_AT_LEAST,
        "the scene",
        [*(["give fewer references"] if references else []), "close something", "cut the scene (gdal_translate)"],
    )
    needed: dict[Path, int] = {}
    for kind, path in files.items():
        folder = nearest_folder(path)
        needed[folder] = needed.get(folder, 0) + making_bytes(part, [kind])
    check_disk(needed, "make room, or choose another folder")


def product_bytes(shape: tuple[int, int], kinds: Iterable[Kind]) -> int:
    """Of files of so many rows and columns: uncompressed, with overviews."""
    return round(_pixels(shape) * sum(kind.bytes_per_pixel for kind in kinds) * _OVERVIEWS)


def making_bytes(shape: tuple[int, int], kinds: Iterable[Kind]) -> int:
    """Of the same and the files that they are copied from, while one product is made."""
    return round(_pixels(shape) * sum(kind.bytes_per_pixel for kind in kinds) * (_OVERVIEWS + 1))


def peak_memory_gb(scene: tuple[int, int], references: int) -> float:
    """Of a process that makes a product of a scene of so many rows and columns."""
    per_pixel = _BYTES_PER_COARSE_PIXEL + references * _BYTES_PER_COARSE_PIXEL_AND_DATE
    return _GB_AT_LEAST + (min(_pixels(scene), MOST_PIXELS) * per_pixel + scene[1] * _BYTES_PER_COLUMN) / 1e9


def check_disk(needed: Mapping[Path, int], mend: str) -> None:
    """Raise OutputError where a folder's disk has fewer bytes free than are needed; `mend` says what to do."""
    for folder, size in needed.items():
        free = shutil.disk_usage(folder).free
        if 0 < free < size:  # 0 is what /proc states too, which is no disk: writing will tell
            raise OutputError(
                f"products may take {size / 1e9:.1f} GB and {folder} has {free / 1e9:.1f} GB free; {mend}"
            )


def check_memory(needed_gb: float, what: str, mends: Iterable[str]) -> None:
    """Raise OutputError where less memory is available than is needed; not on systems that do not state it."""
    available = available_memory_gb()
    if available is not None and needed_gb > available:
        raise OutputError(
            f"{what} takes about {needed_gb:.1f} GB of memory and {available:.1f} GB are available; "
            f"{', or '.join(mends)}"
        )


def nearest_folder(path: Path) -> Path:
    """The folder of a file, or the one above in which it will be made."""
    return next(parent for parent in Path(os.path.realpath(path)).parents if parent.is_dir())


def _pixels(shape: tuple[int, int]) -> int:
    return shape[0] * shape[1]
