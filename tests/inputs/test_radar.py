from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import rasterio
from affine import Affine
from rasterio.crs import CRS
from rasterio.warp import transform as transform_points
from scipy.ndimage import map_coordinates
from support import ORIGIN, UTM33, sar_values_db, write_raster

from cloudfree.bands import TYPICAL_SAR_DB
from cloudfree.errors import GridError, InputError
from cloudfree.geometry import Grid
from cloudfree.inputs.radar import border_noise
from cloudfree.inputs.radar.image import SarOptions, identify_sar

SCENE = Grid(UTM33, Affine(3, 0, ORIGIN[0], 0, -3, ORIGIN[1]), 96, 80)
MakeSar = Callable[..., Path]


def on_scene(*paths: Path, **options: object) -> np.ndarray:
    image = identify_sar(list(paths), SCENE, SarOptions(**options))
    with image.open() as reader:
        return reader.on_grid(SCENE)


@pytest.mark.parametrize("units", ["db", "power"])
def test_units_are_detected_and_agree(make_sar: MakeSar, units: str) -> None:
    db = sar_values_db(300, 300)
    stored = db if units == "db" else 10 ** (db / 10)
    path = make_sar(values=stored.astype(np.float32))
    assert identify_sar([path], SCENE).vv.units == units
    np.testing.assert_allclose(on_scene(path), on_scene(make_sar(name="db.tif", values=db)), atol=1e-4)


def test_amplitude_by_option_and_by_hyp3_name(make_sar: MakeSar) -> None:
    db = sar_values_db(300, 300)
    amplitude = (10 ** (db / 20)).astype(np.float32)
    expected = on_scene(make_sar(name="db.tif", values=db))
    np.testing.assert_allclose(on_scene(make_sar(values=amplitude), units="amplitude"), expected, atol=1e-4)
    pair = [
        make_sar(name=f"S1A_IW_20200101T000000_DVP_RTC30_G_gauned_1234_{pol}.tif", values=band[None], descriptions=None)
        for pol, band in zip(("VV", "VH"), amplitude, strict=True)
    ]
    np.testing.assert_allclose(on_scene(*pair), expected, atol=1e-4)


def test_bands_by_description_tag_and_name_before_position(make_sar: MakeSar, tmp_path: Path) -> None:
    db = sar_values_db(300, 300)
    expected = on_scene(make_sar(name="plain.tif", values=db, descriptions=None))
    swapped = make_sar(values=db[::-1], descriptions=("sigma0_VH", "sigma0_VV"))
    np.testing.assert_array_equal(on_scene(swapped), expected)
    with_angle = make_sar(
        name="gee.tif", values=np.stack([*db, np.full_like(db[0], 38)]), descriptions=("VV", "VH", "angle")
    )
    np.testing.assert_array_equal(on_scene(with_angle), expected)
    vv, vh = (
        make_sar(name=f"rtc-{p}.tif", values=b[None], descriptions=None) for p, b in zip(("vv", "vh"), db, strict=True)
    )
    np.testing.assert_array_equal(on_scene(vh, vv), expected)
    numbered = make_sar(name="odd.tif", values=np.stack([db[0] * 0 - 30, db[1], db[0]]), descriptions=None)
    np.testing.assert_array_equal(on_scene(numbered, band_numbers=(3, 2)), expected)


def test_swapped_nameless_bands_are_refused(make_sar: MakeSar) -> None:
    with pytest.raises(InputError, match="--sar-bands"):
        on_scene(make_sar(values=sar_values_db(300, 300)[::-1], descriptions=None))


def test_invalid_values_are_nan_and_never_ground(make_sar: MakeSar) -> None:
    db = sar_values_db(300, 300)
    holes = {"zero": 0, "nan": np.nan, "minus infinity": -np.inf, "noise": -60, "nodata": -9999}
    for position, value in enumerate(holes.values()):
        db[:, 104 + 4 * position : 106 + 4 * position, 104:110] = value
    result_db = on_scene(make_sar(values=db, nodata=-9999))
    valid = np.isfinite(result_db)
    assert not valid.all()
    assert valid.mean() > 0.9
    assert result_db[valid].min() > -30


def test_warp_is_subpixel_exact_across_coordinate_systems(tmp_path: Path) -> None:
    """Against bilinear interpolation at coordinates transformed pixel by pixel."""
    crs = CRS.from_epsg(4326)
    lon, lat = transform_points(UTM33, crs, [ORIGIN[0] - 500], [ORIGIN[1] + 500])
    transform = Affine(1.3e-4, 0, lon[0], 0, -9e-5, lat[0])
    values = sar_values_db(200, 200)
    result_db = on_scene(write_raster(tmp_path / "geo.tif", values, transform, crs, descriptions=("VV", "VH")))
    rows, cols = np.mgrid[: SCENE.height, : SCENE.width] + 0.5
    x, y = SCENE.transform @ (cols.ravel(), rows.ravel())
    lons, lats = transform_points(UTM33, crs, x, y)
    at_col, at_row = ~transform @ (np.array(lons), np.array(lats))
    expected = [map_coordinates(band, [at_row - 0.5, at_col - 0.5], order=1).reshape(SCENE.shape) for band in values]
    np.testing.assert_allclose(result_db, expected, atol=0.02)  # dB; the field changes by about 1 dB a pixel


