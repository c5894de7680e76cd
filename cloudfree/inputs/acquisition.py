"""When, and from which orbit, an image was taken, as far as its file says so; and what differences mean for a scene.

Tags of an acquisition count first, then the file's name, last TIFF's own date, which may be when the file was written.
The tables at the top are all that is known of tags, and of orbits in names; `dates` knows how dates are written.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from cloudfree.inputs.dates import moments_in, moments_of_name
from cloudfree.inputs.decision import Decision
from cloudfree.inputs.optical import planet_product

MEASUREMENT_TAG = "MEASUREMENT"
"""With the name of a measurement of a product, whose own file may be called anything."""

_TIME_TAGS = (
    *("ZERO_DOPPLER_START_TIME", "FIRST_LINE_TIME", "ACQUISITION_START_TIME", "ACQUISITION_DATETIME"),
    *("ACQUISITIONDATETIME", "ACQUISITION_DATE", "ACQUISITION_TIME", "ACQUISITION", "ACQUIRED", "SENSING_TIME"),
    *("START_TIME", "DATETIME", "DATE", MEASUREMENT_TAG),
)
_WRITTEN_TAG = "TIFFTAG_DATETIME"
WRITTEN = f"the tag {_WRITTEN_TAG}, which may be when the file was written"
FOLDER = "the folder's name"
_DIRECTION_TAGS = ("ORBIT_PASS_DIRECTION", "ORBIT_DIRECTION", "ORBITPROPERTIES_PASS", "PASS", "ORBIT_PASS")
_RELATIVE_ORBIT_TAGS = ("TRACK_NUMBER", "RELATIVE_ORBIT", "RELATIVE_ORBIT_NUMBER", "RELATIVEORBITNUMBER_START")
_ABSOLUTE_ORBIT_TAGS = ("ABSOLUTE_ORBIT_NUMBER", "ABSOLUTE_ORBIT", "ABS_ORBIT", "ORBITNUMBER_START")
_PLATFORM_TAGS = ("PLATFORM", "MISSION", "SPACECRAFT_NAME")

_FIRST_ORBITS = {"A": {0: 73}, "B": {0: 27}, "C": {0: 172, 8019: 99}, "D": {0: 42}}
"""Of each Sentinel-1, an absolute orbit that is relative orbit 1, by the absolute orbit from which on that holds (ESA).

S1C was moved in June 2026, after orbit 8018; its new number and S1D's are those of isce2 (#28123, #28130).
"""
_RELATIVE_ORBITS = 175
_NUMBER = re.compile(r"(?<!\d)\d{1,7}(?!\d)")

_DOMAINS = (None, "IMAGERY")
"""Domains of metadata in which GDAL has tags of an acquisition."""

_ORBITS = (
    re.compile(r"OPERA_L2_RTC-S1_T(?P<relative>\d{3})-"),
    re.compile(r"^s1[a-d]_\d\d[A-Z]{3}_v[vh]_(?P<direction>ASC|DES)_(?P<relative>\d{3})_", re.IGNORECASE),  # s1tiling
    re.compile(r"^S1(?P<platform>[A-D])_.*_\d{8}T\d{6}_\d{8}T\d{6}_(?P<absolute>\d{6})_", re.IGNORECASE),  # ESA
    re.compile(r"^s1(?P<platform>[a-d])-.*-\d{8}t\d{6}-\d{8}t\d{6}-(?P<absolute>\d{6})-", re.IGNORECASE),
)
_DIRECTION = re.compile(r"(?<![a-z])(?P<direction>asc|desc)(?:ending)?(?![a-z])", re.IGNORECASE)

_PRODUCT = re.compile(r"S1[A-D]_(IW|EW|S\d)_", re.IGNORECASE)
"""How folders of products are called, whose files may have names like iw-vv.rtc.tiff."""

_MOST_LISTED = 4  # file names in a message
_ONE_PASS = timedelta(minutes=30)  # in which a satellite crosses a continent
FAR_APART_DAYS = 30
"""Some repeat cycles of Sentinel-1, after which ground, fields above all, may look different from the scene's."""


