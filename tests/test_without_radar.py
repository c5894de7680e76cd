"""A scene for which there is no Sentinel-1, through the command: what is made of it, and what all its files say."""

import csv
import json
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
import rasterio
from affine import Affine
from click.testing import Result
from page_support import Page
from stac_support import read_valid
from support import ORIGIN, pattern, scene_dn, write_raster

import cloudfree
from cloudfree.bands import Qa
from cloudfree.product.provenance import IDENTITY_TAG

Cli = Callable[..., Result]
Make = Callable[..., Path]

SIDE = 240
HOLE = np.s_[80:150, 90:170]
GRID_3M = Affine(3, 0, ORIGIN[0], 0, -3, ORIGIN[1])
pytestmark = pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")  # of pictures

QUICK = "--buffer", 6, "--edge-limit", 0


class Case(NamedTuple):
    """A clouded scene, its mask, another date of it, and the truth (4, H, W)."""

    scene: Path
    mask: Path
    earlier: Path
    truth: np.ndarray

    @property
    def options(self) -> tuple[object, ...]:
        return "--planet", self.scene, "--mask", self.mask, *QUICK


@pytest.fixture
def case(make_scene: Make, make_mask: Make, tmp_path: Path) -> Case:
    truth = np.clip(scene_dn(SIDE, SIDE) + 300 * pattern(SIDE, SIDE, 3, 2.0), 200, 6000).astype(np.uint16)
    cloudy, cloud = truth.copy(), np.zeros((SIDE, SIDE), np.uint8)
    cloudy[:, *HOLE], cloud[HOLE] = 9000, 1
    other = np.clip(0.8 * truth + 400, 1, 10000).astype(np.uint16)
    earlier = write_raster(tmp_path / "20240601_earlier.tif", other, GRID_3M, nodata=0)
    return Case(make_scene(dn=cloudy), make_mask(cloud), earlier, truth)


def pixels(path: Path) -> np.ndarray:
    with rasterio.open(path) as dataset:
        return dataset.read()


def tags(path: Path) -> dict[str, str]:
    with rasterio.open(path) as dataset:
        return dataset.tags()


def error(made: np.ndarray, case: Case) -> float:
    """Root mean square (DN) well under the cloud."""
    off = made.astype(float) - case.truth
    return float(np.sqrt(np.square(off[:, 90:140, 100:160]).mean()))


@pytest.fixture
def made(cli: Cli, case: Case, tmp_path: Path) -> tuple[Result, Path]:
    """A run with another date and every file beside the product."""
    kinds = {"qa": "tif", "uncertainty": "tif", "quicklook": "png", "report": "html", "stac": "json"}
    beside = [word for kind, ending in kinds.items() for word in (f"--{kind}", tmp_path / f"out_{kind}.{ending}")]
    out = tmp_path / "out.tif"
    done = cli("run", *case.options, "--reference", case.earlier, *beside, "-o", out, "--json")
    assert done.exit_code == 0, done.output
    return done, out


def test_clear_pixels_are_kept_and_clouded_ones_are_told_by_the_other_date(
    made: tuple[Result, Path], case: Case, tmp_path: Path
) -> None:
    product, quality = pixels(made[1]), pixels(tmp_path / "out_qa.tif")
    kept = quality[0] == Qa.OBSERVED
    np.testing.assert_array_equal(product[:, kept], case.truth[:, kept])
    assert kept[:60].all()
    assert set(np.unique(quality[0])) == {Qa.OBSERVED, Qa.RECONSTRUCTED_WITHOUT_SAR}
    assert (quality[0][HOLE] == Qa.RECONSTRUCTED_WITHOUT_SAR).all()
    assert error(product, case) < 60, "of detail that varies by 300"


def test_what_is_said_of_it(made: tuple[Result, Path], case: Case, tmp_path: Path) -> None:
    done, out = made
    report, stated = json.loads(done.stdout), tags(out)
    assert report["coregistration"] is None
    assert set(report["trust"]) == {"thin", "opaque"}
    assert report["share"]["sar_of_data"] == 0
    assert set(report["scene_model"]) == {
        *("mean", "surroundings", "surroundings, leaking cloud", "image 1 alone", "all together", "trees")
    }
    assert done.stderr.count("there is no Sentinel-1") == 1
    assert json.loads(stated["CLOUDFREE_RADAR"]) == []
    assert json.loads(stated["CLOUDFREE_COREGISTRATION"]) is None
    assert json.loads(stated["CLOUDFREE_PROCESSING"])["trust"] == report["trust"]
    assert [image["name"] for image in json.loads(stated["CLOUDFREE_INPUTS"])] == [
        *("scene.tif", "mask.tif", "20240601_earlier.tif")
    ]
    calibrated = report["uncertainty"]
    assert calibrated["errors"] > 1000
    assert calibrated["within_one"] == pytest.approx(0.68, abs=0.12)


