"""Jobs of a folder: scenes and radar images are recognised by name, and each scene gets radar and other dates.

All radar files of one satellite pass that overlap the scene are used. Of several passes, those that cover most of the
scene (to a hundredth) come first, and of these the nearest in time. Each job states the reasons.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import shapely
from rasterio.windows import Window

from cloudfree.bands import Udm2
from cloudfree.batch.jobs import Job, WithoutRadar, product_of
from cloudfree.errors import CloudfreeError, InputError
from cloudfree.geometry import Geometry, Grid
from cloudfree.inputs import acquisition
from cloudfree.inputs.acquisition import Acquisition
from cloudfree.inputs.location.source import ARCHIVE_ENDING, Source
from cloudfree.inputs.optical import planet_product
from cloudfree.inputs.radar.safe.product import geometry_of, opened_radar
from cloudfree.inputs.raster import access

log = logging.getLogger(__name__)

MOST_REFERENCES = 3

_SCENE_WORDS = planet_product.ANALYTIC_WORDS
_RADAR_WORDS = frozenset(
    {"vv", "vh", "s1", "s1a", "s1b", "s1c", "s1d", "sentinel1", "sar", "grd", "rtc", "gamma0", "sigma0"}
)
_NEITHER_WORDS = planet_product.COMPANION_WORDS | {"cloudfree", "qa", "mask", "uncertainty"}
_ENDINGS = (".tif", ".tiff")
_LEAST_SHARED = 0.3  # clear share of a scene that another date must cover to be used
_UNKNOWN_CLEAR = 0.5  # clear share of a scene without UDM2
_NO_RADAR = "no Sentinel-1 image in the folder overlaps it"
_UDM2_PX = 256  # along a side, read of a UDM2
_ZIPPED_SAFE = re.compile(r"S1[A-D]_(IW|EW|S[1-6])_GRD", re.IGNORECASE)


@dataclass(frozen=True)
class Image:
    """A scene or radar image: its file, the ground that it covers, and when it was acquired."""

    path: Source
    geometry: Geometry
    acquired: Acquisition

    def days_from(self, other: Image) -> float:
        """Return the days between two images; infinite where the time of one is unknown."""
        if not self.acquired.moment or not other.acquired.moment:
            return float("inf")
        return abs((self.acquired.moment - other.acquired.moment).total_seconds()) / 86400


def jobs_of_folder(
    source: Path, folder: Path, reference_days: float = 0.0, without_radar: WithoutRadar = "refuse"
) -> list[Job]:
    """Return a job for each scene in a folder and its subfolders.

    Scenes that no radar image overlaps are left out with a warning, or are made without where `without_radar` is
    "allow". With `reference_days` over 0 each job has up to
    `MOST_REFERENCES` other scenes of the same ground, at most so many days before or after, the clearest first. Raises
    InputError where there is no scene, or no radar.
    """
    scenes, radar = list(_images(source, _is_scene)), list(_images(source, _is_radar))
    if not scenes:
        words = ", ".join(sorted(_SCENE_WORDS))
        raise InputError(f"{source} holds no scene (a *.tif with one of {words} in its name); give a list of scenes")
    if not radar and without_radar == "refuse":
        raise InputError(
            f"{source} holds no Sentinel-1 image (by name, or a SAFE product); add one, or give a list, or "
            "--without-radar allow"
        )
    jobs = [_job(scene, radar, scenes, folder, reference_days) for scene in scenes]
    if without_radar == "refuse":
        for job in jobs:
            if not job.sar:
                log.warning("%s is left out: %s (--without-radar)", job.planet.name, _NO_RADAR)
        jobs = [job for job in jobs if job.sar]
    if not jobs:
        raise InputError(
            f"no Sentinel-1 image in {source} overlaps a scene; add one that does, or give a list, or "
            "--without-radar allow"
        )
    return jobs


def _job(scene: Image, radar: Sequence[Image], scenes: Sequence[Image], folder: Path, reference_days: float) -> Job:
    overlapping = [image for image in radar if _shared(scene, [image]) > 0]
    chosen, why = _best_pass(scene, overlapping) if overlapping else ([], _NO_RADAR)
    job = Job(scene.path, tuple(image.path for image in chosen), product_of(scene.path, folder), why=(why,))
    return _with_references(job, scene, scenes, reference_days) if reference_days > 0 else job


def _best_pass(scene: Image, radar: Sequence[Image]) -> tuple[list[Image], str]:
    """Return the images of the pass that covers most of a scene, of equal ones the nearest in time; and the reason."""
    groups: list[list[Image]] = []
    for image in radar:
        group = next((group for group in groups if group[0].acquired.may_be_of_pass(image.acquired)), None)
        if group is None:
            groups.append([image])
        else:
            group.append(image)
    best = min(groups, key=lambda group: (-round(_shared(scene, group), 2), scene.days_from(group[0])))
    days = scene.days_from(best[0])
    when = f"{days:.1f} days away" if np.isfinite(days) else "of an unknown date"
    others = f", of {len(groups)} passes" if len(groups) > 1 else ""
    return best, f"radar of {best[0].acquired} sees {100 * _shared(scene, best):.0f} % of the scene, {when}{others}"


def _with_references(job: Job, scene: Image, scenes: Sequence[Image], days: float) -> Job:
    """Return the job with the clearest other scenes of the same ground."""
    near = [other for other in scenes if other is not scene and scene.days_from(other) <= days]
    rated = [(_clear_share(other.path) * _shared(scene, [other]), other) for other in near]
    best = sorted((pair for pair in rated if pair[0] >= _LEAST_SHARED), key=lambda pair: -pair[0])[:MOST_REFERENCES]
    reasons = tuple(
        f"reference {other.path.name} shows about {100 * share:.0f} % of it clear, "
        f"{scene.days_from(other):.1f} days away"
        for share, other in best
    )
    return replace(job, references=tuple(other.path for _, other in best), why=(*job.why, *reasons))


def _shared(scene: Image, others: Sequence[Image]) -> float:
    """Return the share (0..1) of a scene's outline that other images cover together."""
    assert isinstance(scene.geometry, Grid)
    own = scene.geometry.footprint()
    covered = shapely.union_all([image.geometry.footprint(scene.geometry.crs) for image in others])
    return float(own.intersection(covered).area / own.area)


