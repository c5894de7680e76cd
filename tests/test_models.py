"""Any size goes in; windows, padding and normalisation behave as documented."""

import math

import pytest
import torch
import torch.nn.functional as F

from cloudfree.models import ARCHITECTURES, AlignCR, AlignCRConfig, Identity, Normalization
from cloudfree.models.base import pad_bottom_right
from cloudfree.models.blocks import TwoStreamSwinBlock, shift_mask

TINY = AlignCRConfig(
    width=16,
    blocks=2,
    shallow_blocks=1,
    shallow_expanded=24,
    shallow_bottleneck=12,
    deformable_groups=4,
    dense_layers=2,
    growth=8,
    heads=2,
    mlp_ratio=2,
    tail_width=8,
)


@pytest.fixture(scope="module")
def tiny() -> AlignCR:
    """Random weights, the zero-initialised offsets among them, large enough to matter."""
    torch.manual_seed(0)
    model = AlignCR(TINY).eval().requires_grad_(requires_grad=False)
    for parameter in model.parameters():
        parameter.add_(0.05 * torch.randn_like(parameter))
    return model


def scene(height: int, width: int, batch: int = 1, dtype: torch.dtype = torch.float32):
    generator = torch.Generator().manual_seed(height * 1000 + width)
    reflectance = torch.rand(batch, 4, height, width, generator=generator, dtype=dtype)
    return reflectance, -30 * torch.rand(batch, 2, height, width, generator=generator, dtype=dtype)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
@pytest.mark.parametrize(("height", "width"), [(1, 1), (15, 7), (1, 500), (33, 47), (64, 32)])
def test_any_size(tiny, architecture, height, width):
    model = tiny if architecture == "align_cr" else ARCHITECTURES[architecture]()
    with torch.inference_mode():
        out = model(*scene(height, width))
    assert out.shape == (1, 4, height, width)
    assert out.isfinite().all()


def test_padding_is_cropped_back(tiny):
    reflectance, sar_db = scene(33, 47)
    with torch.inference_mode():
        padded = tiny(pad_bottom_right(reflectance, 16, 32), pad_bottom_right(sar_db, 16, 32))
        torch.testing.assert_close(tiny(reflectance, sar_db), padded[..., :33, :47], rtol=0, atol=1e-6)


def test_padding_reflects_where_the_side_allows_and_replicates_where_not():
    image = torch.arange(20.0).view(1, 1, 1, 20)
    padded = pad_bottom_right(image, 16, 32)
    assert padded.shape == (1, 1, 32, 32)
    assert (padded == padded[:, :, :1]).all()
    assert padded[0, 0, 0, 20:].tolist() == list(range(18, 6, -1))
    assert pad_bottom_right(image.expand(1, 1, 32, 20)[..., :16], 16, 16).shape == (1, 1, 32, 16)


def test_images_of_a_batch_are_independent(tiny):
    reflectance, sar_db = scene(32, 48, batch=3)
    with torch.inference_mode():
        together = tiny(reflectance, sar_db)
        alone = torch.cat([tiny(reflectance[i : i + 1], sar_db[i : i + 1]) for i in range(3)])
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
    assert set(mask.unique().tolist()) == {-100.0, 0.0}
    assert shift_mask(32, 24, 8, 4, torch.device("cpu")).shape == (12, 64, 64)


def test_gradients_reach_every_parameter_but_the_last_sar_gate():
    torch.manual_seed(3)
    model = AlignCR(TINY)
    model(*scene(32, 32)).square().mean().backward()
    without = {name for name, parameter in model.named_parameters() if parameter.grad is None}
    assert without == {"opt_distribute_1x1conv.1.weight", "opt_distribute_1x1conv.1.bias"}


def test_training_after_inference_reuses_cached_masks(tiny):
    with torch.inference_mode():
        tiny(*scene(48, 32))
    model = AlignCR(TINY)
    model(*scene(48, 32)).mean().backward()


def test_bfloat16_autocast_stays_near_float32(tiny):
    reflectance, sar_db = scene(64, 64)
    with torch.inference_mode():
        exact = tiny(reflectance, sar_db)
        with torch.autocast("cpu", torch.bfloat16):
            fast = tiny(reflectance, sar_db)
    assert fast.dtype == torch.float32
    assert (fast - exact).abs().max() < 0.05 * (exact - reflectance).abs().max()


def test_values_outside_the_ranges_are_clipped(tiny):
    reflectance, sar_db = scene(32, 32)
    reflectance[0, 0, 0, 0], sar_db[0, :, 1, 1] = -0.2, 15.0
    clipped, clipped_db = reflectance.clamp(0, 1), sar_db.clamp(max=0)
    with torch.inference_mode():
        torch.testing.assert_close(tiny(reflectance, sar_db), tiny(clipped, clipped_db), rtol=0, atol=0)


def test_values_that_are_not_finite_do_not_spread(tiny):
    reflectance, sar_db = scene(32, 32)
    sar_db[0, 0, 3, 4], sar_db[0, 1, 5, 6], sar_db[0, 0, 7, 8] = math.nan, -math.inf, math.inf
    reflectance[0, 2, 9, 9] = math.nan
    with torch.inference_mode():
        assert tiny(reflectance, sar_db).isfinite().all()


def test_normalization_follows_the_published_ranges():
    sar_db = torch.tensor([-25.0, -12.5, 0.0, 3.0]), torch.tensor([-32.5, -16.25, 0.0, -40.0])
    scaled = Normalization().sar(torch.stack(sar_db).view(1, 2, 1, 4))
    assert scaled.flatten().tolist() == [0, 0.5, 1, 1, 0, 0.5, 1, 0]


def test_identity_returns_the_clipped_reflectance():
    reflectance, sar_db = scene(9, 5)
    out = Identity()(2 * reflectance, sar_db)
    assert torch.equal(out, (2 * reflectance).clamp(0, 1))


@pytest.mark.parametrize("sizes", [{"heads": 7}, {"deformable_groups": 5}])
def test_config_refuses_widths_that_do_not_divide(sizes):
    with pytest.raises(ValueError, match="not a multiple"):
        AlignCRConfig(**sizes)


def test_config_is_inferred_from_any_state_dict(tiny):
    assert AlignCR.infer_config(tiny.state_dict()) == TINY


def test_two_by_two_images_are_replicated_not_reflected():
    image = torch.rand(1, 4, 2, 2)
    assert torch.equal(pad_bottom_right(image, 16, 32), F.pad(image, [0, 30, 0, 30], mode="replicate"))
