"""Align-CR (Xu et al., 2023): cloud removal, aligning SAR to optical features and fusing two streams."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cloudfree.models.alignment import FeatureAlign
from cloudfree.models.base import OPTICAL_BANDS, SAR_BANDS, CloudRemovalModel, Normalization
from cloudfree.models.blocks import DenseLayer, DynamicFilter, Pair, TwoStreamSwinBlock, WideActivationBlock, conv


@dataclass(frozen=True)
class AlignCRConfig:
    """Sizes of the network. The defaults are the published ones: 45.5 M parameters, 14.3 MFLOP a pixel."""

    width: int = 96
    """Channels of both streams at half resolution; the alignment pyramid doubles them at each coarser level."""
    blocks: int = 6
    """Rounds of align, dense block with attention, fuse."""
    shallow_blocks: int = 5
    shallow_expanded: int = 576
    shallow_bottleneck: int = 76
    deformable_groups: int = 8
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

    def __post_init__(self) -> None:
        for name, parts in (("heads", self.heads), ("deformable_groups", self.deformable_groups)):
            if self.width % parts:
                raise ValueError(f"width {self.width} is not a multiple of {name} {parts}")


SIZES = {
    "published": AlignCRConfig(),
    "small": AlignCRConfig(
        width=48,
        blocks=2,
        shallow_blocks=2,
        shallow_expanded=144,
        shallow_bottleneck=36,
        deformable_groups=4,
        dense_layers=3,
        growth=24,
        heads=4,
        mlp_ratio=2,
        tail_width=32,
    ),
}
"""`small` has every part of the published network at a thirteenth of its parameters, and suits two CPU cores."""


class DenseBlock(nn.Module):
    """Densely connected convolutions, projected back to the width, then two-stream attention; plus the input."""

    def __init__(self, config: AlignCRConfig, *, shifted: bool) -> None:
        super().__init__()
        widths = [config.width + layer * config.growth for layer in range(config.dense_layers + 1)]
        self.convs = nn.ModuleList(DenseLayer(channels, config.growth) for channels in widths[:-1])
        self.LFF = conv(widths[-1], config.width, 3)
        self.LFF_SAR = conv(widths[-1], config.width, 3)
        self.SwinTransformerBlock = TwoStreamSwinBlock(
            config.width, config.window, config.heads, config.mlp_ratio, shifted=shifted
        )

    def forward(self, optical: Tensor, sar: Tensor) -> Pair:
        grown, grown_sar = optical, sar
        for layer in self.convs:
            grown, grown_sar = layer(grown, grown_sar)
        mixed, mixed_sar = self.SwinTransformerBlock(self.LFF(grown), self.LFF_SAR(grown_sar))
        return optical + mixed, sar + mixed_sar


class AlignCR(CloudRemovalModel):
    architecture = "align_cr"
    config_type = AlignCRConfig
    signature_key = "SFAlign.0.pcd_align.cas_dcnpack.weight"
    # 2 for the half resolution, times windows of 8; a map of a single window would be attended to without its shift.
    side_multiple = 16
    minimum_side = 32

    config: AlignCRConfig

    def __init__(self, config: AlignCRConfig | None = None, normalization: Normalization | None = None) -> None:
        config = config or AlignCRConfig()
        super().__init__(config, normalization)
        self.SFE_conv = conv(4 * OPTICAL_BANDS, config.width, 3)
        self.SFE_module = _shallow_blocks(config)
        self.SFE_conv_SAR = conv(4 * SAR_BANDS, config.width, 3)
        self.SFE_module_SAR = _shallow_blocks(config)
        width, blocks = config.width, range(config.blocks)
        self.SFAlign = nn.ModuleList(FeatureAlign(width, config.deformable_groups) for _ in blocks)
        self.RDBs = nn.ModuleList(DenseBlock(config, shifted=i % 2 == 1) for i in blocks)
        self.DF = nn.ModuleList(DynamicFilter(width, config.filter_size) for _ in blocks)
        self.sar_fuse_1x1conv = nn.ModuleList(conv(width, width, 1) for _ in blocks)
        self.opt_distribute_1x1conv = nn.ModuleList(conv(width, width, 1) for _ in blocks)
        self.GFF = nn.Sequential(conv(config.blocks * width, width, 1), conv(width, width, 3))
        self.UPNet = nn.Sequential(
            conv(width, 4 * config.tail_width, 3), nn.PixelShuffle(2), conv(config.tail_width, OPTICAL_BANDS, 3)
        )

    def residual(self, optical: Tensor, sar: Tensor) -> Tensor:
        shallow = F.relu(self.SFE_conv(F.pixel_unshuffle(optical, 2)))
        x: Tensor = self.SFE_module(shallow)
        s: Tensor = self.SFE_module_SAR(F.relu(self.SFE_conv_SAR(F.pixel_unshuffle(sar, 2))))
        kept = []
        for block in range(self.config.blocks):
            x, s = self._block(block, x, s)
            kept.append(x)
        out: Tensor = self.UPNet(self.GFF(torch.cat(kept, 1)) + shallow)
        return out

    def _block(self, i: int, x: Tensor, s: Tensor) -> Pair:
        """Align SAR features `s` to optical features `x`, deepen both, and let each correct the other."""
        s = self.SFAlign[i](s, x)
        x, s = self.RDBs[i](x, s)
        filtered = self.DF[i](x, s)
        gain = filtered - x
        x = x + gain * self.sar_fuse_1x1conv[i](gain).sigmoid()
        if i == self.config.blocks - 1:  # nothing reads the last SAR features
            return x, s
        gain = x - filtered
        return x, s + gain * self.opt_distribute_1x1conv[i](gain).sigmoid()

    @classmethod
    def infer_config(cls, state: Mapping[str, Tensor]) -> AlignCRConfig:
        width = state["SFE_conv.weight"].shape[0]
        table = state["RDBs.0.SwinTransformerBlock.attn.relative_position_bias_table"]
        return AlignCRConfig(
            width=width,
            blocks=_count(state, "RDBs"),
            shallow_blocks=_count(state, "SFE_module"),
            shallow_expanded=state["SFE_module.0.body.0.bias"].shape[0],
            shallow_bottleneck=state["SFE_module.0.body.2.bias"].shape[0],
            deformable_groups=state["SFAlign.0.pcd_align.cas_dcnpack.conv_offset.bias"].shape[0] // 27,
            dense_layers=_count(state, "RDBs.0.convs"),
            growth=state["RDBs.0.convs.0.conv.0.bias"].shape[0],
            heads=table.shape[1],
            window=(math.isqrt(table.shape[0]) + 1) // 2,
            mlp_ratio=state["RDBs.0.SwinTransformerBlock.mlp.fc1.bias"].shape[0] // width,
            filter_size=math.isqrt(state["DF.0.fac_warp.3.0.bias"].shape[0] // width),
            tail_width=state["UPNet.0.bias"].shape[0] // 4,
        )


def _shallow_blocks(config: AlignCRConfig) -> nn.Sequential:
    return nn.Sequential(
        *(
            WideActivationBlock(config.width, config.shallow_expanded, config.shallow_bottleneck)
            for _ in range(config.shallow_blocks)
        )
    )


def _count(state: Mapping[str, Tensor], prefix: str) -> int:
    """How many numbered members of `prefix` a state dict holds."""
    start = prefix.count(".") + 1
    return len({key.split(".")[start] for key in state if key.startswith(f"{prefix}.")})
