"""Synthetic land and cloud: the properties that training and the sample files rely on."""

import json
from pathlib import Path

import numpy as np
import pytest
import rasterio
from rasterio.warp import transform_bounds

from cloudfree.simulate.clouds import (
    CLOUD_OPACITY,
    HAZE_OPACITY,
    CloudLayer,
    Sky,
    add_clouds,
    cloud_layer,
    imperfect_mask,
)
from cloudfree.simulate.landscape import Landscape, ground_layout, landscape
from cloudfree.simulate.noise import fractal_noise
from cloudfree.simulate.parcels import Canvas
from cloudfree.simulate.surface import EQUIVALENT_LOOKS, Ground, Material, speckle

SAMPLE = Path(__file__).parents[2] / "sample_data"
SCENE = SAMPLE / "20240615_101530_84_2481_3B_AnalyticMS_SR_clip.tif"
UDM2 = SAMPLE / "20240615_101530_84_2481_3B_udm2_clip.tif"


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


@pytest.fixture(scope="module")
def ground() -> Ground:
    return ground_layout(Canvas.blank(rng(3), 500, 480, 3.0))


@pytest.fixture(scope="module")
def land() -> Landscape:
    """The same place as two sensors see it."""
    return landscape(rng(3), 500, 480)


@pytest.fixture(scope="module")
def layer() -> CloudLayer:
    return cloud_layer(rng(5), 400, 380, cover=0.35, sky=Sky())


def test_noise_is_standard_and_as_rough_as_asked():
    rough, smooth = (fractal_noise(rng(), (128, 120), slope=slope, outer_px=200) for slope in (1.2, 3.0))
    for field in (rough, smooth):
        assert field.dtype == np.float32
        assert field.mean() == pytest.approx(0, abs=1e-5)
        assert field.std() == pytest.approx(1, abs=1e-5)
    assert np.diff(smooth, axis=0).std() < 0.2 * np.diff(rough, axis=0).std()


@pytest.mark.parametrize("shape", [(256, 256), (97, 131), (1, 40)])
def test_any_shape_and_the_same_seed_the_same_clouds(shape):
    first, again, other = (cloud_layer(rng(seed), *shape) for seed in (1, 1, 2))
    assert first.radiance.shape == (4, *shape)
    for name in vars(first):
        np.testing.assert_array_equal(getattr(first, name), getattr(again, name))
        assert getattr(first, name).shape[-2:] == shape
    assert not np.array_equal(first.opacity, other.opacity)


def test_opacity_runs_from_nothing_to_everything(layer):
    assert layer.opacity.dtype == layer.shadow.dtype == layer.radiance.dtype == np.float32
    assert layer.opacity.min() == 0.0
    assert layer.opacity.max() == 1.0
    assert ((layer.opacity > 0.15) & (layer.opacity < 0.85)).mean() > 0.05
    assert layer.shadow.min() >= 0
    assert 0.3 < layer.shadow.max() <= 0.7


@pytest.mark.parametrize("cover", [0.0, 0.1, 0.3, 0.6, 0.9, 1.0])
def test_cover_is_what_was_asked_for(cover):
    clouds = cloud_layer(rng(7), 320, 320, cover=cover)
    assert (clouds.cloud | clouds.haze).mean() == pytest.approx(cover, abs=0.02)


def test_haze_alone_hides_nothing():
    clouds = cloud_layer(rng(7), 200, 200, cover=0.5, sky=Sky(haze_share=1.0, haze_depth=0.4))
    assert clouds.haze.mean() == pytest.approx(0.5, abs=0.02)
    assert not clouds.cloud.any()


def test_masks_are_disjoint_and_agree_with_the_layer(layer):
    assert (layer.cloud.astype(int) + layer.haze + layer.shade).max() == 1
    np.testing.assert_array_equal(layer.cloud, layer.opacity > CLOUD_OPACITY)
    np.testing.assert_array_equal(layer.mask, layer.cloud | layer.haze | layer.shade)
    assert layer.opacity[~layer.mask].max() <= HAZE_OPACITY
    assert layer.shadow[layer.opacity == 1].max() == 0


def test_shadow_falls_away_from_the_sun():
    sky = Sky(base_m=300, sun_azimuth_deg=135, sun_zenith_deg=45)
    down, right = sky.shadow_shift_yx_px(3.0)
    assert down == right == -71  # 300 m at 45 degrees, to the north-west
    clouds = cloud_layer(rng(2), 300, 300, cover=0.1, sky=sky)
    expected = np.roll(clouds.opacity, (down, right), (0, 1)) > 0.9
    visible = expected & ~clouds.cloud & ~clouds.haze
    assert clouds.shade[visible].mean() > 0.9


