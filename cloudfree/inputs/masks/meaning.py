"""What the numbers of an open mask mean, by options, by names that its values bear out, or by the values alone."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from rasterio import DatasetReader
from rasterio.windows import Window

from cloudfree.arrays import Mask
from cloudfree.bands import SKY_DESCRIPTION
from cloudfree.errors import InputError
from cloudfree.geometry.grid import strips
from cloudfree.inputs.decision import Decision
from cloudfree.inputs.masks import names
from cloudfree.inputs.masks.codes import (
    BIT_PRESETS,
    NO_CLASS,
    OWN,
    PRESETS,
    VALUE_PRESETS,
    Codes,
    MaskOptions,
    codes_of_values,
    fits,
    in_words,
    preset_of,
)
from cloudfree.inputs.raster import access, validity

log = logging.getLogger(__name__)

_STRIP_ROWS, _MOST_CLASSES = 512, 256
_NO_WHOLE, _FRACTIONS = -(2**31), -(2**31) - 1  # stand for one number that is not whole, and for several
_AEROSOL = 64  # from here on an HLS Fmask's numbers are, over nearly all land
_PERCENT = 100


@dataclass(frozen=True)
class Meaning:
    """What a band's numbers mean, and why; `is_guess` where nothing names it. `reasons` say what else was decided."""

    codes: Codes
    why: str
    is_guess: bool = False
    reasons: tuple[Decision, ...] = ()


def is_own(dataset: DatasetReader) -> bool:
    """Whether an open file is a mask of our own (--write-mask), or its first band."""
    return dataset.descriptions[0] == SKY_DESCRIPTION


def preset_named(dataset: DatasetReader, index: int) -> str | None:
    """The preset that the name of a band, or else of its file, states."""
    texts = [*names.of_band(dataset, index), dataset.source.stem]
    return next((preset for text in texts if (preset := preset_of(text))), None)


def of(dataset: DatasetReader, index: int, options: MaskOptions, window: Window) -> Meaning:
    """What a band's numbers mean, given those that it holds in a window of the mask. Raises InputError."""
    given = options.codes()
    values = values_of(dataset, (index,), window)
    if given and given.threshold is not None:
        found = _by_threshold(dataset, index, given, window)
    elif given:
        _refuse_fractions(dataset, index, values, f", and {options.given[0]} has whole numbers", window)
        found = Meaning(given, options.given[0])
        if len({*values} - {0, NO_CLASS}) <= 1:  # zero and one other number
            found = replace(found, codes=replace(given, zero_is_class=0 not in given.unknown))
    elif is_own(dataset) and index == 1:
        found = Meaning(OWN, "as --write-mask writes it")
    else:
        found = _by_names(dataset, index, values, window)
    return replace(found, reasons=_told_of_zero(dataset, index, found.codes, window))


def known(
    dataset: DatasetReader, indexes: tuple[int, ...], window: Window, stored: NDArray[np.generic], codes: Codes
) -> Mask:
    """Where bands have data (rows, columns), given their `stored` values; a zero that is a class is data."""
    return validity.complete(dataset, indexes, window, stored + (stored == 0) if codes.zero_is_class else stored)


# --- by names and values ---


def _by_names(dataset: DatasetReader, index: int, values: list[int], window: Window) -> Meaning:
    name, plain = dataset.source.name, codes_of_values(values)
    aside = ""
    if preset := preset_named(dataset, index):
        said = names.meaning_of(dataset, index)
        if fits(preset, values) and not (plain and said and said.meaning == "clear"):  # made of such a mask
            return Meaning(PRESETS[preset], f"{preset!r} by its name, preset {preset}")
        aside = f"its name says {preset}, which is {in_words(preset)}, but it holds {_shown(values)}"
        if preset == "fmask" and fits("hls", values) and any(_AEROSOL <= value < NO_CLASS for value in values):
            log.warning("%s: %s; taken for the bits of HLS (--mask-bits hls says so)", name, aside)
            return Meaning(PRESETS["hls"], f"{aside}: bits, as HLS has them")
        if not plain:
            aside = f"; {aside}"
        elif not fits(preset, values):
            log.warning("%s: %s; taken for a mask of zero and one other number", name, aside)
    is_probability = names.is_probability(dataset, index)
    if plain and not (_FRACTIONS in values or (is_probability and {*values} - {0, 1, _PERCENT, NO_CLASS})):
        return _plain(dataset, index, plain, aside)
    _refuse_fractions(dataset, index, values, aside, window)
    shown = f"{_shown(values)}{aside}"
    if is_probability:
        raise _probabilities(name, shown)
    presets = ", ".join(VALUE_PRESETS), ", ".join(BIT_PRESETS)
    raise InputError(
        f"{name} holds {shown}, and nothing says which are cloud; a mask is zero and one other number: "
        f"say which classes are cloud or shadow with --mask-values 2,3 (or {presets[0]}), or which bits with "
        f"--mask-bits 1 (or {presets[1]}), or from which number on with --mask-threshold"
    )


def _plain(dataset: DatasetReader, index: int, codes: Codes, aside: str) -> Meaning:
    """Of zero and one other number."""
    named = names.meaning_of(dataset, index)
    if named and named.meaning == "both":
        raise InputError(
            f"{dataset.source.name}: {named.why}, which says both clear and cloud; one of them is needed: give "
            "--mask-values 0 where zero is cloud, or the number that is cloud (--mask-values 1)"
        )
    if named:
        return Meaning(replace(codes, inverted=named.meaning == "clear"), named.why)
    return Meaning(codes, aside or "zero and one other number", is_guess=True)


