"""An image of another date: what it is taken for, where its reflectance comes to lie, and what is refused."""

from collections.abc import Callable
from dataclasses import replace
from datetime import date
from pathlib import Path

import numpy as np
import pytest
import rasterio
from affine import Affine
from rasterio.crs import CRS
from rasterio.enums import ColorInterp
from rasterio.env import get_gdal_config
from rasterio.warp import transform as transform_points
from rasterio.windows import Window
from scipy.ndimage import distance_transform_edt
from support import ORIGIN, UTM33, scene_dn, write_raster

from cloudfree.bands import Udm2
from cloudfree.errors import CloudfreeError, GridError, InputError
from cloudfree.geometry import Displacement, Grid
from cloudfree.inputs.optical.bands import choose_bands
from cloudfree.inputs.optical.reference import Reference, identify_reference
from cloudfree.inputs.raster import access

NORTH_UP_3M = Affine(3, 0, ORIGIN[0], 0, -3, ORIGIN[1])
SCENE = Grid(UTM33, NORTH_UP_3M, 96, 80)
PRODUCT = "20230415_101122_03_2456_3B_AnalyticMS_SR.tif"
MakeScene = Callable[..., Path]


def on_grid(path: Path, grid: Grid = SCENE, displacement: Displacement | None = None) -> np.ndarray:
    with replace(identify_reference(path, grid), displacement=displacement).open() as reader:
        return reader.on_grid(grid)


