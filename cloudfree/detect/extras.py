"""Packages that a user may have installed beside this one."""

from __future__ import annotations

import importlib
from importlib.metadata import PackageNotFoundError, version
from types import ModuleType

from cloudfree.errors import CloudfreeError

_DISTRIBUTIONS = {"omnicloudmask": "omnicloudmask", "csmask": "ukis-csmask"}


def versions(detector: str) -> dict[str, str]:
    """The version of the package that a detector is, by its name; of our own nothing, for it is of this package's."""
    if detector not in _DISTRIBUTIONS:
        return {}
    try:
        return {detector: version(_DISTRIBUTIONS[detector])}
    except PackageNotFoundError:
        return {}


def imported(module: str, extra: str) -> ModuleType:
    """The module. Raises CloudfreeError, which says what to install, where it is missing or lacks what it needs."""
    try:
        return importlib.import_module(module)
    except ImportError as error:
        first = (str(error).splitlines() or [""])[0]
        raise CloudfreeError(
            f"{extra} is not installed ({first}); finding clouds with it needs the package: "
            f"pip install cloudfree[{extra}], or leave --find-clouds-with out"
        ) from error
