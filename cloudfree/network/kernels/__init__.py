"""Operations that torch has no layer for, or a slow one. Networks import them from here, not from an implementation.

Each stands in plain torch, differentiable and on any device (`reference`); on a processor and without gradients in
parts that its cache holds (`cpu`); and, where torch alone will not do, in Triton, which serves CUDA where it is
installed. The environment variable `CLOUDFREE_KERNELS` (auto, reference, triton) decides otherwise. float64, which is
for checking, is the reference's.
"""

from __future__ import annotations

import functools
import importlib
import importlib.metadata
import os
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from cloudfree.network.kernels import cpu, reference
from cloudfree.network.kernels.reference import dynamic_filter

__all__ = [
    "conv3x3",
    "deform_conv2d",
    "dynamic_filter",
    "fused_dynamic_filter",
    "implementation",
    "in_parts",
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
    if x.is_cuda:
        return "triton" if _has_triton() else "reference"
    return "cpu" if x.device.type == "cpu" else "reference"


def deform_conv2d(x: Tensor, offset: Tensor, mask: Tensor, weight: Tensor, bias: Tensor | None, groups: int) -> Tensor:
    """Modulated deformable convolution: see `reference.deform_conv2d`."""
    out: Tensor = _module("triton_deform", x).deform_conv2d(x, offset, mask, weight, bias, groups)
    return out


def fused_dynamic_filter(x: Tensor, features: Tensor, weight: Tensor, bias: Tensor, size: int, slope: float) -> Tensor:
    """A filter a pixel and channel, predicted by a 1x1 convolution: see `reference.fused_dynamic_filter`."""
    out: Tensor = _module("triton_filter", x).fused_dynamic_filter(x, features, weight, bias, size, slope)
    return out


def two_stream_attention(
    qkv: Tensor,
    qkv_sar: Tensor,
    bias: Tensor,
    shift_mask: Tensor | None,
    gate_weight: Tensor,
    gate_bias: Tensor,
    heads: int,
) -> tuple[Tensor, Tensor]:
    """Window attention with a gate between two streams: see `reference.two_stream_attention`."""
    attend = _module("triton_attention", qkv).two_stream_attention
    out: tuple[Tensor, Tensor] = attend(qkv, qkv_sar, bias, shift_mask, gate_weight, gate_bias, heads)
    return out


def conv3x3(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """The convolution that most of the arithmetic is: see `reference.conv3x3`."""
    return (cpu if _works_in_parts(x) else reference).conv3x3(x, weight, bias)


def linear(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """x (..., C_in) @ weight.T (C_in, C_out) + bias, differentiable everywhere."""
    return cpu.linear(x, weight, bias) if implementation(x) == "cpu" else torch.nn.functional.linear(x, weight, bias)


def in_parts(function: Callable[[Tensor], Tensor], x: Tensor, axis: int) -> Tensor:
    """A function of single pixels, of some rows (`axis`) at a time where that is quicker."""
    return cpu.in_parts(function, x, axis) if _works_in_parts(x) else function(x)


def _module(name: str, x: Tensor) -> Any:
    """The module that serves x: importing one of Triton's imports Triton, so only then."""
    if implementation(x) == "triton":
        return importlib.import_module(f"{__name__}.{name}")
    return cpu if _works_in_parts(x) else reference


def _works_in_parts(x: Tensor) -> bool:
    return implementation(x) == "cpu" and not torch.is_grad_enabled()


@functools.cache
def _has_triton() -> bool:
    try:
        version = importlib.metadata.version("triton")
    except importlib.metadata.PackageNotFoundError:
        return False
    return tuple(map(int, version.split(".")[:2])) >= OLDEST_TRITON
