"""What the numbers of a mask mean: cloud, clear or unknown, by tables of known kinds or the user's options."""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import IntEnum
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from cloudfree.bands import SKY_HIDDEN, SKY_NODATA
from cloudfree.errors import InputError
from cloudfree.inputs.optical import planet_product
from cloudfree.inputs.raster.validity import FAR_UNDER_ZERO


class State(IntEnum):
    """What a mask says of a pixel; of several bands the largest counts."""

    CLEAR = 0
    UNKNOWN = 1
    CLOUDY = 2  # or shadow or haze


@dataclass(frozen=True)
class Codes:
    """Which numbers are cloud: `values`, or those with any of `bits` set, or those from `threshold` on, or (none of
    these) every number but zero.

    `unknown` are values, or bits, that say nothing of the ground, and so are the numbers `no_data` of either. Where
    `inverted`, the numbers are clear instead. `zero_is_class`: zero is what it is, whatever a file declares nodata.
    `most`: what numbers with a threshold reach; larger ones are fill.
    """

    values: frozenset[int] | None = None
    bits: frozenset[int] | None = None
    unknown: frozenset[int] = frozenset()
    inverted: bool = False
    threshold: float | None = None
    no_data: frozenset[int] = frozenset()
    zero_is_class: bool = False
    most: float | None = None

    def states(self, stored: NDArray[np.generic]) -> NDArray[np.uint8]:
        """`State` (H, W) uint8 of stored bands (N, H, W): cloud where one of them is."""
        if stored.dtype == np.uint8:  # nearly all masks, many times as fast by a table
            of_bands = self._of_values(np.arange(256, dtype=np.uint8))[stored]
        else:
            of_bands = self._of_values(stored)
        return np.asarray(of_bands.max(axis=0))

    def _of_values(self, stored: NDArray[np.generic]) -> NDArray[np.uint8]:
        """`State` of each number."""
        numbers = np.nan_to_num(stored)
        whole = np.clip(numbers, -_FAR, _FAR).astype(np.int64)
        if self.bits is not None:
            cloudy, unknown = whole & _field(self.bits) != 0, whole & _field(self.unknown) != 0
        else:
            unknown = np.isin(whole, sorted(self.unknown))
            if self.threshold is not None:
                cloudy = numbers >= self.threshold
                unknown |= is_fill_under_zero(numbers) if self.threshold >= 0 else False
                unknown |= numbers > self.most if self.most is not None else False
            else:
                cloudy = numbers != 0 if self.values is None else np.isin(whole, sorted(self.values))
            cloudy = cloudy != self.inverted
        if self.no_data:
            unknown |= np.isin(whole, sorted(self.no_data))
        return np.where(unknown, State.UNKNOWN, np.where(cloudy, State.CLOUDY, State.CLEAR)).astype(np.uint8)


NO_CLASS = 255
"""No data in bytes that hold classes, declared or not."""

NO_DATA = frozenset({NO_CLASS, 32767, 55537, 65535, -1, -99, -999, -9999, -32768, 2**32 - 1, -(2**31)})
"""What stands for no data beside classes, declared or not; 55537 is -9999 in uint16."""

_FAR = 2**53  # whole numbers of floats end here


def is_fill_under_zero(numbers: NDArray[Any]) -> NDArray[np.bool_]:
    """Where numbers under zero are fill among probabilities; others are what resampling leaves beside an edge."""
    fill = np.isin(numbers, [number for number in NO_DATA if number < 0])
    return np.asarray(fill | (numbers < FAR_UNDER_ZERO))


def _classes(cloudy: set[int], *unknown: int, zero_is_class: bool = True) -> Codes:
    return Codes(frozenset(cloudy), unknown=frozenset(unknown), no_data=NO_DATA, zero_is_class=zero_is_class)


def _bits(*cloudy: int, unknown: tuple[int, ...] = (), byte: bool = True, zero_is_class: bool = True) -> Codes:
    no_data = NO_DATA - {NO_CLASS} if byte else NO_DATA
    return Codes(None, frozenset(cloudy), frozenset(unknown), no_data=no_data, zero_is_class=zero_is_class)


