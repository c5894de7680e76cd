"""Panels of a picture side by side, each under its title and a note on its colours."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cloudfree.product import lettering

GAP_PX = 8
"""Of white between two panels."""

NARROWEST_PX = 320
"""Width from which on panels have words; on narrower ones they could not be read."""

_WIDE_PX = 640  # from which on letters are twice as large
_BLACK, _GREY = (0, 0, 0), (90, 90, 90)
_BAR_PX, _MARGIN_PX = 64, 4


@dataclass(frozen=True)
class Panel:
    """Colours (3, H, W), a title, a note, and the colours (3, n) of a scale that the note begins with, if there is one.

    The note of a scale is in two parts: what is at its left end, and what follows it.
    """

    pixels: NDArray[np.uint8]
    title: str
    note: str
    scale: NDArray[np.uint8] | None = None
    scale_from: str = ""


def side_by_side(panels: Sequence[Panel]) -> NDArray[np.uint8]:
    """Return panels of one height as one picture (3, H, W), with words where all of them are wide enough."""
    narrowest = min(panel.pixels.shape[2] for panel in panels)
    columns = [panel.pixels for panel in panels]
    if narrowest >= NARROWEST_PX:
        size = 2 if narrowest >= _WIDE_PX else 1
        columns = [np.concatenate([_caption(panel, size), panel.pixels], axis=1) for panel in panels]
    gap = np.full((3, columns[0].shape[1], GAP_PX), 255, np.uint8)
    return np.concatenate([part for column in columns for part in (gap, column)][1:], axis=2)


def _caption(panel: Panel, size: int) -> NDArray[np.uint8]:
    """Return the title and, in a second line, the note, in letters of a size (1, 2): (3, h, W)."""
    line_px = (lettering.HEIGHT_PX + _MARGIN_PX) * size
    caption = np.full((3, 2 * line_px + _MARGIN_PX * size, panel.pixels.shape[2]), 255, np.uint8)
    top = left = _MARGIN_PX * size
    lettering.write(caption, panel.title, (top, left), _BLACK, size)
    after = left if panel.scale is None else _draw_scale(caption, panel, (top + line_px, left), size)
    lettering.write(caption, panel.note, (top + line_px, after), _GREY, size)
    return caption


def _draw_scale(caption: NDArray[np.uint8], panel: Panel, place: tuple[int, int], size: int) -> int:
    """Draw what a scale begins with, and its colours; return the column after them."""
    assert panel.scale is not None
    lettering.write(caption, panel.scale_from, place, _GREY, size)
    top, left = place[0], place[1] + lettering.width_px(panel.scale_from, size) + _MARGIN_PX * size
    columns = (np.arange(_BAR_PX * size) * panel.scale.shape[1]) // (_BAR_PX * size)
    caption[:, top : top + 7 * size, left : left + columns.size] = panel.scale[:, None, columns]
    return left + columns.size + _MARGIN_PX * size
