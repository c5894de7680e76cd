"""Positions by a geolocation grid, against the formula that its points were made of."""

import numpy as np
import pytest
from affine import Affine
from rasterio.crs import CRS
from rasterio.warp import transform as transform_points
from safe_support import HEIGHT, WIDTH, SafeRecipe, ground_of
from support import ORIGIN, UTM33

from cloudfree.geometry import GeolocationGrid, Grid
from cloudfree.inputs.radar.safe.document import Document
from cloudfree.inputs.radar.safe.product import geolocation_of

WGS84 = CRS.from_epsg(4326)


def geolocation_grid(**odd: object) -> GeolocationGrid:
    return geolocation_of(Document.parse("annotation.xml", SafeRecipe(**odd).annotation().encode()))


@pytest.fixture(scope="module")
def samples() -> np.ndarray:
    """Lines and pixels (2, N) all over the image, its outermost edges included."""
    return np.random.default_rng(0).uniform(-0.5, [[HEIGHT - 0.5], [WIDTH - 0.5]], (2, 500))


@pytest.mark.parametrize("height_m", [0, 3000])
@pytest.mark.parametrize("crs", [UTM33, WGS84, CRS.from_epsg(3857), CRS.from_epsg(3035)])
def test_samples_are_found_in_any_coordinates_and_at_any_height(samples: np.ndarray, crs: CRS, height_m: float) -> None:
    """To a hundredth of a sample. Heights that the grid states are no matter: its positions are of them."""
    x, y = transform_points(UTM33, crs, *ground_of(*samples))
    line_pixel = geolocation_grid(height_m=height_m).pixels_at(crs, np.array(x), np.array(y))
    assert np.abs(np.array(line_pixel) - samples).max() < (0.01 if height_m == 0 else 0.1)


@pytest.mark.parametrize(
    ("crs", "east", "north"),
    [
        (CRS.from_epsg(32601), 100_000 + 67_000, 0),
        (CRS.from_epsg(32733), 500_000, 8_000_000),
        (CRS.from_epsg(5041), 2e6, 2e6),
    ],
    ids=["antimeridian and equator", "south", "pole"],
)
def test_anywhere_on_earth(samples: np.ndarray, crs: CRS, east: float, north: float) -> None:
    def moved(line: np.ndarray, pixel: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        x, y = ground_of(line, pixel)
        return x - ORIGIN[0] + east, y - ORIGIN[1] + north

    grid = geolocation_grid(ground=moved, crs=crs)
    x, y = moved(*samples)
    np.testing.assert_allclose(grid.pixels_at(crs, x, y), samples, atol=0.01)
    lon, lat = transform_points(crs, WGS84, x, y)
    np.testing.assert_allclose(grid.pixels_at(WGS84, np.array(lon) + 360, np.array(lat)), samples, atol=0.01)
    assert grid.overlap_share(Grid(crs, Affine(10, 0, east - 9000, 0, -10, north + 9000), 1800, 1800)) > 0.999


def test_what_is_elsewhere_is_outside_or_nowhere() -> None:
    grid = geolocation_grid()
    lon, lat = transform_points(UTM33, WGS84, [ORIGIN[0]], [ORIGIN[1]])
    everywhere = np.meshgrid(np.arange(lon[0] - 180, lon[0] + 181, 5), np.append(np.arange(-90, 91, 5), -lat[0]))
    line, pixel = grid.pixels_at(WGS84, *everywhere)
    inside = (line > -1) & (line < HEIGHT) & (pixel > -1) & (pixel < WIDTH)
    assert not inside.any()
    assert np.isnan(grid.pixels_at(UTM33, np.array([np.inf]), np.array([np.nan]))).all()


def test_bounds_and_shares_of_ground() -> None:
    grid = geolocation_grid()
    assert grid.pixel_size_m == pytest.approx(10, rel=0.03)
    assert grid.overlap_share(grid) == pytest.approx(1, abs=1e-3)
    area = Grid(UTM33, Affine(3, 0, ORIGIN[0], 0, -3, ORIGIN[1]), 96, 80)
    row0, row1, col0, col1 = grid.pixel_bounds_of(area)
    assert 128 < row0 < 140
    assert 160 < row1 < 172
    assert 178 < col0 < 190
    assert 210 < col1 < 222
    assert area.overlap_share(grid) == pytest.approx(1)
    assert grid.overlap_share(area) == pytest.approx(96 * 80 * 9 / (HEIGHT * WIDTH * 100), rel=0.03)


def test_equal_grids_are_one() -> None:
    """Both polarisations of a product are then resampled together."""
    assert geolocation_grid() == geolocation_grid()
    assert hash(geolocation_grid()) == hash(geolocation_grid())
    assert geolocation_grid() != geolocation_grid(height_m=5)
