"""What the Triton kernels share: pixels to programs, strides to addresses, the types of autocast.

Conventions of all of them. Pixels of a batch are one row of B * H * W, which blocks of them cut without regard to rows
and images. Tensors come with their strides, so that channels_last costs no copy; offsets are 64-bit. Accumulation is
float32, and products of float32 are float32 (`input_precision="ieee"`): the tensor cores' TF32 keeps ten bits.
"""

# The parameters of a kernel are pointers, strides and tiles, which Python has no types for.
# mypy: allow-untyped-defs, allow-incomplete-defs, allow-untyped-calls, allow-untyped-decorators
# ruff: noqa: ANN001, ANN201

from __future__ import annotations

import contextlib

import torch
import triton
import triton.language as tl
from torch import Tensor

LAUNCH = {"num_warps": 8, "num_stages": 2, "enable_fp_fusion": True}
"""Chosen with the tiles so that at Align-CR's sizes, on compute capability 8.0 and 9.0, no kernel takes more than
40 KiB of shared memory or spills more than 16 bytes a thread, most none: read from what compiles, not timed."""


@triton.jit
def pixels_of(start, count, height, width, PIXELS: tl.constexpr):  # noqa: N803 - constants are upper case in Triton
    """Image, row and column of the `PIXELS` pixels from `start` on, and which of them exist."""
    pixel = start + tl.arange(0, PIXELS)
    return (pixel // (height * width)).to(tl.int64), pixel // width % height, pixel % width, pixel < count


@triton.jit
def address(image, row, column, stride):
    """Offset of channel 0 of each pixel in a (B, C, H, W) tensor of these strides."""
    return image * stride[0] + row.to(tl.int64) * stride[2] + column.to(tl.int64) * stride[3]


def tile(count: int, most: int | None = None) -> int:
    """The tile for an axis of `count`: Triton's are powers of two, and its matrix products want 16 at least."""
    size = max(16, triton.next_power_of_2(count))
    return size if most is None else min(size, most)


def pixel_tile(x: Tensor) -> int:
    """Pixels a program: 32 of float32, whose products run on ordinary cores from registers, 64 of the half types."""
    return 128 // x.element_size()


def feature_map(like: Tensor, channels: int, dtype: torch.dtype, margin: int = 0) -> Tensor:
    """Memory for (B, channels, H, W), larger than `like` by a margin all around, in channels_last if that is."""
    batch, _, height, width = like.shape
    last = like.is_contiguous(memory_format=torch.channels_last) and not like.is_contiguous()
    return torch.empty(
        (batch, channels, height + 2 * margin, width + 2 * margin),
        dtype=dtype,
        device=like.device,
        memory_format=torch.channels_last if last else torch.contiguous_format,
    )


def on_device(x: Tensor) -> contextlib.AbstractContextManager[object]:
    """Triton launches on the current device, whatever the device of the tensors."""
    return torch.cuda.device(x.device) if x.is_cuda else contextlib.nullcontext()


def matmul_dtype(x: Tensor) -> torch.dtype:
    """The type that a matrix product of x computes in: autocast's, where it is on, as for torch's own."""
    device = x.device.type
    return torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else x.dtype
