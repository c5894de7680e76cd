"""The torch kernels against naive loops written from their definitions, and their gradients."""

import itertools
import math
import subprocess
import sys

import pytest
import torch
from torch import Tensor

from cloudfree.network.kernels import (
    DeformConv2dArgs,
    DynamicFilterArgs,
    TwoStreamAttentionArgs,
    cpu,
    deform_conv2d,
    fused_dynamic_filter,
    implementation,
    in_chunks,
    linear,
    reference,
    two_stream_attention,
)
from cloudfree.network.kernels.reference import dynamic_filter


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

    return DeformConv2dArgs(
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
    torch.testing.assert_close(deform_conv2d(arguments), naive_deform_conv2d(*arguments), rtol=0, atol=1e-12)


def test_deform_conv2d_without_offsets_is_a_convolution():
    arguments = deform_arguments(height=9, width=8)
    x, offset, mask, weight, bias, _ = arguments
    out = deform_conv2d(arguments._replace(offset=torch.zeros_like(offset), mask=torch.ones_like(mask)))
    torch.testing.assert_close(out, torch.nn.functional.conv2d(x, weight, bias, padding=1), rtol=0, atol=1e-12)


def test_deform_conv2d_gradients():
    tensors = [
        tensor.requires_grad_() for tensor in deform_arguments(batch=1, channels=2, out=2, height=3, width=4)[:5]
    ]
    assert torch.autograd.gradcheck(
        lambda *arguments: deform_conv2d(DeformConv2dArgs(*arguments, 2)), tensors, fast_mode=True
    )


def test_deform_conv2d_keeps_coordinates_in_float32():
    """bfloat16 cannot tell odd columns from even ones beyond 256."""
    x = (torch.arange(400.0) % 7).view(1, 1, 1, 400)
    offset, mask, weight = torch.zeros(1, 18, 1, 400), torch.ones(1, 9, 1, 400), torch.zeros(1, 1, 3, 3)
    offset[:, 2 * 4 + 1] = 1  # dx of the middle tap
    weight[..., 1, 1] = 1
    out = deform_conv2d(
        DeformConv2dArgs(x.bfloat16(), offset.bfloat16(), mask.bfloat16(), weight.bfloat16(), bias=None, groups=1)
    )
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


def filter_arguments(batch=2, channels=3, sources=4, height=4, width=5, size=3):
    kernels = channels * size**2
    shapes = (batch, channels, height, width), (batch, sources, height, width), (kernels, sources, 1, 1), (kernels,)
    generator = torch.Generator().manual_seed(8)
    tensors = (torch.randn(shape, generator=generator, dtype=torch.float64) for shape in shapes)
    return DynamicFilterArgs(*tensors, size, negative_slope=0.1)


def test_fused_dynamic_filter_equals_the_definition():
    """Kernel of channel c at tap t: row c * taps + t of the 1x1 convolution, leaky ReLU after it."""
    arguments = filter_arguments()
    x, features, weight, bias, size, _ = arguments
    kernels = torch.einsum("nihw,ki->nkhw", features, weight[..., 0, 0]) + bias[:, None, None]
    kernels = torch.where(kernels > 0, kernels, 0.1 * kernels).unflatten(1, (3, size**2))
    out = fused_dynamic_filter(arguments)
    torch.testing.assert_close(out, naive_dynamic_filter(x, kernels, size), rtol=0, atol=1e-12)


def test_fused_dynamic_filter_gradients():
    *tensors, size, slope = filter_arguments(batch=1, channels=2, sources=2, height=3, width=2)
    tensors = [tensor.requires_grad_() for tensor in tensors]
    assert torch.autograd.gradcheck(
        lambda *arguments: fused_dynamic_filter(DynamicFilterArgs(*arguments, size, slope)), tensors, fast_mode=True
    )


def attention_arguments(images=2, windows=2, tokens=4, heads=2, depth=3):
    generator = torch.Generator().manual_seed(9)
    shapes = [(images * windows, tokens, 3 * heads * depth)] * 2 + [
        (heads, tokens, tokens), (windows, tokens, tokens), (heads, heads, 1, 1), (heads,),
    ]  # fmt: skip
    tensors = (torch.randn(shape, generator=generator, dtype=torch.float64) for shape in shapes)
    return TwoStreamAttentionArgs(*tensors, heads)


def naive_attention(qkv, qkv_sar, bias, shift_mask, gate_weight, gate_bias, heads):
    """One window at a time: query i, key j, head h, depth d."""
    outs = []
    for n, streams in enumerate(zip(qkv, qkv_sar, strict=True)):
        (q, k, v), (q_sar, k_sar, v_sar) = (stream.unflatten(1, (3, heads, -1)).unbind(1) for stream in streams)
        a, b = (torch.einsum("ihd,jhd->hij", *pair) / q.shape[-1] ** 0.5 for pair in ((q, k), (q_sar, k_sar)))
        a, b = (logits + bias + shift_mask[n % len(shift_mask)] for logits in (a, b))
        gate = torch.einsum("gh,hij->gij", gate_weight[..., 0, 0], b - a) + gate_bias[:, None, None]
        a = a + (b - a) / (1 + torch.exp(-gate))
        weights = (torch.exp(logits) / torch.exp(logits).sum(-1, keepdim=True) for logits in (a, b))
        outs.append([torch.einsum("hij,jhd->ihd", w, u).flatten(1) for w, u in zip(weights, (v, v_sar), strict=True)])
    return tuple(torch.stack(stream) for stream in zip(*outs, strict=True))


def test_two_stream_attention_equals_the_definition():
    arguments = attention_arguments()
    for out, expected in zip(two_stream_attention(arguments), naive_attention(*arguments), strict=True):
        torch.testing.assert_close(out, expected, rtol=0, atol=1e-12)


def test_two_stream_attention_gradients():
    *tensors, heads = attention_arguments(images=1, tokens=2, depth=1)
    tensors = [tensor.requires_grad_() for tensor in tensors]
    assert torch.autograd.gradcheck(
        lambda *arguments: two_stream_attention(TwoStreamAttentionArgs(*arguments, heads)), tensors, fast_mode=True
    )


CHUNKS = {"_CACHED_BYTES": 64, "_CACHED_FILTER_BYTES": 300, "_CACHED_SAMPLES": 100, "_CACHED_LOGITS": 100}


@pytest.mark.parametrize("chunks", [{}, CHUNKS], ids=["whole", "in chunks"])
def test_a_cpu_without_gradients_gets_the_same(chunks, monkeypatch):
    for name, value in chunks.items():
        monkeypatch.setattr(cpu, name, value)
    for name, arguments in [
        ("two_stream_attention", attention_arguments(images=4, windows=4)),
        ("two_stream_attention", attention_arguments()._replace(shift_mask=None)),
        ("fused_dynamic_filter", filter_arguments()),
        ("deform_conv2d", deform_arguments(height=7)),
        ("deform_conv2d", deform_arguments(height=1, width=1, reach=0.4)),
    ]:
        with torch.inference_mode():
            quick = getattr(cpu, name)(arguments)
        torch.testing.assert_close(quick, getattr(reference, name)(arguments), rtol=1e-12, atol=1e-12)


def test_far_and_undefined_offsets_on_a_cpu():
    """Beyond the image there is nothing; where an offset is not a number neither is the result, and nothing else."""
    arguments = deform_arguments(dtype=torch.float32)
    offset, bias = arguments.offset, arguments.bias
    far = torch.full_like(offset, 1e30)
    far[:, ::2] = -1e30
    with torch.inference_mode():
        out = deform_conv2d(arguments._replace(offset=far))
        torch.testing.assert_close(out, bias[None, :, None, None].expand_as(out))
        offset[0, :, 2, 1] = float("nan")
        out = deform_conv2d(arguments)
    undefined = torch.zeros_like(out, dtype=torch.bool)
    undefined[0, :, 2, 1] = True
    assert torch.equal(out.isnan(), undefined)


def test_linear_and_in_chunks():
    x = torch.randn(2, 5, 3, 4, requires_grad=True)
    weight, bias = torch.randn(6, 4, requires_grad=True), torch.randn(6, requires_grad=True)
    torch.testing.assert_close(linear(x, weight, bias), torch.nn.functional.linear(x, weight, bias))
    ours, theirs = (
        torch.autograd.grad(function(x, weight, bias).square().sum(), (x, weight, bias))
        for function in (linear, torch.nn.functional.linear)
    )
    torch.testing.assert_close(ours, theirs)
    rows = []

    def double(chunk: Tensor) -> Tensor:
        rows.append(chunk.shape[1])
        return 2 * chunk

    with torch.inference_mode(), pytest.MonkeyPatch.context() as patch:
        patch.setattr(cpu, "_CACHED_BYTES", 200)
        assert torch.equal(in_chunks(double, x, 1), 2 * x)
    assert rows == [3, 2]


def test_implementation_follows_the_device_and_the_environment(monkeypatch):
    x = torch.zeros(1)
    monkeypatch.delenv("CLOUDFREE_KERNELS", raising=False)
    assert implementation(x) == "cpu"
    assert implementation(x.to("meta")) == "reference"
    monkeypatch.setenv("CLOUDFREE_KERNELS", "triton")
    assert implementation(x) == "triton"
    assert implementation(x.double()) == "reference"
    monkeypatch.setenv("CLOUDFREE_KERNELS", "cuda")
    with pytest.raises(ValueError, match="auto, reference and triton"):
        implementation(x)


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_cuda_goes_to_triton(monkeypatch):
    pytest.importorskip("triton")
    monkeypatch.delenv("CLOUDFREE_KERNELS", raising=False)
    assert implementation(torch.zeros(1, device="cuda")) == "triton"


@pytest.mark.slow
def test_networks_do_without_triton():
    code = "import sys; sys.modules['triton'] = None\nimport torch\nfrom cloudfree.network.models.blocks import *\n"
    code += "x = torch.zeros(1, 8, 8, 8)\nDynamicFilter(8, 5)(x, x)\n"
    code += "TwoStreamSwinBlock(8, 8, 2, 2, shifted=True)(x, x)"
    done = subprocess.run([sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