OWN = _classes({int(sky) for sky in SKY_HIDDEN}, SKY_NODATA)
"""The first band of what --write-mask writes."""

VALUE_PRESETS = {
    # Analysis-Ready PlanetScope: 1 clear, 2 cloud, 3 shadow, 4 haze, 5 adjacent, 6 and 7 other
    "arps": _classes({2, 3, 4}, -999, zero_is_class=False),
    # Sentinel-2 level 2A: 3 shadow, 8 and 9 cloud, 10 cirrus, 0 and 1 no data
    "scl": _classes({3, 8, 9, 10}, 0, 1, zero_is_class=False),
    "fmask": _classes({2, 4}, NO_CLASS),  # Fmask 4: 0 land, 1 water, 2 shadow, 3 snow, 4 cloud
    "s2cloudless": _classes({1}, NO_CLASS),  # 0 clear, 1 cloud
    "omnicloudmask": _classes({1, 2, 3}, NO_CLASS),  # and CloudSEN12: 0 clear, 1 thick and 2 thin cloud, 3 shadow
}
"""`--mask-values` by name."""

BIT_PRESETS = {
    "udm1": _bits(1, unknown=(0,)),  # bit 0 blackfill, 1 cloud, 2 to 7 bands missing
    "qa60": _bits(10, 11, byte=False),  # Sentinel-2: 10 opaque cloud, 11 cirrus
    # Landsat Collection 2: dilated, cirrus, cloud, shadow; 0 is no pixel of it
    "qa_pixel": _bits(1, 2, 3, 4, unknown=(0,), zero_is_class=False),
    # HLS's Fmask: 1 cloud, 2 adjacent, 3 shadow, 4 snow, 5 water, 6 and 7 aerosol
    "hls": _bits(1, 2, 3, byte=False),
    "maja": _bits(*range(8)),  # MAJA's CLM: each bit a kind of cloud or shadow
}
"""`--mask-bits` by name."""

PRESETS = VALUE_PRESETS | BIT_PRESETS

_NAMES = (
    (re.compile(r"\bhls(?:[sl]30)?\b.* fmask\b|\bfmask .*\bhls"), "hls"),
    (re.compile(r"\bfmask4?\b"), "fmask"),
    (re.compile(r"\bqa pixel\b"), "qa_pixel"),
    (re.compile(r"\bqa60\b"), "qa60"),
    (re.compile(r"\b(?:maja|clm)\b"), "maja"),
    (re.compile(r"\b(?:omnicloudmask|ocm|cloudsen12\w*)\b"), "omnicloudmask"),
    (re.compile(r"\bs2 ?cloudless\b"), "s2cloudless"),
    (re.compile(r"\bscl\b"), "scl"),
    (re.compile(r"\barps\b"), "arps"),
    (re.compile(r"\budm1?\b"), "udm1"),
)
"""Words in the name of a mask's file or band, apart by spaces, and the preset that they state; the first counts."""

_POSSIBLE = {
    "arps": {*range(8), -999},
    "scl": {*range(12)},
    "fmask": {*range(5), NO_CLASS},
    "s2cloudless": {0, 1, NO_CLASS},
    "omnicloudmask": {*range(4), NO_CLASS},
}
_IN_WORDS = {
    "arps": "classes of 1 to 7",
    "scl": "classes of 0 to 11",
    "fmask": "classes of 0 to 4, and 255",
    "s2cloudless": "0, 1 and 255",
    "omnicloudmask": "classes of 0 to 3, and 255",
    "udm1": "a byte of bits",
    "qa60": "bits 10 and 11",
    "qa_pixel": "bits, with confidences from bit 8 on",
    "hls": "a byte of bits",
    "maja": "a byte of bits",
}

CLEAR_WORDS, CLOUD_WORDS = {"clear"}, {"cloud", "clouds", "shadow", "haze", "cirrus"}
"""Whole words in the name of one of several bands that is set where the ground is seen, or where something hides it."""

OTHER_WORDS = {"confidence", "probability", "snow", "udm1"}
"""Whole words in the name of a band that says how sure another is, or that is of ground."""


