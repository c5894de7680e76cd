"""How a detector of clouds learns: from labelled grounds under clouds, by cross entropy and overlap."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cloudfree.bands import SKY_HIDDEN, SkyClass
from cloudfree.learn.cloud_layers import read_real_clouds
from cloudfree.learn.labelled_grounds import UNLABELLED, read_grounds
from cloudfree.learn.losses import Batch
from cloudfree.learn.places import hold_out
from cloudfree.learn.samples import SampleSource
from cloudfree.learn.sky_samples import CloudedGrounds, SkySample
from cloudfree.learn.sources import SourceOptions, Sources

# Clear ground must stay clear: a run keeps it as observed.
_CLASS_WEIGHTS = {SkyClass.CLEAR: 1.3, SkyClass.SHADOW: 1.2}
_OVERLAP_WEIGHT = 0.5


@dataclass(frozen=True)
class Detection:
    """What a `CloudDetector` learns; as `learner.CloudRemoval`."""

    decides: str = "hidden_iou"

    def choose(self, source: SampleSource[SkySample], count: int) -> list[SkySample]:
        """Three times as many as are asked for: they are small, and many are cloudless."""
        return [source.draw(np.random.default_rng([0, number])) for number in range(3 * count)]

    def loss(self, model: nn.Module, batch: Batch) -> Tensor:
        """Cross entropy of the five classes, and one minus the soft overlap (Dice) of what hides the ground."""
        logits = model(batch["reflectance"], batch["valid"], batch["sar_db"], batch["other"]).float()
        labels = batch["labels"].long()
        weights = torch.tensor([_CLASS_WEIGHTS.get(sky, 1.0) for sky in SkyClass], device=logits.device)
        entropy = F.cross_entropy(logits, labels, weights, ignore_index=UNLABELLED)
        known = labels != UNLABELLED
        predicted = _hidden(logits.softmax(1))[known]
        hides = _hidden(F.one_hot(labels.clamp(max=len(SkyClass) - 1), len(SkyClass)).movedim(-1, 1).float())[known]
        overlap = (2 * (predicted * hides).sum() + 1) / (predicted.sum() + hides.sum() + 1)
        return entropy + _OVERLAP_WEIGHT * (1 - overlap)

    def validate(self, model: nn.Module, samples: Sequence[SkySample], device: torch.device) -> dict[str, float]:
        """Over all labelled pixels: IoU of what hides the ground, share of clear pixels kept, accuracy of the class."""
        truth, predicted = [], []
        for sample in samples:
            images = sample.reflectance, sample.valid, sample.sar_db, sample.other
            with torch.inference_mode():
                probability = model(*(torch.from_numpy(image)[None].to(device) for image in images)).softmax(1)[0].cpu()
            known = sample.labels != UNLABELLED
            truth.append(sample.labels[known])
            predicted.append(probability.numpy()[:, known])
        labels, probability = np.concatenate(truth), np.concatenate(predicted, 1)
        hides, hidden = np.isin(labels, SKY_HIDDEN), probability[list(SKY_HIDDEN)].sum(0) > 0.5
        scores = {
            "hidden_iou": (hides & hidden).sum() / max((hides | hidden).sum(), 1),
            "clear_kept": 1 - hidden[~hides].mean() if (~hides).any() else 1.0,
            "accuracy": (probability.argmax(0) == labels).mean(),
        }
        return {name: round(float(score), 4) for name, score in scores.items()}


def open_sky_sources(options: SourceOptions) -> Sources[SkySample]:
    """To train on and to validate on, other sites under other clouds. Raises InputError where there is nothing."""
    training, validation = read_grounds(options.data, options.clouds, options.procedural, options.seed)
    skies, unseen = hold_out(read_real_clouds(options.clouds)) if options.clouds else ([], [])
    held_out = CloudedGrounds(validation, options.crop, unseen) if validation else None
    return Sources(CloudedGrounds(training, options.crop, skies), held_out)


def _hidden(shares: Tensor) -> Tensor:
    """Of classes (B, 5, H, W), those that hide the ground (B, H, W)."""
    return shares[:, [int(sky) for sky in SKY_HIDDEN]].sum(1)
