"""The one family of failures that a user can cause and mend.

A message has three parts: what was found, what is allowed, what to do. Anything else that escapes is a bug, and shows
its traceback.
"""

from __future__ import annotations

import click


class CloudfreeError(click.ClickException):
    """A known failure: one line on stderr and exit status 1. Library callers catch it like any exception."""

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
