"""Images of other dates through the command: what they bring back, how they are told, and which are left out."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
import rasterio
from affine import Affine
from click.testing import Result
from rasterio.warp import reproject
from support import ORIGIN, UTM33, pattern, scene_dn, write_raster

from cloudfree.cli.run import run as command
from cloudfree.inputs.files import InputOptions
from cloudfree.inputs.location.source import Source

SIDE = 240
HOLE = np.s_[80:150, 90:170]
GRID_3M = Affine(3, 0, ORIGIN[0], 0, -3, ORIGIN[1])


class Case(NamedTuple):
    """Options of a run, the truth (4, H, W), and the product's path."""

    options: tuple[object, ...]
    truth: np.ndarray
    out: Path


@pytest.fixture
def case(
    make_scene: Callable[..., Path], make_sar: Callable[..., Path], make_mask: Callable[..., Path], tmp_path: Path
) -> Case:
    """Ground with detail of which radar knows nothing, under a cloud."""
    detail = 300 * pattern(SIDE, SIDE, 3, 2.0)
    truth = np.clip(scene_dn(SIDE, SIDE) + detail, 200, 6000).astype(np.uint16)
    cloudy, cloud = truth.copy(), np.zeros((SIDE, SIDE), np.uint8)
    cloudy[:, *HOLE], cloud[HOLE] = 9000, 1
    out = tmp_path / "out.tif"
    files = "--planet", make_scene(dn=cloudy), "--sar", make_sar(), "--mask", make_mask(cloud)
    return Case((*files, "-o", out, "--buffer", 6, "--coregister", "off"), truth, out)


def reference(folder: Path, truth: np.ndarray, name: str = "20240601_reference.tif", moved_m: float = 0.0) -> Path:
    """The ground in another light, with a nodata gap that lies under the cloud in part."""
    dn = np.clip(0.8 * truth + 400, 1, 10000).astype(np.uint16)
    dn[:, 80:100, 90:110] = 0
    return write_raster(folder / name, dn, Affine.translation(moved_m, 0) @ GRID_3M, nodata=0)


def error(case: Case) -> float:
    """Root mean square under the cloud, where the reference shows the ground."""
    with rasterio.open(case.out) as product:
        off = product.read().astype(float) - case.truth
    return float(np.sqrt(np.square(off[:, 105:145, 115:165]).mean()))


@pytest.mark.slow
def test_detail_of_three_metres_comes_back(cli: Callable[..., Result], case: Case, tmp_path: Path) -> None:
    assert cli("run", *case.options).exit_code == 0
    alone = error(case)
    done = cli("run", *case.options, "--overwrite", "--json", "--reference", reference(tmp_path, case.truth))
    assert done.exit_code == 0, done.output
    assert error(case) < 0.35 * alone
    report = json.loads(done.stdout)
    assert report["references"][0]["acquired"] == "2024-06-01"
    assert sum(report["scene_model"][name] for name in ("all together", "image 1 alone", "trees")) > 0.8
    with rasterio.open(case.out) as product:
        tags = product.tags()
        made = product.read()
    assert json.loads(tags["CLOUDFREE_REFERENCES"])[0]["file"] == "20240601_reference.tif"
    assert "20240601_reference.tif" in tags["CLOUDFREE_INPUTS"]
    assert (made[:, *HOLE] > 0).all(), "the reference's own gap is filled too"
    np.testing.assert_array_equal(made[:, :60], case.truth[:, :60])


def test_a_misplaced_reference_is_moved(cli: Callable[..., Result], case: Case, tmp_path: Path) -> None:
    options = [option for option in case.options if option not in ("--coregister", "off")]
    path = reference(tmp_path, case.truth, moved_m=24.0)
    done = cli("run", *options, "--reference", path, "--dry-run")
    assert done.exit_code == 0, done.output
    offset = json.loads(done.stdout)["references"][0]["coregistration"]
    assert offset["accepted"]
    assert offset["shift_m"]["east"] == pytest.approx(-24, abs=2)
    assert offset["shift_m"]["north"] == pytest.approx(0, abs=2)


