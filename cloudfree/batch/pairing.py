"""Jobs of a folder: each scene gets the radar of one pass, and other dates.

All radar files of one satellite pass that overlap the scene are used. Of several passes, those that cover most of the
scene (to a hundredth) come first, and of these the nearest in time, those of both polarisations before one alone where
they are not much farther. Other dates are chosen by `dates`. Each job states the reasons.
"""

from __future__ import annotations

import filecmp
import logging
import os
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import shapely
from pyproj.exceptions import ProjError

from cloudfree.batch.dates import MOST_REFERENCES, REFERENCE_DAYS, Dates
from cloudfree.batch.images import Image, Look
from cloudfree.batch.inbox import SCENE_WORDS, tile_of
from cloudfree.batch.jobs import Job, WithoutRadar, product_of
from cloudfree.errors import CloudfreeError, InputError
from cloudfree.geometry import Grid
from cloudfree.inputs import acquisition
from cloudfree.inputs.location.source import Source
from cloudfree.inputs.radar import names as radar_names

log = logging.getLogger(__name__)

_ONE_GROUND = 0.5  # share of an image that another must show to be of the same ground: neighbours share less
_WORTH_OF_VH_DAYS = 6.0  # half a repeat cycle, by which a complete pass may be farther away than one of VV alone
_NO_RADAR = "no Sentinel-1 image in the folder overlaps it"


def jobs_of_folder(
    source: Path,
    folder: Path,
    *,
    max_references: int = MOST_REFERENCES,
    reference_days: float = REFERENCE_DAYS,
    without_radar: WithoutRadar = "refuse",
    look: Look | None = None,
) -> list[Job]:
    """Return a job for each file in a folder and its subfolders that has a scene's name, by path.

    Each has up to `max_references` other scenes of its ground, at most `reference_days` before or after. Scenes that
    cannot be used have a fault, and those that no radar image overlaps too, unless `without_radar` is "allow". `look`
    is how files are looked at. Raises InputError where there is no scene, or no radar that is wanted.
    """
    look = look or Look()
    scenes, flawed, radar = look.scenes_and_radar_in(source)
    if not scenes and not flawed:
        words = ", ".join(sorted(SCENE_WORDS))
        raise InputError(f"{source} holds no scene (a *.tif with one of {words} in its name); give a list of scenes")
    if not radar and without_radar == "refuse":
        raise InputError(
            f"{source} holds no Sentinel-1 image (by name, or a SAFE product); add one, or give a list, or "
            "--without-radar allow"
        )
    seen_by_radar = {scene.path: [image for image in radar if _sees(image, scene)] for scene in scenes}
    if scenes and without_radar == "refuse" and not any(seen_by_radar.values()):
        raise InputError(
            f"no Sentinel-1 image in {source} overlaps a scene; add one that does, or give a list, or "
            "--without-radar allow"
        )
    copies = _copies(scenes)
    scenes = [scene for scene in scenes if scene.path not in copies]
    dates = Dates(scenes, max_references, reference_days)
    jobs = [_job(scene, seen_by_radar[scene.path], dates, folder, without_radar) for scene in scenes]
    jobs += [Job(path, (), product_of(path, folder, tile_of(path)), fault=why) for path, why in flawed]
    jobs += [Job(path, (), product_of(path, folder, tile_of(path)), fault=why) for path, why in copies.items()]
    return _of_one_name(sorted(jobs, key=lambda job: str(job.planet)))


def _copies(scenes: Sequence[Image]) -> dict[Source, str]:
    """Scenes that are copies of others under another name, byte for byte, and why each is left out.

    Those of the same name in another folder are told by that (`_of_one_name`).
    """
    firsts: dict[tuple[object, ...], list[Path]] = {}
    copies = {}
    for scene in sorted(scenes, key=lambda scene: (len(str(scene.path)), str(scene.path))):
        file = scene.path.plain
        if file is None:
            continue
        alike = firsts.setdefault((file.stat().st_size, scene.acquired, scene.geometry), [])
        first = next((one for one in alike if one.stem != file.stem and filecmp.cmp(one, file, shallow=False)), None)
        if first:
            copies[scene.path] = f"{file} is a copy of {first}, byte for byte; one is made: remove the other"
        else:
            alike.append(file)
    return copies


def _of_one_name(jobs: Sequence[Job]) -> list[Job]:
    """The same jobs with a fault for all but one of those whose products would have one name.

    That one is a scene that can be used, and lies the least deep.
    """
    first: dict[Path, Job] = {}
    for job in sorted(jobs, key=lambda job: (bool(job.fault), str(job.planet).count(os.sep))):
        first.setdefault(job.output, job)
    return [job if job is first[job.output] or job.fault else _named_twice(job, first[job.output]) for job in jobs]


def _named_twice(job: Job, other: Job) -> Job:
    why = f"{job.planet} has the name of {other.planet}, and products are named after their scenes"
    return replace(job, fault=f"{why}: rename it, or give a list with a column output")


def _job(scene: Image, radar: Sequence[Image], dates: Dates, folder: Path, without_radar: WithoutRadar) -> Job:
    passes = _passes(scene, radar)
    why = _why(scene, passes) if passes else _NO_RADAR
    others = dates.of(scene)
    job = Job(
        scene.path,
        _paths(passes[0]) if passes else (),
        product_of(scene.path, folder, tile_of(scene.path)),
        references=tuple(other.image.path for other in others),
        references_rule=dates.rule,
        why=(why, *(other.why for other in others)),
        other_passes=tuple(map(_paths, passes[1:])),
        doubts=tuple(_doubts(scene, passes)),
    )
    if not passes and without_radar == "refuse":
        return replace(job, fault=f"{scene.path.name}: {_NO_RADAR}; add one, or give --without-radar allow")
    for reason in job.why:
        log.info("%s: %s", scene.path.name, reason)
    return job


