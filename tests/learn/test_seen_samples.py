"""What networks that see are shown of ground under clouds: what a run shows, beside near dates, far ones or none."""

from dataclasses import fields, replace
from functools import partial

import numpy as np
import pytest
from support import pattern, sar_values_db

from cloudfree.learn import obscured_places, seen_samples
from cloudfree.learn.lifted_layers import clouds_drawer
from cloudfree.learn.obscured_places import ObscuredPlaces, near_date
from cloudfree.learn.places import Place
from cloudfree.learn.seen_samples import SeenSample, hidden_corner, in_other_light, kept_part, turned
from cloudfree.reconstruct.lifted import LiftedClouds
from cloudfree.scene.model import fit_fine

SIDE = 80


def block(rng: np.random.Generator, side: int, pixel_size_m: float) -> LiftedClouds:
    """A veil through which half of the light comes, somewhere over a third of a square."""
    shape = np.zeros((4, side, side), np.float32)
    y, x = rng.integers(side // 2, size=2)
    shape[:, y : y + side // 2, x : x + side // 2] = 1
    return LiftedClouds(0.2 * shape, 1 - 0.5 * shape)


def place_of(site: str, seed: int, light: float = 1.0, **changes: object) -> Place:
    """Ground with detail of which radar knows nothing."""
    detail = 0.05 * pattern(SIDE, SIDE, seed, 1.0)
    truth = np.stack([light * (0.3 + 0.05 * band + detail) for band in range(4)]).astype(np.float32)
    return replace(Place(site, truth, (sar_values_db(SIDE, SIDE),), np.ones((SIDE, SIDE), bool), 10.0), **changes)


def makes(*series: list[Place], seeds: int = 6, clouds=block) -> list[SeenSample]:
    source = ObscuredPlaces([list(series)], clouds)
    return [sample for seed in range(seeds) for sample in source.make(np.random.default_rng(seed))]


def only(monkeypatch: pytest.MonkeyPatch, **kinds: str) -> None:
    """Of the ways in which a place may be found, one alone."""
    for name, kind in kinds.items():
        monkeypatch.setattr(seen_samples if name == "MASKS" else obscured_places, f"_{name}", {kind: 1.0})


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Models without trees and holes."""
    monkeypatch.setattr(seen_samples, "fit_fine", partial(fit_fine, by_holes=False))


def error(samples: list[SeenSample], shown: str) -> float:
    off = [(getattr(sample, shown) - sample.truth)[:, sample.counted].ravel() for sample in samples]
    return float(np.sqrt(np.square(np.concatenate(off)).mean()))


def test_a_sample_holds_all_that_a_network_is_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    only(monkeypatch, DATES="none", RADAR="right", MASKS="good")
    monkeypatch.setattr(seen_samples, "_EVERYTHING", 0.0)
    samples = makes([place_of("a", 1)])
    assert len(samples) >= 9
    for sample in samples:
        for name in ("observed", "ground", "through", "deviation", "truth"):
            image = getattr(sample, name)
            assert (image.shape, image.dtype) == ((4, *sample.hidden.shape), np.float32)
            assert np.isfinite(image).all()
        assert 0 <= sample.share.min() <= sample.share.max() <= 1
        assert sample.deviation.min() > 0
        np.testing.assert_array_equal(sample.observed[:, ~sample.hidden], sample.truth[:, ~sample.hidden])
        assert 0.05 < sample.hidden.mean() < 0.9
        assert sample.sar_db.shape == (2, *sample.hidden.shape)
    assert error(samples, "through") < min(error(samples, shown) for shown in ("ground", "observed"))


def test_now_and_then_everything_is_masked(monkeypatch: pytest.MonkeyPatch) -> None:
    """As where nothing says where clouds are: what is expected is then what land in general looks like."""
    monkeypatch.setattr(seen_samples, "_EVERYTHING", 1.0)
    samples = makes([place_of("a", 1)], seeds=2)
    assert len(samples) == 6
    for sample in samples:
        assert sample.hidden.all()
        assert np.isfinite(sample.ground).all()
        assert sample.ground[0].std() < sample.truth[0].std(), "smooth, for nothing of it is known"


def test_three_clouds_over_one_ground_are_of_other_thickness(monkeypatch: pytest.MonkeyPatch) -> None:
    only(monkeypatch, DATES="none")
    first, second, third = makes([place_of("a", 1)], seeds=1)
    np.testing.assert_array_equal(first.truth, second.truth)
    np.testing.assert_array_equal(first.hidden, third.hidden)
    assert np.abs(first.observed - second.observed)[:, first.hidden].mean() > 0.005


@pytest.mark.usefixtures("quick")
def test_equal_generators_make_equal_samples() -> None:
    series = [place_of("a", 1), place_of("a", 2), place_of("a", 3)]
    for one, other in zip(makes(series, seeds=2), makes(series, seeds=2), strict=True):
        for field in fields(SeenSample):
            np.testing.assert_array_equal(getattr(one, field.name), getattr(other, field.name))


@pytest.mark.usefixtures("quick")
def test_another_date_lends_its_detail_the_nearer_the_better(monkeypatch: pytest.MonkeyPatch) -> None:
    """Far dates are of other ground here, so that they have nothing to lend."""
    series = [place_of("a", seed, light) for seed, light in ((1, 1.0), (1, 0.8), (2, 0.9), (3, 1.0), (3, 0.9))]
    errors = {}
    for kind in ("near", "far", "none"):
        only(monkeypatch, DATES=kind, RADAR="useless", MASKS="good")
        monkeypatch.setattr(obscured_places, "_MADE", 0.0)
        errors[kind] = error(makes(series), "ground")
    assert errors["near"] < 0.9 * errors["none"]
    assert errors["near"] < errors["far"]


def test_a_date_that_is_made_up_is_like_the_place_but_not_the_same() -> None:
    truth = place_of("a", 1).reflectance
    other = near_date(np.random.default_rng(0), truth)
    assert np.corrcoef(other.ravel(), truth.ravel())[0, 1] > 0.8
    assert np.abs(other / truth - 1).mean() > 0.02


def test_a_date_that_is_made_up_shows_nothing_where_the_place_is_not_known(monkeypatch: pytest.MonkeyPatch) -> None:
    """Or a cloud of the day would lie there on the other day too, and what is no data would be black ground."""
    only(monkeypatch, DATES="near")
    place = place_of("a", 1)
    hidden, valid = np.zeros_like(place.valid), place.valid.copy()
    hidden[:20], valid[:, :10] = True, False
    source = ObscuredPlaces([[[replace(place, hidden=hidden, valid=valid)]]], block)
    for seed in range(4):
        ground = source._ground(np.random.default_rng(seed))
        assert ground.others
        for other in ground.others:
            np.testing.assert_array_equal(np.isfinite(other).all(axis=0), ground.valid & ~ground.overcast)


@pytest.mark.parametrize(("kind", "known"), [("right", True), ("useless", True), ("none", False)])
def test_radar_is_right_or_useless_or_none(kind: str, known: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    only(monkeypatch, DATES="none", RADAR=kind)
    place = place_of("a", 1)
    samples = makes([place], seeds=2)
    assert all(np.isfinite(sample.sar_db).all() == known for sample in samples)
    if known:
        spread = np.mean([sample.sar_db[0].std() for sample in samples])
        assert (spread > 2.5) == (kind == "right"), "the place's own radar has a deviation of 3 dB, speckle of 1.5"


def test_what_a_scene_hides_itself_is_never_the_truth(monkeypatch: pytest.MonkeyPatch) -> None:
    own = np.zeros((SIDE, SIDE), bool)
    own[:20, :30] = True
    scene = place_of("a", 1, hidden=own)
    scene = replace(scene, reflectance=np.where(own, np.float32(0.9), scene.reflectance))
    only(monkeypatch, DATES="none")
    monkeypatch.setattr("cloudfree.learn.augment.colour_jitter", lambda rng, reflectance, sar_db: (reflectance, sar_db))
    samples = makes([scene])
    assert samples
    for sample in samples:
        assert sample.truth[:, sample.known].max() < 0.8
        assert sample.hidden[~sample.known].all()
        assert (~sample.known).sum() == own.sum()


@pytest.mark.usefixtures("quick")
def test_a_scene_brings_its_references(monkeypatch: pytest.MonkeyPatch) -> None:
    only(monkeypatch, DATES="far", RADAR="useless")
    alone = place_of("a", 1, hidden=np.zeros((SIDE, SIDE), bool))
    with_reference = replace(alone, others=(0.8 * alone.reflectance,))
    assert error(makes([with_reference]), "ground") < 0.6 * error(makes([alone]), "ground")


def test_a_sample_is_kept_in_part_and_varied(monkeypatch: pytest.MonkeyPatch) -> None:
    only(monkeypatch, DATES="none", RADAR="right")
    sample, rng = makes([place_of("a", 1)], seeds=1)[0], np.random.default_rng(0)
    part = kept_part(rng, sample)
    assert part is not None
    assert part.hidden.shape == (SIDE, SIDE)
    assert kept_part(rng, replace(sample, known=~sample.hidden)) is None, "nothing that is hidden is known"
    assert hidden_corner(rng, sample.hidden, 32, 0.99, 50) is not None
    lit = in_other_light(rng, sample)
    gains = [getattr(lit, name) / getattr(sample, name) for name in ("observed", "ground", "truth", "deviation")]
    for gain in gains:
        np.testing.assert_allclose(gain, np.broadcast_to(gains[0][:, :1, :1], gain.shape), rtol=1e-4)
    assert np.ptp(lit.sar_db - sample.sar_db) < 1e-4
    around = turned(rng, sample)
    np.testing.assert_allclose(np.sort(around.truth, axis=None), np.sort(sample.truth, axis=None))
    assert around.truth[:, around.hidden].sum() == pytest.approx(sample.truth[:, sample.hidden].sum(), rel=1e-4)


def test_places_that_are_never_clear_enough_give_nothing() -> None:
    def overcast(rng: np.random.Generator, side: int, pixel_size_m: float) -> LiftedClouds:
        return LiftedClouds(np.full((4, side, side), 0.5, np.float32), np.zeros((4, side, side), np.float32))

    assert not makes([place_of("a", 1)], seeds=1, clouds=overcast)


def test_simulated_clouds_alone_are_clouds_too() -> None:
    samples = makes([place_of("a", 1)], seeds=3, clouds=clouds_drawer([]))
    assert samples
    assert all(sample.hidden.any() for sample in samples)
