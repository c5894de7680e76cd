"""What a network that sees is shown of pixels under a mask, and how it answers.

It is shown the cloud itself, beside the ground that the scene's model expects and what shows through by the closed form
of `reconstruct.see_through`. It answers with a correction in standard deviations of the model, and a gate on what shows
through: zeros are nearly the closed form, wherever it starts from.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NamedTuple

import torch
from torch import Tensor

from cloudfree.bands import OPTICAL_BANDS

BANDS = len(OPTICAL_BANDS)
ANSWER_CHANNELS = 2 * BANDS
"""A correction and a gate of each band."""

# Typical reflectance and deviation, by which planes come to about one; how far logarithms and steps are told apart.
_REFLECTANCE, _DEVIATION, _OFFSET, _MOST = 0.3, 0.03, 0.01, 3.0
_OPEN_GATE = 2.0  # before the sigmoid
_MOST_CORRECTION = 3.0  # standard deviations


class Seen(NamedTuple):
    """Pixels (B, channels, H, W) of a scene and what is known of them before a network is asked.

    observed, ground, through: reflectance (B, 4, H, W) as seen, by the scene's model, and by what shows through.
    deviation (B, 4, H, W): one standard deviation of the errors of `ground`.
    share (B, 1, H, W), 0..1: of the variance of these errors, how much `through` takes away.
    hidden (B, 1, H, W): 1 under the mask, else 0.
    sar_db (B, 2, H, W): VV and VH in dB, NaN where there is none.
    """

    observed: Tensor
    ground: Tensor
    through: Tensor
    deviation: Tensor
    share: Tensor
    hidden: Tensor
    sar_db: Tensor


def _ratio(seen: Seen) -> Tensor:
    ratio = (seen.observed.clamp_min(0) + _OFFSET) / (seen.ground.clamp_min(0) + _OFFSET)
    return ratio.log().clamp(-_MOST, _MOST)


def _step(seen: Seen) -> Tensor:
    return ((seen.through - seen.ground) / seen.deviation / 3).clamp(-_MOST, _MOST)


_PLANES: Mapping[str, tuple[int, Callable[[Seen], Tensor]]] = {
    "observed": (BANDS, lambda seen: seen.observed.clamp_max(1) / _REFLECTANCE),  # no sample is brighter
    "ground": (BANDS, lambda seen: seen.ground / _REFLECTANCE),
    "step": (BANDS, _step),
    "ratio": (BANDS, _ratio),
    "deviation": (BANDS, lambda seen: seen.deviation / _DEVIATION),
    "share": (1, lambda seen: seen.share),
    "hidden": (1, lambda seen: seen.hidden),
}

ALL_PLANES = tuple(_PLANES)
"""Names of the planes that networks can be shown, as weights files give them."""


def channels_of(planes: tuple[str, ...]) -> int:
    """How many channels these planes have. Raises KeyError for a name that is not known."""
    return sum(_PLANES[name][0] for name in planes)


def shown(seen: Seen, planes: tuple[str, ...]) -> Tensor:
    """The planes of these names (B, channels, H, W), in units of about one."""
    return torch.cat([_PLANES[name][1](seen) for name in planes], dim=1)


def answered(seen: Seen, answer: Tensor) -> Tensor:
    """The ground (B, 4, H, W), not clamped, by a network's answer (B, 8, H, W)."""
    correction, gate = torch.split(answer, BANDS, dim=1)
    correction = _MOST_CORRECTION * torch.tanh(correction / _MOST_CORRECTION)
    opened = torch.sigmoid(gate + _OPEN_GATE)
    return seen.ground + opened * (seen.through - seen.ground) + correction * seen.deviation
