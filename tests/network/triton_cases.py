"""The Triton kernels against their references, values and gradients. `test_triton.py` runs this in its own process.

A reference computes in float64 from the same rounded inputs; a tolerance is relative to its largest value.
"""

import pytest
import torch
from torch import Tensor

from cloudfree.network import kernels
from cloudfree.network.kernels import DeformConv2dArgs, DynamicFilterArgs, TwoStreamAttentionArgs, reference, triton
from cloudfree.network.models import AlignCR, AlignCRConfig

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
TOLERANCE = {torch.float32: 3e-6, torch.float16: 2e-3, torch.bfloat16: 2e-2}
CONTIGUOUS, LAST = torch.contiguous_format, torch.channels_last


@pytest.fixture(autouse=True)
def _no_tf32(monkeypatch):
    """Torch's convolutions of float32 on a GPU would use it, the Triton kernels never do."""
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", False)


@pytest.fixture(autouse=True)
def _bfloat16_products(monkeypatch):
    """Triton 3.9's interpreter multiplies bfloat16 matrices as the integers that it keeps them in."""
    if DEVICE == "cuda":
        return
    import triton.language as tl
    from triton.runtime.interpreter import InterpreterBuilder

    create_dot = InterpreterBuilder.create_dot

    def mended(self, a, b, *others):
        a, b = (self.cast_impl(x, tl.float32) if x.dtype.scalar == tl.bfloat16 else x for x in (a, b))
        return create_dot(self, a, b, *others)

    monkeypatch.setattr(InterpreterBuilder, "create_dot", mended)


def assert_equal(actual, arguments, dtype, *, gradients=True, memory_format=CONTIGUOUS):
    """`actual` of arguments in `dtype` is the reference of the same name in float64, and so are its gradients."""
    expected = getattr(reference, actual.__name__)
    leaves = {i: x.to(DEVICE, dtype) for i, x in enumerate(arguments) if isinstance(x, Tensor)}
    leaves = {i: x.to(memory_format=memory_format) if x.dim() == 4 else x for i, x in leaves.items()}
    results = []
    for function, precision in ((actual, dtype), (expected, torch.float64)):
        inputs = {i: x.to(precision).detach().requires_grad_(gradients) for i, x in leaves.items()}
        out = function(arguments._make(inputs.get(i, argument) for i, argument in enumerate(arguments)))
        out = out if isinstance(out, tuple) else (out,)
        generator = torch.Generator().manual_seed(5)
        seeds = [torch.randn(x.shape, generator=generator).to(DEVICE, dtype).to(precision) for x in out]
        results.append(out + (torch.autograd.grad(out, list(inputs.values()), seeds) if gradients else ()))
    for index, (x, y) in enumerate(zip(*results, strict=True)):
        assert x.dtype == dtype
        tolerance = TOLERANCE[dtype] * y.abs().max().item()
        torch.testing.assert_close(x.double(), y, rtol=0, atol=tolerance, msg=lambda text, i=index: f"{i}: {text}")


def on_device(arguments):
    return arguments._make(x.to(DEVICE) if isinstance(x, Tensor) else x for x in arguments)


def deform_arguments(batch, channels, out, height, width, groups, side=3, bias=True):
    """Offsets stay away from whole pixels, where bilinear sampling has no derivative."""
    generator = torch.Generator().manual_seed(7)
    taps = groups * side**2
    offset = torch.randn(batch, 2 * taps, height, width, generator=generator).mul(2).floor()
    return DeformConv2dArgs(
        torch.randn(batch, channels, height, width, generator=generator),
        offset + 0.2 + 0.6 * torch.rand(offset.shape, generator=generator),
        torch.rand(batch, taps, height, width, generator=generator),
        torch.randn(out, channels, side, side, generator=generator),
        torch.randn(out, generator=generator) if bias else None,
        groups,
    )


def filter_arguments(batch, channels, sources, height, width, size):
    generator = torch.Generator().manual_seed(8)
    return DynamicFilterArgs(
        torch.randn(batch, channels, height, width, generator=generator),
        torch.randn(batch, sources, height, width, generator=generator),
        torch.randn(channels * size**2, sources, 1, 1, generator=generator) / sources**0.5,
        torch.randn(channels * size**2, generator=generator),
        size,
        0.1,
    )


