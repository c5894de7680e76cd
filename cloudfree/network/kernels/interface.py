"""What each operation takes and gives. `reference`, `cpu` and `triton` implement it; `Kernels` is what they share.

Shapes: B batch, C channels, H and W rows and columns, G deformable groups, K taps of a square kernel (row-major).
"""

from __future__ import annotations

from typing import NamedTuple, Protocol

from torch import Tensor


class DeformConv2dArgs(NamedTuple):
    """A convolution whose taps are displaced by offsets and scaled by a mask (deformable convolution, version 2).

    The result is (B, C_out, H, W). Sampling is bilinear; each of the four corners outside the image counts as zero.
    Coordinates are float32 or better whatever the type of `offset`: bfloat16 cannot tell neighbouring columns beyond
    256 apart.
    """

    x: Tensor
    """Features (B, C, H, W); group g is channels g * C/G to (g + 1) * C/G."""
    offset: Tensor
    """(B, G*K*2, H, W), group-major, then tap, then (dy, dx): pixels added to the tap's regular position."""
    mask: Tensor
    """(B, G*K, H, W), group-major, then tap: the factor on the sample."""
    weight: Tensor
    """(C_out, C, k, k) with k odd; stride 1, zero padding (k - 1) / 2."""
    bias: Tensor | None
    """(C_out,)"""
    groups: int
    """G, a divisor of C."""


class DynamicFilterArgs(NamedTuple):
    """A filter with a kernel for every pixel and channel, which a 1x1 convolution predicts from the features there.

    The result is (B, C, H, W), of the type of `x`: its cross-correlation with the kernels, with replicate padding.
    """

    x: Tensor
    """What is filtered (B, C, H, W)."""
    features: Tensor
    """(B, C_in, H, W), which the 1x1 convolution turns into kernels, and a leaky ReLU activates."""
    weight: Tensor
    """(C * size*size, C_in, 1, 1), channel-major, then tap: row c * size*size + ky*size + kx makes the weight of row
    ky, column kx of the neighbourhood in channel c."""
    bias: Tensor
    """(C * size*size,), likewise."""
    size: int
    """Side of the kernels, odd."""
    negative_slope: float
    """Of the leaky ReLU, positive."""


class TwoStreamAttentionArgs(NamedTuple):
    """Attention of two streams inside windows, where the SAR logits may replace the optical ones through a gate.

    The result is (N, T, C) of each stream, of the type of its qkv: the optical values weighted by the softmax of the
    gated logits, the SAR values by that of their own. The softmax is float32 at least, whatever autocast chose for the
    logits.
    """

    qkv: Tensor
    """Of the optical stream (N, T, 3C), N the windows of a batch, image by image, T the tokens of one; the last axis is
    (q, k, v), then head, then the head's own C/heads."""
    qkv_sar: Tensor
    """Of the SAR stream, likewise."""
    bias: Tensor
    """By relative position (heads, T, T), query then key, added to the logits of both streams."""
    shift_mask: Tensor | None
    """(windows of an image, T, T), added to them too."""
    gate_weight: Tensor
    """(heads, heads, 1, 1), of the 1x1 convolution of (SAR - optical) logits whose sigmoid is the gate."""
    gate_bias: Tensor
    """(heads,), likewise."""
    heads: int
    """A divisor of C."""


class Kernels(Protocol):
    """The operations that every implementation has. Differentiable, but for `cpu`."""

    def deform_conv2d(self, args: DeformConv2dArgs, /) -> Tensor: ...

    def fused_dynamic_filter(self, args: DynamicFilterArgs, /) -> Tensor: ...

    def two_stream_attention(self, args: TwoStreamAttentionArgs, /) -> tuple[Tensor, Tensor]: ...
