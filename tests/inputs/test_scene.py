from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import rasterio
from rasterio.enums import ColorInterp
from support import scene_dn

from cloudfree.errors import InputError
from cloudfree.inputs.location.source import Source
from cloudfree.inputs.optical import planet_product
from cloudfree.inputs.optical.scene import has_data, identify_scene
from cloudfree.inputs.raster import access

MakeScene = Callable[..., Path]
COEFFICIENTS = (1.9e-5, 2.0e-5, 2.3e-5, 3.5e-5)


def write_xml(path: Path, coefficients: tuple[float, ...] = COEFFICIENTS) -> None:
    bands = "".join(
        f"<ps:bandSpecificMetadata><ps:bandNumber>{i}</ps:bandNumber>"
        f"<ps:reflectanceCoefficient>{c}</ps:reflectanceCoefficient></ps:bandSpecificMetadata>"
        for i, c in enumerate(coefficients, 1)
    )
    path.write_text(f'<r xmlns:ps="http://schemas.planet.com/ps/v1">{bands}</r>')


def test_superdove_bands_are_2_4_6_8(make_scene: MakeScene) -> None:
    dn = scene_dn(40, 50, bands=8)
    scene = identify_scene(make_scene(dn=dn))
    with scene.open() as reader:
        np.testing.assert_array_equal(reader.rows(10, 30), dn[[1, 3, 5, 7], 10:30])


def test_descriptions_and_option_win_over_position(make_scene: MakeScene) -> None:
    dn = scene_dn(20, 20)
    path = make_scene(dn=dn[::-1], descriptions=("NIR", "Red", "Green", "Blue"))
    assert identify_scene(path).band_indexes == (4, 3, 2, 1)
    assert identify_scene(path, (1, 2, 3, 4)).band_indexes == (1, 2, 3, 4)
    five = make_scene(name="five.tif", dn=scene_dn(20, 20, bands=5))
    assert identify_scene(five, (2, 3, 4, 5)).band_indexes == (2, 3, 4, 5)


def test_a_declared_nodata_becomes_zero_and_black_is_data(make_scene: MakeScene) -> None:
    dn = scene_dn(20, 20)
    dn[:, :5] = 65535
    dn[0, 10] = 0
    with identify_scene(make_scene(dn=dn, nodata=65535)).open() as reader:
        rows = reader.rows(0, 20)
    data = has_data(rows)
    assert not data[:5].any()
    assert data[5:].all()


def nothing_left_of(path: Path, column: int, band_numbers: tuple[int, ...] | None = None) -> None:
    """Four zeros left of a column, data from it on, and no trace of what lies under the zeros in an average."""
    with identify_scene(path, band_numbers).open() as reader:
        rows, coarse = reader.rows(0, 40), reader.averaged(1, 1)
    assert not rows[:, :, :column].any()
    assert rows[:, :, column:].all()
    np.testing.assert_allclose(coarse[:, 0, 0], rows[:, :, column:].mean(axis=(1, 2)), atol=1)


@pytest.mark.parametrize("internal", [True, False])
def test_a_mask_of_the_dataset_says_where_there_is_data(make_scene: MakeScene, internal: bool) -> None:
    dn = scene_dn(40, 50)
    dn[:, :, :7] = 9999
    path = make_scene(dn=dn, nodata=None)
    with rasterio.Env(GDAL_TIFF_INTERNAL_MASK=internal), rasterio.open(path, "r+") as dataset:
        dataset.write_mask(np.broadcast_to(np.arange(50) >= 7, (40, 50)))
    assert path.with_suffix(".tif.msk").exists() != internal
    nothing_left_of(path, 7)


