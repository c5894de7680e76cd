"""Where a raster is: on disk, in an archive, within a file of several variables, or at an address.

Users write paths, `zip://ARCHIVE!FILE`, `/vsizip/...`, `netcdf:FILE:VARIABLE`, `https://...`, `s3://...` and the like;
GDAL has its own names for the same. A `Source` knows both, and what a message or a product may say of it: addresses
carry passwords and signatures, which are shown nowhere.
"""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import lru_cache
from itertools import islice
from pathlib import Path, PurePosixPath
from typing import IO
from urllib.parse import parse_qs, unquote

from cloudfree.errors import InputError, without_secrets
from cloudfree.inputs import limits
from cloudfree.inputs.location import archive as archives
from cloudfree.inputs.location.archive import FILE_SYSTEMS, UNREADABLE, damaged, names_in, too_large, too_many
from cloudfree.inputs.location.names import (
    REMOTE,
    is_like_address,
    percent_encoded,
    refuse_long_path,
    refuse_odd_name,
    refuse_unknown_scheme,
)

log = logging.getLogger(__name__)

DRIVERS = ("netCDF", "HDF5")
"""GDAL's drivers for files of several variables; in capitals, the prefixes of addresses of one variable."""

_IN_ARCHIVES = tuple(f"/{system}/{{" for system in FILE_SYSTEMS.values())
_LOST_SLASH = re.compile(r"^([a-z][a-z0-9+.-]+):/+", re.IGNORECASE)
_QUOTED = re.compile(r'^\w+:"([^"]+)"')
_SEVERAL_LEVELS = 5  # of folders, in which a container's files are looked for


