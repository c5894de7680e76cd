"""DSen2-CR (Meraner et al., 2020), in the version published beside Align-CR: residual blocks at full resolution."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from cloudfree.network.models.base import OPTICAL_BANDS, SAR_BANDS, CloudRemovalModel, Normalization
from cloudfree.network.models.blocks import conv, conv_relu, count_members, in_float32, keeping_float32

RESIDUAL_SCALE = 0.1
"""What a block adds is scaled down, which keeps the training of many wide blocks stable."""


@dataclass(frozen=True)
class DSen2CRConfig:
    """Sizes of the network. The defaults are the published ones: 18.9 M parameters, 37.8 MFLOP a pixel."""

    width: int = 256
    blocks: int = 16


class ResidualBlock(nn.Module):
    """Two convolutions with a ReLU between, scaled, plus the input."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.body = nn.Sequential(*conv_relu(width, width), conv(width, width, 3))

    def forward(self, x: Tensor) -> Tensor:
        return torch.add(x, self.body(x), alpha=RESIDUAL_SCALE)


class DSen2CR(CloudRemovalModel):
    architecture = "dsen2_cr"
    config_type = DSen2CRConfig
    signature_key = "head.0.weight"
    small = DSen2CRConfig(width=48, blocks=4)

    def __init__(self, config: DSen2CRConfig | None = None, normalization: Normalization | None = None) -> None:
        config = config or DSen2CRConfig()
        super().__init__(config, normalization)
        self.head = conv_relu(OPTICAL_BANDS + SAR_BANDS, config.width)
        self.body = nn.Sequential(
            *(ResidualBlock(config.width) for _ in range(config.blocks)),
            keeping_float32(conv(config.width, OPTICAL_BANDS, 3)),
        )

    def residual(self, optical: Tensor, sar: Tensor) -> Tensor:
        *blocks, last = self.body
        x = self.head(torch.cat((optical, sar), 1).to(self.head.get_parameter("0.weight").dtype))
        for block in blocks:
            x = block(x)
        return in_float32(last, x)

    @classmethod
    def infer_config(cls, state: Mapping[str, Tensor]) -> DSen2CRConfig:
        # The last member of the body is the convolution to the optical bands.
        return DSen2CRConfig(width=state["head.0.bias"].shape[0], blocks=count_members(state, "body") - 1)
