"""Finding clouds: what comes out is well-formed for any scene, and right where it is plain to see."""

import numpy as np
import pytest
import torch
from detect_support import SIDE, clouded, land_at_10_m

from cloudfree.bands import SKY_HIDDEN, SKY_NODATA, SkyClass
from cloudfree.detect import DetectorInput, FoundSky, find_sky, load
from cloudfree.detect.own import OwnDetector
from cloudfree.inputs.optical.sun import Sun
from cloudfree.network.models.cloud_detector import REACH_PX, CloudDetector


@pytest.fixture(scope="module")
def own() -> OwnDetector:
    return load("own")


def iou(found: np.ndarray, truth: np.ndarray) -> float:
    return float((found & truth).sum() / (found | truth).sum())


@pytest.mark.parametrize("shape", [(1, 1), (1, 40), (17, 33), (64, 64), (75, 130)])
@pytest.mark.parametrize("pixel_size_m", [3.0, 10.0, 25.0])
def test_any_size_gives_probabilities(own, shape, pixel_size_m):
    rng = np.random.default_rng(0)
    reflectance = rng.uniform(0, 1, (4, *shape)).astype(np.float32)
    valid = rng.random(shape) > 0.2
    found = find_sky(reflectance, valid, pixel_size_m, own)
    assert found.probability.shape == (5, *shape)
    assert found.probability.dtype == np.float32
    np.testing.assert_allclose(found.probability.sum(0), 1, atol=1e-5)
    assert (found.probability >= 0).all()
    assert (found.classes == SKY_NODATA)[~valid].all()
    assert (found.classes[valid] < 5).all()
    np.testing.assert_array_equal(found.hidden, np.isin(found.classes, SKY_HIDDEN))


def test_pixels_without_data_change_nothing_whatever_they_hold(own):
    seen, _ = clouded()
    valid = np.ones((SIDE, SIDE), bool)
    valid[:, :40] = False
    first = find_sky(np.where(valid, seen, 0), valid, 10.0, own)
    second = find_sky(np.where(valid, seen, np.float32(0.9)), valid, 10.0, own)
    np.testing.assert_array_equal(first.probability, second.probability)


def test_windows_give_what_the_whole_gives(own):
    """Of an image of more than one window, with a corner of nodata."""
    shape = 75, 2 * REACH_PX + 200
    valid = np.ones(shape, bool)
    valid[:30, 300:] = False
    scene = DetectorInput(np.random.default_rng(1).uniform(0, 0.6, (4, *shape)).astype(np.float32), valid, 10.0)
    whole, windows = own.probability(scene), own.probability(scene, window_px=2 * REACH_PX + 112)
    np.testing.assert_allclose(windows, whole, atol=2e-5)


@pytest.mark.parametrize("place", [0, 5, 8, 15])
def test_no_pixel_sees_farther_than_the_margin(place):
    """Wherever it lies among those that are halved together."""
    torch.manual_seed(0)
    network = CloudDetector().prepare_for_inference()
    for parameter in network.parameters():
        if parameter.dim() > 1:
            torch.nn.init.kaiming_normal_(parameter)
    side, middle = 2 * REACH_PX + 64, REACH_PX + 32 + place
    image = torch.rand(1, 4, 1, side).expand(1, 4, 3, side).contiguous()
    changed = image.clone()
    changed[..., middle] = 0.9
    with torch.inference_mode():
        valid, sar_db = torch.ones(1, 3, side, dtype=torch.bool), torch.full((1, 2, 3, side), -10.0)
        moved = (network(image, valid, sar_db, image) - network(changed, valid, sar_db, changed)).abs().amax((0, 1, 2))
    reached = (moved > 0).nonzero()[:, 0] - middle
    assert 60 < reached.abs().max() <= REACH_PX


