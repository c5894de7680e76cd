"""Ways to remove clouds, as one call each: what an evaluation compares."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import torch

from cloudfree.arrays import Image, known_of
from cloudfree.evaluate.triplets import Observation
from cloudfree.network.models import CloudRemovalModel
from cloudfree.reconstruct import tile, trust
from cloudfree.reconstruct.feather import Feather
from cloudfree.reconstruct.predictor import Predictor
from cloudfree.reconstruct.tile import Tile
from cloudfree.reconstruct.tiles import TILE_PX
from cloudfree.scene.model import SceneModel, fit_fine

Method = Callable[[Observation], Image]
"""Reflectance (4, H, W) of the ground everywhere, from what is seen."""


def network(model: CloudRemovalModel, device: str = "cpu") -> Method:
    """A network as a method: what a run makes of a scene, here on the whole image at once.

    The scene's model takes part as in a run: wherever a network that sees is asked, else where radar has a gap under
    the mask.
    """
    predictor = Predictor(model, torch.device(device), "fp32", batch=1)
    return lambda seen: _restored(predictor, seen, sees=bool(model.planes))


def scene_model_of(seen: Observation) -> SceneModel:
    """The scene's own model of what is hidden, which is everything without a mask, with all that other dates tell."""
    reflectance, hidden = np.clip(seen.reflectance, 0, 1), seen.hidden if seen.mask is not None else seen.valid
    return fit_fine(reflectance, seen.sar_db, hidden, seen.valid, seen.pixel_size_m, seen.telling_others)


def ground_of(seen: Observation) -> Image:
    """The ground (4, H, W) that the scene's model makes of what is hidden and of what shows through."""
    model = scene_model_of(seen)
    restoration = tile.Restoration.of(seen.typical_reflectance, seen.typical_sar_db, model, sees=True)
    shown = tile.seen_of(_tile(seen, model), restoration)
    ground: Image = torch.where(shown.hidden > 0, shown.through, shown.observed)[0].numpy()
    return ground


def _tile(seen: Observation, model: SceneModel | None = None) -> Tile:
    """All of it as a tile, with what its model expects if there is one; without a mask everything is wanted."""
    cloud_weight = Feather.of_pixel_size(seen.pixel_size_m).weight(seen.hidden)
    wanted = None if seen.mask is None else cloud_weight
    whole = Tile(seen.reflectance, seen.valid, seen.sar_db, cloud_weight, wanted=wanted)
    if model is None:
        return whole
    rows, cols = map(range, seen.valid.shape)
    return replace(whole, **model.expected(rows, cols, seen.telling_others)._asdict())


def _restored(predictor: Predictor, seen: Observation, *, sees: bool) -> Image:
    """What a run makes of a scene: reflectance (4, H, W)."""
    others = seen.telling_others

    def read(rows: range, cols: range) -> tuple[Tile, tuple[Image, ...]]:
        window = replace(seen, others=others).crop(slice(rows.start, rows.stop), slice(cols.start, cols.stop))
        return _tile(window), window.others

    model = scene_model_of(seen) if sees or _tile(seen).cloud_weight[~known_of(seen.sar_db)].any() else None
    restoration = tile.Restoration.of(seen.typical_reflectance, seen.typical_sar_db, model, sees=sees)
    if model is not None and sees:
        restoration = trust.measure(predictor, model, restoration, read, TILE_PX).applied_to(restoration)
    whole = _tile(seen, model) if sees else replace(_tile(seen, model), wanted=None)
    restored: Image = tile.restore([whole], restoration, predictor).reflectance[0].cpu().numpy()
    return restored
