"""A scene of a batch, with its files and its product; and lists of scenes, as CSV or as lines of JSON."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal

from cloudfree.errors import UNPARSABLE, InputError
from cloudfree.inputs.location.source import Source

WithoutRadar = Literal["refuse", "allow"]
"""What becomes of scenes for which there is no radar: of a folder they fail, in a list they are refused; or made
without."""

_NEEDED, _POSSIBLE = ("planet", "sar"), ("udm2", "mask", "reference", "output")
_POSSIBLE_LISTED = ", ".join(_POSSIBLE)
_BETWEEN_FILES = ";"
_LINES_OF_JSON = (".jsonl", ".ndjson")
_MOST_BYTES = 256 << 20  # of a list: some million scenes


@dataclass(frozen=True)
class Job:
    """A scene, its other files and its product.

    `sar` is empty where there is no radar. `references_rule`: by what references were chosen, empty where a list has
    them. `why`: the reasons in words for files that `pairing` has chosen. `other_passes`: the radar of other passes,
    the best first, for the case that none of `sar` can be used. `fault`: why it cannot be done, where that is known
    before it is begun.
    """

    planet: Source
    sar: tuple[Source, ...]
    output: Path
    udm2: Source | None = None
    mask: Source | None = None
    references: tuple[Source, ...] = ()
    references_rule: str = ""
    why: tuple[str, ...] = ()
    other_passes: tuple[tuple[Source, ...], ...] = ()
    fault: str = ""

    @property
    def sources(self) -> tuple[Source, ...]:
        """All files that it reads."""
        return tuple(filter(None, (self.planet, *self.sar, self.udm2, self.mask, *self.references)))

    def describe(self) -> dict[str, Any]:
        """Return plain data; a fault only where there is one."""
        described = json.loads(json.dumps(asdict(self), default=str))
        del described["other_passes"]
        if not self.fault:
            del described["fault"]
        return described


def read_jobs(source: Path, folder: Path, without_radar: WithoutRadar = "refuse") -> list[Job]:
    """Return the jobs of a list: a CSV, or lines of JSON, with planet, sar and any of udm2, mask, reference, output.

    Several files in a cell are separated by `;`, or are a list in JSON. Paths are relative to the folder of the list,
    outputs to `folder`; without an output a product is named after its scene. Raises InputError; of lines without sar
    too, unless `without_radar` is "allow".
    """
    _refuse_odd(source)
    rows = list(_json_rows(source) if source.suffix.lower() in _LINES_OF_JSON else _csv_rows(source))
    if not rows:
        raise InputError(
            f"{source.name} names no scene; one line for each is needed: planet, sar and any of {_POSSIBLE_LISTED}"
        )
    needed = _NEEDED if without_radar == "refuse" else _NEEDED[:1]
    return [_job(f"{source.name} line {line}", row, source.parent, folder, needed) for line, row in rows]


def refuse_outside(jobs: Sequence[Job], folder: Path) -> None:
    """Raise InputError for a product that would not be in a folder: a list may be another's."""
    for job in jobs:
        if not job.output.resolve().is_relative_to(folder.resolve()):
            raise InputError(
                f"{job.planet.name} has the output {job.output}, which is not in {folder}; products of a list stay in "
                "there: name it otherwise, or give --outputs-anywhere"
            )


def _refuse_odd(source: Path) -> None:
    """Raise InputError for a list that is no file, or larger than any."""
    if source.exists() and not source.is_file():
        raise InputError(f"{source} is a device or a pipe; a list of scenes is a file: save it as one")
    if source.exists() and source.stat().st_size > _MOST_BYTES:
        raise InputError(f"{source} is larger than {_MOST_BYTES >> 20} MB; a list of scenes is smaller: divide it")


def product_of(planet: Source, folder: Path) -> Path:
    """Return the path of the product of a scene for which no output is given."""
    return folder / f"{planet.stem}_cloudfree.tif"


def _csv_rows(source: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    try:
        with source.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file, restkey="", strict=True)
            for row in reader:
                if any(row.values()):
                    yield reader.line_num, dict(row)
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"{source} cannot be read as a CSV ({error}); save it as CSV in UTF-8") from error


def _json_rows(source: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    try:
        for number, line in enumerate(source.read_text(encoding="utf-8-sig").split("\n"), 1):
            if line.strip():
                row = json.loads(line)
                if not isinstance(row, dict):
                    raise ValueError(f"{str(row)[:40]!r} is no object")
                yield number, row
    except (OSError, *UNPARSABLE) as error:
        raise InputError(f"{source} cannot be read as lines of JSON ({error}); write one object a line") from error


def _job(where: str, row: Mapping[str, Any], base: Path, folder: Path, needed: Sequence[str]) -> Job:
    if unknown := [name for name in row if name not in (*_NEEDED, *_POSSIBLE)]:
        name = unknown[0] or "more cells than columns"
        raise InputError(f"{where} has {name!r}; known are planet, sar, {_POSSIBLE_LISTED}")
    parts = {name: _parts(row.get(name)) for name in (*_NEEDED, *_POSSIBLE)}
    if missing := [name for name in needed if not parts[name]]:
        instead = ", or give --without-radar allow" if missing[0] == "sar" else ""
        raise InputError(f"{where} has no {missing[0]}; each line needs {' and '.join(needed)}: add it{instead}")
    files = {name: tuple(_placed(path, base) for path in paths) for name, paths in parts.items() if name != "output"}
    for name in ("planet", "udm2", "mask", "output"):
        if len(parts[name]) > 1:
            raise InputError(f"{where} names {len(parts[name])} files as {name}; one is allowed: give a line to each")
    (planet,), output = files["planet"], parts["output"]
    udm2, mask = (next(iter(files[name]), None) for name in ("udm2", "mask"))
    job = Job(planet, files["sar"], product_of(planet, folder), udm2, mask, files["reference"])
    return replace(job, output=folder / output[0]) if output else job


def _placed(part: str, base: Path) -> Source:
    """Return the source of a path relative to `base`, or of an address."""
    source = Source.of(part)
    return source if source.plain is None else Source.of(base / part)


def _parts(cell: Any) -> list[str]:
    parts = cell if isinstance(cell, list) else str(cell or "").split(_BETWEEN_FILES)
    return [str(part).strip() for part in parts if str(part).strip()]
