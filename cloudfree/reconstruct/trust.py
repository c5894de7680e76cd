"""How far a network is believed where cloud leaves it nothing to see: as far as the scene's clear ground bears it out.

The scene's model comes with one that was fitted without some of the clear ground (`model.HeldOutModel`). The network
is shown that model there. If what it adds brings the guess nearer to the ground that was hidden, it is believed; if
not, the model stays as it is. The error that is left, at full resolution, calibrates the uncertainty.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from itertools import product

import numpy as np
from numpy.typing import NDArray

from cloudfree.arrays import Float64Array, Image, Mask, known_of
from cloudfree.geometry import Displacement
from cloudfree.geometry.grid import side_by_side
from cloudfree.inputs.files import InputReader
from cloudfree.inputs.optical.scene import Scene
from cloudfree.reconstruct.feather import Feather
from cloudfree.reconstruct.tile import Network, Restoration, Tile, restore
from cloudfree.scene.model import SceneModel
from cloudfree.scene.uncertainty import Uncertainty

ReadWindow = Callable[[range, range], tuple[Tile, tuple[Image, ...]]]
"""The tile at some rows and columns of a scene, and what each image of another date shows there (4, H, W)."""

UNPROVEN = 0.0
"""The trust where there is too little clear ground to tell."""

_FEWEST_PX = 2000
_BLOCK_PX, _SURE = 32, 1.64  # errors within a block go together; one chance in twenty that less would be right
_WINDOW_PX, _FEWEST_WINDOWS, _MOST_WINDOWS = 256, 2, 6


@dataclass(frozen=True)
class Evidence:
    """What a network adds to the model at hidden pixels, and what would have been right to add.

    Each is a list of parts (4, n); `deviations` is what the model's uncertainty says of these pixels, `texture` what
    clear pixels have of detail finer than the model's grid. `blocks` (n,): which pixels are neighbours, whose errors go
    together.
    """

    added: list[Image] = field(default_factory=list)
    missing: list[Image] = field(default_factory=list)
    deviations: list[Image] = field(default_factory=list)
    texture: list[Image] = field(default_factory=list)
    blocks: list[NDArray[np.intp]] = field(default_factory=list)

    @property
    def pixels(self) -> int:
        return sum(part.shape[1] for part in self.added)

    @property
    def trust(self) -> float:
        """0..1: the share of what the network adds that leaves the least squared error, less what may be chance of it.

        That is 1.64 standard errors, by how much blocks of neighbours agree.
        """
        size, agreement = self._by_block(self.added), self._by_block(self.missing)
        if self.pixels < _FEWEST_PX or not size.any():
            return UNPROVEN
        share = agreement.sum() / size.sum()
        standard_error = np.sqrt(np.square(agreement - share * size).sum()) / size.sum()
        return round(float(np.clip(share - _SURE * standard_error, 0, 1)), 3)

    def _by_block(self, factors: list[Image]) -> Float64Array:
        """Sums over each block of what is added times these factors, pixel by pixel."""
        sums = [
            np.bincount(blocks, (added * factor).sum(axis=0, dtype=np.float64))
            for blocks, added, factor in zip(self.blocks, self.added, factors, strict=True)
        ]
        return np.concatenate(sums) if sums else np.zeros(0)

    @property
    def texture_variance(self) -> Image:
        """Of reflectance (4,): of detail that the model does not know of."""
        parts = np.concatenate(self.texture, axis=1) if self.texture else np.zeros((4, 0), np.float32)
        return np.square(parts).mean(axis=1) if parts.size else np.zeros(4, np.float32)

    def applied_to(self, restoration: Restoration) -> Restoration:
        """The same, the network believed as far as it is borne out, and with what its tiles' model does not know."""
        if restoration.error_variance is None:
            return replace(restoration, trust=self.trust)
        error_variance = restoration.error_variance + self.texture_variance
        return replace(restoration, trust=self.trust, error_variance=error_variance)

    def calibrated(self, uncertainty: Uncertainty) -> Uncertainty:
        """The model's uncertainty by the errors of what it and the network, so far as trusted, make together."""
        if self.pixels < _FEWEST_PX:
            return uncertainty
        added, missing, deviation = (np.concatenate(p, axis=1) for p in (self.added, self.missing, self.deviations))
        return uncertainty.calibrated(missing - np.float32(self.trust) * added, deviation)


