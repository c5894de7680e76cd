"""How a process of our own uses memory and cores, and which data its libraries read.

Commands tune it; the library leaves its caller's process alone.
"""

from __future__ import annotations

import atexit
import ctypes
import gc
import math
import os
import signal
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from importlib.util import find_spec
from pathlib import Path
from threading import Timer
from types import FrameType
from typing import NoReturn

from cloudfree.errors import CloudfreeError

_ADDRESS_SPACE = 2 * 10**9  # bytes; the sample scene needs 1.8 GB, and 1.5 ends in words of torch's or OpenBLAS'
_M_TRIM_THRESHOLD, _M_MMAP_MAX, _M_ARENA_MAX = -1, -4, -8  # of glibc's malloc.h
_PR_SET_PDEATHSIG = 1  # of Linux's prctl.h
_SPINS = "10000"
_GRACE_S = 10.0  # in which what was begun is removed
_NEW_OBJECTS = 10_000  # after which garbage is looked for; Python's own 700 is soon reached
_CGROUPS, _OWN_CGROUP = Path("/sys/fs/cgroup"), Path("/proc/self/cgroup")
_CONTAINER_LIMIT = _CGROUPS / "memory.max"
_MOST_THREADS = 8
_OWN_DATA = {"PROJ_DATA": ("proj_data", "proj.db"), "PROJ_LIB": ("proj_data", "proj.db")}
_OWN_DATA |= {"GDAL_DATA": ("gdal_data", "gdalvrt.xsd")}
"""Variables that lead PROJ and GDAL to their data, the folder in rasterio that they would have without, and a file that
is there in any version."""

_MORE_DATABASES, _SQLITE = "PROJ_AUX_DB", b"SQLite format 3\0"
"""The variable that gives PROJ more databases, which fails on import where one is none; and how each begins."""


def tune() -> None:
    """To be called before torch is imported. What the environment says of threads stands."""
    _keep_freed_memory()
    _wait_briefly()
    _start_few_threads()
    _collect_seldom()


def leave_data_of_others() -> list[str]:
    """Take out of the environment what leads rasterio to the data of another PROJ or GDAL, and return why, in lines.

    To be called before rasterio is imported. One without data of its own, as systems build it, is left as it is.
    """
    left = []
    for name in (*_OWN_DATA, _MORE_DATABASES):
        if os.environ.get(name) == "":  # as good as none, and libraries look in the folder "" for it
            del os.environ[name]
    if flawed := [
        path for path in os.environ.get(_MORE_DATABASES, "").split(os.pathsep) if path and not _is_sqlite(path)
    ]:
        left.append(
            f"{_MORE_DATABASES} is {os.environ.pop(_MORE_DATABASES)!r}, and {flawed[0]} is no database that can be "
            f"read; it is left out: unset {_MORE_DATABASES}"
        )
    for name, (folder, needed) in _OWN_DATA.items():
        if name not in os.environ or not (own := _within_rasterio(folder, needed)):
            continue
        if why := _flaw_of_data(os.environ[name], own):
            left.append(f"{name} is {os.environ[name]!r}, {why}; rasterio's own data is used: unset {name}")
            del os.environ[name]
    return left


def led_to_data() -> str:
    """The variables that lead PROJ to its data, and where to, in words; empty where there are none."""
    return " and ".join(f"{name} is {os.environ[name]!r}" for name in ("PROJ_DATA", "PROJ_LIB") if name in os.environ)


def _within_rasterio(folder: str, name: str) -> Path | None:
    spec = find_spec("rasterio")
    places = [Path(place) / folder / name for place in (spec and spec.submodule_search_locations) or ()]
    return next((path for path in places if path.is_file()), None)


def _flaw_of_data(folders: str, own: Path) -> str:
    """Why rasterio cannot use data of others, if so, which is to do for its own: PROJ refuses an older database."""
    found = next((path for path in (Path(one) / own.name for one in folders.split(os.pathsep)) if path.is_file()), None)
    if found is None:
        return f"which has no {own.name}"
    if own.suffix != ".db":
        return ""
    layout, needed = _proj_layout(found), _proj_layout(own)
    if layout[:1] == needed[:1] and layout >= needed:
        return ""
    shown = f"layout {'.'.join(map(str, layout))}" if layout else "no layout that can be read"
    return f"whose {own.name} is another program's: it has {shown}, and {'.'.join(map(str, needed))} is needed"


def _is_sqlite(path: str) -> bool:
    try:
        with Path(path).open("rb") as file:
            return file.read(len(_SQLITE)) == _SQLITE
    except (OSError, ValueError):
        return False


def _proj_layout(database: Path) -> tuple[int, ...]:
    """The version of the tables of PROJ's database, such as (1, 6); empty where it is damaged or none."""
    import sqlite3  # noqa: PLC0415 - where a variable is set alone

    key = "DATABASE.LAYOUT.VERSION"
    try:
        with closing(sqlite3.connect(f"{database.absolute().as_uri()}?mode=ro&immutable=1", uri=True)) as opened:
            rows = dict(opened.execute("SELECT key, value FROM metadata WHERE key LIKE ?", (f"{key}.%",)).fetchall())
        return int(rows[f"{key}.MAJOR"]), int(rows[f"{key}.MINOR"])
    except (sqlite3.Error, KeyError, ValueError, TypeError):
        return ()