def _told_of_zero(dataset: DatasetReader, index: int, codes: Codes, window: Window) -> tuple[Decision, ...]:
    """That zero is a class although it is declared nodata, where that is so and there are zeros."""
    if not codes.zero_is_class or dataset.nodatavals[index - 1] != 0:
        return ()
    if not any((part == 0).any() for part, _ in _parts(dataset, (index,), window)):
        return ()
    what = f"zero in {dataset.source.name} is a class of it, although it is declared nodata"
    return (Decision(what, "a mask of this kind has no other number for it"),)


# --- fractions and probabilities ---


def _by_threshold(dataset: DatasetReader, index: int, codes: Codes, window: Window) -> Meaning:
    """Cloud from a threshold on, or under it where names say that the numbers are of clear ground."""
    assert codes.threshold is not None
    low, high, has_fractions = _range(dataset, index, window)
    name, threshold = dataset.source.name, codes.threshold
    in_percent = 1 < high <= _PERCENT and low >= 0
    if (has_fractions and high <= 1 < threshold) or (in_percent and not 0 < threshold <= _PERCENT):
        units = "0 to 1" if high <= 1 else "0 to 100"
        raise InputError(
            f"--mask-threshold is {threshold:g}, and {name} holds {low:.4g} to {high:.4g}; it is in the units of the "
            f"file: give one of {units}"
        )
    if in_percent and threshold < 1:
        raise InputError(
            f"--mask-threshold is {threshold:g}, and {name} holds {low:.4g} to {high:.4g}, as percentages are; it is "
            f"in the units of the file: give {_PERCENT * threshold:g}, or 1 or more"
        )
    said = names.meaning_of(dataset, index)
    if names.is_clear_score(dataset, index) or (said and said.meaning == "clear"):
        return Meaning(replace(codes, inverted=True), "--mask-threshold, and its name says that it is of clear ground")
    if said and said.meaning == "both":
        raise InputError(
            f"{name}: {said.why}, which says both clear and cloud; --mask-threshold is for one of them: rename it"
        )
    return Meaning(codes, "--mask-threshold")


def _refuse_fractions(dataset: DatasetReader, index: int, values: list[int], aside: str, window: Window) -> None:
    """Raise InputError where values are not all whole."""
    if {_NO_WHOLE, _FRACTIONS} & {*values}:
        low, high, _ = _range(dataset, index, window)
        raise _probabilities(dataset.source.name, f"fractions of {low:.4g} to {high:.4g}{aside}")


def _probabilities(name: str, shown: str) -> InputError:
    return InputError(
        f"{name} holds {shown}, as probabilities are; a mask says yes or no, or has classes: say from which number on "
        "it is cloud with --mask-threshold, like 0.5 of 0 to 1, or 50 of 0 to 100"
    )


def _range(dataset: DatasetReader, index: int, window: Window) -> tuple[float, float, bool]:
    """The least and the largest number of a band, and whether any is not whole; data alone."""
    low, high, has_fractions = np.inf, -np.inf, False
    for stored, has in _parts(dataset, (index,), window):
        data = stored[:, has].astype(np.float64)
        if data.size:
            low, high = min(low, float(data.min())), max(high, float(data.max()))
            has_fractions |= bool((data != np.rint(data)).any())
    return (low, high, has_fractions) if low <= high else (0.0, 0.0, False)


# --- the values that there are ---


def values_of(dataset: DatasetReader, indexes: tuple[int, ...], window: Window) -> list[int]:
    """Whole numbers that bands hold in a window, in order, data alone; of too many, some."""
    distinct: set[float] = set()
    for stored, has in _parts(dataset, indexes, window):
        distinct |= {*_unique(stored if has.all() else stored[:, has]).tolist()}
        if len(distinct) > _MOST_CLASSES:
            break
    whole = {int(value) for value in distinct if value == int(value)}
    fractions = len(distinct) - len(whole)
    return sorted(whole | ({_FRACTIONS if fractions > 1 else _NO_WHOLE} if fractions else set()))


def _parts(
    dataset: DatasetReader, indexes: tuple[int, ...], window: Window
) -> Iterator[tuple[NDArray[np.generic], Mask]]:
    """Values (N, rows, columns) of bands in a window, some rows at a time, and where they have data; zero always is."""
    for start, stop in strips(window.height, _STRIP_ROWS):
        part = Window(window.col_off, window.row_off + start, window.width, stop - start)
        stored = access.read(dataset, list(indexes), part)
        yield stored, validity.complete(dataset, indexes, part, stored + (stored == 0))


def _unique(values: NDArray[np.generic]) -> NDArray[np.generic]:
    """Values without repetition, sought among those that differ from the one before: sorting all would take seconds."""
    flat = values.ravel()
    return np.unique(np.append(flat[:1], flat[1:][flat[1:] != flat[:-1]]))


def _shown(values: list[int]) -> str:
    whole = [value for value in values if value not in (_NO_WHOLE, _FRACTIONS)]
    listed = ", ".join(map(str, whole[:12])) + (", ..." if len(whole) > 12 else "")
    return f"{'fractions' if _FRACTIONS in values else ''}{' and ' if _FRACTIONS in values and whole else ''}{listed}"