@pytest.mark.parametrize("band_numbers", [None, (1, 2, 3, 4)])
def test_an_alpha_band_beside_four_is_validity(make_scene: MakeScene, band_numbers: tuple[int, ...] | None) -> None:
    dn = scene_dn(40, 50, bands=5)
    dn[:4, :, :7], dn[4] = 9999, np.where(np.arange(50) < 7, 0, 65535)
    path = make_scene(dn=dn, nodata=None)
    with rasterio.open(path, "r+") as dataset:
        dataset.colorinterp = [*dataset.colorinterp[:4], ColorInterp.alpha]
    nothing_left_of(path, 7, band_numbers)


def test_nir_that_is_called_alpha_stays_nir(make_scene: MakeScene) -> None:
    dn = scene_dn(40, 50)
    dn[3, 5, 5] = 0
    path = make_scene(dn=dn, nodata=None)
    with rasterio.open(path, "r+") as dataset:
        dataset.colorinterp = [*dataset.colorinterp[:3], ColorInterp.alpha]
    with identify_scene(path).open() as reader:
        np.testing.assert_array_equal(reader.rows(0, 40), dn)


def test_nodata_of_one_band_is_no_data(make_scene: MakeScene) -> None:
    dn = scene_dn(40, 50)
    dn[3, :, :7] = 65535
    nothing_left_of(make_scene(dn=dn, nodata=65535), 7)
    dn[3, :, :7] = 0
    nothing_left_of(make_scene(dn=dn, nodata=0), 7)


def test_dark_water_with_zero_in_one_band_is_data(make_scene: MakeScene) -> None:
    dn = scene_dn(40, 50)
    dn[:, 10:12, 20:23] = np.array([300, 250, 90, 0], np.uint16)[:, None, None]
    with identify_scene(make_scene(dn=dn)).open() as reader:
        np.testing.assert_array_equal(reader.rows(0, 40), dn)