class Source:
    """Where a raster or a container of rasters is. Immutable, and equal to another of the same `address`.

    `address` is what GDAL opens. `file` is the file on disk that holds it, if any: itself, its archive, its file of
    several variables. `inside` is its place in that, "" for the file itself. `str` has no secrets. It is no dataclass,
    so that `asdict` of options does not show an address.
    """

    __slots__ = ("_shown", "address", "file", "inside")

    def __init__(self, address: str, shown: str, file: Path | None = None, inside: str = "") -> None:
        self.address, self.file, self.inside = address, file, inside
        self._shown = shown if file else without_secrets(shown)

    @classmethod
    def of(cls, path: AnyPath) -> Source:
        """The source that a user wrote: as a path, or as an address in the way of the web, rasterio or GDAL.

        Raises InputError for addresses of an unknown kind, and for names that no file can have.
        """
        if isinstance(path, Source):
            return path
        text = os.fspath(path)
        refuse_odd_name(text)
        if isinstance(path, Path) and not os.path.exists(text):  # noqa: PTH110 - Path's fails for what is no name
            text = _LOST_SLASH.sub(r"\1://", text)  # Path makes one slash of two
        for pattern, source in _FORMS:
            if match := pattern.match(text):
                return source(match)
        if not isinstance(path, Path) or "://" in text:
            refuse_unknown_scheme(text)
        refuse_long_path(text)
        path = Path(text).absolute() if is_like_address(text) else Path(text)
        return cls(str(path), str(path), path)

    @classmethod
    def member(cls, archive: Path, name: str) -> Source:
        """A file, or a folder, of an archive on disk; the archive itself where `name` is empty."""
        name = name.strip("/")
        if not name:
            return cls.of(archive)
        system = FILE_SYSTEMS.get(archive.suffix.lower(), "vsizip")
        return cls(f"/{system}/{{{archive.resolve()}}}/{name}", f"{archive}/{name}", archive, name)

    def variable(self, driver: str, name: str) -> Source:
        """One variable of this file, by one of `DRIVERS` and its name."""
        path = f"//{name.lstrip('/')}" if driver == "HDF5" else name
        address = f'{driver.upper()}:"{self.address}":{path}'
        return Source(address, f"{self}:{name.lstrip('/')}", self.file, name)

    def made_of(self, address: str) -> Source:
        """A raster that GDAL makes of parts of this file, under this file's name."""
        return Source(address, self._shown, self.file, self.inside)

    def __str__(self) -> str:
        return self._shown

    def __repr__(self) -> str:
        return f"Source({self._shown!r})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Source) and self.address == other.address

    def __hash__(self) -> int:
        return hash(self.address)

    @property
    def name(self) -> str:
        return Path(self._shown).name or self._shown

    @property
    def stem(self) -> str:
        """The name without its suffix; for a variable, the variable's name."""
        return PurePosixPath(self.inside).name if self.is_variable else Path(self._shown).stem

    @property
    def suffix(self) -> str:
        """In lower case, with its dot; "" for a variable."""
        return "" if self.is_variable else Path(self._shown).suffix.lower()

    @property
    def as_written(self) -> str:
        """How a user can write it."""
        if self.is_variable:
            return f"{self.address.partition(':')[0].lower()}:{self.file or '...'}:{self.inside.lstrip('/')}"
        if not self.is_archived:
            return self._shown
        is_zip = self.address.startswith("/vsizip/")
        return f"zip://{self.file}!{self.inside}" if is_zip else f"/vsitar/{self.file}/{self.inside}"

    # --- where it is ---

    @property
    def plain(self) -> Path | None:
        """Itself as a path, where it is a file or folder on disk."""
        whole = self.file is not None and not self.inside and self.address == str(self.file)
        return self.file if whole else None

    @property
    def url(self) -> str | None:
        """The address of a file on a web server, secrets included; None for other sources."""
        prefix = "/vsicurl/"
        return self.address.removeprefix(prefix) if self.address.startswith(prefix) else None

    @property
    def is_remote(self) -> bool:
        return self.file is None

    @property
    def is_variable(self) -> bool:
        return self.address.startswith(tuple(f"{driver.upper()}:" for driver in DRIVERS))

    @property
    def is_stack(self) -> bool:
        """Whether it is a virtual raster of our own (`stacked`), whose address is its XML."""
        return self.address.startswith("<VRTDataset")

    @property
    def container(self) -> Source:
        """The file that a variable is in; of all else itself."""
        match = _QUOTED.search(self.address) if self.is_variable else None
        return Source.of(match[1]) if match else self

    @property
    def is_archived(self) -> bool:
        return self.file is not None and self.address.startswith(_IN_ARCHIVES)

    @property
    def is_archive(self) -> bool:
        return not (self.is_variable or self.is_stack) and self.suffix in FILE_SYSTEMS

    @property
    def is_folder(self) -> bool:
        """Whether there are files in it: a folder, also of an archive, or an archive on disk."""
        if self.plain:
            return is_dir(self.plain) or (self.is_archive and is_file(self.plain))
        if not self.is_archived:
            return False
        return any(name.startswith(f"{self.inside}/") for name in self._names())

    @property
    def exists(self) -> bool:
        """Whether it is there, as far as can be seen without opening it."""
        if self.is_archived and not self.is_variable:
            return self.is_folder or self.inside in self._names()
        return self.file is None or is_there(self.file)

    def resolved(self) -> Source:
        """The same without links."""
        return Source.of(self.plain.resolve()) if self.plain else self

    # --- what is in it and beside it ---

    def beside(self) -> list[Source]:
        """The files in its folder, on disk or in an archive; none at an address, which cannot be listed."""
        if self.plain:
            folder = self.plain.parent
            if not is_dir(folder) or not _can_be_listed(folder):
                return []
            return [Source.of(path) for path in sorted(_listed(folder)) if is_file(path)]
        if not self.is_archived or self.is_variable:
            return []
        folder_inside = PurePosixPath(self.inside).parent
        return [self._member(name) for name in self._names() if PurePosixPath(name).parent == folder_inside]

    def files(self, levels: int = _SEVERAL_LEVELS) -> list[Source]:
        """All files in a folder and in the folders within, down to so many `levels`; or all files in an archive.

        Raises InputError for more than a container has.
        """
        if not self.plain:
            return [self._member(name) for name in self._names() if name.startswith(f"{self.inside}/")]
        if is_file(self.plain):
            return [self._member(name) for name in self._names()]
        try:
            paths = sorted(islice(_below(self.plain, levels), limits.FOLDER_FILES + 1))
        except OSError as error:
            raise InputError(
                f"{Path(error.filename)} cannot be listed ({error.strerror}); see to its permissions, or give the file "
                "itself"
            ) from error
        if len(paths) > limits.FOLDER_FILES:
            raise too_many(self.plain, f"{limits.FOLDER_FILES} files")
        return [Source.of(path) for path in paths]

    def with_ending(self, ending: str) -> Source:
        """The file of the same name with another ending, in the same place."""
        if self.is_archived:
            return self._member(str(PurePosixPath(self.inside).with_suffix(ending)))
        assert self.plain
        return Source.of(self.plain.with_suffix(ending))

    def read_bytes(self, first: int | None = None) -> bytes:
        """The content of a document on disk or in an archive, or so many bytes from the start of any file.

        Raises InputError where it is no file, and for a document that is larger than any.
        """
        assert self.file
        try:
            with self.opened() as file:
                content = file.read(limits.DOCUMENT_BYTES + 1 if first is None else first)
        except UNREADABLE as error:
            raise damaged(self.file, error) from error
        if first is None and len(content) > limits.DOCUMENT_BYTES:
            raise too_large(self)
        return content

    @contextmanager
    def opened(self) -> Iterator[IO[bytes]]:
        """A file on disk or in an archive, to read; where it is none, one of several errors."""
        assert self.file
        if not is_file(self.file) and self.file.exists():
            raise OSError("it is no regular file")
        if self.plain:
            with self.plain.open("rb") as file:
                yield file
            return
        assert self.is_archived
        with archives.opened(self.file, self.inside) as file:
            yield file

    def _member(self, name: str) -> Source:
        assert self.file
        return Source.member(self.file, name)

    def _names(self) -> tuple[str, ...]:
        assert self.file
        return names_in(self.file)


