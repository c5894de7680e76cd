"""The sample's earlier scene: the same place in another light, with clouds and ploughed fields of its own."""

import json
from datetime import date
from pathlib import Path

import numpy as np
import pytest
import rasterio

from cloudfree.bands import REFLECTANCE_SCALE
from cloudfree.geometry import Grid
from cloudfree.inputs.optical.reference import Reference, identify_reference

SAMPLE = Path(__file__).parents[2] / "sample_data"
SCENE = SAMPLE / "20240615_101530_84_2481_3B_AnalyticMS_SR_clip.tif"
EARLIER = SAMPLE / "20240606_102214_17_2473_3B_AnalyticMS_SR_clip.tif"
BARE = 60  # ESA WorldCover: the fields that were ploughed since are among these


def read(path: Path) -> np.ndarray:
    with rasterio.open(path) as dataset:
        return dataset.read()


@pytest.fixture(scope="module")
def earlier() -> Reference:
    return identify_reference(EARLIER, scene_grid())


@pytest.fixture(scope="module")
def on_scene(earlier) -> np.ndarray:
    """Its reflectance (4, H, W) on the scene's grid, NaN where it does not see the ground."""
    with earlier.open() as reader:
        return reader.on_grid(scene_grid())


def scene_grid() -> Grid:
    with rasterio.open(SCENE) as dataset:
        return Grid.of(dataset)


def clear_in_both(on_scene: np.ndarray) -> np.ndarray:
    clear = read(SAMPLE / "20240615_101530_84_2481_3B_udm2_clip.tif")[0].astype(bool)
    return clear & np.isfinite(on_scene).all(0)


def test_it_is_taken_for_a_reference_with_its_date_and_mask(earlier):
    assert earlier.acquired == date(2024, 6, 6)
    assert earlier.mask is not None
    assert earlier.mask.path.name == "20240606_102214_17_2473_3B_udm2_clip.tif"
    assert (earlier.grid.crs, earlier.grid.height, earlier.grid.width) == (scene_grid().crs, 640, 620)


def test_its_mask_agrees_with_its_footprint(earlier):
    valid = (read(EARLIER) > 0).all(0)
    clear, snow, shadow, haze, heavy, cloud, _, udm1 = read(earlier.mask.path.plain)
    np.testing.assert_array_equal(udm1, ~valid)
    np.testing.assert_array_equal(clear + snow + shadow + haze + heavy + cloud, valid)
    assert 0.75 < clear[valid].mean() < 0.85


def test_it_shows_the_ground_of_the_truth_where_no_field_was_ploughed(on_scene):
    same = clear_in_both(on_scene) & (read(SAMPLE / "land_cover.tif")[0] != BARE)
    assert same.mean() > 0.2
    for before, after in zip(on_scene, read(SAMPLE / "truth.tif"), strict=True):
        assert np.corrcoef(before[same], after[same])[0, 1] > 0.9


def test_ploughed_fields_were_green(on_scene):
    bare = clear_in_both(on_scene) & (read(SAMPLE / "land_cover.tif")[0] == BARE)
    nir_fell = (on_scene[3] - read(SAMPLE / "truth.tif")[3] * REFLECTANCE_SCALE)[bare] > 0.08
    assert 0.4 < nir_fell.mean() < 0.9
    assert (
        0.06
        < json.loads((SAMPLE / "truth.json").read_text())["earlier"]["share_of_valid_pixels"]["ploughed_since"]
        < 0.1
    )


def test_most_but_not_all_of_what_the_scene_hides_is_seen(on_scene):
    udm2 = read(SAMPLE / "20240615_101530_84_2481_3B_udm2_clip.tif").astype(bool)
    hidden = udm2[2] | udm2[3] | udm2[5]
    assert 0.5 < np.isfinite(on_scene).all(0)[hidden].mean() < 0.9


def test_its_offset_is_the_recorded_one(on_scene):
    """Moved as recorded, it fits the truth better than as it is, and than moved the other way."""
    facts = json.loads((SAMPLE / "truth.json").read_text())["earlier"]["earlier_to_scene_offset_m"]
    east_px, south_px = facts["east"] / 3, -facts["north"] / 3
    same = clear_in_both(on_scene) & (read(SAMPLE / "land_cover.tif")[0] != BARE)
    rows, columns = np.gradient(read(SAMPLE / "truth.tif")[3] * REFLECTANCE_SCALE)
    difference = on_scene[3] - 0.96 * read(SAMPLE / "truth.tif")[3] * REFLECTANCE_SCALE
    # Not yet moved, it shows at a position what lies further along the offset: the truth plus its slope times that.
    slopes = np.stack([rows[same], columns[same], np.ones(same.sum())], 1)
    found_south_px, found_east_px, _ = np.linalg.lstsq(slopes, difference[same], rcond=None)[0]
    assert found_east_px == pytest.approx(east_px, abs=0.2)
    assert found_south_px == pytest.approx(south_px, abs=0.2)
