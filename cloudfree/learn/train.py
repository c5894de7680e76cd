"""Training, in one loop: samples, a loss, averaged weights, a file at the end.

The same options, seed and machine give the same weights. A run that was killed goes on where it last saved. Under
`torchrun` each process takes its share of every batch.
"""

from __future__ import annotations

import itertools
import logging
import math
import pickle
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tqdm import tqdm

import cloudfree
from cloudfree.errors import InputError, WeightsError
from cloudfree.learn.detection import Detection, open_sky_sources
from cloudfree.learn.distributed import ProcessGroup, init_process_group, local_device
from cloudfree.learn.learner import CloudRemoval, Goal, Learner, collate
from cloudfree.learn.sample_files import SampleFiles, paths_of
from cloudfree.learn.samples import SampleSource
from cloudfree.learn.seeing import SIZES, Seeing
from cloudfree.learn.sources import Sources, open_sources
from cloudfree.learn.train_options import PUBLISHED_EPOCHS, TrainOptions
from cloudfree.learn.workers import batches_of
from cloudfree.network.device import resolve_device
from cloudfree.network.models import ARCHITECTURES, CloudDetector, CloudRemovalModel
from cloudfree.network.weights import OF_DAMAGE, load_detector, load_model, replaced_atomically, save_model

log = logging.getLogger(__name__)

_WARM_UP, _FINAL_RATE = 0.02, 0.02  # share of the budget; share of the learning rate left at its end
_HALVED_FROM, _HALVED_EVERY = 10, 5  # epochs of the published 30
_VALIDATION_SAMPLES, _VALIDATIONS = 32, 12
_SAVE_EVERY_S, _LOG_EVERY_S = 60.0, 60.0
_LEARNED = ("model", "average", "optimizer")
"""Fields of `Learner` that a checkpoint keeps."""


@dataclass
class TrainState:
    """All that changes during training."""

    learner: Learner[Any]
    seconds: float = 0.0
    scores: dict[str, float] = field(default_factory=dict)
    kept_score: float = -math.inf

    @property
    def step(self) -> int:
        return self.learner.step


def train(options: TrainOptions) -> Path:
    """Train, and return the weights file. Raises InputError or WeightsError for what a user can mend."""
    torch.manual_seed(options.seed)
    if options.threads:
        torch.set_num_threads(options.threads)
    device = local_device(resolve_device(options.device))
    processes = init_process_group(device)
    try:
        _train(options, processes, device)
    finally:
        processes.destroy()
    return options.output


def _train(options: TrainOptions, processes: ProcessGroup, device: torch.device) -> None:
    goal, (source, held_out) = _opened(options)
    if options.epochs:
        by_epochs = options.epochs * math.ceil(len(source) / options.batch)
        options = replace(options, steps=min(by_epochs, options.steps or by_epochs))
    validation: list[Any] = goal.choose(held_out, _VALIDATION_SAMPLES) if held_out and processes.is_main else []
    if processes.is_main and not validation and options.keep == "best":
        log.warning("there is nothing to validate on: the last weights are kept, which need not be the best")
    state = _start(options, device)
    saved = time.monotonic()
    with _progress(device, shown=processes.is_main) as advance:
        batches = _batches(source, options, state.step, processes)
        while (spent := processes.broadcast(_spent(options, state))) < 1:
            started = time.monotonic()
            batch = collate(next(batches), device)
            factor = _learning_rate_factor(options.schedule, spent)
            loss = state.learner.training_step(batch, goal.loss, factor, processes)
            state.seconds += time.monotonic() - started
            advance(state, loss, _spent(options, state))
            if not processes.is_main:
                continue
            validated = validation and int(spent * _VALIDATIONS) != int(_spent(options, state) * _VALIDATIONS)
            if validated:
                state.scores = goal.validate(state.learner.average, validation, device)
                _keep_better(options, state, state.scores[goal.decides], processes)
            # With the weights that were just written: a run that goes on knows of them, and how good they are.
            if validated or time.monotonic() - saved > _SAVE_EVERY_S:
                _save_checkpoint(options, state)
                saved = time.monotonic()
    if processes.is_main:
        if not validation or options.keep == "last":
            _save_weights(options, state, processes)
        options.checkpoint.unlink(missing_ok=True)


