"""A scene's own clouds over its clear ground: lifted off where they are, and laid where the ground is known.

They go where the holes of the scene's model are (`model.HeldOutModel`), which are shaped by the same mask, moved.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from itertools import product
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from cloudfree.arrays import Image, Mask
from cloudfree.geometry import Displacement
from cloudfree.inputs.files import InputReader
from cloudfree.inputs.optical.scene import Scene
from cloudfree.reconstruct.feather import Feather
from cloudfree.reconstruct.lifted import LiftedClouds, lift
from cloudfree.reconstruct.tile import Tile
from cloudfree.scene.model import HeldOutModel, SceneModel
from cloudfree.scene.stack import Move

ReadWindow = Callable[[range, range], tuple[Tile, tuple[Image, ...]]]
"""The tile at some rows and columns of a scene, and what each image of another date shows there (4, H, W)."""

GroundOf = Callable[[Tile], Image]
"""The ground (4, H, W) that clouds of a tile, which has what the model expects, are lifted off."""

_LEAST_PIECE_PX = 32


def window_reader(scene: Scene, reader: InputReader, displacement: Displacement, feather: Feather) -> ReadWindow:
    """Windows of a scene's open inputs, radar displaced and the mask feathered."""

    def read(rows: range, cols: range) -> tuple[Tile, tuple[Image, ...]]:
        pixels = reader.window(rows.start, cols.start, len(rows), len(cols), displacement)
        cloud_weight = feather.weight(pixels.cloudy)
        return Tile(scene.reflectance(pixels.dn), pixels.data, pixels.sar_db, cloud_weight), pixels.others

    return read


@dataclass(frozen=True)
class Clouded:
    """A window under the scene's own clouds, moved: its tile, the truth and the held-out model (4, H, W); `clear` and
    `tested` (H, W): ground that is seen, and ground that was hidden for the trial.
    """

    tile: Tile
    truth: Image
    ground: Image
    clear: Mask
    tested: Mask


def clouded(
    held: HeldOutModel, model: SceneModel, read: ReadWindow, ground_of: GroundOf, window: tuple[range, range]
) -> Clouded:
    """A window of some rows and columns, its hole under the clouds that the hole is shaped by."""
    rows, cols = window
    tile, others = read(rows, cols)
    expected = held.model.expected(rows, cols, others)
    truth = np.where(tile.data, np.clip(tile.reflectance, 0, 1), expected.ground)
    cloudy = tile.cloud_weight > 0
    free = tile.data & ~cloudy
    seen, unobstructed, tested = truth.copy(), expected.unobstructed.copy(), np.zeros_like(cloudy)
    for move in held.hole.moves:
        for here, moved in _moved(move, model, read, ground_of, rows, cols):
            where = free[here] & ~tested[here] & moved.mask
            seen[:, *here] = np.where(where, moved.clouds.over(truth[:, *here]), seen[:, *here])
            unobstructed[here] = np.where(where, moved.unobstructed, unobstructed[here])
            tested[here] |= where
    weight = np.maximum(tile.cloud_weight, tested)
    shown = replace(
        tile,
        reflectance=seen,
        cloud_weight=weight,
        wanted=weight,
        ground=expected.ground,
        deviation=expected.deviation,
        unobstructed=unobstructed,
    )
    hole = _on_fine(held.hole.mask, rows, cols, model.shape)
    return Clouded(shown, truth, expected.ground, free & ~tested, tested & hole)


class _Moved(NamedTuple):
    """The scene's own clouds at another place: `mask` (H, W) is theirs, `unobstructed` (H, W) as of the model."""

    clouds: LiftedClouds
    mask: Mask
    unobstructed: Image


def _moved(
    move: Move, model: SceneModel, read: ReadWindow, ground_of: GroundOf, rows: range, cols: range
) -> Iterator[tuple[tuple[slice, slice], _Moved]]:
    """Parts of a window, and what a move brings there; parts that are too narrow to lift clouds off are left out."""
    pieces = [move.pieces(axis, span, model.shape[axis]) for axis, span in enumerate((rows, cols))]
    for (row, from_row), (col, from_col) in product(*pieces):
        if min(len(row), len(col)) < _LEAST_PIECE_PX:
            continue
        (up, upright), (left, sideways) = _forwards(from_row), _forwards(from_col)
        tile, others = read(up, left)
        mask = (tile.cloud_weight > 0) & tile.data
        if not mask.any():
            continue
        expected = model.expected(up, left, others)
        ground = ground_of(replace(tile, **expected._asdict(), wanted=tile.cloud_weight))
        clouds = lift(np.clip(tile.reflectance, 0, 1), ground, mask)
        turn = (..., slice(None, None, upright), slice(None, None, sideways))
        here = (
            slice(row.start - rows.start, row.stop - rows.start),
            slice(col.start - cols.start, col.stop - cols.start),
        )
        yield here, _Moved(clouds.map(partial(_taken, turn)), mask[turn], expected.unobstructed[turn])


def _taken(where: tuple[Any, ...], image: Image) -> Image:
    return image[where]


def _forwards(span: range) -> tuple[range, int]:
    """A span from low to high, and the step that it had."""
    return (span, 1) if span.step > 0 else (span[::-1], -1)


def _on_fine(mask: Mask, rows: range, cols: range, shape: tuple[int, int]) -> Mask:
    """A coarse mask (h, w) at some rows and columns of an image of `shape` (H, W)."""
    return mask[np.ix_(_coarse(rows, mask.shape[0], shape[0]), _coarse(cols, mask.shape[1], shape[1]))]


def _coarse(span: range, coarse: int, fine: int) -> NDArray[np.intp]:
    """The coarse pixels of an axis that fine ones lie in."""
    return np.asarray(span, np.intp) * coarse // fine
