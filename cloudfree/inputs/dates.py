"""Dates as people and programs write them in tags and names of files.

The tables at the top are all that is known of how dates are written.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from itertools import pairwise
from typing import NamedTuple

from cloudfree.inputs.optical import planet_product

_YEAR, _MONTH, _DAY = r"(?P<year>(?:19|20)\d\d)", r"(?P<month>\d\d)", r"(?P<day>\d\d)"
_MONTH_NAME = (
    r"(?P<month>jan(?:uary)?|feb(?:ruary)?|mar(?:ch)?|apr(?:il)?|may|june?|july?|aug(?:ust)?|sept?(?:ember)?|"
    r"oct(?:ober)?|nov(?:ember)?|dec(?:ember)?)"
)
_MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_LATE_DAY = r"(?P<day>1[3-9]|2\d|3[01])"  # which is no month
_DATES = tuple(
    re.compile(pattern, re.IGNORECASE)
    for pattern in (
        rf"(?<!\d){_YEAR}{_MONTH}{_DAY}(?=\D|$|\d{{6}}(?!\d))",  # YYYYMMDD, YYYYMMDDHHMMSS
        rf"(?<!\d){_YEAR}(?P<cut>[-_.:/]){_MONTH}(?P=cut){_DAY}(?!\d)",
        rf"(?<!\d){_YEAR}(?P<cut>[-./])(?P<month>\d\d?)(?P=cut)(?P<day>\d\d?)(?!\d)",  # 2022-6-5
        rf"(?<!\d){_YEAR}年(?P<month>\d\d?)月(?P<day>\d\d?)日",
        rf"(?<![\d.v])(?P<day>\d\d?)\.(?P<month>\d\d?)\.{_YEAR}(?!\d)",  # 5.6.2022: with dots, the day is first
        rf"(?<!\d){_LATE_DAY}(?P<cut>[-_/]){_MONTH}(?P=cut){_YEAR}(?!\d)",  # 15-06-2022, not 05-06-2022
        rf"(?<!\d)(?P<day>\d\d?)(?P<cut>[-_. ]?){_MONTH_NAME}(?P=cut){_YEAR}(?!\d)",  # SNAP's 12Jun2024
        rf"(?<!\d)(?P<day>\d\d?)(?P<cut>[-_. ]?){_MONTH_NAME}(?P=cut)(?P<year>\d\d)(?!\d)",
        rf"(?<!\d){_YEAR}(?P<cut>[-_. ]?){_MONTH_NAME}(?P=cut){_DAY}(?!\d)",
        rf"(?<![a-z]){_MONTH_NAME}[-_. ]?(?P<day>\d\d?),?[-_. ]{_YEAR}(?!\d)",  # Jun-15-2022
    )
)
_DAYS_OF_YEAR = tuple(
    re.compile(pattern, re.IGNORECASE)
    for pattern in (
        rf"(?<![0-9a-z])a?{_YEAR}(?P<of_year>\d{{3}})(?=[^0-9a-z]|$|t\d{{6}})",  # 2022135, A2022135
        rf"(?<![0-9a-z]){_YEAR}-(?P<of_year>\d{{3}})(?![0-9a-z])",  # ISO 8601
        rf"(?<![0-9a-z]){_YEAR}[_.](?P<of_year>1[89]\d|17[6-9]|[23]\d\d)(?![0-9a-z])",  # more than a relative orbit
        rf"(?<!\d){_YEAR}[-_]?doy[-_]?(?P<of_year>\d{{3}})(?!\d)",
    )
)
_TIME = re.compile(
    r"(?P<gap>[T _-]?)(?P<hour>\d\d)(?P<cut>[-:_.]?)(?P<minute>\d\d)(?:(?P=cut)(?P<second>\d\d))?(?!\d)"
    r"(?:[.,]\d+)?(?: ?(?P<zone>[+-]\d\d(?::?\d\d)?)(?!\d))?",
    re.IGNORECASE,
)
"""What may follow a date."""

_SHORT_DATE = re.compile(r"(?<![0-9a-z])(?P<year>\d\d)(?P<month>\d\d)(?P<day>\d\d)(?![0-9a-z])", re.IGNORECASE)
"""YYMMDD in a name."""

_NUMBERED = re.compile(
    r"(?<![a-z])(?:tile|site|plot|field|parcel|farm|farmer|id|order|job|orbit|track|path|row|frame|area|aoi|roi|no|nr|"
    r"number|block|zone|region|part|run|version|station|sample|grid|cell|user|customer|project|gpu)[-_ ]?$",
    re.IGNORECASE,
)
"""What stands before digits that number something: of few digits they are taken for no date."""

_FIRST_RADAR = datetime(2014, 4, 3)  # Sentinel-1A's launch
_FIRST = datetime(2009, 1, 1)
"""Of the years in which images of these kinds were taken."""

_RADAR_WORD = re.compile(
    r"(?<![a-z0-9])(s1[a-d]?|sentinel[-_ ]?1[a-d]?|sar|vv|vh|hh|hv|rtc|grd)(?![a-z0-9])|"
    r"(?<![a-z0-9])(?:s1[a-d]|s1grdh?|sentinel[-_]?1[a-d])(?=\d{6})",
    re.IGNORECASE,
)
_RADAR_NAME = re.compile(r"(?<![0-9a-z])s1[a-d][_-].*?(?P<moment>\d{8}t\d{6})(?!\d)", re.IGNORECASE)
"""ESA's, ASF's and others' names of what a Sentinel-1 took begin with it and have the beginning first."""

