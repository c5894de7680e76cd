"""How far off a reconstruction probably is: found again where it is known, larger where a source shows nothing."""

import numpy as np
import pytest

from cloudfree.scene import model
from cloudfree.scene.uncertainty import Gap, Uncertainty
from cloudfree.simulate.landscape import landscape

SHAPE = (60, 80)


def errors(count: int = 20_000, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Predictions (4, n) and normal errors whose variance is 1e-4 + 0.01 of the squared reflectance."""
    rng = np.random.default_rng(seed)
    predicted = rng.uniform(0.02, 0.6, (4, count))
    return predicted, rng.normal(size=(4, count)) * np.sqrt(1e-4 + 0.01 * predicted**2)


def test_the_variance_that_made_the_errors_is_found_again() -> None:
    found = Uncertainty.of_errors(*errors(), (), SHAPE)
    np.testing.assert_allclose(found.constant, 1e-4, rtol=0.15)
    np.testing.assert_allclose(found.relative, 0.01, rtol=0.1)
    assert found.coverage == pytest.approx((0.683, 0.954), abs=0.01)
    assert found.errors == 20_000


def test_a_few_wild_errors_do_not_spoil_it() -> None:
    predicted, error = errors()
    error[:, ::100] = 0.7  # a hundredth is unmasked cloud
    found = Uncertainty.of_errors(predicted, error, (), SHAPE)
    np.testing.assert_allclose(np.sqrt(found.relative), 0.1, rtol=0.2)


def test_one_part_is_enough_where_the_other_tells_nothing() -> None:
    predicted, error = errors()
    same = Uncertainty.of_errors(predicted, 0.05 * np.sign(error) * np.abs(error) ** 0, (), SHAPE)
    bright, dark = (same.deviation(np.full((4, *SHAPE), r, np.float32), range(60), range(80)) for r in (0.5, 0.05))
    np.testing.assert_allclose(bright, dark, rtol=0.1)


def test_gaps_of_a_source_add_what_it_would_have_told() -> None:
    missing = np.zeros((20, 40), bool)
    missing[:, :20] = True
    gap = Gap(missing, np.full(4, 0.0016, np.float32))
    found = Uncertainty(SHAPE, np.full(4, 0.0009, np.float32), np.zeros(4, np.float32), (gap,))
    ground = np.full((4, *SHAPE), 0.2, np.float32)
    whole = found.deviation(ground, range(60), range(80))
    np.testing.assert_allclose(whole[:, :, :39], 0.05, rtol=1e-5)
    np.testing.assert_allclose(whole[:, :, 42:], 0.03, rtol=1e-5)
    np.testing.assert_array_equal(
        found.deviation(ground[:, 7:20, 30:60], range(7, 20), range(30, 60)), whole[:, 7:20, 30:60]
    )


def test_texture_of_the_product_itself_is_added() -> None:
    """The coarse grid says 0.03; at full resolution errors have 0.05."""
    coarse = Uncertainty.constantly(np.full(4, 0.03, np.float32), SHAPE)
    error = np.random.default_rng(1).normal(0, 0.05, (4, 30_000)).astype(np.float32)
    found = coarse.calibrated(error, np.full_like(error, 0.03))
    np.testing.assert_allclose(np.sqrt(found.constant), 0.05, rtol=0.02)


@pytest.fixture(scope="module")
def fitted() -> tuple[model.SceneModel, np.ndarray, np.ndarray]:
    """A landscape in part under cloud, and without radar in part of that."""
    land = landscape(np.random.default_rng(4), 160, 160, pixel_size_m=10.0)
    hidden = np.zeros((160, 160), bool)
    hidden[40:100, 50:110] = True
    sar_db = land.sar_db.copy()
    sar_db[:, 40:70, 50:110] = np.nan
    truth = np.clip(land.reflectance, 0, 1)
    return model.fit(np.where(hidden, 0.8, truth), sar_db, hidden, np.ones_like(hidden)), truth, hidden


def test_a_scene_tells_its_own(fitted: tuple[model.SceneModel, np.ndarray, np.ndarray]) -> None:
    found, truth, hidden = fitted
    made = found.whole()
    deviation = found.uncertainty.deviation(made, range(160), range(160))
    off = np.abs(made - truth) / deviation
    assert 0.5 < (off[:, hidden] < 1).mean() < 0.9
    assert (off[:, hidden] < 2).mean() > 0.85
    with_radar, without = deviation[:, 75:95, 60:100].mean(), deviation[:, 45:65, 60:100].mean()
    assert without > 1.05 * with_radar


def test_where_nothing_is_clear_other_places_have_to_do() -> None:
    everything = np.ones((40, 40), bool)
    found = model.fit(
        np.full((4, 40, 40), 0.8, np.float32), np.full((2, 40, 40), -12, np.float32), everything, everything
    )
    assert found.uncertainty.errors == 0
    assert found.uncertainty.describe() == {"errors": 0, "within_one": None, "within_two": None}
    assert (found.uncertainty.deviation(found.whole(), range(40), range(40)) > 0.03).all()
