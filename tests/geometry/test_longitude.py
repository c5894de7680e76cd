"""Longitude is cyclic: files whose degrees run beyond 180, or from 0 to 360, lie where they lie."""

from pathlib import Path

import numpy as np
import pytest
from affine import Affine
from pyproj import Transformer
from rasterio.crs import CRS
from support import write_raster

from cloudfree.geometry import Grid
from cloudfree.geometry.resample import positions
from cloudfree.inputs.masks.mask import identify_mask
from cloudfree.inputs.radar.image import identify_sar

WGS84, FIJI, GUINEA, MERCATOR = (CRS.from_epsg(code) for code in (4326, 32760, 32628, 3857))
STEP = 9e-5


def area(crs: CRS, lon: float, lat: float, pixels: int = 80) -> Grid:
    """A scene at 3 m around a place."""
    x, y = Transformer.from_crs(WGS84, crs, always_xy=True).transform(lon, lat)
    return Grid(crs, Affine(3, 0, x - 1.5 * pixels, 0, -3, y + 1.5 * pixels), pixels, pixels)


def field(lon: np.ndarray, lat: np.ndarray) -> np.ndarray:
    """VV and VH (2, ...) in dB, of longitudes at any turn."""
    away = (lon - 180 + 180) % 360 - 180
    vv = -10 + 3 * np.sin(away / 3e-3) + 2 * np.cos(lat / 3e-3)
    return np.stack([vv, vv - 7])


def centres(grid: Grid) -> tuple[np.ndarray, np.ndarray]:
    rows, cols = np.mgrid[: grid.height, : grid.width] + 0.5
    x, y = grid.transform @ (cols, rows)
    return Transformer.from_crs(grid.crs, WGS84, always_xy=True).transform(x, y)


def geographic(left: float, top: float, pixels: int = 250) -> Grid:
    return Grid(WGS84, Affine(STEP, 0, left, 0, -STEP, top), pixels, pixels)


def radar(path: Path, grid: Grid) -> Path:
    values = field(*centres(grid)).astype(np.float32)
    return write_raster(path, values, grid.transform, grid.crs, descriptions=("VV", "VH"))


CASES = {
    "across 180, beyond it": (area(FIJI, 180, -16.8), geographic(180 - 0.011, -16.789)),
    "across -180, beyond it": (area(FIJI, 180, -16.8), geographic(-180 - 0.011, -16.789)),
    "just east of 180": (area(FIJI, -179.997, -16.8), geographic(180 - 0.008, -16.789)),
    "0 to 360 degrees": (area(GUINEA, -14.5, 10), geographic(345.5 - 0.011, 10.011)),
    "a scene in 0 to 360": (geographic(345.5 - 0.005, 10.005, 100), geographic(-14.5 - 0.011, 10.011)),
    "Mercator beyond 180": (
        area(FIJI, 180, -16.8),
        Grid(MERCATOR, Affine(10, 0, 20037508.34 - 1200, 0, -10, -1_896_000), 250, 250),
    ),
    "Mercator, the other side": (
        area(FIJI, 180, -16.8),
        Grid(MERCATOR, Affine(10, 0, -20037508.34 - 1200, 0, -10, -1_896_000), 250, 250),
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_radar_lies_where_it_lies(tmp_path: Path, name: str) -> None:
    scene, image = CASES[name]
    assert scene.overlap_share(image) == pytest.approx(1, abs=1e-3)
    with identify_sar([radar(tmp_path / "s1.tif", image)], scene).open() as reader:
        result_db = reader.on_grid(scene)
    assert np.isfinite(result_db).all()
    assert np.abs(result_db - field(*centres(scene))).max() < 0.05


def test_tiles_on_either_side_of_180_are_one_image(tmp_path: Path) -> None:
    """As archives cut them: one ends at 180, the other begins at -180."""
    scene = area(FIJI, 180, -16.8)
    west = radar(tmp_path / "west.tif", geographic(180 - 250 * STEP, -16.789))
    east = radar(tmp_path / "east.tif", geographic(-180, -16.789))
    for path, share in ((west, 0.5), (east, 0.5)):
        with identify_sar([path], scene).open() as reader:
            assert np.isfinite(reader.on_grid(scene)).mean() == pytest.approx(share, abs=0.02)
    with identify_sar([west, east], scene).open() as reader:
        result_db = reader.on_grid(scene)
    assert np.isfinite(result_db).all()
    assert np.abs(result_db - field(*centres(scene))).max() < 0.3


@pytest.mark.parametrize("left", [180 - 0.011, -180 - 0.011])
def test_a_mask_beyond_180_hides_what_it_covers(tmp_path: Path, left: float) -> None:
    scene, grid = area(FIJI, 180, -16.8), geographic(left, -16.789)
    lon, _ = centres(grid)
    cloudy = ((lon - 180 + 180) % 360 - 180 > 0.0003)[None]
    path = write_raster(tmp_path / "mask.tif", cloudy.astype(np.uint8), grid.transform, grid.crs)
    with identify_mask(path, scene).open() as reader:
        on_scene = reader.on_grid(scene)
    expected = (centres(scene)[0] % 360 - 180) > 0.0003
    assert (on_scene == expected).mean() > 0.98
    assert 0.2 < on_scene.mean() < 0.5


def test_the_other_side_of_the_earth_is_elsewhere() -> None:
    scene = area(FIJI, 180, -16.8)
    far = geographic(-0.01, -16.789)
    assert scene.overlap_share(far) == 0
    assert far.overlap_share(scene) == 0
    row0, row1, col0, col1 = far.pixel_bounds_of(scene)
    assert row0 >= row1 or col0 >= col1


def test_a_scene_at_a_pole_has_a_footprint() -> None:
    """Its outline runs around the Earth and cannot be unrolled; what radar covers there is found from its own side."""
    polar = Grid(CRS.from_epsg(3413), Affine(100, 0, -5000, 0, -100, 5000), 100, 100)
    assert polar.footprint(WGS84).is_valid
    arctic = Grid(WGS84, Affine(0.1, 0, -180, 0, -0.001, 90), 3600, 200)
    assert polar.overlap_share(arctic) > 0.9


def test_a_raster_around_the_whole_earth_is_read_on_both_sides() -> None:
    """Its seam runs through the scene: the first column is beside the last."""
    earth = Grid(WGS84, Affine(0.001, 0, -180, 0, -0.001, -16), 360_000, 2000)
    scene = area(FIJI, 180, -16.8, 160)
    assert scene.overlap_share(earth) == pytest.approx(1, abs=1e-3)
    _, col = positions(earth, scene, None)
    lon = (earth.transform @ (col + 0.5, col))[0]
    np.testing.assert_allclose((lon - centres(scene)[0] + 180) % 360 - 180, 0, atol=1e-6)
    assert col.min() >= -0.51
    assert col.max() <= 359_999.51
