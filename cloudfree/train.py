"""Training, in one loop: clear places, simulated clouds, the published loss, averaged weights, a file at the end.

The same options, seed and machine give the same weights. A run that was killed goes on where it last saved.
"""

from __future__ import annotations

import json
import logging
import math
import shlex
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

import cloudfree
from cloudfree.dataset import Place, Sample, Sampler, hold_out, procedural_places, read_places
from cloudfree.errors import InputError, WeightsError
from cloudfree.learning import Learner, batch_of, evaluate, fixed_samples
from cloudfree.models import ARCHITECTURES, CloudRemovalModel
from cloudfree.predict import resolve_device
from cloudfree.weights import load_model, replaced_atomically, save_model

log = logging.getLogger(__name__)

_WARM_UP, _FINAL_RATE = 0.02, 0.02  # share of the budget; share of the learning rate left at its end
_VALIDATION_SAMPLES, _VALIDATIONS = 16, 12
_SAVE_EVERY_S = 60.0
_RECORDED = (
    *("data", "architecture", "size", "loss", "minutes", "steps"),
    *("seed", "crop", "batch", "learning_rate", "primed", "start"),
)


@dataclass(frozen=True)
class TrainOptions:
    """What to train on, how long, and from which seed. Ends when `minutes` or `steps` are up, whichever comes first.

    data: folders as `dataset.read_places` describes; without any, procedural places alone. start: weights to go on
    from instead of fresh ones of `size`. crop: side of the samples in pixels. primed: share (0..1) of samples with the
    scene's prior in place of the clouds; the weights will then expect it wherever a run has a mask.
    """

    output: Path
    data: tuple[Path, ...] = ()
    architecture: Literal["align_cr", "glf_cr", "dsen2_cr"] = "align_cr"
    size: Literal["small", "published"] = "small"
    loss: Literal["charbonnier", "carl", "l1"] = "charbonnier"
    minutes: float | None = None
    steps: int | None = None
    seed: int = 0
    crop: int = 96
    batch: int = 2
    learning_rate: float = 1e-3
    start: str | None = None
    primed: float = 0.0
    procedural: int = 40
    threads: int | None = None
    device: str = "auto"

    def __post_init__(self) -> None:
        if self.minutes is None and self.steps is None:
            raise InputError("training has no end: give --minutes or --steps")

    @property
    def checkpoint(self) -> Path:
        """Where an unfinished run is kept."""
        return self.output.with_name(f"{self.output.name}.training.pt")

    def identity(self) -> str:
        """What must be equal for a run to be resumed; more time may be given."""
        kept = {k: v for k, v in asdict(self).items() if k not in ("output", "minutes", "steps", "threads", "device")}
        return json.dumps(kept, default=str, sort_keys=True)

    def command(self) -> str:
        """The command that repeats the run, folders by name alone."""
        words = ["cloudfree", "train", "-o", self.output.name]
        for option in _RECORDED:
            values = getattr(self, option)
            for value in values if isinstance(values, tuple) else [values]:
                if value is not None:
                    words += [f"--{option.replace('_', '-')}", str(value.name if isinstance(value, Path) else value)]
        return shlex.join(words)


@dataclass
class Run:
    """All that changes during training."""

    learner: Learner
    seconds: float = 0.0
    scores: dict[str, float] = field(default_factory=dict)

    @property
    def step(self) -> int:
        return self.learner.step


def train(options: TrainOptions) -> Path:
    """Train, and return the weights file. Raises InputError or WeightsError for what a user can mend."""
    torch.manual_seed(options.seed)
    if options.threads:
        torch.set_num_threads(options.threads)
    device = resolve_device(options.device)
    groups, held_out = _places(options)
    sampler = Sampler(groups, options.crop, options.primed)
    validation = _validation(held_out, options)
    run = _start(options, device)
    saved = time.monotonic()
    with _Progress(device) as progress:
        while (spent := _spent(options, run)) < 1:
            started = time.monotonic()
            loss = run.learner.learn(_batch(sampler, options, run.step, device), options.loss, _rate(spent))
            run.seconds += time.monotonic() - started
            progress.advance(run, loss, _spent(options, run))
            if validation and _validation_due(spent, _spent(options, run)):
                run.scores = evaluate(run.learner.average, validation, device)
                progress.report(run)
                save_model(run.learner.average, options.output, _provenance(options, run))
            if time.monotonic() - saved > _SAVE_EVERY_S:
                _save(options, run)
                saved = time.monotonic()
    save_model(run.learner.average, options.output, _provenance(options, run))
    options.checkpoint.unlink(missing_ok=True)
    return options.output


# --- data ---


def _places(options: TrainOptions) -> tuple[list[list[Place]], list[Place]]:
    """Groups to train on, one a data set, and the places of all that are held out."""
    groups = [read_places(folder) for folder in options.data]
    if options.procedural:
        groups.append(procedural_places(options.seed, options.procedural, side=max(384, options.crop + 16)))
    split = [hold_out(group) for group in groups]
    return [training for training, _ in split], [place for _, held in split for place in held]