def _clear_share(scene: Source) -> float:
    """Return the share (0..1) of a scene that its UDM2 calls clear; `_UNKNOWN_CLEAR` without one."""
    beside = planet_product.find(scene, planet_product.UDM2)
    if beside is None:
        return _UNKNOWN_CLEAR
    try:
        with access.opened(beside) as dataset:
            shape = min(dataset.height, _UDM2_PX), min(dataset.width, _UDM2_PX)
            clear = access.read(dataset, [Udm2.CLEAR], Window(0, 0, dataset.width, dataset.height), shape)
    except CloudfreeError:
        return _UNKNOWN_CLEAR
    return float((clear == 1).mean())


def _images(source: Path, wanted: Callable[[Path], bool]) -> Iterator[Image]:
    """Yield the images of a folder whose path is `wanted`, with a warning for those that cannot be read."""
    for path in sorted(source.rglob("*")):
        hidden = any(part.startswith(".") for part in path.relative_to(source).parts)
        if hidden or any(parent.suffix.upper() == ".SAFE" for parent in path.parents) or not wanted(path):
            continue
        try:
            with access.gdal_settings(), opened_radar(path) as dataset:
                yield Image(Source.of(path), geometry_of(dataset), acquisition.of(dataset))
        except CloudfreeError as error:
            log.warning("left out: %s", error.message)


def _is_scene(path: Path) -> bool:
    words = set(planet_product.words(path.stem))
    return path.suffix.lower() in _ENDINGS and bool(words & _SCENE_WORDS) and not words & _NEITHER_WORDS


def _is_radar(path: Path) -> bool:
    if path.suffix.upper() == ".SAFE":
        return path.is_dir()
    if path.suffix.lower() == ARCHIVE_ENDING:
        return bool(_ZIPPED_SAFE.match(path.name)) and not _is_unpacked(path)
    words = set(planet_product.words(path.stem))
    is_raster = path.suffix.lower() in _ENDINGS and path.is_file()
    return is_raster and bool(words & _RADAR_WORDS) and not words & (_NEITHER_WORDS | _SCENE_WORDS)


def _is_unpacked(archive: Path) -> bool:
    """Return whether the folder of a zipped product is there too: it would be read twice."""
    name = f"{archive.stem.removesuffix('.SAFE')}.SAFE"
    return any((folder / name).is_dir() for folder in (archive.parent, archive.with_suffix("")))