def test_flat_snow_is_no_cloud(own):
    """A snowed-over landscape whose woods stand out of it."""
    land = land_at_10_m()
    snow = np.array([0.85, 0.84, 0.83, 0.72], np.float32)[:, None, None]
    woods = land.reflectance[2] < np.quantile(land.reflectance[2], 0.3)
    snowed = np.where(woods, 0.5 * land.reflectance + 0.03, snow * (1 + 0.3 * (land.reflectance[2] - 0.1)))
    found = find_sky(snowed.astype(np.float32), np.ones((SIDE, SIDE), bool), 10.0, own)
    assert found.hidden.mean() < 0.1
    assert (found.classes[~woods] == SkyClass.SNOW).mean() > 0.7


def test_clear_land_is_kept(own):
    land = land_at_10_m()
    assert find_sky(land.reflectance, np.ones((SIDE, SIDE), bool), 10.0, own).hidden.mean() < 0.02


@pytest.mark.parametrize("air", [0.0, 0.08])
def test_a_simulated_sky_is_found_at_the_surface_and_above_the_air(own, air):
    seen, layer = clouded()
    valid = np.ones((SIDE, SIDE), bool)
    toa = seen + air * np.array([1, 0.7, 0.4, 0.1], np.float32)[:, None, None]
    found = find_sky(toa.astype(np.float32), valid, 10.0, own)
    assert iou(found.hidden, layer.mask) > 0.65
    assert found.hidden[layer.cloud].mean() > 0.97


def test_finer_pixels_are_averaged_and_come_back(own):
    seen, _ = clouded()
    fine = np.repeat(np.repeat(seen, 3, 1), 3, 2)
    coarse = find_sky(seen, np.ones((SIDE, SIDE), bool), 10.0, own)
    found = find_sky(fine, np.ones((3 * SIDE, 3 * SIDE), bool), 10 / 3, own)
    assert iou(found.hidden[1::3, 1::3], coarse.hidden) > 0.97


@pytest.mark.parametrize("side", [1, 4, 7])
def test_a_clear_scene_smaller_than_a_gap_is_clear(side):
    probability = np.zeros((5, side, side), np.float32)
    probability[SkyClass.CLEAR] = 1
    assert not FoundSky(probability, np.ones((side, side), bool), 10.0).hidden.any()


def test_specks_and_small_gaps_are_cleaned_and_nothing_is_added():
    cloud = np.zeros((60, 60), bool)
    cloud[10:40, 10:40] = True
    cloud[20:23, 20:23] = False
    cloud[50:52, 50:52] = True
    probability = np.zeros((5, 60, 60), np.float32)
    probability[SkyClass.CLOUD], probability[SkyClass.CLEAR] = cloud, ~cloud
    hidden = FoundSky(probability, np.ones((60, 60), bool), 10.0).hidden
    assert hidden[10:40, 10:40].all()
    assert not hidden[:10].any()
    assert not hidden[40:].any()


class CloudAlone:
    """A detector that knows what is bright, and is not quite sure of it, or of anything else."""

    name, pixel_size_m = "stand-in", 10.0

    def probability(self, scene):
        bright = scene.reflectance[0] > 0.3
        shares = np.full((5, *bright.shape), 0.02, np.float32)
        shares[SkyClass.CLOUD] = np.where(bright, 0.92, 0.02)
        shares[SkyClass.CLEAR] = np.where(bright, 0.02, 0.92)
        return shares


