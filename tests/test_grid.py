import numpy as np
import pytest
from affine import Affine
from rasterio.crs import CRS
from rasterio.warp import transform as transform_points

from cloudfree.grid import Grid

UTM33, WGS84 = CRS.from_epsg(32633), CRS.from_epsg(4326)


def test_pixel_size_in_metres_of_projected_geographic_and_foot_grids() -> None:
    assert Grid(UTM33, Affine(3, 0, 5e5, 0, -3, 5e6), 10, 10).pixel_size_m == pytest.approx(3)
    geographic = Grid(WGS84, Affine(1e-4, 0, 15, 0, -1e-4, 45), 10, 10)
    assert geographic.pixel_size_m == pytest.approx(np.sqrt(7.885 * 11.113), rel=1e-3)  # one degree at 45 N
    feet = Grid(CRS.from_epsg(2229), Affine(10, 0, 6.4e6, 0, -10, 1.8e6), 10, 10)
    assert feet.pixel_size_m == pytest.approx(3.048, rel=1e-4)


@pytest.mark.parametrize("angle", [0, 30, 180])
def test_rows_and_windows_follow_the_transform(angle: float) -> None:
    grid = Grid(UTM33, Affine.translation(5e5, 5e6) @ Affine.rotation(angle) @ Affine.scale(3, -3), 40, 30)
    strip = grid.rows(10, 20)
    assert strip.transform @ (0, 0) == pytest.approx(grid.transform @ (0, 10))
    assert grid.pixel_bounds_of(strip) == (10, 20, 0, 40)


def test_metres_are_east_and_north_whatever_the_rows_do() -> None:
    for north_up in (-3, 3):
        grid = Grid(UTM33, Affine(3, 0, 5e5, 0, north_up, 5e6), 10, 10)
        east, north = grid.pixels_to_metres((1.0, 2.0))
        assert (east, north) == pytest.approx((6, north_up))


def test_overlap_across_coordinate_systems() -> None:
    grid = Grid(UTM33, Affine(10, 0, 5e5, 0, -10, 5e6), 100, 100)
    lon, lat = transform_points(UTM33, WGS84, [5e5 + 500, 5e5 + 2000], [5e6 + 10, 5e6 - 2000])
    east_half = Grid(WGS84, Affine((lon[1] - lon[0]) / 10, 0, lon[0], 0, (lat[1] - lat[0]) / 10, lat[0]), 10, 10)
    assert grid.overlap_share(east_half) == pytest.approx(0.5, abs=0.01)
    far = Grid(UTM33, Affine(10, 0, 6e5, 0, -10, 5e6), 100, 100)
    assert grid.overlap_share(far) == 0
    row_start, row_stop, *_ = grid.pixel_bounds_of(far)
    col_start, col_stop = grid.pixel_bounds_of(far)[2:]
    assert row_start >= row_stop or col_start >= col_stop
