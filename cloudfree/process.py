"""How a process of our own uses memory and cores. Commands settle it; the library leaves its caller's process alone."""

from __future__ import annotations

import ctypes
import os

_M_TRIM_THRESHOLD, _M_MMAP_MAX = -1, -4  # of glibc's malloc.h
_SPINS = "10000"


def settle() -> None:
    """To be called before torch is imported. What the environment says of waiting threads stands."""
    _keep_freed_memory()
    _wait_briefly()


def _keep_freed_memory() -> None:
    """Have glibc keep what is freed for whoever asks next: pages fresh from the system cost as much as arithmetic."""
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):  # another C library: its ways are its own
        return
    mallopt(_M_MMAP_MAX, 0)
    mallopt(_M_TRIM_THRESHOLD, 1 << 30)


def _wait_briefly() -> None:
    """Have torch's idle threads spin for microseconds, not milliseconds: reading and writing want their cores."""
    if "OMP_WAIT_POLICY" not in os.environ:
        os.environ.setdefault("GOMP_SPINCOUNT", _SPINS)
