"""The operations in plain torch: any device and type, differentiable. What the others are tested against."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from cloudfree.network.kernels.interface import DeformConv2dArgs, DynamicFilterArgs, TwoStreamAttentionArgs


def deform_conv2d(args: DeformConv2dArgs) -> Tensor:
    """By `grid_sample`: the samples of all taps in memory, then one matrix product."""
    x, offset, mask, weight, bias, groups = args
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
        kernels: (B, C, size*size, H, W); tap ky*size + kx weights row ky, column kx of the neighbourhood. Any
            strides do; quickest are those that give each tap the strides of x.
        size: side of the kernels, odd.

    Returns:
        (B, C, H, W), of x's type.
    """
    filtered: Tensor = _DynamicFilter.apply(_replicate_pad(x, size // 2), kernels, size)  # type: ignore[no-untyped-call]
    return filtered


def fused_dynamic_filter(args: DynamicFilterArgs) -> Tensor:
    """Without gradients tap by tap; with them by all kernels at once, which the backward pass reads again."""
    x, features, weight, bias, size, negative_slope = args
    if not torch.is_grad_enabled():
        return filter_by_tap(_replicate_pad(x, size // 2), args)
    batch, channels, height, width = x.shape
    # Tap-major, one tap of all channels is contiguous in channels_last.
    kernels = F.conv2d(features, _tap_major(weight, size), _tap_major(bias, size))
    kernels = F.leaky_relu_(kernels, negative_slope).view(batch, size**2, channels, height, width)
    return dynamic_filter(x, kernels.transpose(1, 2), size)


def filter_by_tap(padded: Tensor, args: DynamicFilterArgs) -> Tensor:
    """The same of `args.x` already padded, one tap after the other: its kernels are used at once, and forgotten."""
    _, features, weight, bias, size, negative_slope = args
    channels, shape = padded.shape[1], features.shape[-2:]
    weights, biases = (torch.split(_tap_major(tensor, size), channels) for tensor in (weight, bias))
    out = torch.zeros_like(padded[:, :, : shape[0], : shape[1]])
    for view, tap_weight, tap_bias in zip(_neighbours(padded, shape, size), weights, biases, strict=True):
        kernel = F.leaky_relu_(F.conv2d(features, tap_weight, tap_bias), negative_slope)
        out.addcmul_(view, kernel.to(padded.dtype))
    return out


def _replicate_pad(x: Tensor, margin: int) -> Tensor:
    if not torch.compiler.is_compiling():
        return F.pad(x, [margin] * 4, mode="replicate")
    # Inductor of torch 2.13 fails on replicate padding of what comes from attention windows, and on its gradient.
    x = torch.cat([x[..., :1]] * margin + [x] + [x[..., -1:]] * margin, -1)
    return torch.cat([x[..., :1, :]] * margin + [x] + [x[..., -1:, :]] * margin, -2)


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


def two_stream_attention(args: TwoStreamAttentionArgs) -> tuple[Tensor, Tensor]:
    """All logits in memory."""
    qkv, qkv_sar, bias, shift_mask, gate_weight, gate_bias, heads = args
    if shift_mask is not None:
        bias = bias + shift_mask.repeat(len(qkv) // len(shift_mask), 1, 1)[:, None]
    logits, values = _logits(qkv, bias, heads)
    logits_sar, values_sar = _logits(qkv_sar, bias, heads)
    excess = logits_sar - logits
    # The gate's convolution as a product: on a CPU, convolutions of eight channels are slow.
    gate = gate_weight.flatten(1) @ excess.flatten(2) + gate_bias[:, None]
    logits = torch.addcmul(logits, excess, gate.view_as(logits).sigmoid())
    return _weighted(logits, values), _weighted(logits_sar, values_sar)


def _logits(qkv: Tensor, bias: Tensor, heads: int) -> tuple[Tensor, Tensor]:
    """Tokens (N, T, 3C) -> logits (N, heads, T, T), values (N, heads, T, C/heads)."""
    count, tokens, _ = qkv.shape
    q, k, v = qkv.view(count, tokens, 3, heads, -1).permute(2, 0, 3, 1, 4)
    return (q * q.shape[-1] ** -0.5) @ k.transpose(-2, -1) + bias, v


def _weighted(logits: Tensor, values: Tensor) -> Tensor:
    """Values weighted by the softmax of their logits, heads side by side: (N, T, C)."""
    weights = logits.softmax(-1, dtype=torch.promote_types(logits.dtype, torch.float32))
    return (weights.to(values.dtype) @ values).transpose(1, 2).flatten(2)