@pytest.mark.slow
def test_what_lies_off_by_two_pixels_is_found_and_is_worth_it(
    cli: Callable[..., Result], case: Case, tmp_path: Path
) -> None:
    """Two pixels of the scene are less than one of the survey."""
    path = reference(tmp_path, case.truth, moved_m=6.0)
    assert cli("run", *case.options, "--reference", path).exit_code == 0
    left_off = error(case)
    options = [option for option in case.options if option not in ("--coregister", "off")]
    done = cli("run", *options, "--overwrite", "--json", "--verbose", "--reference", path)
    assert done.exit_code == 0, done.output
    offset = json.loads(done.stdout)["references"][0]["coregistration"]
    assert offset["accepted"]
    assert offset["shift_m"]["east"] == pytest.approx(-6, abs=0.5)
    assert offset["shift_m"]["north"] == pytest.approx(0, abs=0.5)
    assert f"moved by {offset['shift_m']['east']:+.1f} m east" in done.stderr
    assert offset["reason"] in done.stderr
    assert error(case) < 0.7 * left_off
    with rasterio.open(case.out) as product:
        assert json.loads(product.tags()["CLOUDFREE_REFERENCES"])[0]["coregistration"] == offset


def test_what_cannot_be_used_is_warned_of_and_left_out(cli: Callable[..., Result], case: Case, tmp_path: Path) -> None:
    far = reference(tmp_path, case.truth, "elsewhere.tif", moved_m=50_000)
    done = cli("run", *case.options, "--reference", far, "--dry-run")
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout)["references"] == []
    assert "reference left out: elsewhere.tif does not overlap the scene" in done.stderr


def test_a_reference_of_other_ground_than_is_clear_is_left_out(
    cli: Callable[..., Result], case: Case, make_mask: Callable[..., Path], tmp_path: Path
) -> None:
    """With the scene all cloud there is nothing to learn from; the ground is what radar leads to expect."""
    everything = make_mask(np.ones((SIDE, SIDE), np.uint8))  # in place of the case's own
    done = cli("run", *case.options, "--reference", reference(tmp_path, case.truth), "--json")
    assert everything in case.options
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout)["references"] == []
    assert "20240601_reference.tif shows hardly any ground that the scene shows clear" in done.stderr


def test_a_reference_is_never_overwritten_not_even_one_that_was_left_out(
    cli: Callable[..., Result], case: Case, tmp_path: Path
) -> None:
    far = reference(tmp_path, case.truth, "elsewhere.tif", moved_m=50_000)
    before = far.read_bytes()
    options = [far if option == case.out else option for option in case.options]
    done = cli("run", *options, "--overwrite", "--reference", far)
    assert done.exit_code != 0
    assert "elsewhere.tif is an input" in done.stderr
    assert far.read_bytes() == before


def test_python_callers_may_give_one_path_or_several() -> None:
    one = InputOptions.of("scene.tif", "s1.tif", references="a.tif")
    several = InputOptions.of("scene.tif", ["vv.tif", "vh.tif"], references=["a.tif", Path("b.tif")])
    assert one.references == (Source.of("a.tif"),)
    assert several.references == (Source.of("a.tif"), Source.of("b.tif"))
    assert several.sar == (Source.of("vv.tif"), Source.of("vh.tif"))


def test_a_reference_that_does_not_exist_is_a_mistake(cli: Callable[..., Result], case: Case, tmp_path: Path) -> None:
    done = cli("run", *case.options, "--reference", tmp_path / "typo.tif")
    assert done.exit_code != 0
    assert "typo.tif does not exist" in done.stderr
    assert not case.out.exists()


