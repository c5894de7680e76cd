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
    NO_DATA,
    OWN,
    PRESETS,
    VALUE_PRESETS,
    Codes,
    MaskOptions,
    State,
    codes_of_values,
    fits,
    in_words,
    is_fill_under_zero,
    preset_of,
)
from cloudfree.inputs.raster import access, validity

log = logging.getLogger(__name__)

_STRIP_ROWS, _MOST_CLASSES = 512, 256
_NO_WHOLE, _FRACTIONS = -(2**62), -(2**62) - 1  # stand for one number that is not whole, and for several
_AEROSOL = 64  # from here on an HLS Fmask's numbers are, over nearly all land
_PERCENT = 100
_MOSTS = 1.0, 100.0, 255.0, 1000.0, 10000.0, 65535.0  # that probabilities reach, in the units that there are
_MANY = 1000.0  # from here on 1 is no percent
_OVER_ONE = 1.2
_FILL_OVER = sorted(number for number in NO_DATA if 0 < number <= 65535)  # and all larger ones


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
        found = _by_threshold(dataset, index, given, values, window)
    elif given:
        _refuse_fractions(dataset, index, values, " holds ", f", and {options.given[0]} has whole numbers", window)
        found = Meaning(_given(given, values), options.given[0])
        _warn_of_no_match(dataset.source.name, options, found.codes, values)
    elif is_own(dataset) and index == 1:
        found = Meaning(OWN, "as --write-mask writes it")
    else:
        found = _by_names(dataset, index, values, window)
    return replace(found, reasons=_told_of_zero(dataset, index, found.codes, window))


def known(
    dataset: DatasetReader, indexes: tuple[int, ...], window: Window, stored: NDArray[np.generic], codes: Codes
) -> Mask:
    """Where bands have data (rows, columns), given their `stored` values; a zero that is a class is data."""
    return validity.complete(dataset, indexes, window, stored, stored == 0 if codes.zero_is_class else None)


# --- by options ---


def _given(codes: Codes, values: list[int]) -> Codes:
    """The codes of options, for a mask that holds certain values."""
    if len({*values} - {0, NO_CLASS}) <= 1:  # zero and one other number
        codes = replace(codes, zero_is_class=0 not in codes.unknown)
    if codes.values and codes.values & {*values} and {*values} - codes.values - NO_DATA:  # another number is clear
        codes = replace(codes, no_data=NO_DATA - codes.values)
    return codes


def _warn_of_no_match(name: str, options: MaskOptions, codes: Codes, values: list[int]) -> None:
    """Warn of options by which nothing in a mask is cloud that holds more than zero, or whose preset is another's."""
    option, text = ("--mask-values", options.values) if options.values else ("--mask-bits", options.bits)
    preset, shown = str(text).lower(), _shown(values)
    if preset in PRESETS:
        if not fits(preset, values):
            log.warning("%s holds %s, and %s %s is %s: look whether it is", name, shown, option, text, in_words(preset))
    elif {*values} - {0} and not _any_cloud(codes, values):
        log.warning("%s holds %s, none of which is cloud by %s %s: give a number that is", name, shown, option, text)


def _any_cloud(codes: Codes, values: list[int]) -> bool:
    """Whether any of some values is cloud."""
    return bool((codes.states(np.array([values], np.int64).reshape(1, -1, 1)) == State.CLOUDY).any())


# --- by names and values ---


def _by_names(dataset: DatasetReader, index: int, values: list[int], window: Window) -> Meaning:
    name, plain = dataset.source.name, codes_of_values(values)
    if flags := _by_flags(dataset, index, values):
        return flags
    aside = ""
    if preset := preset_named(dataset, index):
        if fits(preset, values) and not (plain and _is_made_of(dataset, index, preset, values)):
            _warn_of_preset(name, preset, values)
            return Meaning(PRESETS[preset], f"{preset!r} by its name, preset {preset}")
        aside = f"its name says {preset}, which is {in_words(preset)}, but it holds "
        if preset == "fmask" and fits("hls", values) and any(_AEROSOL <= value < NO_CLASS for value in values):
            why = f"{aside}{_shown(values)}"
            log.warning("%s: %s; taken for the bits of HLS (--mask-bits hls says so)", name, why)
            return Meaning(PRESETS["hls"], f"{why}: bits, as HLS has them")
    is_probability = names.is_probability(dataset, index)
    if plain and not (_FRACTIONS in values or (is_probability and {*values} - {0, 1, _PERCENT, NO_CLASS})):
        why = ""
        if preset and not fits(preset, values):
            why = f"{aside}{_shown(values)}"
            log.warning("%s: %s; taken for a mask of zero and one other number", name, why)
        return _plain(dataset, index, plain, why)
    holds = f": {aside}" if aside else " holds "
    _refuse_fractions(dataset, index, values, holds, "", window)
    if is_probability:
        raise _probabilities(f"{name}{holds}{_shown(values)}")
    presets = ", ".join(VALUE_PRESETS), ", ".join(BIT_PRESETS)
    raise InputError(
        f"{name}{holds}{_shown(values)}, and nothing says which are cloud; a mask is zero and one other number: "
        f"say which classes are cloud or shadow with --mask-values 2,3 (or {presets[0]}), or which bits with "
        f"--mask-bits 1 (or {presets[1]}), or from which number on with --mask-threshold"
    )


