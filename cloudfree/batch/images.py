"""Scenes and radar images of a folder, recognised by their names."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cloudfree.errors import CloudfreeError
from cloudfree.geometry import Geometry
from cloudfree.inputs import acquisition
from cloudfree.inputs.acquisition import Acquisition
from cloudfree.inputs.location.source import ARCHIVE_ENDING, Source
from cloudfree.inputs.optical import planet_product
from cloudfree.inputs.radar.safe.product import geometry_of, opened_radar
from cloudfree.inputs.raster import access

log = logging.getLogger(__name__)

SCENE_WORDS = planet_product.ANALYTIC_WORDS
"""Words of which one is in the name of a scene."""

_RADAR_WORDS = frozenset(
    {"vv", "vh", "s1", "s1a", "s1b", "s1c", "s1d", "sentinel1", "sar", "grd", "rtc", "gamma0", "sigma0"}
)
_NEITHER_WORDS = planet_product.COMPANION_WORDS | {"cloudfree", "qa", "mask", "uncertainty"}
_ENDINGS = (".tif", ".tiff")
_ZIPPED_SAFE = re.compile(r"S1[A-D]_(IW|EW|S[1-6])_GRD", re.IGNORECASE)


@dataclass(frozen=True)
class Image:
    """A scene or radar image: its file, the ground that it covers, and when it was acquired."""

    path: Source
    geometry: Geometry
    acquired: Acquisition

    def days_from(self, other: Image) -> float:
        """Return the days between two images, whole ones without both times of day; infinite where one is undated."""
        mine, theirs = self.acquired, other.acquired
        if not mine.moment or not theirs.moment:
            return float("inf")
        if not (mine.timed and theirs.timed):
            return float(abs((mine.moment.date() - theirs.moment.date()).days))
        return abs((mine.moment - theirs.moment).total_seconds()) / 86400


def scenes_in(folder: Path) -> list[Image]:
    """Return the scenes of a folder and its subfolders by path, with a warning for those that cannot be read."""
    return list(_images(folder, _is_scene, acquisition.of_scene))


def radar_in(folder: Path) -> list[Image]:
    """Return the radar images in the same way."""
    return list(_images(folder, _is_radar, acquisition.of))


def _images(source: Path, wanted: Callable[[Path], bool], acquired_of: Callable[[Any], Acquisition]) -> Iterator[Image]:
    for path in sorted(source.rglob("*")):
        hidden = any(part.startswith(".") for part in path.relative_to(source).parts)
        if hidden or any(parent.suffix.upper() == ".SAFE" for parent in path.parents) or not wanted(path):
            continue
        try:
            with access.gdal_settings(), opened_radar(path) as dataset:
                yield Image(Source.of(path), geometry_of(dataset), acquired_of(dataset))
        except CloudfreeError as error:
            log.warning("left out: %s", error.message)


def _is_scene(path: Path) -> bool:
    words = set(planet_product.words(path.stem))
    return path.suffix.lower() in _ENDINGS and bool(words & SCENE_WORDS) and not words & _NEITHER_WORDS


def _is_radar(path: Path) -> bool:
    if path.suffix.upper() == ".SAFE":
        return path.is_dir()
    if path.suffix.lower() == ARCHIVE_ENDING:
        return bool(_ZIPPED_SAFE.match(path.name)) and not _is_unpacked(path)
    words = set(planet_product.words(path.stem))
    is_raster = path.suffix.lower() in _ENDINGS and path.is_file()
    return is_raster and bool(words & _RADAR_WORDS) and not words & (_NEITHER_WORDS | SCENE_WORDS)


def _is_unpacked(archive: Path) -> bool:
    """Return whether the folder of a zipped product is there too: it would be read twice."""
    name = f"{archive.stem.removesuffix('.SAFE')}.SAFE"
    return any((folder / name).is_dir() for folder in (archive.parent, archive.with_suffix("")))
