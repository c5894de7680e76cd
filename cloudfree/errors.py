"""The one family of failures that a user can cause and mend, and what is only warned of.

A message has three parts: what was found, what is allowed, what to do. Anything else that escapes is a bug, and shows
its traceback.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import unquote

import click

UNPARSABLE = (ValueError, LookupError, SyntaxError, RecursionError, OverflowError, MemoryError)
"""What parsers of JSON, TOML, XML and numbers raise for text that is damaged, too deep, or too large.

ElementTree's ParseError is a SyntaxError, and a LookupError is an encoding that Python does not know.
"""

_ADDRESS = re.compile(r"""(?<![\w+.-])[a-z][a-z0-9+.-]+(?::|%3a)(?:/|%2f){1,2}[^\s'"<>]*""", re.IGNORECASE)
_USER = re.compile(r"""(?<![\w.])[\w.%+-]+:[^\s/'"<>@]+@(?=\w)""")  # as ssh writes it, without a scheme
_GDAL_OPTIONS = re.compile(r"""(/vsi\w+[^\s?'"<>]*?)(\?|key=)[^\s'"<>]*""", re.IGNORECASE)
_PARTS = re.compile(r"(?P<scheme>[^:]+:)(?P<slashes>/{1,2})(?P<authority>[^/?#]*)(?P<path>[^?#]*)")
_HOST = re.compile(r"([^:\[\]]*|\[[^\]]*\])(:\d*)?")


def without_secrets(text: str) -> str:
    """A text in which addresses have scheme, host and path alone: passwords, keys and signatures are in the rest."""
    text = _ADDRESS.sub(lambda match: _open_part(match[0]), text)
    return _GDAL_OPTIONS.sub(r"\1", _USER.sub("", text))


def _open_part(address: str) -> str:
    """What may be shown of one address, and the punctuation behind it."""
    bare = address.rstrip(".,;:)]")
    if not (parts := _PARTS.match(bare if ":/" in bare else unquote(bare))):
        return address
    authority, path = parts["authority"], re.sub(r";[^/]*", "", parts["path"])
    if "@" not in authority and ":" in authority and "@" in path:  # a password may have a slash
        authority, slash, path = path.rpartition("@")[2].partition("/")
        path = slash + path
    host = authority.rpartition("@")[2]
    host = host if _HOST.fullmatch(host) else "..."  # what begins like a port may be a password with a ? or #
    return f"{parts['scheme']}{parts['slashes']}{host}{path}{address[len(bare) :]}"


def in_one_line(text: str) -> str:
    """A text with control characters and line breaks escaped: names and tags of files could forge lines of a log."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in text)


def showable(text: str) -> str:
    """A text as messages and logs may show it: in one line, and without secrets of addresses."""
    return in_one_line(without_secrets(text))


class CloudfreeError(click.ClickException):
    """A known failure: one line on stderr and exit status 1. Library callers catch it like any exception."""

    def __init__(self, message: str) -> None:
        super().__init__(showable(message))

    def __str__(self) -> str:
        return self.message


class InputError(CloudfreeError):
    """A file that is missing, unreadable, or not what it was given as."""


class GridError(CloudfreeError):
    """Grids that cannot be brought together: no CRS, disjoint footprints, unequal shapes."""


class CoregistrationError(CloudfreeError):
    """A reliable offset was required and could not be had."""


class WeightsError(CloudfreeError):
    """Weights that are unknown, corrupt, or of another architecture."""


class DeviceError(CloudfreeError):
    """A compute device that is absent, or too small for the smallest tile."""


class OutputError(CloudfreeError):
    """A target that exists, is an input, cannot be written, or did not come out valid."""


@contextmanager
def warnings_heard() -> Iterator[list[str]]:
    """What the package warns of in its log while the block lasts, in order, each once."""
    logger, told = logging.getLogger("cloudfree"), list[str]()
    listener = _Listener(alone=not logger.hasHandlers())
    logger.addHandler(listener)
    try:
        yield told
    finally:
        logger.removeHandler(listener)
        told += listener.heard


class _Listener(logging.Handler):
    """Keeps warnings. Where it is `alone`, as without any logging set up, they go to stderr as without it."""

    def __init__(self, alone: bool) -> None:
        super().__init__(logging.WARNING)
        self.heard: dict[str, None] = {}
        self._alone = alone

    def emit(self, record: logging.LogRecord) -> None:
        self.heard.setdefault(record.getMessage())
        if self._alone and logging.lastResort:
            logging.lastResort.handle(record)