_SPAN = re.compile(r"(-?\d{1,9})(?:-(\d{1,9}))?")
_HIGHEST_BIT = 62  # of the 64 of a signed number
_MOST_NUMBERS = 1 << 16  # of 4-7 in a row


@dataclass(frozen=True)
class MaskOptions:
    """Options for reading a mask, those of `files.InputOptions`; None means: take it from the file."""

    values: str | None = None
    bits: str | None = None
    unknown: Literal["cloud", "clear"] = "cloud"
    threshold: float | None = None

    @property
    def given(self) -> tuple[str, ...]:
        """The options that say what numbers mean."""
        values = {"--mask-values": self.values, "--mask-bits": self.bits, "--mask-threshold": self.threshold}
        return tuple(option for option, value in values.items() if value not in (None, ""))

    def codes(self) -> Codes | None:
        """What numbers mean by the options, None without any. Raises InputError."""
        if len(self.given) > 1:
            raise InputError(
                f"{' and '.join(self.given)} are both given; one says what a mask means: leave the other out"
            )
        if self.values:
            return VALUE_PRESETS.get(self.values.lower()) or Codes(
                _numbers("--mask-values", self.values, VALUE_PRESETS)
            )
        if self.bits:
            return BIT_PRESETS.get(self.bits.lower()) or Codes(bits=_numbers("--mask-bits", self.bits, BIT_PRESETS))
        return None if self.threshold is None else Codes(threshold=self.threshold, zero_is_class=True)


def preset_of(text: str) -> str | None:
    """The preset that words in a name state; None where none do."""
    spaced = " ".join(planet_product.words(text))
    return next((preset for pattern, preset in _NAMES if pattern.search(spaced)), None)


def fits(preset: str, values: list[int]) -> bool:
    """Whether a mask of a kind can hold values, no data aside where there is another number that is not zero."""
    held = {*values} - NO_DATA
    if not held - {0}:
        held = {*values}
    if preset in _POSSIBLE:
        return held <= _POSSIBLE[preset] and not (preset == "scl" and 1 in held <= {0, 1})  # of no ground at all
    if preset == "qa60":
        return all(value in (0, 1 << 10, 1 << 11, 3 << 10) for value in held)
    if preset == "qa_pixel":
        return held != {0, 1} and all(value in (0, 1) or 1 << 8 <= value < 1 << 16 for value in held)
    only_cirrus = preset == "hls" and held - {NO_CLASS} == {0, 1}  # a bit that HLS does not use
    return not only_cirrus and all(0 <= value < 1 << 8 for value in held)


def in_words(preset: str) -> str:
    """What a mask of a kind holds."""
    return _IN_WORDS[preset]


def codes_of_values(values: list[int]) -> Codes | None:
    """The meaning of values that nothing explains: the one that is not zero is cloud; None where there are more.

    255 and the like beside another value that is not zero are no data.
    """
    others = {value for value in values if value != 0}
    unknown = NO_DATA if others - NO_DATA else frozenset[int]()
    if NO_CLASS in others and not unknown:
        unknown = NO_DATA - {NO_CLASS}
    return Codes(unknown=unknown, zero_is_class=True) if len(others - unknown) <= 1 else None


def _numbers(option: str, text: str, presets: dict[str, Codes]) -> frozenset[int]:
    """The numbers of a text like 2,3 or 4-7. Raises InputError."""
    numbers: set[int] = set()
    for part in text.split(","):
        span = _SPAN.fullmatch(part.strip())
        low, high = (int(span[1]), int(span[2] or span[1])) if span else (1, 0)
        possible = presets is not BIT_PRESETS or 0 <= low <= high <= _HIGHEST_BIT
        if not (0 <= high - low < _MOST_NUMBERS and possible):
            raise InputError(
                f"{option} {text[:60]} is neither numbers nor a preset; allowed are 2,3, 4-7, {', '.join(presets)}: "
                "name the values that are cloud or shadow"
            )
        numbers.update(range(low, high + 1))
    return frozenset(numbers)


def _field(bits: frozenset[int]) -> int:
    return sum(1 << bit for bit in bits)
