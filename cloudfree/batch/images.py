"""Scenes and radar images of a folder, looked at: which ground they cover, and when they were acquired."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import shapely

from cloudfree.batch.apart import Call, Lost, answers
from cloudfree.batch.inbox import Found, Inbox, is_within
from cloudfree.errors import CloudfreeError
from cloudfree.geometry import WGS84, Geometry
from cloudfree.inputs import acquisition
from cloudfree.inputs.acquisition import Acquisition
from cloudfree.inputs.dates import moments_of_name
from cloudfree.inputs.location.source import Source
from cloudfree.inputs.radar.safe.product import geometry_of, opened_radar
from cloudfree.inputs.raster import access

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Image:
    """A scene or radar image: its file, the ground that it covers, and when it was acquired."""

    path: Source
    geometry: Geometry
    acquired: Acquisition

    def days_from(self, other: Image) -> float:
        """Return the days between two images, whole ones without both times of day; infinite where one is undated."""
        mine, theirs = self.acquired, other.acquired
        if mine.moment and theirs.moment and not (mine.timed and theirs.timed):
            return float(abs((mine.moment.date() - theirs.moment.date()).days))
        return self.likely_days_from(other)

    def likely_days_from(self, other: Image) -> float:
        """Return the same with noon for a time of day that is unknown: of two days the one that is likely nearer."""
        mine, theirs = (one.acquired.moment for one in (self, other))
        if not mine or not theirs:
            return float("inf")
        mine, theirs = mine + self._until_likely, theirs + other._until_likely
        return abs((mine - theirs).total_seconds()) / 86400

    @property
    def _until_likely(self) -> timedelta:
        return timedelta(hours=0 if self.acquired.timed else 12)


class Flawed(NamedTuple):
    """A file that is named like an image and cannot be used, and why."""

    path: Source
    why: str

    @classmethod
    def at(cls, path: Found, why: str) -> Flawed:
        """Of a name that may be none for a source."""
        if isinstance(path, Source):
            return cls(path, why)
        shown = os.fsencode(path).decode(sys.getfilesystemencoding(), "backslashreplace")
        return cls(Source(shown, shown), why)


@dataclass(frozen=True)
class Look:
    """How files are looked at: whether inputs are trusted (`raster.admitted`), and whether in a process of its own."""

    trust_inputs: bool = False
    apart: bool = False

    def scenes_and_radar_in(self, folder: Path) -> tuple[list[Image], list[Flawed], list[Image]]:
        """The scenes of a folder, its archives and subfolders, by path, those that cannot be used, and radar images.

        Warns of radar that cannot be used.
        """
        inbox = Inbox.of(folder, self.trust_inputs)
        scenes, flawed = self._at(folder, inbox.scenes, acquisition.of_scene)
        radar, left_out = self._at(folder, inbox.radar, acquisition.of)
        radar = [_dated_by_folders(image, folder) for image in radar]
        for one in left_out:
            log.warning("left out: %s", one.why)
        return scenes, flawed, radar

    def _at(
        self, folder: Path, found: Sequence[Found], acquired_of: Callable[[Any], Acquisition]
    ) -> tuple[list[Image], list[Flawed]]:
        flawed, calls = [], []
        for file in found:
            path = file if isinstance(file, Path) else file.file
            if self.trust_inputs or (path and is_within(path, folder)):
                calls.append(Call(file.name, _look, (file, acquired_of, self.trust_inputs)))
            else:
                why = "is a link out of the folder, which may lead to another's file: copy it, or give --trust-inputs"
                flawed.append(Flawed.at(file, f"{file} {why}"))
        answered = zip(calls, answers(calls, apart=self.apart), strict=True)
        looks = [_looked(call.arguments[0], answer) for call, answer in answered]
        flawed += [one for one in looks if isinstance(one, Flawed)]
        return [one for one in looks if isinstance(one, Image)], sorted(flawed, key=lambda one: str(one.path))


def _dated_by_folders(image: Image, inbox: Path) -> Image:
    """A radar image that states no date, or only when it may have been written, with that of a folder in the inbox."""
    if image.acquired.moment and image.acquired.stated_by != acquisition.WRITTEN:
        return image
    folders = [*Path(os.path.relpath(str(image.path), inbox)).parts[-2::-1]]  # the nearest first
    moment, timed = next((dates[0] for name in folders if (dates := moments_of_name(name)[0])), (None, False))
    if not moment:
        return image
    return replace(image, acquired=replace(image.acquired, moment=moment, timed=timed, stated_by=acquisition.FOLDER))


def _looked(path: Found, answer: Any) -> Image | Flawed:
    if isinstance(answer, Lost):
        return Flawed.at(path, f"{path} cannot be looked at: {answer.why}; fetch it again, or leave it out")
    looked: Image | Flawed = answer
    return looked


def _look(path: Found, acquired_of: Callable[[Any], Acquisition], trust_inputs: bool) -> Image | Flawed:
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
