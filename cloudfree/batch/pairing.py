"""Jobs of a folder: scenes by their names, each with the radar that suits it best and the clearest of its other dates.

Radar is taken by the pass of the satellite: of those that see most of the scene (to a hundredth) the nearest in time,
with all of its files that overlap the scene. What was chosen, and why, each job says.
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
from cloudfree.batch.jobs import Job, product_of
from cloudfree.errors import CloudfreeError, InputError
from cloudfree.geometry.geolocation_grid import Geometry
from cloudfree.geometry.grid import Grid
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
_LEAST_SHARED = 0.3  # of a scene, for another date of it to be worth reading
_UNKNOWN_CLEAR = 0.5
_LOOK_PX = 256
_ZIPPED_SAFE = re.compile(r"S1[A-D]_(IW|EW|S[1-6])_GRD", re.IGNORECASE)


@dataclass(frozen=True)
class Image:
    """A file that was found: where it lies and when it was taken."""

    path: Source
    geometry: Geometry
    acquired: Acquisition

    def days_from(self, other: Image) -> float:
        """Days between two images; infinite where one does not say when it was taken."""
        if not self.acquired.moment or not other.acquired.moment:
            return float("inf")
        return abs((self.acquired.moment - other.acquired.moment).total_seconds()) / 86400


def jobs_of_folder(source: Path, folder: Path, reference_days: float = 0.0) -> list[Job]:
    """A job for each scene in a folder and the folders in it. Raises InputError where there is no scene, or no radar.

    A scene that no radar sees is warned of and left out. Over 0 `reference_days`, up to `MOST_REFERENCES` other scenes
    of the same ground, taken so many days before or after at most, help it, the clearest first.
    """
    scenes, radar = list(_found(source, _is_scene)), list(_found(source, _is_radar))
    if not scenes:
        words = ", ".join(sorted(_SCENE_WORDS))
        raise InputError(f"{source} holds no scene (a *.tif with one of {words} in its name); give a list of scenes")
    if not radar:
        raise InputError(f"{source} holds no Sentinel-1 image (by name, or a SAFE product); add one, or give a list")
    jobs = [job for scene in scenes if (job := _job(scene, radar, scenes, folder, reference_days))]
    if not jobs:
        raise InputError(f"no Sentinel-1 image in {source} overlaps a scene; add one that does, or give a list")
    return jobs


def _job(
    scene: Image, radar: Sequence[Image], scenes: Sequence[Image], folder: Path, reference_days: float
) -> Job | None:
    seen = [image for image in radar if _shared(scene, [image]) > 0]
    if not seen:
        log.warning("%s is left out: no Sentinel-1 image that was found overlaps it", scene.path.name)
        return None
    chosen, why = _best_pass(scene, seen)
    job = Job(scene.path, tuple(image.path for image in chosen), product_of(scene.path, folder), why=(why,))
    return _with_references(job, scene, scenes, reference_days) if reference_days > 0 else job


def _best_pass(scene: Image, radar: Sequence[Image]) -> tuple[list[Image], str]:
    """The images of the pass that sees most of a scene, and of those the nearest in time."""
    groups: list[list[Image]] = []
    for image in radar:
        group = next((each for each in groups if each[0].acquired.may_be_of_pass(image.acquired)), None)
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
    """With the clearest images of the same ground."""
    near = [each for each in scenes if each is not scene and scene.days_from(each) <= days]
    rated = [(_clear_share(each.path) * _shared(scene, [each]), each) for each in near]
    best = sorted((pair for pair in rated if pair[0] >= _LEAST_SHARED), key=lambda pair: -pair[0])[:MOST_REFERENCES]
    told = tuple(
        f"reference {each.path.name} shows about {100 * share:.0f} % of it clear, {scene.days_from(each):.1f} days away"
        for share, each in best
    )
    return replace(job, references=tuple(each.path for _, each in best), why=(*job.why, *told))


def _shared(scene: Image, others: Sequence[Image]) -> float:
    """Share (0..1) of a scene's outline that others cover together."""
    assert isinstance(scene.geometry, Grid)
    own = scene.geometry.footprint()
    covered = shapely.union_all([each.geometry.footprint(scene.geometry.crs) for each in others])
    return float(own.intersection(covered).area / own.area)


def _clear_share(scene: Source) -> float:
    """Share (0..1) that the UDM2 beside a scene calls clear; a half where there is none."""
    beside = planet_product.find(scene, planet_product.UDM2)
    if beside is None:
        return _UNKNOWN_CLEAR
    try:
        with access.opened(beside) as dataset:
            shape = min(dataset.height, _LOOK_PX), min(dataset.width, _LOOK_PX)
            clear = access.read(dataset, [Udm2.CLEAR], Window(0, 0, dataset.width, dataset.height), shape)
    except CloudfreeError:
        return _UNKNOWN_CLEAR
    return float((clear == 1).mean())


def _found(source: Path, wanted: Callable[[Path], bool]) -> Iterator[Image]:
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
    said = set(planet_product.words(path.stem))
    return path.suffix.lower() in _ENDINGS and bool(said & _SCENE_WORDS) and not said & _NEITHER_WORDS


def _is_radar(path: Path) -> bool:
    if path.suffix.upper() == ".SAFE":
        return path.is_dir()
    if path.suffix.lower() == ARCHIVE_ENDING:
        return bool(_ZIPPED_SAFE.match(path.name)) and not _is_unpacked(path)
    said = set(planet_product.words(path.stem))
    rasters = path.suffix.lower() in _ENDINGS and path.is_file()
    return rasters and bool(said & _RADAR_WORDS) and not said & (_NEITHER_WORDS | _SCENE_WORDS)


def _is_unpacked(archive: Path) -> bool:
    """Whether the product lies beside its archive too, and would be read twice."""
    name = f"{archive.stem.removesuffix('.SAFE')}.SAFE"
    return any((folder / name).is_dir() for folder in (archive.parent, archive.with_suffix("")))