def test_clear_pixels_are_not_touched(land, layer):
    scene = land.reflectance[:, :400, :380]
    cloudy = add_clouds(scene, layer)
    clear = (layer.opacity == 0) & (layer.shadow == 0)
    assert clear.mean() > 0.1
    np.testing.assert_array_equal(cloudy[:, clear], scene[:, clear])
    opaque = layer.opacity == 1
    np.testing.assert_allclose(cloudy[:, opaque], layer.radiance[:, opaque])
    assert cloudy.dtype == np.float32


def test_haze_is_bluer_than_cloud_and_shadow_bluer_than_sun(layer):
    grey = np.full((4, 400, 380), 0.2, np.float32)
    cloudy = add_clouds(grey, layer)
    thin = layer.haze & (layer.shadow == 0)
    gain = (cloudy - grey)[:, thin] / (layer.radiance - grey)[:, thin]
    assert (np.diff(gain.mean(1)) < 0).all()
    shaded = layer.shade & (layer.opacity == 0)
    assert (np.diff(cloudy[:, shaded].mean(1)) < 0).all()


def test_cloud_is_bright_and_nearly_white(layer):
    blue, green, red, nir = layer.radiance[:, layer.opacity > 0.9].mean(1)
    assert 0.45 < blue < 1.1
    assert green / blue == pytest.approx(1, abs=0.08)
    assert red / blue == pytest.approx(1.03, abs=0.08)
    assert nir / blue == pytest.approx(1.11, abs=0.08)


def test_an_imperfect_mask_is_nearly_right(layer):
    flawed = imperfect_mask(rng(), layer.cloud)
    agreement = (flawed == layer.cloud).mean()
    assert 0.75 < agreement < 1
    for blank in (np.zeros((9, 9), bool), np.ones((9, 9), bool)):
        np.testing.assert_array_equal(imperfect_mask(rng(), blank), blank)


def test_the_same_seed_the_same_place(land):
    again = landscape(rng(3), 500, 480)
    for name in vars(land):
        np.testing.assert_array_equal(getattr(land, name), getattr(again, name))
    assert land.reflectance.shape == (4, 500, 480)
    assert land.sar_db.shape == (2, 500, 480)
    assert land.reflectance.min() > 0
    assert land.reflectance.max() <= 1


@pytest.mark.parametrize(("shape", "pixel_size_m"), [((65, 83), 3.0), ((120, 120), 10.0)])
def test_small_and_coarse_places_work(shape, pixel_size_m):
    place = landscape(rng(1), *shape, pixel_size_m=pixel_size_m)
    assert place.reflectance.shape == (4, *shape)
    assert np.isfinite(place.sar_db).all()


def test_materials_look_as_they_should(ground):
    material, reflectance, mean_db = ground.material, ground.reflectance(), ground.backscatter_db()
    grown, built = ground.vigour >= 0.15, material >= Material.ASPHALT
    groups = (material == Material.TREES, grown & (material == Material.CROP), built, material == Material.WATER)
    _, _, red, nir = np.stack([np.median(reflectance[:, group], 1) for group in groups], 1)
    vv, vh = np.stack([np.median(mean_db[:, group], 1) for group in groups], 1)
    trees, crops, town, water = range(4)
    assert nir[water] < red[water] < 0.08
    assert nir[trees] > 0.22
    assert red[trees] < 0.04
    assert vv[water] + 3 < vv[crops] < vv[trees] - 2 < vv[town]
    assert vh[water] + 2 < vh[crops] < vh[trees] - 3


def test_radar_knows_how_green_a_field_is(ground):
    crops = (ground.material == Material.CROP) & (ground.vigour >= 0.15)
    red, nir = ground.reflectance()[2:, crops]
    assert np.corrcoef((nir - red) / (nir + red), ground.backscatter_db()[1, crops])[0, 1] > 0.3


def test_speckle_has_the_looks_and_the_grain_of_iw_grd():
    grains = speckle(rng(), (400, 400), 10.0)
    assert grains.mean() == pytest.approx(1, abs=0.02)
    assert grains.mean() ** 2 / grains.var() == pytest.approx(EQUIVALENT_LOOKS, rel=0.1)
    neighbours = np.corrcoef(grains[:, :-1].ravel(), grains[:, 1:].ravel())[0, 1]
    assert 0.2 < neighbours < 0.8