def refuse_little_address_space() -> None:
    """Raise CloudfreeError where a limit on addresses (`ulimit -v`) is below what the libraries take for themselves."""
    try:
        import resource  # noqa: PLC0415 - Unix alone has it
    except ImportError:
        return
    limit, _ = resource.getrlimit(resource.RLIMIT_AS)
    if 0 <= limit < _ADDRESS_SPACE:  # -1 is none
        raise CloudfreeError(
            f"the address space is limited to {limit / 1e9:.2f} GB (ulimit -v); {_ADDRESS_SPACE / 1e9:g} GB are needed "
            "at least, and more for large scenes: raise the limit"
        )


@contextmanager
def ending_after(seconds: float, why: str) -> Iterator[None]:
    """Raise CloudfreeError in the main thread, which enters this, if the block takes more than so many seconds.

    Where it is held up in a library then, which hears of nothing, the process is ended a little later. 0 is no limit,
    and so it is on Windows.
    """
    if not seconds or not hasattr(signal, "SIGALRM"):
        yield
        return

    def end(_number: int, _frame: FrameType | None) -> NoReturn:
        raise CloudfreeError(why)

    def end_at_once() -> None:
        os.write(2, f"Error: {why}\n".encode())
        os._exit(1)

    before, last_resort = signal.signal(signal.SIGALRM, end), Timer(seconds + _GRACE_S, end_at_once)
    last_resort.daemon = True
    last_resort.start()
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
        last_resort.cancel()


def give_back_memory() -> None:
    """Between stages: give the system what was freed, which `tune` keeps for whoever asks next."""
    with suppress(AttributeError, OSError, TypeError):  # another C library: its ways are its own
        ctypes.CDLL(None).malloc_trim(0)


def peak_memory_mb() -> float | None:
    """The most memory (MB) that the process has held so far; None on a system that does not tell, such as Windows."""
    try:
        import resource  # noqa: PLC0415 - Unix alone has it
    except ImportError:
        return None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (1e6 if sys.platform == "darwin" else 1e3)  # bytes there, kilobytes elsewhere


def available_memory_gb() -> float | None:
    """Memory that a new process could have; None where the system does not tell."""
    try:
        lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
        told = {name: int(rest.split()[0]) for name, rest in (line.split(":", 1) for line in lines)}
        return min(told["MemAvailable"] / 1e6, _container_limit_gb())
    except (OSError, KeyError, ValueError):
        return None


def cores() -> int:
    """Cores that this process may use: by its affinity (taskset, Slurm), and by what containers allow of their time."""
    count = _cores_by_affinity()
    return max(1, math.ceil(min(_container_cores(), count)))


def threads() -> int:
    """How many to work beside each other where each holds pixels of its own, so that memory grows with them."""
    return min(cores(), _MOST_THREADS)


def end_with_parent() -> None:
    """Have the system end this process when its parent is gone, killed ones included; on Linux alone."""
    with suppress(AttributeError, OSError, TypeError):
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def _container_limit_gb() -> float:
    """The memory that a container may have in all; infinite outside of one."""
    try:
        return int(_CONTAINER_LIMIT.read_text(encoding="ascii")) / 1e9
    except (OSError, ValueError):  # "max"
        return float("inf")


def _cores_by_affinity() -> int:
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:  # another system
        return os.cpu_count() or 1


def _container_cores() -> float:
    """The cores' time that this process's control group may have, or one above it; infinite without a limit."""
    try:
        own = next(line for line in _OWN_CGROUP.read_text(encoding="utf-8").splitlines() if line.startswith("0::"))
    except (OSError, StopIteration, UnicodeDecodeError):  # another system, or groups of the first version
        return float("inf")
    group = _CGROUPS / own[3:].lstrip("/")
    groups = [group, *(parent for parent in group.parents if parent.is_relative_to(_CGROUPS))]
    return min(map(_quota_of, groups))


def _quota_of(group: Path) -> float:
    try:
        quota, period = map(int, (group / "cpu.max").read_text(encoding="ascii").split())
        return quota / period
    except (OSError, ValueError, ZeroDivisionError):  # "max 100000"
        return float("inf")


def _keep_freed_memory() -> None:
    """Have glibc keep what is freed for whoever asks next: pages fresh from the system cost as much as arithmetic."""
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):  # another C library: its ways are its own
        return
    mallopt(_M_MMAP_MAX, 0)
    mallopt(_M_TRIM_THRESHOLD, 1 << 30)
    mallopt(_M_ARENA_MAX, 1)  # one heap, so that what the thread that reads has freed the one that writes can have


def _wait_briefly() -> None:
    """Have torch's idle threads spin for microseconds, not milliseconds: reading and writing want their cores."""
    if "OMP_WAIT_POLICY" not in os.environ:
        os.environ.setdefault("GOMP_SPINCOUNT", _SPINS)


def _start_few_threads() -> None:
    """Have torch and BLAS start no more threads than a container allows cores: they look at affinity alone."""
    if (count := cores()) < _cores_by_affinity():
        os.environ.setdefault("OMP_NUM_THREADS", str(count))


def _collect_seldom() -> None:
    """Look seldom for cycles of garbage, and not at the end, when the system takes everything back at once.

    Importing torch makes some 200 000 objects that stay; looking through them again and again takes half a second.
    """
    gc.set_threshold(_NEW_OBJECTS)
    atexit.register(gc.freeze)
