"""The dynamic filter in Triton, together with the 1x1 convolution and the leaky ReLU that make its kernels.

The kernels are size * size times the features: Align-CR's 2400 channels are read and written in full at every pixel by
the reference, six times a pass. Here a program multiplies the weights of one tap by a block of features, activates,
filters with the result, and forgets it; the gradients make the kernels anew. No atomics: all results are the same in
every run.
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

from cloudfree.network.kernels.interface import DynamicFilterArgs
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

CHANNELS = 32
"""Channels a program filters: 96 are three times as many, and no power of two that is larger divides them."""
SOURCES = 32
"""Input channels of the 1x1 convolution a product, for the same reason."""
SPLITS = 8
"""Parts of the pixels whose weight gradients are summed apart, each with memory for all the weights."""


def fused_dynamic_filter(args: DynamicFilterArgs) -> Tensor:
    """Accumulates in float32, and does not round the kernels in between.

    Under autocast features and weights are of autocast's type; the result is of x's.
    """
    dtype = matmul_dtype(args.features)
    cast = args._replace(features=args.features.to(dtype), weight=args.weight.to(dtype))
    out: Tensor = _FusedDynamicFilter.apply(*cast)
    return out


class _FusedDynamicFilter(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, *args: Any) -> Tensor:
        x, features, weight, bias, size, slope = DynamicFilterArgs(*args)
        channels, taps = x.shape[1], size * size
        by_tap = weight.reshape(channels, taps, -1).permute(1, 2, 0).contiguous()  # (taps, C_in, C)
        biases = bias.reshape(channels, taps).t().contiguous()
        out = feature_map(x, channels, x.dtype)
        _launch_filter(x, features, by_tap, biases, out, size, slope, transposed=False)
        ctx.save_for_backward(x, features, weight, by_tap, biases)
        ctx.size, ctx.slope, ctx.bias_dtype = size, slope, bias.dtype
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        x, features, weight, by_tap, biases = ctx.saved_tensors
        arguments = grad, x, features, by_tap, biases, ctx.size, ctx.slope
        grad_x, grad_features, grad_weight, grad_bias = None, None, None, None
        if ctx.needs_input_grad[0]:
            grad_x = _backward_x(*arguments)
        if ctx.needs_input_grad[1]:
            grad_features = _backward_features(*arguments)
        if any(ctx.needs_input_grad[2:4]):
            rows, columns = _backward_weight(*arguments)
            grad_weight = rows.permute(2, 0, 1).reshape(weight.shape).to(weight.dtype)
            grad_bias = columns.t().flatten().to(ctx.bias_dtype)
        return grad_x, grad_features, grad_weight, grad_bias, None, None


def _sizes(x: Tensor) -> tuple[int, int, int]:
    """(pixels, height, width)."""
    batch, _, height, width = x.shape
    return batch * height * width, height, width


def _constants(features: Tensor, x: Tensor, size: int, slope: float) -> dict[str, Any]:
    """What every kernel is told, and how it is launched."""
    return {
        "IN": features.shape[1],
        "OUT": x.shape[1],
        "SIZE": size,
        "SLOPE": slope,
        "PIXELS": pixel_tile(features),
        "CHANNELS": CHANNELS,
        "SOURCES": SOURCES,
        **LAUNCH,
    }


def _backward_x(
    grad: Tensor, x: Tensor, features: Tensor, by_tap: Tensor, biases: Tensor, size: int, slope: float
) -> Tensor:
    """Gathered for each pixel of x as padded, from those that saw it; the padding's part goes to the edges of x."""
    padded = feature_map(x, x.shape[1], torch.float32, margin=size // 2)
    _launch_filter(grad, features, by_tap, biases, padded, size, slope, transposed=True)
    for axis, length in ((2, x.shape[2]), (3, x.shape[3])):
        inner = padded.narrow(axis, size // 2, length)
        inner.select(axis, 0).add_(padded.narrow(axis, 0, size // 2).sum(axis))
        inner.select(axis, -1).add_(padded.narrow(axis, size // 2 + length, size // 2).sum(axis))
        padded = inner
    return padded.to(x.dtype)


def _launch_filter(
    values: Tensor,
    features: Tensor,
    by_tap: Tensor,
    biases: Tensor,
    out: Tensor,
    size: int,
    slope: float,
    *,
    transposed: bool,
) -> None:
    """The filter of (B, C, H, W), or its transpose into (B, C, H + size - 1, W + size - 1)."""
    sizes, constants = _sizes(out), _constants(features, values, size, slope)
    grid = triton.cdiv(sizes[0], constants["PIXELS"]), triton.cdiv(out.shape[1], CHANNELS)
    strides = values.stride(), features.stride(), out.stride()
    with on_device(values):
        _filter[grid](values, features, by_tap, biases, out, *strides, *sizes, TRANSPOSED=transposed, **constants)


def _backward_features(
    grad: Tensor, x: Tensor, features: Tensor, by_tap: Tensor, biases: Tensor, size: int, slope: float
) -> Tensor:
    target = torch.empty_like(features)
    sizes, constants = _sizes(x), _constants(features, x, size, slope)
    sources = tile(features.shape[1], 128)
    grid = triton.cdiv(sizes[0], constants["PIXELS"]), triton.cdiv(features.shape[1], sources)
    strides = grad.stride(), x.stride(), features.stride(), target.stride()
    with on_device(x):
        _features[grid](grad, x, features, by_tap, biases, target, *strides, *sizes, TILE=sources, **constants)
    return target


def _backward_weight(
    grad: Tensor, x: Tensor, features: Tensor, by_tap: Tensor, biases: Tensor, size: int, slope: float
) -> tuple[Tensor, Tensor]:
    """Of weights and biases, tap-major as the kernels read them."""
    sizes, constants = _sizes(x), _constants(features, x, size, slope)
    sources = tile(features.shape[1], 128)
    splits = min(SPLITS, triton.cdiv(sizes[0], constants["PIXELS"]))
    rows = torch.empty((splits, *by_tap.shape), dtype=torch.float32, device=x.device)
    columns = torch.empty((splits, *biases.shape), dtype=torch.float32, device=x.device)
    grid = size * size * triton.cdiv(x.shape[1], CHANNELS), triton.cdiv(features.shape[1], sources), splits
    strides = grad.stride(), x.stride(), features.stride()
    with on_device(x):
        _weights[grid](grad, x, features, by_tap, biases, rows, columns, *strides, *sizes, TILE=sources, **constants)
    return rows.sum(0), columns.sum(0)


@triton.jit
def _filter(
    values, features, weight, bias, out, values_stride, features_stride, out_stride, count, height, width,
    TRANSPOSED: tl.constexpr, IN: tl.constexpr, OUT: tl.constexpr, SIZE: tl.constexpr, SLOPE: tl.constexpr,
    PIXELS: tl.constexpr, CHANNELS: tl.constexpr, SOURCES: tl.constexpr,
):  # fmt: skip
    """A block of pixels of `out`, a block of channels: for each tap make its kernels, and weigh values with them."""
    image, row, column, keep = pixels_of(tl.program_id(0) * PIXELS, count, height, width, PIXELS)
    channel = tl.program_id(1) * CHANNELS + tl.arange(0, CHANNELS)
    live = channel < OUT
    total = tl.zeros((PIXELS, CHANNELS), tl.float32)
    for tap in range(SIZE * SIZE):
        if TRANSPOSED:  # a pixel, counted with the padding, was seen by the one that lies so much before it
            y, x = row - tap // SIZE, column - tap % SIZE
            seen = keep & (y >= 0) & (y <= height - SIZE) & (x >= 0) & (x <= width - SIZE)
            value = _load(values, address(image, y, x, values_stride), values_stride, channel, seen, live)
            where = address(image, y, x, features_stride)
        else:
            seen = keep
            value = _neighbour(values, image, row, column, tap, height, width, values_stride, channel, keep, live, SIZE)
            where = address(image, row, column, features_stride)
        kernel = _before(features + where, weight, bias, tap, features_stride, channel, seen, live, IN, OUT, SOURCES)
        total += tl.where(kernel > 0, kernel, kernel * SLOPE) * value
    where = address(image, row, column, out_stride)[:, None] + channel.to(tl.int64)[None, :] * out_stride[1]
    tl.store(out + where, total, mask=keep[:, None] & live[None, :])


@triton.jit
def _features(
    grad, x, features, weight, bias, target, grad_stride, x_stride, features_stride, target_stride,
    count, height, width,
    TILE: tl.constexpr, IN: tl.constexpr, OUT: tl.constexpr, SIZE: tl.constexpr, SLOPE: tl.constexpr,
    PIXELS: tl.constexpr, CHANNELS: tl.constexpr, SOURCES: tl.constexpr,
):  # fmt: skip
    """A block of pixels, a tile of input channels: the gradient of each tap's kernels times the weights."""
    image, row, column, keep = pixels_of(tl.program_id(0) * PIXELS, count, height, width, PIXELS)
    source = tl.program_id(1) * TILE + tl.arange(0, TILE)
    total = tl.zeros((PIXELS, TILE), tl.float32)
    for start in range(0, OUT, CHANNELS):
        channel = start + tl.arange(0, CHANNELS)
        live = channel < OUT
        push = _load(grad, address(image, row, column, grad_stride), grad_stride, channel, keep, live)
        for tap in range(SIZE * SIZE):
            pull = push * _sensitivity(
                x, features, weight, bias, x_stride, features_stride, image, row, column, keep, tap, channel, live,
                height, width, IN, OUT, SIZE, SLOPE, SOURCES,
            )  # fmt: skip
            rows = (tap * IN + source)[None, :] * OUT + channel[:, None]
            factors = tl.load(weight + rows, mask=live[:, None] & (source < IN)[None, :], other=0.0)
            total = tl.dot(pull.to(factors.dtype), factors, total, input_precision="ieee")
    where = address(image, row, column, target_stride)[:, None] + source.to(tl.int64)[None, :] * target_stride[1]
    tl.store(target + where, total, mask=keep[:, None] & (source < IN)[None, :])


@triton.jit
def _weights(
    grad, x, features, weight, bias, rows, columns, grad_stride, x_stride, features_stride, count, height, width,
    TILE: tl.constexpr, IN: tl.constexpr, OUT: tl.constexpr, SIZE: tl.constexpr, SLOPE: tl.constexpr,
    PIXELS: tl.constexpr, CHANNELS: tl.constexpr, SOURCES: tl.constexpr,
):  # fmt: skip
    """A tap and block of channels, a tile of input channels, every n-th block of pixels: features times gradient."""
    blocks: tl.constexpr = (OUT + CHANNELS - 1) // CHANNELS
    tap = tl.program_id(0) // blocks
    channel = tl.program_id(0) % blocks * CHANNELS + tl.arange(0, CHANNELS)
    live = channel < OUT
    source = tl.program_id(1) * TILE + tl.arange(0, TILE)
    total = tl.zeros((TILE, CHANNELS), tl.float32)
    alone = tl.zeros((CHANNELS,), tl.float32)
    for block in range(tl.program_id(2), tl.cdiv(count, PIXELS), tl.num_programs(2)):
        image, row, column, keep = pixels_of(block * PIXELS, count, height, width, PIXELS)
        push = _load(grad, address(image, row, column, grad_stride), grad_stride, channel, keep, live)
        pull = push * _sensitivity(
            x, features, weight, bias, x_stride, features_stride, image, row, column, keep, tap, channel, live,
            height, width, IN, OUT, SIZE, SLOPE, SOURCES,
        )  # fmt: skip
        where = address(image, row, column, features_stride)[None, :]
        where += source.to(tl.int64)[:, None] * features_stride[1]
        inputs = tl.load(features + where, mask=(source < IN)[:, None] & keep[None, :], other=0.0)
        total = tl.dot(inputs, pull.to(inputs.dtype), total, input_precision="ieee")
        alone += tl.sum(pull, 0)
    part = tl.program_id(2) * SIZE * SIZE + tap
    where = (part * IN + source)[:, None] * OUT + channel[None, :]
    tl.store(rows + where, total, mask=(source < IN)[:, None] & live[None, :])
    if tl.program_id(1) == 0:  # the same for every tile of input channels
        tl.store(columns + part * OUT + channel, alone, mask=live)


@triton.jit
def _sensitivity(
    x, features, weight, bias, x_stride, features_stride, image, row, column, keep, tap, channel, live,
    height, width,
    IN: tl.constexpr, OUT: tl.constexpr, SIZE: tl.constexpr, SLOPE: tl.constexpr, SOURCES: tl.constexpr,
):  # fmt: skip
    """Of the filtered values to one tap's kernels before their activation."""
    where = features + address(image, row, column, features_stride)
    before = _before(where, weight, bias, tap, features_stride, channel, keep, live, IN, OUT, SOURCES)
    value = _neighbour(x, image, row, column, tap, height, width, x_stride, channel, keep, live, SIZE)
    return tl.where(before > 0, value, value * SLOPE)


@triton.jit
def _before(
    where, weight, bias, tap, stride, channel, keep, live,
    IN: tl.constexpr, OUT: tl.constexpr, SOURCES: tl.constexpr,
):  # fmt: skip
    """One tap's kernels (PIXELS, CHANNELS) before their activation: the 1x1 convolution of the features at `where`."""
    total = tl.zeros((keep.shape[0], channel.shape[0]), tl.float32)
    for start in range(0, IN, SOURCES):
        source = start + tl.arange(0, SOURCES)
        exists = source < IN
        columns = where[:, None] + source.to(tl.int64)[None, :] * stride[1]
        inputs = tl.load(columns, mask=keep[:, None] & exists[None, :], other=0.0)
        rows = (tap * IN + source)[:, None] * OUT + channel[None, :]
        factors = tl.load(weight + rows, mask=exists[:, None] & live[None, :], other=0.0)
        total = tl.dot(inputs, factors, total, input_precision="ieee")
    return total + tl.load(bias + tap * OUT + channel, mask=live, other=0.0).to(tl.float32)[None, :]


@triton.jit
def _neighbour(
    x, image, row, column, tap, height, width, stride, channel, keep, live, SIZE: tl.constexpr
):  # fmt: skip
    """The values (PIXELS, CHANNELS) that one tap sees; beyond the edge the edge's own."""
    y = tl.minimum(tl.maximum(row + tap // SIZE - SIZE // 2, 0), height - 1)
    z = tl.minimum(tl.maximum(column + tap % SIZE - SIZE // 2, 0), width - 1)
    return _load(x, address(image, y, z, stride), stride, channel, keep, live)


@triton.jit
def _load(x, where, stride, channel, keep, live):
    columns = where[:, None] + channel.to(tl.int64)[None, :] * stride[1]
    return tl.load(x + columns, mask=keep[:, None] & live[None, :], other=0.0).to(tl.float32)
