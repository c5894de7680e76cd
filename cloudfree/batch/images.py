"""Scenes and radar images of a folder, recognised by their names."""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import shapely

from cloudfree.batch.apart import Call, Lost, answers
from cloudfree.errors import CloudfreeError
from cloudfree.geometry import WGS84, Geometry
from cloudfree.inputs import acquisition
from cloudfree.inputs.acquisition import Acquisition
from cloudfree.inputs.location.source import Source
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
_MOST_DEPTH = 50  # of folders within each other
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


class Flawed(NamedTuple):
    """A file that is named like an image and cannot be used, and why."""

    path: Source
    why: str

    @classmethod
    def at(cls, path: Path, why: str) -> Flawed:
        """Of a name that may be none for a source."""
        shown = os.fsencode(path).decode("utf-8", "backslashreplace")
        return cls(Source(shown, shown), why)


@dataclass(frozen=True)
class Look:
    """How files are looked at: whether inputs are trusted (`raster.admitted`), and whether in a process of its own."""

    trust_inputs: bool = False
    apart: bool = False

    def scenes_in(self, folder: Path) -> tuple[list[Image], list[Flawed]]:
        """The scenes of a folder and its subfolders, by path."""
        looks = self._at(folder, _is_scene, acquisition.of_scene)
        return [one for one in looks if isinstance(one, Image)], [one for one in looks if isinstance(one, Flawed)]

    def radar_in(self, folder: Path) -> list[Image]:
        """The radar images in the same way, with a warning for those that cannot be used."""
        looks = self._at(folder, _is_radar, acquisition.of)
        for flawed in looks:
            if isinstance(flawed, Flawed):
                log.warning("left out: %s", flawed.why)
        return [one for one in looks if isinstance(one, Image)]

    def _at(
        self, folder: Path, wanted: Callable[[Path], bool], acquired_of: Callable[[Any], Acquisition]
    ) -> list[Image | Flawed]:
        looks: dict[Path, Image | Flawed] = {}
        calls = []
        for path in _files(folder, wanted):
            if self.trust_inputs or Path(os.path.realpath(path)).is_relative_to(os.path.realpath(folder)):
                calls.append(Call(path.name, _look, (path, acquired_of, self.trust_inputs)))
            else:
                why = "is a link out of the folder, which may lead to another's file: copy it, or give --trust-inputs"
                looks[path] = Flawed.at(path, f"{path} {why}")
        for call, answer in zip(calls, answers(calls, apart=self.apart), strict=True):
            looks[call.arguments[0]] = _looked(call.arguments[0], answer)
        return [looks[path] for path in sorted(looks)]


def _looked(path: Path, answer: Any) -> Image | Flawed:
    if isinstance(answer, Lost):
        return Flawed.at(path, f"{path} cannot be looked at: {answer.why}; fetch it again, or leave it out")
    looked: Image | Flawed = answer
    return looked


def _files(folder: Path, wanted: Callable[[Path], bool]) -> Iterator[Path]:
    """The files in a folder and those within that are wanted, by path; none that is hidden or in a SAFE product."""
    found, folders = list[Path](), [(folder, 0)]
    while folders:
        within, depth = folders.pop()
        for path in _listed(within):
            if path.name.startswith("."):
                continue
            found += [path] if wanted(path) else []
            if path.is_dir() and not path.is_symlink() and path.suffix.upper() != ".SAFE" and depth < _MOST_DEPTH:
                folders.append((path, depth + 1))
    yield from sorted(found)


def _listed(folder: Path) -> list[Path]:
    try:
        return list(folder.iterdir())
    except OSError as error:
        log.warning("left out: %s cannot be listed (%s)", folder, error.strerror)
        return []


def _look(path: Path, acquired_of: Callable[[Any], Acquisition], trust_inputs: bool) -> Image | Flawed:
    outline = np.empty((0, 2))
    try:
        with access.gdal_settings(trust_inputs), opened_radar(path) as dataset:
            image = Image(Source.of(path), geometry_of(dataset), acquired_of(dataset))
        with suppress(shapely.errors.ShapelyError):  # of coordinates that are not finite
            outline = shapely.get_coordinates(image.geometry.footprint(WGS84))
    except CloudfreeError as error:
        return Flawed.at(path, error.message)
    except OSError as error:
        return Flawed.at(path, f"{path} cannot be read ({error.strerror}); see to it, or leave it out")
    except Exception as error:  # a bug with one file must not stop the others
        log.exception("%s could not be looked at, by a bug", path)
        return Flawed.at(path, f"bug: {type(error).__name__}: {error}")
    if not (len(outline) and np.isfinite(outline).all()):
        why = f"{path} lies at no longitude and latitude by its CRS ({image.geometry.crs.to_string()[:60]})"
        return Flawed.at(path, f"{why}; warp it to UTM (gdalwarp -t_srs EPSG:326xx)")
    return image


def _is_scene(path: Path) -> bool:
    words = set(planet_product.words(path.stem))
    return path.suffix.lower() in _ENDINGS and bool(words & SCENE_WORDS) and not words & _NEITHER_WORDS


def _is_radar(path: Path) -> bool:
    if path.suffix.upper() == ".SAFE":
        return path.is_dir()
    if path.suffix.lower() == ".zip":
        return bool(_ZIPPED_SAFE.match(path.name)) and not _is_unpacked(path)
    words = set(planet_product.words(path.stem))
    is_raster = path.suffix.lower() in _ENDINGS and path.is_file()
    return is_raster and bool(words & _RADAR_WORDS) and not words & (_NEITHER_WORDS | SCENE_WORDS)


def _is_unpacked(archive: Path) -> bool:
    """Return whether the folder of a zipped product is there too: it would be read twice."""
    name = f"{archive.stem.removesuffix('.SAFE')}.SAFE"
    return any((folder / name).is_dir() for folder in (archive.parent, archive.with_suffix("")))
