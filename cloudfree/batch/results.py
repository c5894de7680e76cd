"""The outcome of each job, and results.csv and results.json, which are rewritten every few seconds.

They keep the outcomes of other batches in the same folder.
"""

from __future__ import annotations

import csv
import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any, Literal, Self, get_args

from cloudfree.bands import RECONSTRUCTED, Qa
from cloudfree.batch.jobs import Job
from cloudfree.errors import UNPARSABLE, OutputError, showable
from cloudfree.inputs.location.source import Source
from cloudfree.product.targets import staging, write_json

Status = Literal["made", "skipped", "failed", "not begun"]

RESULTS = "results.csv", "results.json"

_EVERY_S, _WAIT_S = 5.0, 120.0
_COLUMNS = "planet", "sar", "references", "output", "status", "seconds", "reconstructed_pixels", "error", "warnings"
_CLASSES = {qa.name.lower() for qa in Qa}
_MOST_BYTES, _MOST_WARNINGS, _LONGEST, _LARGEST = 256 << 20, 100, 10_000, 10**15
"""Of results: of the file, of warnings of a scene, of a text, and a number."""
_OF_JOB, _OF_OUTCOME = {field.name for field in fields(Job)}, {"status", "seconds", "error", "warnings"}


@dataclass(frozen=True)
class Outcome:
    """The outcome of a job.

    `status`: made; skipped, because the product was there; failed; or not begun, after too many had failed. `error`:
    one line. `details`: numbers of the run. `warnings`: what was warned of, in order.
    """

    job: Job
    status: Status
    seconds: float = 0.0
    error: str = ""
    details: dict[str, Any] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        """Bound what files may have put into words, so that results can be written, and read again."""
        object.__setattr__(self, "error", _told(self.error))
        object.__setattr__(self, "warnings", tuple(map(_told, self.warnings[:_MOST_WARNINGS])))

    def as_json(self) -> dict[str, Any]:
        """Return plain data for --json and results.json."""
        result = {"status": self.status, "seconds": round(self.seconds, 2), "error": self.error or None}
        return {**replace(self.job, fault="").describe(), **result, "warnings": list(self.warnings), **self.details}

    @classmethod
    def of_json(cls, row: Mapping[str, Any]) -> Self:
        """The outcome that `as_json` has made plain, as far as pages, tables and collections tell of it."""
        sar, references = (
            tuple(Source(name, name) for name in row.get(field) or ()) for field in ("sar", "references")
        )
        job = Job(Source(row["planet"], row["planet"]), sar, Path(row["output"]), references=references)
        details = {name: value for name, value in row.items() if name not in _OF_JOB | _OF_OUTCOME}
        warnings = tuple(map(str, row.get("warnings") or ()))
        return cls(job, row["status"], row["seconds"], row.get("error") or "", details, warnings)

    def as_row(self) -> dict[str, Any]:
        """Return a row of results.csv."""
        pixels = self.details.get("pixels")
        return {
            "planet": _cell(str(self.job.planet)),
            "sar": _cell(";".join(map(str, self.job.sar))),
            "references": _cell(";".join(map(str, self.job.references))),
            "output": _cell(str(self.job.output)),
            "status": self.status,
            "seconds": round(self.seconds, 2),
            "reconstructed_pixels": sum(pixels[qa.name.lower()] for qa in RECONSTRUCTED) if pixels else "",
            "error": _cell(self.error),
            "warnings": _cell(" | ".join(self.warnings)),
        }


def _told(text: str) -> str:
    return showable(text)[:_LONGEST]


def _cell(text: str) -> str:
    """A text that no spreadsheet takes for a formula."""
    return f"'{text}" if text.startswith(("=", "+", "-", "@", "\t", "\r")) else text


@contextmanager
def recording(
    source: Path, folder: Path, done: Callable[[Outcome], None] | None = None
) -> Iterator[Callable[[Outcome], None]]:
    """Yield a function that keeps an outcome of a batch of `source` and calls `done` with it.

    The results in `folder`, which is made if need be, are written every few seconds, and at the end. Raises
    OutputError.
    """
    with _writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
    outcomes, written_s = list[Outcome](), 0.0

    def keep(outcome: Outcome) -> None:
        nonlocal written_s
        outcomes.append(outcome)
        if time.monotonic() - written_s >= _EVERY_S:  # results of ten thousand scenes take long to write
            _write_results(source, folder, outcomes)
            written_s = time.monotonic()
        if done:
            done(outcome)

    try:
        yield keep
    except OutputError:
        outcomes.clear()  # they cannot be written
        raise
    finally:
        if outcomes:
            _write_results(source, folder, outcomes)