@dataclass(frozen=True)
class Acquisition:
    """When an image was taken and from where; None where its file does not say.

    `moment` is in UTC, and `timed` whether it has a time of day; `direction` is ascending or descending;
    `relative_orbit` is 1..175; `stated_by` is, in words, what states the moment.
    """

    moment: datetime | None = None
    timed: bool = False
    direction: str | None = None
    relative_orbit: int | None = None
    stated_by: str = ""

    def __str__(self) -> str:
        orbit = self.relative_orbit and f"relative orbit {self.relative_orbit}"
        return ", ".join(str(part) for part in (self._when, self.direction, orbit) if part) or "an unknown date"

    @property
    def _when(self) -> str | None:
        return f"{self.moment:%Y-%m-%d %H:%M} UTC" if self.moment and self.timed else self.day

    @property
    def day(self) -> str | None:
        return f"{self.moment:%Y-%m-%d}" if self.moment else None

    def may_be_of_pass(self, other: Acquisition) -> bool:
        """Whether nothing that both state tells them apart: frames of one pass follow each other."""
        if self.moment and other.moment:
            near = abs(self.moment - other.moment) <= _ONE_PASS
            if not (near if self.timed and other.timed else self.day == other.day):
                return False
        both = (self.direction, other.direction), (self.relative_orbit, other.relative_orbit)
        return all(not mine or not theirs or mine == theirs for mine, theirs in both)


UNKNOWN = Acquisition()


def of(dataset: Any, index: int | None = None) -> Acquisition:
    """The acquisition of an open raster, by its one-based band `index` first if that is given."""
    path = Path(dataset.name)  # as it may be shown, without the query of an address
    tags = {key.upper(): str(text) for domain in _DOMAINS for key, text in dataset.tags(ns=domain).items()}
    described = ""
    if index is not None:
        tags |= {key.upper(): str(text) for key, text in dataset.tags(index).items()}
        described = dataset.descriptions[index - 1] or ""
    names = [path.name, *(folder.name for folder in path.parents[:2] if _PRODUCT.match(folder.name))]
    moment, timed, stated_by = _moment(names, tags, described)
    return Acquisition(moment, timed, *_orbit(names, tags), stated_by)


def of_scene(dataset: Any) -> Acquisition:
    """The acquisition of an open optical scene, by the scene itself, Planet's name of it or the metadata beside it.

    The latter two add the time of day, and decide where the scene says nothing or only when its file may have been
    written.
    """
    acquired = of(dataset)
    if not _is_sure(acquired) and (scene := planet_product.scene_name(dataset.source.name)):
        acquired = _finer(acquired, [scene.moment], "the file's name")
    if not _is_sure(acquired) and (xml := planet_product.find(dataset.source, planet_product.METADATA_XML)):
        acquired = _finer(acquired, planet_product.read_metadata(xml).acquired, xml.name)
    return acquired


def _is_sure(acquired: Acquisition) -> bool:
    """Whether it has a time of day, and not that of writing."""
    return acquired.timed and acquired.stated_by != WRITTEN


def _finer(acquired: Acquisition, texts: Sequence[str], stated_by: str) -> Acquisition:
    """By the first date in texts, if that adds the time of the same day, or replaces none or the time of writing."""
    moment, timed = next((dated for text in texts for dated in moments_in(text)), (None, False))
    other = Acquisition(moment, timed, stated_by=stated_by)
    same_day = timed and other.day == acquired.day
    return other if moment and (same_day or not acquired.moment or acquired.stated_by == WRITTEN) else acquired


def _moment(names: Sequence[str], tags: Mapping[str, str], described: str) -> tuple[datetime | None, bool, str]:
    stated = [(described, "the band's description"), *((tags.get(key, ""), f"the tag {key}") for key in _TIME_TAGS)]
    by_tags = [([*moments_in(text)], where) for text, where in stated]
    doubt = ""
    by_names = []
    for name in names:
        moments, several = moments_of_name(name)
        doubt = doubt or several
        by_names.append((moments, "the file's name" if name == names[0] else FOLDER))
    written = [*moments_in(tags.get(_WRITTEN_TAG, ""))], WRITTEN
    for moments, where in (*by_tags, *by_names, written):
        for moment, timed in moments:
            return moment, timed, where
    return None, False, doubt or "neither a tag nor the file's name tells"


