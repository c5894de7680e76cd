"""What a netCDF file says of its bands besides x and y: of which date each is."""

from __future__ import annotations

import re
from contextlib import suppress
from datetime import datetime, time, timedelta

from rasterio import DatasetReader

_DIMENSION = "NETCDF_DIM_"
_SINCE = re.compile(r"(?P<unit>second|minute|hour|day)s? since (?P<start>.+)", re.IGNORECASE)
_SECONDS = {"second": 1, "minute": 60, "hour": 3600, "day": 86400}


def moment_of(dataset: DatasetReader, index: int) -> str | None:
    """When a band was taken (ISO 8601), midnight as the day alone; None where no dimension says so."""
    for key, value in dataset.tags(index).items():
        units = dataset.tags().get(f"{key.removeprefix(_DIMENSION)}#units", "") if key.startswith(_DIMENSION) else ""
        if match := _SINCE.match(units):
            with suppress(ValueError, OverflowError):
                start = datetime.fromisoformat(match["start"].strip().replace("Z", "+00:00"))
                moment = start + timedelta(seconds=float(value) * _SECONDS[match["unit"].lower()])
                moment = moment.replace(tzinfo=None, microsecond=0)
                return moment.date().isoformat() if moment.time() == time() else moment.isoformat()
    return None


def in_words(dataset: DatasetReader, index: int) -> str:
    """What distinguishes a band from the others: its date, the values of its dimensions, or its number."""
    values = [value for key, value in dataset.tags(index).items() if key.startswith(_DIMENSION)]
    return moment_of(dataset, index) or " ".join(values) or f"band {index}"
