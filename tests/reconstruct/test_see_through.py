"""Ground behind thin cloud and in shadow: nearer to the truth than the model, and the model where cloud is opaque."""

import numpy as np
import pytest
import torch
from scipy import ndimage
from torch import Tensor

from cloudfree.arrays import Image, as_image
from cloudfree.bands import CLOUD_COLOUR
from cloudfree.reconstruct.see_through import BLOCK_PX, SeenThrough, see_through

SIDE, REACH_PX = 96, 32
LAND = np.array([0.05, 0.08, 0.07, 0.3])
ERROR = np.array([0.01, 0.013, 0.016, 0.05])
# The light that real clouds left in their shadows, blue to near infrared (issue 26).
SHADOWS = [(0.44, 0.30, 0.23, 0.21), (0.74, 0.63, 0.54, 0.41)]


@pytest.fixture
def ground() -> Image:
    """Land with texture of that size."""
    white = ndimage.gaussian_filter(np.random.default_rng(3).standard_normal((4, SIDE, SIDE)), (0, 1.5, 1.5))
    return as_image(np.clip(LAND[:, None, None] + ERROR[:, None, None] * white / white.std(), 0.005, 1))


@pytest.fixture
def model() -> Image:
    return as_image(np.broadcast_to(LAND[:, None, None], (4, SIDE, SIDE)))


def seen(observed: Image, model: Image, hidden: Image | None = None, unobstructed: float = 0.0) -> tuple[Image, Image]:
    shape = model.shape[1:]
    hidden = np.ones(shape, np.float32) if hidden is None else hidden
    nothing = np.full(shape, unobstructed, np.float32)
    images: list[Tensor] = [torch.from_numpy(as_image(a)) for a in (observed, model, hidden, nothing, ERROR**2)]
    found: SeenThrough = see_through(*images)
    return found.reflectance.numpy(), found.share.numpy()


def under(ground: Image, opacity: float, airlight: float) -> Image:
    return as_image((1 - opacity) * ground + opacity * airlight * as_image(CLOUD_COLOUR)[:, None, None])


def rmse(image: Image, truth: Image) -> float:
    return float(np.sqrt(np.square(image - truth).mean()))


@pytest.mark.parametrize("light", SHADOWS)
def test_the_ground_shows_in_a_shadow_of_any_colour(ground: Image, model: Image, light: tuple[float, ...]) -> None:
    found, share = seen(ground * as_image(light)[:, None, None], model)
    for band in range(4):
        assert rmse(found[band], ground[band]) < 0.75 * rmse(model[band], ground[band])
    assert share.mean() > 0.3


@pytest.mark.parametrize(("opacity", "airlight"), [(0.1, 0.4), (0.25, 0.4), (0.25, 0.6)])
def test_haze_shows_the_ground(ground: Image, model: Image, opacity: float, airlight: float) -> None:
    found, _ = seen(under(ground, opacity, airlight), model)
    assert rmse(found, ground) < 0.8 * rmse(model, ground)


def test_where_nothing_is_in_the_way_the_observation_is_the_ground(ground: Image, model: Image) -> None:
    found, share = seen(ground, model, unobstructed=1.0)
    np.testing.assert_array_equal(found, ground)
    np.testing.assert_allclose(share, 0.9)


@pytest.mark.parametrize("brightness", [0.45, 0.6, 0.9])
@pytest.mark.parametrize("relief", [0.0, 0.03])
def test_behind_opaque_cloud_there_is_the_model(ground: Image, model: Image, brightness: float, relief: float) -> None:
    """Its own relief is no ground; and a smooth cloud does not smooth the model."""
    white = ndimage.gaussian_filter(np.random.default_rng(4).standard_normal((SIDE, SIDE)), 2) / 0.15
    found, share = seen(under(ground, 1.0, brightness) + relief * white, ground)
    np.testing.assert_allclose(found, ground, atol=0.01)
    assert share.max() < 0.15


def test_restless_shadow_leaves_the_model(ground: Image, model: Image) -> None:
    """What varies more than the model errs is not the ground."""
    white = np.random.default_rng(5).standard_normal((4, SIDE, SIDE))
    found, share = seen(as_image(np.clip(0.4 * ground + 0.08 * white, 0, 1)), model)
    assert rmse(found, ground) < 1.1 * rmse(model, ground)
    assert share.mean() < 0.1


def test_the_model_stands_where_nothing_is_hidden(ground: Image, model: Image) -> None:
    hidden = np.zeros((SIDE, SIDE), np.float32)
    hidden[:, :40] = 1
    found, share = seen(0.5 * ground, model, hidden)
    np.testing.assert_array_equal(found[:, :, 40:], model[:, :, 40:])
    assert not share[:, 40:].any()
    assert share[:, :40].mean() > 0.3


def test_a_window_is_that_of_the_whole(ground: Image, model: Image) -> None:
    observed = under(ground, 0.2, 0.5)
    observed[:, 40:60, 40:60] = 0.7
    whole = seen(observed, model)
    top, left = 2 * BLOCK_PX, BLOCK_PX
    part = seen(observed[:, top:, left:], model[:, top:, left:])
    for every, some in zip(whole, part, strict=True):
        inside = np.s_[..., REACH_PX:, REACH_PX:]
        np.testing.assert_allclose(some[inside], every[..., top:, left:][inside], atol=1e-5)


@pytest.mark.parametrize("land", [0.0, 0.45, 0.95])
@pytest.mark.parametrize("brightness", [0.0, 0.45, 1.6])
@pytest.mark.parametrize("shape", [(1, 1), (5, 7), (17, 3)])
def test_black_water_snow_and_odd_sizes_give_numbers(land: float, brightness: float, shape: tuple[int, int]) -> None:
    observed, model = (np.full((4, *shape), value, np.float32) for value in (brightness, land))
    found, share = seen(observed, model)
    assert found.shape == model.shape
    assert np.isfinite(found).all()
    assert ((share >= 0) & (share <= 1)).all()
