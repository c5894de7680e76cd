"""`run --uncertainty`: the file, what it says beside the truth, how it is told, and when it is refused."""

import json
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
import rasterio
from affine import Affine
from click.testing import CliRunner, Result
from rasterio.errors import NotGeoreferencedWarning
from rio_cogeo.cogeo import cog_validate
from support import ORIGIN, write_raster

from cloudfree.bands import Qa
from cloudfree.cli import main
from cloudfree.simulate.landscape import landscape

SIDE = 260
GRID = Affine(3, 0, ORIGIN[0], 0, -3, ORIGIN[1])


class Case(NamedTuple):
    """A run with every output: its folder, the truth (4, H, W) as digital numbers, and its report."""

    folder: Path
    truth: np.ndarray
    report: dict

    def read(self, name: str) -> np.ndarray:
        with rasterio.open(self.folder / name) as dataset:
            return dataset.read()


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, np.ndarray]:
    """A folder with a scene that is cloudy in part and has a rim of nodata, its radar and its mask; and the truth."""
    folder = tmp_path_factory.mktemp("uncertainty")
    land = landscape(np.random.default_rng(7), SIDE, SIDE)
    truth = np.clip(1e4 * land.reflectance, 1, 9000).astype(np.uint16)
    cloud = np.zeros((SIDE, SIDE), np.uint8)
    cloud[60:150, 80:190] = 1
    cloudy = np.where(cloud, 9500, truth)
    cloudy[:, :20] = 0
    write_raster(folder / "scene.tif", cloudy.astype(np.uint16), GRID, nodata=0)
    write_raster(folder / "mask.tif", cloud[None], GRID)
    write_raster(folder / "s1.tif", land.sar_db, GRID, descriptions=("VV", "VH"))
    return folder, truth


@pytest.fixture(scope="module")
def case(inputs: tuple[Path, np.ndarray]) -> Case:
    folder, truth = inputs
    files = {"--planet": "scene.tif", "--sar": "s1.tif", "--mask": "mask.tif", "-o": "out.tif", "--qa": "qa.tif"}
    files |= {"--uncertainty": "unsure.tif", "--quicklook": "picture.png"}
    words = [word for option, name in files.items() for word in (option, str(folder / name))]
    done = CliRunner().invoke(main, ["run", *words, "--buffer", "6", "--json"], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return Case(folder, truth, json.loads(done.stdout))


@pytest.mark.slow
def test_it_is_a_cog_on_the_grid_of_the_product(case: Case) -> None:
    assert cog_validate(case.folder / "unsure.tif", strict=True, quiet=True)[0]
    with rasterio.open(case.folder / "unsure.tif") as deviation, rasterio.open(case.folder / "out.tif") as product:
        assert (deviation.crs, deviation.transform, deviation.shape) == (product.crs, product.transform, product.shape)
        assert deviation.dtypes == ("uint16",) * 4
        assert deviation.scales == (0.0001,) * 4
        assert deviation.nodata == 65535
        assert deviation.descriptions[3] == "standard deviation of nir"
        assert json.loads(deviation.tags()["CLOUDFREE_UNCERTAINTY"])["errors"] > 2000


def test_it_is_none_where_observed_some_where_made_and_nodata_outside(case: Case) -> None:
    deviation, classes = case.read("unsure.tif"), case.read("qa.tif")[0]
    assert (deviation[:, classes == Qa.NODATA] == 65535).all()
    assert (deviation[:, classes == Qa.OBSERVED] == 0).all()
    made = np.isin(classes, (Qa.RECONSTRUCTED, Qa.SEEN_THROUGH))
    assert made.sum() > 9000
    assert (deviation[:, made] > 0).all()
    assert (deviation[:, made] < 5000).all()


def test_errors_are_as_large_as_it_says(case: Case) -> None:
    deviation = case.read("unsure.tif")
    full = case.read("qa.tif")[1] == 100
    off = np.abs(case.read("out.tif").astype(float) - case.truth)[:, full] / deviation[:, full]
    assert 0.5 < (off < 1).mean() < 0.9
    assert (off < 2).mean() > 0.8


def test_the_report_sums_it_up(case: Case) -> None:
    uncertainty = case.report["uncertainty"]
    assert uncertainty["file"].endswith("unsure.tif")
    assert 0.6 < uncertainty["within_one"] < 0.8 < uncertainty["within_two"] < 1
    deviation, made = case.read("unsure.tif"), np.isin(case.read("qa.tif")[0], (2, 4, 5))
    np.testing.assert_allclose(list(uncertainty["mean"].values()), 1e-4 * deviation[:, made].mean(axis=1), atol=1e-4)


def test_it_is_the_fourth_panel_of_the_picture(case: Case) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", NotGeoreferencedWarning)
        picture = case.read("picture.png")
    assert picture.shape == (3, SIDE, 4 * SIDE + 3 * 8)
    panel = picture[:, :, -SIDE:]
    assert not panel[:, 200:, :60].any(), "black where observed"
    assert (panel[:, 90:120, 110:160].max(axis=0) > 20).all()


def test_classes_have_colours_that_travel_in_the_file(case: Case) -> None:
    assert cog_validate(case.folder / "qa.tif", strict=True, quiet=True)[0]
    assert not list(case.folder.glob("*.aux.xml"))
    with rasterio.open(case.folder / "qa.tif") as quality:
        assert [c.name for c in quality.colorinterp] == ["palette", "undefined"]
        colours = [quality.colormap(1)[qa] for qa in Qa]
        assert len(set(colours)) == len(Qa)
        assert (colours[Qa.NODATA][:3], quality.colormap(1)[255][3]) == ((0, 0, 0), 0), (
            "of a TIFF, nodata is transparent"
        )
        assert quality.nodatavals == (255, 255)
        assert quality.scales == (1, 1), "one for both: readers take the first for all"
        share = quality.read(2, masked=True)
        np.testing.assert_array_equal(share.mask, quality.read(1) == Qa.NODATA)
        assert (share == 0).any()
        assert "5 seen through" in quality.descriptions[0]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--find-clouds", "never"), "there is none; give --udm2 or --mask"),
        (("--mask", "mask.tif", "--weights", "identity"), "identity is shown the plain image"),
    ],
)
def test_what_nothing_would_calibrate_is_refused(
    cli: Callable[..., Result], inputs: tuple[Path, np.ndarray], options: tuple[str, ...], message: str, tmp_path: Path
) -> None:
    folder, _ = inputs
    paths = [folder / word if word.endswith(".tif") else word for word in options]
    out, unsure = tmp_path / "out.tif", tmp_path / "unsure.tif"
    files = "--planet", folder / "scene.tif", "--sar", folder / "s1.tif", "-o", out, "--uncertainty", unsure
    done = cli("run", *files, *paths)
    assert done.exit_code == 1
    assert message in done.stderr
    assert not list(tmp_path.iterdir())