def test_strips_equal_the_whole(make_sar: MakeSar) -> None:
    image = identify_sar([make_sar()], SCENE)
    with image.open() as reader:
        whole = reader.on_grid(SCENE)
        strips = [reader.on_grid(SCENE.rows(start, start + 16)) for start in range(0, 80, 16)]
    np.testing.assert_allclose(np.concatenate(strips, axis=1), whole, atol=1e-3)


def test_power_is_averaged_when_going_coarser(tmp_path: Path) -> None:
    """A checkerboard of -5 and -25 dB has the mean power of -7.97 dB, not -15."""
    board = np.where(np.indices((400, 400)).sum(axis=0) % 2, -5.0, -25.0).astype(np.float32)
    path = write_raster(
        tmp_path / "fine.tif",
        np.stack([board, board - 6]),
        Affine(1, 0, ORIGIN[0], 0, -1, ORIGIN[1]),
        descriptions=("VV", "VH"),
    )
    result_db = on_scene(path)
    inside = result_db[:, 5:70, 5:60]
    area = Grid(UTM33, Affine(4, 0, ORIGIN[0], 0, -4, ORIGIN[1]), 50, 50)
    with identify_sar([path], area).open() as reader:
        inside = reader.on_grid(area)[:, 5:-5, 5:-5]
    np.testing.assert_allclose(inside[0], 10 * np.log10((10**-0.5 + 10**-2.5) / 2), atol=0.05)


def test_beyond_the_image_is_nan(make_sar: MakeSar) -> None:
    path = make_sar(20, transform=Affine(10, 0, ORIGIN[0] - 50, 0, -10, ORIGIN[1] + 50))
    result_db = on_scene(path)
    assert np.isfinite(result_db[:, :40, :40]).all()
    assert np.isnan(result_db[:, 60:, 60:]).all()


def test_disjoint_is_an_error(make_sar: MakeSar) -> None:
    with pytest.raises(GridError, match="does not overlap"):
        on_scene(make_sar(transform=Affine(10, 0, ORIGIN[0] + 90_000, 0, -10, ORIGIN[1])))


# --- what files state, against what their values can be ---


def linear(db: np.ndarray, factor: float = 10) -> np.ndarray:
    return (10 ** (db / factor)).astype(np.float32)


@pytest.mark.parametrize(
    ("name", "names", "factor"),
    [
        ("x.tif", ("Amplitude_VV", "Amplitude_VH"), 20),
        ("x.tif", ("Sigma0_VV", "Sigma0_VH"), 10),
        ("S1A_IW_RT30_20190714T001256_G_gan.tif", ("VV", "VH"), 20),
        ("S1A_IW_20240612T165810_DVP_RTC20_G_gauned_7C21_power.tif", ("VV", "VH"), 10),
    ],
)
def test_stated_units_that_values_bear_out(make_sar: MakeSar, name: str, names: tuple, factor: float) -> None:
    db = sar_values_db(300, 300)
    expected = on_scene(make_sar(name="db.tif", values=db))
    result_db = on_scene(make_sar(name=name, values=linear(db, factor), descriptions=names))
    np.testing.assert_allclose(result_db, expected, atol=1e-3)


@pytest.mark.parametrize(
    ("values", "names", "words"),
    [
        (linear(sar_values_db(300, 300), 20), ("VV", "VH"), "plausible as amplitude"),
        (linear(sar_values_db(300, 300)), ("VV_db", "VH_db"), "as power they would be land"),
        (np.clip(1 + sar_values_db(300, 300) / 20, 0, 1), ("VV", "VH"), "display stretch"),
        (np.clip((sar_values_db(300, 300) + 25) / 25, 0, 1), ("VV", "VH"), "display stretch"),
        (np.rint(sar_values_db(300, 300) * 100).astype(np.int16), ("VV", "VH"), "--sar-scale 0.01 --sar-units db"),
        (linear(sar_values_db(300, 300)), ("HH", "HV"), "--allow-hh-hv"),
        (linear(sar_values_db(300, 300)), ("VV", "HV"), "--allow-hh-hv"),
    ],
)
def test_what_nothing_decides_is_refused(make_sar: MakeSar, values: np.ndarray, names: tuple, words: str) -> None:
    with pytest.raises(InputError, match=words):
        on_scene(make_sar(values=values, descriptions=names))


def test_scales_by_tag_and_by_option(make_sar: MakeSar) -> None:
    db = sar_values_db(300, 300)
    expected = on_scene(make_sar(name="db.tif", values=db))
    stored = np.rint(db * 100).astype(np.int16)
    path = make_sar(values=stored)
    np.testing.assert_allclose(on_scene(path, scale=0.01, units="db"), expected, atol=0.01)
    with rasterio.open(path, "r+") as dataset:
        dataset.scales = (0.01, 0.01)
    np.testing.assert_allclose(on_scene(path), expected, atol=0.01)
    assert "the scale tag of s1.tif" in " ".join(map(str, identify_sar([path], SCENE).reasons))