def test_files_beside_it_show_no_radar(made: tuple[Result, Path], tmp_path: Path) -> None:
    item = read_valid(tmp_path / "out_stac.json")
    assert "cloudfree:radar_shift_m" not in item["properties"]
    assert "Copernicus" not in item["properties"]["processing:lineage"]
    assert [link["title"] for link in item["links"]] == [
        *("PlanetScope scene", "Mask of clouds", "The same ground on another date")
    ]
    page = Page(tmp_path / "out_report.html")
    assert "backscatter" not in page.source
    assert "there is no Sentinel-1" in page.text("li").replace("There", "there")
    with rasterio.open(tmp_path / "out_quicklook.png") as picture:
        assert picture.width == 3 * SIDE + 2 * 8, "before, after and the uncertainty"


def test_a_mask_alone_is_enough_and_radar_makes_another_product(
    cli: Cli, case: Case, make_sar: Make, tmp_path: Path
) -> None:
    alone, with_radar = tmp_path / "alone.tif", tmp_path / "with_radar.tif"
    result = cloudfree.run(case.scene, None, alone, mask=case.mask, buffer_m=6.0, edge_limit_m=0.0)
    assert result.pixels["reconstructed_without_sar"] > 0
    assert result.pixels["reconstructed"] == result.pixels["seen_through"] == 0
    assert cli("run", *case.options, "--sar", make_sar(), "-o", with_radar).exit_code == 0
    made = pixels(alone)
    clear = np.ones((SIDE, SIDE), bool)
    clear[60:170, 70:190] = False
    np.testing.assert_array_equal(made[:, clear], case.truth[:, clear])
    assert (made[:, *HOLE] < 6500).all(), "no cloud stands"
    mean = case.truth[:, clear].mean(axis=1)[:, None, None]
    assert error(made, case) < 1.2 * error(np.broadcast_to(mean, made.shape), case)
    assert tags(alone)[IDENTITY_TAG] != tags(with_radar)[IDENTITY_TAG]


def test_weights_that_see_the_plain_image_are_not_asked(cli: Cli, case: Case, tmp_path: Path) -> None:
    """The model fills what radar does not see: here, all."""
    out, qa = tmp_path / "out.tif", tmp_path / "qa.tif"
    done = cli("run", *case.options, "--reference", case.earlier, "-o", out, "--qa", qa, "--weights", "identity")
    assert done.exit_code == 0, done.output
    assert (pixels(qa)[0][HOLE] == Qa.RECONSTRUCTED_WITHOUT_SAR).all()
    assert error(pixels(out), case) < 60


@pytest.mark.parametrize(
    ("words", "hint"),
    [
        (("--fill", "all"), "--fill clouds"),
        (("--without-sar", "keep"), "reconstructs nothing"),
        (("--without-sar", "nodata"), "reconstructs nothing"),
        (("--adapt", 1), "--adapt"),
        (("--coregister", "require"), "--coregister auto"),
        (("--sar-units", "db"), "--sar-units"),
        (("--allow-hh-hv",), "--allow-hh-hv"),
        (("--sar-scale", 2), "--sar-scale"),
    ],
)
def test_what_needs_radar_is_refused_in_a_line(
    cli: Cli, case: Case, tmp_path: Path, words: tuple[object, ...], hint: str
) -> None:
    out = tmp_path / "out.tif"
    done = cli("run", *case.options, "-o", out, *words)
    assert done.exit_code == 1
    assert hint in done.stderr
    assert "give --sar" in done.stderr
    assert done.stderr.strip().count("\n") == 0
    assert not out.exists()


def test_without_a_mask_and_without_clear_ground_there_is_nothing_to_go_by(
    cli: Cli, case: Case, make_mask: Make, tmp_path: Path
) -> None:
    out = tmp_path / "out.tif"
    done = cli("run", "--planet", case.scene, "--find-clouds", "never", "-o", out)
    assert done.exit_code == 1
    assert "nothing says where those of scene.tif are" in done.stderr
    make_mask(np.ones((SIDE, SIDE)))  # in place of the case's own
    done = cli("run", *case.options, "--reference", case.earlier, "-o", out)
    assert done.exit_code == 1
    assert "shows no clear ground and there is no Sentinel-1" in done.stderr
    assert not out.exists()


