"""What a netCDF file says of its bands besides x and y: of which date each is."""

from __future__ import annotations

import re
from contextlib import suppress
from datetime import UTC, datetime, time, timedelta

from rasterio import DatasetReader

_DIMENSION = "NETCDF_DIM_"
_SINCE = re.compile(r"(?P<unit>[a-z]+) since (?P<start>\d.*)", re.IGNORECASE)
_SECONDS = {
    **dict.fromkeys(("ns", "nsec", "nanosecond", "nanoseconds"), 1e-9),
    **dict.fromkeys(("us", "usec", "microsec", "microsecond", "microseconds"), 1e-6),
    **dict.fromkeys(("ms", "msec", "millisec", "millisecs", "millisecond", "milliseconds"), 1e-3),
    **dict.fromkeys(("s", "sec", "secs", "second", "seconds"), 1.0),
    **dict.fromkeys(("min", "mins", "minute", "minutes"), 60.0),
    **dict.fromkeys(("h", "hr", "hrs", "hour", "hours"), 3600.0),
    **dict.fromkeys(("d", "day", "days"), 86400.0),
}
"""Units of time in seconds, as the climate and forecast (CF) conventions spell them."""
_ZONE = re.compile(r" *(?:Z|UTC|GMT)$", re.IGNORECASE)
_TIMES = {"time", "times", "t", "date", "dates", "datetime", "day", "valid_time", "acquired"}
"""What a dimension of dates may be called, whose units nothing else tells."""


def date_of(dataset: DatasetReader, index: int) -> str | None:
    """When a band was taken (ISO 8601), midnight as the day alone; as it is stored where its units are unknown.

    None where the band has no dimension of time.
    """
    for key, value in dataset.tags(index).items():
        name = key.removeprefix(_DIMENSION)
        if name == key:
            continue
        tags = dataset.tags()
        since = _SINCE.fullmatch(tags.get(f"{name}#units", "").strip())
        if since and (moment := _moment(since, value)):
            return moment.date().isoformat() if moment.time() == time() else moment.isoformat()
        if since or name.lower() in _TIMES or tags.get(f"{name}#standard_name") == "time":
            return value
    return None


def _moment(since: re.Match[str], value: str) -> datetime | None:
    with suppress(ValueError, OverflowError, KeyError):
        start = datetime.fromisoformat(_ZONE.sub("", since["start"].strip()))
        moment = start + timedelta(seconds=float(value) * _SECONDS[since["unit"].lower()])
        moment = moment.astimezone(UTC) if moment.tzinfo else moment
        return (moment + timedelta(milliseconds=500)).replace(tzinfo=None, microsecond=0)
    return None


def in_words(dataset: DatasetReader, index: int) -> str:
    """What distinguishes a band from the others: its date, the values of its dimensions, or its number."""
    values = [value for key, value in dataset.tags(index).items() if key.startswith(_DIMENSION)]
    return date_of(dataset, index) or " ".join(values) or f"band {index}"