@pytest.mark.parametrize("fill", [-9999, -32768, -99, 9999, 1e20, 9.96921e36])
@pytest.mark.parametrize("units", ["db", "power"])
def test_fill_without_a_tag_is_no_ground(make_sar: MakeSar, fill: float, units: str) -> None:
    db = sar_values_db(300, 300)
    values = db.copy() if units == "db" else linear(db)
    values[:, 105:115, 105:115] = fill
    result_db, expected = on_scene(make_sar(values=values)), on_scene(make_sar(name="db.tif", values=db))
    valid = np.isfinite(result_db)
    assert 0.5 < valid.mean() < 0.95
    assert np.abs(result_db - expected)[valid].max() < 3


def test_negative_power_is_very_low_and_a_lone_pixel_is_as_its_neighbours(make_sar: MakeSar) -> None:
    db = sar_values_db(300, 300)
    power = linear(db)
    power[1, 110, 110] = -0.0005
    result_db, expected = on_scene(make_sar(values=power)), on_scene(make_sar(name="db.tif", values=db))
    assert np.isfinite(result_db).all()
    assert np.abs(result_db - expected).max() < 2
    power[1] = -0.0003
    result_db = on_scene(make_sar(values=power))
    np.testing.assert_allclose(result_db[0], expected[0], atol=1e-3)
    np.testing.assert_allclose(result_db[1], -40, atol=1e-3)


def test_zero_db_in_one_band_is_a_value_and_in_all_bands_is_none(make_sar: MakeSar) -> None:
    db = sar_values_db(300, 300)
    db[0, 105:110, 105:110] = 0
    db[:, 112:117, 105:110] = 0
    result_db = on_scene(make_sar(values=db))
    assert np.nanmax(result_db[0]) == 0
    assert 0.02 < np.isnan(result_db[0]).mean() < 0.2


def test_border_noise_is_cut_and_said(make_sar: MakeSar, caplog: pytest.LogCaptureFixture) -> None:
    db = sar_values_db(300, 300)
    expected = on_scene(make_sar(name="db.tif", values=db))
    db[:, :, :114] = np.random.default_rng(2).normal(-38, 3, db[:, :, :114].shape)
    path = make_sar(values=db)
    result_db = on_scene(path)
    edge = np.isnan(result_db[0]).mean()
    assert 0.4 < edge < 0.5  # 13.6 of 28.8 pixels
    assert np.abs(result_db - expected)[np.isfinite(result_db)].max() < 3
    assert "border noise is cut" in caplog.text
    image = identify_sar([path], SCENE)
    with image.open() as reader:
        strips = [reader.on_grid(SCENE.rows(start, start + 16)) for start in range(0, 80, 16)]
    np.testing.assert_allclose(np.concatenate(strips, axis=1), result_db, atol=1e-3)


@pytest.mark.parametrize(("rows", "is_noise"), [(45, False), (55, True)])
def test_a_dark_strip_at_an_edge_is_noise_from_half_of_the_image_on(rows: int, is_noise: bool) -> None:
    """What spans less of it may be a calm lake."""
    db = sar_values_db(100, 100)
    db[:, 20 : 20 + rows, :15] = -35
    share = border_noise.share_of(list(db))
    assert share == (pytest.approx(rows * 15 / 1e4, rel=0.02) if is_noise else 0)


def test_vv_alone_has_a_typical_vh_and_says_so(make_sar: MakeSar, caplog: pytest.LogCaptureFixture) -> None:
    db = sar_values_db(300, 300)
    expected = on_scene(make_sar(name="db.tif", values=db))
    result_db = on_scene(make_sar(values=np.stack([db[0], 0 * db[0] + 38]), descriptions=("VV", "angle")))
    np.testing.assert_array_equal(result_db[0], expected[0])
    assert (result_db[1] == TYPICAL_SAR_DB[1]).all()
    assert "VV alone" in caplog.text
    with pytest.raises(InputError, match="two different"):
        on_scene(make_sar(), band_numbers=(1, 1))


def test_hh_and_hv_for_those_who_know(make_sar: MakeSar) -> None:
    db = sar_values_db(300, 300)
    result_db = on_scene(make_sar(values=db[::-1], descriptions=("HV", "HH")), allow_hh_hv=True)
    np.testing.assert_array_equal(result_db, on_scene(make_sar(name="vv.tif", values=db)))


def test_names_in_band_metadata(make_sar: MakeSar) -> None:
    db = sar_values_db(300, 300)
    path = make_sar(values=db[::-1], descriptions=None)
    with rasterio.open(path, "r+") as dataset:
        for index, name in enumerate(("VH", "VV"), 1):
            dataset.update_tags(index, DESCRIPTION=name)
    np.testing.assert_array_equal(on_scene(path), on_scene(make_sar(name="vv.tif", values=db)))