def _validation(places: Sequence[Place], options: TrainOptions) -> list[Sample]:
    """Of held-out places, primed if training is; none without places."""
    if not places:
        return []
    return fixed_samples(Sampler([places], options.crop, float(options.primed > 0)), _VALIDATION_SAMPLES)


def _batch(sampler: Sampler, options: TrainOptions, step: int, device: torch.device) -> dict[str, Tensor]:
    """Samples of one step, from a generator of the step's own: a resumed run sees what it would have seen."""
    rng = np.random.default_rng([options.seed, step])
    return batch_of([sampler.draw(rng) for _ in range(options.batch)], device)


# --- the run ---


def _start(options: TrainOptions, device: torch.device) -> Run:
    """A fresh run, or the one that was interrupted."""
    run = Run(Learner.of(_new_model(options), options.learning_rate, device))
    if options.checkpoint.exists():
        _resume(options, run)
    return run


def _new_model(options: TrainOptions) -> CloudRemovalModel:
    if options.start:
        model = load_model(options.start)
    else:
        architecture = ARCHITECTURES[options.architecture]
        model = architecture(architecture.small if options.size == "small" else architecture.config_type())
        model.start_as_identity()
    model.expects_primed = options.primed > 0
    return model


def _spent(options: TrainOptions, run: Run) -> float:
    """Share of the budget that is gone, 0..1."""
    by_steps = run.step / options.steps if options.steps else 0.0
    by_time = run.seconds / (60 * options.minutes) if options.minutes else 0.0
    return max(by_steps, by_time)


def _rate(spent: float) -> float:
    """Share of the peak learning rate: a linear rise, then half a cosine."""
    if spent < _WARM_UP:
        return max(spent / _WARM_UP, 0.01)
    cosine = 0.5 + 0.5 * math.cos(math.pi * (spent - _WARM_UP) / (1 - _WARM_UP))
    return _FINAL_RATE + (1 - _FINAL_RATE) * cosine


def _validation_due(before: float, after: float) -> bool:
    return int(before * _VALIDATIONS) != int(after * _VALIDATIONS)


# --- what is kept ---


def _save(options: TrainOptions, run: Run) -> None:
    state = {
        "identity": options.identity(),
        "model": run.learner.model.state_dict(),
        "average": run.learner.average.state_dict(),
        "optimizer": run.learner.optimizer.state_dict(),
        "step": run.step,
        "seconds": run.seconds,
        "scores": run.scores,
    }
    with replaced_atomically(options.checkpoint) as temporary:
        torch.save(state, temporary)


def _resume(options: TrainOptions, run: Run) -> None:
    state = torch.load(options.checkpoint, map_location="cpu", weights_only=True)
    if state["identity"] != options.identity():
        raise WeightsError(
            f"{options.checkpoint} is an unfinished run with other options ({state['identity']}); "
            "repeat these to finish it, or delete it to start anew"
        )
    learner = run.learner
    learner.model.load_state_dict(state["model"])
    learner.average.load_state_dict(state["average"])
    learner.optimizer.load_state_dict(state["optimizer"])
    learner.step, run.seconds, run.scores = state["step"], state["seconds"], state["scores"]
    log.info("going on with %s from step %d", options.checkpoint, run.step)


def _provenance(options: TrainOptions, run: Run) -> dict[str, Any]:
    folders = [folder.name for folder in options.data]
    made_up = [f"{options.procedural} procedural places of seed {options.seed}"] if options.procedural else []
    return {
        "trained_on": folders + made_up,
        "recipe": options.command(),
        "steps": run.step,
        "minutes": round(run.seconds / 60, 1),
        "seed": options.seed,
        "scores": run.scores,
        "torch": torch.__version__,
        "cloudfree": cloudfree.__version__,
    }


class _Progress:
    """A bar of steps with the time left on a terminal; elsewhere a line of log now and then."""

    LOG_EVERY_S = 60.0

    def __init__(self, device: torch.device) -> None:
        self._bar = tqdm(unit="step", desc=f"train on {device}", disable=None, dynamic_ncols=True)
        self._logged = time.monotonic()

    def __enter__(self) -> _Progress:
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.close()

    def advance(self, run: Run, loss: float, spent: float) -> None:
        if not self._bar.disable:
            self._bar.total = round(run.step / min(spent, 1))
            self._bar.set_postfix({"loss": f"{loss:.4f}", **run.scores}, refresh=False)
            self._bar.update(run.step - self._bar.n)
        elif time.monotonic() - self._logged > self.LOG_EVERY_S:
            left_min = run.seconds / 60 * (1 / spent - 1)
            log.info("step %d, %.0f %%, loss %.4f, %.0f minutes left", run.step, 100 * spent, loss, left_min)
            self._logged = time.monotonic()

    def report(self, run: Run) -> None:
        log.info("step %d, validation %s", run.step, ", ".join(f"{name} {value}" for name, value in run.scores.items()))