def window_reader(scene: Scene, reader: InputReader, displacement: Displacement, feather: Feather) -> ReadWindow:
    """Windows of a scene's open inputs, radar displaced and the mask feathered."""

    def read(rows: range, cols: range) -> tuple[Tile, tuple[Image, ...]]:
        pixels = reader.window(rows.start, cols.start, len(rows), len(cols), displacement)
        cloud_weight = feather.weight(pixels.cloudy)
        return Tile(scene.reflectance(pixels.dn), pixels.data, pixels.sar_db, cloud_weight), pixels.others

    return read


def measure(
    network: Network, model: SceneModel, restoration: Restoration, read: ReadWindow, sar_valid: Mask, largest_px: int
) -> Evidence:
    """What a few windows of a scene tell of a network, tried in pieces of at most `largest_px` a side.

    The scene's own clouds are replaced by the held-out model as well, so that the network never sees them. `sar_valid`
    (h, w) is where radar is valid on the model's coarse grid. Without any radar the network, which is then believed
    nowhere, adds nothing, and what is missing is the model's error.
    """
    evidence = Evidence()
    if model.held_out is None:
        return evidence
    opaque = replace(restoration, prefill=True, trust=1.0, error_variance=None)
    hole = model.held_out.hole
    with_radar = bool(sar_valid.any())
    windows = _windows(hole & sar_valid if with_radar else hole, model.shape)
    pieces = (piece for window in windows for piece in product(*(_spans(span, largest_px) for span in window)))
    for rows, cols in pieces:
        tile, others = read(rows, cols)
        cloudy, hidden = tile.cloud_weight > 0, _on_fine(hole, rows, cols, model.shape)
        guess = model.held_out.model.window(rows, cols, others)
        truth = np.where(tile.data, np.clip(tile.reflectance, 0, 1), guess)
        weight = (cloudy | hidden).astype(np.float32)
        shown = Tile(truth, np.ones_like(cloudy), tile.sar_db, weight, guess, wanted=weight)
        restored: Image = restore([shown], opaque, network).reflectance[0].cpu().numpy()
        given = np.where(weight > 0, guess, truth)
        tested = tile.data & ~cloudy & hidden & (known_of(tile.sar_db) | (not with_radar))
        evidence.added.append((restored - given)[:, tested])
        evidence.missing.append((truth - given)[:, tested])
        evidence.deviations.append(model.uncertainty.deviation(given, rows, cols)[:, tested])
        evidence.blocks.append(_blocks(tested))
        evidence.texture.append(_texture(truth - guess, tile.data & ~cloudy, model))
    return evidence


def _blocks(chosen: Mask) -> NDArray[np.intp]:
    """The number (n,) of the block that each chosen pixel of a window (H, W) lies in."""
    rows, cols = (length // _BLOCK_PX for length in np.nonzero(chosen))
    return np.asarray(rows * (chosen.shape[1] // _BLOCK_PX + 1) + cols, np.intp)


def _texture(error: Image, known: Mask, model: SceneModel) -> Image:
    """What errors (4, H, W) where they are known (H, W) have of detail within pixels of the model's grid (4, n)."""
    side = round(model.shape[0] / model.coarse_shape[0])
    height, width = (length // side * side for length in known.shape)
    squares = error[:, :height, :width].reshape(len(error), height // side, side, -1, side)
    whole = known[:height, :width].reshape(height // side, side, -1, side).all(axis=(1, 3))
    within = squares - squares.mean(axis=(2, 4), keepdims=True)
    return within.transpose(0, 1, 3, 2, 4)[:, whole].reshape(len(error), -1)


def _on_fine(mask: Mask, rows: range, cols: range, shape: tuple[int, int]) -> Mask:
    """A coarse mask (h, w) at some rows and columns of an image of `shape` (H, W)."""
    return mask[np.ix_(_coarse(rows, mask.shape[0], shape[0]), _coarse(cols, mask.shape[1], shape[1]))]


def _coarse(span: range, coarse: int, fine: int) -> NDArray[np.intp]:
    """The coarse pixels of an axis that fine ones lie in."""
    return np.asarray(span, np.intp) * coarse // fine


def _windows(tested: Mask, shape: tuple[int, int]) -> Iterator[tuple[range, range]]:
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
    count = min(_MOST_WINDOWS, max(_FEWEST_WINDOWS, shape[0] * shape[1] // (4 * _WINDOW_PX**2)), len(good))
    chosen = np.unique(np.linspace(0, len(good) - 1, count).astype(int))
    yield from (good[i] for i in chosen)


def _spans(axis: range, side_px: int) -> list[range]:
    """The axis in spans of at most `side_px` that share as little as they can."""
    side = min(side_px, len(axis))
    return [axis[start : start + side] for start in side_by_side(len(axis), side)]
