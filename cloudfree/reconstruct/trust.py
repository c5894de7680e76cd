"""How far a network that sees is believed on a scene: as far as the scene's own clouds over its clear ground bear out.

The clouds are lifted off the ground, with the scene's model as ground, and laid over clear ground that hides in one of
the model's holes (`model.HeldOutModel`): the same clouds, moved. There the truth is known. What the network adds to the
closed form of what shows through is believed as far as it makes the squared error least, apart where something shows
through and where nothing does. The errors that are left, at full resolution, calibrate the uncertainty.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import product
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from cloudfree.arrays import Float64Array, Image, Mask
from cloudfree.geometry import Displacement
from cloudfree.geometry.grid import side_by_side
from cloudfree.inputs.files import InputReader
from cloudfree.inputs.optical.scene import Scene
from cloudfree.reconstruct.feather import Feather
from cloudfree.reconstruct.lifted import LiftedClouds, lift
from cloudfree.reconstruct.texture import texture_of
from cloudfree.reconstruct.tile import FULL, SHOWS, Network, Restoration, Tile, Trust, restore, seen_of
from cloudfree.scene.model import HeldOutModel, SceneModel
from cloudfree.scene.stack import Move
from cloudfree.scene.uncertainty import Uncertainty

ReadWindow = Callable[[range, range], tuple[Tile, tuple[Image, ...]]]
"""The tile at some rows and columns of a scene, and what each image of another date shows there (4, H, W)."""

# What is believed before anything was tried, and how many blocks of trials weigh as much.
EXPECTED, _EXPECTED_BLOCKS = 0.5, 4.0
_SURE = 0.5  # standard errors, by how much blocks agree, that are taken off
_LEAST = 0.1  # less is not worth the time
_BLOCK_PX = 32  # errors within a block go together
_FEWEST_CALIBRATING_PX = 2000
_WINDOW_PX, _FEWEST_WINDOWS, _MOST_WINDOWS = 256, 2, 6
_LEAST_PIECE_PX = 32


@dataclass(frozen=True)
class Trial:
    """Clear pixels that were hidden under clouds of the scene's own, of one window.

    added (4, n): what the network adds to the closed form there; missing (4, n): what would have been right to add;
    deviation (4, n): what the model's uncertainty says of its own error; share (n,): of the variance of that error, how
    much shows through takes away; blocks (n,): which pixels are neighbours, whose errors go together.
    """

    added: Image
    missing: Image
    deviation: Image
    share: Image
    blocks: NDArray[np.intp]


@dataclass(frozen=True)
class Evidence:
    """What a network makes of a scene's clear ground under the scene's own clouds.

    texture: parts (4, n), what clear pixels have of detail finer than the model's grid.
    """

    trials: list[Trial] = field(default_factory=list)
    texture: list[Image] = field(default_factory=list)

    @property
    def trust(self) -> Trust:
        """Of the whole scene. Where only one of the two was tried, the other is believed as far."""
        every = _share([_sums_by_block(trial, np.ones_like(trial.share, bool)) for trial in self.trials], EXPECTED)
        thin, opaque = (
            _share([_sums_by_block(trial, (trial.share > SHOWS) == shows) for trial in self.trials], every)
            for shows in (True, False)
        )
        return Trust(*(round(share, 3) if share >= _LEAST else 0.0 for share in (thin, opaque)))

    @property
    def texture_variance(self) -> Image:
        """Of reflectance (4,): of detail that the model does not know of."""
        parts = np.concatenate(self.texture, axis=1) if self.texture else np.zeros((4, 0), np.float32)
        return np.square(parts).mean(axis=1) if parts.size else np.zeros(4, np.float32)

    def applied_to(self, restoration: Restoration) -> Restoration:
        """The same, the network believed as far as it is borne out, and with what its tiles' model does not know."""
        return replace(restoration, trust=self.trust, texture_variance=self.texture_variance)

    def calibrated(self, uncertainty: Uncertainty, trust: Trust) -> Uncertainty:
        """The model's uncertainty by the errors of what is made: under opaque cloud, and where something shows."""
        thin = [trial.share > SHOWS for trial in self.trials]
        for where, shows in ((thin, True), ([~part for part in thin], False)):
            off, deviation, unseen = self._errors(where, trust.thin if shows else trust.opaque)
            if off.shape[1] >= _FEWEST_CALIBRATING_PX:
                uncertainty = (
                    uncertainty.calibrated_where_seen(off, deviation * np.sqrt(unseen))
                    if shows
                    else uncertainty.calibrated(off, deviation)
                )
        return uncertainty

    def _errors(self, where: list[Mask], believed: float) -> tuple[Image, Image, Image]:
        """Errors and deviations (4, n) and the unseen share (n,) of the trials' pixels that are asked for."""
        parts = [
            ((trial.missing - np.float32(believed) * trial.added)[:, w], trial.deviation[:, w], 1 - trial.share[w])
            for trial, w in zip(self.trials, where, strict=True)
        ]
        if not parts:
            return np.zeros((4, 0), np.float32), np.zeros((4, 0), np.float32), np.zeros(0, np.float32)
        off, deviation, unseen = zip(*parts, strict=True)
        return np.concatenate(off, axis=1), np.concatenate(deviation, axis=1), np.concatenate(unseen)


