"""Which files were opened, so that those that are replaced while they are read are told."""

from __future__ import annotations

import stat
from collections.abc import Iterable, Mapping
from pathlib import Path

from cloudfree.errors import InputError
from cloudfree.inputs.location import remote
from cloudfree.inputs.location.source import Source

Version = tuple[int, int, int, int] | dict[str, str]
"""Of a file on disk: device, inode, size in bytes, and time of the last change in nanoseconds. Else what its server
states."""

Versions = Mapping[Path | Source, Version]


def versions_of(sources: Iterable[Source]) -> dict[Path | Source, Version]:
    """The version of each file on disk that sources are in, and of those at addresses of which one is stated."""
    files = dict.fromkeys(source.file or source for source in sources)
    return {file: version for file in files if (version := _version(file))}


def refuse_replaced(versions: Versions) -> None:
    """Raise InputError where a file is not the one that it was: a product's identity would not be of its pixels.

    A server that states nothing any more has not said that it was replaced.
    """
    for file, version in versions.items():
        now = _version(file)
        if now != version and not (now is None and isinstance(file, Source)):
            raise InputError(
                f"{file} was replaced or changed while it was read; the product would be of neither: run again"
            )


def _version(file: Path | Source) -> Version | None:
    if isinstance(file, Source):
        return remote.stated(file) or None
    try:
        seen = file.stat()
    except OSError:
        return None
    return (seen.st_dev, seen.st_ino, seen.st_size, seen.st_mtime_ns) if stat.S_ISREG(seen.st_mode) else None
