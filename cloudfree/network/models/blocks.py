"""Layers of the networks: convolutions, two-stream window attention, dynamic filters.

Attribute names are the published state-dict keys, so that a published checkpoint loads without a translation table;
`_SAR` marks the SAR stream's twin. Shapes: B batch, C channels, H and W of the feature map, T = window * window tokens.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cloudfree.network.kernels import (
    DynamicFilterArgs,
    TwoStreamAttentionArgs,
    fused_dynamic_filter,
    in_chunks,
    linear,
    two_stream_attention,
)

Pair = tuple[Tensor, Tensor]
"""The same thing of both streams: (optical, SAR)."""
Layer = TypeVar("Layer", bound=nn.Module)


def conv(in_channels: int, out_channels: int, kernel: int, stride: int = 1) -> nn.Conv2d:
    """A convolution that keeps the size (at stride 1): zero padding of (kernel - 1) / 2."""
    return nn.Conv2d(in_channels, out_channels, kernel, stride, padding=kernel // 2)


def conv_relu(in_channels: int, out_channels: int) -> nn.Sequential:
    return nn.Sequential(conv(in_channels, out_channels, 3), nn.ReLU(inplace=True))


def keeping_float32(layer: Layer) -> Layer:
    """The layer, which `CloudRemovalModel.in_half` will leave as it is; to be called with `in_float32`."""
    layer.keeps_float32 = True  # type: ignore[assignment]
    return layer


def in_float32(layer: nn.Module, x: Tensor) -> Tensor:
    """A layer that must not be rounded: at either end of a network, a rounding is one of the reflectance."""
    precise = x.to(torch.promote_types(x.dtype, torch.float32))
    if not torch.amp.is_autocast_available(x.device.type):
        return layer(precise)
    with torch.autocast(x.device.type, enabled=False):
        return layer(precise)


def leaky_relu(x: Tensor) -> Tensor:
    return F.leaky_relu(x, 0.1, inplace=True)


class WeightNormConv2d(nn.Module):
    """A convolution whose weight is `weight_g * weight_v / ||weight_v||`, the norm over all axes but the output's.

    The factors are plain parameters under their published names. Composing them is 0.02 % of a tile on a CPU.
    They are float32 whatever the features are, for a rounded direction would have another length.
    """

    keeps_float32 = True

    def __init__(self, in_channels: int, out_channels: int, kernel: int) -> None:
        super().__init__()
        start = conv(in_channels, out_channels, kernel)
        self.bias = nn.Parameter(torch.zeros(out_channels))
        self.weight_g = nn.Parameter(_norm(start.weight.detach()))
        self.weight_v = nn.Parameter(start.weight.detach().clone())

    def forward(self, x: Tensor) -> Tensor:
        weight = (self.weight_v * (self.weight_g / _norm(self.weight_v))).to(x.dtype)
        return F.conv2d(x, weight, self.bias.to(x.dtype), padding=weight.shape[-1] // 2)


def _norm(weight: Tensor) -> Tensor:
    out: Tensor = torch.linalg.vector_norm(weight, dim=(1, 2, 3), keepdim=True)
    return out


class WideActivationBlock(nn.Module):
    """Widen before the activation, narrow after it, add the input."""

    def __init__(self, width: int, expanded: int, bottleneck: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            WeightNormConv2d(width, expanded, 1),
            nn.ReLU(inplace=True),
            WeightNormConv2d(expanded, bottleneck, 1),
            WeightNormConv2d(bottleneck, width, 3),
        )

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = x + self.body[3](in_chunks(self.body[:3], x, 2))
        return out


class Linear(nn.Linear):
    """`nn.Linear`, computed by whichever of torch's libraries is the quicker one on the device."""

    def forward(self, tokens: Tensor) -> Tensor:
        return linear(tokens, self.weight, self.bias)


class Mlp(nn.Module):
    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.fc1 = Linear(width, hidden)
        self.fc2 = Linear(hidden, width)

    def forward(self, tokens: Tensor) -> Tensor:
        out: Tensor = self.fc2(F.gelu(self.fc1(tokens)))
        return out


