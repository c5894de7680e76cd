"""How a detector of clouds learns: from labelled grounds under clouds, by cross entropy and overlap."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cloudfree.bands import SKY_HIDDEN, SkyClass
from cloudfree.detect import load
from cloudfree.learn.clouded_images import check_cloud_percent, cloud_share, read_clouded_images
from cloudfree.learn.labelled_grounds import LabelledGround, of_clouded_image, read_grounds
from cloudfree.learn.lifted_layers import DrawClouds, RealLayer, clouds_drawer, ground_under
from cloudfree.learn.losses import Batch
from cloudfree.learn.places import hold_out
from cloudfree.learn.samples import SampleSource
from cloudfree.learn.sky_labels import UNLABELLED, cloudy_labels, labels_by_ground
from cloudfree.learn.sky_samples import CloudedGrounds, SkySample, simulated_sky
from cloudfree.learn.sources import SourceOptions, Sources
from cloudfree.reconstruct.lifted import lift

# Clear ground must stay clear: a run keeps it as observed. Shadows are rare. Among samples
# snow is far more frequent than under satellites, and an overcast sky that is taken for it stays.
_CLASS_WEIGHTS = {SkyClass.CLEAR: 1.3, SkyClass.SHADOW: 1.6, SkyClass.SNOW: 0.7}
_OVERLAP_WEIGHT = 0.5
_SIMULATED = 0.5  # share of cloud layers


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
    grounds, layers = _clouded(options.clouds, options.cloud_percent) if options.clouds else ([], [])
    training, validation = read_grounds(
        options.data, options.clouds, options.procedural, options.seed, grounds, options.cloud_percent
    )
    seen, unseen = hold_out(layers)
    held_out = CloudedGrounds(validation, options.crop, _skies(unseen)) if validation else None
    return Sources(CloudedGrounds(training, options.crop, _skies(seen)), held_out)


def _skies(layers: list[RealLayer]) -> DrawClouds:
    return clouds_drawer(layers, _SIMULATED, simulated_sky)


def _clouded(folder: Path, cloud_percent: Path | None) -> tuple[list[LabelledGround], list[RealLayer]]:
    """Images with clouds and their labels, and the clouds that can be lifted off them."""
    if cloud_percent:
        check_cloud_percent(cloud_percent)
    grounds, layers, detector = list[LabelledGround](), list[RealLayer](), load()
    for image in read_clouded_images(folder):
        share = cloud_share(cloud_percent, image.name, image.valid.shape)
        if under := ground_under(image, detector):
            layers.append(RealLayer(image.site, lift(image.filled, *under)))
        ground = under[0] if under else image.other_in_its_light()
        seen = image.filled
        labels = cloudy_labels(seen, share) if ground is None else labels_by_ground(seen, ground, share)
        grounds.append(of_clouded_image(image, labels))
    return grounds, layers


def _hidden(shares: Tensor) -> Tensor:
    """Of classes (B, 5, H, W), those that hide the ground (B, H, W)."""
    return shares[:, [int(sky) for sky in SKY_HIDDEN]].sum(1)
