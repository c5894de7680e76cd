"""Modulated deformable convolution and per-pixel dynamic filtering in plain torch: any device and type, differentiable.

Shapes: B batch, C channels, H and W rows and columns, G deformable groups, K taps of a square kernel (row-major).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor


def conv3x3(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """Convolve x (B, C, H, W) with weight (C_out, C, 3, 3) at stride 1, zero padding of one pixel: (B, C_out, H, W)."""
    return F.conv2d(x, weight, bias, padding=1)


def deform_conv2d(x: Tensor, offset: Tensor, mask: Tensor, weight: Tensor, bias: Tensor | None, groups: int) -> Tensor:
    """Convolve, each tap displaced by its own offset and scaled by its own mask (deformable convolution, version 2).

    Args:
        x: features (B, C, H, W); group g of the `groups` is channels g * C/G to (g + 1) * C/G.
        offset: (B, G*K*2, H, W), group-major, then tap, then (dy, dx): pixels added to the tap's regular position.
        mask: (B, G*K, H, W), group-major, then tap: the factor on the sample.
        weight: (C_out, C, k, k) with k odd; stride 1, zero padding (k - 1) / 2.
        bias: (C_out,) or None.
        groups: G, a divisor of C.

    Returns:
        (B, C_out, H, W). Sampling is bilinear; each of the four corners outside the image counts as zero. Coordinates
        are float32 or better whatever the type of `offset`: bfloat16 cannot tell neighbouring columns beyond 256 apart.
    """
    batch, channels, height, width = x.shape
    taps = weight.shape[-2] * weight.shape[-1]
    grid = _sampling_grid(offset.reshape(batch * groups, taps, 2, height, width), weight.shape[-1])
    features = x.reshape(batch * groups, channels // groups, height, width).to(grid.dtype)
    samples = F.grid_sample(features, grid, mode="bilinear", padding_mode="zeros", align_corners=False)
    samples = samples.view(batch * groups, channels // groups, taps, height, width)
    samples = samples * mask.reshape(batch * groups, 1, taps, height, width)
    out = weight.flatten(1) @ samples.view(batch, channels * taps, height * width).to(x.dtype)
    if bias is not None:
        out = out + bias[:, None]
    return out.view(batch, -1, height, width)


def _sampling_grid(offset: Tensor, kernel: int) -> Tensor:
    """Offsets (N, K, 2, H, W) in pixels -> grid (N, K*H, W, 2): (x, y), the image's outer edges at -1 and 1."""
    count, taps, _, height, width = offset.shape
    offset = offset if offset.dtype == torch.float64 else offset.float()
    steps = torch.arange(kernel, device=offset.device, dtype=offset.dtype) - (kernel - 1) // 2
    rows = torch.arange(height, device=offset.device, dtype=offset.dtype) + steps.repeat_interleave(kernel)[:, None]
    columns = torch.arange(width, device=offset.device, dtype=offset.dtype) + steps.repeat(kernel)[:, None]
    y = (offset[:, :, 0] + rows[:, :, None]) * (2 / height) + (1 / height - 1)
    x = (offset[:, :, 1] + columns[:, None, :]) * (2 / width) + (1 / width - 1)
    return torch.stack((x, y), dim=-1).view(count, taps * height, width, 2)