class TwoStreamAttention(nn.Module):
    """Attention inside windows, where the SAR logits may replace the optical ones through a learned gate."""

    relative_position_index: Tensor

    def __init__(self, width: int, window: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.relative_position_bias_table = nn.Parameter(torch.empty((2 * window - 1) ** 2, heads))
        nn.init.trunc_normal_(self.relative_position_bias_table, std=0.02)
        self.register_buffer("relative_position_index", _relative_position_index(window), persistent=False)
        self.qkv = Linear(width, 3 * width)
        self.qkv_SAR = Linear(width, 3 * width)
        self.attn_fuse_1x1conv = nn.Conv2d(heads, heads, 1)
        self.proj = Linear(width, width)
        self.proj_SAR = Linear(width, width)

    def forward(self, optical: Tensor, sar: Tensor, shift_mask: Tensor | None) -> Pair:
        """Windows (B * windows, T, C) of each stream and, if shifted, the mask (windows, T, T) -> the same shapes."""
        bias = self.relative_position_bias_table[self.relative_position_index].permute(2, 0, 1)
        gate_weight, gate_bias = (self.attn_fuse_1x1conv.get_parameter(name) for name in ("weight", "bias"))
        args = TwoStreamAttentionArgs(
            self.qkv(optical), self.qkv_SAR(sar), bias, shift_mask, gate_weight, gate_bias, self.heads
        )
        out, out_sar = two_stream_attention(args)
        return self.proj(out), self.proj_SAR(out_sar)


def _relative_position_index(window: int) -> Tensor:
    """(T, T) row of the bias table by query and key: (dy + w - 1) * (2w - 1) + dx + w - 1, query minus key."""
    axis = torch.arange(window)
    y, x = (grid.flatten() for grid in torch.meshgrid(axis, axis, indexing="ij"))
    dy, dx = y[:, None] - y + window - 1, x[:, None] - x + window - 1
    return dy * (2 * window - 1) + dx


def shift_mask(height: int, width: int, window: int, shift: int, device: torch.device) -> Tensor:
    """(windows, T, T): 0 between tokens that were neighbours before the cyclic shift, -200 between others.

    At the published -100 a softmax leaves weights of 1e-44, which are too small to count, and make products on a
    processor several times slower: they are denormal. At -200 they are zero.
    Made anew in every pass: 0.2 % of the time of a tile of 512 with the small Align-CR on two CPU cores.
    """
    wrapped_row = torch.arange(height, device=device) >= height - shift
    wrapped_column = torch.arange(width, device=device) >= width - shift
    regions = 2 * wrapped_row[:, None] + wrapped_column
    tokens = to_windows(regions[None, :, :, None], window)[..., 0]
    return (tokens[:, :, None] != tokens[:, None, :]) * -200.0


def to_windows(image: Tensor, window: int) -> Tensor:
    """(B, H, W, C) -> (B * windows, T, C)."""
    batch, height, width, channels = image.shape
    blocks = image.view(batch, height // window, window, width // window, window, channels)
    return blocks.transpose(2, 3).reshape(-1, window * window, channels)


def from_windows(windows: Tensor, window: int, height: int, width: int) -> Tensor:
    """(B * windows, T, C) -> (B, H, W, C)."""
    channels = windows.shape[-1]
    blocks = windows.view(-1, height // window, width // window, window, window, channels)
    return blocks.transpose(2, 3).reshape(-1, height, width, channels)


class StochasticDepth(nn.Module):
    """In training, drops a branch for a `rate` of the samples and scales it for the others, so that its mean stays."""

    def __init__(self, rate: float) -> None:
        super().__init__()
        self.rate = rate

    def forward(self, branch: Tensor) -> Tensor:
        if not (self.training and self.rate):
            return branch
        return branch * F.dropout(branch.new_ones(len(branch), 1, 1, 1), self.rate)


class TwoStreamSwinBlock(nn.Module):
    """Two-stream window attention, then an MLP a stream, each behind a LayerNorm and added to its input.

    GLF-CR attends without the first LayerNorm (`norm_first`) and trains with stochastic depth (`drop_rate`).
    """

    def __init__(
        self,
        width: int,
        window: int,
        heads: int,
        mlp_ratio: int,
        *,
        shifted: bool,
        norm_first: bool = True,
        drop_rate: float = 0.0,
    ) -> None:
        super().__init__()
        self.window = window
        self.shift = window // 2 if shifted else 0
        self.drop = StochasticDepth(drop_rate)
        self.norm1 = nn.LayerNorm(width) if norm_first else nn.Identity()
        self.norm1_SAR = nn.LayerNorm(width) if norm_first else nn.Identity()
        self.attn = TwoStreamAttention(width, window, heads)
        self.norm2 = nn.LayerNorm(width)
        self.norm2_SAR = nn.LayerNorm(width)
        self.mlp = Mlp(width, mlp_ratio * width)
        self.mlp_SAR = Mlp(width, mlp_ratio * width)

    def forward(self, optical: Tensor, sar: Tensor) -> Pair:
        """(B, C, H, W) of each stream, H and W multiples of the window -> the same."""
        optical, sar = optical.permute(0, 2, 3, 1), sar.permute(0, 2, 3, 1)
        attended, attended_sar = self._attend(self.norm1(optical), self.norm1_SAR(sar))
        optical, sar = optical + self.drop(attended), sar + self.drop(attended_sar)
        optical = in_chunks(lambda tokens: tokens + self.drop(self.mlp(self.norm2(tokens))), optical, 1)
        sar = in_chunks(lambda tokens: tokens + self.drop(self.mlp_SAR(self.norm2_SAR(tokens))), sar, 1)
        return optical.permute(0, 3, 1, 2), sar.permute(0, 3, 1, 2)

    def _attend(self, optical: Tensor, sar: Tensor) -> Pair:
        height, width = optical.shape[1:3]
        mask = None
        if self.shift:
            optical, sar = (image.roll((-self.shift, -self.shift), (1, 2)) for image in (optical, sar))
            mask = shift_mask(height, width, self.window, self.shift, optical.device).to(optical.dtype)
        windows = self.attn(to_windows(optical, self.window), to_windows(sar, self.window), mask)
        optical, sar = (from_windows(stream, self.window, height, width) for stream in windows)
        if self.shift:
            optical, sar = (image.roll((self.shift, self.shift), (1, 2)) for image in (optical, sar))
        return optical, sar


class DenseLayer(nn.Module):
    """One convolution a stream, its rectified output concatenated behind its input."""

    def __init__(self, in_channels: int, growth: int) -> None:
        super().__init__()
        self.conv = conv_relu(in_channels, growth)
        self.conv_SAR = conv_relu(in_channels, growth)

    def forward(self, optical: Tensor, sar: Tensor) -> Pair:
        return torch.cat((optical, self.conv(optical)), 1), torch.cat((sar, self.conv_SAR(sar)), 1)


class DynamicFilter(nn.Module):
    """Filters SAR features with kernels of its own for every pixel and channel, predicted from both streams."""

    def __init__(self, width: int, size: int) -> None:
        super().__init__()
        self.size = size
        self.fac_warp = nn.Sequential(
            nn.Sequential(conv(2 * width, width, 3), nn.LeakyReLU(0.1, inplace=True)),
            LeakyResidualBlock(width),
            LeakyResidualBlock(width),
            nn.Sequential(conv(width, width * size * size, 1), nn.LeakyReLU(0.1, inplace=True)),
        )

    def forward(self, optical: Tensor, sar: Tensor) -> Tensor:
        features = self.fac_warp[:-1](torch.cat((optical, sar), 1))
        weight, bias = (self.fac_warp.get_parameter(f"3.0.{name}") for name in ("weight", "bias"))
        return fused_dynamic_filter(DynamicFilterArgs(sar, features, weight, bias, self.size, 0.1))


class LeakyResidualBlock(nn.Module):
    """Two convolutions with a leaky ReLU between, plus the input; nothing after the sum."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.stem = nn.Sequential(conv(width, width, 3), nn.LeakyReLU(0.1, inplace=True), conv(width, width, 3))

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = x + self.stem(x)
        return out


def count_members(state: Mapping[str, Tensor], prefix: str) -> int:
    """How many numbered members of `prefix` a state dict holds."""
    start = prefix.count(".") + 1
    return len({key.split(".")[start] for key in state if key.startswith(f"{prefix}.")})
