"""Any size goes in; windows, padding and normalisation behave as documented."""

import math
from collections.abc import Sequence
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from support import TINY, network_inputs

from cloudfree.network.models import (
    ARCHITECTURES,
    GLFCR,
    AlignCR,
    AlignCRConfig,
    CloudRemovalModel,
    DSen2CRConfig,
    GLFCRConfig,
    Identity,
    IdentityConfig,
    Normalization,
    Seen,
    UNetConfig,
)
from cloudfree.network.models.base import pad_bottom_right
from cloudfree.network.models.blocks import StochasticDepth, TwoStreamSwinBlock, shift_mask
from cloudfree.network.models.seen import ALL_PLANES

TINY_CONFIGS = {
    "align_cr": TINY,
    "glf_cr": GLFCRConfig(width=16, blocks=2, dense_layers=3, growth=8, heads=2, tail_width=8),
    "dsen2_cr": DSen2CRConfig(width=12, blocks=3),
    "u_net": UNetConfig(width=8),
    "identity": IdentityConfig(),
    "align_cr that sees": replace(TINY, planes=ALL_PLANES),
}


def randomized(architecture: str) -> CloudRemovalModel:
    """Random weights, the zero-initialised ones among them, large enough to matter."""
    torch.manual_seed(0)
    model = (
        ARCHITECTURES[architecture.split(maxsplit=1)[0]](TINY_CONFIGS[architecture])
        .eval()
        .requires_grad_(requires_grad=False)
    )
    for parameter in model.parameters():
        parameter.add_(0.05 * torch.randn_like(parameter))
    return model


