"""A scene of a batch, with its files and its product; and lists of scenes, as CSV or as JSON."""

from __future__ import annotations

import codecs
import csv
import io
import json
import logging
import re
import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from itertools import zip_longest
from math import isnan
from pathlib import Path
from typing import Any, Literal

from cloudfree.errors import UNPARSABLE, CloudfreeError, InputError
from cloudfree.inputs.location.archive import damaged
from cloudfree.inputs.location.names import local_output
from cloudfree.inputs.location.source import DRIVERS, Source, is_there

log = logging.getLogger(__name__)

WithoutRadar = Literal["refuse", "allow"]
"""What becomes of scenes for which there is no radar: of a folder they fail, in a list they are refused; or made
without."""

_NEEDED, _POSSIBLE = ("planet", "sar"), ("udm2", "mask", "reference", "output")
_POSSIBLE_LISTED = ", ".join(_POSSIBLE)
_BETWEEN_FILES = ";"
_JSON = (".jsonl", ".ndjson", ".json")
_BETWEEN_CELLS = ",;\t"
_STATED_DELIMITER = re.compile(r"sep=(.)\s*$", re.IGNORECASE)  # a first line, as spreadsheets write it
_UTF_16 = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
_SPREADSHEETS = (".xlsx", ".xls", ".xlsm", ".xlsb", ".ods", ".numbers")
_EMPTY = ("nan", "NaN", "<NA>", "None", "null")  # cells, as programs write what is missing
_MOST_BYTES = 256 << 20  # of a list: some million scenes


@dataclass(frozen=True)
class Job:
    """A scene, its other files and its product.

    `sar` is empty where there is no radar. `references_rule`: by what references were chosen, empty where a list has
    them. `why`: the reasons in words for files that `pairing` has chosen. `other_passes`: the radar of other passes,
    the best first, for the case that none of `sar` can be used. `fault`: why it cannot be done, where that is known
    before it is begun. `doubts`: warnings of the choice, which are the scene's.
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
    doubts: tuple[str, ...] = ()

    @property
    def sources(self) -> tuple[Source, ...]:
        """All files that it reads."""
        return tuple(filter(None, (self.planet, *self.sar, self.udm2, self.mask, *self.references)))

    def describe(self) -> dict[str, Any]:
        """Return plain data; a fault and doubts only where there are some."""
        described = json.loads(json.dumps(asdict(self), default=str))
        del described["other_passes"]
        return {key: value for key, value in described.items() if value or key not in ("fault", "doubts")}


def read_jobs(source: Path, folder: Path, without_radar: WithoutRadar = "refuse") -> list[Job]:
    """Return the jobs of a list: a CSV, or JSON, with planet, sar and any of udm2, mask, reference, output.

    Cells of a CSV are separated by commas, semicolons or tabs, as its header is; JSON is an object a line, or a list of
    objects. Several files in a cell are separated by `;`, or are a list in JSON. Paths are relative to the folder of
    the list, outputs to `folder`; without an output a product is named after its scene. Raises InputError; of lines
    without sar too, unless `without_radar` is "allow". A line whose output is no name of a product has a fault.
    """
    _refuse_odd(source)
    rows = list(_json_rows(source) if source.suffix.lower() in _JSON else _csv_rows(source))
    if not rows:
        raise InputError(
            f"{source.name} names no scene; one line for each is needed: planet, sar and any of {_POSSIBLE_LISTED}"
        )
    needed = _NEEDED if without_radar == "refuse" else _NEEDED[:1]
    return [_job(f"{source.name} {where}", row, source.parent, folder, needed) for where, row in rows]


def refuse_outside(jobs: Sequence[Job], folder: Path) -> None:
    """Raise InputError for a product that would not be in a folder: a list may be another's."""
    for job in jobs:
        if not job.output.resolve().is_relative_to(folder.resolve()):
            raise InputError(
                f"{job.planet.name} has the output {job.output}, which is not in {folder}; products of a list stay in "
                "there: name it otherwise, or give --outputs-anywhere"
            )


def with_missing_told(job: Job) -> Job:
    """The job with a fault where a file of it is not there."""
    missing = [source for source in job.sources if not job.fault and not _is_there(source)]
    if not missing:
        return job
    return replace(job, fault=f"{missing[0]} does not exist; paths are relative to the list's folder: check the path")


def _is_there(source: Source) -> bool:
    if source.file and not is_there(source.file):
        return False
    try:
        return source.exists
    except InputError:  # an archive that is damaged, as its scene's failure will tell
        return True


def _refuse_odd(source: Path) -> None:
    """Raise InputError for a list that is none: not there, no file, a spreadsheet, or larger than any."""
    if source.suffix.lower() in _SPREADSHEETS:
        raise InputError(f"{source} is a spreadsheet; a list of scenes is a CSV or JSON: save it as CSV (UTF-8)")
    try:
        size = source.stat().st_size
    except FileNotFoundError as error:
        raise InputError(f"{source} cannot be read as a CSV or JSON, for it does not exist: check the path") from error
    except OSError as error:
        raise damaged(source, error) from error
    if not source.is_file():
        raise InputError(f"{source} is a device or a pipe; a list of scenes is a file: save it as one")
    if size > _MOST_BYTES:
        raise InputError(f"{source} is larger than {_MOST_BYTES >> 20} MB; a list of scenes is smaller: divide it")


def product_of(planet: Source, folder: Path, tile: str = "") -> Path:
    """Return the path of the product of a scene for which no output is given, in a folder of its tile if it has one."""
    return folder / tile / f"{planet.stem}_cloudfree.tif"