def _batches(
    source: SampleSource[Any], options: TrainOptions, first_step: int, processes: ProcessGroup
) -> Iterator[list[Any]]:
    """This process's share of the samples of each step, from a step on, drawn by `options.workers` beside it.

    Each is drawn by a generator of its own. So a resumed run, or one of more processes, sees what it would have seen.
    """
    if options.batch % processes.world_size:
        raise InputError(
            f"--batch is {options.batch}, of {processes.world_size} processes; each takes an equal share: change it"
        )
    mine = range(processes.rank, options.batch, processes.world_size)
    numbers = ([(step, index) for index in mine] for step in itertools.count(first_step))

    def draw(step_and_index: tuple[int, int]) -> Any:
        return source.draw(np.random.default_rng([options.seed, *step_and_index]))

    return batches_of(draw, numbers, options.workers)


# --- the start and the schedule ---


def _start(options: TrainOptions, device: torch.device) -> TrainState:
    """A fresh run, or the one that was interrupted."""
    learner = Learner.of(
        _new_model(options),
        options.learning_rate,
        device,
        weight_decay=options.weight_decay,
        average_decay=options.average_decay,
    )
    state = TrainState(learner)
    if options.checkpoint.exists():
        _load_checkpoint(options, state)
    return state


def _opened(options: TrainOptions) -> tuple[Goal, Sources[Any]]:
    """What is to be learned, and from what."""
    if options.samples:
        held_out = SampleFiles(options.samples, "validation") if paths_of(options.samples, "validation") else None
        return Seeing(), Sources(SampleFiles(options.samples, "train", options.crop), held_out)
    if options.architecture == CloudDetector.architecture:
        return Detection(), open_sky_sources(options)
    return CloudRemoval(options.loss), open_sources(options)


def _new_model(options: TrainOptions) -> CloudRemovalModel | CloudDetector:
    if options.architecture == CloudDetector.architecture:
        return load_detector(options.start) if options.start else CloudDetector()
    if options.start:
        return _to_go_on_from(options.start, seeing=options.samples is not None)
    architecture = ARCHITECTURES[options.architecture]
    if options.samples:
        model = architecture(SIZES[options.architecture])
    else:
        model = architecture(architecture.small if options.size == "small" else architecture.config_type())
    model.start_as_identity()
    return model


def _to_go_on_from(name_or_path: str, *, seeing: bool) -> CloudRemovalModel:
    """Weights of the right kind. Raises WeightsError for others."""
    model = load_model(name_or_path)
    if bool(model.planes) != seeing:
        kind, way = ("sees", "with") if model.planes else ("is shown the plain image", "without")
        raise WeightsError(
            f"{model.info.name} is a network that {kind}; such learn {way} --samples: give other --weights, or none"
        )
    return model


def _spent(options: TrainOptions, state: TrainState) -> float:
    """Share of the budget that is gone, 0..1."""
    by_steps = state.step / options.steps if options.steps else 0.0
    by_time = state.seconds / (60 * options.minutes) if options.minutes else 0.0
    return max(by_steps, by_time)


def _learning_rate_factor(schedule: str, spent: float) -> float:
    """Share of the peak learning rate: a linear rise, then half a cosine; or as published."""
    if schedule == "halving":
        epoch = spent * PUBLISHED_EPOCHS
        return 0.5 ** max(0, 1 + math.floor((epoch - _HALVED_FROM) / _HALVED_EVERY))
    if spent < _WARM_UP:
        return max(spent / _WARM_UP, 0.01)
    cosine = 0.5 + 0.5 * math.cos(math.pi * (spent - _WARM_UP) / (1 - _WARM_UP))
    return _FINAL_RATE + (1 - _FINAL_RATE) * cosine


