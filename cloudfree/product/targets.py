"""The files to be made: checked first, written beside their targets, and moved there together at the end."""

from __future__ import annotations

import errno
import json
import os
import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, TypeVar

from cloudfree.errors import OutputError
from cloudfree.inputs.location.names import refuse_long_path
from cloudfree.inputs.location.source import AnyPath, Source
from cloudfree.product.kinds import ENDINGS, STYLES, Kind
from cloudfree.product.locks import LONGEST_NAME, claimed

_LONGEST_ENDING = 12
_PLACES = (".tfw", ".tifw", ".tiffw", ".wld", ".prj", ".rpb", ".aux.xml", ".tab")  # of files beside a raster
_DISK_ERRORS = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EIO)
_NO_SUCH_CALL = (errno.EINVAL, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP)

Key = TypeVar("Key")


@contextmanager
def staging(targets: Mapping[Key, Path], overwrite: bool, wait_s: float = 0.0) -> Iterator[dict[Key, Path]]:
    """Yield where to write each file, in hidden folders beside the targets.

    All must be written: they are moved to their targets if the block succeeds, and deleted if not. The targets are
    locked meanwhile: see `locks.claimed`, also for `wait_s`.
    """
    with claimed(targets.values(), wait_s) as folders:
        staged = {key: folders[target] / _short(target.name) for key, target in targets.items()}
        try:
            yield staged
        except OSError as error:
            if error.errno not in _DISK_ERRORS:
                raise
            name = next(iter(targets.values())).name
            raise OutputError(
                f"{name} was not finished ({error.strerror}); the disk must take all of it: free space and run again"
            ) from error
        _publish([(staged[key], target) for key, target in targets.items()], overwrite)


def check_targets(targets: Sequence[Path], inputs: Sequence[AnyPath], overwrite: bool) -> None:
    """Raise OutputError for targets that are inputs, hold them, equal each other, exist, or cannot be written."""
    for target in targets:
        refuse_long_path(str(target))
    files = [file for path in inputs if (file := Source.of(path).file)]
    for position, target in enumerate(targets):
        if any(_same(target, file) for file in files):
            raise OutputError(f"{target} is an input; the output must be another file: choose another name")
        if read := next((file for file in files if _is_read_with(target, file)), None):
            raise OutputError(
                f"{target} would be read with {read.name}, an input, from then on; choose another name or folder"
            )
        if any(_same(target, other) for other in targets[:position]):
            raise OutputError(f"{target} is named for two outputs; each needs a file of its own: choose another name")
        _refuse_no_place(target)
    if not overwrite:
        _refuse_existing(targets)


def _refuse_no_place(target: Path) -> None:
    """Raise OutputError for what is there and no file, and for a folder that is none or cannot be written."""
    if target.is_dir():
        raise OutputError(f"{target} is a folder; the output must be a file: add a file name")
    if (target.exists() or target.is_symlink()) and not target.is_file():
        raise OutputError(
            f"{target} is a device, a pipe or a link to nothing, and is kept; an output is a file: choose another name"
        )
    if target.parent.exists() and not target.parent.is_dir():
        raise OutputError(f"{target.parent} is no folder; outputs go into existing folders: choose another")
    if not target.parent.is_dir():
        raise OutputError(f"the folder {target.parent} does not exist; outputs go into existing folders: make it first")
    if not os.access(target.parent, os.W_OK):
        raise OutputError(f"the folder {target.parent} cannot be written; choose another, or change its permissions")


def _is_read_with(target: Path, file: Path) -> bool:
    """Whether a file of that name beside an input says where it lies, or what of it is valid, or is its overviews."""
    name, beside = target.name.lower(), target.parent.resolve() == file.parent.resolve()
    names = {f"{file.name}{ending}" for ending in (".ovr", ".msk", ".aux.xml", ".aux.json")}
    names |= {f"{file.stem}{ending}" for ending in _PLACES}
    return beside and name != file.name.lower() and name in {one.lower() for one in names}


def named(files: Mapping[Kind, Path], inputs: Sequence[AnyPath | None]) -> dict[str, Any]:
    """The files as one user has named them, by their fields: of a link to a file, that file, so that the link stays.

    Styles lie beside their rasters, and are not named.
    Raises OutputError for an ending of another format; of a file that is among the inputs `check_targets` tells more.
    """
    read = [file for path in inputs if path and (file := Source.of(path).file)]
    for kind, path in files.items():
        ending = path.suffix.lower()
        if ending in ENDINGS and ending not in kind.endings and not any(_same(path, file) for file in read):
            raise OutputError(
                f"{path} ends with {path.suffix}, which is another format; --{kind.field.replace('_', '-')} is written "
                f"as {kind.format}: give a name that ends with {' or '.join(kind.endings)}"
            )
    return {kind.field: _followed(path) for kind, path in files.items() if kind not in STYLES.values()}


def _followed(target: Path) -> Path:
    return Path(os.path.realpath(target)) if target.is_symlink() and target.is_file() else target


def _short(name: str) -> str:
    """A name beside which others have room: its beginning and its ending, if it is long."""
    if len(name.encode()) <= LONGEST_NAME:
        return name
    ending = Path(name).suffix
    ending = ending if len(ending) <= _LONGEST_ENDING else ""
    return name.encode()[: LONGEST_NAME - len(ending.encode())].decode(errors="ignore") + ending


def _publish(moves: Sequence[tuple[Path, Path]], overwrite: bool) -> None:
    """Move every file to its target, each in one step, after all are on disk. Raises OutputError."""
    try:
        for staged, _ in moves:
            _sync(staged)
        if not overwrite:
            _refuse_existing(target for _, target in moves)
        with ExitStack() as undoing:  # where one cannot be moved, those before it are taken back
            for staged, target in moves:
                if not target.exists():
                    undoing.callback(target.unlink, missing_ok=True)
                elif staged != moves[-1][0]:
                    undoing.callback(_kept(staged, target).replace, target)
                staged.replace(target)
            undoing.pop_all()
    except OSError as error:
        raise OutputError(
            f"{moves[0][1].name} was not put in its place ({error.strerror}), and what was there is kept; the folder "
            f"must take all of it: free space, or choose another folder than {moves[0][1].parent}"
        ) from error


def _sync(staged: Path) -> None:
    """Wait until a file is on disk, where the file system lets one wait."""
    with staged.open("r+b") as file:
        try:
            os.fsync(file.fileno())
        except OSError as error:
            if error.errno not in _NO_SUCH_CALL:
                raise


def _kept(staged: Path, target: Path) -> Path:
    """Another name for the file at a target, beside its staged successor; a copy where the file system has none."""
    kept = staged.with_name(f"{staged.name}.before")
    try:
        kept.hardlink_to(target)
    except OSError:
        shutil.copy2(target, kept)
    return kept


def _refuse_existing(targets: Iterable[Path]) -> None:
    """Raise OutputError if a target exists."""
    for target in targets:
        if target.exists():
            raise OutputError(f"{target} exists and is kept; give --overwrite to replace it, or another name")


def write_json(path: Path, value: Any) -> None:
    """Write plain data as JSON in UTF-8. Raises ValueError for NaN and infinity, which JSON lacks."""
    path.write_text(json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n", encoding="utf-8")


def _same(a: Path, b: Path) -> bool:
    return os.path.realpath(a) == os.path.realpath(b) or (a.exists() and b.exists() and a.samefile(b))
