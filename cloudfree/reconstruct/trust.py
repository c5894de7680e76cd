"""How far a network that sees is believed on a scene: as far as the scene's own clouds over its clear ground bear out.

There (`own_clouds`) the truth is known, and the scene's model does not know it. What the network adds to the closed
form of what shows through is believed as far as it makes the squared error least, apart where something shows through
and where nothing does. The errors that are left, at full resolution, calibrate the uncertainty.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import product

import numpy as np
from numpy.typing import NDArray

from cloudfree.arrays import Float64Array, Image, Mask
from cloudfree.geometry.grid import side_by_side
from cloudfree.reconstruct.own_clouds import Clouded, GroundOf, ReadWindow, clouded
from cloudfree.reconstruct.texture import texture_of
from cloudfree.reconstruct.tile import (
    FULL,
    NO_TRUST,
    SHOWS,
    Believed,
    Network,
    Restoration,
    Tile,
    Trust,
    restore,
    seen_of,
)
from cloudfree.scene.model import SceneModel
from cloudfree.scene.uncertainty import Uncertainty

# What is believed before anything was tried, and how many blocks of trials weigh as much.
EXPECTED, _EXPECTED_BLOCKS = 0.5, 2.0
_ALL, _VISIBLE, _NIR = slice(None), slice(3), slice(3, None)  # bands
_LEAST = 0.1  # less is not worth the time
_BLOCK_PX = 32  # errors within a block go together
_FEWEST_CALIBRATING_PX = 2000
_WINDOW_PX, _FEWEST_WINDOWS, _MOST_WINDOWS = 256, 2, 6


@dataclass(frozen=True)
class Trial:
    """Clear pixels that were hidden under clouds of the scene's own, of one window.

    reflectance (4, n): by the closed form; added (4, n): what the network adds to it; missing (4, n): what would have
    been right to add; deviation (4, n): what the model's uncertainty says of its own error; share (n,): of the variance
    of that error, how much what shows through takes away; blocks (n,): which pixels are neighbours, whose errors go
    together.
    """

    reflectance: Image
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

    trials: tuple[Trial, ...] = ()
    texture: tuple[Image, ...] = ()

    @cached_property
    def trust(self) -> Trust:
        """Of the whole scene. Where only one of the two was tried, the other is believed as far."""
        every = _share([_sums_by_block(trial) for trial in self.trials], EXPECTED)
        thin, opaque = (
            Believed(*(self._believed(bands, every, shows=shows) for bands in (_VISIBLE, _NIR)))
            for shows in (True, False)
        )
        return Trust(thin, opaque)

    def _believed(self, bands: slice, expected: float, *, shows: bool) -> float:
        every = _share([_sums_by_block(trial, bands) for trial in self.trials], expected)
        share = _share([_sums_by_block(trial, bands, (trial.share > SHOWS) == shows) for trial in self.trials], every)
        return round(share, 3) if share >= _LEAST else 0.0

    @cached_property
    def texture_variance(self) -> Image:
        """Of reflectance (4,): of detail that the model does not know of."""
        parts = np.concatenate(self.texture, axis=1) if self.texture else np.zeros((4, 0), np.float32)
        return np.square(parts).mean(axis=1) if parts.size else np.zeros(4, np.float32)

    def applied_to(self, restoration: Restoration) -> Restoration:
        """The same, the network believed as far as it is borne out, and with what its tiles' model does not know."""
        return replace(restoration, trust=self.trust, texture_variance=self.texture_variance)

    def calibrated(self, uncertainty: Uncertainty, trust: Trust) -> Uncertainty:
        """The model's uncertainty by errors of what is made: first where nothing shows, then where something does."""
        if not self.trials:
            return uncertainty
        parts = ((t.reflectance, t.added, t.missing, t.deviation, t.share) for t in self.trials)
        reflectance, added, missing, deviation, share = (
            np.concatenate(part, axis=-1) for part in zip(*parts, strict=True)
        )
        seen = share > SHOWS
        added = added * np.where(seen, *(believed.of_bands[:, None] for believed in trust))
        off = missing - added
        if (~seen).sum() >= _FEWEST_CALIBRATING_PX:
            uncertainty = uncertainty.calibrated(off[:, ~seen], deviation[:, ~seen])
        if seen.sum() >= _FEWEST_CALIBRATING_PX:
            made = (reflectance + added)[:, seen]
            uncertainty = uncertainty.calibrated_where_seen(off[:, seen], made, 1 - share[seen])
        return uncertainty


