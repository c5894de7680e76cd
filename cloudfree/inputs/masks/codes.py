"""What the numbers of a mask mean: cloud, clear or unknown, by tables of known kinds or the user's options."""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import IntEnum
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from cloudfree.errors import InputError


class State(IntEnum):
    """What a mask says of a pixel; of several bands the largest counts."""

    CLEAR = 0
    UNKNOWN = 1
    CLOUDY = 2  # or shadow or haze


@dataclass(frozen=True)
class Codes:
    """Which numbers are cloud: `values`, or those with any of `bits` set, or (neither) every number but zero.

    `unknown` are values, or bits, that say nothing of the ground. Where `inverted`, the numbers are clear instead.
    """

    values: frozenset[int] | None = None
    bits: frozenset[int] | None = None
    unknown: frozenset[int] = frozenset()
    inverted: bool = False

    def states(self, stored: NDArray[np.generic]) -> NDArray[np.uint8]:
        """`State` (H, W) uint8 of stored bands (N, H, W): cloud where one of them is."""
        if stored.dtype == np.uint8:  # nearly all masks, many times as fast by a table
            of_bands = self._of_values(np.arange(256, dtype=np.uint8))[stored]
        else:
            of_bands = self._of_values(stored)
        return np.asarray(of_bands.max(axis=0))

    def _of_values(self, stored: NDArray[np.generic]) -> NDArray[np.uint8]:
        """`State` of each number."""
        whole = np.nan_to_num(stored).astype(np.int64)
        if self.bits is not None:
            cloudy, unknown = whole & _field(self.bits) != 0, whole & _field(self.unknown) != 0
        else:
            cloudy = np.nan_to_num(stored) != 0 if self.values is None else np.isin(whole, sorted(self.values))
            unknown = np.isin(whole, sorted(self.unknown))
            cloudy = cloudy != self.inverted
        return np.where(unknown, State.UNKNOWN, np.where(cloudy, State.CLOUDY, State.CLEAR)).astype(np.uint8)


def _classes(cloudy: set[int], *unknown: int) -> Codes:
    return Codes(values=frozenset(cloudy), unknown=frozenset(unknown))


VALUE_PRESETS = {
    "arps": _classes({2, 3, 4}, -999),  # Analysis-Ready PlanetScope: 1 clear, 2 cloud, 3 shadow, 4 haze, 5 adjacent
    "scl": _classes({3, 8, 9, 10}, 0, 1),  # Sentinel-2 level 2A: 3 shadow, 8 and 9 cloud, 10 cirrus, 0 and 1 no data
    "fmask": _classes({2, 4}, 255),  # Fmask 4: 0 land, 1 water, 2 shadow, 3 snow, 4 cloud
    "s2cloudless": _classes({1}, 255),  # 0 clear, 1 cloud
    "omnicloudmask": _classes({1, 2, 3}, 255),  # 0 clear, 1 thick and 2 thin cloud, 3 shadow
}
"""`--mask-values` by name."""

BIT_PRESETS = {
    "udm1": Codes(bits=frozenset({1}), unknown=frozenset({0})),  # bit 0 blackfill, 1 cloud, 2 to 7 bands missing
    "qa60": Codes(bits=frozenset({10, 11})),  # Sentinel-2: 10 opaque cloud, 11 cirrus
    "qa_pixel": Codes(bits=frozenset({1, 2, 3, 4}), unknown=frozenset({0})),  # Landsat: dilated, cirrus, cloud, shadow
}
"""`--mask-bits` by name."""

NAME_WORDS = {"udm": "udm1", "udm1": "udm1"} | {name: name for name in (*VALUE_PRESETS, "qa60")}
"""Whole words in the name of a mask's file or band that state a preset."""

CLEAR_WORDS, CLOUD_WORDS = {"clear"}, {"cloud", "clouds", "shadow", "haze", "cirrus"}
"""Whole words in the name of a band that is set where the ground is seen, or where something hides it."""

OTHER_WORDS = {"confidence", "probability", "snow", "udm1"}
"""Whole words in the name of a band that says how sure another is, or that is of ground."""

NO_CLASS = 255
"""No data in bytes that hold classes, declared or not."""


_SPAN = re.compile(r"(-?\d{1,9})(?:-(\d{1,9}))?")
_HIGHEST_BIT = 62  # of the 64 of a signed number
_MOST_NUMBERS = 1 << 16  # of 4-7 in a row


@dataclass(frozen=True)
class MaskOptions:
    """Options for reading a mask, those of `files.InputOptions`; None means: take it from the file."""

    values: str | None = None
    bits: str | None = None
    unknown: Literal["cloud", "clear"] = "cloud"

    def codes(self) -> Codes | None:
        """What numbers mean by `values` or `bits`, None without either. Raises InputError."""
        if self.values and self.bits:
            raise InputError(
                "--mask-values and --mask-bits are both given; one says what a mask means: leave the other out"
            )
        if self.values:
            return VALUE_PRESETS.get(self.values.lower()) or Codes(
                _numbers("--mask-values", self.values, VALUE_PRESETS)
            )
        if self.bits:
            return BIT_PRESETS.get(self.bits.lower()) or Codes(bits=_numbers("--mask-bits", self.bits, BIT_PRESETS))
        return None


def codes_of_words(words: set[str]) -> tuple[Codes, str] | None:
    """The preset that a whole word of a name states, and why; None where none does."""
    for word in sorted(words & set(NAME_WORDS)):
        preset = NAME_WORDS[word]
        return VALUE_PRESETS.get(preset) or BIT_PRESETS[preset], f"{word!r} in its name, preset {preset}"
    return None


def codes_of_values(values: list[int]) -> Codes | None:
    """The meaning of values that nothing explains: the one that is not zero is cloud; None where there are more.

    255 beside another value that is not zero is no data.
    """
    others = {value for value in values if value != 0}
    unknown = {NO_CLASS} if len(others) > 1 else set()
    return Codes(unknown=frozenset(unknown)) if len(others - unknown) <= 1 else None


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