def read(path):
    with rasterio.open(path) as dataset:
        return dataset.read(), dataset.crs, dataset.transform


def test_sample_files_share_the_scene_grid():
    scene, crs, transform = read(SCENE)
    assert scene.shape == (4, 640, 640)
    assert scene.dtype == np.uint16
    with rasterio.open(SCENE) as dataset:
        assert dataset.nodata == 0
        assert dataset.descriptions == ("blue", "green", "red", "nir")
        assert dataset.colorinterp[:3] == tuple(
            getattr(rasterio.enums.ColorInterp, c) for c in ("blue", "green", "red")
        )
    for other in (UDM2, SAMPLE / "truth.tif", SAMPLE / "land_cover.tif"):
        bands, other_crs, other_transform = read(other)
        assert (other_crs, other_transform, bands.shape[1:]) == (crs, transform, (640, 640))
    assert set(np.unique(read(SAMPLE / "land_cover.tif")[0])) == {10, 20, 30, 40, 50, 60, 80}


def test_sample_footprint_is_tilted_and_the_mask_agrees():
    scene, truth, udm2 = (read(path)[0] for path in (SCENE, SAMPLE / "truth.tif", UDM2))
    valid = (scene > 0).all(0)
    np.testing.assert_array_equal(valid, (scene > 0).any(0))
    np.testing.assert_array_equal(valid, (truth > 0).all(0))
    assert not valid[[0, 0, -1, -1], [0, -1, 0, -1]].any()
    assert 0.85 < valid.mean() < 0.97
    clear, snow, shadow, haze, heavy, cloud, confidence, udm1 = udm2
    np.testing.assert_array_equal(udm1, ~valid)
    np.testing.assert_array_equal(clear + snow + shadow + haze + heavy + cloud, valid)
    assert not snow.any()
    assert not heavy.any()
    assert confidence.max() <= 100


def test_sample_truth_equals_the_scene_where_the_sky_is_clear():
    scene, truth, udm2 = (read(path)[0] for path in (SCENE, SAMPLE / "truth.tif", UDM2))
    changed = (scene != truth).any(0)
    facts = json.loads((SAMPLE / "truth.json").read_text())
    hidden = sum(facts["share_of_valid_pixels"].values())
    assert 0.3 < hidden < 0.36
    clear = udm2[0].astype(bool)
    assert np.median(np.abs(scene.astype(int) - truth)[:, clear]) == 0
    assert changed[udm2[5].astype(bool)].mean() > 0.97
    assert scene.max() > 8000


def test_sample_radar_covers_the_scene_in_another_crs():
    with (
        rasterio.open(SCENE) as scene,
        rasterio.open(SAMPLE / "s1_VV.tif") as vv,
        rasterio.open(SAMPLE / "s1_VH.tif") as vh,
    ):
        assert vv.crs != scene.crs
        assert (vv.crs, vv.transform, vv.shape) == (vh.crs, vh.transform, vh.shape)
        assert (vv.descriptions, vh.descriptions) == (("VV",), ("VH",))
        west, south, east, north = transform_bounds(scene.crs, vv.crs, *scene.bounds)
        assert vv.bounds.left < west < east < vv.bounds.right
        assert vv.bounds.bottom < south < north < vv.bounds.top
        for power in (vv.read(1), vh.read(1)):
            assert power.dtype == np.float32
            assert power.min() > 0
            assert np.percentile(power, 99.9) < 50


@pytest.mark.slow
def test_sample_offset_is_the_recorded_one():
    """The river is dark in the radar: it lines up with the true water after the recorded move, and not without."""
    offset = json.loads((SAMPLE / "truth.json").read_text())["sar_to_scene_offset_m"]
    with rasterio.open(SAMPLE / "land_cover.tif") as cover, rasterio.open(SAMPLE / "s1_VV.tif") as vv:
        rows, columns = np.nonzero(cover.read(1) == 80)
        x, y = rasterio.transform.xy(cover.transform, rows, columns)

        def brightness(east, north):
            from_scene = (np.array(x) - east).tolist(), (np.array(y) - north).tolist()
            there = rasterio.warp.transform(cover.crs, vv.crs, *from_scene)
            return np.mean([value[0] for value in vv.sample(zip(*there, strict=True))])

        moves = [(0, 0), (-14, 9), (14, 9), (-14, -9), (28, -18)]
        assert brightness(offset["east"], offset["north"]) < 0.8 * min(brightness(*move) for move in moves)
