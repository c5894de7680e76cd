"""Losses of cloud removal, by the names that `cloudfree train --loss` knows."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

# The published loss of Align-CR: robust, and six times as heavy under cloud.
_CLOUD_WEIGHT, _EPSILON, _POWER = 5.0, 1e-6, 0.45
_NEGLIGIBLE, _TINY = 1e-5, 1e-6  # squared error, and a number of pixels

Batch = Mapping[str, Tensor]
"""cloudy and clear (B, 4, H, W) reflectance, sar_db (B, 2, H, W), mask and known (B, H, W) bool: see `Sample`."""


def charbonnier(restored: Tensor, batch: Batch) -> Tensor:
    """Align-CR's loss: nearly the absolute error, six times as heavy under cloud."""
    return _mean(_weight(batch) * ((restored - batch["clear"]).square() + _EPSILON) ** _POWER, batch)


def carl(restored: Tensor, batch: Batch) -> Tensor:
    """DSen2-CR's cloud-adaptive regularized loss (Meraner et al. 2020).

    Absolute error against the input where that is clear, else against the truth; and against the truth everywhere.
    """
    reference = torch.where(batch["mask"][:, None], batch["clear"], batch["cloudy"])
    return _mean((restored - reference).abs() + (restored - batch["clear"]).abs(), batch)


def l1(restored: Tensor, batch: Batch) -> Tensor:
    """GLF-CR's loss: absolute error."""
    return _mean((restored - batch["clear"]).abs(), batch)


def negative_psnr(restored: Tensor, batch: Batch) -> Tensor:
    """Minus the PSNR in units of 10 dB, mean of samples: dark scenes count like bright, cloud six times as heavy."""
    weight = (_weight(batch) * batch["known"][:, None]).expand_as(restored)
    squared = weight * (restored - batch["clear"]).square()
    return (squared.sum((1, 2, 3)) / (weight.sum((1, 2, 3)) + _TINY) + _NEGLIGIBLE).log10().mean()


def _weight(batch: Batch) -> Tensor:
    """(B, 1, H, W): 1 in the clear, 6 under cloud."""
    return 1 + _CLOUD_WEIGHT * batch["mask"][:, None]


def _mean(error: Tensor, batch: Batch) -> Tensor:
    """Over all pixels (B, 4, H, W) whose truth is known."""
    known = batch["known"][:, None].expand_as(error)
    return (error * known).sum() / (known.sum() + _TINY)


LOSSES = {"charbonnier": charbonnier, "carl": carl, "l1": l1, "psnr": negative_psnr}
"""Each of restored (B, 4, H, W) and a batch; where the truth is not known nothing counts."""