def _by_flags(dataset: DatasetReader, index: int, values: list[int]) -> Meaning | None:
    """By CF's tags `flag_values` and `flag_meanings`, where they name all values and any cloud or clear ground."""
    flags = names.flags_of(dataset, index)
    if not flags or not {*values} - NO_DATA <= flags.keys():
        return None
    said = {value: names.meaning_in(text) for value, text in flags.items()}
    cloudy = frozenset(value for value, meaning in said.items() if meaning == "cloud")
    if not cloudy or "both" in said.values():
        return None
    unknown = frozenset(value for value, text in flags.items() if names.says_unknown(text))
    codes = Codes(cloudy, unknown=unknown, no_data=NO_DATA - flags.keys(), zero_is_class=0 not in unknown)
    return Meaning(codes, "flag_meanings in its tags")


def _is_made_of(dataset: DatasetReader, index: int, preset: str, values: list[int]) -> bool:
    """Whether zero and one other number is a mask made of the one that a preset is for, by its name and values."""
    said = names.meaning_of(dataset, index)
    if said and said.meaning == "clear":
        return True
    is_binary = {*values} - {0, 1, NO_CLASS} == set() and not _any_cloud(PRESETS[preset], values)
    return is_binary and {*values} != {0} and bool(said or names.is_binary(dataset, index))


def _warn_of_preset(name: str, preset: str, values: list[int]) -> None:
    """Warn of zeros and ones, and of no QA60, that are no cloud by a preset, though they may be meant to be."""
    is_clear = PRESETS[preset].states(np.ones((1, 1, 1), np.uint8))[0, 0] == State.CLEAR
    if is_clear and {*values} - NO_DATA == {0, 1}:
        log.warning(
            "%s holds %s, none of which is cloud by preset %s, which its name says; give --mask-values 1 if 1 is cloud",
            *(name, _shown(values), preset),
        )
    if preset == "qa60" and not {*values} - {0}:
        log.warning(
            "%s is zero all over, as QA60 is of scenes of January 2022 to February 2024, which it says nothing of: "
            "give another mask if there are clouds",
            name,
        )


