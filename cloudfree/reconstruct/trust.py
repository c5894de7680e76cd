"""How far a network is believed where cloud leaves it nothing to see: as far as the scene's clear ground bears it out.

Of the scene's model there is one that had to do without some clear ground (`model.Trial`). The network is shown it
there; if what it adds brings the guess nearer to what was hidden, it is believed; if not, the model stays as it is.
What is still wrong then, at full resolution, calibrates the uncertainty.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from cloudfree.arrays import Image, Mask, known_of
from cloudfree.geometry.displacement import Displacement
from cloudfree.geometry.grid import side_by_side
from cloudfree.inputs.files import InputReader
from cloudfree.inputs.optical.scene import Scene
from cloudfree.reconstruct.feather import Feather
from cloudfree.reconstruct.tile import blend
from cloudfree.scene.model import SceneModel
from cloudfree.scene.survey import Survey
from cloudfree.scene.uncertainty import Uncertainty

Network = Callable[[Image, Image], Image]
"""Reflectance (4, H, W) from reflectance and backscatter (2, H, W) in dB."""

UNPROVEN = 0.5
"""The trust where there is too little clear ground to tell."""

_FEWEST_PX = 2000
_WINDOW_PX, _FEWEST_WINDOWS, _MOST_WINDOWS = 256, 2, 6


@dataclass(frozen=True)
class Evidence:
    """What a network adds to the model at hidden pixels, and what would have been right to add: parts of (4, n) each.

    `deviations`: what the model's uncertainty says of these pixels.
    """

    added: list[Image] = field(default_factory=list)
    missing: list[Image] = field(default_factory=list)
    deviations: list[Image] = field(default_factory=list)

    def add(self, restored: Image, given: Image, truth: Image, deviation: Image, tested: Mask) -> None:
        """Images (4, H, W); tested (H, W): where `given` is the model and the truth is known."""
        self.added.append((restored - given)[:, tested])
        self.missing.append((truth - given)[:, tested])
        self.deviations.append(deviation[:, tested])

    @property
    def pixels(self) -> int:
        return sum(part.shape[1] for part in self.added)

    @property
    def trust(self) -> float:
        """0..1: the share of what the network adds that leaves the least squared error."""
        size = sum(float(np.square(added, dtype=np.float64).sum()) for added in self.added)
        if self.pixels < _FEWEST_PX or size == 0:
            return UNPROVEN
        pairs = zip(self.added, self.missing, strict=True)
        agreement = sum(float((added * missing).sum(dtype=np.float64)) for added, missing in pairs)
        return round(float(np.clip(agreement / size, 0, 1)), 3)

    def calibrated(self, uncertainty: Uncertainty) -> Uncertainty:
        """The model's uncertainty by the errors of what it and the network, so far as trusted, make together."""
        if self.pixels < _FEWEST_PX:
            return uncertainty
        added, missing, deviation = (np.concatenate(p, axis=1) for p in (self.added, self.missing, self.deviations))
        return uncertainty.calibrated(missing - np.float32(self.trust) * added, deviation)


def of_image(
    network: Network,
    reflectance: Image,
    sar_db: Image,
    hidden: Mask,
    valid: Mask,
    model: SceneModel,
    others: Sequence[Image] = (),
) -> float:
    """The trust in a network on an image (4, H, W) in memory, whose mask with its feather is `hidden` (H, W).

    others: what the model's images of other dates show there (4, H, W), NaN where nothing.
    """
    if model.trial is None:
        return UNPROVEN
    evidence, path_radiance = Evidence(), model.path_radiance[:, None, None]
    everywhere = range(hidden.shape[0]), range(hidden.shape[1])
    cut = _on_fine(model.trial.hole, *everywhere, model.shape)
    given = blend(reflectance, model.trial.model.whole(others), (hidden | cut).astype(np.float32))
    known = valid & ~hidden & known_of(sar_db)
    restored = path_radiance + network(given - path_radiance, sar_db)
    evidence.add(restored, given, reflectance, model.uncertainty.deviation(given, *everywhere), known & cut)
    return evidence.trust


def of_scene(
    scene: Scene,
    reader: InputReader,
    surveyed: Survey,
    displacement: Displacement,
    buffer_m: float,
    model: SceneModel,
    network: Network,
) -> Evidence:
    """What some windows of a scene tell of a network; radar displaced and mask buffered as in a run."""
    if model.trial is None:
        return Evidence()
    path_radiance, fill_db = model.path_radiance[:, None, None], surveyed.median_sar_db()[:, None, None]
    feather, evidence, hole = Feather.on(scene.grid, buffer_m), Evidence(), model.trial.hole
    tested = hole & surveyed.sar_valid
    for rows, cols in _windows(tested, model.shape) if tested.any() else ():
        seen = reader.window(rows.start, cols.start, len(rows), len(cols), displacement)
        cloudy, blots = feather.weight(seen.cloudy) > 0, _on_fine(hole, rows, cols, model.shape)
        guess = model.trial.model.window(rows, cols, seen.others)
        truth = np.where(seen.data, np.clip(scene.reflectance(seen.dn), 0, 1), guess)
        given = blend(truth, guess, (cloudy | blots).astype(np.float32))
        known = seen.data & ~cloudy & seen.sar_valid
        restored = network(given - path_radiance, np.where(np.isfinite(seen.sar_db), seen.sar_db, fill_db))
        deviation = model.uncertainty.deviation(given, rows, cols)
        evidence.add(path_radiance + restored, given, truth, deviation, known & blots)
    return evidence


def _on_fine(mask: Mask, rows: range, cols: range, shape: tuple[int, int]) -> Mask:
    """A coarse mask (h, w) at some rows and columns of an image of `shape` (H, W)."""
    return mask[np.ix_(_coarse(rows, mask.shape[0], shape[0]), _coarse(cols, mask.shape[1], shape[1]))]


def _coarse(span: range, coarse: int, fine: int) -> NDArray[np.intp]:
    """The coarse pixels of an axis that fine ones lie in."""
    return np.asarray(span, np.intp) * coarse // fine


def _windows(tested: Mask, shape: tuple[int, int]) -> Iterator[tuple[range, range]]:
    """Rows and columns of a few windows of a scene (H, W) in which much of `tested` (h, w) lies, spread over it."""
    axes = [_spans(length) for length in shape]
    scale = [coarse / length for coarse, length in zip(tested.shape, shape, strict=True)]
    found = [(rows, cols) for rows in axes[0] for cols in axes[1]]
    counts = [
        tested[tuple(slice(int(s.start * k), math.ceil(s.stop * k)) for s, k in zip(spans, scale, strict=True))].sum()
        for spans in found
    ]
    good = [spans for spans, count in zip(found, counts, strict=True) if count >= max(counts) / 2]
    count = min(_MOST_WINDOWS, max(_FEWEST_WINDOWS, shape[0] * shape[1] // (4 * _WINDOW_PX**2)), len(good))
    chosen = np.unique(np.linspace(0, len(good) - 1, count).astype(int))
    yield from (good[i] for i in chosen)


def _spans(length: int) -> list[range]:
    side = min(_WINDOW_PX, length)
    return [range(start, start + side) for start in side_by_side(length, side)]
