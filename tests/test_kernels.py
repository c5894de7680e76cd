"""The torch kernels against naive loops written from their definitions, and their gradients."""

import itertools
import math

import pytest
import torch
from torch import Tensor

from cloudfree.kernels import deform_conv2d, dynamic_filter


def sample(image: Tensor, y: float, x: float) -> float:
    """Bilinear, each corner outside counting as zero."""
    top, left = math.floor(y), math.floor(x)
    total = 0.0
    for row, column in itertools.product((top, top + 1), (left, left + 1)):
        if 0 <= row < image.shape[0] and 0 <= column < image.shape[1]:
            total += float(image[row, column]) * (1 - abs(y - row)) * (1 - abs(x - column))
    return total


def naive_deform_conv2d(x, offset, mask, weight, bias, groups):
    batch, channels, height, width = x.shape
    side = weight.shape[-1]
    out = bias[None, :, None, None].repeat(batch, 1, height, width)
    positions = itertools.product(range(batch), range(channels), range(side), range(side), range(height), range(width))
    for n, c, ky, kx, row, column in positions:
        tap = c // (channels // groups) * side**2 + ky * side + kx
        dy, dx = offset[n, 2 * tap, row, column].item(), offset[n, 2 * tap + 1, row, column].item()
        value = sample(x[n, c], row + ky - side // 2 + dy, column + kx - side // 2 + dx)
        out[n, :, row, column] += weight[:, c, ky, kx] * value * mask[n, tap, row, column]
    return out


def naive_dynamic_filter(x, kernels, size):
    batch, channels, height, width = x.shape
    out = torch.zeros_like(x)
    for n, c, row, column in itertools.product(range(batch), range(channels), range(height), range(width)):
        for ky, kx in itertools.product(range(size), range(size)):
            y = min(max(row + ky - size // 2, 0), height - 1)
            z = min(max(column + kx - size // 2, 0), width - 1)
            out[n, c, row, column] += x[n, c, y, z] * kernels[n, c, ky * size + kx, row, column]
    return out


def deform_arguments(batch=2, channels=4, out=3, height=5, width=3, groups=2, reach=2.0, dtype=torch.float64):
    generator = torch.Generator().manual_seed(7)

    def normal(*shape):
        return torch.randn(shape, generator=generator, dtype=dtype)

    return (
        normal(batch, channels, height, width),
        reach * normal(batch, groups * 18, height, width),
        torch.sigmoid(normal(batch, groups * 9, height, width)),
        normal(out, channels, 3, 3),
        normal(out),
        groups,
    )


@pytest.mark.parametrize(("height", "width", "groups"), [(5, 3, 2), (1, 1, 1), (1, 6, 4), (7, 2, 1)])
def test_deform_conv2d_equals_the_definition(height, width, groups):
    arguments = deform_arguments(height=height, width=width, groups=groups)
    torch.testing.assert_close(deform_conv2d(*arguments), naive_deform_conv2d(*arguments), rtol=0, atol=1e-12)


def test_deform_conv2d_without_offsets_is_a_convolution():
    x, offset, mask, weight, bias, groups = deform_arguments(height=9, width=8)
    out = deform_conv2d(x, torch.zeros_like(offset), torch.ones_like(mask), weight, bias, groups)
    torch.testing.assert_close(out, torch.nn.functional.conv2d(x, weight, bias, padding=1), rtol=0, atol=1e-12)


def test_deform_conv2d_gradients():
    tensors = [
        tensor.requires_grad_() for tensor in deform_arguments(batch=1, channels=2, out=2, height=3, width=4)[:5]
    ]
    assert torch.autograd.gradcheck(lambda *arguments: deform_conv2d(*arguments, 2), tensors, fast_mode=True)


def test_deform_conv2d_keeps_coordinates_in_float32():
    """bfloat16 cannot tell odd columns from even ones beyond 256."""
    x = (torch.arange(400.0) % 7).view(1, 1, 1, 400)
    offset, mask, weight = torch.zeros(1, 18, 1, 400), torch.ones(1, 9, 1, 400), torch.zeros(1, 1, 3, 3)
    offset[:, 2 * 4 + 1] = 1  # dx of the middle tap
    weight[..., 1, 1] = 1
    out = deform_conv2d(x.bfloat16(), offset.bfloat16(), mask.bfloat16(), weight.bfloat16(), None, 1)
    assert out.dtype == torch.bfloat16
    torch.testing.assert_close(out[..., :-1].float(), x[..., 1:], rtol=1e-2, atol=1e-2)


@pytest.mark.parametrize(("height", "width", "size"), [(4, 5, 5), (1, 1, 5), (1, 7, 3), (6, 2, 1)])
def test_dynamic_filter_equals_the_definition(height, width, size):
    x = torch.randn(2, 3, height, width, dtype=torch.float64)
    kernels = torch.randn(2, 3, size**2, height, width, dtype=torch.float64)
    torch.testing.assert_close(
        dynamic_filter(x, kernels, size), naive_dynamic_filter(x, kernels, size), rtol=0, atol=1e-12
    )


def test_dynamic_filter_gradients():
    x = torch.randn(1, 2, 3, 4, dtype=torch.float64, requires_grad=True)
    kernels = torch.randn(1, 2, 25, 3, 4, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda x, kernels: dynamic_filter(x, kernels, 5), (x, kernels), fast_mode=True)
