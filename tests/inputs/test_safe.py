"""A product's counts against what they were made of, by formulas of `safe_support`, and what is refused."""

import re
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import rasterio
from affine import Affine
from click.testing import Result
from rasterio.errors import NotGeoreferencedWarning
from safe_support import HEIGHT, NAME, WIDTH, SafeRecipe, sigma0_db
from support import ORIGIN, UTM33

from cloudfree.bands import TYPICAL_SAR_DB
from cloudfree.errors import GridError, InputError
from cloudfree.geometry import Grid
from cloudfree.inputs.radar.image import SarOptions, identify_sar
from cloudfree.inputs.radar.safe.layout import find_safe

SCENE = Grid(UTM33, Affine(3, 0, ORIGIN[0], 0, -3, ORIGIN[1]), 96, 80)


def on_scene(*paths: Path, grid: Grid = SCENE, **options: object) -> np.ndarray:
    image = identify_sar(list(paths), grid, SarOptions(**options))
    with image.open() as reader:
        return reader.on_grid(grid)


def truth(grid: Grid = SCENE) -> np.ndarray:
    rows, cols = np.mgrid[: grid.height, : grid.width] + 0.5
    return sigma0_db(*(grid.transform @ (cols, rows)))


@pytest.mark.parametrize("old_noise", [False, True])
@pytest.mark.parametrize("zipped", [False, True])
def test_sigma_nought_where_it_belongs(tmp_path: Path, old_noise: bool, zipped: bool) -> None:
    """To 0.05 dB; half a sample off would be 0.2 dB, and noise left in 0.3 dB to 1 dB."""
    db = on_scene(SafeRecipe(old_noise=old_noise).write(tmp_path, zipped))
    assert np.abs(db - truth()).max() < 0.05


def test_whatever_a_user_points_at(tmp_path: Path) -> None:
    product = SafeRecipe().write(tmp_path / "S1A")
    expected = on_scene(product)
    measured = sorted((product / "measurement").iterdir())
    inner = (product / "manifest.safe", tmp_path / "S1A")
    for paths in ([inner[0]], [inner[1]], measured, measured[::-1]):
        np.testing.assert_array_equal(on_scene(*paths), expected)


@pytest.mark.parametrize(
    "recipe",
    [
        SafeRecipe(name="my radar image", stem="iw-{pol}"),  # the names of AWS and Planetary Computer
        SafeRecipe(name=NAME.replace(".SAFE", "_COG.SAFE"), end="-cog.tiff"),  # Copernicus Data Space
        SafeRecipe(stem="{pol}", end=".TIF"),
    ],
)
def test_renamed_by_a_mirror(tmp_path: Path, recipe: SafeRecipe) -> None:
    assert np.abs(on_scene(recipe.write(tmp_path)) - truth()).max() < 0.05


def test_a_zip_without_a_folder_in_it(tmp_path: Path) -> None:
    product = SafeRecipe().write(tmp_path)
    path = tmp_path / "delivered.zip"
    with zipfile.ZipFile(path, "w") as archive:
        for file in product.rglob("*.*"):
            archive.write(file, file.relative_to(product))
        archive.writestr("__MACOSX/measurement/._s1-vv.tiff", b"rubbish")
    np.testing.assert_array_equal(on_scene(path), on_scene(product))


def test_a_cog_without_control_points_and_with_overviews(tmp_path: Path) -> None:
    """Its positions are the annotation's."""
    product = SafeRecipe(end="-cog.tiff").write(tmp_path)
    expected = on_scene(product)
    for path in (product / "measurement").iterdir():
        with rasterio.open(path) as dataset:
            dn = dataset.read(1)
        options = {"width": WIDTH, "height": HEIGHT, "count": 1, "dtype": "uint16"}
        with pytest.warns(NotGeoreferencedWarning):
            dataset = rasterio.open(path, "w", driver="GTiff", tiled=True, blockxsize=64, blockysize=64, **options)
        with dataset:
            dataset.write(dn, 1)
            dataset.build_overviews([2, 4])
    np.testing.assert_array_equal(on_scene(product), expected)


def test_coarser_grids_and_strips(tmp_path: Path) -> None:
    image = identify_sar([SafeRecipe().write(tmp_path)], SCENE)
    coarse = Grid(UTM33, Affine(24, 0, ORIGIN[0], 0, -24, ORIGIN[1]), 12, 10)
    with image.open() as reader:
        whole = reader.on_grid(SCENE)
        strips = [reader.on_grid(SCENE.rows(start, start + 16)) for start in range(0, 80, 16)]
        averaged = reader.on_grid(coarse)
    np.testing.assert_allclose(np.concatenate(strips, axis=1), whole, atol=1e-3)
    assert np.abs(averaged - truth(coarse)).max() < 0.1


def test_counts_of_zero_are_no_ground(tmp_path: Path) -> None:
    db = on_scene(SafeRecipe(holes=(slice(None), slice(0, 200))).write(tmp_path))
    assert 0.3 < np.isnan(db).mean() < 0.7
    assert np.nanmax(np.abs(db - truth())) < 0.5


