"""A mask's clouds are followed to where they end, and clear ground is left alone."""

from pathlib import Path

import numpy as np
import pytest
from affine import Affine
from scipy import ndimage
from support import ORIGIN, UTM33

from cloudfree.arrays import as_image
from cloudfree.bands import CLOUD_COLOUR, SKY_HIDDEN, SkyClass
from cloudfree.geometry import Grid
from cloudfree.inputs.optical.scene import Scene
from cloudfree.scene.cloud_edges import follow, with_edges
from cloudfree.scene.survey import Survey
from cloudfree.simulate.clouds import CloudLayer, add_clouds
from cloudfree.simulate.landscape import landscape

SIDE, PIXEL_M = 160, 10.0
GRID = Grid(UTM33, Affine(PIXEL_M, 0, ORIGIN[0], 0, -PIXEL_M, ORIGIN[1]), SIDE, SIDE)
SCENE = Scene(Path("scene.tif"), GRID, (1, 2, 3, 4), (1e-4,) * 4, "surface reflectance", ())


@pytest.fixture(scope="module")
def land():
    return landscape(np.random.default_rng(7), SIDE, SIDE, pixel_size_m=PIXEL_M)


def disc(row: int, col: int, radius: float) -> np.ndarray:
    y, x = np.mgrid[:SIDE, :SIDE]
    return np.hypot(y - row, x - col) <= radius


def surveyed(land, opacity: np.ndarray, shadow: np.ndarray, mask: np.ndarray) -> Survey:
    nowhere = np.zeros_like(mask)
    white = 0.6 * as_image(CLOUD_COLOUR)[:, None, None] * np.ones((SIDE, SIDE), np.float32)
    layer = CloudLayer(as_image(opacity), white, as_image(shadow), nowhere, nowhere, nowhere)
    seen = add_clouds(np.clip(land.reflectance, 0, 1), layer)
    return Survey(GRID, np.clip(1e4 * seen, 1, 10000).astype(np.uint16), land.sar_db, mask)


@pytest.fixture(scope="module")
def cloud():
    """Opacity of a cloud with a wide rim of haze, of a mask that has only its core."""
    core = disc(60, 60, 18)
    rim = np.clip(1 - (ndimage.distance_transform_edt(~core) / 14), 0, 1)
    return np.where(core, 1.0, 0.4 * rim), core


def test_haze_beyond_the_mask_is_found_and_clear_ground_left(land, cloud):
    opacity, core = cloud
    classes = follow(surveyed(land, opacity, 0 * opacity, core), SCENE)
    hazy, clear = (opacity > 0.12) & ~core, opacity == 0
    assert (classes[hazy] == SkyClass.HAZE).mean() > 0.8
    assert (classes[clear] == SkyClass.CLEAR).mean() > 0.97
    assert (classes[core] == SkyClass.CLEAR).all(), "what the mask has is no news"


def test_clear_ground_around_an_opaque_cloud_is_no_haze(land):
    core = disc(80, 80, 25)
    classes = follow(surveyed(land, np.where(core, 1.0, 0.0), np.zeros((SIDE, SIDE)), core), SCENE)
    around = disc(80, 80, 35) & ~core
    assert (classes[around] != SkyClass.CLEAR).mean() < 0.2


def test_a_shadow_beside_the_mask_is_found(land, cloud):
    _, core = cloud
    shadow = ndimage.gaussian_filter(np.where(disc(78, 78, 15) & ~core, 0.7, 0.0), 1)
    classes = follow(surveyed(land, np.where(core, 1.0, 0.0), shadow, core), SCENE)
    found = classes[(shadow > 0.3) & ~core]
    assert (found != SkyClass.CLEAR).mean() > 0.6
    assert (found[found != SkyClass.CLEAR] == SkyClass.SHADOW).mean() > 0.7


def test_nothing_is_followed_over_clear_ground_beyond_the_limit_or_without_a_mask(land, cloud):
    opacity, core = cloud
    apart = np.maximum(opacity, np.where(disc(130, 130, 15), 0.4, 0))  # haze that no cloud of the mask hangs with
    classes = follow(surveyed(land, apart, 0 * opacity, core), SCENE)
    assert (classes[disc(130, 130, 15)] == SkyClass.CLEAR).all()
    near = follow(surveyed(land, opacity, 0 * opacity, core), SCENE, limit_m=40.0)
    assert not near[ndimage.distance_transform_edt(~core) > 4].any()
    assert not follow(surveyed(land, opacity, 0 * opacity, np.zeros_like(core)), SCENE).any()
    assert not follow(surveyed(land, opacity, 0 * opacity, np.ones_like(core)), SCENE).any()


def test_all_of_it_is_restored_and_what_is_far_is_not_learned_from(land, cloud):
    opacity, core = cloud
    survey = surveyed(land, opacity, 0 * opacity, core)
    classes = follow(survey, SCENE)
    left_out, found = with_edges(survey, None, classes)
    np.testing.assert_array_equal(np.isin(found.classes, SKY_HIDDEN), classes != SkyClass.CLEAR)
    np.testing.assert_array_equal(found.on_grid(GRID), found.hidden)
    distance_px = ndimage.distance_transform_edt(~core)
    np.testing.assert_array_equal(left_out.cloudy, core | (found.hidden & (distance_px > 6)))
    assert found.probability[found.hidden].min() == 1


def test_on_a_finer_scene_cloud_at_the_border_of_the_mask_is_found(land, cloud):
    """A pixel of the survey there is masked by its middle, and cloud of it may lie beside the mask."""
    _, core = cloud
    fine = Grid(UTM33, Affine(3, 0, ORIGIN[0], 0, -3, ORIGIN[1]), 533, 533)
    scene = Scene(Path("scene.tif"), fine, (1, 2, 3, 4), (1e-4,) * 4, "surface reflectance", ())
    survey = surveyed(land, np.where(core, 1.0, 0.0), np.zeros((SIDE, SIDE)), core)
    classes = follow(survey, scene)
    border = core & ~ndimage.binary_erosion(core, np.ones((3, 3)))
    assert (classes[border] == SkyClass.CLOUD).all()
    assert (classes[core & ~border] == SkyClass.CLEAR).all()


def test_a_speck_of_cloud_in_the_buffer_is_found(land, cloud):
    """Smoothed with its surroundings it would be nothing."""
    _, core = cloud
    specks = np.zeros((SIDE, SIDE))
    specks[60, 80], specks[81, 60] = 0.5, 0.5
    classes = follow(surveyed(land, np.where(core, 1.0, specks), 0 * specks, core), SCENE)
    assert (classes[specks > 0] == SkyClass.HAZE).all()