def dynamic_filter(x: Tensor, kernels: Tensor, size: int) -> Tensor:
    """Filter every pixel of every channel with a kernel of its own (cross-correlation, replicate padding).

    Args:
        x: features (B, C, H, W).
        kernels: (B, C, size*size, H, W); tap ky*size + kx weighs row ky, column kx of the neighbourhood. Any
            strides do; quickest are those that give each tap the strides of x.
        size: side of the kernels, odd.

    Returns:
        (B, C, H, W), of x's type.
    """
    padded = F.pad(x, [size // 2] * 4, mode="replicate")
    filtered: Tensor = _DynamicFilter.apply(padded, kernels, size)  # type: ignore[no-untyped-call]
    return filtered


def fused_dynamic_filter(x: Tensor, features: Tensor, weight: Tensor, bias: Tensor, size: int, slope: float) -> Tensor:
    """Filter every pixel of every channel with a kernel of its own, predicted from the features there.

    Args:
        x: what is filtered (B, C, H, W).
        features: (B, C_in, H, W), which a 1x1 convolution turns into kernels, and a leaky ReLU activates.
        weight: (C * size*size, C_in, 1, 1), channel-major, then tap: row c * size*size + ky*size + kx makes the weight
            of row ky, column kx of the neighbourhood in channel c.
        bias: (C * size*size,), likewise.
        size: side of the kernels, odd.
        slope: of the leaky ReLU below zero, positive.

    Returns:
        (B, C, H, W), of x's type; see `dynamic_filter`.
    """
    if not torch.is_grad_enabled():
        padded = F.pad(x, [size // 2] * 4, mode="replicate")
        return filtered_by_tap(padded, features, weight, bias, size, slope)
    batch, channels, height, width = x.shape
    # Tap-major, one tap of all channels is contiguous in channels_last.
    kernels = F.conv2d(features, _tap_major(weight, size), _tap_major(bias, size))
    kernels = F.leaky_relu_(kernels, slope).view(batch, size**2, channels, height, width)
    return dynamic_filter(x, kernels.transpose(1, 2), size)


def filtered_by_tap(padded: Tensor, features: Tensor, weight: Tensor, bias: Tensor, size: int, slope: float) -> Tensor:
    """The same of an image already padded, one tap after the other: its kernels are used at once, and forgotten."""
    channels, shape = padded.shape[1], features.shape[-2:]
    weights, biases = (torch.split(_tap_major(each, size), channels) for each in (weight, bias))
    out = torch.zeros_like(padded[:, :, : shape[0], : shape[1]])
    for view, tap_weight, tap_bias in zip(_neighbours(padded, shape, size), weights, biases, strict=True):
        kernel = F.leaky_relu_(F.conv2d(features, tap_weight, tap_bias), slope)
        out.addcmul_(view, kernel.to(padded.dtype))
    return out


def _tap_major(parameter: Tensor, size: int) -> Tensor:
    """Rows of a predicted kernel's parameter, channel-major, then tap -> tap-major, then channel."""
    return parameter.reshape(-1, size**2, *parameter.shape[1:]).transpose(0, 1).flatten(0, 1)


class _DynamicFilter(torch.autograd.Function):
    """One shifted view a tap: an unfolded copy would be size * size times the features.

    The gradient is written out, for autograd's own would fill and add a whole gradient of the kernels for each tap.
    """

    @staticmethod
    def forward(ctx: Any, padded: Tensor, kernels: Tensor, size: int) -> Tensor:
        ctx.save_for_backward(padded, kernels)
        ctx.size = size
        out = torch.zeros_like(kernels[:, :, 0], dtype=padded.dtype)
        for tap, view in enumerate(_neighbours(padded, kernels.shape[-2:], size)):
            out.addcmul_(view, kernels[:, :, tap].to(padded.dtype))
        return out

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor, None]:
        padded, kernels = ctx.saved_tensors
        grad_padded, grad_kernels = torch.zeros_like(padded), torch.empty_like(kernels)
        views, targets = (_neighbours(image, kernels.shape[-2:], ctx.size) for image in (padded, grad_padded))
        for tap, (view, target) in enumerate(zip(views, targets, strict=True)):
            grad_kernels[:, :, tap] = grad * view
            target.addcmul_(grad, kernels[:, :, tap].to(grad.dtype))
        return grad_padded, grad_kernels, None


def _neighbours(padded: Tensor, shape: Sequence[int], size: int) -> Iterator[Tensor]:
    """The padded image as each tap of an image of this shape (H, W) sees it, row-major: views, no copies."""
    height, width = shape
    for row in range(size):
        for column in range(size):
            yield padded[:, :, row : row + height, column : column + width]


def two_stream_attention(
    qkv: Tensor,
    qkv_sar: Tensor,
    bias: Tensor,
    shift_mask: Tensor | None,
    gate_weight: Tensor,
    gate_bias: Tensor,
    heads: int,
) -> tuple[Tensor, Tensor]:
    """Attention of two streams inside windows, where the SAR logits may replace the optical ones through a gate.

    Args:
        qkv: of the optical stream (N, T, 3C), N the windows of a batch, image by image, T the tokens of one; the last
            axis is (q, k, v), then head, then the head's own C/heads.
        qkv_sar: of the SAR stream, likewise.
        bias: by relative position (heads, T, T), query then key, added to the logits of both streams.
        shift_mask: (windows of an image, T, T), added to them too, or None.
        gate_weight: (heads, heads, 1, 1), and
        gate_bias: (heads,): the gate is the sigmoid of this 1x1 convolution of (SAR - optical) logits.
        heads: a divisor of C.

    Returns:
        Of each stream (N, T, C), of the type of its qkv: the optical values weighed by the softmax of the gated logits,
        the SAR values by that of their own. The softmax is float32 at least, whatever autocast chose for the logits.
    """
    if shift_mask is not None:
        bias = bias + shift_mask.repeat(len(qkv) // len(shift_mask), 1, 1)[:, None]
    logits, values = _logits(qkv, bias, heads)
    logits_sar, values_sar = _logits(qkv_sar, bias, heads)
    excess = logits_sar - logits
    # The gate's convolution as a product: on a processor, convolutions of eight channels are slow.
    gate = gate_weight.flatten(1) @ excess.flatten(2) + gate_bias[:, None]
    logits = torch.addcmul(logits, excess, gate.view_as(logits).sigmoid())
    return _weighed(logits, values), _weighed(logits_sar, values_sar)


def _logits(qkv: Tensor, bias: Tensor, heads: int) -> tuple[Tensor, Tensor]:
    """Tokens (N, T, 3C) -> logits (N, heads, T, T), values (N, heads, T, C/heads)."""
    count, tokens, _ = qkv.shape
    q, k, v = qkv.view(count, tokens, 3, heads, -1).permute(2, 0, 3, 1, 4)
    return (q * q.shape[-1] ** -0.5) @ k.transpose(-2, -1) + bias, v


def _weighed(logits: Tensor, values: Tensor) -> Tensor:
    """Values averaged with the softmax of their logits, heads side by side: (N, T, C)."""
    weights = logits.softmax(-1, dtype=torch.promote_types(logits.dtype, torch.float32))
    return (weights.to(values.dtype) @ values).transpose(1, 2).flatten(2)