def ramp(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Reflectance (4, ...) that rises by a ten-thousandth a metre eastward, by two southward, and from band to band."""
    ground = 0.2 + 1e-4 * (x - ORIGIN[0]) - 2e-4 * (y - ORIGIN[1])
    return np.stack([ground + 0.02 * band for band in range(4)])


def centres(grid: Grid) -> tuple[np.ndarray, np.ndarray]:
    """Coordinates (H, W) in the CRS of the scene."""
    rows, cols = np.mgrid[: grid.height, : grid.width] + 0.5
    x, y = grid.transform @ (cols.ravel(), rows.ravel())
    coordinates = transform_points(grid.crs, UTM33, x, y) if grid.crs != UTM33 else (x, y)
    return tuple(np.array(axis).reshape(grid.shape) for axis in coordinates)


def write_ramp(path: Path, grid: Grid) -> Path:
    values = ramp(*centres(grid)).astype(np.float32)
    return write_raster(path, values, grid.transform, grid.crs, descriptions=("blue", "green", "red", "nir"))


def grid_around(crs: CRS, pixel_x: float, pixel_y: float) -> Grid:
    """A grid of another CRS that reaches beyond the scene on all sides."""
    xs, ys = transform_points(UTM33, crs, [ORIGIN[0] - 90, ORIGIN[0] + 380], [ORIGIN[1] + 90, ORIGIN[1] - 330])
    width, height = round((xs[1] - xs[0]) / pixel_x), round((ys[0] - ys[1]) / pixel_y)
    return Grid(crs, Affine(pixel_x, 0, xs[0], 0, -pixel_y, ys[0]), width, height)


# --- where its pixels come to lie ---


@pytest.mark.parametrize("shape", [(80, 96), (97, 83), (1, 7), (530, 601)])
def test_on_its_own_grid_it_is_itself(make_scene: MakeScene, shape: tuple[int, int]) -> None:
    dn = scene_dn(*shape)
    reflectance = on_grid(make_scene(dn=dn), Grid(UTM33, NORTH_UP_3M, shape[1], shape[0]))
    assert reflectance.dtype == np.float32
    np.testing.assert_allclose(reflectance, dn * 1e-4, atol=1e-6)


@pytest.mark.parametrize(
    ("crs", "pixel_x", "pixel_y"),
    [(UTM33, 10.0, 10.0), (UTM33, 0.9, 1.1), (CRS.from_epsg(32632), 5.0, 5.0), (CRS.from_epsg(4326), 1.2e-4, 9e-5)],
)
def test_ground_stays_where_it_is_in_any_crs_and_resolution(
    tmp_path: Path, crs: CRS, pixel_x: float, pixel_y: float
) -> None:
    reflectance = on_grid(write_ramp(tmp_path / "ramp.tif", grid_around(crs, pixel_x, pixel_y)))
    np.testing.assert_allclose(reflectance, ramp(*centres(SCENE)), atol=2e-5)  # a tenth of a metre


def test_displaced_it_shows_what_was_there_minus_the_displacement(tmp_path: Path) -> None:
    path = write_ramp(tmp_path / "ramp.tif", grid_around(CRS.from_epsg(32632), 10, 10))
    x, y = centres(SCENE)
    np.testing.assert_allclose(
        on_grid(path, displacement=Displacement(SCENE, (25.0,), (-13.0,))), ramp(x - 25, y + 13), atol=2e-5
    )


@pytest.mark.parametrize("factor", [2, 4, 7])
def test_going_coarser_it_is_averaged(make_scene: MakeScene, factor: int) -> None:
    dn = scene_dn(14 * factor, 11 * factor)
    coarse = Grid(UTM33, NORTH_UP_3M @ Affine.scale(factor), 11, 14)
    blocks = dn.reshape(4, 14, factor, 11, factor) * 1e-4
    np.testing.assert_allclose(on_grid(make_scene(dn=dn), coarse), blocks.mean(axis=(2, 4)), atol=1e-6)


def test_a_coarse_pixel_needs_half_of_its_ground(make_scene: MakeScene) -> None:
    dn = scene_dn(40, 40)
    dn[:, :8, :2] = 0  # half of two pixels
    dn[:, :8, 4:7] = 0  # three quarters of two
    reflectance = on_grid(make_scene(dn=dn), Grid(UTM33, NORTH_UP_3M @ Affine.scale(4), 10, 10))
    assert np.isnan(reflectance[:, :2, 1]).all()
    assert np.isfinite(reflectance).sum() == 4 * 98
    np.testing.assert_allclose(reflectance[:, 0, 0], dn[:, :4, 2:4].mean(axis=(1, 2)) * 1e-4, rtol=1e-5)


def test_pieces_and_strips_equal_the_whole(make_scene: MakeScene, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of an average too, with a mask whose buffer reaches from one into the next."""
    path = make_scene(dn=scene_dn(301, 290), name=PRODUCT)
    write_udm2(path, np.s_[140:150, 100:170], (301, 290))
    for grid in (Grid(UTM33, NORTH_UP_3M, 290, 301), Grid(UTM33, NORTH_UP_3M @ Affine.scale(3.5), 82, 86)):
        with identify_reference(path, grid).open() as reader:
            whole = reader.on_grid(grid)
            strips = [reader.on_grid(grid.rows(row, min(row + 17, grid.height))) for row in range(0, grid.height, 17)]
            monkeypatch.setattr("cloudfree.inputs.optical.reference.PIECE_PX", 50)
            pieces = reader.on_grid(grid)
            by_threads = reader.on_grid(grid, all_cores=True)
        monkeypatch.undo()
        np.testing.assert_allclose(np.concatenate(strips, axis=1), whole, atol=1e-5)
        np.testing.assert_allclose(pieces, whole, atol=1e-5)
        np.testing.assert_array_equal(by_threads, pieces)


# --- where it says nothing ---


def test_no_data_and_beyond_is_nan(make_scene: MakeScene) -> None:
    dn = scene_dn(80, 60)
    dn[:, :5] = 0
    dn[0, 40:50, 10:20] = 0  # black in one band is data, where nodata is another number
    reflectance = on_grid(make_scene(dn=dn, nodata=65535))
    assert np.isnan(reflectance[:, :5]).all()
    assert np.isnan(reflectance[:, :, 60:]).all()
    assert np.isfinite(reflectance[:, 5:, :60]).all()
    assert (reflectance[0, 40:50, 10:20] == 0).all()


@pytest.mark.parametrize(
    ("fill", "nodata"), [(-9999, -9999), (-9999, None), (np.nan, None), (9, 9), (-1.7e308, -1.7e308)]
)
def test_fill_of_one_band_is_nan_in_all_whether_declared_or_not(
    tmp_path: Path, fill: float, nodata: float | None
) -> None:
    values = scene_dn(80, 96) * 1e-4
    values[2, 10:30, 20:50] = fill
    reflectance = on_grid(write_raster(tmp_path / "float.tif", values, NORTH_UP_3M, nodata=nodata))
    expected = np.zeros(SCENE.shape, bool)
    expected[10:30, 20:50] = True
    np.testing.assert_array_equal(np.isnan(reflectance), np.stack([expected] * 4))


def write_udm2(scene: Path, cloud: tuple[slice, slice], shape: tuple[int, int] = SCENE.shape) -> Path:
    bands = np.zeros((8, *shape), np.uint8)
    bands[Udm2.CLOUD - 1][cloud] = 1
    bands[Udm2.SNOW - 1][:3] = 1
    name = scene.name.replace("AnalyticMS_SR", "udm2")
    return write_raster(scene.with_name(name), bands, NORTH_UP_3M)


@pytest.mark.parametrize(("east_m", "north_m"), [(0.0, 0.0), (36.0, -24.0)])
def test_its_own_clouds_and_30_m_around_are_nan_and_move_with_it(
    make_scene: MakeScene, east_m: float, north_m: float
) -> None:
    path = make_scene(dn=scene_dn(*SCENE.shape), name=PRODUCT)
    udm2 = write_udm2(path, np.s_[30:36, 40:44])
    reference = identify_reference(path, SCENE)
    assert reference.mask is not None
    assert reference.mask.path.file == udm2
    cloudy = np.zeros(SCENE.shape, bool)
    cloudy[30 - round(north_m / 3) :, 40 + round(east_m / 3) :][:6, :4] = True
    near = distance_transform_edt(~cloudy) <= 10
    with replace(reference, displacement=Displacement(SCENE, (east_m,), (north_m,))).open() as reader:
        hidden = np.isnan(reader.on_grid(SCENE)).all(axis=0)
    inside = np.s_[8:, 12:]  # of the displaced image
    np.testing.assert_array_equal(hidden[inside], near[inside])


# --- what it is taken for ---


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (("NIR", "Red", "Green", "Blue"), (4, 3, 2, 1)),
        (("B02", "B03", "B04", "B08"), (1, 2, 3, 4)),
        (("B8, central wavelength 842 nm", "B2", "B8A", "B4", "B3"), (2, 5, 4, 1)),
        (("coastal_blue", "blue", "green_i", "green", "yellow", "red", "rededge", "nir"), (2, 4, 6, 8)),
        (("red", "Vegetation red edge", "near infrared", "SR_blue", "band_2_green"), (4, 5, 1, 3)),
        (("nir08", "blue", "green", "red", "swir16"), (2, 3, 4, 1)),
        (("B02", "B03", "B04", "B05", "B06", "B07", "B08", "B8A"), (1, 2, 3, 7)),
        (("red", "green", "blue", None), (3, 2, 1, 4)),
        ((None,) * 4, (1, 2, 3, 4)),
        ((None,) * 8, (2, 4, 6, 8)),
        (("Band 1", "Band 2", "Band 3", "Band 4"), (1, 2, 3, 4)),
    ],
)
def test_bands_by_name_before_position(
    make_scene: MakeScene, names: tuple[str | None, ...], expected: tuple[int, ...]
) -> None:
    dn = scene_dn(80, 96, bands=len(names))
    path = make_scene(dn=dn, descriptions=names)
    reference = identify_reference(path, SCENE)
    assert reference.band_indexes == expected
    why = "by position" if names[-1] in (None, "Band 4") and names[0] != "red" else "band descriptions"
    assert why in str(reference.reasons[0])
    np.testing.assert_allclose(on_grid(path), dn[np.array(expected) - 1] * 1e-4, atol=1e-6)