def window_reader(scene: Scene, reader: InputReader, displacement: Displacement, feather: Feather) -> ReadWindow:
    """Windows of a scene's open inputs, radar displaced and the mask feathered."""

    def read(rows: range, cols: range) -> tuple[Tile, tuple[Image, ...]]:
        pixels = reader.window(rows.start, cols.start, len(rows), len(cols), displacement)
        cloud_weight = feather.weight(pixels.cloudy)
        return Tile(scene.reflectance(pixels.dn), pixels.data, pixels.sar_db, cloud_weight), pixels.others

    return read


def measure(
    network: Network, model: SceneModel, restoration: Restoration, read: ReadWindow, largest_px: int
) -> Evidence:
    """What a few windows of a scene tell of a network, tried in pieces of at most `largest_px` a side."""
    evidence = Evidence()
    windows = [
        (held, piece)
        for held in model.held_out
        for window in _windows(held.hole.mask, model.shape, max(1, _MOST_WINDOWS // len(model.held_out)))
        for piece in product(*(_spans(span, largest_px) for span in window))
    ]
    clouded = [(held, piece, _clouded(held, model, read, *piece)) for held, piece in windows]
    side_px = round(model.shape[0] / model.coarse_shape[0])
    evidence.texture.extend(texture_of(c.truth - c.ground, c.clear, side_px) for _, _, c in clouded)
    restoration = replace(restoration, trust=FULL, texture_variance=evidence.texture_variance)
    for _, _, one in clouded:
        if one.tested.any():
            evidence.trials.append(_tried(one, restoration, network))
    return evidence


@dataclass(frozen=True)
class _Clouded:
    """A window under the scene's own clouds, moved: its tile, the truth and the held-out model (4, H, W); `clear` and
    `tested` (H, W): ground that is seen, and ground that was hidden for the trial.
    """

    tile: Tile
    truth: Image
    ground: Image
    clear: Mask
    tested: Mask


def _clouded(held: HeldOutModel, model: SceneModel, read: ReadWindow, rows: range, cols: range) -> _Clouded:
    """The window at some rows and columns, its hole under the clouds that the hole is shaped by."""
    tile, others = read(rows, cols)
    expected = held.model.expected(rows, cols, others)
    truth = np.where(tile.data, np.clip(tile.reflectance, 0, 1), expected.ground)
    cloudy = tile.cloud_weight > 0
    free = tile.data & ~cloudy
    seen, unobstructed, tested = truth.copy(), expected.unobstructed.copy(), np.zeros_like(cloudy)
    for move in held.hole.moves:
        for here, moved in _moved(move, model, read, rows, cols):
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
    return _Clouded(shown, truth, expected.ground, free & ~tested, tested & hole)


class _Moved(NamedTuple):
    """The scene's own clouds at another place: `mask` (H, W) is theirs, `unobstructed` (H, W) as of the model."""

    clouds: LiftedClouds
    mask: Mask
    unobstructed: Image


def _moved(
    move: Move, model: SceneModel, read: ReadWindow, rows: range, cols: range
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
        clouds = lift(np.clip(tile.reflectance, 0, 1), model.window(up, left, others), mask)
        turn = (..., slice(None, None, upright), slice(None, None, sideways))
        here = (
            slice(row.start - rows.start, row.stop - rows.start),
            slice(col.start - cols.start, col.stop - cols.start),
        )
        unobstructed = model.unobstructed_window(up, left)
        yield here, _Moved(clouds.map(partial(_taken, turn)), mask[turn], unobstructed[turn])


def _taken(where: tuple[Any, ...], image: Image) -> Image:
    return image[where]


def _forwards(span: range) -> tuple[range, int]:
    """A span from low to high, and the step that it had."""
    return (span, 1) if span.step > 0 else (span[::-1], -1)


def _tried(one: _Clouded, restoration: Restoration, network: Network) -> Trial:
    """What the network makes of a window under clouds, beside the truth."""
    seen = seen_of(one.tile, restoration)
    through, share = seen.through[0].numpy(), seen.share[0, 0].numpy()
    deviation = seen.deviation[0].numpy()
    restored: Image = restore([one.tile], restoration, network).reflectance[0].cpu().numpy()
    t = one.tested
    return Trial((restored - through)[:, t], (one.truth - through)[:, t], deviation[:, t], share[t], _blocks(t))


def _share(sums: list[Float64Array], expected: float) -> float:
    """0..1: the share of what is added that leaves the least squared error, less what may be chance of it.

    By sums (2, blocks) as of `_sums_by_block`; what is expected counts as much as some blocks.
    """
    size, agreement = np.concatenate([np.zeros((2, 0)), *sums], axis=1)
    if not size.any():
        return expected
    prior = _EXPECTED_BLOCKS * size.mean()
    share = (agreement.sum() + expected * prior) / (size.sum() + prior)
    standard_error = np.sqrt(np.square(agreement - share * size).sum()) / (size.sum() + prior)
    return float(np.clip(share - _SURE * standard_error, 0, 1))


def _sums_by_block(trial: Trial, where: Mask) -> Float64Array:
    """Sums (2, blocks) over each block, of the pixels (n,) that are asked for: of what is added, squared and times what
    is missing.
    """
    added, missing, blocks = trial.added[:, where], trial.missing[:, where], trial.blocks[where]
    names, number = np.unique(blocks, return_inverse=True)
    return np.stack(
        [np.bincount(number, (added * f).sum(axis=0, dtype=np.float64), len(names)) for f in (added, missing)]
    )


def _blocks(chosen: Mask) -> NDArray[np.intp]:
    """The number (n,) of the block that each chosen pixel of a window (H, W) lies in."""
    rows, cols = (length // _BLOCK_PX for length in np.nonzero(chosen))
    return np.asarray(rows * (chosen.shape[1] // _BLOCK_PX + 1) + cols, np.intp)


def _on_fine(mask: Mask, rows: range, cols: range, shape: tuple[int, int]) -> Mask:
    """A coarse mask (h, w) at some rows and columns of an image of `shape` (H, W)."""
    return mask[np.ix_(_coarse(rows, mask.shape[0], shape[0]), _coarse(cols, mask.shape[1], shape[1]))]


def _coarse(span: range, coarse: int, fine: int) -> NDArray[np.intp]:
    """The coarse pixels of an axis that fine ones lie in."""
    return np.asarray(span, np.intp) * coarse // fine


def _windows(tested: Mask, shape: tuple[int, int], most: int) -> Iterator[tuple[range, range]]:
    """Rows and columns of a few windows of a scene (H, W) in which much of `tested` (h, w) lies, spread over it."""
    if not tested.any():
        return
    axes = [_spans(range(length), _WINDOW_PX) for length in shape]
    scale = [coarse / length for coarse, length in zip(tested.shape, shape, strict=True)]
    windows = [(rows, cols) for rows in axes[0] for cols in axes[1]]
    counts = [
        tested[tuple(slice(int(s.start * k), math.ceil(s.stop * k)) for s, k in zip(spans, scale, strict=True))].sum()
        for spans in windows
    ]
    good = [spans for spans, count in zip(windows, counts, strict=True) if count >= max(counts) / 2]
    count = min(most, max(_FEWEST_WINDOWS, shape[0] * shape[1] // (4 * _WINDOW_PX**2)), len(good))
    chosen = np.unique(np.linspace(0, len(good) - 1, count).astype(int))
    yield from (good[i] for i in chosen)


def _spans(axis: range, side_px: int) -> list[range]:
    """The axis in spans of at most `side_px` that share as little as they can."""
    side = min(side_px, len(axis))
    return [axis[start : start + side] for start in side_by_side(len(axis), side)]
