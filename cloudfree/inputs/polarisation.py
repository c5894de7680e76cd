"""Which band of which file is which polarisation: by the numbers that are told, by names, last by position."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from rasterio import DatasetReader

from cloudfree.bands import SAR_BANDS
from cloudfree.errors import InputError
from cloudfree.inputs.decision import Decision

_POLARISATION = re.compile(r"(?<![a-z])(vv|vh|hh|hv)(?![a-z])", re.IGNORECASE)
_STANDS_FOR = {"HH": "VV", "HV": "VH"}
_NAMING_TAG = re.compile(r"POLARI|DESCRIPTION|NAME|LABEL", re.IGNORECASE)
_COMPANION = re.compile(
    r"(?<![a-z])(angle|inc|incidence|lia|ls|layover|shadow|(data)?mask|area|dem|rgb)(?![a-z])", re.IGNORECASE
)
"""Words of what products carry beside backscatter: incidence angles, layover, masks, scattering area, heights."""

BY_POSITION = "by position, for nothing names them"
_OPTION = "--sar-bands"


@dataclass(frozen=True)
class Band:
    """A one-based band of an open file."""

    dataset: DatasetReader
    number: int

    @property
    def file(self) -> str:
        return Path(self.dataset.name).name

    @property
    def polarisation(self) -> str | None:
        """VV, VH, HH, HV or None: by description, then tags, then (for a file of one band) the file name."""
        for text in self._texts():
            found = {match.upper() for match in _POLARISATION.findall(text)}
            if len(found) == 1:
                return str(found.pop())
        return None

    @property
    def is_companion(self) -> bool:
        """Whether its names are of what products carry beside backscatter."""
        return any(_COMPANION.search(text) for text in self._texts())

    def _texts(self) -> Iterator[str]:
        """What may name it: its description, tags in all of its metadata domains, the name of a file of one band."""
        yield self.dataset.descriptions[self.number - 1] or ""
        for domain in ("", *self.dataset.tag_namespaces(self.number)):
            tags = self.dataset.tags(self.number, ns=domain)
            yield from (value for key, value in tags.items() if _NAMING_TAG.search(key))
        if self.dataset.count == 1:
            yield Path(self.dataset.name).stem


class Chosen(NamedTuple):
    """The bands of each polarisation, one a file at most; `vh` is empty where the image is VV alone."""

    vv: list[Band]
    vh: list[Band]
    decision: Decision


def choose(files: Sequence[DatasetReader], numbers: tuple[int, ...] | None, allow_hh_hv: bool) -> Chosen:
    """The bands that are VV and VH. InputError where nothing decides, or where the names say HH and HV."""
    bands = [Band(dataset, index) for dataset in files for index in dataset.indexes]
    if numbers is not None:
        chosen = _by_number(files, numbers)
        if not allow_hh_hv:
            _refuse_hh_hv(files, [band.polarisation for band in (*chosen.vv, *chosen.vh)])
        return chosen
    names = [band.polarisation for band in bands]
    if not {"VV", "VH"} <= set(names):
        if not allow_hh_hv:
            _refuse_hh_hv(files, names)
        names = [_STANDS_FOR.get(name, name) if name else None for name in names]
    unnamed = [band for band, name in zip(bands, names, strict=True) if not name and not band.is_companion]
    if not any(names) and len(unnamed) == 2:
        return Chosen(unnamed[:1], unnamed[1:], Decision("VV and VH", BY_POSITION, _OPTION))
    vv, vh = ([band for band, name in zip(bands, names, strict=True) if name == pol] for pol in SAR_BANDS)
    if not vv or _repeats(vv) or _repeats(vh) or (unnamed and not vh):
        raise InputError(
            f"VV and VH cannot be told apart in {_found(files)}; one band named VV and one named VH are needed in each "
            f"file or each pair of files: give both polarisations, or their band numbers with {_OPTION} VV,VH"
        )
    return Chosen(vv, vh, _named(vv, vh))


def _named(vv: list[Band], vh: list[Band]) -> Decision:
    if any(band.polarisation in _STANDS_FOR for band in (*vv, *vh)):
        return Decision("HH and HV are taken for VV and VH", "--allow-hh-hv")
    return Decision("VV and VH" if vh else "VV alone", "band descriptions, tags or file names", _OPTION)


def _repeats(bands: list[Band]) -> bool:
    """Whether one file has several bands of one polarisation, as stacks of dates do."""
    return len({id(band.dataset) for band in bands}) < len(bands)


def _by_number(files: Sequence[DatasetReader], numbers: tuple[int, ...]) -> Chosen:
    bands = [Band(file, number) for file, number in zip((files[0], files[-1]), numbers, strict=False)]
    fits = all(1 <= band.number <= band.dataset.count for band in bands)
    if not fits or not len(files) <= len(numbers) <= 2 or _repeats_a_band(bands):
        found = " and ".join(f"the {f.count} band(s) of {Path(f.name).name}" for f in files)
        raise InputError(
            f"{_OPTION} {','.join(map(str, numbers))} does not fit {found}; two different one-based bands are needed, "
            "VV,VH, or one where there is VV alone: give these"
        )
    what = "VV and VH" if len(bands) == 2 else "VV alone"
    return Chosen(bands[:1], bands[1:], Decision(what, f"{_OPTION} {','.join(map(str, numbers))}"))


def _repeats_a_band(bands: list[Band]) -> bool:
    return len({(id(band.dataset), band.number) for band in bands}) < len(bands)


def _refuse_hh_hv(files: Sequence[DatasetReader], names: list[str | None]) -> None:
    """InputError where the names are of horizontally sent pulses: no network here has learned from these."""
    if not _STANDS_FOR.keys().isdisjoint(names):
        raise InputError(
            f"HH or HV in {_found(files)}; VV and VH are all that the networks have learned from: give an image of "
            "these (1SDV), or take HH for VV and HV for VH with --allow-hh-hv"
        )


def _found(files: Sequence[DatasetReader]) -> str:
    return " and ".join(f"{Path(file.name).name} with {_listing(file)}" for file in files)


def _listing(dataset: DatasetReader) -> str:
    names = [Band(dataset, i).polarisation or dataset.descriptions[i - 1] or "unnamed" for i in dataset.indexes]
    return f"{dataset.count} band{'s' if dataset.count > 1 else ''} ({', '.join(names)})"