def inputs_of(network: CloudRemovalModel, height: int, width: int, batch: int = 1) -> Sequence[torch.Tensor]:
    """Noise of what it takes, a part of the radar missing where it can be."""
    reflectance, sar_db = network_inputs(height, width, batch)
    if not network.planes:
        return reflectance, sar_db
    ground, through, known = reflectance.flip(2), reflectance.flip(3), reflectance[:, :1]
    sar_db[:, :, : height // 3] = math.nan
    return Seen(reflectance, ground, through, 0.01 + 0.1 * ground, known, (known > 0.3).float(), sar_db)


@pytest.fixture(scope="module")
def tiny() -> CloudRemovalModel:
    return randomized("align_cr")


@pytest.fixture(scope="module", params=TINY_CONFIGS)
def network(request) -> CloudRemovalModel:
    """Each architecture in turn."""
    return randomized(request.param)


@pytest.mark.parametrize(("height", "width"), [(1, 1), (15, 7), (1, 500), (33, 47), (64, 32)])
def test_any_size(network, height, width):
    with torch.inference_mode():
        out = network(*inputs_of(network, height, width))
    assert out.shape == (1, 4, height, width)
    assert out.isfinite().all()


def test_padding_is_cropped_back(network):
    images, sides = inputs_of(network, 33, 47), (network.side_multiple, network.minimum_side)
    with torch.inference_mode():
        padded = network(*(pad_bottom_right(image, *sides) for image in images))
        torch.testing.assert_close(network(*images), padded[..., :33, :47], rtol=0, atol=1e-5)


def test_padding_reflects_where_the_side_allows_and_replicates_where_not():
    image = torch.arange(20.0).view(1, 1, 1, 20)
    padded = pad_bottom_right(image, 16, 32)
    assert padded.shape == (1, 1, 32, 32)
    assert (padded == padded[:, :, :1]).all()
    assert padded[0, 0, 0, 20:].tolist() == list(range(18, 6, -1))
    assert pad_bottom_right(image.expand(1, 1, 32, 20)[..., :16], 16, 16).shape == (1, 1, 32, 16)


def test_images_of_a_batch_are_independent(network):
    images = inputs_of(network, 32, 48, batch=3)
    with torch.inference_mode():
        together = network(*images)
        alone = torch.cat([network(*(image[i : i + 1] for image in images)) for i in range(3)])
    torch.testing.assert_close(together, alone, rtol=0, atol=1e-5)


@pytest.mark.parametrize("shifted", [False, True])
def test_window_attention_repeats_on_its_lattice(shifted):
    """A crop on the 8-pixel lattice (16 of the image) sees the windows of the whole, but for those its edge cuts."""
    torch.manual_seed(1)
    block = TwoStreamSwinBlock(8, 8, 2, 2, shifted=shifted).double()
    optical, sar = torch.randn(2, 1, 8, 40, 48, dtype=torch.float64)
    whole = block(optical, sar)
    crop = block(optical[..., 8:32, 16:40], sar[..., 8:32, 16:40])
    margin = 8 if shifted else 0
    inner = slice(margin, 24 - margin)
    for stream, cropped in zip(whole, crop, strict=True):
        torch.testing.assert_close(
            stream[..., 8:32, 16:40][..., inner, inner], cropped[..., inner, inner], rtol=0, atol=1e-12
        )


def test_shifted_windows_do_not_join_opposite_edges():
    torch.manual_seed(2)
    block = TwoStreamSwinBlock(8, 8, 2, 2, shifted=True).double()
    optical, sar = torch.randn(2, 1, 8, 24, 24, dtype=torch.float64)
    changed = optical.clone()
    changed[..., -4:, :] += 1
    difference = (block(optical, sar)[0] - block(changed, sar)[0]).abs().amax(dim=(0, 1, 3))
    assert difference[:12].max() < 1e-12
    assert difference[-4:].min() > 1e-3


def test_shift_mask_is_remade_for_each_size():
    mask = shift_mask(16, 24, 8, 4, torch.device("cpu"))
    assert mask.shape == (6, 64, 64)
    assert (mask[0] == 0).all()
    assert set(mask.unique().tolist()) == {-200.0, 0.0}
    assert shift_mask(32, 24, 8, 4, torch.device("cpu")).shape == (12, 64, 64)


@pytest.mark.parametrize("architecture", TINY_CONFIGS)
@pytest.mark.parametrize("autocast", [False, True])
def test_gradients_reach_every_parameter_but_the_last_sar_gate(architecture, autocast):
    model = randomized(architecture).train().requires_grad_()
    with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
        model(*inputs_of(model, 32, 32, batch=2)).square().mean().backward()
    gradients = {name: parameter.grad for name, parameter in model.named_parameters()}
    without = {name for name, gradient in gradients.items() if gradient is None}
    assert without == {name for name in gradients if name.startswith("opt_distribute_1x1conv.1.")}
    assert all(gradient.isfinite().all() for gradient in gradients.values() if gradient is not None)


def test_training_after_inference(tiny):
    with torch.inference_mode():
        tiny(*network_inputs(48, 32))
    model = AlignCR(TINY)
    model(*network_inputs(48, 32)).mean().backward()


@pytest.mark.slow
def test_a_compiled_network_gives_the_same(tiny):
    inputs = network_inputs(48, 48)
    torch.compiler.reset()
    with torch.inference_mode():
        compiled = torch.compile(tiny, backend="eager", fullgraph=True)
        torch.testing.assert_close(compiled(*inputs), tiny(*inputs), rtol=0, atol=1e-5)


def test_stochastic_depth_keeps_the_mean_and_rests_outside_training():
    torch.manual_seed(4)
    drop, branch = StochasticDepth(0.25), torch.ones(4000, 2, 2, 3)
    dropped = drop(branch)
    assert torch.equal(dropped, dropped[:, :1, :1, :1].expand_as(dropped))  # a sample is dropped as a whole
    torch.testing.assert_close(dropped.unique(), torch.tensor([0.0, 1 / 0.75]))
    assert dropped.mean().item() == pytest.approx(1, abs=0.03)
    assert drop.eval()(branch) is branch
    assert StochasticDepth(0.0)(branch) is branch


def test_stochastic_depth_of_glf_cr_rises_linearly_over_its_thirty_layers():
    with torch.device("meta"):
        rates = [layer.drop.rate for block in GLFCR().RDBs for layer in block.convs]
    assert rates == pytest.approx(torch.linspace(0, 0.2, 30).tolist())


def test_stochastic_depth_acts_in_training_only():
    model, (reflectance, sar_db) = randomized("glf_cr"), network_inputs(32, 32)
    images = reflectance.expand(32, -1, -1, -1), sar_db.expand(32, -1, -1, -1)

    def spread() -> float:
        return model(*images).std(dim=0).max().item()  # between outputs of one and the same image

    with torch.inference_mode():
        assert spread() < 1e-6
        model.train()
        assert spread() > 1e-4


def test_bfloat16_autocast_stays_near_float32(network):
    images = inputs_of(network, 64, 64)
    with torch.inference_mode():
        exact = network(*images)
        with torch.autocast("cpu", torch.bfloat16):
            fast = network(*images)
    assert fast.dtype == torch.float32
    assert (fast - exact).abs().max() < 0.05 * (exact - images[0]).abs().max()


def test_values_outside_the_ranges_are_clipped(tiny):
    reflectance, sar_db = network_inputs(32, 32)
    reflectance[0, 0, 0, 0], sar_db[0, :, 1, 1] = -0.2, 15.0
    clipped, clipped_db = reflectance.clamp(0, 1), sar_db.clamp(max=0)
    with torch.inference_mode():
        torch.testing.assert_close(tiny(reflectance, sar_db), tiny(clipped, clipped_db), rtol=0, atol=0)


def test_values_that_are_not_finite_do_not_spread(tiny):
    reflectance, sar_db = network_inputs(32, 32)
    sar_db[0, 0, 3, 4], sar_db[0, 1, 5, 6], sar_db[0, 0, 7, 8] = math.nan, -math.inf, math.inf
    reflectance[0, 2, 9, 9] = math.nan
    with torch.inference_mode():
        assert tiny(reflectance, sar_db).isfinite().all()


def test_normalization_follows_the_published_ranges():
    sar_db = torch.tensor([-25.0, -12.5, 0.0, 3.0]), torch.tensor([-32.5, -16.25, 0.0, -40.0])
    scaled = Normalization().sar(torch.stack(sar_db).view(1, 2, 1, 4))
    assert scaled.flatten().tolist() == [0, 0.5, 1, 1, 0, 0.5, 1, 0]


def test_identity_returns_the_clipped_reflectance():
    reflectance, sar_db = network_inputs(9, 5)
    out = Identity()(2 * reflectance, sar_db)
    assert torch.equal(out, (2 * reflectance).clamp(0, 1))


@pytest.mark.parametrize("sizes", [{"heads": 7}, {"deformable_groups": 5}])
def test_config_refuses_widths_that_do_not_divide(sizes):
    with pytest.raises(ValueError, match="not a multiple"):
        AlignCRConfig(**sizes)


def test_config_refuses_a_growth_that_does_not_divide():
    with pytest.raises(ValueError, match="growth 48 is not a multiple of heads 7"):
        GLFCRConfig(heads=7)


def test_config_is_inferred_from_any_state_dict(network):
    inferred = network.infer_config(network.state_dict())
    assert inferred == (replace(network.config, planes=()) if isinstance(network, AlignCR) else network.config)


def test_a_state_dict_has_the_signature_of_its_architecture_only(network):
    state = network.state_dict()
    assert [name for name, other in ARCHITECTURES.items() if other.signature_key in state] == [network.architecture]


@pytest.mark.parametrize("architecture", ["u_net", "align_cr that sees"])
def test_a_network_that_sees_starts_near_what_shows_through_and_is_bounded(architecture):
    model = randomized(architecture)
    seen = inputs_of(model, 40, 40)
    assert isinstance(seen, Seen)
    with torch.inference_mode():
        off = (model(*seen) - seen.ground) / seen.deviation
        assert (off - (seen.through - seen.ground) / seen.deviation).abs().mean() > 0.1, "it does something"
        model.start_as_identity()
        torch.testing.assert_close(model(*seen), torch.lerp(seen.ground, seen.through, 0.881), rtol=0, atol=1e-3)
        [layer for layer in model.modules() if isinstance(layer, torch.nn.Conv2d)][-1].bias.fill_(1e3)
        far = seen.through + 3 * seen.deviation
        torch.testing.assert_close(model(*seen), far, rtol=0, atol=1e-3, msg="three deviations at most")


def test_two_by_two_images_are_replicated_not_reflected():
    image = torch.rand(1, 4, 2, 2)
    assert torch.equal(pad_bottom_right(image, 16, 32), F.pad(image, [0, 30, 0, 30], mode="replicate"))
