"""Images of other dates in evaluation: how they are found and read, what they are worth alone, and fair means."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from affine import Affine
from support import ORIGIN, pattern, sar_values_db, tiny_seeing, write_raster

from cloudfree.evaluate import baselines, tables, triplets
from cloudfree.evaluate.methods import network
from cloudfree.evaluate.score import evaluate
from cloudfree.evaluate.triplets import Observation

SIDE = 64
TEN_METRES = Affine(10, 0, ORIGIN[0], 0, -10, ORIGIN[1])
HOLE, GAP = np.s_[20:40, 20:40], np.s_[:, 20:25, 20:40]
WITH_REFERENCES = ", images with references"


def ground(seed: int) -> np.ndarray:
    """Digital numbers (4, H, W) with detail of which radar knows nothing."""
    detail = 200 * pattern(SIDE, SIDE, seed, smooth=1.5)
    return np.clip(np.stack([900 + 400 * band + detail for band in range(4)]), 1, 9000).astype(np.uint16)


def other_date(seed: int) -> np.ndarray:
    """The same in another light, without data in a part of what the cloud hides."""
    dn = np.rint(0.8 * ground(seed) + 300).astype(np.uint16)
    dn[GAP] = 0
    return dn


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two images under a cloud, the first with an image of another date."""
    for seed, name in enumerate("ab"):
        clear, mask = ground(seed), np.zeros((SIDE, SIDE), np.uint8)
        mask[HOLE] = 1
        write_raster(tmp_path / f"{name}_clear.tif", clear, TEN_METRES, nodata=0)
        write_raster(tmp_path / f"{name}_cloudy.tif", np.where(mask, np.uint16(7000), clear), TEN_METRES, nodata=0)
        write_raster(tmp_path / f"{name}_sar.tif", sar_values_db(SIDE, SIDE, 9), TEN_METRES, descriptions=("VV", "VH"))
        write_raster(tmp_path / f"{name}_mask.tif", mask[None], TEN_METRES)
    write_raster(tmp_path / "a_reference.tif", other_date(0), TEN_METRES, nodata=0)
    return tmp_path


def observation(folder: Path) -> Observation:
    return triplets.read(triplets.find(folder)[0]).seen


def test_references_are_found_in_the_order_of_their_names(folder: Path) -> None:
    names = ["a_reference.tif", "a_reference2.tif", "a_reference_20240601_3B_AnalyticMS_SR.tif"]
    for name in (*names, "a_reference_20240601_3B_udm2.tif", "ab_reference.tif", "reference.tif"):
        (folder / name).touch()
    found = triplets.find(folder)
    assert [path.name for path in found[0].references] == names
    assert found[1].references == ()


def test_a_reference_on_the_same_grid_is_its_pixels(folder: Path) -> None:
    (other,) = observation(folder).others
    dn = other_date(0)
    assert np.isnan(other[GAP]).all()
    np.testing.assert_allclose(other[:, dn[0] > 0], dn[:, dn[0] > 0] * 1e-4, atol=1e-6)


def test_a_reference_may_lie_on_another_grid_and_have_clouds_of_its_own(folder: Path) -> None:
    (folder / "a_reference.tif").unlink()
    five_metres = Affine(5, 0, ORIGIN[0] + 100, 0, -5, ORIGIN[1])
    stem, dn = folder / "a_reference_20240601_3B", other_date(0).repeat(2, 1).repeat(2, 2)
    write_raster(stem.with_name(f"{stem.name}_AnalyticMS_SR.tif"), dn, five_metres, nodata=0)
    udm2 = np.zeros((8, 2 * SIDE, 2 * SIDE), np.uint8)
    udm2[0, :100], udm2[5, 100:] = 1, 1  # clear, cloud
    write_raster(stem.with_name(f"{stem.name}_udm2.tif"), udm2, five_metres)
    (other,) = observation(folder).others
    assert np.isnan(other[:, :, :10]).all(), "it begins 100 m farther east"
    assert np.isnan(other[:, 50:]).all(), "its own clouds"
    assert np.isnan(other[:, 47:50]).all(), "and what is near them"
    np.testing.assert_allclose(other[:, :15, 12:], other_date(0)[:, :15, 2:-10] * 1e-4, atol=1e-6)


