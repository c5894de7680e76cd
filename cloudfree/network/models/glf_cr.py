"""GLF-CR (Xu et al., 2022), in the version published beside Align-CR: two fused streams, attention in every layer."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from cloudfree.network.models.base import OPTICAL_BANDS, SAR_BANDS, Normalization
from cloudfree.network.models.blocks import Pair, TwoStreamSwinBlock, conv, conv_relu, in_float32, keeping_float32
from cloudfree.network.models.two_stream import DenseBlock, TwoStreamConfig, TwoStreamModel, shared_sizes


@dataclass(frozen=True)
class GLFCRConfig(TwoStreamConfig):
    """Sizes of the network. The defaults are the published ones: 14.7 M parameters, 7.6 MFLOP a pixel."""

    mlp_ratio: int = 2
    stochastic_depth: float = 0.2
    """How often training drops the branches of the last dense layer; linear from 0 at the first one."""

    def __post_init__(self) -> None:
        self.require_multiple("growth", "heads")

    def drop_rate(self, block: int, layer: int) -> float:
        last = max(self.blocks * self.dense_layers - 1, 1)
        return self.stochastic_depth * (block * self.dense_layers + layer) / last


class AttendingDenseLayer(TwoStreamSwinBlock):
    """One convolution a stream, rectified, then two-stream attention on its output; concatenated behind the input."""

    def __init__(self, config: GLFCRConfig, block: int, layer: int) -> None:
        super().__init__(
            config.growth,
            config.window,
            config.heads,
            config.mlp_ratio,
            shifted=layer % 2 == 1,
            norm_first=False,
            drop_rate=config.drop_rate(block, layer),
        )
        self.conv = conv_relu(config.dense_widths[layer], config.growth)
        self.conv_SAR = conv_relu(config.dense_widths[layer], config.growth)

    def forward(self, optical: Tensor, sar: Tensor) -> Pair:
        grown, grown_sar = super().forward(self.conv(optical), self.conv_SAR(sar))
        return torch.cat((optical, grown), 1), torch.cat((sar, grown_sar), 1)


class GLFCR(TwoStreamModel):
    architecture = "glf_cr"
    config_type = GLFCRConfig
    signature_key = "SFENet1.weight"
    small = GLFCRConfig(width=48, blocks=2, dense_layers=3, growth=24, heads=4, tail_width=32)

    def __init__(self, config: GLFCRConfig | None = None, normalization: Normalization | None = None) -> None:
        config = config or GLFCRConfig()
        super().__init__(config, normalization)
        self.SFENet1 = keeping_float32(conv(4 * OPTICAL_BANDS, config.width, 5))
        self.SFENet2 = conv(config.width, config.width, 3)
        self.SFENet1_SAR = conv(4 * SAR_BANDS, config.width, 5)
        self.SFENet2_SAR = conv(config.width, config.width, 3)
        self.RDBs = nn.ModuleList(
            DenseBlock(config, (AttendingDenseLayer(config, block, layer) for layer in range(config.dense_layers)))
            for block in range(config.blocks)
        )
        self.add_fusion_and_tail()

    def shallow(self, optical: Tensor, sar: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        first = in_float32(self.SFENet1, optical)
        middle = self.SFENet2.weight.dtype
        return self.SFENet2(first.to(middle)), self.SFENet2_SAR(self.SFENet1_SAR(sar.to(middle))), first

    @classmethod
    def infer_config(cls, state: Mapping[str, Tensor]) -> GLFCRConfig:
        """Shapes do not tell the stochastic depth: it is the published one."""
        return GLFCRConfig(**shared_sizes(state, "RDBs.0.convs.0"))
