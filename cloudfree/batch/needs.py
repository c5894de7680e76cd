"""Checks before a batch begins: every output has a name of its own, and there is enough disk and memory."""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path

from cloudfree.batch.collection import is_collection
from cloudfree.batch.jobs import Job
from cloudfree.batch.results import RESULTS
from cloudfree.batch.runner import Settings
from cloudfree.errors import CloudfreeError, OutputError
from cloudfree.inputs.raster.access import opened
from cloudfree.process import available_memory_gb
from cloudfree.product.kinds import OUTPUT, STAC
from cloudfree.product.provenance import is_ours
from cloudfree.scene.survey import MOST_PIXELS

_WORK_SHARE = 2.0  # of a product's bytes: its work file, and the COG beside it
_OVERVIEWS = 4 / 3

# Peak memory of a process, somewhat more than measured (benchmarks/README.md): itself and the default network; the
# survey of the whole scene, on a grid of bounded size, and of each other date; strips across the scene.
_BYTES_AT_LEAST, _BYTES_PER_COARSE_PIXEL, _BYTES_PER_COARSE_PIXEL_AND_DATE = 6.5e8, 120, 65
_BYTES_PER_COLUMN = 80_000


Shapes = Sequence[tuple[Job, tuple[int, int]]]
"""Jobs whose scene can be opened, with its rows and columns."""


def shapes_of(jobs: Sequence[Job]) -> Shapes:
    """Return the shapes of all scenes but those that cannot be opened, whose jobs will fail with a message."""
    shapes = []
    for job in jobs:
        with suppress(CloudfreeError), opened(job.planet) as dataset:
            shapes.append((job, dataset.shape))
    return shapes


def check_outputs(jobs: Sequence[Job], settings: Settings) -> None:
    """Raise OutputError where two jobs would make one file, or one would make what another reads."""
    targets = [target.resolve() for job in jobs for target in settings.options(job).targets]
    read = {file.resolve() for job in jobs for source in job.sources if (file := source.file)}
    for target, count in Counter(targets).items():
        if count > 1 or target in read:
            what = f"the product of {count} scenes" if count > 1 else "a product and is an input"
            raise OutputError(
                f"{target.name} would be {what}; each needs a name of its own: give a list with a column output"
            )


def check_lists(folder: Path, jobs: Sequence[Job], settings: Settings) -> None:
    """Check the files that list a whole batch: its results, index and collection.

    Raises OutputError where a file of a scene has the same name, or where one that is not ours would be replaced.
    """
    lists = {kind: folder / kind.listed_in for kind in settings.beside if kind.listed_in}
    of_scenes = {target.resolve() for job in jobs for target in settings.options(job).targets}
    for path in (*lists.values(), *(folder / name for name in RESULTS)):
        if path.resolve() in of_scenes:
            raise OutputError(
                f"{path} would be a file of one scene and of the whole batch; each needs a name of its own: give that "
                "scene another output"
            )
    for kind, path in lists.items():
        if settings.common.get("overwrite") or not path.exists():
            continue
        if not (is_collection(path) if kind == STAC else path.is_file() and is_ours(kind, path)):
            raise OutputError(f"{path} was not made by cloudfree and is kept; give --overwrite, or another folder")


def check_disk(shapes: Shapes, settings: Settings) -> int:
    """Return the bytes that products take at most: uncompressed, with overviews, less those of files they replace.

    Raises OutputError where a disk has too little free.
    """
    needed: dict[Path, int] = {}
    for job, size in _sizes(shapes, settings):
        folder = next(parent for parent in job.output.resolve().parents if parent.exists())
        needed[folder] = needed.get(folder, 0) + size
    for folder, size in needed.items():
        free = shutil.disk_usage(folder).free
        if size > free:
            raise OutputError(
                f"products may take {size / 1e9:.1f} GB and {folder} has {free / 1e9:.1f} GB free; make room, choose "
                "another folder, or give fewer scenes"
            )
    return sum(needed.values())


def check_memory(shapes: Shapes, workers: int) -> float:
    """Return the approximate peak memory (GB) of the largest scene times the number of processes on this machine.

    Raises OutputError where less is available. `workers` 0 is for workers elsewhere: the memory of one, not checked.
    Nor is it checked on systems that do not state the memory available.
    """
    needed = max(1, workers) * max((_peak_gb(job, *shape) for job, shape in shapes), default=0.0)
    available = available_memory_gb()
    if workers and available is not None and needed > available:
        at_once = f" by {workers} workers at once" if workers > 1 else ""
        fewer = ["use fewer --workers"] if workers > 1 else []
        fewer += ["give fewer --max-references"] if any(job.references_rule for job, _ in shapes) else []
        raise OutputError(
            f"the largest scene takes about {needed:.1f} GB of memory{at_once} and {available:.1f} GB are available; "
            f"{', or '.join([*fewer, 'close something'])}, or leave the scene out"
        )
    return needed


def _peak_gb(job: Job, height: int, width: int) -> float:
    coarse = min(height * width, MOST_PIXELS)
    per_pixel = _BYTES_PER_COARSE_PIXEL + len(job.references) * _BYTES_PER_COARSE_PIXEL_AND_DATE
    return (_BYTES_AT_LEAST + coarse * per_pixel + width * _BYTES_PER_COLUMN) / 1e9


def _sizes(shapes: Shapes, settings: Settings) -> Iterator[tuple[Job, int]]:
    """Yield the bytes of each job's products, and those of the work files of the largest scene."""
    per_pixel = sum(kind.bytes_per_pixel for kind in (OUTPUT, *settings.beside))
    largest = 0
    for job, (height, width) in shapes:
        there = sum(target.stat().st_size for target in settings.options(job).targets if target.exists())
        yield job, max(0, round(height * width * per_pixel * _OVERVIEWS) - there)
        largest = max(largest, height * width)
    if shapes:
        yield shapes[0][0], round(largest * per_pixel * _WORK_SHARE)
