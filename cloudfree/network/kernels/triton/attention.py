"""The gated two-stream window attention in Triton, forward: no logits, gates or weights in memory.

The reference holds several (windows, heads, T, T) at once; here a program holds a block of queries of one window, with
the gates of all heads, which the 1x1 convolution mixes. The backward pass is torch's own, of the reference run again.
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

from cloudfree.network.kernels import reference
from cloudfree.network.kernels.interface import TwoStreamAttentionArgs
from cloudfree.network.kernels.triton.common import LAUNCH, on_device, tile

QUERIES = 16
"""Queries a program, the least a matrix product fills: the gates of 8 heads x 16 x 64 take 32 registers a thread."""


def two_stream_attention(args: TwoStreamAttentionArgs) -> tuple[Tensor, Tensor]:
    """Logits and gates are float32 whatever the type of qkv.

    The gradient is that of the reference, run again from the inputs: it takes the reference's memory for one layer, not
    for all layers at once.
    """
    out: tuple[Tensor, Tensor] = _TwoStreamAttention.apply(*args)
    return out


class _TwoStreamAttention(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, *args: Any) -> tuple[Tensor, Tensor]:
        ctx.save_for_backward(*args[:-1])
        ctx.heads = args[-1]
        return _launch(TwoStreamAttentionArgs(*args))

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        inputs = [
            None if tensor is None else tensor.detach().requires_grad_(needed)
            for tensor, needed in zip(ctx.saved_tensors, ctx.needs_input_grad, strict=False)
        ]
        with torch.enable_grad():
            outputs = reference.two_stream_attention(TwoStreamAttentionArgs._make((*inputs, ctx.heads)))
        wanted = [tensor for tensor in inputs if tensor is not None and tensor.requires_grad]
        found = iter(torch.autograd.grad(outputs, wanted, grads))
        return *(next(found) if tensor is not None and tensor.requires_grad else None for tensor in inputs), None


def _launch(args: TwoStreamAttentionArgs) -> tuple[Tensor, Tensor]:
    qkv, qkv_sar, bias, shift_mask, gate_weight, gate_bias, heads = args
    count, tokens, width = qkv.shape[0], qkv.shape[1], qkv.shape[2] // 3
    out = qkv.new_empty(count, tokens, width), qkv_sar.new_empty(count, tokens, width)
    windows, mask_stride = (1, (0, 0, 0)) if shift_mask is None else (len(shift_mask), shift_mask.stride())
    strides = qkv.stride(), qkv_sar.stride(), bias.stride(), mask_stride
    gate = gate_weight.contiguous(), gate_bias.contiguous()
    constants = {
        "SHIFTED": shift_mask is not None,
        "TOKENS": tokens,
        "HEADS": heads,
        "DEPTH": width // heads,
        "QUERIES": QUERIES,
        "KEYS": tile(tokens),
        "GATES": triton.next_power_of_2(heads),
        "DEPTHS": tile(width // heads),
    }
    with on_device(qkv):
        _attend[count, triton.cdiv(tokens, QUERIES)](
            qkv,
            qkv_sar,
            bias,
            shift_mask,
            *gate,
            *out,
            *strides,
            windows,
            (width // heads) ** -0.5,
            **constants,
            **LAUNCH,
        )
    return out


@triton.jit
def _attend(
    qkv, qkv_sar, bias, shift_mask, gate_weight, gate_bias, out, out_sar,
    qkv_stride, qkv_sar_stride, bias_stride, mask_stride, windows, scale,
    SHIFTED: tl.constexpr, TOKENS: tl.constexpr, HEADS: tl.constexpr, DEPTH: tl.constexpr,
    QUERIES: tl.constexpr, KEYS: tl.constexpr, GATES: tl.constexpr, DEPTHS: tl.constexpr,
):  # fmt: skip
    """A window, a block of queries: the gates of all heads first, then head by head the logits again and their use."""
    window = tl.program_id(0).to(tl.int64)
    query, key = tl.program_id(1) * QUERIES + tl.arange(0, QUERIES), tl.arange(0, KEYS)
    both = (query < TOKENS)[:, None] & (key < TOKENS)[None, :]
    optical, sar = qkv + window * qkv_stride[0], qkv_sar + window * qkv_sar_stride[0]

    row = tl.arange(0, GATES)
    gates = tl.zeros((GATES, QUERIES, KEYS), tl.float32)
    gates += tl.load(gate_bias + row, mask=row < HEADS, other=0.0).to(tl.float32)[:, None, None]
    for head in range(HEADS):
        a = _logits(optical, qkv_stride, head, query, key, scale, TOKENS, HEADS, DEPTH, DEPTHS)
        b = _logits(sar, qkv_sar_stride, head, query, key, scale, TOKENS, HEADS, DEPTH, DEPTHS)
        share = tl.load(gate_weight + row * HEADS + head, mask=row < HEADS, other=0.0).to(tl.float32)
        gates += share[:, None, None] * (b - a)[None, :, :]  # bias and mask are the same in both
    gates = tl.sigmoid(gates)

    for head in range(HEADS):
        a = _logits(optical, qkv_stride, head, query, key, scale, TOKENS, HEADS, DEPTH, DEPTHS)
        b = _logits(sar, qkv_sar_stride, head, query, key, scale, TOKENS, HEADS, DEPTH, DEPTHS)
        gate = tl.sum(tl.where((row == head)[:, None, None], gates, 0.0), 0)
        where = head * bias_stride[0] + query[:, None] * bias_stride[1] + key[None, :] * bias_stride[2]
        added = tl.load(bias + where, mask=both, other=0.0).to(tl.float32)
        if SHIFTED:
            where = window % windows * mask_stride[0] + query[:, None] * mask_stride[1] + key[None, :] * mask_stride[2]
            added += tl.load(shift_mask + where, mask=both, other=0.0).to(tl.float32)
        gated = a + (b - a) * gate + added
        _weigh(gated, optical, qkv_stride, out, window, head, query, key, TOKENS, HEADS, DEPTH, DEPTHS)
        _weigh(b + added, sar, qkv_sar_stride, out_sar, window, head, query, key, TOKENS, HEADS, DEPTH, DEPTHS)


@triton.jit
def _logits(
    qkv, stride, head, query, key, scale,
    TOKENS: tl.constexpr, HEADS: tl.constexpr, DEPTH: tl.constexpr, DEPTHS: tl.constexpr,
):  # fmt: skip
    """(QUERIES, KEYS) of one head, without bias; `qkv` is that of the window."""
    depth = tl.arange(0, DEPTHS)
    where = query[:, None] * stride[1] + (head * DEPTH + depth)[None, :] * stride[2]
    q = tl.load(qkv + where, mask=(query < TOKENS)[:, None] & (depth < DEPTH)[None, :], other=0.0)
    where = key[None, :] * stride[1] + ((HEADS + head) * DEPTH + depth)[:, None] * stride[2]
    k = tl.load(qkv + where, mask=(key < TOKENS)[None, :] & (depth < DEPTH)[:, None], other=0.0)
    return tl.dot(q, k, input_precision="ieee") * scale


@triton.jit
def _weigh(
    logits, qkv, stride, out, window, head, query, key,
    TOKENS: tl.constexpr, HEADS: tl.constexpr, DEPTH: tl.constexpr, DEPTHS: tl.constexpr,
):  # fmt: skip
    """Store the softmax of one head's logits times its values."""
    logits = tl.where((key < TOKENS)[None, :], logits, float("-inf"))
    weights = tl.exp(logits - tl.max(logits, 1)[:, None])
    weights /= tl.sum(weights, 1)[:, None]
    depth = tl.arange(0, DEPTHS)
    where = key[:, None] * stride[1] + ((2 * HEADS + head) * DEPTH + depth)[None, :] * stride[2]
    v = tl.load(qkv + where, mask=(key < TOKENS)[:, None] & (depth < DEPTH)[None, :], other=0.0)
    weighed = tl.dot(weights.to(v.dtype), v, input_precision="ieee")
    where = (window * TOKENS + query)[:, None] * (HEADS * DEPTH) + (head * DEPTH + depth)[None, :]
    tl.store(out + where, weighed, mask=(query < TOKENS)[:, None] & (depth < DEPTH)[None, :])
