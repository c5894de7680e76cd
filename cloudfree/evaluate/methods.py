"""Ways to remove clouds, as one call each: what an evaluation compares."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import torch

from cloudfree.arrays import Image, known_of
from cloudfree.evaluate.triplets import Observation
from cloudfree.geometry import coarse
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

    The scene's model takes part as in a run: in place of what the mask hides if the weights expect that, else where
    radar has a gap under the mask.
    """
    predictor = Predictor(model, torch.device(device), "fp32", batch=1)
    return lambda seen: _restored(predictor, seen, prefill=model.expects_prefill and seen.mask is not None)


def scene_model_of(seen: Observation) -> SceneModel:
    """The scene's own model of what is hidden, with all that other dates tell."""
    reflectance = np.clip(seen.reflectance, 0, 1)
    return fit_fine(reflectance, seen.sar_db, seen.hidden, seen.valid, seen.pixel_size_m, seen.telling_others)


def ground_of(seen: Observation) -> Image:
    """The ground (4, H, W) that the scene's model makes of what is hidden and of what shows through."""
    model = scene_model_of(seen)
    restoration = tile.Restoration.of(seen.typical_reflectance, seen.typical_sar_db, model, prefill=True)
    shown: Image = tile.network_input(_tile(seen, model), restoration).reflectance.numpy()
    return shown


def _tile(seen: Observation, model: SceneModel | None = None) -> Tile:
    """All of it as a tile, with what its model expects if there is one."""
    cloud_weight = Feather.of_pixel_size(seen.pixel_size_m).weight(seen.hidden)
    whole = Tile(seen.reflectance, seen.valid, seen.sar_db, cloud_weight)
    if model is None:
        return whole
    rows, cols = map(range, seen.valid.shape)
    ground = model.window(rows, cols, seen.telling_others)
    return replace(whole, ground=ground, unobstructed=model.unobstructed_window(rows, cols))


def _restored(predictor: Predictor, seen: Observation, *, prefill: bool) -> Image:
    """What a run makes of a scene: reflectance (4, H, W)."""
    others, sar_valid = seen.telling_others, known_of(seen.sar_db)

    def read(rows: range, cols: range) -> tuple[Tile, tuple[Image, ...]]:
        window = replace(seen, others=others).crop(slice(rows.start, rows.stop), slice(cols.start, cols.stop))
        return _tile(window), window.others

    model = scene_model_of(seen) if prefill or _tile(seen).cloud_weight[~sar_valid].any() else None
    restoration = tile.Restoration.of(seen.typical_reflectance, seen.typical_sar_db, model, prefill=prefill)
    if model is not None and prefill:
        sar_seen = coarse.touched(sar_valid, model.coarse_shape)
        evidence = trust.measure(predictor, model, restoration, read, sar_seen, TILE_PX)
        restoration = evidence.applied_to(restoration)
    restored: Image = tile.restore([_tile(seen, model)], restoration, predictor).reflectance[0].cpu().numpy()
    return restored
