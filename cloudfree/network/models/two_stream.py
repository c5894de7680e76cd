"""What Align-CR and GLF-CR share: two streams at half resolution, dense blocks, gated fusion, a tail over all."""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cloudfree.network.models.base import OPTICAL_BANDS, CloudRemovalModel
from cloudfree.network.models.blocks import DynamicFilter, Pair, conv, count_members, in_float32, keeping_float32


@dataclass(frozen=True)
class TwoStreamConfig:
    """Sizes that every two-stream network has. The defaults are the published ones."""

    width: int = 96
    """Channels of both streams at half resolution."""
    blocks: int = 6
    """Rounds of deepening the streams and fusing them."""
    dense_layers: int = 5
    growth: int = 48
    heads: int = 8
    window: int = 8
    """Side of the attention windows in half-resolution pixels."""
    mlp_ratio: int = 4
    filter_size: int = 5
    """Side of the dynamic filters in half-resolution pixels."""
    tail_width: int = 64
    """Channels at full resolution before the last convolution."""

    @property
    def dense_widths(self) -> list[int]:
        """Channels before each dense layer of a block, and after the last."""
        return [self.width + layer * self.growth for layer in range(self.dense_layers + 1)]

    def require_multiple(self, whole: str, *parts: str) -> None:
        for part in parts:
            if getattr(self, whole) % getattr(self, part):
                raise ValueError(f"{whole} {getattr(self, whole)} is not a multiple of {part} {getattr(self, part)}")


def shared_sizes(state: Mapping[str, Tensor], attention_block: str) -> dict[str, Any]:
    """The fields of TwoStreamConfig by the shapes of a state dict, those of attention by the block of that prefix."""
    width = state["GFF.1.bias"].shape[0]
    table = state[f"{attention_block}.attn.relative_position_bias_table"]
    hidden, channels = state[f"{attention_block}.mlp.fc1.weight"].shape
    return {
        "width": width,
        "blocks": count_members(state, "RDBs"),
        "dense_layers": count_members(state, "RDBs.0.convs"),
        "growth": state["RDBs.0.convs.0.conv.0.bias"].shape[0],
        "heads": table.shape[1],
        "window": (math.isqrt(table.shape[0]) + 1) // 2,
        "mlp_ratio": hidden // channels,
        "filter_size": math.isqrt(state["DF.0.fac_warp.3.0.bias"].shape[0] // width),
        "tail_width": state["UPNet.0.bias"].shape[0] // 4,
    }


class DenseBlock(nn.Module):
    """Layers that each put `growth` channels behind their input, projected back to the width; plus the input."""

    def __init__(self, config: TwoStreamConfig, layers: Iterable[nn.Module]) -> None:
        super().__init__()
        self.convs = nn.ModuleList(layers)
        self.LFF = conv(config.dense_widths[-1], config.width, 3)
        self.LFF_SAR = conv(config.dense_widths[-1], config.width, 3)

    def forward(self, optical: Tensor, sar: Tensor) -> Pair:
        projected, projected_sar = self.project(optical, sar)
        return optical + projected, sar + projected_sar

    def project(self, optical: Tensor, sar: Tensor) -> Pair:
        for layer in self.convs:
            optical, sar = layer(optical, sar)
        return self.LFF(optical), self.LFF_SAR(sar)


class TwoStreamModel(CloudRemovalModel):
    """Optical and SAR features at half resolution, deepened and fused block by block; a tail reads every block's.

    A subclass makes its shallow layers and the dense blocks `RDBs`, then calls `add_fusion_and_tail`.
    """

    # 2 for the half resolution, times windows of 8; a map of a single window would be attended to without its shift.
    side_multiple = 16
    minimum_side = 32

    config: TwoStreamConfig
    RDBs: nn.ModuleList

    def add_fusion_and_tail(self, out_channels: int = OPTICAL_BANDS) -> None:
        """Last, so that parameters stand in the order of the computation: states of optimizers go by it."""
        config, width, blocks = self.config, self.config.width, range(self.config.blocks)
        self.DF = nn.ModuleList(DynamicFilter(width, config.filter_size) for _ in blocks)
        self.sar_fuse_1x1conv = nn.ModuleList(conv(width, width, 1) for _ in blocks)
        self.opt_distribute_1x1conv = nn.ModuleList(conv(width, width, 1) for _ in blocks)
        self.GFF = nn.Sequential(conv(config.blocks * width, width, 1), conv(width, width, 3))
        shuffled = conv(width, 4 * config.tail_width, 3), nn.PixelShuffle(2)
        self.UPNet = keeping_float32(nn.Sequential(*shuffled, conv(config.tail_width, out_channels, 3)))

    @abstractmethod
    def shallow(self, optical: Tensor, sar: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Unshuffled inputs (B, 16, h, w), (B, 8, h, w) -> optical features, SAR features, and what the tail adds."""

    def deepen(self, i: int, x: Tensor, s: Tensor) -> Pair:
        """Optical features `x` and SAR features `s` of block `i`, before their fusion."""
        x, s = self.RDBs[i](x, s)
        return x, s

    def residual(self, optical: Tensor, sar: Tensor) -> Tensor:
        x, s, skip = self.shallow(F.pixel_unshuffle(optical, 2), F.pixel_unshuffle(sar, 2))
        kept = []
        for i in range(self.config.blocks):
            x, s = self._fuse(i, *self.deepen(i, x, s))
            kept.append(x)
        return in_float32(self.UPNet, self.GFF(torch.cat(kept, 1)) + skip)

    def _fuse(self, i: int, x: Tensor, s: Tensor) -> Pair:
        """Let the streams correct each other, each through a gate on what the other has and it has not."""
        filtered = self.DF[i](x, s)
        gain = filtered - x
        x = x + gain * self.sar_fuse_1x1conv[i](gain).sigmoid()
        if i == self.config.blocks - 1:  # nothing reads the last SAR features
            return x, s
        gain = x - filtered
        return x, s + gain * self.opt_distribute_1x1conv[i](gain).sigmoid()
