"""The model of a scene: what it learns, whom it believes, how it degrades, and that strips equal the whole."""

import numpy as np
import pytest
from scipy.ndimage import distance_transform_edt
from support import pattern, sar_values_db

from cloudfree.arrays import as_image
from cloudfree.scene import candidates, lattice, model


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
    fitted = model.fit(np.where(hidden, 0.9, truth), sar_db, hidden, valid)
    again = model.fit(np.where(hidden, 0.1, truth), sar_db, hidden, valid)
    np.testing.assert_array_equal(fitted.whole(), again.whole())
    median = np.median(truth[:, ~hidden], axis=1)[:, None, None]
    assert rms(fitted.whole(), truth, hidden) < 0.35 * rms(median, truth, hidden)
    assert fitted.clear_share == pytest.approx(1 - hidden.mean())


def test_haze_that_the_mask_missed_is_not_taken_for_ground():
    truth, sar_db = scene()
    hidden, valid = hole(), np.ones((96, 120), bool)
    rim = np.exp(-distance_transform_edt(~hidden) / 3).astype(np.float32) * ~hidden
    clean = model.fit(truth, sar_db, hidden, valid).whole()
    found = model.fit(truth + 0.3 * rim, sar_db, hidden, valid).whole()
    edge = hidden & (distance_transform_edt(hidden) < 3)
    assert np.abs(found - clean)[:, edge].mean() < 0.1 * 0.3 * rim[rim > 0.5].mean()


def test_no_step_at_the_edge_of_the_mask():
    """Where the ground's colour drifts over the scene, the model drifts with it."""
    truth, sar_db = scene()
    truth += np.linspace(0, 0.2, 120, dtype=np.float32)
    hidden = hole()
    made = model.fit(np.where(hidden, 0.9, truth), sar_db, hidden, np.ones_like(hidden)).whole()
    columns = [slice(40, 46), slice(74, 80)]
    steps = [(made - truth)[:, 30:60, c].mean() for c in columns]
    assert np.abs(steps).max() < 0.015


def test_strips_equal_the_whole_and_scenes_of_finer_pixels_are_covered():
    truth, sar_db = scene()
    fitted = model.fit(truth, sar_db, hole(), np.ones((96, 120), bool), 10.0, (320, 401))
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
    coarse = model.fit(truth, sar_db, hidden, valid, 9.999, (270, 360)).whole()
    np.testing.assert_allclose(model.fit_fine(*fine, *blown_up, 10 / 3).whole(), coarse, atol=2e-4)


@pytest.mark.parametrize("clear_px", [1, 20, 200])
def test_hardly_anything_clear(clear_px):
    truth, sar_db = scene()
    hidden = np.ones((96, 120), bool)
    hidden.ravel()[:clear_px] = False
    made = model.fit(np.where(hidden, 0.9, truth), sar_db, hidden, np.ones_like(hidden))
    assert made.clear_share == pytest.approx(clear_px / hidden.size)
    assert rms(made.whole(), truth, hidden) < 0.15


def test_nothing_clear_is_the_land_in_general_and_says_so():
    truth, sar_db = scene()
    everywhere = np.ones((96, 120), bool)
    made = model.fit(truth, sar_db, everywhere, everywhere)
    assert made.weights == {"other places": 1.0}
    assert made.clear_share == 0
    assert 0 <= made.whole().min() <= made.whole().max() < 0.6


def test_without_any_radar_the_surroundings_have_to_do():
    truth, sar_db = scene()
    truth += np.linspace(0, 0.2, 120, dtype=np.float32)
    hidden, nothing = hole(), np.full_like(sar_db, np.nan)
    made = model.fit(np.where(hidden, 0.9, truth), nothing, hidden, np.ones_like(hidden)).whole()
    median = np.median(truth[:, ~hidden], axis=1)[:, None, None]
    assert rms(made, truth, hidden) < rms(median, truth, hidden)