AnyPath = str | Path | Source


def is_dir(path: Path) -> bool:
    """Whether it is a folder, as far as permissions tell: Path's own fails where they do not."""
    return os.path.isdir(path)  # noqa: PTH112


def is_file(path: Path) -> bool:
    """Whether it is a file, as far as permissions tell."""
    return os.path.isfile(path)  # noqa: PTH113


def is_there(path: Path) -> bool:
    """Whether a path leads to anything, or may do so behind what must not be entered: opening it tells."""
    try:
        return path.exists()
    except OSError:
        return True


def refuse_closed(folder: Path) -> None:
    """Raise OSError for a folder that cannot be listed, or not be entered though its names are told."""
    os.scandir(folder).close()
    os.stat(f"{folder}/.")  # noqa: PTH116 - Path drops the dot


def _listed(folder: Path) -> Iterator[Path]:
    """What is in a folder, but for names that are no UTF-8: they belong to nothing that could be read."""
    refuse_closed(folder)
    return (path for path in folder.iterdir() if path.name.isascii() or _is_utf8(path.name))


@lru_cache(maxsize=64)
def _can_be_listed(folder: Path) -> bool:
    """With a warning, once, where it cannot: a mask that lies there is not found."""
    try:
        refuse_closed(folder)
    except OSError as error:
        log.warning("%s cannot be listed (%s): a UDM2 or metadata in it are not found", folder, error.strerror)
        return False
    return True


def _is_utf8(name: str) -> bool:
    return not any("\ud800" <= letter <= "\udfff" for letter in name)


def _below(folder: Path, levels: int) -> Iterator[Path]:
    # Not the whole tree: a user may have pointed at all there is on a disk.
    for path in _listed(folder):
        if path.name.startswith("."):
            continue
        if is_file(path):
            yield path
        elif levels and is_dir(path):
            yield from _below(path, levels - 1)


# --- how addresses are written ---


def _of_zip_scheme(match: re.Match[str]) -> Source:
    """As rasterio writes it: zip://ARCHIVE!FILE, zip+https://HOST/ARCHIVE!FILE."""
    scheme, archive, inner = (match["scheme"] or "").lower(), match["archive"], (match["inner"] or "").strip("/")
    if not scheme:
        return Source.member(Path(archive), inner)
    whole = Source.of(f"{scheme}://{archive}")
    return Source(f"/vsizip/{{{whole.address}}}/{inner}", f"{whole}/{inner}".rstrip("/"))


