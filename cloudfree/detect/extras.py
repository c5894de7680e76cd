"""Packages that a user may have installed beside this one."""

from __future__ import annotations

import importlib
from types import ModuleType

from cloudfree.errors import CloudfreeError


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