def attention_arguments(images, windows, tokens, heads, depth, shifted):
    generator = torch.Generator().manual_seed(9)
    hidden = torch.rand(windows, tokens, tokens, generator=generator) < 0.3
    return TwoStreamAttentionArgs(
        2 * torch.randn(images * windows, tokens, 3 * heads * depth, generator=generator),
        2 * torch.randn(images * windows, tokens, 3 * heads * depth, generator=generator),
        torch.randn(tokens, tokens, heads, generator=generator).permute(2, 0, 1),
        -100.0 * hidden if shifted else None,
        torch.randn(heads, heads, 1, 1, generator=generator),
        torch.randn(heads, generator=generator),
        heads,
    )


@pytest.mark.parametrize(
    "sizes",
    [
        pytest.param({"batch": 2, "channels": 6, "out": 5, "height": 3, "width": 7, "groups": 2}, id="odd"),
        pytest.param({"batch": 1, "channels": 34, "out": 3, "height": 1, "width": 3, "groups": 1}, id="wide group"),
        pytest.param({"batch": 1, "channels": 2, "out": 130, "height": 3, "width": 2, "groups": 2}, id="many outputs"),
        pytest.param(
            {"batch": 1, "channels": 3, "out": 2, "height": 1, "width": 1, "groups": 1, "side": 5, "bias": False},
            id="one pixel",
        ),
    ],
)
def test_deform_conv2d(sizes):
    assert_equal(triton.deform_conv2d, deform_arguments(**sizes), torch.float32)


def test_deform_conv2d_in_channels_last():
    arguments = deform_arguments(2, 6, 5, 3, 7, 2)
    assert_equal(triton.deform_conv2d, arguments, torch.float32, memory_format=LAST)
    arguments = on_device(arguments)
    out = triton.deform_conv2d(arguments._replace(x=arguments.x.to(memory_format=LAST)))
    assert out.is_contiguous(memory_format=LAST)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_deform_conv2d_of_half_types(dtype):
    assert_equal(triton.deform_conv2d, deform_arguments(1, 4, 3, 3, 5, 2), dtype, memory_format=LAST)


def test_deform_conv2d_far_outside():
    arguments = deform_arguments(1, 2, 3, 4, 3, 2)
    arguments.offset[:, ::5], arguments.offset[:, 1::7] = -3e9, 3e9
    assert_equal(triton.deform_conv2d, arguments, torch.float32)


def test_deform_conv2d_of_views():
    """Offsets and masks are parts of one tensor, as the network predicts them; x and the gradient have odd strides."""
    arguments = on_device(deform_arguments(2, 4, 3, 3, 5, 2))
    offset, mask = torch.cat((arguments.offset, arguments.mask), 1).split([36, 18], 1)
    x = arguments.x
    x = torch.stack((x, x), -1).transpose(1, 2)[..., 0].transpose(1, 2).requires_grad_()
    arguments = arguments._replace(x=x, offset=offset, mask=mask)
    outs = [f(arguments) for f in (triton.deform_conv2d, reference.deform_conv2d)]
    torch.testing.assert_close(*outs, rtol=0, atol=1e-5)
    torch.testing.assert_close(*(torch.autograd.grad(out.sum(), x)[0] for out in outs), rtol=0, atol=1e-5)


@pytest.mark.parametrize(
    "sizes",
    [
        pytest.param((2, 5, 7, 5, 7, 3), id="odd"),
        pytest.param((1, 2, 3, 1, 2, 5), id="smaller than its neighbourhood"),
        pytest.param((1, 34, 130, 3, 2, 3), id="many channels"),
        pytest.param((2, 3, 1, 4, 5, 1), id="one tap"),
    ],
)
def test_fused_dynamic_filter(sizes):
    assert_equal(triton.fused_dynamic_filter, filter_arguments(*sizes), torch.float32)


