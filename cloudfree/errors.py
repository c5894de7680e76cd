"""The one family of failures that a user can cause and mend, and what is only warned of.

A message has three parts: what was found, what is allowed, what to do. Anything else that escapes is a bug, and shows
its traceback.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager

import click


def in_one_line(text: str) -> str:
    """A text with control characters and line breaks escaped: names and tags of files could forge lines of a log."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in text)


class CloudfreeError(click.ClickException):
    """A known failure: one line on stderr and exit status 1. Library callers catch it like any exception."""

    def __init__(self, message: str) -> None:
        super().__init__(in_one_line(message))

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