@pytest.mark.parametrize("sun", [None, Sun(120, 45, 2.0)])
@pytest.mark.parametrize("pixel_size_m", [3.0, 10.0, 20.0])
def test_what_clouds_cast_becomes_shadow_and_clouds_stay(pixel_size_m, sun):
    side, distance_px = 260, round(600 / pixel_size_m)
    y, x = np.mgrid[:side, :side]
    reach_px = 220 / pixel_size_m
    cloud = np.hypot(y - 150, x - 130 - distance_px / 2) < reach_px
    away = np.deg2rad(300)
    step = round(-distance_px * np.cos(away)), round(distance_px * np.sin(away))
    shadow = np.roll(cloud, step, (0, 1)) & ~cloud
    ground = np.array([0.04, 0.07, 0.06, 0.3], np.float32)[:, None, None]
    ground = ground * np.random.default_rng(1).normal(1, 0.06, (4, side, side)).astype(np.float32)
    seen = np.where(cloud, np.float32(0.7), np.where(shadow, 0.5 * ground, ground)).astype(np.float32)
    valid = np.ones((side, side), bool)
    valid[:20] = False
    found = find_sky(np.where(valid, seen, 0), valid, pixel_size_m, CloudAlone(), sun)
    np.testing.assert_allclose(found.probability.sum(0), 1, atol=1e-5)
    assert (found.probability >= 0).all()
    assert (found.classes[shadow & valid] == SkyClass.SHADOW).mean() > 0.75
    assert (
        found.classes[cloud & valid] == SkyClass.CLOUD
    ).mean() > 0.98  # pixels of 3 m at the border are shown in part
    assert (found.classes[~valid] == SKY_NODATA).all()
    wrong = find_sky(np.where(valid, seen, 0), valid, pixel_size_m, CloudAlone(), Sun(30, 45, 2.0))
    assert not (wrong.classes == SkyClass.SHADOW).any()


@pytest.mark.parametrize("covered", [0.0, 1.0])
def test_no_cloud_and_nothing_but_cloud_cast_nothing(covered):
    seen = np.full((4, 50, 60), 0.1 + 0.6 * covered, np.float32)
    found = find_sky(seen, np.ones((50, 60), bool), 10.0, CloudAlone())
    assert not (found.classes == SkyClass.SHADOW).any()


def test_another_date_tells_and_one_that_shows_nothing_does_not(own):
    """On grids of any size: it is averaged as the scene is."""
    seen, _ = clouded()
    valid, nothing = np.ones((SIDE, SIDE), bool), np.full_like(seen, np.nan)
    alone, beside_nothing, beside = (
        find_sky(seen, valid, 10.0, own, other=other) for other in (None, nothing, land_at_10_m().reflectance)
    )
    np.testing.assert_array_equal(alone.probability, beside_nothing.probability)
    assert np.abs(alone.probability - beside.probability).max() > 0.01
    fine = [np.repeat(np.repeat(image, 3, 1), 3, 2) for image in (seen, land_at_10_m().reflectance)]
    found = find_sky(fine[0], np.ones((3 * SIDE, 3 * SIDE), bool), 10 / 3, own, other=fine[1])
    assert iou(found.hidden[1::3, 1::3], beside.hidden) > 0.95


@pytest.mark.parametrize(("clouds", "believed"), [(0.0, False), (0.05, False), (0.3, True)])
def test_shadow_without_clouds_that_could_cast_it_is_dark_ground(clouds, believed):
    """Of an image of which 0.6 is called shadow."""
    side = 60
    rows = np.arange(side)[:, None] / side + np.zeros((1, side))

    class Dark:
        name, pixel_size_m = "stand-in", 10.0

        def probability(self, scene):
            shares = np.full((5, *scene.valid.shape), 0.02, np.float32)
            shares[SkyClass.SHADOW] = np.where(rows < 0.6, 0.92, 0.02)
            shares[SkyClass.CLOUD] = np.where(rows >= 1 - clouds, 0.92, 0.02)
            shares[SkyClass.CLEAR] = 1 - shares[1:].sum(axis=0)
            return shares

    seen = np.where(rows >= 1 - clouds, np.float32(0.7), np.float32(0.1)) + np.zeros((4, 1, 1), np.float32)
    found = find_sky(seen, np.ones((side, side), bool), 10.0, Dark())
    np.testing.assert_allclose(found.probability.sum(0), 1, atol=1e-5)
    assert (found.classes == SkyClass.SHADOW).any() == believed
    assert ((found.classes == SkyClass.CLOUD).mean() > 0) == (clouds > 0)
