"""The scene prior: what it learns, how it degrades, and that strips equal the whole."""

import numpy as np
import pytest
from support import pattern, sar_values_db

from cloudfree.scene import prior


def scene(height: int = 96, width: int = 120, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Reflectance that radar explains in part, and backscatter (2, H, W)."""
    sar_db = sar_values_db(height, width, seed)
    ground = (sar_db[0] + 10) / 3
    bands = [0.2 + 0.02 * (b + 1) * ground + 0.01 * pattern(height, width, seed + 9 + b, 12) for b in range(4)]
    return np.stack(bands).astype(np.float32), sar_db


def hole(height: int = 96, width: int = 120) -> np.ndarray:
    hidden = np.zeros((height, width), bool)
    hidden[30:60, 40:80] = True
    return hidden


def rms(a: np.ndarray, b: np.ndarray, mask: np.ndarray) -> float:
    return float(np.sqrt(np.square(a - b)[:, mask].mean()))


def test_it_reads_the_ground_from_radar_and_ignores_what_is_hidden():
    truth, sar_db = scene()
    hidden, valid = hole(), np.ones((96, 120), bool)
    fitted = prior.fit(np.where(hidden, 0.9, truth), sar_db, hidden, valid)
    again = prior.fit(np.where(hidden, 0.1, truth), sar_db, hidden, valid)
    np.testing.assert_array_equal(fitted.whole(), again.whole())
    median = np.median(truth[:, ~hidden], axis=1)[:, None, None]
    assert rms(fitted.whole(), truth, hidden) < 0.35 * rms(median, truth, hidden)
    assert fitted.clear_share == pytest.approx(1 - hidden.mean())


def test_haze_that_the_mask_missed_is_not_taken_for_ground():
    truth, sar_db = scene()
    hidden, valid = hole(), np.ones((96, 120), bool)
    rim = prior._halo(hidden, 10.0)[0] * ~hidden
    hazy = truth + 0.3 * rim
    clean = prior.fit(truth, sar_db, hidden, valid).whole()
    found = prior.fit(hazy, sar_db, hidden, valid).whole()
    edge = hidden & (prior._halo(~hidden, 10.0)[0] > 0.5)
    assert np.abs(found - clean)[:, edge].mean() < 0.25 * 0.3 * rim[rim > 0.5].mean()


def test_no_step_at_the_edge_of_the_mask():
    """Where the ground's colour drifts over the scene, the prior drifts with it."""
    truth, sar_db = scene()
    truth += np.linspace(0, 0.2, 120, dtype=np.float32)
    hidden = hole()
    made = prior.fit(np.where(hidden, 0.9, truth), sar_db, hidden, np.ones_like(hidden)).whole()
    columns = [slice(40, 46), slice(74, 80)]
    steps = [(made - truth)[:, 30:60, c].mean() for c in columns]
    assert np.abs(steps).max() < 0.015


def test_strips_equal_the_whole_and_scenes_of_finer_pixels_are_covered():
    truth, sar_db = scene()
    fitted = prior.fit(truth, sar_db, hole(), np.ones((96, 120), bool), 10.0, (320, 401))
    whole = fitted.whole()
    assert whole.shape == (4, 320, 401)
    strips = [fitted.rows(start, min(start + 37, 320)) for start in range(0, 320, 37)]
    np.testing.assert_array_equal(np.concatenate(strips, axis=1), whole)


def test_fine_images_are_averaged_first():
    truth, sar_db = scene(90, 120)
    fine = [np.repeat(np.repeat(image, 3, 1), 3, 2) for image in (truth, sar_db)]
    hidden = hole(90, 120)
    valid = np.ones_like(hidden)
    blown_up = [np.repeat(np.repeat(mask, 3, 0), 3, 1) for mask in (hidden, valid)]
    coarse = prior.fit(truth, sar_db, hidden, valid, 9.999, (270, 360)).whole()
    np.testing.assert_allclose(prior.fit_fine(*fine, *blown_up, 10 / 3).whole(), coarse, atol=2e-4)


@pytest.mark.parametrize("clear_px", [1, 20, 200])
def test_hardly_anything_clear(clear_px):
    truth, sar_db = scene()
    hidden = np.ones((96, 120), bool)
    hidden.ravel()[:clear_px] = False
    made = prior.fit(np.where(hidden, 0.9, truth), sar_db, hidden, np.ones_like(hidden))
    assert not made.is_global
    assert rms(made.whole(), truth, hidden) < 0.15


def test_nothing_clear_is_the_global_prior_and_says_so():
    truth, sar_db = scene()
    everywhere = np.ones((96, 120), bool)
    made = prior.fit(truth, sar_db, everywhere, everywhere)
    assert made.is_global
    assert 0 <= made.whole().min() <= made.whole().max() < 0.6
    no_radar = prior.fit(truth, np.full_like(sar_db, np.nan), ~everywhere, everywhere)
    assert no_radar.is_global
    assert np.isfinite(no_radar.whole()).all()


def test_gaps_in_radar_and_optics_leave_no_gap():
    truth, sar_db = scene()
    sar_db[:, 40:50] = np.nan
    valid = np.ones((96, 120), bool)
    valid[:20] = False
    made = prior.fit(np.where(valid, truth, 0), sar_db, hole(), valid).whole()
    assert np.isfinite(made).all()
    assert rms(made, truth, hole() & valid) < 0.03


@pytest.mark.parametrize("shape", [(1, 1), (1, 7), (5, 2)])
def test_any_size(shape):
    flat = np.full((4, *shape), 0.25, np.float32)
    sar_db = np.full((2, *shape), -12, np.float32)
    hidden = np.zeros(shape, bool)
    assert prior.fit(flat, sar_db, hidden, ~hidden).whole().shape == (4, *shape)


def test_a_large_scene_has_few_nodes(monkeypatch):
    """The field's cost is bounded; a coarser lattice gives nearly the same."""
    truth, sar_db = scene()
    fine = prior.fit(truth, sar_db, hole(), np.ones((96, 120), bool)).whole()
    monkeypatch.setattr(prior, "_MAX_NODES", 100)
    monkeypatch.setattr(prior, "_MAX_SAMPLES", 2000)
    coarse = prior.fit(truth, sar_db, hole(), np.ones((96, 120), bool)).whole()
    assert rms(fine, coarse, hole()) < 0.01
