"""Locks of the files that a run makes, and removal of what runs that died have left."""

from __future__ import annotations

import hashlib
import os
import shutil
import stat
import time
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from filelock import FileLock, Timeout

from cloudfree.errors import OutputError

LONGEST_NAME = 200
"""Bytes of a name to which more may be added: file systems allow 255."""

_PREFIX, _LOCK = ".cloudfree-", "lock"
_POLL_S = 0.1
_BY_DESCRIPTOR = {os.open, os.unlink} <= os.supports_dir_fd  # not on Windows


@contextmanager
def claimed(targets: Iterable[Path], wait_s: float = 0.0) -> Iterator[dict[Path, Path]]:
    """Yield a hidden folder beside each target, locked for this run until the block ends and removed then.

    A run may claim a target again within the block, and gets the same folder. Waits up to `wait_s` seconds for other
    runs that have claimed a target, then raises OutputError. The lock of a run that dies is free at once, and the next
    run that writes to the same parent folder removes its hidden folder.
    """
    until = time.monotonic() + wait_s
    with ExitStack() as stack:
        # All runs lock in the same order, so that no two wait for each other.
        ordered = sorted(set(targets), key=os.path.realpath)
        folders = {target: stack.enter_context(_claimed(target, until)) for target in ordered}
        for parent in {target.parent for target in ordered}:
            _sweep(parent)
        yield folders


@contextmanager
def _claimed(target: Path, until: float) -> Iterator[Path]:
    folder = _folder_of(target)
    lock = _locked(folder, target, until)
    outermost = lock.lock_counter == 1
    try:
        if outermost:
            with _within(folder) as inside:
                _empty(folder, inside)
        yield folder
    finally:
        if outermost:
            _remove(folder)
        lock.release()


def _folder_of(target: Path) -> Path:
    name = target.name
    if len(name.encode()) > LONGEST_NAME:
        name = hashlib.sha256(name.encode()).hexdigest()
    return target.parent / f"{_PREFIX}{name}"


def _locked(folder: Path, target: Path, until: float) -> FileLock:
    lock = _lock_of(folder)
    while True:
        try:
            folder.mkdir(mode=0o700, exist_ok=True)
        except OSError as error:
            raise _unwritable(target, error) from error
        if not _is_ours(folder):
            raise _not_ours(folder)
        try:
            lock.acquire(timeout=max(0.0, until - time.monotonic()), poll_interval=_POLL_S)
            return lock
        except FileNotFoundError:
            continue  # the run before has removed its folder
        except Timeout as error:
            raise OutputError(
                f"{target} is being made by another run; one at a time is allowed: wait for it (--wait SECONDS), or "
                "give another name"
            ) from error
        except PermissionError as error:
            raise _unwritable(target, error) from error
        except OSError as error:
            raise OutputError(
                f"{target} cannot be locked ({error.strerror}); a file system that has locks is needed: choose "
                "another folder"
            ) from error


def _lock_of(folder: Path) -> FileLock:
    return FileLock(folder.parent.resolve() / folder.name / _LOCK, is_singleton=True)


def _is_ours(folder: Path) -> bool:
    """Whether it is a folder, no link to one, that this user has made: all that lies in it will be deleted."""
    try:
        return _is_own_folder(folder.lstat())
    except FileNotFoundError:
        return True  # the run before has removed it


def _is_own_folder(seen: os.stat_result) -> bool:
    return stat.S_ISDIR(seen.st_mode) and (not hasattr(os, "geteuid") or seen.st_uid == os.geteuid())


def _not_ours(folder: Path) -> OutputError:
    return OutputError(
        f"{folder} is a link, or belongs to someone else; a folder of our own is worked in: remove it, or choose "
        "another folder for the output"
    )


def _unwritable(target: Path, error: OSError) -> OutputError:
    return OutputError(f"the folder {target.parent} cannot be written ({error.strerror}); choose another")


@contextmanager
def _within(folder: Path) -> Iterator[int | None]:
    """Yield a descriptor of a hidden folder, whatever takes its name meanwhile; None on systems that have none.

    Raises OutputError where a link, or a folder of someone else, has taken it already.
    """
    if not _BY_DESCRIPTOR:
        yield None
        return
    try:
        inside = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    except OSError as error:
        raise (_not_ours(folder) if folder.is_symlink() else _unwritable(folder, error)) from error
    try:
        if not _is_own_folder(os.fstat(inside)):
            raise _not_ours(folder)
        yield inside
    finally:
        os.close(inside)


def _empty(folder: Path, inside: int | None) -> None:
    """Delete the files that a run that died has left."""
    for name in os.listdir(folder if inside is None else inside):  # noqa: PTH208 - paths have no descriptors
        if name != _LOCK:
            _delete(folder, name, inside)


def _delete(folder: Path, name: str, inside: int | None) -> None:
    path = folder / name if inside is None else name
    with suppress(FileNotFoundError):
        try:
            os.unlink(path, dir_fd=inside)
        except (IsADirectoryError, PermissionError):  # the latter is what some systems say of folders
            shutil.rmtree(path, dir_fd=inside)


def _remove(folder: Path) -> None:
    """Remove a folder that this run has locked; a run that waits for the lock makes it again.

    The lock file is deleted last: after that, everything in the folder belongs to another run.
    """
    with suppress(OSError, OutputError), _within(folder) as inside:
        _empty(folder, inside)
        _delete(folder, _LOCK, inside)
        folder.rmdir()


def _sweep(parent: Path) -> None:
    """Remove the folders of runs that died: those whose lock is free."""
    for folder in parent.glob(f"{_PREFIX}*"):
        lock = _lock_of(folder)
        if lock.is_locked or not folder.is_dir() or not _is_ours(folder):
            continue
        with suppress(OSError, Timeout):
            if not (folder / _LOCK).exists():
                folder.rmdir()  # fails unless it is empty: a run that is about to lock it makes it anew
                continue
            with lock.acquire(blocking=False):
                _remove(folder)