def _csv_rows(source: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """The rows of a CSV by the columns that it names, and which line each is, in words."""
    try:
        lines = list(io.StringIO(_text(source), newline=""))
        stated = _STATED_DELIMITER.match(lines[0]) if lines else None
        skipped = 1 if stated else 0
        header = next((line for line in lines[skipped:] if line.strip()), "")
        delimiter = stated[1] if stated else max(_BETWEEN_CELLS, key=lambda cut: len(_known_columns(header, cut)))
        reader = csv.reader(lines[skipped:], delimiter=delimiter, skipinitialspace=True, strict=True)
        rows = ((reader.line_num + skipped, cells) for cells in reader if any(map(str.strip, cells)))
        columns = [*map(_column, next(rows, (0, []))[1])]
        first = f"{source.name} line {reader.line_num + skipped}"
        _refuse_twice(first, columns)
        if unknown := [name for name in columns if name and name not in (*_NEEDED, *_POSSIBLE)]:
            raise _unknown(f"{first} has {unknown[0]!r} as the name of a column")
        for line, cells in rows:
            named = zip_longest(columns, cells, fillvalue="")
            yield f"line {line}", {name: cell for name, cell in named if name or cell.strip()}
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"{source} cannot be read as a CSV ({error}); save it as CSV in UTF-8") from error


def _known_columns(header: str, delimiter: str) -> set[str]:
    return {_column(name.strip().strip('"')) for name in header.split(delimiter)} & {*_NEEDED, *_POSSIBLE}


def _column(name: str) -> str:
    return name.strip().lower()


def _refuse_twice(where: str, names: Sequence[str]) -> None:
    """Raise InputError for a column of which there are two: one of them would be lost."""
    if twice := [name for name in names if name and names.count(name) > 1]:
        raise InputError(
            f"{where} has {twice[0]!r} twice; once is allowed: several files of a cell have ; between them"
        )


def _text(source: Path) -> str:
    """A list as text: in UTF-8, or in UTF-16 as spreadsheets write it, with a mark that says so."""
    content = source.read_bytes()
    return content.decode("utf-16" if content.startswith(_UTF_16) else "utf-8-sig")


def _json_rows(source: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """The objects of a list, or of each line, and which each is, in words."""

    def loads(text: str) -> Any:
        return json.loads(text, object_pairs_hook=partial(_object, source.name))

    try:
        text = _text(source)
        try:
            whole = loads(text)
            rows = [
                (f"item {number}", row) for number, row in enumerate(whole if isinstance(whole, list) else [whole], 1)
            ]
        except ValueError:
            lines = enumerate(text.split("\n"), 1)
            rows = [(f"line {number}", loads(line)) for number, line in lines if line.strip()]
        for where, row in rows:
            if not isinstance(row, dict):
                raise ValueError(f"{str(row)[:40]!r} is no object")
            _refuse_twice(f"{source.name} {where}", [*map(_column, row)])
            yield where, {_column(name): value for name, value in row.items()}
    except (OSError, *UNPARSABLE) as error:
        raise InputError(
            f"{source} cannot be read as JSON ({error}); write one object a line, or a list of objects"
        ) from error


def _object(where: str, pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """A JSON object, whose keys are there once: of two alike, Python takes the last."""
    _refuse_twice(f"an object of {where}", [key for key, _ in pairs])
    return dict(pairs)


def _job(where: str, row: Mapping[str, Any], base: Path, folder: Path, needed: Sequence[str]) -> Job:
    if unknown := [name for name in row if name not in (*_NEEDED, *_POSSIBLE)]:
        raise _unknown(f"{where} has {unknown[0] or 'more cells than columns'!r}")
    parts = {name: _parts(f"{where}, {name},", row.get(name)) for name in (*_NEEDED, *_POSSIBLE)}
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
    return _with_output(job, output[0], folder) if output else job


def _with_output(job: Job, output: str, folder: Path) -> Job:
    """The job with its output, or a fault where that is no name of a file."""
    try:
        path = folder / local_output(output)
    except CloudfreeError as error:
        return replace(job, fault=f"its output cannot be {output}: {error.message}")
    return replace(job, output=path)


def _unknown(found: str) -> InputError:
    return InputError(f"{found}; known are planet, sar, {_POSSIBLE_LISTED}: take it out")


def _placed(part: str, base: Path) -> Source:
    """Return the source of a path relative to `base`, also of a file in such an archive, or of an address."""
    source = Source.of(part)
    if source.file is None:
        return source
    if source.is_variable:
        driver = next(name for name in DRIVERS if source.address.startswith(name.upper()))
        return _placed(str(source.container.address), base).variable(driver, source.inside)
    if source.is_archived:
        return Source.member(base / source.file, source.inside)
    return Source.of(_as_spelt(base / (source.file if "://" in part else part))) if source.plain else source


def _as_spelt(path: Path) -> Path:
    """A path as the disk spells its letters: composed or decomposed, where the one is not there and the other is."""
    forms = (path, *(Path(unicodedata.normalize(form, str(path))) for form in ("NFC", "NFD")))
    return path if str(path).isascii() else next(filter(is_there, forms), path)


def _parts(where: str, cell: Any) -> list[str]:
    """The texts of a cell, or of a list of them. Raises InputError for what is no text."""
    if cell is None or (isinstance(cell, float) and isnan(cell)):
        return []
    parts = cell if isinstance(cell, list) else cell.split(_BETWEEN_FILES) if isinstance(cell, str) else [cell]
    if odd := [part for part in parts if not isinstance(part, str)]:
        raise InputError(
            f"{where} has {str(odd[0])[:40]!r}, which is no text; a file is a text, and several are a list of texts: "
            "write it so"
        )
    stripped = (part.strip() for part in parts)
    return [part for part in stripped if part and part not in _EMPTY]