def with_earlier(source: Path, folder: Path, outcomes: Sequence[Outcome]) -> list[Outcome]:
    """Outcomes of a batch after those that batches of other sources have left in the results of a folder.

    Of the latter those whose product is in the folder: results may be another's. Raises OutputError.
    """
    earlier = map(Outcome.of_json, _earlier(source, folder, outcomes))
    inside = (one for one in earlier if one.job.output.resolve().is_relative_to(folder.resolve()))
    return [*inside, *outcomes]


def _earlier(source: Path, folder: Path, outcomes: Sequence[Outcome]) -> list[dict[str, Any]]:
    """The rows of other batches. Those go of scenes that are done again, of products that are another scene's now, and,
    where this batch is of a folder, of all scenes in it.
    """
    again = {(str(outcome.job.planet), outcome.job.output.resolve()) for outcome in outcomes}
    taken = {outcome.job.output.resolve() for outcome in outcomes if not outcome.job.fault}
    inside = source.resolve() if source.is_dir() else None

    def stays(row: Mapping[str, Any]) -> bool:
        output = Path(row["output"]).resolve()
        is_inside = inside is not None and Path(row["planet"]).resolve().is_relative_to(inside)
        return not is_inside and (row["planet"], output) not in again and output not in taken

    return list(filter(stays, read_results(folder)))


def read_results(folder: Path) -> list[dict[str, Any]]:
    """The rows of results.json in a folder; none where there is none.

    Raises OutputError where that, or results.csv, is not ours, and so would be lost.
    """
    table, path = (folder / name for name in RESULTS)
    for one in (table, path):
        if (one.exists() or one.is_symlink()) and not one.is_file():
            raise OutputError(f"{one} is no file, and is kept; results of a batch are: remove it, or choose another")
    try:
        rows = json.loads(path.read_bytes()) if path.stat().st_size <= _MOST_BYTES else None
    except (FileNotFoundError, NotADirectoryError):
        return []
    except (OSError, *UNPARSABLE):
        rows = None
    if isinstance(rows, list) and all(map(_is_row, rows)):
        return rows
    raise OutputError(f"{path} holds no results of a batch, and is kept; move it, or choose another folder")


def _is_row(row: Any) -> bool:
    """Whether a value is what `Outcome.as_json` makes, as far as it is used: it may be another's."""
    if not isinstance(row, dict) or row.get("status") not in get_args(Status):
        return False
    try:
        json.dumps(row, allow_nan=False)
    except (ValueError, RecursionError):
        return False
    lists = [row.get(name) or [] for name in ("sar", "references", "warnings")]
    pixels = row.get("pixels", dict.fromkeys(_CLASSES, 0))
    if not all(isinstance(one, list) for one in lists) or not isinstance(pixels, dict) or set(pixels) != _CLASSES:
        return False
    texts = [row.get("planet"), row.get("output"), row.get("error") or "", *(text for one in lists for text in one)]
    numbers = [row.get("seconds"), *pixels.values()]
    return all(map(_is_text, texts)) and all(isinstance(one, int | float) and 0 <= one < _LARGEST for one in numbers)


def _is_text(text: Any) -> bool:
    """Whether it is one of a usual length, that a file may be called."""
    return isinstance(text, str) and len(text) <= _LONGEST and "\0" not in text and _is_utf8(text)


def _is_utf8(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _write_results(source: Path, folder: Path, outcomes: Sequence[Outcome]) -> None:
    """Write results.csv and results.json in a folder, together in one step. Raises OutputError."""
    with _replacing(*(folder / name for name in RESULTS)) as (table_file, json_file):
        earlier = _earlier(source, folder, outcomes)
        with table_file.open("w", newline="", encoding="utf-8", errors="backslashreplace") as table:
            writer = csv.DictWriter(table, _COLUMNS)
            writer.writeheader()
            writer.writerows(outcome.as_row() for outcome in (*map(Outcome.of_json, earlier), *outcomes))
        write_json(json_file, [*earlier, *(outcome.as_json() for outcome in outcomes)])


@contextmanager
def replaced(path: Path) -> Iterator[Path]:
    """Yield a path beside another; the file there replaces it at the end of the block. Raises OutputError."""
    with _replacing(path) as (file,):
        yield file


@contextmanager
def _replacing(*paths: Path) -> Iterator[list[Path]]:
    """Yield where to write files; they replace those at the paths at the end of the block.

    Other batches in the same folder wait meanwhile.
    """
    with _writing(paths[0].parent), staging(dict(enumerate(paths)), overwrite=True, wait_s=_WAIT_S) as files:
        yield list(files.values())


@contextmanager
def _writing(folder: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise OutputError(
            f"{folder} cannot be written ({error.strerror}); results.csv and results.json need a folder: choose "
            "another, or make room"
        ) from error
