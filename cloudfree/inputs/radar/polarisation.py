"""Which band of which file is which polarisation: by the user's band numbers, by names, last by position."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import NamedTuple

from rasterio import DatasetReader

from cloudfree.bands import SAR_BANDS
from cloudfree.errors import InputError
from cloudfree.geometry import Geometry
from cloudfree.inputs.decision import Decision
from cloudfree.inputs.radar import names
from cloudfree.inputs.radar.safe.product import geometry_of

_STANDS_FOR = {"HH": "VV", "HV": "VH"}
_NAMING_TAG = re.compile(r"POLARI|DESCRIPTION|NAME|LABEL", re.IGNORECASE)

BY_POSITION = "by position, for nothing names them"
_OPTION = "--sar-bands"


@dataclass(frozen=True)
class Band:
    """A one-based band of an open file."""

    dataset: DatasetReader
    number: int

    @property
    def file(self) -> str:
        return str(self.dataset.source.name)

    @property
    def polarisation(self) -> str | None:
        """VV, VH, HH, HV or None: by description, then tags, then (for a file of one band) the names of it and its
        folder."""
        for text in self._texts():
            if polarisation := names.polarisation_in(text):
                return polarisation
        source = self.dataset.source
        named = self.dataset.count == 1 and not names.polarisations_in(source.stem)
        return names.polarisation_in(PurePosixPath(str(source)).parent.name) if named else None

    @property
    def is_companion(self) -> bool:
        """Whether its names are of what products carry beside backscatter."""
        return any(names.is_companion(text) for text in self._texts())

    def _texts(self) -> Iterator[str]:
        """Texts that may name it: its description, tags in all metadata domains, the name of a file of one band."""
        yield self.dataset.descriptions[self.number - 1] or ""
        for domain in ("", *self.dataset.tag_namespaces(self.number)):
            tags = self.dataset.tags(self.number, ns=domain)
            yield from (value for key, value in tags.items() if _NAMING_TAG.search(key))
        if self.dataset.count == 1:
            yield self.dataset.source.stem


class Chosen(NamedTuple):
    """The bands of each polarisation, one a file at most; `vh` is empty where the image is VV alone."""

    vv: list[Band]
    vh: list[Band]
    decision: Decision


class Pair(NamedTuple):
    """VV and VH that belong together, of one file or two; one of them may be missing."""

    vv: Band | None
    vh: Band | None

    @property
    def named(self) -> list[tuple[str, Band]]:
        """The bands that are there, by polarisation."""
        return [(name, band) for name, band in zip(SAR_BANDS, self, strict=True) if band]


def choose(files: Sequence[DatasetReader], numbers: tuple[int, ...] | None, allow_hh_hv: bool) -> Chosen:
    """The bands that are VV and VH, by the user's `numbers` or else by names or position.

    Raises InputError where nothing decides, or where the names say HH and HV without `allow_hh_hv`.
    """
    bands = [Band(dataset, index) for dataset in files for index in dataset.indexes]
    if numbers is not None:
        chosen = _by_number(files, numbers)
        if not allow_hh_hv:
            _refuse_hh_hv(files, [band.polarisation for band in (*chosen.vv, *chosen.vh)])
        return chosen
    named = _polarisations(files, bands, allow_hh_hv)
    unnamed = [band for band, name in zip(bands, named, strict=True) if not name and not band.is_companion]
    if not any(named) and (by_position := _by_position(files, unnamed)):
        return by_position
    vv, vh = ([band for band, name in zip(bands, named, strict=True) if name == pol] for pol in SAR_BANDS)
    if _repeats(vv) or _repeats(vh):
        raise InputError(_stack(vv, vh))
    nameless = [file for file in files if _is_nameless(file, [*vv, *vh], unnamed)]
    if not vv or (unnamed and not vh) or nameless:
        raise InputError(
            f"VV and VH cannot be told apart in {_in_words(files)}; one band named VV and one named VH are needed in "
            f"each file or each pair of files: give both polarisations, or their band numbers with {_OPTION} VV,VH"
        )
    return Chosen(vv, vh, _named(vv, vh))


def _polarisations(files: Sequence[DatasetReader], bands: Sequence[Band], allow_hh_hv: bool) -> list[str | None]:
    """The polarisation of each band; HH and HV are refused, or stand for what their file lacks."""
    of_all: list[str | None] = []
    for file in files:
        of_file = [band.polarisation for band in bands if band.dataset is file]
        if not set(SAR_BANDS) <= set(of_file):  # a file of all four polarisations has the two that are needed
            if not allow_hh_hv:
                _refuse_hh_hv(files, of_file)
            of_file = [_STANDS_FOR.get(name, name) if name else None for name in of_file]
        of_all += of_file
    return of_all


def _by_position(files: Sequence[DatasetReader], unnamed: list[Band]) -> Chosen | None:
    """Two nameless bands in every file, or one in each of two files."""
    by_file = [[band for band in unnamed if band.dataset is file] for file in files]
    decision = Decision("VV and VH", BY_POSITION, _OPTION)
    if all(len(bands) == 2 for bands in by_file):
        return Chosen([bands[0] for bands in by_file], [bands[1] for bands in by_file], decision)
    return Chosen(unnamed[:1], unnamed[1:], decision) if len(unnamed) == 2 else None


def _is_nameless(file: DatasetReader, named: list[Band], unnamed: list[Band]) -> bool:
    """Whether a file has bands without a name, and none of a polarisation."""
    return any(band.dataset is file for band in unnamed) and not any(band.dataset is file for band in named)


def pairs(chosen: Chosen) -> list[Pair]:
    """Which VV and which VH are of one image: of one file, of one name but for the polarisation, of one grid."""
    left = list(chosen.vh)
    if len(chosen.vv) == len(left) == 1:
        return [Pair(chosen.vv[0], left[0])]
    partners: dict[int, Band] = {}
    keys: list[Callable[[Band], object]] = [
        lambda band: id(band.dataset),
        lambda band: (_name(band), _grid(band)),
        _name,
        _grid,
    ]
    for key in keys:
        for position, vv in enumerate(chosen.vv):
            partner = next((vh for vh in left if key(vv) == key(vh)), None) if position not in partners else None
            if partner:
                partners[position] = partner
                left.remove(partner)
    together = [Pair(vv, partners.get(position)) for position, vv in enumerate(chosen.vv)]
    return [*together, *(Pair(None, vh) for vh in left)]


def _name(band: Band) -> str:
    return names.without_polarisation(str(band.dataset.source))


def _grid(band: Band) -> Geometry:
    return geometry_of(band.dataset)


def _named(vv: list[Band], vh: list[Band]) -> Decision:
    if any(band.polarisation in _STANDS_FOR for band in (*vv, *vh)):
        return Decision("HH and HV are taken for VV and VH", "--allow-hh-hv")
    return Decision("VV and VH" if vh else "VV alone", "band descriptions, tags or file names", _OPTION)


def _repeats(bands: list[Band]) -> bool:
    """Whether one file has several bands of one polarisation, as stacks of dates do."""
    return len({id(band.dataset) for band in bands}) < len(bands)


def _stack(vv: list[Band], vh: list[Band]) -> str:
    """The error for a file that has a polarisation twice, with the bands that could be meant."""
    repeated = next(bands for bands in (vv, vh) if _repeats(bands))
    file = next(band.dataset for band in repeated if sum(band.dataset is other.dataset for other in repeated) > 1)
    listed, first = [], []
    for name, bands in zip(SAR_BANDS, (vv, vh), strict=True):
        numbers = [band.number for band in bands if band.dataset is file]
        if numbers:
            listed.append(f"{name} in band{'s' if len(numbers) > 1 else ''} {', '.join(map(str, numbers))}")
            first.append(str(numbers[0]))
    described = ", ".join(text or "unnamed" for text in file.descriptions)
    return (
        f"{file.source.name} has {' and '.join(listed)}, as stacks of dates have ({described}); one each "
        f"is needed: say which with {_OPTION}, the first with {_OPTION} {','.join(first)}"
    )


def _by_number(files: Sequence[DatasetReader], numbers: tuple[int, ...]) -> Chosen:
    """VV and VH of every file that has them; or of two files one each."""
    of_each_file = len(set(numbers)) == 2 and all(max(numbers) <= file.count for file in files)
    if len(files) == 2 and not of_each_file:
        bands = [Band(file, number) for file, number in zip(files, numbers, strict=False)]
    else:
        bands = [Band(file, number) for file in files for number in numbers]
    fits = all(1 <= band.number <= band.dataset.count for band in bands)
    alone = len(numbers) == 1 and len(files) > 1
    repeated = len({(id(band.dataset), band.number) for band in bands}) < len(bands)
    if not fits or alone or len(numbers) > 2 or repeated:
        counts = " and ".join(f"the {file.count} band(s) of {file.source.name}" for file in files)
        raise InputError(
            f"{_OPTION} {','.join(map(str, numbers))} does not fit {counts}; two different one-based bands are needed, "
            "VV,VH, of each file, or of two files one each; or one where there is VV alone: give these"
        )
    step = len(numbers)
    decision = Decision("VV and VH" if step == 2 else "VV alone", f"{_OPTION} {','.join(map(str, numbers))}")
    return Chosen(bands[::step], bands[1::step] if step == 2 else [], decision)


def _refuse_hh_hv(files: Sequence[DatasetReader], polarisations: list[str | None]) -> None:
    """Raise InputError for HH and HV: no network here has learned from horizontally sent pulses."""
    if not _STANDS_FOR.keys().isdisjoint(polarisations):
        raise InputError(
            f"HH or HV in {_in_words(files)}; VV and VH are all that the networks have learned from: give an image of "
            "these (1SDV), or take HH for VV and HV for VH with --allow-hh-hv"
        )


def _in_words(files: Sequence[DatasetReader]) -> str:
    return " and ".join(f"{file.source.name} with {_listing(file)}" for file in files)


def _listing(dataset: DatasetReader) -> str:
    named = [Band(dataset, i).polarisation or dataset.descriptions[i - 1] or "unnamed" for i in dataset.indexes]
    return f"{dataset.count} band{'s' if dataset.count > 1 else ''} ({', '.join(named)})"