def _plain(dataset: DatasetReader, index: int, codes: Codes, aside: str) -> Meaning:
    """Of zero and one other number."""
    named = names.meaning_of(dataset, index)
    if named and named.meaning == "both":
        raise InputError(
            f"{dataset.source.name}: {named.why}, {names.BOTH}; one of them is needed: give --mask-values 0 where zero "
            "is cloud, or the number that is cloud (--mask-values 1)"
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


@dataclass(frozen=True)
class _Range:
    """The least and the largest number of a band, fill aside; whether any is not whole; the most that numbers reach.

    `most`, 1, 100 and so on, is that of the units by what there is; `has_fill` is whether larger ones are fill.
    """

    low: float
    high: float
    has_fractions: bool
    most: float
    has_fill: bool

    def __str__(self) -> str:
        return f"{self.low:.4g} to {self.high:.4g}"


def _by_threshold(dataset: DatasetReader, index: int, codes: Codes, values: list[int], window: Window) -> Meaning:
    """Cloud from a threshold on, or under it where names say that the numbers are of clear ground."""
    assert codes.threshold is not None
    name, threshold = dataset.source.name, codes.threshold
    held = _range(dataset, index, window, threshold)
    if not np.isfinite(threshold):
        raise InputError(f"--mask-threshold is {threshold:g}; a number is needed: give one of 0 to {held.most:g}")
    parts_two_numbers = codes_of_values(values) is not None and held.low < threshold <= held.high
    if not parts_two_numbers:
        _check_threshold(name, threshold, held)
    if held.has_fill:
        codes = replace(codes, most=held.most)
    said = names.meaning_of(dataset, index)
    if names.is_clear_score(dataset, index) or (said and said.meaning == "clear"):
        return Meaning(replace(codes, inverted=True), "--mask-threshold, and its name says that it is of clear ground")
    if said and said.meaning == "both":
        raise InputError(f"{name}: {said.why}, {names.BOTH}; --mask-threshold is for one of them: rename it")
    return Meaning(codes, "--mask-threshold")


def _check_threshold(name: str, threshold: float, held: _Range) -> None:
    """Raise InputError for a threshold in other units than what a band holds, and warn of one that decides nothing."""
    found = f"--mask-threshold is {threshold:g}, and {name} holds {held}"
    if (held.has_fractions and held.most == 1 < threshold) or (held.most == _PERCENT < threshold):
        raise InputError(f"{found}; it is in the units of the file: give one of 0 to {held.most:g}")
    if threshold <= 0 <= held.low:
        raise InputError(f"{found}, which all reach it; it parts cloud from clear: give one of 0 to {held.most:g}")
    if 0 < threshold < 1 < held.most:
        kind = ", as percentages are" if held.most == _PERCENT else ""
        raise InputError(f"{found}{kind}; it is in the units of the file: give {held.most * threshold:g}, or 1 or more")
    if threshold <= _PERCENT and held.most >= _MANY:
        as_percent = held.most / _PERCENT * threshold
        log.warning(
            "%s: %.2g %% of it; give %g if percent are meant", found, _PERCENT * threshold / held.most, as_percent
        )
    if threshold >= held.most and threshold > held.high:
        log.warning("%s: none reaches it, so that it parts nothing", found)


def _refuse_fractions(
    dataset: DatasetReader, index: int, values: list[int], holds: str, aside: str, window: Window
) -> None:
    """Raise InputError where values are not all whole."""
    if {_NO_WHOLE, _FRACTIONS} & {*values}:
        held = _range(dataset, index, window, 0)
        raise _probabilities(f"{dataset.source.name}{holds}fractions of {held}{aside}")


def _probabilities(found: str) -> InputError:
    return InputError(
        f"{found}, as probabilities are; a mask says yes or no, or has classes: say from which number on "
        "it is cloud with --mask-threshold, like 0.5 of 0 to 1, or 50 of 0 to 100"
    )


def _range(dataset: DatasetReader, index: int, window: Window, threshold: float) -> _Range:
    """What a band holds, data alone, given the threshold that is wanted: fill is not over one."""
    low, high, over, has_fractions = np.inf, -np.inf, -np.inf, False
    for stored, has in _parts(dataset, (index,), window):
        data = stored[:, has].astype(np.float64)
        is_over = np.isin(data, _FILL_OVER) | (data > max(_FILL_OVER))
        over = max(over, float(data.max(where=is_over, initial=-np.inf)))
        data = data[~is_over & ~(is_fill_under_zero(data) & (threshold >= 0))]
        if data.size:
            low, high = min(low, float(data.min())), max(high, float(data.max()))
            has_fractions |= bool((data != np.rint(data)).any())
    most = _most(high, has_fractions, threshold)
    has_fill = high > 0 and over > most >= threshold
    if over > -np.inf and not has_fill:
        low, high = min(low, over), max(high, over)
        most = _most(high, has_fractions, threshold)
    return _Range(*((low, high) if low <= high else (0.0, 0.0)), has_fractions, most, has_fill)


def _most(high: float, has_fractions: bool, threshold: float) -> float:
    """What numbers up to `high` reach by their units; resampling leaves fractions a little over 1."""
    if has_fractions and high <= _OVER_ONE and threshold <= 1:
        return 1.0
    return next((most for most in _MOSTS if high <= most), high)


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
        yield stored, validity.complete(dataset, indexes, part, stored, stored == 0)


def _unique(values: NDArray[np.generic]) -> NDArray[np.generic]:
    """Values without repetition, sought among those that differ from the one before: sorting all would take seconds."""
    flat = values.ravel()
    return np.unique(np.append(flat[:1], flat[1:][flat[1:] != flat[:-1]]))


def _shown(values: list[int]) -> str:
    whole = [value for value in values if value not in (_NO_WHOLE, _FRACTIONS)]
    listed = ", ".join(map(str, whole[:12])) + (", ..." if len(whole) > 12 else "")
    return f"{'fractions' if _FRACTIONS in values else ''}{' and ' if _FRACTIONS in values and whole else ''}{listed}"