_MISSION = re.compile(r"(?<![a-z0-9])(?:s1(?:[a-d]|grdh?)?|sentinel[-_ ]?1[a-d]?)(?:[-_ ]|(?=\d{6}))", re.IGNORECASE)
"""Behind it stands what it took, as `S1A_20240520`; before it, of what order or scene it is."""


class Dated(NamedTuple):
    """A date in a text (UTC), whether it has a time of day, and where in the text the date begins and ends."""

    moment: datetime
    timed: bool
    start: int = 0
    end: int = 0


def moments_in(text: str) -> Iterator[tuple[datetime, bool]]:
    """The valid dates in a text (UTC), those with a time of day first, and whether they have one."""
    yield from (dated[:2] for dated in _dates_in(text, (*_DATES, *_DAYS_OF_YEAR)))


def moments_of_name(name: str) -> tuple[Sequence[tuple[datetime, bool]], str]:
    """The dates in a file's name, the best first, or none and why, where several are as good.

    A product's own name in it counts before all other digits. Of radar, that is Sentinel-1's; Planet's is then of the
    scene that it is for, and counts last.
    """
    name = unicodedata.normalize("NFKC", name)  # digits of other widths
    radar, scene = _RADAR_NAME.search(name), planet_product.scene_name(name)
    of_scene = [*moments_in(scene.moment if scene else "")]
    if radar and (moments := [*moments_in(radar["moment"])]):
        return moments, ""
    is_radar = bool(_RADAR_WORD.search(name))
    if of_scene and not is_radar:
        return of_scene, ""
    first = _FIRST_RADAR if is_radar else _FIRST
    for dates in _dates_by_form(name):
        possible = [dated for dated in dates if dated.moment >= first and dated[:2] not in of_scene]
        best = _of_mission(name, possible) if is_radar else possible
        days = sorted({f"{dated.moment:%Y-%m-%d}" for dated in best})
        if len(days) > 1 and not best[0].timed and _are_apart(name, best):
            return of_scene, f"the file's name has several dates, {' and '.join(days)}"
        if best:
            return [dated[:2] for dated in best] + of_scene, ""
    return of_scene, ""