def test_bands_by_common_name(make_scene: MakeScene) -> None:
    path = make_scene(dn=scene_dn(80, 96, bands=5))
    with rasterio.open(path, "r+") as dataset:
        for index, name in enumerate(("red", "rededge", "nir", "blue", "green"), 1):
            dataset.update_tags(index, common_name=name)
    assert identify_reference(path, SCENE).band_indexes == (4, 5, 1, 3)


def test_bands_by_colour(make_scene: MakeScene) -> None:
    """Three of them and a nameless fourth, as TIFF has them, or all four."""
    path = make_scene(dn=scene_dn(80, 96), photometric="RGB")
    reference = identify_reference(path, SCENE)
    assert reference.band_indexes == (3, 2, 1, 4)
    assert "color interpretation" in str(reference.reasons[0])
    with rasterio.open(path, "r+") as dataset:
        dataset.colorinterp = [ColorInterp.nir, ColorInterp.blue, ColorInterp.red, ColorInterp.green]
    assert identify_reference(path, SCENE).band_indexes == (2, 4, 3, 1)


def test_a_planetscope_name_says_more_than_colours(make_scene: MakeScene) -> None:
    path = make_scene(dn=scene_dn(80, 96), name=PRODUCT, photometric="RGB")
    assert identify_reference(path, SCENE).band_indexes == (1, 2, 3, 4)
    superdove = make_scene(dn=scene_dn(80, 96, bands=8), name=PRODUCT.replace("SR", "SR_8b"))
    reference = identify_reference(superdove, SCENE)
    assert reference.band_indexes == (2, 4, 6, 8)
    assert "PlanetScope's 8-band product" in str(reference.reasons[0])
    assert reference.acquired == date(2023, 4, 15)


