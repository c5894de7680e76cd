"""Operations that torch has no layer for, or a slow one; the networks import them from here.

`interface` says what they take and give. Three modules implement it: `reference` in plain torch, differentiable and on
any device; `cpu`, without gradients, in chunks that fit the cache; `triton`, on CUDA where Triton is installed. The
reference also serves float64, which is for checking, and `torch.compile`, which fuses plain torch itself. The
environment variable `CLOUDFREE_KERNELS` (auto, reference, triton) decides otherwise.
"""

from __future__ import annotations

import functools
import importlib.metadata
import os
from collections.abc import Callable

import torch
from torch import Tensor

from cloudfree.network.kernels import cpu, reference
from cloudfree.network.kernels.interface import DeformConv2dArgs, DynamicFilterArgs, Kernels, TwoStreamAttentionArgs

__all__ = [
    "VARIABLE",
    "DeformConv2dArgs",
    "DynamicFilterArgs",
    "Kernels",
    "TwoStreamAttentionArgs",
    "deform_conv2d",
    "fused_dynamic_filter",
    "implementation",
    "in_chunks",
    "linear",
    "two_stream_attention",
]

VARIABLE = "CLOUDFREE_KERNELS"
OLDEST_TRITON = (3, 3)
"""The first whose kernels take strides as tuples. torch 2.7 comes with it; older ones run the reference."""


def implementation(x: Tensor) -> str:
    """What runs for x: "triton", "cpu" or "reference"."""
    choice = os.environ.get(VARIABLE, "auto")
    if choice not in ("auto", "reference", "triton"):
        raise ValueError(f"{VARIABLE} is {choice!r}; auto, reference and triton are known: unset it or choose one.")
    if x.dtype == torch.float64:
        return "reference"
    if choice != "auto":
        return choice
    if torch.compiler.is_compiling():
        return "reference"
    if x.is_cuda:
        return "triton" if _has_triton() else "reference"
    return "cpu" if x.device.type == "cpu" else "reference"


def deform_conv2d(args: DeformConv2dArgs) -> Tensor:
    """Modulated deformable convolution."""
    return _kernels_for(args.x).deform_conv2d(args)


def fused_dynamic_filter(args: DynamicFilterArgs) -> Tensor:
    """A filter for each pixel and channel, and the 1x1 convolution that predicts it."""
    return _kernels_for(args.x).fused_dynamic_filter(args)


def two_stream_attention(args: TwoStreamAttentionArgs) -> tuple[Tensor, Tensor]:
    """Window attention with a gate between two streams."""
    return _kernels_for(args.qkv).two_stream_attention(args)


def linear(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """x (..., C_in) @ weight.T (C_in, C_out) + bias, differentiable everywhere."""
    return cpu.linear(x, weight, bias) if implementation(x) == "cpu" else torch.nn.functional.linear(x, weight, bias)


def in_chunks(function: Callable[[Tensor], Tensor], x: Tensor, axis: int) -> Tensor:
    """A function of single pixels, of some rows (`axis`) at a time where that is quicker."""
    return cpu.in_chunks(function, x, axis) if _runs_in_chunks(x) else function(x)


def _kernels_for(x: Tensor) -> Kernels:
    if implementation(x) == "triton":
        from cloudfree.network.kernels import triton  # noqa: PLC0415 - Triton is imported only where it serves

        return triton
    return cpu if _runs_in_chunks(x) else reference


def _runs_in_chunks(x: Tensor) -> bool:
    return implementation(x) == "cpu" and not torch.is_grad_enabled()


@functools.cache
def _has_triton() -> bool:
    try:
        version = importlib.metadata.version("triton")
    except importlib.metadata.PackageNotFoundError:
        return False
    return tuple(map(int, version.split(".")[:2])) >= OLDEST_TRITON
