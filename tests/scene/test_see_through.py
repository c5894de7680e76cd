"""Ground behind thin cloud and in shadow: nearer to the truth than model and observation, and the model when opaque."""

import numpy as np
import pytest
from scipy import ndimage

from cloudfree.arrays import Image, as_image
from cloudfree.bands import CLOUD_COLOUR
from cloudfree.scene.see_through import see_through
from cloudfree.simulate.clouds import CloudLayer, add_clouds

SIDE, REACH_PX = 96, 15
LAND = np.array([0.05, 0.08, 0.07, 0.3])
# Bright ground is bright in all visible bands; the near infrared goes its own way.
ERROR_COVARIANCE = np.diag([0.01, 0.013, 0.016, 0.05]) @ (0.6 * np.eye(4) + 0.4) @ np.diag([0.01, 0.013, 0.016, 0.05])


@pytest.fixture
def ground() -> Image:
    """Land with texture that errors of that covariance have."""
    rng = np.random.default_rng(3)
    white = ndimage.gaussian_filter(rng.standard_normal((4, SIDE, SIDE)), (0, 1.5, 1.5))
    white /= white.std()
    texture = np.einsum("ab,bhw->ahw", np.linalg.cholesky(ERROR_COVARIANCE), white)
    return as_image(np.clip(LAND[:, None, None] + texture, 0.01, 1))


@pytest.fixture
def model() -> Image:
    return as_image(np.broadcast_to(LAND[:, None, None], (4, SIDE, SIDE)))


def under(ground: Image, opacity: float, shadow: float, airlight: float = 0.5) -> Image:
    everywhere, nowhere = np.ones((SIDE, SIDE), np.float32), np.zeros((SIDE, SIDE), bool)
    radiance = airlight * as_image(CLOUD_COLOUR)[:, None, None] * everywhere
    layer = CloudLayer(opacity * everywhere, radiance, shadow * everywhere, nowhere, nowhere, nowhere)
    return add_clouds(ground, layer)


def rmse(image: Image, truth: Image) -> float:
    return float(np.sqrt(np.square(image - truth).mean()))


@pytest.mark.parametrize(("opacity", "shadow"), [(0.1, 0.0), (0.25, 0.0), (0.0, 0.3), (0.0, 0.6)])
@pytest.mark.parametrize("airlight", [0.4, 0.6])
def test_haze_and_shadow_show_the_ground(ground, model, opacity, shadow, airlight):
    observed = under(ground, opacity, shadow, airlight)
    found = see_through(observed, model, ERROR_COVARIANCE)
    assert rmse(found.reflectance, ground) < 0.8 * min(rmse(model, ground), rmse(observed, ground))
    assert rmse(found.reflectance[:3], ground[:3]) < min(rmse(model[:3], ground[:3]), rmse(observed[:3], ground[:3]))


def test_clear_ground_under_a_mask_stays_nearly_as_it_is(ground, model):
    found = see_through(ground, model, ERROR_COVARIANCE)
    assert rmse(found.reflectance, ground) < 0.5 * rmse(model, ground)
    assert found.share.mean() > 0.9


@pytest.mark.parametrize("brightness", [0.45, 0.6, 0.9])
def test_behind_opaque_cloud_there_is_the_model(ground, model, brightness):
    """Its own relief of some hundredths is no ground."""
    relief = 0.03 * ndimage.gaussian_filter(np.random.default_rng(4).standard_normal((SIDE, SIDE)), 2) / 0.15
    cloud = as_image(under(ground, 1.0, 0.0, brightness) + relief)
    found = see_through(cloud, model, ERROR_COVARIANCE)
    assert found.share.max() < 0.05
    np.testing.assert_allclose(found.reflectance, model, atol=0.01)


def test_a_window_is_that_of_the_whole(ground, model):
    observed = under(ground, 0.2, 0.0)
    observed[:, 40:60, 40:60] = 0.7
    whole = see_through(observed, model, ERROR_COVARIANCE)
    part = see_through(observed[:, 20:, 10:], model[:, 20:, 10:], ERROR_COVARIANCE)
    inside = slice(REACH_PX, None)
    for all_of_it, some in zip(whole, part, strict=True):
        expected = all_of_it[..., 20:, 10:][..., inside, inside]
        np.testing.assert_allclose(some[..., inside, inside], expected, atol=1e-5)


@pytest.mark.parametrize("land", [0.0, 0.45, 0.95])
@pytest.mark.parametrize("seen", [0.0, 0.45, 1.6])
def test_black_water_and_snow_give_numbers(land, seen):
    observed, model = (np.full((4, 5, 7), value, np.float32) for value in (seen, land))
    found = see_through(observed, model, ERROR_COVARIANCE)
    assert np.isfinite(found.reflectance).all()
    assert ((found.share >= 0) & (found.share <= 1)).all()