def measure(
    network: Network, model: SceneModel, restoration: Restoration, read: ReadWindow, largest_px: int
) -> Evidence:
    """What a few windows of a scene tell of a network, tried in pieces of at most `largest_px` a side.

    The clouds are lifted off the model's ground first, in which fields may be missing that then seem to be in the
    clouds. So they are lifted again off the ground that is made with such a trust, and tried once more.
    """
    windows = [
        (held, (rows, cols))
        for held in model.held_out
        for window in _windows(held.hole.mask, model.shape, max(1, _MOST_WINDOWS // len(model.held_out)))
        for rows, cols in product(*(_spans(span, largest_px) for span in window))
    ]

    def tried(ground_of: GroundOf) -> Evidence:
        places = [clouded(held, model, read, ground_of, piece) for held, piece in windows]
        texture = (texture_of(place.truth - place.ground, place.clear, model.side_px) for place in places)
        untried = Evidence(texture=tuple(texture))
        trying = replace(restoration, trust=FULL, texture_variance=untried.texture_variance)
        return replace(untried, trials=tuple(_tried(one, trying, network) for one in places if one.tested.any()))

    first = tried(_expected_ground)
    if first.trust == NO_TRUST or not first.trials:
        return first
    believed = first.applied_to(restoration)
    return tried(lambda tile: restore([tile], believed, network).reflectance[0].cpu().numpy())


def _expected_ground(tile: Tile) -> Image:
    assert tile.ground is not None
    return tile.ground


def _tried(one: Clouded, restoration: Restoration, network: Network) -> Trial:
    """What the network makes of a window under clouds, beside the truth."""
    seen, t = seen_of(one.tile, restoration), one.tested
    through, share = seen.through[0].numpy()[:, t], seen.share[0, 0].numpy()[t]
    restored: Image = restore([one.tile], restoration, network).reflectance[0].cpu().numpy()
    assert one.tile.deviation is not None
    added, missing, deviation = restored[:, t] - through, one.truth[:, t] - through, one.tile.deviation[:, t]
    return Trial(through, added, missing, deviation, share, _blocks(t))


def _share(sums: list[Float64Array], expected: float) -> float:
    """0..1: the share of what is added that leaves the least squared error, by sums (2, blocks) as of `_sums_by_block`.

    What is expected counts as much as some blocks.
    """
    size, agreement = np.concatenate([np.zeros((2, 0)), *sums], axis=1)
    if not size.any():
        return expected
    prior = _EXPECTED_BLOCKS * size.mean()
    return float(np.clip((agreement.sum() + expected * prior) / (size.sum() + prior), 0, 1))


def _sums_by_block(trial: Trial, bands: slice = _ALL, where: Mask | slice = _ALL) -> Float64Array:
    """Sums (2, blocks) over each block, of the bands and pixels (n,) that are asked for: of what is added, squared and
    times what is missing.
    """
    added, missing, blocks = trial.added[bands, where], trial.missing[bands, where], trial.blocks[where]
    names, number = np.unique(blocks, return_inverse=True)
    return np.stack(
        [np.bincount(number, (added * f).sum(axis=0, dtype=np.float64), len(names)) for f in (added, missing)]
    )


def _blocks(chosen: Mask) -> NDArray[np.intp]:
    """The number (n,) of the block that each chosen pixel of a window (H, W) lies in."""
    rows, cols = (length // _BLOCK_PX for length in np.nonzero(chosen))
    return np.asarray(rows * (chosen.shape[1] // _BLOCK_PX + 1) + cols, np.intp)


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