def _dates_by_form(name: str) -> Iterator[list[Dated]]:
    """Those in a name, first of the forms that can hardly be anything else."""
    yield _dates_in(name, _DATES)
    yield [dated for dated in _dates_in(name, _DAYS_OF_YEAR) if not _NUMBERED.search(name[: dated.start])]
    yield _short_dates(name)


def _are_apart(name: str, dates: Sequence[Dated]) -> bool:
    """Whether words stand between dates: side by side are a period, or when it was taken and then processed."""
    placed = sorted(dates, key=lambda dated: dated.start)
    return any(re.search(r"[^\W\d_]{2}", name[one.end : after.start]) for one, after in pairwise(placed))


def _of_mission(name: str, dates: Sequence[Dated]) -> Sequence[Dated]:
    """Of the dates in a radar image's name, that which stands at the name of its satellite, or those behind it."""
    for mission in _MISSION.finditer(name):
        if at := [dated for dated in dates if dated.start == mission.end()]:
            return at
    first = _MISSION.search(name)
    return [dated for dated in dates if first and dated.start > first.start()] or dates


def _dates_in(text: str, forms: Sequence[re.Pattern[str]]) -> list[Dated]:
    found = (_dated_at(text, match) for form in forms for match in form.finditer(text))
    return sorted(filter(None, found), key=lambda dated: not dated.timed)


def _short_dates(name: str) -> list[Dated]:
    """YYMMDD in a name, where no other number of six digits makes it doubtful, and it is of the past."""
    found = list(_SHORT_DATE.finditer(name))
    if len(found) != 1 or _NUMBERED.search(name[: found[0].start()]):
        return []
    try:
        moment = datetime.strptime(found[0][0], "%y%m%d")
    except ValueError:
        return []
    return [Dated(moment, timed=False)] if _FIRST <= moment <= datetime.now() else []


def _dated_at(text: str, date: re.Match[str]) -> Dated | None:
    """The moment of a date in a text, with the time that follows it if there is a valid one."""
    try:
        day = _day_of(date.groupdict())
    except ValueError:
        return None  # digits that are no date
    time = _TIME.match(text, date.end())
    try:
        since = _time_of_day(time) if time and _is_time(time) else None
    except ValueError:
        since = None
    return Dated(day + (since or timedelta()), since is not None, date.start(), date.end())


def _day_of(stated: dict[str, str]) -> datetime:
    """Raises ValueError where it is none."""
    if "of_year" in stated:
        day = datetime.strptime(f"{stated['year']} {stated['of_year']}", "%Y %j")
        if day.year != int(stated["year"]):  # the 366th of most years
            raise ValueError(stated["of_year"])
        return day
    name = stated["month"][:3].lower()
    month = _MONTHS.index(name) + 1 if name in _MONTHS else int(name)
    year = int(stated["year"])
    return datetime(year if year >= 100 else 2000 + year, month, int(stated["day"]))


def _is_time(time: re.Match[str]) -> bool:
    """Whether digits behind a date are a time: without seconds only behind a T, or with a colon."""
    return bool(time["second"]) or time["gap"].upper() == "T" or (time["gap"] == " " and time["cut"] == ":")


def _time_of_day(time: re.Match[str]) -> timedelta:
    """Since midnight in UTC. Raises ValueError where it is none."""
    of_day = datetime.strptime(f"{time['hour']}{time['minute']}{time['second'] or '00'}", "%H%M%S")
    since = of_day - of_day.replace(hour=0, minute=0, second=0)
    zone = time["zone"]
    if not zone or (time["cut"] != ":" and ":" not in zone and zone[0] == "-"):  # a number behind a hyphen of a name
        return since
    hours, minutes = int(zone[1:3]), int(zone[3:].lstrip(":") or 0)
    if hours > 14 or minutes % 15:
        return since
    east = timedelta(hours=hours, minutes=minutes)
    return since - east if zone[0] == "+" else since + east