def test_weights_that_see_the_plain_image_say_so(cli: Callable[..., Result], case: Case, tmp_path: Path) -> None:
    path = reference(tmp_path, case.truth)
    done = cli("run", *case.options, "--reference", path, "--weights", "identity", "--dry-run")
    assert "references help only where radar has a gap" in done.stderr


def test_the_option_may_be_repeated() -> None:
    assert next(option for option in command.params if option.name == "references").multiple


def test_a_date_that_shows_nothing_of_what_is_hidden_is_left_out_and_told(
    cli: Callable[..., Result], make_scene: Callable[..., Path], make_mask: Callable[..., Path], tmp_path: Path
) -> None:
    """One that shows a corner of it takes part; clouds are followed up to 300 m, so that far around counts too."""
    side, cloud = 400, np.zeros((400, 400), np.uint8)
    cloud[:40] = 1
    scene, mask = make_scene(dn=scene_dn(side, side)), make_mask(cloud)
    files = ["--planet", scene, "--mask", mask]
    for name, first in (("nothing.tif", 160), ("near.tif", 100), ("corner.tif", 20)):
        dn = scene_dn(side, side, seed=1)
        dn[:, :first] = 0
        files += ["--reference", write_raster(tmp_path / name, dn, GRID_3M, nodata=0)]
    done = cli("run", *files, "-o", tmp_path / "out.tif", "--dry-run", "-v", "--edge-limit", 0)
    assert done.exit_code == 0, done.output
    used = [Path(one["file"]).name for one in json.loads(done.stdout)["references"]]
    assert used == ["near.tif", "corner.tif"]
    assert done.stderr.count("nothing.tif shows nothing of the ground that clouds hide") == 1


TWINS = ["itself", "a copy", "its radiance", "another grid", "its product", "off by a pixel", "at 10 m"]


def twin(case: Case, folder: Path, form: str) -> Path:
    """The scene once more: as it is, in other numbers, on other grids, and what was made of it before."""
    scene = Path(case.options[1])
    with rasterio.open(scene) as dataset:
        dn = dataset.read()
    if form == "itself":
        return scene
    if form == "its radiance":
        coefficients = np.array([1.9e-5, 2.0e-5, 2.3e-5, 3.5e-5])[:, None, None]
        above = np.array([900, 600, 350, 150])[:, None, None]
        path = write_raster(folder / "20240601_a.tif", np.rint(dn * 0.9 + above).astype(np.uint16), GRID_3M, nodata=0)
        with rasterio.open(path, "r+") as dataset:
            dataset.scales = tuple(coefficients.ravel() * 5)
        return path
    if form == "its product":
        return Path(case.out).rename(folder / "20240601_a.tif")
    if form == "off by a pixel":
        return write_raster(folder / "20240601_a.tif", np.roll(dn, (1, 1), (1, 2)), GRID_3M, nodata=0)
    if form == "at 10 m":
        grid = GRID_3M @ Affine.scale(SIDE / 72)
        coarse = np.empty((4, 72, 72), np.uint16)
        reproject(dn, coarse, src_transform=GRID_3M, dst_transform=grid, src_crs=UTM33, dst_crs=UTM33, resampling=5)
        return write_raster(folder / "20240601_a.tif", coarse, grid, nodata=0)
    row, col = (1, 2) if form == "another grid" else (0, 0)
    grid = GRID_3M @ Affine.translation(col, row)
    return write_raster(folder / "20240601_a.tif", dn[:, row:, col:], grid, nodata=0)


@pytest.mark.parametrize("form", TWINS)
def test_the_scene_itself_is_no_other_date(cli: Callable[..., Result], case: Case, tmp_path: Path, form: str) -> None:
    """Its clouds would be pasted back, silently."""
    alone = cli("run", *case.options, "--weights", "identity")
    assert alone.exit_code == 0
    with rasterio.open(case.out) as product:
        expected = product.read()
    options = "--weights", "identity", "--overwrite", "--reference", twin(case, tmp_path, form), "--json"
    done = cli("run", *case.options, *options)
    assert done.exit_code == 0, done.output
    assert "reference left out" in done.stderr
    assert "of another day" in done.stderr
    assert json.loads(done.stdout)["references"] == []
    with rasterio.open(case.out) as product:
        np.testing.assert_array_equal(product.read(), expected)