def _of_vsizip(match: re.Match[str]) -> Source:
    """As GDAL writes it: /vsizip/ARCHIVE/FILE, /vsizip/{ARCHIVE}/FILE."""
    archive, inner = match["braced"] or match["archive"], match["inner"] or ""
    if re.match(r"/?vsi", archive):
        beneath = Source.of("/" + archive.lstrip("/"))
        return Source(match[0], f"{beneath}/{inner}".rstrip("/"))
    return Source.member(Path(archive), inner)


def _of_variable(match: re.Match[str]) -> Source:
    """One variable of a file: netcdf:FILE:VARIABLE, HDF5:"FILE"://GROUP/VARIABLE."""
    driver = next(driver for driver in DRIVERS if driver.upper() == match["driver"].upper())
    return Source.of(match["quoted"] or match["file"]).variable(driver, match["variable"])


def _of_remote(match: re.Match[str]) -> Source:
    scheme, written = match["scheme"].lower(), match["rest"]
    rest = percent_encoded(written) if scheme in ("http", "https", "ftp") else written
    shown = without_secrets(f"{scheme}://{rest}")
    return Source(REMOTE[scheme] + rest, shown.replace("%20", " ") if " " in written else shown)


def _of_vsi(match: re.Match[str]) -> Source:
    """Other file systems of GDAL's; `file` is the first file on disk along the name, if there is one."""
    text = match[0]
    refuse_unknown_scheme(text)
    if text.startswith("/vsicurl?"):
        return Source(text, "".join(parse_qs(text.partition("?")[2]).get("url", ["/vsicurl?"])))
    for scheme, prefix in REMOTE.items():
        if text.startswith(prefix):
            return Source(text, f"{scheme}://{text.removeprefix(prefix)}")
    rest = Path(re.sub(r"^/vsi[a-z0-9_]+/", "", text).replace("{", "").replace("}", ""))
    file = next((path for path in (rest, *rest.parents) if is_file(path)), None)
    if file and text.startswith(("/vsizip/", "/vsitar/")) and file.suffix.lower() in FILE_SYSTEMS:
        return Source.member(file, rest.relative_to(file).as_posix().strip("."))
    return Source(text, text.partition("?")[0], file, text)


def _of_file_scheme(match: re.Match[str]) -> Source:
    """A file by its address, in which `%20` is a space, and a query or a fragment says nothing of a file."""
    return Source.of(Path(unquote(match["path"])))


_FORMS: tuple[tuple[re.Pattern[str], Callable[[re.Match[str]], Source]], ...] = (
    (re.compile(r"^zip(?:\+(?P<scheme>\w+))?://(?P<archive>[^!]+)(?:!(?P<inner>.*))?$", re.IGNORECASE), _of_zip_scheme),
    (
        re.compile(r"^/vsizip/(?:\{(?P<braced>[^}]+)\}|(?P<archive>.+?\.zip))(?:/(?P<inner>.*))?$", re.IGNORECASE),
        _of_vsizip,
    ),
    (
        re.compile(
            rf'^(?P<driver>{"|".join(DRIVERS)}):(?:"(?P<quoted>[^"]+)"|(?P<file>.+?)):(?P<variable>/*[^:"]+)$',
            re.IGNORECASE,
        ),
        _of_variable,
    ),
    (re.compile(rf"^(?P<scheme>{'|'.join(REMOTE)})://(?P<rest>.+)$", re.IGNORECASE), _of_remote),
    (re.compile(r"^file://(?:localhost)?(?P<path>/[^?#]+)(?:[?#].*)?$", re.IGNORECASE), _of_file_scheme),
    (re.compile(r"^/vsi[a-z0-9_]+[/?].*$", re.IGNORECASE), _of_vsi),
)
"""Forms of addresses, and the source of a match; whatever has none of them is a path."""
