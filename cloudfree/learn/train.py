"""Training, in one loop: clear places under clouds or pairs, a loss, averaged weights, a file at the end.

The same options, seed and machine give the same weights. A run that was killed goes on where it last saved. Under
`torchrun` each process takes its share of every batch.
"""

from __future__ import annotations

import json
import logging
import math
import shlex
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

import cloudfree
from cloudfree.errors import InputError, WeightsError
from cloudfree.learn.distributed import Team, join, local_device
from cloudfree.learn.learner import AVERAGE_DECAY, Learner, batch_of, evaluate, fixed_samples
from cloudfree.learn.samples import Source
from cloudfree.learn.sources import SourceOptions, open_sources
from cloudfree.network.models import ARCHITECTURES, CloudRemovalModel
from cloudfree.network.predict import resolve_device
from cloudfree.network.weights import load_model, replaced_atomically, save_model

log = logging.getLogger(__name__)

_WARM_UP, _FINAL_RATE = 0.02, 0.02  # share of the budget; share of the learning rate left at its end
_PUBLISHED_EPOCHS, _HALVED_FROM, _HALVED_EVERY = 30, 10, 5
_VALIDATION_SAMPLES, _VALIDATIONS = 32, 12
_SAVE_EVERY_S = 60.0
_RECORDED = (
    *("data", "clouds", "procedural", "architecture", "size", "loss", "schedule", "minutes", "steps", "epochs"),
    *("seed", "crop", "batch", "learning_rate", "primed", "start"),
)
_OPTION_NAMES = {"start": "weights"}

PUBLISHED: Mapping[str, Any] = {
    "size": "published",
    "loss": "charbonnier",
    "schedule": "halving",
    "epochs": _PUBLISHED_EPOCHS,
    "learning_rate": 1e-4,
    "weight_decay": 0.0,
    "average_decay": 0.0,
    "keep": "best",
    "crop": 160,
    "procedural": 0,
    "stretched_sar": True,
}
"""The recipe that Align-CR was published with, as options; its batch is not known."""


@dataclass(frozen=True)
class TrainOptions:
    """What to train on, how long, and from which seed. Ends when `minutes`, `steps` or `epochs` are up, by the first.

    data, clouds, procedural, crop, primed, stretched_sar: see `sources.SourceOptions`; weights trained on primed
    samples will expect priming wherever a run has a mask. start: weights to go on from instead of fresh ones of
    `size`. batch: samples a step, of all processes together. schedule: half a cosine, or as published halved every five
    of 30 epochs from the tenth. keep: the last weights, or those that validated best.
    """

    output: Path
    data: tuple[Path, ...] = ()
    clouds: Path | None = None
    procedural: int = 40
    architecture: Literal["align_cr", "glf_cr", "dsen2_cr"] = "align_cr"
    size: Literal["small", "published"] = "small"
    loss: Literal["charbonnier", "carl", "l1", "psnr"] = "charbonnier"
    schedule: Literal["cosine", "halving"] = "cosine"
    minutes: float | None = None
    steps: int | None = None
    epochs: int | None = None
    seed: int = 0
    crop: int = 96
    batch: int = 2
    learning_rate: float = 1e-3
    weight_decay: float = 1e-4
    average_decay: float = AVERAGE_DECAY
    keep: Literal["last", "best"] = "last"
    start: str | None = None
    primed: float = 0.0
    stretched_sar: bool = False
    threads: int | None = None
    device: str = "auto"

    def __post_init__(self) -> None:
        if self.minutes is None and self.steps is None and self.epochs is None:
            raise InputError("training has no end: give --minutes, --steps or --epochs")

    @property
    def checkpoint(self) -> Path:
        """Where an unfinished run is kept."""
        return self.output.with_name(f"{self.output.name}.training.pt")

    @property
    def sources(self) -> SourceOptions:
        return SourceOptions(
            self.data, self.clouds, self.procedural, self.crop, self.primed, self.stretched_sar, self.seed
        )

    def identity(self) -> str:
        """What must be equal for a run to be resumed; more time may be given."""
        free = ("output", "minutes", "steps", "epochs", "threads", "device")
        return json.dumps({k: v for k, v in asdict(self).items() if k not in free}, default=str, sort_keys=True)

    def command(self) -> str:
        """The command that repeats the run, folders by name alone."""
        words = ["cloudfree", "train", "-o", self.output.name]
        words += ["--preset", "published"] if self.stretched_sar else []  # the only way to these settings
        for option in _RECORDED:
            values = getattr(self, option)
            for value in values if isinstance(values, tuple) else [values]:
                if value is not None:
                    name = _OPTION_NAMES.get(option, option.replace("_", "-"))
                    words += [f"--{name}", str(value.name if isinstance(value, Path) else value)]
        return shlex.join(words)


@dataclass
class Run:
    """All that changes during training."""

    learner: Learner
    seconds: float = 0.0
    scores: dict[str, float] = field(default_factory=dict)
    kept_db: float = -math.inf

    @property
    def step(self) -> int:
        return self.learner.step


def train(options: TrainOptions) -> Path:
    """Train, and return the weights file. Raises InputError or WeightsError for what a user can mend."""
    torch.manual_seed(options.seed)
    if options.threads:
        torch.set_num_threads(options.threads)
    device = local_device(resolve_device(options.device))
    team = join(device)
    try:
        _train(options, team, device)
    finally:
        team.leave()
    return options.output


