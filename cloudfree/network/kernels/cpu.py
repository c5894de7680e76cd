"""The operations on a CPU, without gradients: in chunks that are used while the cache holds them.

Beyond the cache a fresh tensor costs more than the arithmetic on it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
import torch.nn.functional as F
from torch import Tensor

from cloudfree.network.kernels import reference
from cloudfree.network.kernels.interface import DeformConv2dArgs, DynamicFilterArgs, TwoStreamAttentionArgs

_CACHED_BYTES = 3 << 18
"""Of 2048 pixels of 96 channels; within an MLP or a wide activation they grow four to six times."""
_CACHED_FILTER_BYTES = 3 << 20
"""What a tap of the dynamic filter makes of some rows."""
_CACHED_SAMPLES = 1 << 17
"""Samples of a chunk of the deformable convolution: with 12 channels each, their columns are 3 or 6 MB."""
_CACHED_LOGITS = 1 << 17
"""Of a stream: four windows of 8 heads x 64 x 64, half a megabyte."""


def linear(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """x (..., C) @ weight.T + bias, as a 1x1 convolution, and differentiable.

    oneDNN's convolution uses the vector units of any CPU; the matrix product of torch's builds (MKL) ran at 0.4 of
    its rate on an AMD EPYC.
    """
    pixels = x.reshape(1, 1, -1, x.shape[-1]).permute(0, 3, 1, 2)
    out = F.conv2d(pixels, weight[:, :, None, None], bias)
    return out.permute(0, 2, 3, 1).reshape(*x.shape[:-1], -1)


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
    taps, depth = weight[0, 0].numel(), channels // groups
    # A frame of zeros, so that no corner needs a test: one pixel before the image, two behind it.
    framed = F.pad(x.permute(0, 2, 3, 1), (0, 0, 1, 2, 1, 2))
    weight = weight.view(-1, groups, depth, taps).transpose(2, 3).reshape(len(weight), -1, 1, 1)
    offset, mask = (tensor.permute(0, 2, 3, 1) for tensor in (offset, mask))
    out = x.new_empty(batch, height, width, len(weight))
    step = max(1, min(height, _CACHED_SAMPLES // (width * groups * taps)))
    corners = _Corners(args, step)
    for image in range(batch):
        table = framed[image].view(-1, depth)
        for rows in _chunks(height, step):
            index, factors = corners.of(rows, offset[image, rows], mask[image, rows])
            columns = F.embedding_bag(index, table, per_sample_weights=factors.to(x.dtype), mode="sum")
            columns = columns.view(1, -1, width, weight.shape[1]).permute(0, 3, 1, 2)
            out[image, rows] = F.conv2d(columns, weight, bias)[0].permute(1, 2, 0)
    return out.permute(0, 3, 1, 2)


class _Corners:
    """Where in the frame the corners of displaced taps lie, and what each counts; in memory that is used again."""

    def __init__(self, args: DeformConv2dArgs, rows: int) -> None:
        """For `rows` rows at most. Coordinates are float32 or better."""
        _, _, self._height, self._width = args.x.shape
        self._groups = args.groups
        precise = torch.promote_types(args.x.dtype, torch.float32)
        kernel = args.weight.shape[-1]
        steps = torch.arange(kernel, dtype=precise) - (kernel - 1) // 2
        tap_y, tap_x = (tap.repeat(args.groups) for tap in (steps.repeat_interleave(kernel), steps.repeat(kernel)))
        self._regular_y = torch.arange(self._height, dtype=precise)[:, None, None] + tap_y
        self._regular_x = torch.arange(self._width, dtype=precise)[:, None] + tap_x
        group = torch.arange(args.groups, dtype=torch.int32).repeat_interleave(kernel**2)
        self._origin = (self._width + 4) * args.groups + group
        self._steps = torch.tensor([0, 1, self._width + 3, self._width + 4], dtype=torch.int32) * args.groups
        shape = rows, self._width, args.groups * kernel**2
        self._floats = torch.empty(5, *shape, dtype=precise)
        self._integers = torch.empty(2, *shape, dtype=torch.int32)
        self._factors, self._index = torch.empty(*shape, 4, dtype=precise), torch.empty(*shape, 4, dtype=torch.int32)

    def of(self, rows: slice, offset: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """Index and factors (samples, 4) of some rows, for offset (rows, W, 2*G*K) and mask (rows, W, G*K)."""
        y, x, top, left, scale = self._floats[:, : len(mask)]
        y.copy_(offset[..., ::2]).add_(self._regular_y[rows]).clamp_(-1, self._height)
        x.copy_(offset[..., 1::2]).add_(self._regular_x).clamp_(-1, self._width)
        torch.floor(y, out=top)
        torch.floor(x, out=left)
        row, column = self._integers[:, : len(mask)].copy_(self._floats[2:4, : len(mask)])
        # Clamped once more: a position that is not a number must not be looked up, though it makes its pixel one.
        row.clamp_(-1, self._height).mul_(self._width + 3).add_(column.clamp_(-1, self._width))
        row.mul_(self._groups).add_(self._origin)
        index = torch.add(row[..., None], self._steps, out=self._index[: len(mask)])
        scale.copy_(mask)
        below, right = y.sub_(top).mul_(scale), x.sub_(left)
        above = scale.sub_(below)
        factors = self._factors[: len(mask)]
        factors[..., 1] = torch.mul(above, right, out=top)
        factors[..., 3] = torch.mul(below, right, out=left)
        torch.sub(above, top, out=factors[..., 0])
        torch.sub(below, left, out=factors[..., 2])
        return index.view(-1, 4), factors.view(-1, 4)


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
    """Some windows of an image after the other, both streams at once, in memory that is used again.

    In float32 at least: half types make products of a dozen columns no quicker, and what is done to each logit slower.
    """
    qkv, qkv_sar, bias, mask, gate_weight, gate_bias, heads = args
    tokens, width = qkv.shape[1], qkv.shape[-1] // 3
    precise = torch.promote_types(qkv.dtype, torch.float32)
    bias, gate_weight, gate_bias = (tensor.to(precise).contiguous() for tensor in (bias, gate_weight, gate_bias))
    args = args._replace(bias=bias[:, None], gate_weight=gate_weight.flatten(1), gate_bias=gate_bias[:, None])
    outs = torch.empty_like(qkv[..., :width]), torch.empty_like(qkv_sar[..., :width])
    windows = len(qkv) if mask is None else len(mask)
    step = max(1, min(windows, _CACHED_LOGITS // (heads * tokens**2)))
    memory = torch.empty(2, 2 * heads * step * tokens**2, dtype=precise)
    for image in range(0, len(qkv), windows):
        for chunk in _chunks(windows, step):
            images = slice(image + chunk.start, image + chunk.stop)
            streams = torch.stack((qkv[images], qkv_sar[images])).to(precise)
            chunk_mask = None if mask is None else mask[chunk]
            for out, stream in zip(outs, _attended(streams, args._replace(shift_mask=chunk_mask), memory), strict=True):
                out[images] = stream
    return outs


def _attended(streams: Tensor, args: TwoStreamAttentionArgs, memory: Tensor) -> Tensor:
    """Both streams (2, N, T, 3C) -> (2, N, T, C); `memory` holds the logits of two streams twice."""
    _, count, tokens, _ = streams.shape
    heads = args.heads
    q, k, v = streams.view(2, count, tokens, 3, heads, -1).permute(3, 0, 4, 1, 2, 5).contiguous().flatten(1, 3)
    logits, spare = memory[:, : 2 * heads * count * tokens**2].view(2, 2, heads, count, tokens, tokens)
    torch.bmm(q.mul_(q.shape[-1] ** -0.5), k.transpose(1, 2), out=logits.view(-1, tokens, tokens))
    logits += args.bias if args.shift_mask is None else torch.add(args.bias, args.shift_mask, out=spare[0])
    excess = torch.sub(logits[1], logits[0], out=spare[0])
    gate = torch.mm(args.gate_weight, excess.view(heads, -1), out=spare[1].view(heads, -1))
    logits[0].addcmul_(excess, gate.add_(args.gate_bias).sigmoid_().view_as(excess))
    weights = torch.softmax(logits, -1, out=spare)
    weighted = (weights.view(-1, tokens, tokens) @ v).view(2, heads, count, tokens, -1)
    return weighted.permute(0, 2, 3, 1, 4).flatten(3)


def _chunks(length: int, step: int) -> Iterator[slice]:
    """Slices of at most `step`, at least one each, that make up `length`."""
    step = max(1, step)
    for start in range(0, length, step):
        yield slice(start, min(start + step, length))
