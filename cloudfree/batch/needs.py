"""Checks before a batch begins: every output has a name of its own, and there is enough disk and memory."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from itertools import starmap
from pathlib import Path

from cloudfree.batch.collection import is_collection
from cloudfree.batch.jobs import Job
from cloudfree.batch.results import RESULTS
from cloudfree.batch.runner import Settings
from cloudfree.errors import CloudfreeError, OutputError
from cloudfree.inputs.optical.scene import grid_of
from cloudfree.product import needs
from cloudfree.product.kinds import OUTPUT, STAC
from cloudfree.product.provenance import is_ours

Shapes = Sequence[tuple[Job, tuple[int, int]]]
"""Jobs whose scene can be opened, with its rows and columns."""


def shapes_of(jobs: Sequence[Job]) -> Shapes:
    """Return the shapes of all scenes but those that cannot be opened, whose jobs will fail with a message."""
    shapes = []
    for job in jobs:
        with suppress(CloudfreeError):
            shapes.append((job, grid_of(job.planet).shape))
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
    kinds, needed = (OUTPUT, *settings.beside), dict[Path, int]()

    def alone(job: Job, shape: tuple[int, int]) -> None:
        needs.check_disk({needs.nearest_folder(job.output): needs.making_bytes(shape, kinds)}, "")

    for job, size in _sizes(_possible(shapes, alone), settings):
        folder = needs.nearest_folder(job.output)
        needed[folder] = needed.get(folder, 0) + size
    needs.check_disk(needed, "make room, choose another folder, or give fewer scenes")
    return sum(needed.values())


def check_memory(shapes: Shapes, workers: int) -> float:
    """Return the approximate peak memory (GB) of the largest scene times the number of processes on this machine.

    Raises OutputError where less is available. `workers` 0 is for workers elsewhere: the memory of one, not checked.
    """

    def peak_gb(job: Job, shape: tuple[int, int]) -> float:
        return needs.peak_memory_gb(shape, len(job.references))

    shapes = _possible(shapes, lambda job, shape: needs.check_memory(peak_gb(job, shape), "", ()))
    one = max(starmap(peak_gb, shapes), default=0.0)
    needed = max(1, workers) * one
    if workers:
        at_once = f" by {workers} workers at once" if workers > 1 else ""
        fewer = ["use fewer --workers"] if workers > 1 else []
        fewer += ["give fewer --max-references"] if any(job.references_rule for job, _ in shapes) else []
        needs.check_memory(needed, f"the largest scene{at_once}", [*fewer, "close something", "leave the scene out"])
    return needed


def _possible(shapes: Shapes, check: Callable[[Job, tuple[int, int]], None]) -> Shapes:
    """Those that there is room for: others fail as rows of their own, as a run checks too. All, where there is none."""
    possible = []
    for job, shape in shapes:
        with suppress(OutputError):
            check(job, shape)
            possible.append((job, shape))
    return possible or shapes


def _sizes(shapes: Shapes, settings: Settings) -> Iterator[tuple[Job, int]]:
    """Yield the bytes of each job's products, and those that making the largest takes."""
    kinds, making = (OUTPUT, *settings.beside), 0
    for job, shape in shapes:
        there = sum(target.stat().st_size for target in settings.options(job).targets if target.exists())
        yield job, max(0, needs.product_bytes(shape, kinds) - there)
        making = max(making, needs.making_bytes(shape, kinds))
    if shapes:
        yield shapes[0][0], making
