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
from typing import Any, Literal, Self

from cloudfree.bands import RECONSTRUCTED
from cloudfree.batch.jobs import Job
from cloudfree.errors import OutputError
from cloudfree.inputs.location.source import Source
from cloudfree.product.targets import staging, write_json

Status = Literal["made", "skipped", "failed", "not begun"]

RESULTS = "results.csv", "results.json"

_EVERY_S, _WAIT_S = 5.0, 120.0
_COLUMNS = "planet", "sar", "references", "output", "status", "seconds", "reconstructed_pixels", "error", "warnings"
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

    def as_json(self) -> dict[str, Any]:
        """Return plain data for --json and results.json."""
        result = {"status": self.status, "seconds": round(self.seconds, 2), "error": self.error or None}
        return {**replace(self.job, fault="").describe(), **result, "warnings": list(self.warnings), **self.details}

    @classmethod
    def of_json(cls, row: Mapping[str, Any]) -> Self:
        """The outcome that `as_json` has made plain, as far as pages, tables and collections tell of it."""
        sar, references = (tuple(map(Source.of, row.get(name) or ())) for name in ("sar", "references"))
        job = Job(Source.of(row["planet"]), sar, Path(row["output"]), references=references)
        details = {name: value for name, value in row.items() if name not in _OF_JOB | _OF_OUTCOME}
        warnings = tuple(map(str, row.get("warnings") or ()))
        return cls(job, row["status"], float(row.get("seconds") or 0), row["error"] or "", details, warnings)

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


def _cell(text: str) -> str:
    """A text that no spreadsheet takes for a formula."""
    return f"'{text}" if text.startswith(("=", "+", "-", "@")) else text


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

    Raises OutputError.
    """
    return [*map(Outcome.of_json, _earlier(source, folder, outcomes)), *outcomes]


def _earlier(source: Path, folder: Path, outcomes: Sequence[Outcome]) -> list[dict[str, Any]]:
    """The rows of other batches, but for scenes that were done again, whose product is now another's, or which lie in
    the folder that this batch is of, where they are no more.
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
    """The rows of results.json in a folder; none where there is none. Raises OutputError where it is not ours."""
    path = folder / RESULTS[1]
    try:
        rows = json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError):
        return []
    except (OSError, ValueError, RecursionError):
        rows = None
    if isinstance(rows, list) and all(map(_is_row, rows)):
        return rows
    raise OutputError(f"{path} holds no results of a batch, and is kept; move it, or choose another folder")


def _is_row(row: Any) -> bool:
    texts = ("planet", "output", "status")
    return isinstance(row, dict) and all(isinstance(row.get(name), str) for name in texts) and "error" in row


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