def _doubts(scene: Image, passes: Sequence[Sequence[Image]]) -> Iterator[str]:
    """A warning where the first of several passes is so by its name alone: no date says which is near."""
    if len(passes) > 1 and scene.acquired.moment is None:
        yield (
            f"{scene.path.name} is of an unknown date ({scene.acquired.stated_by}), and which of {len(passes)} passes "
            "of radar is the nearest cannot be told: write the date into its name (20240606), or give a list"
        )
        return
    undated = [group for group in passes if _of_best_date(group).acquired.moment is None]
    if len(undated) > 1 and undated[0] is passes[0]:
        why = passes[0][0].acquired.stated_by
        yield (
            f"{passes[0][0].path.name} is one of {len(undated)} passes of radar of unknown dates ({why}), and the "
            "nearest in time cannot be told: write dates into the names (s1_20240605.tif), or give a list"
        )


def _paths(images: Sequence[Image]) -> tuple[Source, ...]:
    return tuple(image.path for image in images)


def _passes(scene: Image, radar: Sequence[Image]) -> list[list[Image]]:
    """Return the images of each pass: first of that which covers most of a scene, of equal ones the nearest in time."""
    groups: list[list[Image]] = []
    for image in radar:
        group = next((group for group in groups if all(_may_be_of_pass(scene, image, one) for one in group)), None)
        if group is None:
            groups.append([image])
        else:
            group.append(image)

    def order(group: Sequence[Image]) -> tuple[float, float]:
        days = scene.likely_days_from(_of_best_date(group))
        return -round(_shared(scene, group), 2), days + (_WORTH_OF_VH_DAYS if _lacks_vh(group) else 0)

    return sorted(groups, key=order)


def _lacks_vh(group: Sequence[Image]) -> bool:
    """Whether all files of a pass name one polarisation alone, so that a part of what radar tells is missing."""
    named = [_polarisations_named(image) for image in group]
    return all(named) and len(set().union(*named)) == 1


def _may_be_of_pass(scene: Image, image: Image, other: Image) -> bool:
    """Whether two images may be frames, or polarisations of a frame, of one pass.

    Those of one ground are not: they are of different passes, whose dates nothing tells, or the same image twice.
    """
    if not image.acquired.may_be_of_pass(other.acquired):
        return False
    polarisations = [_polarisations_named(one) for one in (image, other)]
    if all(polarisations) and polarisations[0].isdisjoint(polarisations[1]):
        dated = image.acquired.moment and other.acquired.moment
        if dated or _name_of_image(image) == _name_of_image(other):
            return True
    outlines = [one.geometry.footprint(scene.geometry.crs) for one in (image, other)]
    smaller = min(outline.area for outline in outlines)
    return bool(outlines[0].intersection(outlines[1]).area < _ONE_GROUND * smaller)


def _polarisations_named(image: Image) -> set[str]:
    """Those in its name, or else in that of its folder."""
    path = Path(str(image.path))
    return radar_names.polarisations_in(path.stem) or radar_names.polarisations_in(path.parent.name)


def _name_of_image(image: Image) -> str:
    """What the files of its polarisations are called alike."""
    path = Path(str(image.path))
    folder = path.parent
    if not radar_names.polarisations_in(path.stem):  # VV/S1A.tif with VH/S1A.tif
        folder = folder.with_name(radar_names.without_polarisation(folder.name) or "_") if folder.name else folder
    return f"{folder}/{radar_names.without_polarisation(path.name)}"


def _of_best_date(group: Sequence[Image]) -> Image:
    """The image of a pass whose date is known best."""
    return min(group, key=lambda image: (not image.acquired.timed, image.acquired.moment is None))


def _why(scene: Image, passes: Sequence[Sequence[Image]]) -> str:
    """Return the reason for the first of several passes."""
    best = passes[0]
    dated = _of_best_date(best)
    days = scene.days_from(dated)
    when = f"{days:.1f} days away" if np.isfinite(days) else "of an unknown date"
    others = f", of {len(passes)} passes" if len(passes) > 1 else ""
    if dated.acquired.stated_by == acquisition.FOLDER:
        when += f" by {acquisition.FOLDER}"
    nearer = [group for group in passes[1:] if _lacks_vh(group) and scene.days_from(_of_best_date(group)) < days]
    if nearer and not _lacks_vh(best):
        others += "; nearer ones have one polarisation alone"
    return f"radar of {dated.acquired} sees {100 * _shared(scene, best):.0f} % of the scene, {when}{others}"


def _sees(radar: Image, scene: Image) -> bool:
    """Whether a radar image overlaps a scene, with a warning where its projection does not tell."""
    try:
        return _shared(scene, [radar]) > 0
    except (CloudfreeError, shapely.errors.ShapelyError, ProjError) as error:
        log.warning("left out: %s cannot be placed beside %s (%s)", radar.path, scene.path.name, error)
        return False


def _shared(scene: Image, others: Sequence[Image]) -> float:
    """Return the share (0..1) of a scene's outline that other images cover together."""
    assert isinstance(scene.geometry, Grid)
    own = scene.geometry.footprint()
    covered = shapely.union_all([image.geometry.footprint(scene.geometry.crs) for image in others])
    return float(own.intersection(covered).area / own.area)
