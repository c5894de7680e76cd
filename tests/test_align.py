"""`cloudfree align`, with images moved by hand, and the one resampling that it rests on."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import rasterio
from affine import Affine
from click.testing import Result
from rasterio.crs import CRS
from rasterio.warp import transform as transform_points
from rio_cogeo.cogeo import cog_validate
from scipy.ndimage import map_coordinates
from support import ORIGIN, UTM33, pattern, write_raster

from cloudfree.align import align
from cloudfree.errors import InputError, OutputError
from cloudfree.geometry import Displacement, Grid
from cloudfree.geometry.displacement import basis
from cloudfree.inputs.radar.image import identify_sar

Cli = Callable[..., Result]
EAST, NORTH = 23.0, -14.0
SIDE = 640  # pixels of 3 m


def ground(x: np.ndarray, y: np.ndarray, seed: int = 0) -> np.ndarray:
    """Which of seven kinds of field lies at coordinates within a few kilometres of the origin."""
    kinds = np.digitize(pattern(1200, 1200, seed, smooth=16), np.linspace(-1.5, 1.5, 6))
    return kinds[((ORIGIN[1] + 500 - y) // 2.5).astype(int), ((x - ORIGIN[0] + 500) // 2.5).astype(int)]


def centres(grid: Grid) -> tuple[np.ndarray, np.ndarray]:
    rows, cols = np.mgrid[: grid.height, : grid.width] + 0.5
    return grid.transform @ (cols, rows)


@pytest.fixture
def place(tmp_path: Path) -> tuple[Path, Path]:
    """A scene, and SAR of the same fields which lies 23 m too far west and 14 m too far north."""
    rng = np.random.default_rng(0)
    scene = Grid(UTM33, Affine(3, 0, ORIGIN[0], 0, -3, ORIGIN[1]), SIDE, SIDE)
    dn = rng.integers(300, 4000, (4, 7))[:, ground(*centres(scene))]
    optical = write_raster(tmp_path / "scene.tif", dn.astype(np.uint16), scene.transform, nodata=0)
    radar = Grid(UTM33, Affine(10, 0, ORIGIN[0] - 100, 0, -10, ORIGIN[1] + 100), 220, 220)
    x, y = centres(radar)
    db = rng.uniform(-18, -6, 7)[ground(x + EAST, y + NORTH)] + 10 * np.log10(rng.gamma(4.4, 1 / 4.4, x.shape))
    values = np.stack([db, db - 7]).astype(np.float32)
    return optical, write_raster(tmp_path / "s1.tif", values, radar.transform, descriptions=("VV", "VH"))


@pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")  # the picture
def test_what_was_moved_by_hand_is_moved_back(place: tuple[Path, Path], tmp_path: Path, cli: Cli) -> None:
    output, picture = tmp_path / "s1_on_grid.tif", tmp_path / "look.png"
    result = cli(
        "align", "--planet", place[0], "--sar", place[1], "-o", output, "--json", "--quicklook", picture, "--quiet"
    )
    assert result.exit_code == 0, result.output
    answer = json.loads(result.stdout)
    assert answer["accepted"], answer["reason"]
    assert answer["shift_m"]["east"] == pytest.approx(EAST, abs=3)
    assert answer["shift_m"]["north"] == pytest.approx(NORTH, abs=3)
    assert answer["confidence"] > 0.999
    assert answer["windows"]["used"] > answer["windows"]["rejected"]
    assert 0 < answer["residual_spread_m"] < 10
    assert "windows agree" in answer["reason"]

    assert cog_validate(output, strict=True, quiet=True)[0]
    with rasterio.open(output) as product, rasterio.open(place[0]) as scene, rasterio.open(place[1]) as delivered:
        assert (product.crs, product.transform, product.shape) == (scene.crs, scene.transform, scene.shape)
        assert product.dtypes == ("float32", "float32")
        assert np.isnan(product.nodata)
        assert product.descriptions == ("VV", "VH")
        tag = json.loads(product.tags()["CLOUDFREE_COREGISTRATION"])
        assert tag["shift_m"] == answer["shift_m"]
        x, y = centres(Grid.of(scene))
        col, row = ~delivered.transform @ (x - tag["shift_m"]["east"], y - tag["shift_m"]["north"])
        expected = map_coordinates(delivered.read(1), [row - 0.5, col - 0.5], order=1)
        np.testing.assert_allclose(product.read(1), expected, atol=0.05)
    with rasterio.open(picture) as image:
        assert image.count == 3
        panels = image.read()
    assert (panels == np.array((60, 255, 80))[:, None, None]).all(axis=0).any()  # vectors that count are green


def test_run_decides_alike(place: tuple[Path, Path], tmp_path: Path, cli: Cli) -> None:
    files = ("--planet", place[0], "--sar", place[1], "-o", tmp_path / "out.tif")
    planned = json.loads(cli("run", *files, "--dry-run", "--weights", "identity").stdout)["coregistration"]
    aligned = json.loads(cli("align", *files, "--json").stdout)
    assert planned == {"mode": "auto"} | {key: aligned[key] for key in planned if key != "mode"}


def test_unrelated_is_left_where_it_is_and_said(place: tuple[Path, Path], tmp_path: Path, cli: Cli) -> None:
    rng = np.random.default_rng(1)
    noise = rng.integers(300, 4000, (4, SIDE, SIDE)).astype(np.uint16)
    other = write_raster(tmp_path / "other.tif", noise, Affine(3, 0, ORIGIN[0], 0, -3, ORIGIN[1]), nodata=0)
    result = cli("align", "--planet", other, "--sar", place[1], "-o", tmp_path / "o.tif", "--json")
    answer = json.loads(result.stdout)
    assert not answer["accepted"]
    assert answer["shift_m"] == {"east": 0, "north": 0}
    assert "left where it is" in result.stderr


def test_the_library_takes_names_and_refuses_to_clobber(place: tuple[Path, Path], tmp_path: Path) -> None:
    output = tmp_path / "o.tif"
    alignment = align(str(place[0]), str(place[1]), str(output), compress="lzw")
    assert alignment.offset.accepted
    with pytest.raises(OutputError, match="--overwrite"):
        align(place[0], place[1], output)
    with pytest.raises(InputError, match="leave the other out"):
        align(place[0], place[1], tmp_path / "x.tif", udm2=place[0], mask=place[0])
    assert not list(tmp_path.glob(".cloudfree-*"))


# --- the resampling ---

SCENE = Grid(UTM33, Affine(3, 0, ORIGIN[0], 0, -3, ORIGIN[1]), 150, 120)
AROUND = Grid(UTM33, Affine(3, 0, ORIGIN[0] - 600, 0, -3, ORIGIN[1] + 900), 1500, 1200)
FIELD = Displacement(AROUND, (12.0, 7.5, -3.0, 4.0, 1.0, -2.0), (-9.0, 2.0, 5.0, 0.0, -3.0, 1.0))


def warped(path: Path, grid: Grid, moved: Displacement | None) -> np.ndarray:
    with identify_sar([path], SCENE).open() as reader:
        return reader.on_grid(grid, moved)


@pytest.mark.parametrize("moved", [Displacement(SCENE, (30.0,), (-20.0,)), FIELD])
def test_displacement_is_exact_across_coordinate_systems(moved: Displacement, tmp_path: Path) -> None:
    """Against bilinear interpolation at positions displaced and transformed pixel by pixel."""
    crs = CRS.from_epsg(4326)
    lon, lat = transform_points(UTM33, crs, [ORIGIN[0] - 500], [ORIGIN[1] + 500])
    transform = Affine(1.3e-4, 0, lon[0], 0, -9e-5, lat[0])
    values = np.stack([-10 + 3 * pattern(200, 200), -17 + 3 * pattern(200, 200, 1)]).astype(np.float32)
    path = write_raster(tmp_path / "geo.tif", values, transform, crs, descriptions=("VV", "VH"))
    x, y = centres(SCENE)
    east, north = moved.at(x, y)
    lons, lats = transform_points(UTM33, crs, (x - east).ravel(), (y - north).ravel())
    col, row = ~transform @ (np.array(lons), np.array(lats))
    expected = [map_coordinates(band, [row - 0.5, col - 0.5], order=1).reshape(SCENE.shape) for band in values]
    np.testing.assert_allclose(warped(path, SCENE, moved), expected, atol=1e-3)


@pytest.mark.parametrize("moved", [None, Displacement(SCENE, (30.0,), (-20.0,)), FIELD])
def test_strips_equal_the_whole_with_a_field_too(moved: Displacement | None, make_sar: Callable[..., Path]) -> None:
    path = make_sar()
    whole = warped(path, SCENE, moved)
    strips = [warped(path, SCENE.rows(start, min(start + 50, 120)), moved) for start in range(0, 120, 50)]
    np.testing.assert_allclose(np.concatenate(strips, axis=1), whole, atol=1e-3)


def test_holes_stay_holes_and_move_along(make_sar: Callable[..., Path]) -> None:
    values = np.full((2, 300, 300), -10, np.float32) - np.float32(7) * np.arange(2, dtype=np.float32)[:, None, None]
    values[:, 110:114, 110:116] = np.nan
    path = make_sar(values=values, transform=Affine(10, 0, ORIGIN[0] - 1000, 0, -10, ORIGIN[1] + 1000))
    hole = np.isnan(warped(path, SCENE, Displacement(SCENE, (30.0,), (-60.0,)))[0])
    expected = np.zeros(SCENE.shape, bool)
    x, y = centres(SCENE)
    inside_x, inside_y = x - ORIGIN[0] - 30, ORIGIN[1] - y - 60  # where it was
    expected[(inside_x > 100) & (inside_x < 160) & (inside_y > 100) & (inside_y < 140)] = True
    assert (hole != expected).mean() < 0.005
    assert hole.any()


def test_mean_of_a_field_is_that_of_its_pixels() -> None:
    east, north = FIELD.at(*centres(AROUND))
    assert FIELD.mean_m == pytest.approx((east.mean(), north.mean()), abs=0.01)
    assert Displacement(SCENE).mean_m == (0, 0)
    assert not FIELD.is_uniform


def test_terms_are_those_of_the_polynomial() -> None:
    np.testing.assert_array_equal(basis(np.array([2.0]), np.array([3.0]), 6), [[1, 2, 3, 4, 6, 9]])
