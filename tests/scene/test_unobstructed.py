"""Clear pixels under a mask are told from those that cloud or shadow hides, by the errors of a scene's model."""

import numpy as np
import pytest
from scipy import ndimage

from cloudfree.arrays import Image, Mask, as_image
from cloudfree.scene.unobstructed import obstruction, probability

SIDE = 120
LAND, ERROR = np.array([0.05, 0.08, 0.07, 0.3]), np.array([0.008, 0.01, 0.012, 0.02])


@pytest.fixture
def ground() -> Image:
    return as_image(np.broadcast_to(LAND[:, None, None], (4, SIDE, SIDE)))


@pytest.fixture
def clear_sky(ground: Image) -> Image:
    """The ground as it is: the model's errors are of fields, 10 pixels wide."""
    errors = ndimage.gaussian_filter(np.random.default_rng(1).standard_normal((4, SIDE, SIDE)), (0, 4, 4))
    return as_image(ground + ERROR[:, None, None] * errors / errors.std())


@pytest.fixture
def mask() -> Mask:
    """The right half, with some room to the ground that is surely clear."""
    hidden = np.zeros((SIDE, SIDE), bool)
    hidden[:, 70:] = True
    return hidden


FAR = np.s_[:, :60]


def test_a_mask_that_is_half_too_large(clear_sky: Image, ground: Image, mask: Mask) -> None:
    """Above a cloud and a shadow, below nothing."""
    observed, sure = clear_sky.copy(), np.zeros_like(mask)
    observed[:, :30, 70:] = 0.5
    observed[:, 30:60, 70:] *= as_image([0.6, 0.5, 0.45, 0.35])[:, None, None]
    sure[FAR] = True
    found = probability(observed, ground, mask, sure)
    assert found[:55, 76:].max() < 0.05
    assert np.median(found[66:, 76:]) > 0.9
    assert ((found >= 0) & (found <= 1)).all()


def test_where_all_is_hidden_nothing_is_believed(clear_sky: Image, ground: Image, mask: Mask) -> None:
    observed, sure = clear_sky.copy(), np.zeros_like(mask)
    observed[:, :, 70:] = 0.7 * observed[:, :, 70:] + 0.12
    sure[FAR] = True
    assert probability(observed, ground, mask, sure)[:, 76:].mean() < 0.05


def test_too_little_to_tell_is_not_believed(clear_sky: Image, ground: Image, mask: Mask) -> None:
    nowhere = np.zeros_like(mask)
    for hidden, sure in ((nowhere, ~mask), (mask, nowhere)):
        assert not probability(clear_sky, ground, hidden, sure).any()
    assert not np.any(obstruction(clear_sky, ground, ~mask, nowhere))


def test_haze_and_shadow_stand_out_of_the_errors_of_the_model(clear_sky: Image, ground: Image, mask: Mask) -> None:
    observed, cloud, shade = clear_sky.copy(), np.s_[20:50, 80:110], np.s_[70:100, 80:110]
    observed[:, *cloud] = 0.8 * observed[:, *cloud] + 0.2 * 0.5
    observed[:, *shade] *= as_image([0.6, 0.5, 0.45, 0.35])[:, None, None]
    haze, shadow = obstruction(observed, ground, np.ones_like(mask), ~mask)
    for found, other, where in ((haze, shadow, cloud), (shadow, haze, shade)):
        inside = found[where][4:-4, 4:-4]
        assert inside.min() > np.quantile(found[~mask], 0.98)
        assert (inside > other[where][4:-4, 4:-4]).all()


def test_a_cloud_does_not_whiten_the_clear_ground_next_to_it(clear_sky: Image, ground: Image, mask: Mask) -> None:
    white = np.where(mask, np.float32(0.6), clear_sky)
    near, far = np.s_[:, 65:70], np.zeros_like(mask)
    far[FAR] = True
    haze, shadow = obstruction(white, ground, ~mask, far)
    for found in (haze, shadow):
        assert np.quantile(found[near], 0.9) < np.quantile(found[far], 0.995)
