"""Overlapping windows over an image and the weights that blend them: pure arithmetic, no pixels.

Everything is separable, so rows and columns are planned alone. Windows start on a lattice of 16 pixels: there the
attention windows of neighbouring tiles coincide, and a tile sees the same padding as the whole image would.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from cloudfree.arrays import Float64Array, Image
from cloudfree.errors import CloudfreeError

TILE_PX, OVERLAP_PX = 512, 64
"""Side of a window where nothing else is wanted, and what neighbours share."""

LATTICE_PX = 16
"""Twice the attention window of 8, which works at half resolution."""


@dataclass(frozen=True, eq=False)
class Span:
    """Pixels start <= x < stop of one axis, and their blend weights: those of all spans sum to one at each pixel."""

    start: int
    stop: int
    weights: Image

    def __len__(self) -> int:
        return self.stop - self.start


def check_tile(tile: int, overlap: int) -> None:
    """Raise CloudfreeError for a tile size or an overlap (pixels) that no plan can be made of."""
    if tile < LATTICE_PX or tile % LATTICE_PX:
        raise CloudfreeError(
            f"--tile is {tile}; the tile must be a positive multiple of {LATTICE_PX} pixels: "
            f"try {max(1, round(tile / LATTICE_PX)) * LATTICE_PX}"
        )
    if not 0 <= overlap < tile:
        raise CloudfreeError(
            f"--overlap is {overlap} and the tile {tile}; the overlap must be at least 0 and smaller than the tile: "
            f"try {tile // 4}"
        )


def spans(length: int, tile: int, overlap: int) -> tuple[Span, ...]:
    """Cover 0..length by windows of at most `tile` pixels that share at least `overlap`, rounded up to the lattice.

    Windows are of one size, the least that as many of them need: of an axis a little longer than the tile, little is
    done twice. Neighbours start at least one lattice step apart, so an overlap of nearly the whole tile is cut to what
    that leaves. The last window is moved back so that it is whole, or nearly: it loses less than a lattice step. An
    axis shorter than the tile gets one window.
    """
    check_tile(tile, overlap)
    shared = tile - max(LATTICE_PX, (tile - overlap) // LATTICE_PX * LATTICE_PX)
    count = max(1, math.ceil((length - shared) / (tile - shared)))
    if count > 1:
        tile = min(tile, _on_lattice((length + (count - 1) * shared) / count))
    stride = max(LATTICE_PX, tile - shared)
    last = max(0, _on_lattice(length - tile))
    starts = [*range(0, last, stride), last]
    bounds = [(start, min(start + tile, length)) for start in starts]
    raw = [_ramps(start, stop, length, tile - stride) for start, stop in bounds]
    total = np.zeros(length)
    for (start, stop), ramp in zip(bounds, raw, strict=True):
        total[start:stop] += ramp
    assert (total > 0).all(), "every pixel must be under some window"
    return tuple(
        Span(start, stop, (ramp / total[start:stop]).astype(np.float32))
        for (start, stop), ramp in zip(bounds, raw, strict=True)
    )


def spans_touching(part: slice, length: int, tile: int, overlap: int) -> tuple[Span, ...]:
    """Those of `spans` that have pixels of a part of the axis; at these, their weights still sum to one."""
    of_whole = spans(length, tile, overlap)
    return tuple(span for span in of_whole if span.start < part.stop and span.stop > part.start)


def _on_lattice(length: float) -> int:
    return math.ceil(length / LATTICE_PX) * LATTICE_PX


def _ramps(start: int, stop: int, length: int, overlap: int) -> Float64Array:
    """Unnormalised weights: flat inside, a smooth ramp over the overlap, nothing in its outer quarter.

    The outermost pixels of a window carry the padding of every convolution, so they count only at the image's edge.
    """
    position = np.arange(start, stop)
    ramp = np.ones(stop - start)
    if overlap == 0:
        return ramp
    margin = overlap // 4
    for distance, inside in ((position - start, start > 0), (stop - 1 - position, stop < length)):
        if inside:
            t = np.clip((distance + 0.5 - margin) / (overlap - 2 * margin), 0, 1)
            ramp *= t * t * (3 - 2 * t)
    return ramp
