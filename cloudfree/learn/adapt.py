"""Light fine-tuning of weights on one scene: its clear pixels are truth of the same sensor, day and light.

Clear windows of the scene are clouded over, half of them by simulated clouds and half by clouds of the scene's own
shapes, and learned from; by a network that sees with a model of the scene that is fitted anew under these clouds.
Windows held out decide when to stop, and whether the new weights are better at all.
"""

from __future__ import annotations

import copy
import logging
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from scipy.ndimage import gaussian_filter

from cloudfree.arrays import Mask
from cloudfree.errors import InputError
from cloudfree.geometry import Displacement
from cloudfree.inputs.files import Inputs
from cloudfree.inputs.raster.access import gdal_settings
from cloudfree.learn.cloud_layers import DrawCloudLayer, simulated_layer
from cloudfree.learn.clouded_places import CloudedPlaces
from cloudfree.learn.learner import CloudRemoval, Goal, Learner, collate
from cloudfree.learn.obscured_windows import ObscuredWindows
from cloudfree.learn.places import Place
from cloudfree.learn.samples import SampleSource
from cloudfree.learn.scenes import ClearGround, find_clear_ground
from cloudfree.learn.seeing import Seeing
from cloudfree.network.models import CloudRemovalModel
from cloudfree.simulate.clouds import CloudLayer, cloud_layer

log = logging.getLogger(__name__)

CROP_PX = 96
"""Side of the samples."""

_BATCH = 2
_MAX_WINDOWS, _FEWEST_WINDOWS, _HELD_OUT_EVERY = 60, 2, 4
_LEARNING_RATE = 3e-4
_CHECK_EVERY, _PATIENCE = 25, 4  # steps between scores; scores without improvement that end it
_VALIDATION_SAMPLES = 16
_BETTER_DB = 0.02

Progress = Callable[[float], None]
"""Called with the share of the time that has just passed."""


@dataclass(frozen=True)
class Tuned:
    """Weights after fine-tuning, or those before if they were better, and PSNR (dB) on held-out clear ground."""

    model: CloudRemovalModel
    before_db: float
    after_db: float
    steps: int


def adapt(
    model: CloudRemovalModel,
    inputs: Inputs,
    displacement: Displacement,
    buffer_m: float,
    minutes: float,
    *,
    device: str,
    seed: int = 0,
    progress: Progress | None = None,
) -> CloudRemovalModel:
    """A model fine-tuned to a scene, or as it was if that never did better on held-out clear windows.

    The radar is displaced, the mask buffered, and a network that sees is shown all that it is in a run. Raises
    InputError where the scene has too little clear ground.
    """
    name = inputs.scene.path.name
    with gdal_settings(), inputs.open() as reader:
        ground = find_clear_ground(inputs.scene, reader, displacement, buffer_m, CROP_PX, _MAX_WINDOWS)
    if len(ground.places) < _FEWEST_WINDOWS:
        raise InputError(
            f"{name} has {len(ground.places)} window(s) with clear ground of {CROP_PX} pixels; "
            "adaptation needs two at least: run without it"
        )
    tuned = fine_tune(model, ground, minutes, device, seed, progress)
    if tuned.after_db <= tuned.before_db:
        log.warning("adaptation did not help on held-out clear windows: the weights stay as they are")
        return model
    log.info(
        "adapted in %d steps: %.2f dB on held-out clear windows, %.2f before",
        tuned.steps,
        tuned.after_db,
        tuned.before_db,
    )
    scores_db = {"before": tuned.before_db, "after": tuned.after_db}
    provenance = {
        **model.info.provenance,
        "adapted_from": model.info.name,
        "adapted_from_sha256": model.info.sha256,
        "adapted_to": name,
        "adaptation": {"steps": tuned.steps, "held_out_psnr_db": scores_db},
    }
    tuned.model.weights_info = replace(model.info, name=f"{model.info.name}, adapted", provenance=provenance)
    return tuned.model


def fine_tune(
    model: CloudRemovalModel,
    ground: ClearGround,
    minutes: float,
    device: str,
    seed: int = 0,
    progress: Progress | None = None,
) -> Tuned:
    """Learn from two windows of a scene or more, until those held out no longer gain or the time is up."""
    torch.manual_seed(seed)
    where = torch.device(device)
    goal, sampler, held_out = _goal(ground, seeing=bool(model.planes))
    validation = goal.choose(held_out, _VALIDATION_SAMPLES)
    learner = Learner.of(copy.deepcopy(model), _LEARNING_RATE, where)
    best, before_db = model, goal.validate(model.to(where), validation, where)["psnr_hidden"]
    best_db, without_gain, rng = before_db, 0, np.random.default_rng(seed)
    started = last = time.monotonic()
    while without_gain < _PATIENCE and (now := time.monotonic()) - started < 60 * minutes:
        spent = (now - started) / (60 * minutes)
        learner.training_step(collate([sampler.draw(rng) for _ in range(_BATCH)], where), goal.loss, 1 - 0.9 * spent)
        if progress:
            progress((now - last) / (60 * minutes))
        last = now
        if learner.step % _CHECK_EVERY == 0:
            score_db = goal.validate(learner.average, validation, where)["psnr_hidden"]
            without_gain += 1
            if score_db > best_db + _BETTER_DB:
                best, best_db, without_gain = copy.deepcopy(learner.average), score_db, 0
    return Tuned(best.eval().requires_grad_(requires_grad=False), before_db, best_db, learner.step)


def _goal(ground: ClearGround, *, seeing: bool) -> tuple[Goal, SampleSource[Any], SampleSource[Any]]:
    """What is learned, and samples to learn from, and of windows held out."""
    goal: Goal = Seeing() if seeing else CloudRemoval("psnr")
    layers = _layers_like(ground.shapes)

    def samples(places: list[Place]) -> SampleSource[Any]:
        if seeing:
            return ObscuredWindows(places, layers, CROP_PX)
        return CloudedPlaces(places, CROP_PX, layers, colour_jitter=False)

    training = [place for i, place in enumerate(ground.places) if i % _HELD_OUT_EVERY]
    return goal, samples(training), samples(ground.places[::_HELD_OUT_EVERY])


def _layers_like(shapes: list[Mask]) -> DrawCloudLayer:
    """Simulated clouds, every other time cut to a shape (H, W) of the scene's own."""

    def draw_layer(rng: np.random.Generator, side: int) -> CloudLayer:
        usable = [shape for shape in shapes if min(shape.shape) >= side]
        if not usable or rng.random() < 0.5:
            return simulated_layer(rng, side)
        shape = np.rot90(usable[rng.integers(len(usable))], int(rng.integers(4)))[:side, :side]
        overcast = cloud_layer(rng, side, side, cover=1.0)
        opacity = np.clip(1.5 * gaussian_filter(shape.astype(np.float32), 2.0), 0, 1)
        nothing = np.zeros_like(shape)
        return replace(
            overcast, opacity=opacity, shadow=nothing.astype(np.float32), cloud=shape, haze=nothing, shade=nothing
        )

    return draw_layer