@pytest.mark.parametrize("side", [60, 1300])
def test_a_single_pixel_that_lacks_a_band_is_told(
    make_scene: MakeScene, caplog: pytest.LogCaptureFixture, side: int
) -> None:
    dn = scene_dn(side, side)
    dn[3, 7, 9] = 0
    with identify_scene(make_scene(dn=dn)).open() as reader:
        reader.averaged(side // 4, side // 4)
        assert not reader.window(7, 9, 1, 1).any()
    (record,) = caplog.records
    assert "scene.tif has 1 pixel with nodata in one band and not in all" in record.getMessage()


@pytest.mark.parametrize(
    ("dtype", "fill", "nodata"),
    [("int16", -9999, None), ("int16", -1, None), ("uint16", 65535, 0), ("float32", -3.4e38, -9999)],
)
def test_undeclared_fill_is_told_and_counted(
    make_scene: MakeScene, caplog: pytest.LogCaptureFixture, dtype: str, fill: float, nodata: float | None
) -> None:
    dn = scene_dn(40, 50).astype(dtype)
    dn[:, 5:9, 3:6] = fill
    with identify_scene(make_scene(dn=dn, nodata=nodata)).open() as reader:
        coarse, rows = reader.averaged(1, 1), reader.rows(0, 40)
    assert not rows[:, 5:9, 3:6].any()
    clear = np.ones((40, 50), bool)
    clear[5:9, 3:6] = False
    np.testing.assert_allclose(coarse[:, 0, 0], scene_dn(40, 50)[:, clear].mean(axis=1), atol=1)
    (record,) = caplog.records
    assert "has 12 pixels that are no reflectance" in record.getMessage()


def test_declared_fill_is_not_told(make_scene: MakeScene, caplog: pytest.LogCaptureFixture) -> None:
    dn = scene_dn(40, 50).astype(np.int16)
    dn[:, :9] = -9999
    with identify_scene(make_scene(dn=dn, nodata=-9999)).open() as reader:
        reader.averaged(1, 1)
    assert not caplog.records


@pytest.mark.parametrize("setting", [{"GDAL_DISABLE_READDIR_ON_OPEN": "EMPTY_DIR"}, {"GDAL_PAM_ENABLED": "NO"}])
def test_what_lies_beside_a_scene_counts_whatever_the_environment_says(
    make_scene: MakeScene, monkeypatch: pytest.MonkeyPatch, setting: dict[str, str]
) -> None:
    dn = scene_dn(40, 50)
    dn[:, :, :7] = 9999
    path = make_scene(dn=dn, nodata=None)
    with rasterio.Env(GDAL_TIFF_INTERNAL_MASK=False), rasterio.open(path, "r+") as dataset:
        dataset.write_mask(np.broadcast_to(np.arange(50) >= 7, (40, 50)))
    write_pam(path, [f"<Description>{name}</Description>" for name in ("red", "green", "blue", "nir")])
    for key, value in setting.items():
        monkeypatch.setenv(key, value)
    with access.gdal_settings():
        assert identify_scene(path).band_indexes == (3, 2, 1, 4)
        nothing_left_of(path, 7)


def write_pam(path: Path, inner: list[str]) -> None:
    bands = "".join(f'<PAMRasterBand band="{i}">{element}</PAMRasterBand>' for i, element in enumerate(inner, 1))
    path.with_name(f"{path.name}.aux.xml").write_text(f"<PAMDataset>{bands}</PAMDataset>")


def test_aux_xml_is_read(make_scene: MakeScene) -> None:
    dn = scene_dn(40, 50)
    dn[:, :, :7] = 65535
    path = make_scene(dn=dn, nodata=None)
    names = ("red", "green", "blue", "nir")
    write_pam(path, [f"<Description>{n}</Description><NoDataValue>65535</NoDataValue>" for n in names])
    with access.gdal_settings():
        assert identify_scene(path).band_indexes == (3, 2, 1, 4)
        nothing_left_of(path, 7)


@pytest.mark.parametrize(
    "names",
    [
        ("R", "G", "B", "N"),
        ("Red", "Green", "Blue", "Near Infrared"),
        ("red", "green", "blue", "nir1"),
        ("sr_red", "sr_green", "sr_blue", "sr_nir"),
        ("Red (665 Nanometers)", "Green (565 Nanometers)", "Blue (490 Nanometers)", "NIR (865 Nanometers)"),
    ],
)
def test_bands_as_people_call_them(make_scene: MakeScene, names: tuple[str, ...]) -> None:
    assert identify_scene(make_scene(descriptions=names)).band_indexes == (3, 2, 1, 4)


def test_wavelengths_tell_nameless_bands(make_scene: MakeScene) -> None:
    path = make_scene()
    with rasterio.open(path, "r+") as dataset:
        for index, nm in enumerate((0.665, 0.565, 0.490, 0.865), 1):
            dataset.update_tags(index, wavelength=nm, wavelength_units="Micrometers")
    assert identify_scene(path).band_indexes == (3, 2, 1, 4)


@pytest.mark.parametrize("names", [("b5", "b4", "b3", "b2"), ("red", "green", "blue", "swir"), ("x", "y", "z", "w")])
def test_names_that_are_not_understood_are_refused(make_scene: MakeScene, names: tuple[str, ...]) -> None:
    path = make_scene(descriptions=names)
    with pytest.raises(InputError, match=rf"named {names[0]}, .*--planet-bands"):
        identify_scene(path)
    assert identify_scene(path, (3, 2, 1, 4)).band_indexes == (3, 2, 1, 4)


def test_colours_decide_nothing(make_scene: MakeScene) -> None:
    """PlanetScope's own files call blue, green and red the other way round."""
    assert identify_scene(make_scene(photometric="RGB")).band_indexes == (1, 2, 3, 4)


def test_radiance_needs_coefficients_and_uses_them(make_scene: MakeScene, tmp_path: Path) -> None:
    path = make_scene(name="20170915_020728_103d_3B_AnalyticMS.tif")
    with pytest.raises(InputError, match="radiance"):
        identify_scene(path)
    write_xml(tmp_path / "20170915_020728_103d_3B_AnalyticMS_metadata.xml")
    scene = identify_scene(path)
    assert scene.quantity != "surface reflectance"
    assert scene.scale == COEFFICIENTS
    dn = np.full((4, 1, 1), 10_000, np.uint16)
    np.testing.assert_allclose(scene.reflectance(dn).ravel(), np.array(COEFFICIENTS) * 1e4, rtol=1e-6)
    np.testing.assert_allclose(scene.digital_numbers(scene.reflectance(dn)), dn, rtol=1e-6)


@pytest.mark.parametrize("suffix", ["_3B_AnalyticMS_SR_clip", "_3B_AnalyticMS_SR_8b_harmonized_clip", "_3B_AnalyticMS"])
def test_the_udm2_beside_a_scene_is_found(tmp_path: Path, suffix: str) -> None:
    scene, udm2 = (
        tmp_path / f"20211008_002442_03_2456{suffix}.tif",
        tmp_path / "20211008_002442_03_2456_3B_udm2_clip.tif",
    )
    scene.touch()
    assert planet_product.find(scene, planet_product.UDM2) is None
    udm2.touch()
    assert planet_product.find(scene, planet_product.UDM2) == Source.of(udm2)
    assert planet_product.find(tmp_path / "renamed.tif", planet_product.UDM2) is None


@pytest.mark.parametrize("shape", [(30, 20), (7, 13), (90, 60)])
def test_the_coarse_scene_is_an_average_by_area_without_nodata(make_scene: MakeScene, shape: tuple[int, int]) -> None:
    dn = scene_dn(90, 60)
    dn[:, :31, :17] = 0
    with identify_scene(make_scene(dn=dn)).open() as reader:
        coarse = reader.averaged(*shape)
    ratio = [np.lcm(n, m) for n, m in zip((90, 60), shape, strict=True)]
    fine = dn.repeat(ratio[0] // 90, axis=1).repeat(ratio[1] // 60, axis=2).astype(float)
    fine[:, ~fine.any(axis=0)] = np.nan
    parts = fine.reshape(4, shape[0], ratio[0] // shape[0], shape[1], ratio[1] // shape[1])
    known = np.isfinite(parts).any(axis=(2, 4))
    expected = np.nansum(parts, axis=(2, 4)) / np.maximum(np.isfinite(parts).sum(axis=(2, 4)), 1)
    np.testing.assert_array_equal(coarse.any(axis=0), known.all(axis=0))
    np.testing.assert_allclose(coarse, expected, atol=0.51)


def test_a_large_scene_is_told_by_some_of_its_blocks_each_unpacked_once(
    make_scene: MakeScene, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = make_scene(dn=scene_dn(1300, 1500), tiled=True, blockxsize=256, blockysize=256)
    windows = []
    read = access.read
    monkeypatch.setattr(access, "read", lambda *args: windows.append(args[2]) or read(*args))
    assert identify_scene(path).scale == (1e-4,) * 4
    blocks = [(window.row_off // 256, window.col_off // 256) for window in windows]
    assert len(blocks) == len(set(blocks)) <= 16
    for window in windows:
        assert (window.row_off % 256, window.col_off % 256) == (0, 0)
        assert max(window.height, window.width) <= 256


@pytest.mark.parametrize("tiled", [True, False])
@pytest.mark.parametrize("row", [0, 333, 1210])
def test_data_that_a_sample_misses_decide_all_the_same(make_scene: MakeScene, row: int, tiled: bool) -> None:
    dn = np.zeros((4, 1250, 1100), np.float32)
    dn[:, row : row + 40, 1060:] = 800.0
    blocks = {"tiled": True, "blockxsize": 64, "blockysize": 64} if tiled else {}
    assert "floats, 99 % under 800" in str(identify_scene(make_scene(dn=dn, **blocks)).reasons)