# --- what is kept ---


def _save_checkpoint(options: TrainOptions, state: TrainState) -> None:
    checkpoint = {
        "identity": options.identity(),
        **{name: getattr(state.learner, name).state_dict() for name in _LEARNED},
        "step": state.step,
        "seconds": state.seconds,
        "scores": state.scores,
        "kept_score": state.kept_score,
    }
    with replaced_atomically(options.checkpoint) as temporary:
        torch.save(checkpoint, temporary)


def _load_checkpoint(options: TrainOptions, state: TrainState) -> None:
    try:
        checkpoint = torch.load(options.checkpoint, map_location="cpu", weights_only=True)
        identity = checkpoint["identity"]
        if identity == options.identity():
            for name in _LEARNED:
                getattr(state.learner, name).load_state_dict(checkpoint[name])
            state.learner.step, state.seconds = checkpoint["step"], checkpoint["seconds"]
            state.scores, state.kept_score = checkpoint["scores"], checkpoint["kept_score"]
    except (pickle.UnpicklingError, *OF_DAMAGE) as error:
        raise WeightsError(
            f"{options.checkpoint} is damaged, or no unfinished run of this cloudfree; one goes on with what a killed "
            "training left: delete it to start anew"
        ) from error
    if identity != options.identity():
        raise WeightsError(
            f"{options.checkpoint} is an unfinished run with other options ({identity}); "
            "repeat these to finish it, or delete it to start anew"
        )
    log.info("going on with %s from step %d", options.checkpoint, state.step)


def _keep_better(options: TrainOptions, state: TrainState, score: float, processes: ProcessGroup) -> None:
    """Report a validation and write the weights, unless better ones are to be kept."""
    log.info("step %d, validation %s", state.step, ", ".join(f"{name} {value}" for name, value in state.scores.items()))
    if options.keep == "last" or score > state.kept_score:
        state.kept_score = score
        _save_weights(options, state, processes)


def _save_weights(options: TrainOptions, state: TrainState, processes: ProcessGroup) -> None:
    provenance = {
        "trained_on": _trained_on(options),
        "recipe": options.command(),
        "steps": state.step,
        "minutes": round(state.seconds / 60, 1),
        "seed": options.seed,
        "processes": processes.world_size,
        "scores": state.scores,
        "torch": torch.__version__,
        "cloudfree": cloudfree.__version__,
    }
    save_model(state.learner.average, options.output, provenance)


def _trained_on(options: TrainOptions) -> list[str]:
    """Folders by name; of samples the command that made them."""
    if options.samples:
        return [SampleFiles(options.samples, "train").recipe]
    made_up = [f"{options.procedural} procedural places of seed {options.seed}"] if options.procedural else []
    return [folder.name for folder in options.data] + made_up


@contextmanager
def _progress(device: torch.device, *, shown: bool) -> Iterator[Callable[[TrainState, float, float], None]]:
    """A bar of steps with the time left on a terminal; elsewhere a line of log now and then."""
    logged_at = time.monotonic()
    with tqdm(unit="step", desc=f"train on {device}", disable=None if shown else True, dynamic_ncols=True) as bar:

        def advance(state: TrainState, loss: float, spent: float) -> None:
            nonlocal logged_at
            if not bar.disable:
                bar.total = round(state.step / min(spent, 1))
                bar.set_postfix({"loss": f"{loss:.4f}", **state.scores}, refresh=False)
                bar.update(state.step - bar.n)
            elif shown and time.monotonic() - logged_at > _LOG_EVERY_S:
                left_min = state.seconds / 60 * (1 / spent - 1)
                log.info("step %d, %.0f %%, loss %.4f, %.0f minutes left", state.step, 100 * spent, loss, left_min)
                logged_at = time.monotonic()

        yield advance
