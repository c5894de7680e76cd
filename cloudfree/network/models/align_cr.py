"""Align-CR (Xu et al., 2023): cloud removal, aligning SAR to optical features and fusing two streams."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import torch.nn.functional as F
from torch import Tensor, nn

from cloudfree.network.models.alignment import FeatureAlign
from cloudfree.network.models.base import OPTICAL_BANDS, SAR_BANDS, Normalization
from cloudfree.network.models.blocks import (
    DenseLayer,
    Pair,
    TwoStreamSwinBlock,
    WideActivationBlock,
    conv,
    count_members,
    in_float32,
    keeping_float32,
)
from cloudfree.network.models.seen import ANSWER_CHANNELS, channels_of
from cloudfree.network.models.two_stream import DenseBlock, TwoStreamConfig, TwoStreamModel, shared_sizes


@dataclass(frozen=True)
class AlignCRConfig(TwoStreamConfig):
    """Sizes of the network. The defaults are the published ones: 45.5 M parameters, 14.3 MFLOP a pixel.

    The alignment pyramid doubles the `width` at each coarser level.
    """

    shallow_blocks: int = 5
    shallow_expanded: int = 576
    shallow_bottleneck: int = 76
    deformable_groups: int = 8
    planes: tuple[str, ...] = ()
    """What a network that sees is shown (`seen.ALL_PLANES`); none for the plain image, as published."""

    def __post_init__(self) -> None:
        self.require_multiple("width", "heads", "deformable_groups")


class AttendingDenseBlock(DenseBlock):
    """A dense block with two-stream attention at its end, before the input is added."""

    def __init__(self, config: AlignCRConfig, *, shifted: bool) -> None:
        super().__init__(config, (DenseLayer(channels, config.growth) for channels in config.dense_widths[:-1]))
        self.SwinTransformerBlock = TwoStreamSwinBlock(
            config.width, config.window, config.heads, config.mlp_ratio, shifted=shifted
        )

    def project(self, optical: Tensor, sar: Tensor) -> Pair:
        optical, sar = self.SwinTransformerBlock(*super().project(optical, sar))
        return optical, sar


class AlignCR(TwoStreamModel):
    architecture = "align_cr"
    config_type = AlignCRConfig
    signature_key = "SFAlign.0.pcd_align.cas_dcnpack.weight"
    # Every part of the published network at a thirteenth of its parameters: it suits two CPU cores.
    small = AlignCRConfig(
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
    )

    def __init__(self, config: AlignCRConfig | None = None, normalization: Normalization | None = None) -> None:
        config = config or AlignCRConfig()
        config = replace(config, planes=tuple(config.planes))  # of JSON
        optical_channels = channels_of(config.planes) if config.planes else OPTICAL_BANDS
        super().__init__(config, normalization)
        self.SFE_conv = keeping_float32(conv(4 * optical_channels, config.width, 3))
        self.SFE_module = _shallow_blocks(config)
        self.SFE_conv_SAR = conv(4 * SAR_BANDS, config.width, 3)
        self.SFE_module_SAR = _shallow_blocks(config)
        blocks = range(config.blocks)
        self.SFAlign = nn.ModuleList(FeatureAlign(config.width, config.deformable_groups) for _ in blocks)
        self.RDBs = nn.ModuleList(AttendingDenseBlock(config, shifted=i % 2 == 1) for i in blocks)
        self.add_fusion_and_tail(ANSWER_CHANNELS if config.planes else OPTICAL_BANDS)

    def shallow(self, optical: Tensor, sar: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        rectified = F.relu(in_float32(self.SFE_conv, optical))
        middle = self.SFE_conv_SAR.weight.dtype
        deep_sar = self.SFE_module_SAR(F.relu(self.SFE_conv_SAR(sar.to(middle))))
        return self.SFE_module(rectified.to(middle)), deep_sar, rectified

    def deepen(self, i: int, x: Tensor, s: Tensor) -> Pair:
        return super().deepen(i, x, self.SFAlign[i](s, x))

    @classmethod
    def infer_config(cls, state: Mapping[str, Tensor]) -> AlignCRConfig:
        return AlignCRConfig(
            **shared_sizes(state, "RDBs.0.SwinTransformerBlock"),
            shallow_blocks=count_members(state, "SFE_module"),
            shallow_expanded=state["SFE_module.0.body.0.bias"].shape[0],
            shallow_bottleneck=state["SFE_module.0.body.2.bias"].shape[0],
            deformable_groups=state["SFAlign.0.pcd_align.cas_dcnpack.conv_offset.bias"].shape[0] // 27,
        )


def _shallow_blocks(config: AlignCRConfig) -> nn.Sequential:
    return nn.Sequential(
        *(
            WideActivationBlock(config.width, config.shallow_expanded, config.shallow_bottleneck)
            for _ in range(config.shallow_blocks)
        )
    )