def test_a_command_that_is_for_radar_needs_it(cli: Cli, case: Case, tmp_path: Path) -> None:
    for command in ("align", "adapt"):
        done = cli(command, "--planet", case.scene, "-o", tmp_path / "out")
        assert done.exit_code == 2
        assert "--sar" in done.stderr
    from cloudfree.align import align

    with pytest.raises(cloudfree.CloudfreeError, match="give --sar"):
        align(case.scene, None, tmp_path / "out.tif")


# --- batches ---


@pytest.fixture
def rows(case: Case, make_sar: Make) -> list[dict[str, str]]:
    """A scene with radar and one without, for a list."""
    common = {"planet": case.scene.name, "mask": case.mask.name, "reference": case.earlier.name}
    return [
        {**common, "sar": make_sar().name, "output": "with.tif"},
        {**common, "sar": "", "output": "without.tif"},
    ]


def written(rows: list[dict[str, str]], path: Path) -> Path:
    if path.suffix == ".jsonl":
        path.write_text("\n".join(json.dumps({**row, "sar": [row["sar"]] if row["sar"] else []}) for row in rows))
        return path
    with path.open("w", newline="") as file:
        table = csv.DictWriter(file, rows[0].keys())
        table.writeheader()
        table.writerows(rows)
    return path


@pytest.mark.parametrize("name", ["list.csv", "list.jsonl"])
def test_a_list_may_have_scenes_without_radar_if_that_is_allowed(
    cli: Cli, rows: list[dict[str, str]], tmp_path: Path, name: str
) -> None:
    source, out = written(rows, tmp_path / name), tmp_path / "made"
    refused = cli("batch", source, "-o", out, *QUICK)
    assert refused.exit_code == 1
    assert "has no sar" in refused.stderr
    assert "--without-radar allow" in refused.stderr
    assert not out.exists()
    done = cli("batch", source, "-o", out, *QUICK, "--qa", "--without-radar", "allow", "--sar-units", "db")
    assert done.exit_code == 0, done.output
    assert Qa.RECONSTRUCTED in pixels(out / "with_qa.tif")[0]
    assert set(np.unique(pixels(out / "without_qa.tif")[0])) == {Qa.OBSERVED, Qa.RECONSTRUCTED_WITHOUT_SAR}
    with (out / "results.csv").open() as file:
        assert [(row["sar"] == "", row["status"]) for row in csv.DictReader(file)] == [(False, "made"), (True, "made")]


def test_what_needs_radar_is_refused_before_a_batch_begins(
    cli: Cli, rows: list[dict[str, str]], tmp_path: Path
) -> None:
    source, out = written(rows, tmp_path / "list.csv"), tmp_path / "made"
    done = cli("batch", source, "-o", out, "--without-radar", "allow", "--without-sar", "nodata")
    assert done.exit_code == 1
    assert "--without-sar nodata reconstructs nothing" in done.stderr
    assert not out.exists()


def test_scenes_of_a_folder_that_no_radar_sees_are_made_if_that_is_allowed(
    cli: Cli, make_scene: Make, make_mask: Make, make_sar: Make, tmp_path: Path
) -> None:
    (tmp_path / "in").mkdir()
    name = "in/20240606_101530_84_2481_3B_AnalyticMS_SR.tif"
    make_scene(name=name)
    bands = np.zeros((8, 96, 96))
    bands[0] = 1
    bands[:, 30:50, 30:50] = 0
    bands[5, 30:50, 30:50] = 1
    make_mask(bands, name="in/20240606_101530_84_2481_3B_udm2.tif")
    batch = "batch", tmp_path / "in", "-o", tmp_path / "made", "--dry-run"
    done = cli(*batch)
    assert done.exit_code == 1
    assert "--without-radar allow" in done.stderr
    make_sar(name="in/s1_20240601.tif", transform=Affine(10, 0, 700_000, 0, -10, 5_000_000))
    assert "--without-radar allow" in cli(*batch).stderr
    (job,) = json.loads(cli(*batch, "--without-radar", "allow").stdout)["jobs"]
    assert job["sar"] == []
    assert job["why"][0] == "no Sentinel-1 image in the folder overlaps it"
    done = cli(*batch[:-1], "--without-radar", "allow", "--qa")
    assert done.exit_code == 0, done.output
    (quality,) = (tmp_path / "made").glob("*_qa.tif")
    assert (pixels(quality)[0][32:48, 32:48] == Qa.RECONSTRUCTED_WITHOUT_SAR).all()
