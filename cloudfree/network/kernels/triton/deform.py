"""Modulated deformable convolution in Triton: sampling, modulation and matrix product in one pass.

The reference writes K samples of every channel to memory, nine times the features, before it multiplies; here a
program samples the channels of one group at one tap into registers and multiplies them there. The gradients of offset,
mask, weight and bias are the same in every run; that of x is a sum of float32 atomics in whichever order they come, as
it is for torch's own sampling.
"""

# The parameters of a kernel are pointers, strides and tiles, which Python has no types for.
# mypy: allow-untyped-defs, allow-incomplete-defs, allow-untyped-calls, allow-untyped-decorators
# ruff: noqa: ANN001, ANN202, N803

from __future__ import annotations

from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor
from torch.autograd.function import once_differentiable

from cloudfree.network.kernels.interface import DeformConv2dArgs
from cloudfree.network.kernels.triton.common import (
    LAUNCH,
    address,
    feature_map,
    matmul_dtype,
    on_device,
    pixel_tile,
    pixels_of,
    tile,
)

SPLITS = 16
"""Parts of the pixels whose weight gradients are summed apart: 72 group-taps alone would not fill a card."""


def deform_conv2d(args: DeformConv2dArgs) -> Tensor:
    """Accumulates in float32.

    Under autocast samples and weights are of autocast's type, and so is the result; coordinates never are.
    """
    dtype = matmul_dtype(args.x)
    out: Tensor = _DeformConv2d.apply(*args._replace(x=args.x.to(dtype), weight=args.weight.to(dtype)))
    return out


class _DeformConv2d(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, *args: Any) -> Tensor:
        x, offset, mask, weight, bias, groups = DeformConv2dArgs(*args)
        by_tap = weight.flatten(2).permute(2, 1, 0).contiguous()  # (K, C, C_out)
        out = feature_map(x, len(weight), x.dtype)
        sizes, tiles = _sizes(x, weight, groups)
        grid = triton.cdiv(sizes[0], tiles["PIXELS"]), triton.cdiv(len(weight), tiles["OUT"])
        strides = x.stride(), offset.stride(), mask.stride(), out.stride()
        with on_device(x):
            _forward[grid](
                x, offset, mask, by_tap, bias, out, *strides, *sizes, HAS_BIAS=bias is not None, **tiles, **LAUNCH
            )
        ctx.save_for_backward(x, offset, mask, weight, by_tap)
        ctx.groups, ctx.bias_dtype = groups, None if bias is None else bias.dtype
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        x, offset, mask, weight, by_tap = ctx.saved_tensors
        grads: tuple[Tensor | None, ...] = None, None, None
        grad_weight, grad_bias = None, None
        if any(ctx.needs_input_grad[:3]):
            grads = _backward_samples(grad, x, offset, mask, by_tap, weight, ctx.groups)
        if ctx.needs_input_grad[3]:
            grad_weight = _backward_weight(grad, x, offset, mask, weight, ctx.groups)
        if ctx.needs_input_grad[4]:
            grad_bias = grad.sum((0, 2, 3), dtype=torch.float32).to(ctx.bias_dtype)
        return *grads, grad_weight, grad_bias, None