def test_fused_dynamic_filter_in_channels_last():
    arguments = filter_arguments(2, 5, 7, 5, 7, 3)
    assert_equal(triton.fused_dynamic_filter, arguments, torch.float32, memory_format=LAST)
    arguments = on_device(arguments)
    out = triton.fused_dynamic_filter(arguments._replace(x=arguments.x.to(memory_format=LAST)))
    assert out.is_contiguous(memory_format=LAST)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_fused_dynamic_filter_of_half_types(dtype):
    assert_equal(triton.fused_dynamic_filter, filter_arguments(2, 5, 7, 5, 7, 3), dtype, memory_format=LAST)


ATTENTION = [
    pytest.param((2, 3, 9, 3, 5, True), id="odd, shifted"),
    pytest.param((1, 2, 64, 8, 12, True), id="Align-CR"),
    pytest.param((1, 1, 49, 1, 17, False), id="one head"),
]


@pytest.mark.parametrize("sizes", ATTENTION)
def test_two_stream_attention(sizes):
    assert_equal(triton.two_stream_attention, attention_arguments(*sizes), torch.float32)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("sizes", ATTENTION[:1])
def test_two_stream_attention_of_half_types(sizes, dtype):
    """Values only: the gradient is the reference's own, in the half type."""
    assert_equal(triton.two_stream_attention, attention_arguments(*sizes), dtype, gradients=False)


def test_gradients_only_of_what_asks_for_them():
    arguments = on_device(deform_arguments(1, 2, 3, 4, 3, 2))
    arguments.weight.requires_grad_()
    triton.deform_conv2d(arguments).sum().backward()
    assert arguments.weight.grad is not None
    assert arguments.weight.grad.isfinite().all()


CONFIG = AlignCRConfig(
    width=8,
    blocks=1,
    shallow_blocks=1,
    shallow_expanded=8,
    shallow_bottleneck=8,
    deformable_groups=2,
    dense_layers=1,
    growth=4,
    heads=2,
    mlp_ratio=1,
    tail_width=4,
)


def trained_step(monkeypatch, implementation, *, autocast):
    """Output and gradients of a small Align-CR, and the Triton functions that were called."""
    called = []

    def watch(name):
        function = getattr(triton, name)
        monkeypatch.setattr(triton, name, lambda arguments: (called.append(name), function(arguments))[1])

    for module in (triton.deform, triton.filter) if DEVICE == "cpu" else ():
        monkeypatch.setattr(module, "pixel_tile", lambda x: 256)  # the interpreter's time goes by programs
    for name in ("deform_conv2d", "fused_dynamic_filter", "two_stream_attention"):
        watch(name)
    monkeypatch.setenv("CLOUDFREE_KERNELS", implementation)
    torch.manual_seed(3)
    model = AlignCR(CONFIG).to(DEVICE).to(memory_format=LAST)
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.15)
    optical, sar_db = torch.rand(1, 4, 32, 32, device=DEVICE), -20 * torch.rand(1, 2, 32, 32, device=DEVICE)
    assert kernels.implementation(optical) == implementation
    with torch.autocast(DEVICE, torch.bfloat16, enabled=autocast):
        out = model(optical, sar_db)
    out.float().square().mean().backward()
    gradients = {name: parameter.grad for name, parameter in model.named_parameters() if parameter.grad is not None}
    return {"output": out.detach(), **gradients}, set(called)


@pytest.mark.parametrize(("autocast", "tolerance"), [(False, 1e-4), (True, 0.1)])
def test_a_training_step_is_the_same_through_the_network(monkeypatch, autocast, tolerance):
    with monkeypatch.context() as patch:
        expected, called = trained_step(patch, "reference", autocast=autocast)
    assert called == set()
    with monkeypatch.context() as patch:
        actual, called = trained_step(patch, "triton", autocast=autocast)
    assert called == {"deform_conv2d", "fused_dynamic_filter", "two_stream_attention"}
    assert actual.keys() == expected.keys()
    for name, tensor in expected.items():
        error = (actual[name] - tensor).float().norm() / tensor.float().norm()
        assert error < tolerance, name