def _train(options: TrainOptions, team: Team, device: torch.device) -> None:
    source, unseen = open_sources(options.sources)
    if options.epochs:
        by_epochs = options.epochs * math.ceil(len(source) / options.batch)
        options = replace(options, steps=min(by_epochs, options.steps or by_epochs))
    validation = fixed_samples(unseen, _VALIDATION_SAMPLES) if unseen and team.leads else []
    run = _start(options, device)
    saved = time.monotonic()
    with _Progress(device, shown=team.leads) as progress:
        while (spent := team.agree(_spent(options, run))) < 1:
            started = time.monotonic()
            batch = _batch(source, options, run.step, team, device)
            loss = run.learner.learn(batch, options.loss, _rate(options.schedule, spent), team)
            run.seconds += time.monotonic() - started
            progress.advance(run, loss, _spent(options, run))
            if not team.leads:
                continue
            if validation and _validation_due(spent, _spent(options, run)):
                run.scores = evaluate(run.learner.average, validation, device)
                progress.report(run)
                _keep(options, run, team)
            if time.monotonic() - saved > _SAVE_EVERY_S:
                _save(options, run)
                saved = time.monotonic()
    if team.leads:
        if not validation or options.keep == "last":
            save_model(run.learner.average, options.output, _provenance(options, run, team))
        options.checkpoint.unlink(missing_ok=True)


def _batch(source: Source, options: TrainOptions, step: int, team: Team, device: torch.device) -> dict[str, Tensor]:
    """This process's share of a step's samples, each from a generator of its own: a resumed run, or one of more
    processes, sees what it would have seen."""
    if options.batch % team.size:
        raise InputError(f"--batch is {options.batch}, of {team.size} processes; each takes an equal share: change it")
    mine = range(team.rank, options.batch, team.size)
    return batch_of([source.draw(np.random.default_rng([options.seed, step, index])) for index in mine], device)


# --- the run ---


def _start(options: TrainOptions, device: torch.device) -> Run:
    """A fresh run, or the one that was interrupted."""
    learner = Learner.of(
        _new_model(options),
        options.learning_rate,
        device,
        weight_decay=options.weight_decay,
        average_decay=options.average_decay,
    )
    run = Run(learner)
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


def _rate(schedule: str, spent: float) -> float:
    """Share of the peak learning rate: a linear rise, then half a cosine; or as published."""
    if schedule == "halving":
        epoch = spent * _PUBLISHED_EPOCHS
        return 0.5 ** max(0, 1 + math.floor((epoch - _HALVED_FROM) / _HALVED_EVERY))
    if spent < _WARM_UP:
        return max(spent / _WARM_UP, 0.01)
    cosine = 0.5 + 0.5 * math.cos(math.pi * (spent - _WARM_UP) / (1 - _WARM_UP))
    return _FINAL_RATE + (1 - _FINAL_RATE) * cosine


def _validation_due(before: float, after: float) -> bool:
    return int(before * _VALIDATIONS) != int(after * _VALIDATIONS)


# --- what is kept ---


def _keep(options: TrainOptions, run: Run, team: Team) -> None:
    """Write the weights, unless better ones are to be kept."""
    if options.keep == "last" or run.scores["psnr"] > run.kept_db:
        run.kept_db = run.scores["psnr"]
        save_model(run.learner.average, options.output, _provenance(options, run, team))


def _save(options: TrainOptions, run: Run) -> None:
    state = {
        "identity": options.identity(),
        "model": run.learner.model.state_dict(),
        "average": run.learner.average.state_dict(),
        "optimizer": run.learner.optimizer.state_dict(),
        "step": run.step,
        "seconds": run.seconds,
        "scores": run.scores,
        "kept_db": run.kept_db,
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
    learner.step, run.seconds = state["step"], state["seconds"]
    run.scores, run.kept_db = state["scores"], state["kept_db"]
    log.info("going on with %s from step %d", options.checkpoint, run.step)


def _provenance(options: TrainOptions, run: Run, team: Team) -> dict[str, Any]:
    folders = [folder.name for folder in options.data]
    made_up = [f"{options.procedural} procedural places of seed {options.seed}"] if options.procedural else []
    return {
        "trained_on": folders + made_up,
        "recipe": options.command(),
        "steps": run.step,
        "minutes": round(run.seconds / 60, 1),
        "seed": options.seed,
        "processes": team.size,
        "scores": run.scores,
        "torch": torch.__version__,
        "cloudfree": cloudfree.__version__,
    }


class _Progress:
    """A bar of steps with the time left on a terminal; elsewhere a line of log now and then."""

    LOG_EVERY_S = 60.0

    def __init__(self, device: torch.device, *, shown: bool) -> None:
        self._bar = tqdm(unit="step", desc=f"train on {device}", disable=None if shown else True, dynamic_ncols=True)
        self._shown = shown
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
        elif self._shown and time.monotonic() - self._logged > self.LOG_EVERY_S:
            left_min = run.seconds / 60 * (1 / spent - 1)
            log.info("step %d, %.0f %%, loss %.4f, %.0f minutes left", run.step, 100 * spent, loss, left_min)
            self._logged = time.monotonic()

    def report(self, run: Run) -> None:
        log.info("step %d, validation %s", run.step, ", ".join(f"{name} {value}" for name, value in run.scores.items()))