def _sizes(x: Tensor, weight: Tensor, groups: int) -> tuple[tuple[int, ...], dict[str, int]]:
    """What every kernel is told: (pixels, height, width, output channels), and its constants."""
    batch, channels, height, width = x.shape
    tiles = {
        "SIDE": weight.shape[-1],
        "GROUPS": groups,
        "GROUP_CHANNELS": channels // groups,
        "PIXELS": pixel_tile(x),
        "CHANNELS": tile(channels // groups, 32),  # Align-CR's 12 are padded to the smallest product
        "OUT": tile(len(weight), 128),  # all 96 in one tile: splitting them would repeat the sampling
    }
    return (batch * height * width, height, width, len(weight)), tiles


def _backward_samples(
    grad: Tensor, x: Tensor, offset: Tensor, mask: Tensor, by_tap: Tensor, weight: Tensor, groups: int
) -> tuple[Tensor, Tensor, Tensor]:
    """The gradients of x, offset and mask."""
    grad_x = feature_map(x, x.shape[1], torch.float32).zero_()
    grad_offset, grad_mask = torch.empty_like(offset), torch.empty_like(mask)
    targets = grad_x, grad_offset, grad_mask
    sizes, tiles = _sizes(x, weight, groups)
    strides = [tensor.stride() for tensor in (grad, x, offset, mask, *targets)]
    with on_device(x):
        _samples[triton.cdiv(sizes[0], tiles["PIXELS"]), groups](
            grad, x, offset, mask, by_tap, *targets, *strides, *sizes, **tiles, **LAUNCH
        )
    return grad_x.to(x.dtype), grad_offset, grad_mask


def _backward_weight(grad: Tensor, x: Tensor, offset: Tensor, mask: Tensor, weight: Tensor, groups: int) -> Tensor:
    sizes, tiles = _sizes(x, weight, groups)
    taps, channels = tiles["SIDE"] ** 2, x.shape[1]
    splits = min(SPLITS, triton.cdiv(sizes[0], tiles["PIXELS"]))
    parts = torch.empty(splits, taps, channels, len(weight), dtype=torch.float32, device=x.device)
    blocks = triton.cdiv(tiles["GROUP_CHANNELS"], tiles["CHANNELS"])
    grid = groups * taps * blocks, triton.cdiv(len(weight), tiles["OUT"]), splits
    strides = [tensor.stride() for tensor in (grad, x, offset, mask)]
    with on_device(x):
        _weights[grid](grad, x, offset, mask, parts, *strides, *sizes, **tiles, **LAUNCH)
    return parts.sum(0).permute(2, 1, 0).reshape(weight.shape).to(weight.dtype)


@triton.jit
def _forward(
    x, offset, mask, weight, bias, out, x_stride, offset_stride, mask_stride, out_stride,
    count, height, width, out_channels,
    HAS_BIAS: tl.constexpr, SIDE: tl.constexpr, GROUPS: tl.constexpr, GROUP_CHANNELS: tl.constexpr,
    PIXELS: tl.constexpr, CHANNELS: tl.constexpr, OUT: tl.constexpr,
):  # fmt: skip
    """A block of pixels, a block of output channels: for each group and tap sample, modulate, multiply."""
    image, row, column, keep = pixels_of(tl.program_id(0) * PIXELS, count, height, width, PIXELS)
    offset_at, mask_at = address(image, row, column, offset_stride), address(image, row, column, mask_stride)
    target = tl.program_id(1) * OUT + tl.arange(0, OUT)
    total = tl.zeros((PIXELS, OUT), tl.float32)
    for place in range(GROUPS * SIDE * SIDE):
        group, tap = place // (SIDE * SIDE), place % (SIDE * SIDE)
        top, left, down, right, factor = _position(
            offset + offset_at, offset_stride, mask + mask_at, tap, row, column, keep, height, width, SIDE
        )
        for start in range(0, GROUP_CHANNELS, CHANNELS):
            channel, live = _channels(group, start, GROUP_CHANNELS, CHANNELS)
            a, b, c, d = _corners(x, image, top, left, keep, channel, live, height, width, x_stride)
            sample = _bilinear(a, b, c, d, down, right) * factor[:, None]
            rows = (tap * GROUPS * GROUP_CHANNELS + channel)[:, None] * out_channels + target[None, :]
            factors = tl.load(weight + rows, mask=live[:, None] & (target < out_channels)[None, :], other=0.0)
            total = tl.dot(sample.to(factors.dtype), factors, total, input_precision="ieee")
        offset_at += 2 * offset_stride[1]
        mask_at += mask_stride[1]
    if HAS_BIAS:
        total += tl.load(bias + target, mask=target < out_channels, other=0.0).to(tl.float32)[None, :]
    where = address(image, row, column, out_stride)[:, None] + target.to(tl.int64)[None, :] * out_stride[1]
    tl.store(out + where, total, mask=keep[:, None] & (target < out_channels)[None, :])


@triton.jit
def _samples(
    grad, x, offset, mask, weight, grad_x, grad_offset, grad_mask,
    grad_stride, x_stride, offset_stride, mask_stride, grad_x_stride, grad_offset_stride, grad_mask_stride,
    count, height, width, out_channels,
    SIDE: tl.constexpr, GROUPS: tl.constexpr, GROUP_CHANNELS: tl.constexpr,
    PIXELS: tl.constexpr, CHANNELS: tl.constexpr, OUT: tl.constexpr,
):  # fmt: skip
    """A block of pixels, a group: for each tap the gradient of the samples, and from it those of what made them."""
    image, row, column, keep = pixels_of(tl.program_id(0) * PIXELS, count, height, width, PIXELS)
    group = tl.program_id(1)
    first = group.to(tl.int64) * SIDE * SIDE
    offset_at = address(image, row, column, offset_stride) + 2 * first * offset_stride[1]
    mask_at = address(image, row, column, mask_stride) + first * mask_stride[1]
    grad_offset_at = address(image, row, column, grad_offset_stride) + 2 * first * grad_offset_stride[1]
    grad_mask_at = address(image, row, column, grad_mask_stride) + first * grad_mask_stride[1]
    grad_at = grad + address(image, row, column, grad_stride)
    for tap in range(SIDE * SIDE):
        top, left, down, right, factor = _position(
            offset + offset_at, offset_stride, mask + mask_at, tap, row, column, keep, height, width, SIDE
        )
        by_row = tl.zeros((PIXELS,), tl.float32)
        by_column = tl.zeros((PIXELS,), tl.float32)
        by_factor = tl.zeros((PIXELS,), tl.float32)
        for start in range(0, GROUP_CHANNELS, CHANNELS):
            channel, live = _channels(group, start, GROUP_CHANNELS, CHANNELS)
            rows = tap * GROUPS * GROUP_CHANNELS + channel
            pull = _sample_gradient(grad_at, weight, rows, live, keep, out_channels, grad_stride, PIXELS, CHANNELS, OUT)
            a, b, c, d = _corners(x, image, top, left, keep, channel, live, height, width, x_stride)
            by_factor += tl.sum(pull * _bilinear(a, b, c, d, down, right), 1)
            pull *= factor[:, None]
            by_row += tl.sum(pull * ((c - a) * (1 - right)[:, None] + (d - b) * right[:, None]), 1)
            by_column += tl.sum(pull * ((b - a) * (1 - down)[:, None] + (d - c) * down[:, None]), 1)
            _scatter(grad_x, pull, image, top, left, down, right, keep, channel, live, height, width, grad_x_stride)
        tl.store(grad_offset + grad_offset_at, by_row, mask=keep)
        tl.store(grad_offset + grad_offset_at + grad_offset_stride[1], by_column, mask=keep)
        tl.store(grad_mask + grad_mask_at, by_factor, mask=keep)
        offset_at += 2 * offset_stride[1]
        mask_at += mask_stride[1]
        grad_offset_at += 2 * grad_offset_stride[1]
        grad_mask_at += grad_mask_stride[1]


@triton.jit
def _weights(
    grad, x, offset, mask, parts, grad_stride, x_stride, offset_stride, mask_stride,
    count, height, width, out_channels,
    SIDE: tl.constexpr, GROUPS: tl.constexpr, GROUP_CHANNELS: tl.constexpr,
    PIXELS: tl.constexpr, CHANNELS: tl.constexpr, OUT: tl.constexpr,
):  # fmt: skip
    """A block of channels of a group at a tap, a block of output channels, every n-th block of pixels."""
    blocks: tl.constexpr = (GROUP_CHANNELS + CHANNELS - 1) // CHANNELS
    place = tl.program_id(0) // blocks
    group, tap = place // (SIDE * SIDE), place % (SIDE * SIDE)
    channel, live = _channels(group, tl.program_id(0) % blocks * CHANNELS, GROUP_CHANNELS, CHANNELS)
    target = tl.program_id(1) * OUT + tl.arange(0, OUT)
    total = tl.zeros((CHANNELS, OUT), tl.float32)
    for block in range(tl.program_id(2), tl.cdiv(count, PIXELS), tl.num_programs(2)):
        image, row, column, keep = pixels_of(block * PIXELS, count, height, width, PIXELS)
        offset_at = address(image, row, column, offset_stride) + 2 * place.to(tl.int64) * offset_stride[1]
        mask_at = address(image, row, column, mask_stride) + place.to(tl.int64) * mask_stride[1]
        top, left, down, right, factor = _position(
            offset + offset_at, offset_stride, mask + mask_at, tap, row, column, keep, height, width, SIDE
        )
        a, b, c, d = _corners(x, image, top, left, keep, channel, live, height, width, x_stride)
        sample = _bilinear(a, b, c, d, down, right) * factor[:, None]
        grad_at = address(image, row, column, grad_stride)[:, None] + target.to(tl.int64)[None, :] * grad_stride[1]
        push = tl.load(grad + grad_at, mask=keep[:, None] & (target < out_channels)[None, :], other=0.0)
        total = tl.dot(tl.trans(sample.to(push.dtype)), push, total, input_precision="ieee")
    part = tl.program_id(2).to(tl.int64) * SIDE * SIDE + tap
    rows = (part * GROUPS * GROUP_CHANNELS + channel)[:, None] * out_channels + target[None, :]
    tl.store(parts + rows, total, mask=live[:, None] & (target < out_channels)[None, :])


@triton.jit
def _channels(group, start, GROUP_CHANNELS: tl.constexpr, CHANNELS: tl.constexpr):
    """A block of the channels of a group, and which of them exist."""
    within = start + tl.arange(0, CHANNELS)
    return group * GROUP_CHANNELS + within, within < GROUP_CHANNELS


@triton.jit
def _position(offset_at, offset_stride, mask_at, tap, row, column, keep, height, width, SIDE: tl.constexpr):
    """Where a tap samples: the corner above left, how far below and right of it, and the factor on the sample."""
    down = tl.load(offset_at, mask=keep, other=0.0).to(tl.float32) + (row + tap // SIDE - SIDE // 2)
    right = tl.load(offset_at + offset_stride[1], mask=keep, other=0.0).to(tl.float32)
    right += column + tap % SIDE - SIDE // 2
    # Two pixels outside no corner counts: as far as any further, and integers cannot overflow.
    down = tl.minimum(tl.maximum(down, -2.0), height + 1.0)
    right = tl.minimum(tl.maximum(right, -2.0), width + 1.0)
    top, left = tl.floor(down), tl.floor(right)
    factor = tl.load(mask_at, mask=keep, other=0.0).to(tl.float32)
    return top.to(tl.int32), left.to(tl.int32), down - top, right - left, factor


@triton.jit
def _corner_at(image, row, column, keep, channel, live, height, width, stride):
    """Offsets (PIXELS, CHANNELS) of one corner's features, and which are inside the image."""
    inside = keep & (row >= 0) & (row < height) & (column >= 0) & (column < width)
    where = address(image, row, column, stride)[:, None] + channel.to(tl.int64)[None, :] * stride[1]
    return where, inside[:, None] & live[None, :]


@triton.jit
def _corner(x, image, row, column, keep, channel, live, height, width, stride):
    where, inside = _corner_at(image, row, column, keep, channel, live, height, width, stride)
    return tl.load(x + where, mask=inside, other=0.0).to(tl.float32)


@triton.jit
def _corners(x, image, top, left, keep, channel, live, height, width, stride):
    """The features (PIXELS, CHANNELS) above left, above right, below left, below right; zero outside."""
    a = _corner(x, image, top, left, keep, channel, live, height, width, stride)
    b = _corner(x, image, top, left + 1, keep, channel, live, height, width, stride)
    c = _corner(x, image, top + 1, left, keep, channel, live, height, width, stride)
    d = _corner(x, image, top + 1, left + 1, keep, channel, live, height, width, stride)
    return a, b, c, d


@triton.jit
def _bilinear(a, b, c, d, down, right):
    above = a * (1 - right)[:, None] + b * right[:, None]
    below = c * (1 - right)[:, None] + d * right[:, None]
    return above * (1 - down)[:, None] + below * down[:, None]


@triton.jit
def _sample_gradient(
    grad_at, weight, rows, live, keep, out_channels, grad_stride,
    PIXELS: tl.constexpr, CHANNELS: tl.constexpr, OUT: tl.constexpr,
):  # fmt: skip
    """The gradient (PIXELS, CHANNELS) of modulated samples, whose weights are `rows` of (K * C, C_out)."""
    pull = tl.zeros((PIXELS, CHANNELS), tl.float32)
    for start in range(0, out_channels, OUT):
        target = start + tl.arange(0, OUT)
        exists = target < out_channels
        where = grad_at[:, None] + target.to(tl.int64)[None, :] * grad_stride[1]
        push = tl.load(where, mask=keep[:, None] & exists[None, :], other=0.0)
        transposed = rows[None, :] * out_channels + target[:, None]
        factors = tl.load(weight + transposed, mask=exists[:, None] & live[None, :], other=0.0)
        pull = tl.dot(push, factors, pull, input_precision="ieee")
    return pull


@triton.jit
def _scatter(
    grad_x, pull, image, top, left, down, right, keep, channel, live, height, width, stride
):  # fmt: skip
    """Add to each corner its part of the gradient of the samples."""
    for corner in tl.static_range(4):
        row, column = top + corner // 2, left + corner % 2
        share = (down if corner // 2 else 1 - down) * (right if corner % 2 else 1 - right)
        where, inside = _corner_at(image, row, column, keep, channel, live, height, width, stride)
        tl.atomic_add(grad_x + where, pull * share[:, None], mask=inside, sem="relaxed")
