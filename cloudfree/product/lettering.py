"""Words on pictures, in letters of 5 by 9 pixels that stand drawn in `letters.txt`."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from cloudfree.arrays import Mask

HEIGHT_PX = 9
"""Of a line of letters at scale 1: seven above its base, two below."""

_WIDTH_PX, _ADVANCE_PX = 5, 6
_UNKNOWN = "?"


def width_px(text: str, scale: int) -> int:
    """Return how wide a text is."""
    return max(0, len(text) * _ADVANCE_PX - 1) * scale


def write(
    image: NDArray[np.uint8], text: str, place: tuple[int, int], colour: tuple[int, int, int], scale: int
) -> None:
    """Write a text onto an image (3, H, W), its upper left corner at a row and column; what is beyond is cut off."""
    row, col = place
    ink = np.kron(_ink(text), np.ones((scale, scale), bool))
    under = image[:, row : row + ink.shape[0], col : col + ink.shape[1]]
    under[:, ink[: under.shape[1], : under.shape[2]]] = np.array(colour, np.uint8)[:, None]


def _ink(text: str) -> Mask:
    """Return where the letters of a text are (9, W); a letter that is not drawn is a question mark."""
    letters = _letters()
    ink = np.zeros((HEIGHT_PX, _ADVANCE_PX * len(text)), bool)
    for number, letter in enumerate(text):
        if letter != " ":
            left = number * _ADVANCE_PX
            ink[:, left : left + _WIDTH_PX] = letters.get(letter, letters[_UNKNOWN])
    return ink


@cache
def _letters() -> dict[str, Mask]:
    """Return where each letter is (9, 5): in the file a line of letters, and nine lines in which they are drawn."""
    lines = Path(__file__).with_name("letters.txt").read_text(encoding="ascii").splitlines()
    letters = {}
    for start in range(0, len(lines), 1 + HEIGHT_PX):
        names, *drawn = lines[start : start + 1 + HEIGHT_PX]
        pixels = np.array([[pixel == "#" for pixel in line] for line in drawn])
        for number, name in enumerate(names):
            left = number * _ADVANCE_PX
            letters[name] = pixels[:, left : left + _WIDTH_PX]
    return letters