@pytest.mark.parametrize("alpha", [False, True])
@pytest.mark.parametrize("is_planet", [False, True])
def test_a_product_has_the_same_bands_as_scene_and_as_reference(
    make_scene: MakeScene, is_planet: bool, alpha: bool
) -> None:
    path = make_scene(dn=scene_dn(80, 96, bands=5 if alpha else 4), name=PRODUCT, nodata=None)
    with rasterio.open(path, "r+") as dataset:
        rest = [ColorInterp.undefined, ColorInterp.alpha] if alpha else [ColorInterp.undefined]
        dataset.colorinterp = [ColorInterp.red, ColorInterp.green, ColorInterp.blue, *rest]
    with access.opened(path) as dataset:
        indexes, why = choose_bands(dataset, is_planet=is_planet)
    assert indexes == (1, 2, 3, 4)
    assert why.why == "order of PlanetScope's 4-band product"


def test_wavelengths_tell_the_bands_of_any_image(make_scene: MakeScene) -> None:
    path = make_scene(dn=scene_dn(80, 96, bands=6))
    with rasterio.open(path, "r+") as dataset:
        for index, nm in enumerate((833, 443, 665, 705, 560, 492), 1):
            dataset.update_tags(index, wavelength=nm, wavelength_units="nm")
    assert identify_reference(path, SCENE).band_indexes == (6, 5, 3, 1)


@pytest.mark.parametrize(("stored", "why"), [(1.0, "reflectance: floats"), (1e4, "reflectance x 10000: floats")])
def test_floats_are_reflectance_or_ten_thousand_times_it(tmp_path: Path, stored: float, why: str) -> None:
    values = (scene_dn(80, 96) * 1e-4 * stored).astype(np.float32)
    path = write_raster(tmp_path / "float.tif", values, NORTH_UP_3M)
    assert why in str(identify_reference(path, SCENE).reasons[2])
    np.testing.assert_allclose(on_grid(path), values / stored, rtol=1e-5)


def test_a_stated_scale_and_offset_win(make_scene: MakeScene) -> None:
    dn = scene_dn(80, 96) + 7000
    path = make_scene(dn=dn)
    with rasterio.open(path, "r+") as dataset:
        dataset.scales, dataset.offsets = (2.75e-5,) * 4, (-0.2,) * 4
    reference = identify_reference(path, SCENE)
    assert reference.scale == (2.75e-5,) * 4
    assert reference.offset == (-0.2,) * 4
    np.testing.assert_allclose(on_grid(path), dn * 2.75e-5 - 0.2, atol=1e-6)


def test_radiance_of_planetscope_has_its_coefficients(make_scene: MakeScene) -> None:
    path = make_scene(dn=scene_dn(80, 96), name=PRODUCT.replace("_SR", ""))
    with pytest.raises(InputError, match="radiance"):
        identify_reference(path, SCENE)
    bands = "".join(
        f"<b:bandSpecificMetadata><b:bandNumber>{i}</b:bandNumber>"
        f"<b:reflectanceCoefficient>{i}e-5</b:reflectanceCoefficient></b:bandSpecificMetadata>"
        for i in range(1, 5)
    )
    path.with_name(f"{path.stem}_metadata.xml").write_text(f'<r xmlns:b="http://schemas.planet.com/ps/v1">{bands}</r>')
    assert identify_reference(path, SCENE).scale == (1e-5, 2e-5, 3e-5, 4e-5)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("20200111_145817_0f1a_3B_AnalyticMS_SR_clip.tif", date(2020, 1, 11)),
        ("S2A_MSIL2A_20230415T101031_N0509_R022_T33TUL_20230415T161234.tif", date(2023, 4, 15)),
        ("T33TUL_20190203T101031_stack.tif", date(2019, 2, 3)),
        ("LC08_L2SP_191029_20210620_20210629_02_T1.tif", date(2021, 6, 20)),
        ("clear 2019-02-28.tif", date(2019, 2, 28)),
        ("before_20201345_after_20201231.tif", date(2020, 12, 31)),
        ("tile_120200111.tif", None),
        ("2020-0111.tif", None),
        ("image.tif", None),
    ],
)
def test_the_date_in_a_name(make_scene: MakeScene, name: str, expected: date | None) -> None:
    assert identify_reference(make_scene(dn=scene_dn(80, 96), name=name), SCENE).acquired == expected


