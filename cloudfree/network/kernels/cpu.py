"""The operations on a CPU, without gradients: in chunks that are used while the cache holds them.

Beyond the cache a fresh tensor costs more than the arithmetic on it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
import torch.nn.functional as F
from torch import Tensor

from cloudfree.network.kernels import reference, winograd
from cloudfree.network.kernels.interface import DeformConv2dArgs, DynamicFilterArgs, TwoStreamAttentionArgs

_CACHED_BYTES = 3 << 18
"""Of 2048 pixels of 96 channels; within an MLP or a wide activation they grow four to six times."""
_CACHED_FILTER_BYTES = 3 << 20
"""What a tap of the dynamic filter makes of some rows."""
_CACHED_SAMPLES = 1 << 18
"""Samples of a chunk of the deformable convolution: with 12 channels each, their columns are 12 MB."""
_CACHED_WINDOWS = 8
"""Windows of 8 heads x 64 x 64 logits."""


def linear(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """x (..., C) @ weight.T + bias, as a 1x1 convolution, and differentiable.

    oneDNN's convolution uses the vector units of any CPU; the matrix product of torch's builds (MKL) ran at 0.4 of
    its rate on an AMD EPYC.
    """
    pixels = x.reshape(1, 1, -1, x.shape[-1]).permute(0, 3, 1, 2)
    out = F.conv2d(pixels, weight[:, :, None, None], bias)
    return out.permute(0, 2, 3, 1).reshape(*x.shape[:-1], -1)


def conv3x3(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """By Winograd's algorithm where that is quicker."""
    return (winograd.conv3x3 if winograd.pays(x, weight) else reference.conv3x3)(x, weight, bias)


def in_chunks(function: Callable[[Tensor], Tensor], x: Tensor, axis: int) -> Tensor:
    """A function of single pixels, applied to some rows at a time; `axis` is that of rows."""
    chunks = max(1, min(x.shape[axis], x.numel() * x.element_size() // _CACHED_BYTES))
    return torch.cat([function(chunk) for chunk in x.tensor_split(chunks, axis)], axis)


def deform_conv2d(args: DeformConv2dArgs) -> Tensor:
    """Some rows after the other: four corners are gathered and weighted into columns, which a 1x1 convolution reads.

    Columns lie as they are read: by pixel, then group, tap, and the group's own channels.
    """
    x, offset, mask, weight, bias, groups = args
    batch, channels, height, width = x.shape
    kernel, taps, depth = weight.shape[-1], weight[0, 0].numel(), channels // groups
    precise = torch.promote_types(x.dtype, torch.float32)
    # A frame of zeros, so that no corner needs a test: one pixel before the image, two behind it.
    framed = F.pad(x.permute(0, 2, 3, 1).to(precise), (0, 0, 1, 2, 1, 2))
    corners = [groups * step for step in (0, 1, width + 3, width + 4)]
    weight = weight.view(-1, groups, depth, taps).transpose(2, 3).reshape(len(weight), -1, 1, 1)
    steps = torch.arange(kernel, dtype=precise) - (kernel - 1) // 2
    tap_y, tap_x = (step.repeat(groups) for step in (steps.repeat_interleave(kernel), steps.repeat(kernel)))
    regular_y = torch.arange(height, dtype=precise)[:, None, None] + tap_y
    regular_x = torch.arange(width, dtype=precise)[:, None] + tap_x
    group = torch.arange(groups, dtype=torch.int32).repeat_interleave(taps)
    offset_y, offset_x = (offset[:, i::2].permute(0, 2, 3, 1) for i in range(2))
    mask = mask.permute(0, 2, 3, 1)
    out = x.new_empty(batch, height, width, len(weight))
    for image in range(batch):
        table = framed[image].view(-1, depth)
        for rows in _chunks(height, _CACHED_SAMPLES // (width * groups * taps)):
            y = (offset_y[image, rows].to(precise) + regular_y[rows]).clamp_(-1, height)
            x_ = (offset_x[image, rows].to(precise) + regular_x).clamp_(-1, width)
            top, left = y.floor(), x_.floor()
            # Clamped once more: a position that is not a number must not be looked up, though it makes its pixel one.
            row, column = top.int().clamp_(-1, height), left.int().clamp_(-1, width)
            first = row.add_(1).mul_(width + 3).add_(column).add_(1).mul_(groups).add_(group)
            index = torch.stack([first + corner for corner in corners], -1).view(-1, 4)
            scale = mask[image, rows].to(precise)
            below, right = y.sub_(top).mul_(scale), x_.sub_(left)
            above = scale - below
            below_right, above_right = below * right, above * right
            factors = torch.stack((above - above_right, above_right, below - below_right, below_right), -1)
            columns = F.embedding_bag(index, table, per_sample_weights=factors.view(-1, 4), mode="sum")
            columns = columns.view(1, -1, width, weight.shape[1]).permute(0, 3, 1, 2).to(x.dtype)
            out[image, rows] = F.conv2d(columns, weight, bias)[0].permute(1, 2, 0)
    return out.permute(0, 3, 1, 2)


def fused_dynamic_filter(args: DynamicFilterArgs) -> Tensor:
    """Some rows after the other, by the reference, tap by tap."""
    x, features, size = args.x, args.features, args.size
    padded = F.pad(x, [size // 2] * 4, mode="replicate")
    out = torch.empty_like(x)
    for rows in _chunks(x.shape[2], _CACHED_FILTER_BYTES // (x[:, :, 0].numel() * x.element_size())):
        seen = padded[:, :, rows.start : rows.stop + size - 1]
        out[:, :, rows] = reference.filter_by_tap(seen, args._replace(features=features[:, :, rows]))
    return out


def two_stream_attention(args: TwoStreamAttentionArgs) -> tuple[Tensor, Tensor]:
    """Some windows of an image after the other, by the reference."""
    qkv, qkv_sar, mask = args.qkv, args.qkv_sar, args.shift_mask
    width = qkv.shape[-1] // 3
    outs = torch.empty_like(qkv[..., :width]), torch.empty_like(qkv_sar[..., :width])
    windows = len(qkv) if mask is None else len(mask)
    for image in range(0, len(qkv), windows):
        for chunk in _chunks(windows, _CACHED_WINDOWS):
            some = slice(image + chunk.start, image + chunk.stop)
            chunk_mask = None if mask is None else mask[chunk]
            chunk_args = args._replace(qkv=qkv[some], qkv_sar=qkv_sar[some], shift_mask=chunk_mask)
            for out, stream in zip(outs, reference.two_stream_attention(chunk_args), strict=True):
                out[some] = stream
    return outs


def _chunks(length: int, step: int) -> Iterator[slice]:
    """Slices of at most `step`, at least one each, that make up `length`."""
    step = max(1, step)
    for start in range(0, length, step):
        yield slice(start, min(start + step, length))
