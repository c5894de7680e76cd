"""Where the sun stood, and how far from straight below a satellite looked, as the files beside a scene state it."""

from __future__ import annotations

import json
import logging
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Self

from cloudfree.errors import UNPARSABLE, CloudfreeError
from cloudfree.geometry import Grid
from cloudfree.inputs.location.source import Source
from cloudfree.inputs.optical import planet_product

log = logging.getLogger(__name__)

_AZIMUTH = "illuminationAzimuthAngle", "sun_azimuth", "view:sun_azimuth"
_ELEVATION = "illuminationElevationAngle", "sun_elevation", "view:sun_elevation"
_VIEW = "incidenceAngle", "spaceCraftViewAngle", "view_angle", "view:incidence_angle", "view:off_nadir"
"""What angles are called in Planet's metadata XML, in its JSON and in STAC; where a file has several, the first."""

_LOWEST_DEG = 2.0  # under a lower sun no satellite takes such images: it is an error


@dataclass(frozen=True)
class Sun:
    """The sun over a scene, in degrees.

    azimuth_deg, 0..360: clockwise from north, or from the top of an image (`on_grid`). elevation_deg, 2..90:
    over the horizon. view_deg, 0..90: between the line of sight and the vertical, in whatever direction; None where
    it is not known. stated_by: the name of the file.
    """

    azimuth_deg: float
    elevation_deg: float
    view_deg: float | None = None
    stated_by: str = ""

    @classmethod
    def of(cls, angles: Mapping[str, object], stated_by: str = "") -> Self | None:
        """By what a file calls its angles; None where one that is needed is missing, no number or impossible."""
        azimuth, elevation = _angle(angles, _AZIMUTH, 360), _angle(angles, _ELEVATION, 90)
        if azimuth is None or elevation is None or elevation < _LOWEST_DEG:
            return None
        return cls(azimuth, elevation, _angle(angles, _VIEW, 90), stated_by)

    def on_grid(self, grid: Grid) -> Self:
        """The same with its azimuth clockwise from the top of an image on that grid, however that is turned."""
        (east_down, north_down), (east_right, north_right) = (
            grid.pixels_to_metres(step) for step in ((1.0, 0.0), (0.0, 1.0))
        )
        azimuth = math.radians(self.azimuth_deg)
        east, north = math.sin(azimuth), math.cos(azimuth)
        area = east_right * north_down - east_down * north_right
        right = (east * north_down - north * east_down) / area
        down = (north * east_right - east * north_right) / area
        return type(self)(
            math.degrees(math.atan2(right, -down)) % 360, self.elevation_deg, self.view_deg, self.stated_by
        )

    def __str__(self) -> str:
        return f"the sun stood at {self.azimuth_deg:.0f} degrees from north, {self.elevation_deg:.0f} over the horizon"


def of_scene(scene: Source) -> Sun | None:
    """By the metadata beside a scene, XML first, then JSON; None where none says so, or cannot be read."""
    readers = (planet_product.METADATA_XML, _stated_in_xml), (planet_product.METADATA_JSON, _stated_in_json)
    for kind, read in readers:
        if beside := planet_product.find(scene, kind):
            try:
                stated = read(beside)
            except CloudfreeError as error:
                log.info("the sun's angles are not read: %s", error.message)
                continue
            if sun := Sun.of(stated, beside.name):
                return sun
            _say_what_cannot_be(stated, beside)
    return None


def _say_what_cannot_be(stated: Mapping[str, object], beside: Source) -> None:
    angles = [f"{name} {str(stated[name])[:20]!r}" for name in (*_AZIMUTH, *_ELEVATION) if name in stated]
    if angles:
        log.warning(
            "%s has %s; the sun's azimuth is 0 to 360 degrees and its elevation %g to 90, and both are needed: shadows "
            "are found without them",
            *(beside.name, ", ".join(angles), _LOWEST_DEG),
        )


def _stated_in_xml(path: Source) -> Mapping[str, object]:
    return planet_product.read_metadata(path).angles


def _stated_in_json(path: Source) -> Mapping[str, object]:
    """The properties of Planet's item or a STAC item; empty where the file is none. Raises InputError."""
    try:
        document = json.loads(path.read_bytes())
    except UNPARSABLE:
        document = None
    properties = document.get("properties") if isinstance(document, dict) else None
    if isinstance(properties, dict):
        return properties
    log.info("%s is no metadata of an item: the sun's angles are not read", path.name)
    return {}


def _angle(angles: Mapping[str, object], names: tuple[str, ...], most: float) -> float | None:
    """The first angle in degrees that is a number from 0 to `most`; the sign of a view says only to which side."""
    for name in names:
        stated = angles.get(name)
        if isinstance(stated, bool) or not isinstance(stated, str | int | float):
            continue
        try:
            degrees = float(stated)
        except UNPARSABLE:
            continue
        degrees = abs(degrees) if name in _VIEW else degrees
        if 0 <= degrees <= most:
            return degrees
    return None
