"""Light fine-tuning of weights on one scene: its clear pixels are truth of the same sensor, day and light.

Clear windows of the scene are clouded over, half of them by simulated clouds and half by clouds of the scene's own
shapes, primed as the scene will be, and learned from. Windows held out decide when to stop, and whether the new weights
are better at all.
"""

from __future__ import annotations

import copy
import logging
import time
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from cloudfree.cloudmask import MaskReader, Rim
from cloudfree.dataset import Place, Sampler, SkyOver, any_sky
from cloudfree.errors import InputError
from cloudfree.learning import Learner, batch_of, evaluate, fixed_samples
from cloudfree.models import CloudRemovalModel, WeightsInfo
from cloudfree.noise import Mask
from cloudfree.plan import Plan, open_inputs
from cloudfree.planet import SceneReader, has_data
from cloudfree.raster import gdal_settings
from cloudfree.sentinel1 import SarReader
from cloudfree.simulate import CloudLayer, cloud_layer

log = logging.getLogger(__name__)

_WINDOW_PX = 256
_MAX_WINDOWS = 60
_HELD_OUT_EVERY = 4
_CROP_PX, _BATCH = 96, 2
_LEARNING_RATE = 3e-4
_CHECK_EVERY, _PATIENCE = 25, 4  # steps between scores; scores without improvement that end it
_VALIDATION_SAMPLES = 16
_BETTER_DB = 0.02

Progress = Callable[[float], None]
"""Called with the share of the time that has just passed."""


def adapt(plan: Plan, minutes: float, seed: int = 0, progress: Progress | None = None) -> CloudRemovalModel:
    """The plan's model fine-tuned to its scene, or as it was if that never did better on held-out clear windows.

    Raises InputError where the scene has too little clear ground.
    """
    torch.manual_seed(seed)
    training, held_out, shapes = _windows(plan)
    sky = _sky_like(shapes)
    primed = float(plan.model.expects_primed)
    sampler = Sampler([training], _CROP_PX, primed, sky)
    validation = fixed_samples(Sampler([held_out], _CROP_PX, primed, sky), _VALIDATION_SAMPLES)
    device = torch.device(plan.device)
    learner = Learner.of(copy.deepcopy(plan.model), _LEARNING_RATE, device)
    best, before = plan.model, evaluate(plan.model.to(device), validation, device)["psnr_hidden"]
    best_db, without_gain, rng = before, 0, np.random.default_rng(seed)
    started = last = time.monotonic()
    while without_gain < _PATIENCE and (now := time.monotonic()) - started < 60 * minutes:
        spent = (now - started) / (60 * minutes)
        learner.learn(batch_of([sampler.draw(rng) for _ in range(_BATCH)], device), "charbonnier", 1 - 0.9 * spent)
        if progress:
            progress((now - last) / (60 * minutes))
        last = now
        if learner.step % _CHECK_EVERY == 0:
            score_db = evaluate(learner.average, validation, device)["psnr_hidden"]
            without_gain += 1
            if score_db > best_db + _BETTER_DB:
                best, best_db, without_gain = copy.deepcopy(learner.average), score_db, 0
    return _told(plan, best, before, best_db, learner.step)


def _told(plan: Plan, best: CloudRemovalModel, before_db: float, after_db: float, steps: int) -> CloudRemovalModel:
    """Say how it went, and let the weights say so too."""
    if best is plan.model:
        log.warning("adaptation did not help on held-out clear windows: the weights stay as they are")
        return best
    log.info("adapted in %d steps: %.2f dB on held-out clear windows, %.2f before", steps, after_db, before_db)
    info = plan.model.weights_info
    assert info is not None
    provenance = {
        **info.provenance,
        "adapted_from": info.name,
        "adapted_from_sha256": info.sha256,
        "adapted_to": plan.scene.path.name,
        "adaptation": {"steps": steps, "held_out_psnr_db": {"before": before_db, "after": after_db}},
    }
    best.weights_info = WeightsInfo(f"{info.name}, adapted", info.sha256, info.architecture, info.config, provenance)
    return best.eval().requires_grad_(requires_grad=False)


def _windows(plan: Plan) -> tuple[list[Place], list[Place], list[Mask]]:
    """Clear windows to learn from and to score on, and the shapes (H, W) of the scene's own clouds."""
    side = min(_WINDOW_PX, *plan.grid.shape)
    corners = [(r, c) for r in _starts(plan.grid.height, side) for c in _starts(plan.grid.width, side)]
    order = np.random.default_rng(0).permutation(len(corners))
    places: list[Place] = []
    shapes: list[Mask] = []
    with gdal_settings(), open_inputs(plan.scene, plan.sar, plan.mask) as (pixels, radar, masked):
        for index in order[: 4 * _MAX_WINDOWS]:
            place, cloudy = _window(plan, corners[index], side, pixels, radar, masked)
            if 0.05 < cloudy.mean() < 0.95:
                shapes.append(cloudy)
            if _is_learnable(place):
                places.append(place)
            if len(places) == _MAX_WINDOWS:
                break
    if len(places) < 2:
        raise InputError(
            f"{plan.scene.path.name} has {len(places)} window(s) with clear ground of {_CROP_PX} pixels; "
            "adaptation needs two at least: run without it"
        )
    held_out = places[::_HELD_OUT_EVERY]
    return [place for i, place in enumerate(places) if i % _HELD_OUT_EVERY], held_out, shapes


def _window(
    plan: Plan, corner: tuple[int, int], side: int, pixels: SceneReader, radar: SarReader, masked: MaskReader | None
) -> tuple[Place, Mask]:
    """What the scene shows in a window, valid where it is clear, and what its mask hides there."""
    row, col = corner
    grid = plan.grid.window(row, col, side, side)
    dn = pixels.window(row, col, side, side)
    sar_db = radar.on_grid(grid, plan.moved)
    cloudy = masked.on_grid(grid) if masked else np.zeros(grid.shape, bool)
    clear = Rim.on(plan.grid, plan.options.buffer_m).share(cloudy) == 0
    valid = clear & has_data(dn) & np.isfinite(sar_db).all(axis=0)
    reflectance = np.clip(plan.scene.reflectance(dn), 0, 1)
    filled = np.where(np.isfinite(sar_db), sar_db, plan.survey.typical_sar_db()[:, None, None])
    return Place(f"window {row} {col}", reflectance, (filled,), valid, radar_is_fine=False), cloudy


def _is_learnable(place: Place) -> bool:
    """Whether a sample can be cut from it."""
    try:
        Sampler([[place]], _CROP_PX)
    except InputError:
        return False
    return True


def _starts(length: int, side: int) -> NDArray[np.intp]:
    """Windows that lie side by side, or share a little, from edge to edge."""
    return np.linspace(0, length - side, -(-length // side)).astype(np.intp)


def _sky_like(shapes: list[Mask]) -> SkyOver:
    """Simulated clouds, every other time cut to a shape (H, W) of the scene's own."""

    def sky(rng: np.random.Generator, side: int) -> CloudLayer:
        usable = [shape for shape in shapes if min(shape.shape) >= side]
        if not usable or rng.random() < 0.5:
            return any_sky(rng, side)
        shape = np.rot90(usable[rng.integers(len(usable))], int(rng.integers(4)))[:side, :side]
        overcast = cloud_layer(rng, side, side, cover=1.0)
        opacity = np.clip(1.5 * gaussian_filter(shape.astype(np.float32), 2.0), 0, 1)
        nothing = np.zeros_like(shape)
        return replace(
            overcast, opacity=opacity, shadow=nothing.astype(np.float32), cloud=shape, haze=nothing, shade=nothing
        )

    return sky
