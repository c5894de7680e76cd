"""What a scene's numbers are: by what states it, never by a part of a word, and checked against the values."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import rasterio
from support import scene_dn

from cloudfree.errors import InputError
from cloudfree.inputs.optical import quantity
from cloudfree.inputs.optical.quantity import RADIANCE, SURFACE, TOA, QuantityOptions
from cloudfree.inputs.optical.scene import identify_scene

MakeScene = Callable[..., Path]
ID = "20220515_101530_84_2481_3B"
COEFFICIENTS = (1.9e-5, 2.0e-5, 2.3e-5, 3.5e-5)


def write_xml(path: Path) -> None:
    bands = "".join(
        f"<p:bandSpecificMetadata><p:bandNumber>{i}</p:bandNumber>"
        f"<p:reflectanceCoefficient>{c}</p:reflectanceCoefficient></p:bandSpecificMetadata>"
        for i, c in enumerate(COEFFICIENTS, 1)
    )
    path.write_text(f'<r xmlns:p="http://schemas.planet.com/ps/v1">{bands}</r>')


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        (f"{ID}_AnalyticMS_SR_8b_clip.tif", SURFACE),
        (f"{ID}_AnalyticMS_toar_clip.tif", TOA),
        (f"{ID}_AnalyticMS_clip_srinagar.tif", RADIANCE),
        (f"{ID}_AnalyticMS_clip_srem.tif", RADIANCE),
        ("3456789_1056413_2022-05-15_1032_BGRN_Analytic.tif", RADIANCE),
        ("3456789_1056413_2022-05-15_1032_BGRN_SR.tif", SURFACE),
        ("ortho_analytic_4b_sr.tif", SURFACE),
        ("scene.tif", SURFACE),
        ("float_dn.tif", SURFACE),
    ],
)
def test_whole_words_of_the_name_state_it(make_scene: MakeScene, tmp_path: Path, name: str, expected: str) -> None:
    path = make_scene(name=name)
    for stem in (f"{ID}_AnalyticMS_metadata_clip", "3456789_1056413_2022-05-15_1032_BGRN_Analytic_metadata"):
        write_xml(tmp_path / f"{stem}.xml")
    scene = identify_scene(path)
    assert scene.quantity == expected
    assert scene.scale == (COEFFICIENTS if expected == RADIANCE else (1e-4,) * 4)


def test_counts_have_no_coefficients(make_scene: MakeScene, tmp_path: Path) -> None:
    path = make_scene(name=f"{ID}_AnalyticMS_DN.tif")
    write_xml(tmp_path / f"{ID}_AnalyticMS_metadata.xml")
    with pytest.raises(InputError, match=r"unscaled counts.*--planet-quantity"):
        identify_scene(path)
    assert identify_scene(path, options=QuantityOptions("radiance")).scale == COEFFICIENTS


def test_the_header_has_coefficients(make_scene: MakeScene) -> None:
    path = make_scene(name="renamed.tif")
    with rasterio.open(path, "r+") as dataset:
        inner = {"radiometric_scale_factor": 0.01, "reflectance_coefficients": list(COEFFICIENTS)}
        dataset.update_tags(TIFFTAG_IMAGEDESCRIPTION=json.dumps({"properties": inner}))
    scene = identify_scene(path)
    assert (scene.quantity, scene.scale) == (RADIANCE, COEFFICIENTS)
    assert "header" in str(scene.reasons[2])


def test_the_header_wins_over_the_name(make_scene: MakeScene) -> None:
    path = make_scene(name=f"{ID}_AnalyticMS.tif")
    with rasterio.open(path, "r+") as dataset:
        dataset.update_tags(TIFFTAG_IMAGEDESCRIPTION=json.dumps({"atmospheric_correction": {"aot_used": 0.1}}))
    assert identify_scene(path).quantity == SURFACE


def test_our_own_product_of_radiance_reads_back_as_radiance(make_scene: MakeScene) -> None:
    path = make_scene(name="out.tif")
    with rasterio.open(path, "r+") as dataset:
        dataset.scales = COEFFICIENTS
        dataset.update_tags(CLOUDFREE_QUANTITY=json.dumps(RADIANCE))
    scene = identify_scene(path)
    assert (scene.quantity, scene.scale) == (RADIANCE, COEFFICIENTS)


def test_an_offset_is_taken_in(make_scene: MakeScene) -> None:
    dn = scene_dn(40, 50)
    path = make_scene(dn=(dn + 1000).astype(np.uint16))
    with rasterio.open(path, "r+") as dataset:
        dataset.scales, dataset.offsets = (1e-4,) * 4, (-0.1,) * 4
    scene = identify_scene(path)
    with scene.open() as reader:
        np.testing.assert_array_equal(reader.rows(0, 40), dn)
    assert scene.scale == (1e-4,) * 4


@pytest.mark.parametrize(
    ("dtype", "stored_of_one", "nodata"),
    [("int16", 1e4, -999), ("float32", 1.0, np.nan), ("float32", 1e4, None), ("float64", 1.0, None)],
)
def test_other_types_become_ten_thousandths_without_loss(
    make_scene: MakeScene, dtype: str, stored_of_one: float, nodata: float | None
) -> None:
    dn = scene_dn(60, 50)
    stored = (dn * (stored_of_one / 1e4)).astype(dtype)
    stored[:, :, :20] = nodata if dtype == "int16" else np.nan
    with identify_scene(make_scene(dn=stored, nodata=nodata)).open() as reader:
        rows = reader.rows(0, 60)
    assert rows.dtype == np.uint16
    np.testing.assert_array_equal(rows, np.where(np.arange(50) < 20, 0, dn))


def test_a_negative_reflectance_is_data(make_scene: MakeScene) -> None:
    stored = scene_dn(40, 40).astype(np.int16)
    stored[:, 3, 3] = -20
    with identify_scene(make_scene(dn=stored, nodata=-999)).open() as reader:
        assert reader.window(3, 3, 1, 1).ravel().tolist() == [1] * 4


@pytest.mark.parametrize(
    ("dtype", "factor"), [("uint16", 1 / 40), ("float32", 1 / 40), ("float32", -0.001), ("float32", 100.0)]
)
def test_values_that_cannot_be_it_are_refused(make_scene: MakeScene, dtype: str, factor: float) -> None:
    path = make_scene(dn=(scene_dn(40, 40) * factor).astype(dtype))
    with pytest.raises(InputError, match=r"--planet-scale") as caught:
        identify_scene(path)
    assert "\n" not in caught.value.message


def test_a_scale_that_is_told_decides(make_scene: MakeScene) -> None:
    path = make_scene(dn=(scene_dn(40, 40) // 40).astype(np.uint8))
    scene = identify_scene(path, options=QuantityOptions(scale=(1 / 255,)))
    assert scene.scale == (1 / 255,) * 4
    assert scene.dn_of_one.tolist() == [255] * 4
    assert "--planet-scale" in str(scene.reasons[2])


def test_a_stated_scale_that_its_values_cannot_have_is_refused(make_scene: MakeScene) -> None:
    path = make_scene()
    with rasterio.open(path, "r+") as dataset:
        dataset.scales = (0.01,) * 4  # watts, not reflectance
    with pytest.raises(InputError, match="a median of"):
        identify_scene(path)


def test_a_large_scene_is_sampled_where_it_has_data(make_scene: MakeScene) -> None:
    dn = np.zeros((4, 1100, 1100), np.uint16)
    dn[:, :, 3:5] = 20_000  # between the windows of the lattice
    with pytest.raises(InputError, match="a median of 2"):
        identify_scene(make_scene(dn=dn))
    assert set(quantity.QUANTITIES.values()) == {SURFACE, TOA, RADIANCE}


@pytest.mark.parametrize("scale", [float("nan"), float("inf"), -1e-4, 0.0])
def test_a_scale_tag_that_makes_no_reflectance_is_refused(make_scene: MakeScene, scale: float) -> None:
    path = make_scene(name="scene_SR.tif")
    with rasterio.open(path, "r+") as dataset:
        dataset.scales = (scale,) * 4
    with pytest.raises(InputError, match="reflectance lies between"):
        identify_scene(path)


@pytest.mark.parametrize("content", [b'<?xml version="1.0" encoding="UTF-9"?><r/>', b"<r", b"", b"\xff\xfe\x00<"])
def test_damaged_metadata_is_one_line(make_scene: MakeScene, content: bytes) -> None:
    path = make_scene(name=f"{ID}_AnalyticMS.tif")
    path.with_name(f"{ID}_AnalyticMS_metadata.xml").write_bytes(content)
    with pytest.raises(InputError, match="metadata"):
        identify_scene(path)
