"""What a network is shown: the prior for cloud, typical values for nodata, and what is seen wherever it can be."""

from pathlib import Path

import numpy as np
import pytest
from affine import Affine
from support import ORIGIN, UTM33, pattern, sar_values_db, scene_dn

from cloudfree.geometry.grid import Grid
from cloudfree.inputs.optical.scene import Scene
from cloudfree.reconstruct.strips import Strip
from cloudfree.reconstruct.tile import Priming, blend, kept_share
from cloudfree.scene.model import SceneModel
from cloudfree.scene.uncertainty import Uncertainty

H, W = 60, 80
GRID = Grid(UTM33, Affine(3, 0, ORIGIN[0], 0, -3, ORIGIN[1]), W, H)
SCENE = Scene(Path("scene.tif"), GRID, (1, 2, 3, 4), (1e-4,) * 4, "surface reflectance", ())
FILL, FILL_DB = np.array([0.1, 0.2, 0.3, 0.4], np.float32), np.array([-11, -18], np.float32)


@pytest.fixture
def strip() -> Strip:
    """A strip with a bright cloud that the mask flags, a corner of nodata, and one of no radar."""
    dn, sar_db = scene_dn(H, W), sar_values_db(H, W)
    weight = np.zeros((H, W), np.float32)
    weight[20:40, 20:50] = 1
    dn[:, 20:40, 20:50] = 9000
    dn[:, :10, :10], sar_db[:, -10:, -10:] = 0, np.nan
    return Strip.of(0, dn, sar_db, weight)


def prior_of(path_radiance: float) -> SceneModel:
    reflectance = np.full((4, H // 3, W // 3), 0.15, np.float32)
    unsure = Uncertainty.constantly(np.full(4, 0.05, np.float32), (H, W))
    errors = np.diag(np.full(4, 0.02**2))
    return SceneModel((H, W), reflectance, (), 0.8, np.full(4, path_radiance, np.float32), {}, unsure, errors)


def test_without_a_prior_a_network_sees_the_scene_and_no_gaps(strip: Strip) -> None:
    priming = Priming(SCENE, FILL, FILL_DB)
    shown = priming.tile(strip)
    np.testing.assert_allclose(shown.reflectance[:, :10, :10], np.broadcast_to(FILL[:, None, None], (4, 10, 10)))
    np.testing.assert_array_equal(shown.reflectance[:, 10:], SCENE.reflectance(strip.dn)[:, 10:])
    np.testing.assert_array_equal(shown.sar_db[:, -10:, -10:], np.broadcast_to(FILL_DB[:, None, None], (2, 10, 10)))
    assert not shown.kept.any()
    assert not priming.path_radiance.any()
    assert np.isnan(strip.sar_db).any(), "the strip itself stays as it was"


def test_under_cloud_it_sees_the_prior_less_path_radiance_and_is_believed_by_trust(strip: Strip) -> None:
    priming = Priming(SCENE, FILL, FILL_DB, prior_of(0.03), primed=True, trust=0.25)
    shown = priming.tile(strip)
    np.testing.assert_allclose(shown.reflectance[:, 22:38, 22:48], 0.15 - 0.03, atol=1e-3)
    np.testing.assert_allclose(shown.kept[0, 22:38, 22:48], 0.75, atol=0.01)
    clear = strip.cloud_weight == 0
    assert not shown.kept[0, clear].any()
    seen = SCENE.reflectance(strip.dn)[:, 45:] - np.float32(0.03)
    np.testing.assert_allclose(shown.reflectance[:, 45:], seen, atol=1e-6)


def test_without_radar_the_prior_is_all_whatever_the_network(strip: Strip) -> None:
    sar_db = strip.sar_db.copy()
    sar_db[:, 25:35, 25:45] = np.nan
    strip = Strip.of(0, strip.dn, sar_db, strip.cloud_weight)
    for primed, elsewhere in ((True, 0.15), (False, 0.9)):
        priming = Priming(SCENE, FILL, FILL_DB, prior_of(0.0), primed, trust=1.0)
        shown = priming.tile(strip)
        np.testing.assert_allclose(shown.reflectance[:, 25:35, 25:45], 0.15, atol=1e-3)
        assert (shown.kept[0, 25:35, 25:45] > 0.99).all()
        np.testing.assert_allclose(shown.reflectance[:, 38, 30], elsewhere, atol=1e-3)
        assert (shown.kept[0, :24] < 0.05).all()


def test_a_network_that_is_not_primed_sees_the_plain_image_where_radar_is(strip: Strip) -> None:
    seen = Strip.of(0, strip.dn, sar_values_db(H, W), strip.cloud_weight)
    priming = Priming(SCENE, FILL, FILL_DB, prior_of(0.03), primed=False)
    assert priming.prior_of(seen) is None
    assert not priming.path_radiance.any()


def test_what_shows_through_thin_cloud_is_told(strip: Strip) -> None:
    """The cloud is opaque but for its west, where the ground shows; without a prior nobody can tell."""
    strip.dn[:, :, :34] = 1600
    priming = Priming(SCENE, FILL, FILL_DB, prior_of(0.0), primed=True)
    through = priming.tile(strip).seen_through[0]
    assert (through[22:38, 20:25] > 0.95).all()
    assert (through[24:36, 38:46] < 0.01).all()
    assert not through[strip.cloud_weight == 0].any()
    plain = Priming(SCENE, FILL, FILL_DB)
    assert not plain.tile(strip).seen_through.any()


def test_some_columns_are_those_of_the_whole(strip: Strip) -> None:
    priming = Priming(SCENE, FILL, FILL_DB, prior_of(0.0), primed=True, trust=0.5)
    whole = priming.tile(strip)
    part = priming.tile(strip.columns(0, 70))
    for found, expected in zip(part, whole, strict=True):
        np.testing.assert_array_equal(found[..., :50], expected[..., :50])  # filters reach 15 pixels


def test_a_network_is_believed_where_the_model_stands_and_not_where_the_ground_is_seen() -> None:
    cloud_weight, share = np.array([[0, 1, 1, 0.5]], np.float32), np.array([[0, 0, 1, 0.5]], np.float32)
    np.testing.assert_allclose(kept_share(cloud_weight, share, 0.6), [[0, 0.4, 1, 0.35]], atol=1e-6)


def test_blending_keeps_the_observation_bit_for_bit() -> None:
    observed, made = (np.stack([pattern(H, W, seed + band) for band in range(4)]).astype(np.float32) for seed in (0, 9))
    weight = np.zeros((H, W), np.float32)
    weight[10:20], weight[20:30] = 1, 0.5
    blended = blend(observed, made, weight)
    np.testing.assert_array_equal(blended[:, weight == 0], observed[:, weight == 0])
    np.testing.assert_allclose(blended[:, 10:20], made[:, 10:20], atol=1e-6)
    np.testing.assert_allclose(blended[:, 20:30], (observed + made)[:, 20:30] / 2, atol=1e-6)
