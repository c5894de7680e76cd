"""Which files on disk were opened, so that those that are replaced while they are read are told."""

from __future__ import annotations

import stat
from collections.abc import Iterable, Mapping
from pathlib import Path

from cloudfree.errors import InputError
from cloudfree.inputs.location.source import Source

Version = tuple[int, int, int, int]
"""Device, inode, size in bytes, and time of the last change in nanoseconds."""


def versions_of(sources: Iterable[Source]) -> dict[Path, Version]:
    """The version of each file on disk that sources are in; those at addresses have none."""
    return {file: version for source in sources if (file := source.file) and (version := _version(file))}


def refuse_replaced(versions: Mapping[Path, Version]) -> None:
    """Raise InputError where a file is not the one that it was: a product's hash of it would not be of its pixels."""
    for file, version in versions.items():
        if _version(file) != version:
            raise InputError(
                f"{file} was replaced or changed while it was read; the product would be of neither: run again"
            )


def _version(file: Path) -> Version | None:
    try:
        seen = file.stat()
    except OSError:
        return None
    return (seen.st_dev, seen.st_ino, seen.st_size, seen.st_mtime_ns) if stat.S_ISREG(seen.st_mode) else None