@pytest.mark.parametrize(
    ("tags", "expected"),
    [
        ({"TIFFTAG_DATETIME": "2016:09:09 21:31:04"}, date(2016, 9, 9)),
        ({"ACQUISITIONDATETIME": "2017-01-31 10:00:00", "TIFFTAG_DATETIME": "2020:01:01 00:00:00"}, date(2017, 1, 31)),
        ({"acquired": "2018-03-04T10:11:12.5Z"}, date(2018, 3, 4)),
        ({"TIFFTAG_DATETIME": "0000:00:00 00:00:00"}, None),
    ],
)
def test_the_date_in_tags_where_the_name_has_none(
    make_scene: MakeScene, tags: dict[str, str], expected: date | None
) -> None:
    path = make_scene(dn=scene_dn(80, 96))
    with rasterio.open(path, "r+") as dataset:
        dataset.update_tags(**tags)
    assert identify_reference(path, SCENE).acquired == expected


# --- what is refused ---


def refusal(path: Path) -> CloudfreeError:
    with pytest.raises(CloudfreeError) as caught:
        identify_reference(path, SCENE)
    assert "\n" not in str(caught.value)
    return caught.value


def test_what_cannot_be_opened_or_placed_is_refused(make_scene: MakeScene, tmp_path: Path) -> None:
    dn = scene_dn(80, 96)
    assert "does not exist" in str(refusal(tmp_path / "absent.tif"))
    broken = tmp_path / "broken.tif"
    broken.write_text("no raster")
    assert "cannot be read as a raster" in str(refusal(broken))
    assert "no coordinate reference system" in str(refusal(make_scene(dn=dn, crs=None)))
    far = refusal(make_scene(dn=dn, transform=Affine(3, 0, ORIGIN[0] + 9e4, 0, -3, ORIGIN[1])))
    assert isinstance(far, GridError)
    assert "a reference over the same ground is needed" in str(far)


@pytest.mark.parametrize(
    "names",
    [
        (None,) * 3,
        (None,) * 5,
        ("red", "green", "blue", "alpha"),
        ("blue", "green", "red", "swir"),
        ("blue",) * 4,
        ("clear", "snow", "shadow", "haze", "heavy_haze", "cloud", "confidence", "udm1"),
    ],
)
def test_bands_that_cannot_be_told_are_refused(make_scene: MakeScene, names: tuple[str | None, ...]) -> None:
    kind = np.uint8 if len(names) == 8 else np.uint16
    path = make_scene(dn=scene_dn(80, 96, bands=len(names)).astype(kind), descriptions=names, photometric="MINISBLACK")
    assert "cannot be told apart in the" in str(refusal(path))