def test_power_that_noise_removal_leaves_negative_is_very_low(tmp_path: Path) -> None:
    water = SafeRecipe(power_db=lambda x, y: np.stack([sigma0_db(x, y)[0], np.full(x.shape, -60.0)]))
    db = on_scene(water.write(tmp_path))
    assert np.isfinite(db).all()
    assert np.abs(db[0] - truth()[0]).max() < 0.05
    assert db[1].max() < -33


def test_a_scene_partly_beyond_the_image(tmp_path: Path) -> None:
    product = SafeRecipe().write(tmp_path)
    partly = Grid(UTM33, SCENE.transform @ Affine.translation(660, 0), 96, 80)
    db = on_scene(product, grid=partly)
    valid = np.isfinite(db)
    assert 0.1 < valid.mean() < 0.9
    wrong = np.abs(db - truth(partly))[valid]
    assert np.median(wrong) < 0.01
    assert wrong.max() < 0.25  # in the outer half of the last samples
    with pytest.raises(GridError, match="does not overlap"):
        on_scene(product, grid=Grid(UTM33, SCENE.transform @ Affine.translation(9000, 0), 96, 80))
    with pytest.raises(GridError, match="does not overlap"):
        on_scene(product, grid=Grid(UTM33, Affine(3, 0, ORIGIN[0], 0, -3, -ORIGIN[1]), 96, 80))