def test_a_copy_is_known_again_where_hardly_anything_is_cloudy(
    cli: Callable[..., Result], make_scene: Callable[..., Path], make_mask: Callable[..., Path], tmp_path: Path
) -> None:
    dn, cloud = scene_dn(160, 160), np.zeros((160, 160), np.uint8)
    cloud[80:85, 80:85] = 1
    dn[:, cloud > 0] = 9000
    scene, copy = make_scene(dn=dn), make_scene(dn=dn, name="june.tif")
    done = cli("run", "--planet", scene, "--mask", make_mask(cloud), "--reference", copy, "-o", "o.tif", "--dry-run")
    assert done.exit_code == 0, done.output
    assert "reference left out: june.tif has the scene's own pixels" in done.stderr


def test_ground_that_a_mask_takes_for_cloud_on_two_days_is_no_proof(
    cli: Callable[..., Result], make_scene: Callable[..., Path], make_mask: Callable[..., Path], tmp_path: Path
) -> None:
    """A lake and a bright roof under the mask look alike on other days too."""
    dn, cloud = scene_dn(160, 160), np.zeros((160, 160), np.uint8)
    cloud[20:60, 30:70], cloud[120:] = 1, 1
    dn[:, 20:60, 30:70] = np.array([2600, 2900, 3200, 3800])[:, None, None] + dn[:, 20:60, 30:70] // 20
    dn[:, 120:] = np.array([300, 350, 200, 80])[:, None, None] + dn[:, 120:] // 200
    noise = np.random.default_rng(0).normal(0, 15, dn.shape)
    scene = make_scene(dn=dn, name="20220515_101530_84_2481_3B_AnalyticMS_SR.tif")
    other = make_scene(dn=np.clip(dn * 1.04 + noise, 1, 9000).astype(np.uint16), name="20220520_other.tif")
    done = cli("run", "--planet", scene, "--mask", make_mask(cloud), "--reference", other, "-o", "o.tif", "--dry-run")
    assert done.exit_code == 0, done.output
    assert len(json.loads(done.stdout)["references"]) == 1


def test_another_product_of_the_same_item_is_no_other_date(
    cli: Callable[..., Result], make_scene: Callable[..., Path], make_mask: Callable[..., Path], tmp_path: Path
) -> None:
    """By Planet's name, whatever the numbers are."""
    scene = make_scene(name="20220515_101530_84_2481_3B_AnalyticMS_SR_clip.tif")
    other = make_scene(name="20220515_101530_84_2481_3B_AnalyticMS_toar.tif", dn=scene_dn(96, 96, seed=7))
    cloud = np.zeros((96, 96), np.uint8)
    cloud[30:50, 30:50] = 1
    done = cli("run", "--planet", scene, "--mask", make_mask(cloud), "--reference", other, "-o", "o.tif", "--dry-run")
    assert done.exit_code == 0, done.output
    assert f"reference left out: {other.name} is of the scene's own acquisition, by its name" in done.stderr


def test_another_date_of_nearly_the_same_ground_is_one(cli: Callable[..., Result], case: Case, tmp_path: Path) -> None:
    """Its clear pixels are the scene's but for noise; under the cloud it shows the ground."""
    noise = np.random.default_rng(0).normal(0, 15, case.truth.shape)
    path = write_raster(tmp_path / "20240601_a.tif", (case.truth + noise).astype(np.uint16), GRID_3M, nodata=0)
    done = cli("run", *case.options, "--reference", path, "--dry-run")
    assert done.exit_code == 0, done.output
    assert len(json.loads(done.stdout)["references"]) == 1
