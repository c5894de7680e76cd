"""How a network that sees learns: to be near the ground that a mask hides, in decibels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from cloudfree.evaluate import metrics
from cloudfree.learn.learner import collate
from cloudfree.learn.losses import Batch
from cloudfree.learn.samples import SampleSource
from cloudfree.learn.seen_samples import SeenSample
from cloudfree.network.models import AlignCRConfig, Seen, UNetConfig
from cloudfree.network.models.seen import ALL_PLANES

SIZES: Mapping[str, Any] = {
    "u_net": UNetConfig(),
    "align_cr": AlignCRConfig(
        planes=ALL_PLANES,
        width=32,
        blocks=2,
        shallow_blocks=1,
        shallow_expanded=96,
        shallow_bottleneck=24,
        growth=16,
        dense_layers=2,
        filter_size=3,
        heads=4,
        deformable_groups=4,
        mlp_ratio=2,
        tail_width=32,
    ),
}
"""Configs of the networks that see, by architecture; they suit two CPU cores."""

_NEGLIGIBLE = 1e-6  # squared error
_OF_VISIBLE, _BRIGHTENED, _FEWEST_VISIBLE_PX = 0.4, 0.12, 60  # share of the loss; reflectance that a cloud adds


@dataclass(frozen=True)
class Seeing:
    """What a `CloudRemovalModel` that sees learns; as `learner.CloudRemoval`."""

    decides: str = "psnr_hidden"

    def choose(self, source: SampleSource[SeenSample], count: int) -> list[SeenSample]:
        """Three times as many as are asked for, or as there are: they are small."""
        return [source.draw(np.random.default_rng([0, number])) for number in range(3 * min(count, len(source)))]

    def loss(self, model: Any, batch: Batch) -> Tensor:
        """Mean over samples of the logarithm (base 10) of the squared error of what is hidden.

        So a decibel is a decibel on every scene, dark or bright, plain or rich in detail. For a part of it what no
        cloud brightens much counts alone, or errors under opaque cloud would drown what can be seen.
        """
        seen, truth, counted = _seen(batch), batch["truth"], (batch["hidden"] & batch["known"])[:, None]
        squared = (model.restored(seen) - truth).square()
        brightness, expected = (image[:, :3].mean(1, keepdim=True) for image in (seen.observed, truth))
        visible = counted & (brightness < expected + _BRIGHTENED)
        enough = visible.sum((1, 2, 3)) > _FEWEST_VISIBLE_PX
        every, of_visible = _log_error(squared, counted), _log_error(squared, visible)
        return torch.lerp(every, torch.where(enough, of_visible, every.detach()), _OF_VISIBLE).mean()

    def validate(self, model: Any, samples: Sequence[SeenSample], device: torch.device) -> dict[str, float]:
        """Means over samples of PSNR (dB) of what is hidden: as restored, by the model, and by what shows through."""
        scores: dict[str, list[float]] = {"psnr_hidden": [], "psnr_hidden_model": [], "psnr_hidden_seen_through": []}
        for sample in samples:
            if not sample.counted.any():
                continue
            with torch.inference_mode():
                restored = model.restored(_seen(collate([sample], device)))[0].clamp(0, 1).cpu().numpy()
            for name, image in zip(scores, (restored, sample.ground, sample.through), strict=True):
                scores[name].append(metrics.psnr(image, sample.truth, sample.counted))
        return {name: round(float(np.mean(values)), 3) for name, values in scores.items()}


def _log_error(squared: Tensor, where: Tensor) -> Tensor:
    """Logarithm (B,) of the mean of squared errors (B, 4, H, W) where (B, 1, H, W) they count."""
    pixels = where.sum((1, 2, 3)) * squared.shape[1]
    return ((squared * where).sum((1, 2, 3)) / (pixels + 1) + _NEGLIGIBLE).log10()


def _seen(batch: Batch) -> Seen:
    """What is shown of a batch of the fields of `SeenSample`."""
    share, hidden = (batch[name][:, None].to(batch["ground"].dtype) for name in ("share", "hidden"))
    observed, ground, through, deviation = (batch[name] for name in ("observed", "ground", "through", "deviation"))
    return Seen(observed, ground, through, deviation, share, hidden, batch["sar_db"])
