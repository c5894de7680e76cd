"""The toy model: the clipped reflectance, plus a constant a band that starts at zero. It runs the command in tests."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from cloudfree.network.models.base import OPTICAL_BANDS, CloudRemovalModel, Normalization


@dataclass(frozen=True)
class IdentityConfig:
    """Nothing to choose."""


class Identity(CloudRemovalModel):
    architecture = "identity"
    config_type = IdentityConfig
    signature_key = "band_shift"
    keeps_float32 = True

    def __init__(self, config: IdentityConfig | None = None, normalization: Normalization | None = None) -> None:
        super().__init__(config or IdentityConfig(), normalization)
        self.band_shift = nn.Parameter(torch.zeros(OPTICAL_BANDS))

    @classmethod
    def infer_config(cls, state: Mapping[str, Tensor]) -> IdentityConfig:
        return IdentityConfig()

    def residual(self, optical: Tensor, sar: Tensor) -> Tensor:
        return self.band_shift[:, None, None].expand_as(optical)