def test_one_that_is_of_no_use_is_warned_of_and_left_out(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    elsewhere = Affine.translation(50_000, 0) @ TEN_METRES
    write_raster(folder / "a_reference.tif", other_date(0), elsewhere, nodata=0)
    assert observation(folder).others == ()
    assert "reference left out: a_reference.tif does not overlap" in caplog.text
    assert not [score for score in evaluate(folder).scores if "reference" in score.method]


def test_crops_and_pasted_clouds_keep_other_dates(folder: Path) -> None:
    whole = triplets.read(triplets.find(folder)[0])
    part = triplets.paste_clouds(whole).crop(slice(10, 40), slice(5, 60))
    np.testing.assert_array_equal(part.seen.others[0], whole.seen.others[0][:, 10:40, 5:60])
    assert part.seen.valid.shape == part.seen.mask.shape == part.valid.shape == (30, 55)


def test_pasted_is_what_it_shows_and_the_median_elsewhere(folder: Path) -> None:
    seen = observation(folder)
    pasted, median = baselines.pasted_reference(seen), baselines.median(seen)
    shown = seen.mask & np.isfinite(seen.others[0][0])
    np.testing.assert_array_equal(pasted[:, shown], seen.others[0][:, shown])
    np.testing.assert_array_equal(pasted[:, ~shown], median[:, ~shown])
    np.testing.assert_array_equal(pasted[:, ~seen.mask], seen.reflectance[:, ~seen.mask])


def test_fitted_is_the_same_ground_in_this_light_whatever_leaks_from_the_cloud(folder: Path) -> None:
    seen = observation(folder)
    near = (seen.distance_m() > 0) & (seen.distance_m() < 40)
    leaking = replace(seen, reflectance=seen.reflectance + np.float32(0.3) * near)
    fitted, shown = baselines.fitted_reference(leaking), seen.mask & np.isfinite(seen.others[0][0])
    np.testing.assert_allclose(fitted[:, shown], (ground(0) * 1e-4)[:, shown], atol=2e-4)
    np.testing.assert_array_equal(fitted[GAP], baselines.median(leaking)[GAP])


def test_what_shares_too_little_clear_ground_is_not_fitted(folder: Path) -> None:
    seen = observation(folder)
    only_under_cloud = np.where(seen.mask, seen.others[0], np.float32(np.nan))
    seen = replace(seen, others=(only_under_cloud,))
    np.testing.assert_array_equal(baselines.fitted_reference(seen), baselines.median(seen))
    np.testing.assert_array_equal(baselines.scene_model(seen), baselines.scene_model(replace(seen, others=())))


def test_model_and_a_network_that_sees_have_the_detail_of_another_date(folder: Path) -> None:
    seen, truth = observation(folder), ground(0) * 1e-4
    shown = seen.mask & np.isfinite(seen.others[0][0])
    for method in (baselines.scene_model, network(tiny_seeing(step=0))):
        errors = [
            np.sqrt(np.square(method(each) - truth)[:, shown].mean()) for each in (seen, replace(seen, others=()))
        ]
        assert errors[0] < 0.2 * errors[1]


def test_an_image_that_is_all_cloud_has_no_use_for_other_dates(folder: Path) -> None:
    seen = observation(folder)
    hidden = replace(seen, mask=np.ones_like(seen.valid))
    np.testing.assert_array_equal(baselines.scene_model(hidden), baselines.scene_model(replace(hidden, others=())))


def test_means_are_of_the_same_images(folder: Path) -> None:
    """Only one of two images has another date: what it is worth is compared on that one alone."""
    averages = evaluate(folder, {"same": lambda seen: seen.reflectance}).averages()
    of_both = [score for score in averages if score.region == "cloud"]
    of_one = [score for score in averages if score.region == f"cloud{WITH_REFERENCES}"]
    assert [score.method for score in of_both] == [*baselines.BASELINES, "same"]
    assert [score.method for score in of_one] == [*baselines.BASELINES, *baselines.REFERENCE_BASELINES, "same"]
    assert {score.images for score in of_both} == {2}
    assert {(score.images, score.pixels) for score in of_one} == {(1, 400)}
    by_method = {score.method: score.psnr_db for score in of_one}
    assert by_method["fitted reference"] > by_method["pasted reference"] > by_method["input"]


def test_where_all_images_have_other_dates_one_table_is_enough(folder: Path) -> None:
    write_raster(folder / "b_reference.tif", other_date(1), TEN_METRES, nodata=0)
    table = evaluate(folder)
    assert {score.region for score in table.averages()} == {"all", "cloud", "clear"}
    assert {score.images for score in table.averages()} == {2}
    assert "| fitted reference |" in tables.as_markdown(table)


def test_the_command_says_of_how_many_images(folder: Path, cli) -> None:
    done = cli("evaluate", folder, "--weights", "identity", "--same-date")
    assert done.exit_code == 0, done.output
    both, alone = done.stdout.split(f"**cloud{WITH_REFERENCES}**: ")
    assert "**cloud**: 800 pixels of 2 images" in both
    assert "fitted reference" not in both.split("**all, ")[0]
    assert alone.startswith("400 pixels of 1 image\n")
    assert "| fitted reference |" in alone