def _orbit(names: Sequence[str], tags: Mapping[str, str]) -> tuple[str | None, int | None]:
    """Direction and relative orbit."""
    matches = (pattern.search(name) for name in (*names, tags.get(MEASUREMENT_TAG, "")) for pattern in _ORBITS)
    named = next((match.groupdict() for match in matches if match), {})
    texts = [tags[key] for key in _DIRECTION_TAGS if key in tags]
    word = next((match["direction"] for text in (*texts, *names) if (match := _DIRECTION.search(text))), "")
    word = word or named.get("direction") or ""
    direction = {"a": "ascending", "d": "descending"}.get(word[:1].lower())
    relative = _number(tags, _RELATIVE_ORBIT_TAGS) or int(named.get("relative") or 0)
    absolute = _number(tags, _ABSOLUTE_ORBIT_TAGS) or int(named.get("absolute") or 0)
    platform = next((tags[key] for key in _PLATFORM_TAGS if key in tags), "") or named.get("platform") or ""
    firsts = [first for since, first in _FIRST_ORBITS.get(platform[-1:].upper(), {}).items() if absolute >= since]
    if not relative and absolute and firsts:
        relative = (absolute - firsts[-1]) % _RELATIVE_ORBITS + 1
    return direction, relative if 1 <= relative <= _RELATIVE_ORBITS else None


def _number(tags: Mapping[str, str], keys: Sequence[str]) -> int:
    """The first number of an orbit in the first tag that has one; 0 for none."""
    return next((int(match[0]) for key in keys if (match := _NUMBER.search(tags.get(key, "")))), 0)


# --- what several of them mean ---


def passes(stated: Sequence[tuple[str, Acquisition]]) -> list[tuple[list[str], Acquisition]]:
    """Files by name and acquisition, grouped by what may be one pass of a satellite, in order."""
    groups: list[tuple[list[str], Acquisition]] = []
    for name, acquired in stated:
        group = next((files for files, first in groups if first.may_be_of_pass(acquired)), None)
        if group is None:
            groups.append(([name], acquired))
        elif name not in group:
            group.append(name)
    return groups


def described(stated: Sequence[tuple[str, Acquisition]]) -> Iterator[Decision]:
    """When and from which orbit the files of each pass were taken, and what says so."""
    several = len({name for name, _ in stated}) > 1
    for files, acquired in passes(stated):
        why = f"{acquired.stated_by} ({listing(files)})" if several else acquired.stated_by
        yield Decision(f"acquired {acquired}" if acquired.day else "acquired on an unknown date", why)


def mixture(stated: Sequence[tuple[str, Acquisition]]) -> Decision | None:
    """A warning where files are of different passes."""
    groups = passes(stated)
    if len(groups) < 2:
        return None
    shown = " and ".join(f"{acquired} ({listing(files)})" for files, acquired in groups)
    return Decision(
        f"Sentinel-1 is of different dates or orbits: {shown}",
        "the ground changes with time, and slopes look different from another orbit; files of one pass are better",
    )


def distance(scene: Acquisition, radar: Sequence[Acquisition]) -> Decision | None:
    """A warning where radar was taken long before or after a scene, by the one farthest away."""
    if not scene.moment:
        return None
    days = [((image.moment.date() - scene.moment.date()).days, image) for image in radar if image.moment]
    farthest, image = max(days, key=lambda pair: abs(pair[0]), default=(0, UNKNOWN))
    if abs(farthest) <= FAR_APART_DAYS:
        return None
    return Decision(
        f"Sentinel-1 of {image.day} (by {image.stated_by}) is {abs(farthest)} days "
        f"{'after' if farthest > 0 else 'before'} the scene of {scene.day} (by {scene.stated_by})",
        f"the ground may have changed; an image within {FAR_APART_DAYS} days is better",
    )


def listing(names: Sequence[str]) -> str:
    """File names in words, of many the first."""
    if len(names) > _MOST_LISTED:
        return f"{', '.join(names[:_MOST_LISTED])} and {len(names) - _MOST_LISTED} more"
    return " and ".join(filter(None, [", ".join(names[:-1]), *names[-1:]]))