def test_one_polarisation(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    db = on_scene(SafeRecipe(polarisations=("vv",)).write(tmp_path / "a"))
    assert np.abs(db[0] - truth()[0]).max() < 0.05
    assert (db[1] == TYPICAL_SAR_DB[1]).all()
    assert "VV alone" in caplog.text
    product = SafeRecipe().write(tmp_path / "b")
    next((product / "measurement").glob("*-vh-*")).unlink()
    np.testing.assert_array_equal(on_scene(product), db)


def test_hh_and_hv_are_named(tmp_path: Path) -> None:
    product = SafeRecipe(polarisations=("hh", "hv")).write(tmp_path)
    with pytest.raises(InputError, match=r"HH, HV.*--allow-hh-hv"):
        on_scene(product)
    assert np.abs(on_scene(product, allow_hh_hv=True) - truth()).max() < 0.05


def test_noise_is_removed_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    db = on_scene(SafeRecipe(denoised=True).write(tmp_path))
    assert np.abs(db - truth()).max() < 0.05
    assert "thermal noise" not in caplog.text


def test_noise_that_stays_in_is_said(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    db = on_scene(SafeRecipe(noise=False).write(tmp_path / "none"))
    assert np.median(db[1] - truth()[1]) > 0.3
    assert "thermal noise stays in" in caplog.text
    caplog.clear()
    product = SafeRecipe(old_noise=True).write(tmp_path / "zero")
    for path in (product / "annotation/calibration").glob("noise-*"):
        path.write_text(re.sub(r"<noiseLut>[^<]*", lambda match: re.sub(r"\d", "0", match[0]), path.read_text()))
    on_scene(product)
    assert "practically zero" in caplog.text


def test_relief_is_warned_of(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    db = on_scene(SafeRecipe(height_m=20).write(tmp_path / "low"))
    assert np.abs(db - truth()).max() < 0.05
    assert "relief" not in caplog.text
    image = identify_sar([SafeRecipe(height_m=100).write(tmp_path / "high")], SCENE)
    assert "relief may move ground by up to 128 m" in caplog.text
    assert "heights of 0 to 100 m" in " ".join(map(str, image.reasons))


# --- what is refused ---


def test_other_products_are_refused_in_words(tmp_path: Path) -> None:
    slc = NAME.replace("GRDH", "SLC_")
    SafeRecipe(name=slc, product_type="SLC", stem="s1a-iw1-slc-{pol}").write(tmp_path, zipped=True)
    (tmp_path / "S1A_IW_RAW__0SDV_2024.SAFE").mkdir()
    (tmp_path / "S02MSIL1C.zarr").mkdir()
    (tmp_path / "renamed").mkdir()
    (tmp_path / "renamed/.zmetadata").write_text("{}")
    expected = {
        slc: "SLC product .*give the GRD product",
        slc.replace(".SAFE", ".zip"): "SLC product .*give the GRD product",
        "S1A_IW_RAW__0SDV_2024.SAFE": "RAW product .*give the GRD product",
        "S02MSIL1C.zarr": "Zarr store .*as SAFE",
        "renamed": "Zarr store .*as SAFE",
    }
    for name, words in expected.items():
        with pytest.raises(InputError, match=words):
            on_scene(tmp_path / name)


def spoil(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


@pytest.mark.parametrize(
    ("pattern", "old", "new", "words"),
    [
        ("annotation/*-vv-*", "</product>", "", "damaged XML"),
        ("annotation/*-vv-*", "<product>", '<?xml version="1.0" encoding="nonsense"?><product>', "damaged XML"),
        ("annotation/*-vv-*", "<line>50</line>", "<line>fifty</line>", "something else than numbers in line"),
        ("annotation/*-vv-*", "<line>50</line><pixel>0<", "<line>51</line><pixel>0<", "no full grid"),
        ("annotation/*-vv-*", "<latitude>4", "<latitude>94", "no full grid"),
        ("annotation/*-vv-*", "geolocationGridPoint>", "point>", "no full grid"),
        ("annotation/*-vv-*", f"<numberOfLines>{HEIGHT}", "<numberOfLines>7", f"{WIDTH} x {HEIGHT} samples"),
        ("annotation/*-vv-*", "numberOfSamples", "samples", "no numberOfSamples"),
        ("annotation/*-vv-*", "polarisation", "pol", "no polarisation"),
        ("annotation/calibration/calibration-*-vv-*", "sigmaNought", "gamma", "no sigmaNought"),
        ("annotation/calibration/calibration-*-vv-*", "<sigmaNought>", "<sigmaNought>1 ", "does not fit its pixels"),
        ("annotation/calibration/calibration-*-vv-*", "<sigmaNought>2", "<sigmaNought>-2", "positive sigmaNought"),
        ("annotation/calibration/calibration-*-vv-*", "<sigmaNought>2", "<sigmaNought>nan ", "else than numbers"),
        ("annotation/calibration/noise-*-vv-*", "<noiseAzimuthLut>", "<noiseAzimuthLut>1 ", "does not fit its lines"),
    ],
)
def test_damaged_annotation_is_one_line(tmp_path: Path, pattern: str, old: str, new: str, words: str) -> None:
    product = SafeRecipe().write(tmp_path)
    spoil(next(product.glob(pattern)), old, new)
    with pytest.raises(InputError, match=words) as caught:
        on_scene(product)
    assert "\n" not in caught.value.message


@pytest.mark.parametrize(
    ("missing", "words"),
    [
        ("measurement", "no measurement"),
        ("annotation", "no annotation"),
        ("annotation/calibration", "of VV without its annotation/calibration"),
    ],
)
def test_incomplete_products_are_one_line(tmp_path: Path, missing: str, words: str) -> None:
    product = SafeRecipe().write(tmp_path)
    shutil.rmtree(product / missing)
    with pytest.raises(InputError, match=words):
        on_scene(product)


def test_damaged_archives_are_one_line(tmp_path: Path) -> None:
    path = SafeRecipe().write(tmp_path, zipped=True)
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(InputError, match="damaged or cut short"):
        on_scene(path)
    path.write_bytes(whole)
    starts = {Path(info.filename).parent.name: info.header_offset for info in zipfile.ZipFile(path).infolist()}
    for folder in ("annotation", "calibration", "measurement"):
        position = starts[folder] + 300
        path.write_bytes(whole[:position] + bytes(1000) + whole[position + 1000 :])
        with pytest.raises(InputError, match=r"damaged|cannot be read"):
            on_scene(path)


def test_two_products_in_one_archive_are_refused(tmp_path: Path) -> None:
    first, second = SafeRecipe().write(tmp_path), SafeRecipe(name="other.SAFE").write(tmp_path)
    with zipfile.ZipFile(tmp_path / "both.zip", "w") as archive:
        for file in (*first.rglob("*"), *second.rglob("*")):
            archive.write(file, file.relative_to(tmp_path))
    with pytest.raises(InputError, match="holds 2 Sentinel-1 products"):
        on_scene(tmp_path / "both.zip")


def test_other_folders_and_archives_are_none(tmp_path: Path) -> None:
    (tmp_path / "measurement").mkdir()
    (tmp_path / "measurement/vv.tif").touch()
    with zipfile.ZipFile(tmp_path / "hyp3.zip", "w") as archive:
        archive.writestr("S1A_RTC_VV.tif", b"")
    for name in ("", "hyp3.zip", "measurement/vv.tif", "absent.SAFE"):
        assert find_safe(tmp_path / name) is None


# --- the commands ---


def test_align_info_and_the_hashes_of_what_was_read(
    tmp_path: Path, cli: Callable[..., Result], make_scene: Callable[..., Path]
) -> None:
    product, scene, output = SafeRecipe().write(tmp_path), make_scene(), tmp_path / "aligned.tif"
    done = cli("align", "--planet", scene, "--sar", product, "-o", output, "--max-shift", 0)
    assert done.exit_code == 0, done.output
    grid = Grid(UTM33, SCENE.transform, 96, 96)
    with rasterio.open(output) as dataset:
        assert np.abs(dataset.read() - truth(grid)).max() < 0.05
        tags = dataset.tags()
    assert tags["CLOUDFREE_INPUTS"].count("sha256") == 1 + 2 * 4
    assert "calibrated to sigma nought by its tables, thermal noise removed" in tags["CLOUDFREE_RADAR"]
    output = cli("info", scene, product).output
    assert "Sentinel-1, VV and VH" in output
    assert f"{WIDTH} x {HEIGHT} px of 10" in output
    assert "covers 100.0 % of the first file's footprint" in output
    measured = next((product / "measurement").iterdir())
    refused = cli("align", "--planet", scene, "--sar", product, "-o", measured, "--overwrite")
    assert "is an input" in refused.stderr