def test_gaps_in_radar_and_optics_leave_no_gap():
    truth, sar_db = scene()
    sar_db[:, 40:50] = np.nan
    valid = np.ones((96, 120), bool)
    valid[:20] = False
    made = model.fit(np.where(valid, truth, 0), sar_db, hole(), valid).whole()
    assert np.isfinite(made).all()
    median = np.median(truth[:, ~hole() & valid], axis=1)[:, None, None]
    assert rms(made, truth, hole() & valid) < 0.6 * rms(median, truth, hole() & valid)


@pytest.mark.parametrize("shape", [(1, 1), (1, 7), (5, 2)])
def test_any_size(shape):
    flat = np.full((4, *shape), 0.25, np.float32)
    sar_db = np.full((2, *shape), -12, np.float32)
    hidden = np.zeros(shape, bool)
    assert model.fit(flat, sar_db, hidden, ~hidden).whole().shape == (4, *shape)


def test_a_large_scene_has_few_nodes(monkeypatch):
    """The field's cost is bounded; a coarser lattice gives nearly the same."""
    truth, sar_db = scene()
    fine = model.fit(truth, sar_db, hole(), np.ones((96, 120), bool)).whole()
    monkeypatch.setattr(lattice, "_MOST_NODES", 100)
    monkeypatch.setattr(candidates, "_MOST_SAMPLES", 2000)
    coarse = model.fit(truth, sar_db, hole(), np.ones((96, 120), bool)).whole()
    assert rms(fine, coarse, hole()) < 0.01


# --- images of other dates ---


def earlier(truth: np.ndarray, seed: int = 5) -> np.ndarray:
    """The same ground in another light, a tenth of it changed since."""
    changed = pattern(*truth.shape[1:], seed, 4) > 1.3
    return np.where(changed, 0.3, 0.03 + 0.9 * truth).astype(np.float32)


