"""What lies beside a raster under its name, which GDAL reads with it: looked at before GDAL does.

GDAL compares names without case, so the folder or the archive is listed, and not asked for names.
"""

from __future__ import annotations

import os
from bisect import bisect_left
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path

from cloudfree.errors import InputError
from cloudfree.inputs import limits
from cloudfree.inputs.location.archive import names_in, too_large
from cloudfree.inputs.location.source import Source

_RASTERS = ".ovr", ".msk", ".aux", ".rrd", ".ige"
"""Overviews and masks, which are opened by any driver of GDAL's."""
_RASTER_MARKS = b"II*\0", b"MM\0*", b"II+\0", b"MM\0+", b"EHFA_HEA", b"ERDAS_IM"
_DOCUMENTS = (
    *limits.DOCUMENT_ENDINGS,
    *(".txt", ".rpc", ".eph", ".att", ".pass", ".tfw", ".tifw", ".tiffw", ".wld", ".tab", ".prj", ".clr", ".stx"),
)
"""What is read whole."""


def refuse_odd_neighbours(source: Source, advice: str) -> None:
    """Raise InputError where something that GDAL would read with a raster is no file, or not what it should be.

    `advice` is what to do beside taking it away.
    """
    for other in _named_like(source):
        path, ending = other.plain, Path(other.name).suffix.lower()
        if path and path.is_dir():
            continue
        if path and path.exists() and not path.is_file():
            raise InputError(
                f"{other}, which GDAL may read with {source.name}, is no regular file; what lies beside a raster is: "
                "remove it"
            )
        if path and ending in _DOCUMENTS and path.is_file() and path.stat().st_size > limits.DOCUMENT_BYTES:
            raise too_large(other)  # in an archive that was looked at when it was listed
        if ending in _RASTERS and other.exists and not other.read_bytes(8).startswith(_RASTER_MARKS):
            raise InputError(
                f"{other.name} beside {source.name} is no GeoTIFF, as overviews and masks there are; make it anew "
                f"(gdaladdo), take it away, or {advice}"
            )


def _named_like(source: Source) -> Iterator[Source]:
    """What is called like a raster, with other endings or more of them."""
    if source.is_variable:
        return
    if source.plain:
        folder = source.plain.parent.absolute()
        try:
            names = _listed(folder, folder.stat().st_mtime_ns)
        except OSError:
            return  # it may be opened, and not listed
        places = ((name, Source.of(folder / name)) for name in _beginning(names, source.plain.stem))
        own = source.plain.name
    elif source.is_archived and source.file:
        inside, _, own = source.inside.rpartition("/")
        prefix = f"{inside}/" if inside else ""
        stem = (prefix + Path(own).stem).lower()
        members = (name for name in names_in(source.file) if name.lower().startswith(stem))
        places = ((name.removeprefix(prefix), Source.member(source.file, name)) for name in members)
    else:
        return
    yield from (place for name, place in places if name != own)


@lru_cache(maxsize=16)
def _listed(folder: Path, _changed_ns: int) -> list[tuple[str, str]]:
    """Names in a folder, each after itself in lower case, sorted; kept until the folder changes."""
    return sorted((name.lower(), name) for name in os.listdir(folder))  # noqa: PTH208 - of many files


def _beginning(names: list[tuple[str, str]], stem: str) -> Iterator[str]:
    """Those that begin with a stem, whatever the case, and go on with `.` or `_`."""
    lower = stem.lower()
    for at in range(bisect_left(names, (lower,)), len(names)):
        name, shown = names[at]
        if not name.startswith(lower):
            return
        if name[len(lower) :].startswith((".", "_")):
            yield shown
