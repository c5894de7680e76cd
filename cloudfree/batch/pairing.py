"""Jobs of a folder: each scene gets the radar of one pass, and other dates.

All radar files of one satellite pass that overlap the scene are used. Of several passes, those that cover most of the
scene (to a hundredth) come first, and of these the nearest in time. Other dates are chosen by `dates`. Each job states
the reasons.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import shapely

from cloudfree.batch.dates import MOST_REFERENCES, REFERENCE_DAYS, Dates
from cloudfree.batch.images import SCENE_WORDS, Image, radar_in, scenes_in
from cloudfree.batch.jobs import Job, WithoutRadar, product_of
from cloudfree.errors import InputError
from cloudfree.geometry import Grid

log = logging.getLogger(__name__)

_NO_RADAR = "no Sentinel-1 image in the folder overlaps it"


def jobs_of_folder(
    source: Path,
    folder: Path,
    *,
    max_references: int = MOST_REFERENCES,
    reference_days: float = REFERENCE_DAYS,
    without_radar: WithoutRadar = "refuse",
) -> list[Job]:
    """Return a job for each scene in a folder and its subfolders.

    Each has up to `max_references` other scenes of its ground, at most `reference_days` before or after. Scenes that no
    radar image overlaps are left out with a warning, or are made without where `without_radar` is "allow". Raises
    InputError where there is no scene, or no radar that is wanted.
    """
    scenes, radar = scenes_in(source), radar_in(source)
    if not scenes:
        words = ", ".join(sorted(SCENE_WORDS))
        raise InputError(f"{source} holds no scene (a *.tif with one of {words} in its name); give a list of scenes")
    if not radar and without_radar == "refuse":
        raise InputError(
            f"{source} holds no Sentinel-1 image (by name, or a SAFE product); add one, or give a list, or "
            "--without-radar allow"
        )
    seen_by_radar = {scene.path: [image for image in radar if _shared(scene, [image]) > 0] for scene in scenes}
    wanted = []
    for scene in scenes:
        if seen_by_radar[scene.path] or without_radar == "allow":
            wanted.append(scene)
        else:
            log.warning("%s is left out: %s (--without-radar)", scene.path.name, _NO_RADAR)
    if not wanted:
        raise InputError(
            f"no Sentinel-1 image in {source} overlaps a scene; add one that does, or give a list, or "
            "--without-radar allow"
        )
    dates = Dates(scenes, max_references, reference_days)
    return [_job(scene, seen_by_radar[scene.path], dates, folder) for scene in wanted]


def _job(scene: Image, radar: Sequence[Image], dates: Dates, folder: Path) -> Job:
    chosen, why = _best_pass(scene, radar) if radar else ([], _NO_RADAR)
    others = dates.of(scene)
    job = Job(
        scene.path,
        tuple(image.path for image in chosen),
        product_of(scene.path, folder),
        references=tuple(other.image.path for other in others),
        references_rule=dates.rule,
        why=(why, *(other.why for other in others)),
    )
    for reason in job.why:
        log.info("%s: %s", scene.path.name, reason)
    return job


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


def _shared(scene: Image, others: Sequence[Image]) -> float:
    """Return the share (0..1) of a scene's outline that other images cover together."""
    assert isinstance(scene.geometry, Grid)
    own = scene.geometry.footprint()
    covered = shapely.union_all([image.geometry.footprint(scene.geometry.crs) for image in others])
    return float(own.intersection(covered).area / own.area)
