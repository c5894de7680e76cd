"""Checks before a batch begins: every output has a name of its own, and there is enough disk and memory."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from cloudfree.batch.apart import Call, answers
from cloudfree.batch.collection import is_collection
from cloudfree.batch.jobs import Job
from cloudfree.batch.results import RESULTS
from cloudfree.batch.runner import Settings
from cloudfree.errors import CloudfreeError, OutputError
from cloudfree.inputs.optical.scene import grid_of
from cloudfree.inputs.raster.access import gdal_settings
from cloudfree.product import needs
from cloudfree.product.kinds import OUTPUT, STAC, Kind
from cloudfree.product.provenance import is_ours

Shapes = Sequence[tuple[Job, tuple[int, int]]]
"""Jobs whose scene can be opened, with its rows and columns."""


def shapes_of(jobs: Sequence[Job], trust_inputs: bool = False, *, apart: bool = False) -> Shapes:
    """Return the shapes of all scenes but those that cannot be opened, whose jobs will fail with a message.

    `apart`: open them in a process of its own.
    """
    calls = [Call(job.planet.name, _shape, (job, trust_inputs)) for job in jobs]
    shapes = zip(jobs, answers(calls, apart=apart), strict=True)
    return [(job, shape) for job, shape in shapes if isinstance(shape, tuple)]


def _shape(job: Job, trust_inputs: bool) -> tuple[int, int] | None:
    with suppress(CloudfreeError), gdal_settings(trust_inputs):
        return grid_of(job.planet).shape
    return None


def check_outputs(jobs: Sequence[Job], settings: Settings) -> None:
    """Raise OutputError where two jobs would make one file, or one would make what another reads."""
    targets = [target for job in jobs for target in settings.options(job).targets]
    read = {file.resolve() for job in jobs for source in job.sources if (file := source.file)}
    # Where a product is a link, that is what will be replaced.
    for target, count in Counter(target.parent.resolve() / target.name for target in targets).items():
        if count > 1 or target.resolve() in read:
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


@dataclass(frozen=True)
class Needs:
    """What the scenes of a batch take that there is room for, and why the others cannot be made, by job."""

    product_bytes: int
    memory_gb: float
    lacking: Mapping[Job, str]

    @classmethod
    def of(cls, shapes: Shapes, settings: Settings, workers: int) -> Needs:
        """`workers`: as of `check_memory`. Raises OutputError where there is room for no scene."""
        lacking = _lacking_memory(shapes, workers)
        fitting = [one for one in shapes if one[0] not in lacking]
        sizes = {job: _product_bytes(job, shape, settings) for job, shape in fitting}
        lacking |= _lacking_disk(fitting, sizes, settings)
        if lacking and len(lacking) == len(shapes):
            raise OutputError(next(iter(lacking.values())))
        memory_gb = check_memory([one for one in shapes if one[0] not in lacking], workers)
        return cls(sum(size for job, size in sizes.items() if job not in lacking), memory_gb, lacking)


def check_memory(shapes: Shapes, workers: int) -> float:
    """Return the approximate peak memory (GB) of the largest scene times the number of processes on this machine.

    Raises OutputError where less is available. `workers` 0 is for workers elsewhere: the memory of one, not checked.
    """
    one = max((needs.peak_memory_gb(shape, len(job.references)) for job, shape in shapes), default=0.0)
    needed = max(1, workers) * one
    if workers:
        at_once = f" by {workers} workers at once" if workers > 1 else ""
        fewer = ["use fewer --workers"] if workers > 1 else []
        fewer += ["give fewer --max-references"] if any(job.references_rule for job, _ in shapes) else []
        needs.check_memory(needed, f"the scene{at_once}", [*fewer, "close something", "leave the scene out"])
    return needed


def _lacking_memory(shapes: Shapes, workers: int) -> dict[Job, str]:
    """Why scenes take too much memory."""
    lacking = {}
    for job, shape in shapes:
        try:
            check_memory([(job, shape)], workers)
        except OutputError as error:
            lacking[job] = error.message
    return lacking


def _lacking_disk(shapes: Shapes, sizes: Mapping[Job, int], settings: Settings) -> dict[Job, str]:
    """Why there is no room for the products of scenes after those of the smaller ones, the largest first."""
    needed: dict[Path, int] = {}
    lacking = {}
    for job, shape in sorted(shapes, key=lambda one: sizes[one[0]]):
        folder = needs.nearest_folder(job.output)
        making = needs.making_bytes(shape, _kinds(settings)) - needs.product_bytes(shape, _kinds(settings))
        needed[folder] = needed.get(folder, 0) + sizes[job]
        try:
            needs.check_disk(
                {folder: needed[folder] + making}, "make room, choose another folder, or give fewer scenes"
            )
        except OutputError as error:
            lacking[job] = error.message
    return dict(reversed(lacking.items()))


def _product_bytes(job: Job, shape: tuple[int, int], settings: Settings) -> int:
    """What products take at most: uncompressed, with overviews, less those that they replace."""
    there = sum(target.stat().st_size for target in settings.options(job).targets if target.exists())
    return max(0, needs.product_bytes(shape, _kinds(settings)) - there)


def _kinds(settings: Settings) -> tuple[Kind, ...]:
    return OUTPUT, *settings.beside
