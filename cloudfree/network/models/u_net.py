"""A small U-Net that sees what shows through clouds (`seen`), with radar beside it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cloudfree.network.models.base import SAR_BANDS, CloudRemovalModel, Normalization
from cloudfree.network.models.blocks import conv, in_float32, keeping_float32
from cloudfree.network.models.seen import ALL_PLANES, ANSWER_CHANNELS, channels_of


@dataclass(frozen=True)
class UNetConfig:
    """Channels at full resolution, twice and thrice as many at a half and a quarter of it; the planes it is shown."""

    width: int = 32
    planes: tuple[str, ...] = ALL_PLANES


class ResidualBlock(nn.Module):
    """Two 3x3 convolutions, and the input added before the last activation."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.first, self.second = conv(in_channels, out_channels, 3), conv(out_channels, out_channels, 3)
        self.skip = conv(in_channels, out_channels, 1) if in_channels != out_channels else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        return F.gelu(self.second(F.gelu(self.first(x))) + self.skip(x))


class UNet(CloudRemovalModel):
    architecture = "u_net"
    config_type = UNetConfig
    signature_key = "fine_again.first.weight"
    small = UNetConfig()
    side_multiple = 4

    def __init__(self, config: UNetConfig | None = None, normalization: Normalization | None = None) -> None:
        config = config or UNetConfig()
        super().__init__(UNetConfig(config.width, tuple(config.planes)), normalization)
        width = config.width
        self.fine = ResidualBlock(channels_of(self.config.planes) + SAR_BANDS, width)
        self.middle = ResidualBlock(width, 2 * width)
        self.coarse = ResidualBlock(2 * width, 3 * width)
        self.middle_again = ResidualBlock(5 * width, 2 * width)
        self.fine_again = ResidualBlock(3 * width, width)
        self.answer = keeping_float32(conv(width, ANSWER_CHANNELS, 1))

    def residual(self, optical: Tensor, sar: Tensor) -> Tensor:
        x = torch.cat([optical, sar], dim=1).to(self.fine.first.weight.dtype)
        fine = self.fine(x)
        middle = self.middle(F.avg_pool2d(fine, 2))
        coarse = self.coarse(F.avg_pool2d(middle, 2))
        middle = self.middle_again(torch.cat([_twice(coarse), middle], dim=1))
        return in_float32(self.answer, self.fine_again(torch.cat([_twice(middle), fine], dim=1)))

    @classmethod
    def infer_config(cls, state: Mapping[str, Tensor]) -> UNetConfig:
        return UNetConfig(width=state["fine.first.bias"].shape[0])


def _twice(image: Tensor) -> Tensor:
    return F.interpolate(image, scale_factor=2.0, mode="bilinear", align_corners=False)
