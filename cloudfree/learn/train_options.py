"""Options of a training, recipes, and the command that repeats a training."""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from cloudfree.errors import InputError
from cloudfree.learn.learner import AVERAGE_DECAY
from cloudfree.learn.seeing import SIZES
from cloudfree.learn.sources import SourceOptions
from cloudfree.network.weights import load_network

PUBLISHED_EPOCHS = 30

PUBLISHED: Mapping[str, Any] = {
    "size": "published",
    "loss": "charbonnier",
    "schedule": "halving",
    "epochs": PUBLISHED_EPOCHS,
    "learning_rate": 1e-4,
    "weight_decay": 0.0,
    "average_decay": 0.0,
    "keep": "best",
    "crop": 160,
    "procedural": 0,
    "stretched_sar": True,
}
"""The recipe that Align-CR was published with, as options; its batch is not known."""

SEEING: Mapping[str, Any] = {
    "architecture": "u_net",
    "crop": 64,
    "batch": 16,
    "learning_rate": 2e-3,
    "average_decay": 0.997,
    "keep": "best",
    "procedural": 0,
}
"""What suits networks that see, as options."""

# What does not go with samples.
_OF_PLACES = ("data", "clouds", "cloud_percent", "procedural", "size", "loss")

# What the recorded command names, in this order, and where an option is called otherwise than its field.
_RECORDED = (
    *("data", "clouds", "cloud_percent", "samples", "procedural", "architecture", "size", "loss", "schedule"),
    *("minutes", "steps", "epochs", "seed", "crop", "batch", "learning_rate", "keep", "start"),
)
_OPTION_NAMES = {"start": "weights"}

# What may differ where an unfinished run goes on.
_FREE = ("output", "minutes", "steps", "epochs", "threads", "workers", "device")


@dataclass(frozen=True, kw_only=True)
class TrainOptions(SourceOptions):
    """What to train on, how long, and from which seed. Ends when `minutes`, `steps` or `epochs` are up, by the first.

    samples: a folder of samples (`make_samples`), from which networks that see learn: a "u_net", or an "align_cr" of
    one size, by one loss. start: weights to go on from instead of fresh ones of `size`. A "cloud_detector" has one size
    and one loss, its own. batch: samples a step, of all processes together. schedule: half a cosine, or as published
    halved every five of 30 epochs from the tenth.
    keep: the last weights, or those that validated best. workers: processes that draw samples beside the training, None
    is half as many as cores; samples are the same whatever their number.

    Raises InputError where nothing says when to end, and for a network that does not learn from what is given.
    """

    output: Path
    samples: Path | None = None
    architecture: Literal["align_cr", "glf_cr", "dsen2_cr", "u_net", "cloud_detector"] = "align_cr"
    size: Literal["small", "published"] = "small"
    loss: Literal["charbonnier", "carl", "l1", "psnr"] = "charbonnier"
    schedule: Literal["cosine", "halving"] = "cosine"
    minutes: float | None = None
    steps: int | None = None
    epochs: int | None = None
    batch: int = 2
    learning_rate: float = 1e-3
    weight_decay: float = 1e-4
    average_decay: float = AVERAGE_DECAY
    keep: Literal["last", "best"] = "last"
    start: str | None = None
    threads: int | None = None
    workers: int | None = None
    device: str = "auto"

    def __post_init__(self) -> None:
        if self.minutes is None and self.steps is None and self.epochs is None:
            raise InputError("training has no end: give --minutes, --steps or --epochs")
        if self.samples and self.architecture not in SIZES:
            raise InputError(
                f"--architecture is {self.architecture}; what learns from --samples is {' or '.join(SIZES)}: "
                "choose one of them"
            )
        if not self.samples and self.architecture == "u_net":
            raise InputError("a u_net learns from samples (cloudfree samples) alone: give --samples")

        if self.cloud_percent and not (self.clouds and self.architecture == "cloud_detector"):
            raise InputError(
                "--cloud-percent is what another network says of the images of --clouds, and a cloud_detector alone "
                "learns from it: give --clouds and --architecture cloud_detector, or leave it out"
            )

    @property
    def checkpoint(self) -> Path:
        """Where an unfinished run is kept."""
        return self.output.with_name(f"{self.output.name}.training.pt")

    def identity(self) -> str:
        """What must be equal for a run to be resumed; more time may be given."""
        return json.dumps({k: v for k, v in asdict(self).items() if k not in _FREE}, default=str, sort_keys=True)

    def command(self) -> str:
        """The command that repeats the run, folders by name alone."""
        words = ["cloudfree", "train", "-o", self.output.name]
        words += ["--preset", "published"] if self.stretched_sar else []  # the only way to these settings
        left_out = (*(_OF_PLACES if self.samples else ()), *(("size",) if self.start else ()))
        for option in _RECORDED:
            values = getattr(self, option)
            for value in values if isinstance(values, tuple) else [values]:
                if value is not None and option not in left_out:
                    name = _OPTION_NAMES.get(option, option.replace("_", "-"))
                    words += [f"--{name}", str(value.name if isinstance(value, Path) else value)]
        return shlex.join(words)


def options_of(output: Path, given: Mapping[str, Any], *, published: bool) -> TrainOptions:
    """Of what was given, and for the rest the published recipe, or what suits networks that see.

    Raises InputError for what does not go together, and WeightsError for weights to start from that cannot be read.
    """
    if "start" in given:
        given = {**given, "architecture": _architecture_to_go_on(given)}
    if "samples" not in given:
        return TrainOptions(output=output, **{**(PUBLISHED if published else {}), **given})
    refused = [f"--{name}" for name in _OF_PLACES if given.get(name)] + ["--preset"] * published
    if refused:
        raise InputError(
            f"--samples and {refused[0]} do not go together; samples were made of ground under clouds, for one network "
            "and one loss: leave one of them out"
        )
    return TrainOptions(output=output, **{**SEEING, **given})


def _architecture_to_go_on(given: Mapping[str, Any]) -> str:
    """That of the weights to start from. Raises InputError where another architecture or a size is asked for."""
    found = load_network(given["start"]).architecture
    wanted = given.get("architecture", found)
    if wanted != found or "size" in given:
        option = "--size" if wanted == found else f"--architecture {wanted}"
        raise InputError(
            f"{option} and --weights {given['start']}, which is {found}, do not go together; a network that goes on "
            "keeps what it is: leave one of them out"
        )
    return found
