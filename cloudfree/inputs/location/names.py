"""Names of files and addresses as users and lists write them: those that nothing can read are refused in one line."""

from __future__ import annotations

import os
import re
import sys
from pathlib import Path
from urllib.parse import quote

from cloudfree.errors import InputError

REMOTE = {
    **{scheme: f"/vsicurl/{scheme}://" for scheme in ("http", "https", "ftp")},
    **{"s3": "/vsis3/", "gs": "/vsigs/", "az": "/vsiaz/", "adl": "/vsiadls/", "oss": "/vsioss/"},
}
"""Schemes of addresses, and what GDAL calls what lies there."""

FILE_SYSTEMS = ("zip", "tar", "gzip", "7z", "rar", "mem", "curl", "s3", "gs", "az", "adls", "oss", "swift", "hdfs")
"""GDAL's file systems (/vsizip/) that may be named. Others wait for what is typed, take a part of a file for the whole,
or read any file for its options."""

_ALLOWED = (
    f"paths, zip://, file://, netcdf:FILE:VARIABLE, hdf5:FILE:VARIABLE, {'://, '.join(REMOTE)}:// and /vsiNAME/ of "
    f"{', '.join(FILE_SYSTEMS)}"
)
_SCHEME = re.compile(r"[a-z][a-z0-9_+.-]+(?=:)", re.IGNORECASE)  # a letter alone is a drive of Windows
_FILE_SYSTEM = re.compile(r"/vsi([a-z0-9_]*)(?=[/?])", re.IGNORECASE)
_IN_NO_ADDRESS = re.compile(r"""[\s'"<>]""")
_LONGEST_NAME, _LONGEST_PATH = 255, 4095  # bytes, of Linux


def refuse_odd_name(text: str) -> None:
    """Raise InputError for a name that no file can have, or that GDAL and products cannot hold: they are UTF-8."""
    encoding = sys.getfilesystemencoding()
    if encoding != "utf-8" and not text.isascii():
        raise InputError(
            f"the name {text} has letters beyond ASCII, and Python takes names of files for {encoding} here; they are "
            "UTF-8: set PYTHONUTF8=1, or a locale of UTF-8 (LC_ALL=C.UTF-8)"
        )
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise InputError(f"the name {text} is no UTF-8; names in UTF-8 are needed: rename it") from error
    if "\0" in text:
        raise InputError(f"the name {text} has a NUL in it; no file has: give another")


def refuse_long_path(text: str) -> None:
    """Raise InputError for a path that is too long for the system."""
    longest = max(len(part.encode()) for part in text.split("/"))
    if longest > _LONGEST_NAME or len(text.encode()) > _LONGEST_PATH:
        raise InputError(
            f"the path {text[:80]}... has a name of {longest} bytes and {len(text.encode())} in all; up to "
            f"{_LONGEST_NAME} and {_LONGEST_PATH} are allowed: give another"
        )


def is_like_address(path: str) -> bool:
    """Whether GDAL would take a relative path for an address, were there a file of that name or not: `https:host`."""
    return bool(_SCHEME.match(path))


def refuse_unknown_scheme(text: str) -> None:
    """Raise InputError for what is written like an address of a kind that is not known, unless there is such a file."""
    scheme, system = _SCHEME.match(text), _FILE_SYSTEM.match(text)
    known = system and system[1] in FILE_SYSTEMS
    if not (scheme or system) or known or os.path.exists(text):  # noqa: PTH110 - Path's fails for what is no name
        return
    found = f"{scheme[0]}:" if scheme else f"{system[0]}/" if system else ""
    raise InputError(
        f"{found} begins no known kind of address, and no file is called so (it does not exist); allowed are "
        f"{_ALLOWED}: give one of these"
    )


def percent_encoded(address: str) -> str:
    """The rest of an address without what none may have: where it ends could not be told in GDAL's words."""
    return _IN_NO_ADDRESS.sub(lambda match: quote(match[0]), address)


def local_file(path: str | os.PathLike[str]) -> Path:
    """The path of a file on this machine, to be read or written. Raises InputError for addresses and odd names."""
    text = os.fspath(path)
    refuse_odd_name(text)
    refuse_long_path(text)
    if path == "-":  # a path of this name is of a file
        raise InputError(
            "- stands for standard input or output; a file is needed: give a path (./- is one of this name)"
        )
    scheme, system = _SCHEME.match(text), _FILE_SYSTEM.match(text)
    if scheme and (text[scheme.end() :].startswith(":/") or scheme[0].lower() in REMOTE):
        raise InputError(f"{scheme[0]}: begins an address; a file on this machine is needed: give a path")
    if system and not os.path.exists(text):  # noqa: PTH110 - Path's fails for what is no name
        raise InputError(f"{system[0]}/ begins an address of GDAL's; a file on this machine is needed: give a path")
    return Path(path)


def local_output(path: str | os.PathLike[str]) -> Path:
    """The path of a file to be written. Raises InputError for a folder by its name, too."""
    text = os.fspath(path)
    if isinstance(path, str) and (text.endswith(("/", os.sep)) or re.search(r"(?:^|[/\\])\.{1,2}$", text)):
        raise InputError(f"{text} is a folder; a file is needed: add a file name")
    return local_file(path)
