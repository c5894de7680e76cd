from pathlib import Path

import numpy as np
import pytest
import rasterio
from affine import Affine
from pyproj import Transformer
from rasterio.crs import CRS
from rasterio.rpc import RPC
from rasterio.warp import transform as transform_points
from support import write_raster

from cloudfree.errors import GridError
from cloudfree.geometry import Grid

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


# --- where on the Earth, and in which metres ---


def test_metres_are_of_the_ground_where_a_projection_stretches_them() -> None:
    x, y = Transformer.from_crs(4326, 3857, always_xy=True).transform(15, 60)
    mercator = Grid(CRS.from_epsg(3857), Affine(4.777314267823516, 0, x, 0, -4.777314267823516, y), 10, 10)
    assert mercator.pixel_size_m == pytest.approx(2.389, rel=0.005)  # a quarter of a per cent is of the ellipsoid
    utm = Grid(CRS.from_epsg(32633), Affine(3, 0, 4e5, 0, -3, 5e6), 10, 10)
    assert utm.pixel_size_m == 3


def test_a_crs_that_cannot_be_placed_is_one_line(tmp_path: Path) -> None:
    local = (
        'ENGCRS["WGS 84 / UTM zone 33N",EDATUM["Unknown"],CS[Cartesian,2],AXIS["(E)",east],AXIS["(N)",north],'
        'LENGTHUNIT["metre",1]]'
    )
    path = tmp_path / "local.tif"
    profile = {"driver": "GTiff", "width": 2, "height": 2, "count": 1, "dtype": "uint8"}
    with rasterio.open(path, "w", crs=local, transform=Affine(3, 0, 4e5, 0, -3, 5e6), **profile):
        pass
    with rasterio.open(path) as dataset, pytest.raises(GridError, match="cannot be placed on the Earth") as caught:
        Grid.of(dataset)
    assert "\n" not in caught.value.message


@pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")
def test_a_raw_scene_with_rpcs_is_told_apart(tmp_path: Path) -> None:
    path = tmp_path / "raw.tif"
    line, sample = [0, 0, 1, *[0] * 17], [0, 1, *[0] * 18]
    one = [1, *[0] * 19]
    with rasterio.open(path, "w", driver="GTiff", width=9, height=9, count=1, dtype="uint8") as dataset:
        dataset.rpcs = RPC(0, 0, 45, 0.1, one, line, 4, 4, 15, 0.1, one, sample, 4, 4)
    with rasterio.open(path) as dataset, pytest.raises(GridError, match=r"RPC.*order ortho_analytic"):
        Grid.of(dataset)


@pytest.mark.parametrize(
    "transform",
    [
        Affine(np.nan, 0, 4e5, 0, -3, 5e6),
        Affine(3, 0, np.inf, 0, -3, 5e6),
        Affine(1e300, 0, 4e5, 0, -1e300, 5e6),
        Affine(3, 3, 4e5, 3, 3, 5e6),
        Affine(3, 0, 1e30, 0, -3, 5e6),
    ],
)
def test_a_geotransform_that_leads_nowhere_is_refused(tmp_path, transform):
    path = write_raster(tmp_path / "a.tif", np.ones((1, 4, 4), np.uint8), transform)
    with rasterio.open(path) as dataset, pytest.raises(GridError, match="leads nowhere on the Earth"):
        Grid.of(dataset)


def test_degrees_beyond_a_pole_are_nowhere(tmp_path):
    path = write_raster(tmp_path / "a.tif", np.ones((1, 4, 4), np.uint8), Affine(10, 0, 0, 0, -10, -200), "EPSG:4326")
    with rasterio.open(path) as dataset, pytest.raises(GridError, match="leads nowhere on the Earth"):
        Grid.of(dataset)
