"""Archives on disk: which files are in them, within bounds, and their content."""

from __future__ import annotations

import io
import os
import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from itertools import pairwise
from pathlib import Path
from typing import IO, NamedTuple

from cloudfree.errors import InputError
from cloudfree.inputs import limits

FILE_SYSTEMS = {".zip": "vsizip", ".tar": "vsitar"}
"""Endings of archives that are read in place, and what GDAL calls what is in them."""

PACKED_ENDINGS = (".tgz", ".tar.gz", ".tar.bz2", ".tar.xz", ".7z", ".rar")
"""Of archives in which nothing can be found without unpacking all that stands before it."""

UNREADABLE = (
    *(zipfile.BadZipFile, tarfile.TarError, zlib.error, OSError, EOFError, KeyError, RuntimeError),
    *(NotImplementedError, ValueError, OverflowError),
)
"""What Python raises for damaged archives."""


class Member(NamedTuple):
    """A file in an archive, its size in bytes, and its CRC-32 where the archive states one."""

    name: str
    size: int
    checksum: int | None = None


def names_in(archive: Path) -> tuple[str, ...]:
    """The names of the files in an archive on disk, without what systems put there for themselves.

    A list is kept until the archive changes. Raises InputError, for more files than are delivered in one too.
    """
    return tuple(member.name for member in members_of(archive))


def members_of(archive: Path) -> tuple[Member, ...]:
    """The files that `names_in` names. Raises as it does."""
    try:
        seen = archive.stat()
        if not archive.is_file():
            raise OSError("it is no regular file")
        return _members_of(archive, seen.st_mtime_ns, seen.st_size)
    except UNREADABLE as error:
        raise damaged(archive, error) from error


@lru_cache(maxsize=8)
def _members_of(archive: Path, _changed_ns: int, _size: int) -> tuple[Member, ...]:
    members = sorted(_in_tar(archive) if archive.suffix.lower() == ".tar" else _in_zip(archive))
    for member in members:
        if member.size > limits.DOCUMENT_BYTES and member.name.lower().endswith(limits.DOCUMENT_ENDINGS):
            raise too_large(f"{archive}/{member.name}")
    if odd := _odd_name([member.name for member in members]):
        raise InputError(f"{archive} holds {odd}, of which programs read different files: pack it again")
    return tuple(
        member for member in members if not any(part.startswith((".", "__MACOSX")) for part in member.name.split("/"))
    )


def _odd_name(names: list[str]) -> str:
    """A name that stands twice in a sorted list, or is written otherwise than another would be; "" where none is."""
    twice = next((f"{name} twice" for name, after in pairwise(names) if name == after), "")
    return twice or next((name for name in names if {"", ".", ".."} & set(name.split("/"))), "")


def _in_zip(archive: Path) -> list[Member]:
    with _Bounded(archive) as file, zipfile.ZipFile(file) as opened:
        members = opened.infolist()
    if len(members) > limits.MEMBERS:
        raise too_many(archive, f"{limits.MEMBERS} files")
    return [Member(member.filename, member.file_size, member.CRC) for member in members if not member.is_dir()]


def _in_tar(archive: Path) -> list[Member]:
    """Links in it lead nowhere, and are none of its files."""
    members = []
    with tarfile.open(archive, "r:") as opened:
        for number, member in enumerate(opened):
            if number >= limits.MEMBERS:
                raise too_many(archive, f"{limits.MEMBERS} files")
            if "path" in member.pax_headers:
                raise InputError(
                    f"{archive} has long names in a form (pax) in which GDAL finds none of them; unpack it, or make it "
                    "anew with tar --format=gnu"
                )
            if member.isreg():
                members.append(Member(member.name.removeprefix("./"), member.size))
    return members


@contextmanager
def opened(archive: Path, name: str) -> Iterator[IO[bytes]]:
    """A file of an archive, to read; where it is none, one of `UNREADABLE`."""
    names_in(archive)  # within bounds
    if archive.suffix.lower() != ".tar":
        with zipfile.ZipFile(archive) as zipped, zipped.open(name) as file:
            yield file
        return
    with tarfile.open(archive, "r:") as tar:
        try:
            member = tar.getmember(name)
        except KeyError:
            member = tar.getmember(f"./{name}")
        content = tar.extractfile(member)
        if content is None:
            raise OSError("it is no regular file")
        with content:
            yield content


class _Bounded(io.FileIO):
    """An archive whose list of files is read, which is read at once."""

    def read(self, size: int | None = -1) -> bytes:
        if size and size > limits.DIRECTORY_BYTES:
            raise too_many(Path(os.fsdecode(self.name)), f"{limits.DIRECTORY_BYTES >> 20} MB of names of files")
        return super().read(size)


def too_large(document: object) -> InputError:
    """The error for a document that nobody delivers."""
    return InputError(
        f"{document} has more than {limits.DOCUMENT_BYTES >> 20} MB; documents beside images have less: fetch or "
        "export it again"
    )


def too_many(path: Path, what: str) -> InputError:
    return InputError(f"{path} holds more than {what}; give the file itself that is meant, or an order at a time")


def damaged(path: Path, error: BaseException) -> InputError:
    """The error for a file or an archive that cannot be read."""
    if isinstance(error, FileNotFoundError):
        return InputError(f"{path} does not exist; a file that is there is needed: check the path")
    if isinstance(error, PermissionError):
        return InputError(f"{path} cannot be read ({error.strerror}); see to its permissions, or give another file")
    return InputError(
        f"{path.name} is damaged or cut short ({' '.join(str(error).split())[:120]}); a whole one is needed: "
        "fetch it again"
    )
