"""How a network learns: one step, the running average of its weights, and the validation score that decides."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from itertools import islice
from typing import Any, Generic, Protocol, Self, TypeVar

import numpy as np
import torch
from torch import Tensor, nn

from cloudfree.evaluate import metrics
from cloudfree.learn.distributed import SINGLE_PROCESS, ProcessGroup
from cloudfree.learn.losses import LOSSES, Batch
from cloudfree.learn.samples import Sample, SampleSource
from cloudfree.network.device import autocast, bfloat16_pays
from cloudfree.network.models import CloudDetector, CloudRemovalModel

_ALIGNMENT_RATE = 0.1  # of the learning rate, as published: offsets that jump do not come back
_MAX_GRADIENT_NORM = 1.0

AVERAGE_DECAY = 0.998
"""Of the running average of weights, a step."""


M = TypeVar("M", bound=CloudRemovalModel | CloudDetector)

Loss = Callable[[Any, Batch], Tensor]
"""Of a network and what it is shown."""


class Goal(Protocol):
    """What a network learns, from samples of one kind."""

    @property
    def decides(self) -> str:
        """The score, higher is better, by which the best weights are told."""

    def choose(self, source: Any, count: int) -> list[Any]:
        """Samples of a source to validate on, the same at each call."""

    def loss(self, model: Any, batch: Batch) -> Tensor:
        """What a step makes less, of samples as `collate` stacks them."""

    def validate(self, model: Any, samples: Any, device: torch.device) -> dict[str, float]:
        """Scores by name."""


@dataclass(frozen=True)
class CloudRemoval:
    """What a `CloudRemovalModel` as published learns: the clear image, by one of `LOSSES`."""

    loss_name: str
    decides: str = "psnr"

    def choose(self, source: SampleSource[Sample], count: int) -> list[Sample]:
        """Samples to validate on, the same at each call, some of their pixels hidden and some not."""
        rng = np.random.default_rng(0)
        drawn = (source.draw(rng) for _ in range(100 * count))
        usable = (sample for sample in drawn if (sample.mask & sample.known).mean() > 0.1 and sample.mask.mean() < 0.9)
        return list(islice(usable, count))

    def loss(self, model: nn.Module, batch: Batch) -> Tensor:
        return LOSSES[self.loss_name](model(batch["cloudy"], batch["sar_db"]), batch)

    def validate(self, model: nn.Module, samples: Sequence[Sample], device: torch.device) -> dict[str, float]:
        """Means over samples of PSNR (dB): of all pixels; of the hidden ones as restored, as given, and as a median.

        As given is the cloud; the median is of pixels that are not hidden.
        """
        names = ("psnr", "psnr_hidden", "psnr_hidden_input", "psnr_hidden_median")
        scores: dict[str, list[float]] = {name: [] for name in names}
        for sample in samples:
            with torch.inference_mode():
                inputs = (torch.from_numpy(image)[None].to(device) for image in (sample.cloudy, sample.sar_db))
                restored = model(*inputs)[0].clamp(0, 1).cpu().numpy()
            filled = np.median(sample.cloudy[:, ~sample.mask], axis=1)[:, None, None]
            hidden = sample.mask & sample.known
            scores["psnr"].append(metrics.psnr(restored, sample.clear, sample.known))
            scores["psnr_hidden"].append(metrics.psnr(restored, sample.clear, hidden))
            scores["psnr_hidden_input"].append(metrics.psnr(sample.cloudy, sample.clear, hidden))
            scores["psnr_hidden_median"].append(metrics.psnr(filled, sample.clear, hidden))
        return {name: round(float(np.mean(values)), 3) for name, values in scores.items()}


@dataclass
class Learner(Generic[M]):
    """A network in training, the running average of its weights, which is the one to keep, and the optimizer."""

    model: M
    average: M
    optimizer: torch.optim.Optimizer
    decay: float = AVERAGE_DECAY
    step: int = 0

    @classmethod
    def of(
        cls,
        model: M,
        learning_rate: float,
        device: torch.device,
        *,
        weight_decay: float = 1e-4,
        average_decay: float = AVERAGE_DECAY,
    ) -> Self:
        """A learner of the model's weights; an `average_decay` of 0 keeps the last weights instead of an average."""
        model = model.to(device).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        model.requires_grad_().train()
        average = copy.deepcopy(model)
        average.prepare_for_inference()
        return cls(model, average, _optimizer(model, learning_rate, weight_decay), average_decay)

    def training_step(
        self, batch: Batch, loss: Loss, rate_factor: float, processes: ProcessGroup = SINGLE_PROCESS
    ) -> float:
        """One step at a share `rate_factor` (0..1) of the learning rate, with the mean gradient of all processes.

        Returns the loss before it.
        """
        for group in self.optimizer.param_groups:
            group["lr"] = group["peak"] * rate_factor
        device = next(iter(batch.values())).device
        with autocast(device, "bf16" if bfloat16_pays(device) else "fp32"):
            value = loss(self.model, batch)
        self.optimizer.zero_grad()
        value.backward()  # type: ignore[no-untyped-call]
        processes.average_gradients(self.model.parameters())
        nn.utils.clip_grad_norm_(self.model.parameters(), _MAX_GRADIENT_NORM)
        self.optimizer.step()
        self._update_average()
        self.step += 1
        return value.item()

    @torch.no_grad()
    def _update_average(self) -> None:
        """Exponential; over the first steps a shorter one, that the start be forgotten."""
        decay = min(self.decay, (1 + self.step) / (10 + self.step))
        for average, parameter in zip(self.average.parameters(), self.model.parameters(), strict=True):
            average.lerp_(parameter, 1 - decay)


def collate(samples: Sequence[Any], device: torch.device) -> dict[str, Tensor]:
    """Samples of one kind and size, dataclasses of arrays, stacked to a `Batch` on the device."""
    names = [field.name for field in fields(samples[0])]
    return {name: torch.from_numpy(np.stack([getattr(s, name) for s in samples])).to(device) for name in names}


def _optimizer(model: nn.Module, learning_rate: float, weight_decay: float) -> torch.optim.Optimizer:
    alignment = [p for name, p in model.named_parameters() if name.startswith("SFAlign")]
    others = [p for name, p in model.named_parameters() if not name.startswith("SFAlign")]
    groups = [
        {"params": others, "peak": learning_rate},
        {"params": alignment, "peak": _ALIGNMENT_RATE * learning_rate},
    ]
    return torch.optim.AdamW(
        [g for g in groups if g["params"]], lr=learning_rate, betas=(0.9, 0.99), weight_decay=weight_decay
    )