def textured(seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Ground with detail of which radar knows nothing."""
    truth, sar_db = scene(seed=seed)
    return truth + 0.04 * pattern(96, 120, seed + 50, 1.0).astype(np.float32), sar_db


def test_an_earlier_image_brings_back_what_radar_cannot_know():
    truth, sar_db = textured()
    hidden, valid = hole(), np.ones((96, 120), bool)
    cloudy, other = np.where(hidden, 0.9, truth).astype(np.float32), earlier(truth)
    alone, with_it = model.fit(cloudy, sar_db, hidden, valid), model.fit(cloudy, sar_db, hidden, valid, others=[other])
    same = hidden & (np.abs(other - 0.03 - 0.9 * truth).max(axis=0) < 1e-3)
    assert rms(with_it.whole(), truth, same) < 0.3 * rms(alone.whole(), truth, same)
    assert sum(w for name, w in with_it.weights.items() if name.startswith(("image", "all", "trees"))) > 0.6
    assert sum(with_it.weights.values()) == pytest.approx(1, abs=0.01)


def test_a_useless_image_weighs_nothing():
    truth, sar_db = scene()
    hidden, valid = hole(), np.ones((96, 120), bool)
    noise = np.random.default_rng(1).uniform(0, 0.4, truth.shape).astype(np.float32)
    alone = model.fit(truth, sar_db, hidden, valid).whole()
    with_it = model.fit(truth, sar_db, hidden, valid, others=[noise]).whole()
    assert rms(with_it, truth, hidden) < 1.1 * rms(alone, truth, hidden)


def test_images_fill_each_others_clouds():
    truth, sar_db = textured()
    hidden, valid = hole(), np.ones((96, 120), bool)
    first, second = earlier(truth, 5), earlier(truth, 6)
    first[:, 30:60, 40:62], second[:, 30:60, 58:80] = np.nan, np.nan
    made = model.fit(truth, sar_db, hidden, valid, others=[first, second]).whole()
    alone = model.fit(truth, sar_db, hidden, valid).whole()
    assert np.isfinite(made).all()
    for half in (np.s_[:, 40:60], np.s_[:, 60:80]):
        part = np.zeros_like(hidden)
        part[half] = hidden[half]
        assert rms(made, truth, part) < 0.6 * rms(alone, truth, part)


def test_an_image_at_full_resolution_brings_its_detail():
    """What it shows within a coarse pixel is kept, and strips equal the whole."""
    truth, sar_db = textured()
    hidden, valid = hole(), np.ones((96, 120), bool)
    fitted = model.fit(truth, sar_db, hidden, valid, 10.0, (288, 360), [earlier(truth)])
    fine = earlier(np.repeat(np.repeat(truth, 3, 1), 3, 2))
    fine[0, 150, 150] += 0.1
    fine[:, 160:170, 160:170] = np.nan
    whole = fitted.whole([fine])
    assert whole[0, 150, 150] - whole[0, 150, 151] > 0.03
    assert np.isfinite(whole).all()
    strips = [fitted.rows(y, min(y + 37, 288), [fine[:, y : y + 37]]) for y in range(0, 288, 37)]
    np.testing.assert_array_equal(np.concatenate(strips, axis=1), whole)
    window = fitted.window(range(30, 90), range(70, 140), [fine[:, 30:90, 70:140]])
    np.testing.assert_array_equal(window, whole[:, 30:90, 70:140])


def test_the_held_out_model_had_to_do_without_its_hole():
    truth, sar_db = scene()
    hidden, valid = hole(), np.ones((96, 120), bool)
    fitted = model.fit(truth, sar_db, hidden, valid)
    assert len(fitted.held_out) == 3, "a small scene is tried in all of its holes"
    for number, held in enumerate(fitted.held_out):
        cut = held.hole.mask
        assert 0.05 < cut.sum() / (~hidden).sum() < 0.5
        assert not (cut & hidden).any()
        elsewhere = np.where(cut, 0.9, truth).astype(np.float32)
        again = model.fit(elsewhere, sar_db, hidden, valid).held_out[number].model
        assert rms(again.whole(), truth, cut) < 0.05, "what is hidden there is not looked at"


@pytest.mark.parametrize("clear_share", [0.0, 0.5])
def test_images_may_lie_turned_in_memory(clear_share: float) -> None:
    """As training turns them; nothing clear at all is what a wholly clouded crop has."""
    rng = np.random.default_rng(0)
    reflectance = as_image(0.1 + 0.05 * rng.random((4, 40, 40)))
    sar_db, hidden = as_image(rng.normal(-12, 2, (2, 40, 40))), rng.random((40, 40)) >= clear_share
    turned = [image.swapaxes(-1, -2).copy().swapaxes(-1, -2) for image in (sar_db, hidden)]
    assert not turned[1].flags.c_contiguous
    valid = np.ones((40, 40), bool)
    straight = model.fit(reflectance, sar_db, hidden, valid, by_holes=False)
    lying = model.fit(reflectance, turned[0], turned[1], np.asfortranarray(valid), by_holes=False)
    np.testing.assert_array_equal(lying.ground, straight.ground)


def test_without_radar_the_other_dates_and_the_surroundings_are_all():
    """No candidate speaks of radar; dates fill each other's gaps, and a scene of a few clear pixels has a model too."""
    truth, sar_db = scene()
    hidden, valid, nothing = hole(), np.ones((96, 120), bool), np.full_like(sar_db, np.nan)
    dates = [np.clip(0.8 * truth + 0.02 * day, 0, 1).astype(np.float32) for day in (1, 2)]
    dates[0][:, 35:45, 45:60] = np.nan
    dates[1][:, 50:60, 60:75] = np.nan
    fitted = model.fit(np.where(hidden, 0.9, truth), nothing, hidden, valid, others=dates)
    assert not any("radar" in name for name in fitted.weights)
    alone = model.fit(np.where(hidden, 0.9, truth), nothing, hidden, valid)
    assert list(alone.weights) == ["mean", "surroundings", "surroundings, leaking cloud"]
    assert rms(fitted.whole(), truth, hidden) < 0.2 * rms(alone.whole(), truth, hidden)
    assert len(fitted.uncertainty.gaps) == 2, "of the dates"
    few = np.ones_like(hidden)
    few[:2, :3] = False
    made = model.fit(truth, nothing, few, valid).whole()
    assert np.abs(made - truth[:, :2, :3].mean(axis=(1, 2))[:, None, None]).max() < 0.1