def test_a_picture_with_alpha_is_refused(make_scene: MakeScene) -> None:
    path = make_scene(dn=(scene_dn(80, 96) // 20).astype(np.uint8), photometric="RGB", alpha="yes")
    assert "alpha" in str(refusal(path))


def test_an_image_that_does_not_see_the_ground_is_refused(make_scene: MakeScene) -> None:
    assert "has no valid pixel over the scene" in str(refusal(make_scene(dn=scene_dn(80, 96) * 0)))
    path = make_scene(dn=scene_dn(80, 96), name=PRODUCT)
    udm2 = write_udm2(path, np.s_[:, :])
    assert f"has no clear pixel over the scene, by {udm2.name}" in str(refusal(path))


def test_what_is_no_reflectance_is_refused(make_scene: MakeScene, tmp_path: Path) -> None:
    db = write_raster(tmp_path / "db.tif", scene_dn(80, 96) * np.float32(-0.005), NORTH_UP_3M)
    assert "reflectance is positive" in str(refusal(db))
    dn = scene_dn(80, 96)
    dn[2] = 700
    assert "band 3 of scene.tif is 0.07 everywhere" in str(refusal(make_scene(dn=dn)))
    slc = write_raster(tmp_path / "slc.tif", scene_dn(80, 96).astype(np.complex64), NORTH_UP_3M)
    assert "complex" in str(refusal(slc))


# --- thinned reading, and real files ---


@pytest.mark.parametrize("stale", [0, 65535])
def test_overviews_of_other_pixels_decide_nothing(make_scene: MakeScene, stale: int) -> None:
    """Empty ones, or those of a file as it was before."""
    dn = scene_dn(1200, 1100)
    path = make_scene(dn=np.full_like(dn, stale) if stale else dn * 0, nodata=None, tiled=True)
    with rasterio.Env(TIFF_USE_OVR=True), rasterio.open(path, "r+") as dataset:
        dataset.build_overviews([2, 4, 8])
    assert path.with_suffix(".tif.ovr").exists()
    with rasterio.open(path, "r+") as dataset:
        dataset.write(dn)
    reference = identify_reference(path, Grid(UTM33, NORTH_UP_3M, 1100, 1200))
    with reference.open() as reader:
        np.testing.assert_allclose(reader.on_grid(SCENE), dn[:, :80, :96] * 1e-4, atol=1e-6)


@pytest.mark.parametrize("shape", [(1, 1), (37, 53), (256, 100), (600, 700)])
def test_a_thinned_read_takes_the_pixels_that_gdal_takes(make_scene: MakeScene, shape: tuple[int, int]) -> None:
    path = make_scene(dn=scene_dn(1201, 850), tiled=True, blockxsize=256, blockysize=256, compress="lzw")
    window = Window(31, 17, 800, 1100)
    with rasterio.open(path) as dataset:
        values = access.read(dataset, [3, 1], window, out_shape=shape)
        np.testing.assert_array_equal(values, dataset.read([3, 1], window=window, out_shape=(2, *shape)))


def test_gdal_keeps_the_blocks_that_pieces_share(monkeypatch: pytest.MonkeyPatch) -> None:
    """Rasterio is told bytes: with 64 of them, as once, each piece would unpack its blocks anew."""
    monkeypatch.delenv("GDAL_CACHEMAX", raising=False)
    with access.gdal_settings():
        assert get_gdal_config("GDAL_CACHEMAX") >= 9 * 512 * 512 * 4 * np.dtype(np.uint16).itemsize


def first(paths: list[Path]) -> Path:
    return paths[0] if paths else pytest.skip("this real image is not beside the checkout")


def test_the_coastline_scene(shared_data: Path) -> None:
    path = first(sorted((shared_data / "planet" / "coastline").glob("*_SR_clip.tif")))
    with rasterio.open(path) as dataset:
        grid, dn = Grid.of(dataset), dataset.read()
    reference = identify_reference(path, grid)
    assert (reference.band_indexes, reference.acquired) == ((1, 2, 3, 4), date(2016, 9, 9))
    with reference.open() as reader:
        values = reader.on_grid(grid)
    np.testing.assert_array_equal(np.isfinite(values), np.stack([dn.any(axis=0)] * 4))
    np.testing.assert_allclose(np.nan_to_num(values), dn * 1e-4, atol=1e-6)


def test_sentinel_2_in_degrees(shared_data: Path) -> None:
    path = first(sorted((shared_data / "dates").glob("oscd_*_optical.tif")))
    with rasterio.open(path) as dataset:
        own, dn = Grid.of(dataset), dataset.read()
    assert own.crs.is_geographic
    reference: Reference = identify_reference(path, own)
    x, y = own.transform @ (own.width / 2, own.height / 2)
    zone = CRS.from_epsg(32601 + int((x + 180) // 6) + (100 if y < 0 else 0))
    (east,), (north,) = transform_points(own.crs, zone, [x], [y])
    grid = Grid(zone, Affine(3, 0, east - 450, 0, -3, north + 450), 300, 300)
    with reference.open() as reader:
        near = reader.on_grid(grid)
    assert np.isfinite(near).all()
    middle = np.s_[:, own.height // 2 - 45 : own.height // 2 + 45, own.width // 2 - 45 : own.width // 2 + 45]
    np.testing.assert_allclose(near.mean(axis=(1, 2)), dn[middle].mean(axis=(1, 2)) * 1e-4, rtol=0.05)
