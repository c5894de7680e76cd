"""Operations that torch has no layer for. Networks import them from here, not from an implementation.

Each stands in plain torch (`reference`) and, but for `dynamic_filter`, which its fused form makes needless there, in
Triton. Tensors on CUDA go to Triton where it is installed, all others to the reference; the environment variable
`CLOUDFREE_KERNELS` (auto, reference, triton) decides otherwise. float64, which is for checking, is the reference's.
"""

from __future__ import annotations

import functools
import importlib
import importlib.metadata
import os
from typing import Any

import torch
from torch import Tensor

from cloudfree.kernels import reference
from cloudfree.kernels.reference import dynamic_filter

__all__ = ["deform_conv2d", "dynamic_filter", "fused_dynamic_filter", "implementation", "two_stream_attention"]

VARIABLE = "CLOUDFREE_KERNELS"
OLDEST_TRITON = (3, 3)
"""The first whose kernels take strides as tuples. torch 2.7 comes with it; older ones run the reference."""


def implementation(x: Tensor) -> str:
    """What runs for x: "triton" or "reference"."""
    choice = os.environ.get(VARIABLE, "auto")
    if choice not in ("auto", "reference", "triton"):
        raise ValueError(f"{VARIABLE} is {choice!r}; auto, reference and triton are known: unset it or choose one.")
    if choice == "auto":
        choice = "triton" if x.is_cuda and _has_triton() else "reference"
    return "reference" if x.dtype == torch.float64 else choice


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


def _module(name: str, x: Tensor) -> Any:
    """The module that serves x: importing one of Triton's imports Triton, so only then."""
    return importlib.import_module(f"{__name__}.{name}") if implementation(x) == "triton" else reference


@functools.cache
def _has_triton() -> bool:
    try:
        version = importlib.metadata.version("triton")
    except importlib.metadata.PackageNotFoundError:
        return False
    return tuple(map(int, version.split(".")[:2])) >= OLDEST_TRITON
