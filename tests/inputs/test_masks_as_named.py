"""Masks as their providers, tools and users name and fill them: read rightly, or refused in one line."""

import json
import unicodedata
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from affine import Affine
from click.testing import Result
from pyproj import Transformer
from support import ORIGIN, UTM33, scene_dn, write_raster

from cloudfree.bands import Qa
from cloudfree.errors import CloudfreeError, GridError, InputError
from cloudfree.geometry import Grid
from cloudfree.inputs.masks.codes import MaskOptions, State
from cloudfree.inputs.masks.mask import identify_mask, identify_mask_of, identify_udm2
from cloudfree.inputs.masks.names import meaning_in
from cloudfree.inputs.optical.scene import identify_scene

Cli = Callable[..., Result]
Make = Callable[..., Path]

SIDE = 96
PLACE = Affine(3, 0, ORIGIN[0], 0, -3, ORIGIN[1])
SCENE = Grid(UTM33, PLACE, SIDE, SIDE)
COLUMNS = np.broadcast_to(np.arange(SIDE), (SIDE, SIDE))
CLOUD = (COLUMNS >= 30) & (COLUMNS < 40)
SHADOW = (COLUMNS >= 50) & (COLUMNS < 55)
BLACK = COLUMNS >= 90
HIDDEN = CLOUD | SHADOW
ID = "20220515_101530_84_2481"
QUICK = "--weights", "identity", "--edge-limit", 0, "--find-clouds", "never", "--buffer", 0


def mask_of(folder: Path, name: str, values: np.ndarray, dtype: str = "uint8", **profile: Any) -> Path:
    values = (values if values.ndim == 3 else values[None]).astype(dtype)
    return write_raster(folder / name, values, PLACE, **profile)


def cloudy_of(path: Path, options: MaskOptions | None = None) -> np.ndarray:
    with identify_mask(path, SCENE, options).open() as reader:
        return reader.on_grid(SCENE)


def states_of(path: Path, options: MaskOptions | None = None) -> np.ndarray:
    with identify_mask(path, SCENE, options).open() as reader:
        return reader.states(SCENE)


def classed(ground: int, cloud: int, shadow: int, black: int) -> np.ndarray:
    return np.select([CLOUD, SHADOW, BLACK], [cloud, shadow, black], ground)


UDM2 = np.stack([~HIDDEN, HIDDEN & False, SHADOW, SHADOW & False, SHADOW & False, CLOUD, HIDDEN * 90, BLACK & False])
UDM2[:, BLACK] = 0
AS_PROVIDED = {
    "UDM2 by --mask": (f"{ID}_3B_udm2.tif", UDM2, {}),
    "UDM1": (f"{ID}_3B_AnalyticMS_DN_udm.tif", classed(0, 2, 2 | 4, 1), {}),
    "SCL": ("T33UUP_20220515T101559_SCL_20m.tif", classed(4, 9, 3, 0), {"nodata": 0}),
    "HLS v2": ("HLS.S30.T17SPV.2022001T160531.v2.0.Fmask.tif", classed(64, 66, 72, 255), {"nodata": 255}),
    "HLS v2 without a tag": ("HLS.L30.T17SPV.2022001T160531.v2.0.Fmask.tif", classed(96, 194, 200, 255), {}),
    "HLS adjacent": ("HLSS30.020_Fmask_doy2022001_aid0001_17N.tif", classed(160, 66, 68, 255), {}),
    "HLS renamed": ("scene_fmask.tif", classed(64, 66, 72, 255), {"nodata": 255}),
    "HLS low": ("HLS.S30.T17SPV.2022001T160531.v2.0.Fmask.tif", classed(0, 2, 8, 255), {}),
    "Fmask 4": ("LC08_044034_20220515_Fmask4.tif", classed(0, 4, 2, 255), {}),
    "Landsat": ("LC08_L2SP_044034_20220515_QA_PIXEL.TIF", classed(21824, 22280, 23888, 1), {"dtype": "uint16"}),
    "QA60": ("S2_20220515_QA60.tif", classed(0, 1024, 2048, 0), {"dtype": "uint16"}),
    "QA60 warped": ("S2_20220515_QA60.tif", classed(0, 1024, 2048, 0), {"dtype": "uint16", "nodata": 0}),
    "s2cloudless": ("S2_s2cloudless_mask.tif", classed(0, 1, 1, 255), {}),
    "OmniCloudMask": ("scene_OCM_v1_6_0.tif", classed(0, 1, 3, 0), {"nodata": 0}),
    "CloudSEN12": ("ROI_0001_cloudsen12.tif", classed(0, 2, 3, 255), {}),
    "MAJA": ("SENTINEL2A_20220515-101559-456_L2A_T33UUP_C_V3-0_CLM_R1.tif", classed(0, 3, 33, 0), {}),
    "ARPS": ("arps_qa.tif", classed(1, 2, 3, -999), {"dtype": "int16", "nodata": -999}),
    "renamed, 0 and 1": ("mask.tif", HIDDEN, {}),
    "0 and 255 with nodata 0": ("mask.tif", HIDDEN * 255, {"nodata": 0}),
    "clear, 0 and 1": ("20220515_clear.tif", ~HIDDEN, {}),
    "clear with nodata 0": ("valid_mask.tif", ~HIDDEN, {"nodata": 0}),
    "clear with nodata 255": ("usable.tif", np.where(BLACK, 255, ~HIDDEN), {"nodata": 255}),
    "binary of SCL": ("S2_SCL_mask.tif", HIDDEN, {}),
    "binary of HLS": ("HLS.S30.T17SPV.2022001T160531.v2.0.Fmask_cloud.tif", HIDDEN, {}),
    "clear, of Fmask": ("LC08_fmask_clear.tif", ~HIDDEN, {}),
    "binary of Fmask": ("Fmask_cloudmask.tif", HIDDEN, {}),
    "binary of Fmask in words": ("LC08_fmask_cloud.tif", HIDDEN, {}),
    "binary of Fmask by that word": ("x_fmask_binary.tif", HIDDEN * 255, {}),
    "binary of ARPS": ("arps_cloud.tif", HIDDEN, {"nodata": 0}),
    "SCL with undeclared fill": ("T33UUP_20220515T101559_SCL_20m.tif", classed(4, 9, 3, 255), {}),
    "QA60 with undeclared fill": ("S2_20220515_QA60.tif", classed(0, 1024, 2048, 65535), {"dtype": "uint16"}),
    "0 and 1 with undeclared fill": (
        "m.tif",
        classed(0, 1, 1, -9999),
        {"dtype": "float32", "descriptions": ("cloud mask",)},
    ),
    "nodata 1": ("mask.tif", HIDDEN * 255, {"nodata": 1}),
    "s2cloudless in words": ("S2_cloudless_mask.tif", HIDDEN, {}),
    "cloud in the band, clear in the file": ("cloudfree_mask.tif", HIDDEN, {"descriptions": ("cloud_mask",)}),
    "labels parted by a space": ("mask.tif", ~HIDDEN, {"descriptions": ("1=clear 0=cloud",)}),
    "the label of zero alone": ("mask.tif", ~HIDDEN, {"descriptions": ("cloud=0",)}),
    "labels in the band": ("mask.tif", ~HIDDEN, {"descriptions": ("cloud mask (0 = cloud, 1 = clear)",)}),
}


@pytest.mark.parametrize("which", AS_PROVIDED)
def test_a_mask_is_read_as_its_provider_fills_it(which: str, tmp_path: Path, cli: Cli) -> None:
    name, values, profile = AS_PROVIDED[which]
    path = mask_of(tmp_path, name, values, **profile)
    told = cli("info", path)
    assert (": mask" in told.output) or ("(UDM2)" in told.output), told.output
    np.testing.assert_array_equal((states_of(path) == State.CLOUDY)[:, :90], HIDDEN[:, :90])


def test_the_share_is_that_of_the_run(cli: Cli, make_scene: Make, make_sar: Make, tmp_path: Path) -> None:
    folder = tmp_path / "cloudfree"
    folder.mkdir()
    files = "--planet", make_scene(dn=scene_dn(SIDE, SIDE)), "--sar", make_sar(), *QUICK
    for name, values in {"20220515_cloudfree_mask.tif": ~CLOUD, "a.tif": CLOUD}.items():
        out, qa = tmp_path / f"out_{name}", tmp_path / f"qa_{name}"
        mask = mask_of(folder, name, values)
        done = cli("run", *files, "--mask", mask, "-o", out, "--qa", qa, "-v")
        assert done.exit_code == 0, done.output
        with rasterio.open(qa) as dataset:
            np.testing.assert_array_equal(dataset.read(1)[CLOUD], Qa.RECONSTRUCTED)
            assert (dataset.read(1)[:, 60:] == Qa.OBSERVED).all()
        told = "the name of the file" if "cloudfree" in name else "10.4 % of the scene is cloud by a.tif"
        assert told in done.stderr


@pytest.mark.parametrize(
    "name", ["valid", "cloudfree", "a", "scene_cloudfree_mask", "fmask", "scl", "HLS_fmask", "no_cloud"]
)
@pytest.mark.parametrize("part", ["both bands", "first"])
def test_our_own_mask_is_a_mask_whatever_its_name(
    cli: Cli, make_scene: Make, make_sar: Make, tmp_path: Path, name: str, part: str
) -> None:
    written = tmp_path / "written.tif"
    if not written.exists():
        files = "--planet", make_scene(dn=scene_dn(SIDE, SIDE)), "--sar", make_sar(), *QUICK
        mask = mask_of(tmp_path, "m.tif", CLOUD)
        assert cli("run", *files, "--mask", mask, "-o", tmp_path / "o.tif", "--write-mask", written).exit_code == 0
    path = tmp_path / f"{name}.tif"
    with rasterio.open(written) as dataset:
        bands = dataset.read() if part == "both bands" else dataset.read(1)[None]
        descriptions = dataset.descriptions[: len(bands)]
    bands[0, :, 60:70] = np.array([2, 3, 4, 0, 1, 2, 3, 4, 0, 255])
    mask_of(tmp_path, path.name, bands, nodata=255, descriptions=descriptions)
    states = states_of(path)
    np.testing.assert_array_equal((states == State.CLOUDY)[:, :60], CLOUD[:, :60])
    clear, unknown, cloudy = State
    row = [cloudy, cloudy, clear, clear, cloudy, cloudy, cloudy, clear, clear, unknown]
    assert states[0, 60:70].tolist() == row
    assert ": mask" in cli("info", path).output


@pytest.mark.parametrize("name", ["scene_fmask.tif", "arps_mask.tif"])
def test_zeros_and_ones_that_are_no_cloud_by_a_preset_are_told(
    tmp_path: Path, name: str, caplog: pytest.LogCaptureFixture
) -> None:
    path = mask_of(tmp_path, name, HIDDEN)
    assert not cloudy_of(path).any()
    assert f"{name} holds 0, 1, none of which is cloud by preset" in caplog.text
    assert "give --mask-values 1 if 1 is cloud" in caplog.text


def test_an_empty_qa60_is_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    identify_mask(mask_of(tmp_path, "S2_QA60.tif", HIDDEN * 0, "uint16"), SCENE)
    assert "zero all over" in caplog.text


def test_zero_is_no_nodata_where_one_is(tmp_path: Path) -> None:
    """What is declared to be no data is unknown, and zero is clear, or cloud in a mask of clear ground."""
    clear, unknown, cloudy = State
    for name, of_zero in {"mask.tif": clear, "valid.tif": cloudy}.items():
        states = states_of(mask_of(tmp_path, name, HIDDEN, nodata=1))
        np.testing.assert_array_equal(states, np.where(HIDDEN, unknown, of_zero))
    with identify_udm2(mask_of(tmp_path, "udm2.tif", UDM2, nodata=1), SCENE).open() as reader:
        np.testing.assert_array_equal(reader.states(SCENE)[:, :90], np.where(HIDDEN, unknown, clear)[:, :90])


@pytest.mark.parametrize(
    ("bands", "descriptions", "told"),
    [
        ((CLOUD, SHADOW), ("cloud", "shadow"), "bands 1, 2 are cloud where"),
        ((~HIDDEN, HIDDEN), ("clear", "cloud"), "band 2 is cloud where"),
        ((HIDDEN, HIDDEN * 90), ("cloud_mask", "cloud_prob"), "band 1 is cloud where"),
    ],
)
def test_a_pixel_is_cloud_where_any_band_of_cloud_says_so(
    tmp_path: Path, bands: tuple[np.ndarray, ...], descriptions: tuple[str, ...], told: str
) -> None:
    path = mask_of(tmp_path, "m.tif", np.stack(bands), descriptions=descriptions)
    np.testing.assert_array_equal(cloudy_of(path), HIDDEN)
    assert told in str(identify_mask(path, SCENE).reasons[0])


def test_flags_in_tags(tmp_path: Path) -> None:
    path = mask_of(tmp_path, "mask.tif", classed(2, 0, 1, 3))
    with rasterio.open(path, "r+") as dataset:
        dataset.update_tags(1, flag_values="0, 1, 2, 3", flag_meanings="cloud cloud_shadow clear_land no_data")
    np.testing.assert_array_equal(states_of(path), classed(State.CLEAR, State.CLOUDY, State.CLOUDY, State.UNKNOWN))


@pytest.mark.parametrize(
    ("name", "values", "dtype", "threshold", "fills"),
    [
        ("prob.tif", np.where(HIDDEN, 0.9, 0.02), "float32", 0.5, (-9999, -1, 255, 65535, 3e38, -3e38)),
        ("percent.tif", np.where(HIDDEN, 90, 2), "int16", 50, (-9999, -1, 255, 32767)),
        ("clear_prob.tif", np.where(HIDDEN, 2, 98), "uint8", 50, (255,)),
        ("cs_cdf.tif", np.where(HIDDEN, 200, 9800), "uint16", 5000, (65535, 55537)),
    ],
)
def test_undeclared_fill_among_probabilities_is_unknown(
    tmp_path: Path, name: str, values: np.ndarray, dtype: str, threshold: float, fills: tuple[float, ...]
) -> None:
    for fill in fills:
        path = mask_of(tmp_path, name, np.where(BLACK, fill, values), dtype)
        expected = np.where(BLACK, State.UNKNOWN, np.where(HIDDEN, State.CLOUDY, State.CLEAR))
        np.testing.assert_array_equal(states_of(path, MaskOptions(threshold=threshold)), expected)


def test_255_of_255_is_no_fill(tmp_path: Path) -> None:
    path = mask_of(tmp_path, "prob.tif", np.where(HIDDEN, 255, COLUMNS))
    np.testing.assert_array_equal(cloudy_of(path, MaskOptions(threshold=128)), HIDDEN)


@pytest.mark.parametrize(
    ("options", "values", "dtype", "message"),
    [
        (MaskOptions("1"), HIDDEN * 255, "uint8", "holds 0, 255, none of which is cloud by --mask-values 1"),
        (MaskOptions(bits="0"), HIDDEN * 2, "uint8", "holds 0, 2, none of which is cloud by --mask-bits 0"),
        (MaskOptions("fmask"), classed(4, 9, 3, 0), "uint8", "holds 0, 3, 4, 9, and --mask-values fmask is classes"),
        (MaskOptions(threshold=50), COLUMNS * 100, "uint16", "holds 0 to 9500: 0.5 % of it; give 5000"),
        (MaskOptions(threshold=50), COLUMNS * 10, "uint16", "holds 0 to 950: 5 % of it; give 500"),
        (MaskOptions(threshold=1), COLUMNS / 110, "float32", "none reaches it"),
        (MaskOptions(threshold=100), COLUMNS, "uint8", "none reaches it"),
    ],
)
def test_options_that_match_nothing_are_told(
    tmp_path: Path,
    options: MaskOptions,
    values: np.ndarray,
    dtype: str,
    message: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    identify_mask(mask_of(tmp_path, "m.tif", values, dtype), SCENE, options)
    assert message in caplog.text
    caplog.clear()
    identify_mask(mask_of(tmp_path, "m.tif", values * 0, dtype), SCENE, MaskOptions("1"))
    assert not caplog.text


@pytest.mark.parametrize(
    ("name", "values", "dtype", "message"),
    [
        ("cloud_mask_inverted.tif", HIDDEN, "uint8", "says both clear and cloud, or the inverse.*--mask-values 0"),
        ("scl_bilinear.tif", COLUMNS / 10, "float32", "classes of 0 to 11, but it holds fractions of 0 to 9.5, as"),
        ("scene_fmask.tif", classed(1, 2, 3, 5), "uint8", "classes of 0 to 4, and 255, but it holds 1, 2, 3, 5"),
        ("x_SCL.tif", classed(4, 9, 3, 17), "uint8", "classes of 0 to 11, but it holds"),
        ("x_QA60.tif", classed(0, 1, 2, 3), "uint16", "bits 10 and 11, but it holds"),
        ("x_qa_pixel.tif", classed(0, 2, 5, 66), "uint16", "confidences"),
        ("omnicloudmask.tif", classed(0, 1, 2, 9), "uint8", "classes of 0 to 3"),
        ("x.tif", COLUMNS / 96, "float32", "--mask-threshold"),
        ("S2_s2cloudless.tif", COLUMNS / 96, "float32", "--mask-threshold"),
        ("MSK_CLDPRB_20m.tif", COLUMNS, "uint8", "--mask-threshold"),
        ("MSK_CLDPRB_20m.tif", CLOUD * 3, "uint8", "--mask-threshold"),
        ("cloud_probability.tif", COLUMNS, "uint8", "--mask-threshold"),
        ("cloud_prob.tif", COLUMNS / 96, "float64", "--mask-threshold"),
        ("clear_cloud.tif", CLOUD, "uint8", "says both clear and cloud"),
    ],
)
def test_what_does_not_fit_its_name_is_refused(
    tmp_path: Path, name: str, values: np.ndarray, dtype: str, message: str
) -> None:
    with pytest.raises(InputError, match=message):
        identify_mask(mask_of(tmp_path, name, values, dtype), SCENE)


def test_fractions_are_no_classes(tmp_path: Path) -> None:
    path = mask_of(tmp_path, "x.tif", COLUMNS / 96, "float32")
    for options in (MaskOptions(values="1"), MaskOptions(bits="1")):
        with pytest.raises(InputError, match=r"fractions of 0 to 0\.9896.*--mask-threshold"):
            identify_mask(path, SCENE, options)


@pytest.mark.parametrize(
    ("name", "values", "dtype", "threshold", "expected"),
    [
        ("prob.tif", COLUMNS / 96, "float32", 0.5, COLUMNS >= 48),
        ("MSK_CLDPRB_20m.tif", COLUMNS, "uint8", 40, COLUMNS >= 40),
        ("cloud_prob.tif", np.where(COLUMNS < 9, np.nan, COLUMNS / 96), "float32", 0.5, COLUMNS >= 48),
        ("percent.tif", COLUMNS * 1.01, "float32", 50, COLUMNS >= 50),
        ("cs_cdf.tif", COLUMNS / 96, "float32", 0.5, COLUMNS < 48),
        ("clear_probability.tif", COLUMNS, "uint8", 48, COLUMNS < 48),
        ("prob.tif", COLUMNS / 960, "float32", 0.5, COLUMNS < 0),
        ("scaled_prob.tif", COLUMNS * 100, "uint16", 5000, COLUMNS >= 50),
    ],
)
def test_a_threshold_makes_a_mask_of_probabilities(
    tmp_path: Path, name: str, values: np.ndarray, dtype: str, threshold: float, expected: np.ndarray
) -> None:
    path = mask_of(tmp_path, name, values, dtype)
    np.testing.assert_array_equal(cloudy_of(path, MaskOptions(threshold=threshold)), expected)
    assert f"{threshold:g}" in str(identify_mask(path, SCENE, MaskOptions(threshold=threshold)).reasons[0])


@pytest.mark.parametrize(
    ("values", "dtype", "threshold", "message"),
    [
        (COLUMNS / 96, "float32", 50, "give one of 0 to 1"),
        (COLUMNS, "uint8", 0.5, "give 50"),
        (COLUMNS, "uint8", 150, "give one of 0 to 100"),
        (COLUMNS * 2, "uint8", 0.5, "give 127.5"),
        (COLUMNS * 100, "uint16", 0.5, "holds 0 to 9500; .*give 5000"),
        (COLUMNS / 96, "float32", 0, "which all reach it"),
        (COLUMNS / 96, "float32", np.nan, "a number is needed"),
    ],
)
def test_a_threshold_in_other_units_is_refused(
    tmp_path: Path, values: np.ndarray, dtype: str, threshold: float, message: str
) -> None:
    with pytest.raises(InputError, match=message):
        identify_mask(mask_of(tmp_path, "p.tif", values, dtype), SCENE, MaskOptions(threshold=threshold))
    with pytest.raises(InputError, match="both given"):
        identify_mask(mask_of(tmp_path, "p.tif", values, dtype), SCENE, MaskOptions("1", threshold=threshold))


def test_a_threshold_by_the_command(cli: Cli, make_scene: Make, make_sar: Make, tmp_path: Path) -> None:
    files = "--planet", make_scene(dn=scene_dn(SIDE, SIDE)), "--sar", make_sar(), *QUICK
    mask = mask_of(tmp_path, "p.tif", np.where(CLOUD, 0.9, 0.02), "float32")
    plain = cli("run", *files, "--mask", mask, "-o", tmp_path / "o.tif")
    assert plain.exit_code == 1
    assert "--mask-threshold" in plain.stderr
    assert not (tmp_path / "o.tif").exists()
    done = cli("run", *files, "--mask", mask, "--mask-threshold", 0.5, "-o", tmp_path / "o.tif", "--json")
    assert json.loads(done.stdout)["pixels"]["reconstructed"] >= CLOUD.sum()


# --- UDM2 ---


@pytest.mark.parametrize("nodata", [0, None])
def test_zero_in_a_udm2_is_no_nodata(
    make_scene: Make, tmp_path: Path, nodata: int | None, caplog: pytest.LogCaptureFixture
) -> None:
    """As `gdalwarp -dstnodata 0` leaves it: unknown is where all bands are zero, on ground of the scene."""
    bands = UDM2.copy()
    bands[:, :20] = 0
    path = mask_of(tmp_path, "udm2.tif", bands, nodata=nodata)
    dn = scene_dn(SIDE, SIDE)
    dn[:, :, 90:] = 0
    for unknown in ("cloud", "clear"):
        caplog.clear()
        mask = identify_mask_of(identify_scene(make_scene(dn=dn)), path, None, MaskOptions(unknown=unknown))
        assert mask
        with mask.open() as reader:
            cloudy = reader.on_grid(SCENE)
        np.testing.assert_array_equal(cloudy[20:], HIDDEN[20:])
        assert (cloudy[:20, :90] == (unknown == "cloud")).all()
        assert "20.8 % of the scene" in caplog.text


def test_a_udm2_that_is_warped_to_nodata_0_and_whole_says_all(
    make_scene: Make, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    dn = scene_dn(SIDE, SIDE)
    dn[:, :, 90:] = 0
    path = mask_of(tmp_path, "udm2.tif", UDM2, nodata=0)
    identify_mask_of(identify_scene(make_scene(dn=dn)), path, None)
    assert not caplog.text
    scene = mask_of(tmp_path, "b.tif", np.maximum(UDM2, 7), nodata=0)
    with pytest.raises(InputError, match="hold 0 and 1"):
        identify_udm2(scene, SCENE)


def test_a_udm2_that_cannot_be_read_rewrites_nothing_silently(
    cli: Cli, make_scene: Make, make_sar: Make, tmp_path: Path
) -> None:
    scene, out = make_scene(name=f"{ID}_3B_AnalyticMS_SR.tif"), tmp_path / "o.tif"
    (tmp_path / f"{ID}_3B_udm2.tif").write_bytes(b"II*\0" + bytes(100))
    run = "run", "--planet", scene, "--sar", make_sar(), "-o", out, "--weights", "identity"
    done = cli(*run, "--find-clouds", "never")
    assert done.exit_code == 1
    assert "udm2.tif beside the scene cannot be used" in done.stderr
    assert not out.exists()
    assert cli(*run, "--find-clouds", "never", "--fill", "all").exit_code == 0
    assert cli(*run, "--overwrite").exit_code == 0


@pytest.mark.parametrize(
    ("june", "july"),
    [
        ("поле_Июнь_2022", "поле_Июль_2022"),
        ("农田六月", "农田七月"),
        ("حقل_يونيو_2022", "حقل_يوليو_2022"),
        ("champ_août_2022", "champ_aout_2022"),
        ("खेत_जून_1", "खेत_जुलाई_1"),
        ("🌲_2022", "🌳_2022"),
        ("αγρός_Ιούνιος_1_2_3", "αγρός_Ιούλιος_1_2_3"),
        (f"{ID}", "20220715_101530_84_2481"),
        ("field_a_b_c_d", "field_a_b_c"),
    ],
)
@pytest.mark.parametrize("forms", [("NFC", "NFD"), ("NFD", "NFC")])
def test_names_in_other_scripts(make_scene: Make, tmp_path: Path, june: str, july: str, forms: tuple[str, str]) -> None:
    """July's UDM2 is never June's; June's own is found, composed or not, in capitals or not."""
    of_scene, of_mask = (lambda text, form=form: unicodedata.normalize(form, text) for form in forms)
    scene = make_scene(name=of_scene(f"{june}_AnalyticMS_SR.tif"))
    other = mask_of(tmp_path, of_mask(f"{july}_udm2.tif"), UDM2)
    assert identify_mask_of(identify_scene(scene), None, None) is None
    own = mask_of(tmp_path, of_mask(f"{june.upper()}_UDM2.tif"), UDM2)
    mask = identify_mask_of(identify_scene(scene), None, None)
    assert mask
    assert (mask.path.plain, other.exists()) == (own, True)


# --- polygons ---


def geojson(path: Path, *boxes_px: tuple[int, int, int, int], epsg: int | None = None, **properties: str) -> Path:
    """Boxes (west, north, east, south) in pixels of the scene; in degrees without `epsg`."""
    to_degrees = Transformer.from_crs(32633, epsg or 4326, always_xy=True)
    features = []
    for west, north, east, south in boxes_px:
        corners = [PLACE @ corner for corner in ((west, north), (east, north), (east, south), (west, south))]
        ring = [list(to_degrees.transform(*corner)) for corner in [*corners, corners[0]]]
        geometry = {"type": "Polygon", "coordinates": [ring]}
        features.append({"type": "Feature", "properties": properties, "geometry": geometry})
    document: dict[str, Any] = {"type": "FeatureCollection", "features": features}
    if epsg:
        document["crs"] = {"type": "name", "properties": {"name": f"EPSG:{epsg}"}}
    path.write_text(json.dumps(document))
    return path


@pytest.mark.parametrize("epsg", [None, 32633, 3857, 32632])
def test_polygons_are_burnt_in(tmp_path: Path, epsg: int | None) -> None:
    path = geojson(tmp_path / "clouds.geojson", (30, -50, 40, 200), (10, 10, 20, 20), epsg=epsg)
    expected = CLOUD.copy()
    expected[10:20, 10:20] = True
    np.testing.assert_array_equal(cloudy_of(path), expected)
    mask = identify_mask(path, SCENE)
    with mask.open() as reader:
        strips = [reader.on_grid(SCENE.rows(row, row + 12)) for row in range(0, SIDE, 12)]
    np.testing.assert_array_equal(np.concatenate(strips), expected)
    assert "cloud inside its polygons" in str(mask.reasons[0])
    np.testing.assert_array_equal(cloudy_of(path.rename(tmp_path / "clear_sky.json")), ~expected)


def classed_polygons(path: Path, key: str, *classes: Any) -> Path:
    """All of the scene, the cloud and the shadow, each of a class."""
    boxes = ((0, 0, 96, 96), (30, -50, 40, 200), (50, -50, 55, 200))
    document = json.loads(geojson(path, *boxes[: len(classes)]).read_text())
    for feature, of_it in zip(document["features"], classes, strict=True):
        feature["properties"] = {"fid": 1, key: of_it}
    path.write_text(json.dumps(document))
    return path


@pytest.mark.parametrize(
    ("key", "classes", "expected"),
    [
        ("DN", (0, 1, 1), HIDDEN),
        ("DN", (0, 255, 255), HIDDEN),
        ("value", ("0", "1", "1"), HIDDEN),
        ("class", ("clear", "cloud", "shadow"), HIDDEN),
        ("Label", ("land", "thick", "cloud shadow"), HIDDEN),
        ("type", ("clear",), HIDDEN & False),
        ("DN", (0,), HIDDEN & False),
        ("label", ("A 1", "B 2", "C 3"), HIDDEN | True),
    ],
)
def test_polygons_of_classes(tmp_path: Path, key: str, classes: tuple[Any, ...], expected: np.ndarray) -> None:
    path = classed_polygons(tmp_path / "m.geojson", key, *classes)
    np.testing.assert_array_equal(cloudy_of(path), expected)
    if "cloud" in classes:
        np.testing.assert_array_equal(cloudy_of(path.rename(tmp_path / "clear.geojson")), expected)
    if key == "DN":  # of a mask of clear ground
        np.testing.assert_array_equal(cloudy_of(path.rename(tmp_path / "clear.geojson")), ~expected)


@pytest.mark.parametrize("classes", [(0, 1, 2), (3, 8, 9), ("clear", "cloud", "foo")])
def test_classes_of_polygons_that_nothing_explains_are_refused(tmp_path: Path, classes: tuple[Any, ...]) -> None:
    listed = ", ".join(map(str, classes))
    with pytest.raises(InputError, match=f"polygons whose class is {listed}, and nothing says which are cloud"):
        identify_mask(classed_polygons(tmp_path / "m.geojson", "class", *classes), SCENE)


def test_polygons_by_the_command(cli: Cli, make_scene: Make, make_sar: Make, tmp_path: Path) -> None:
    files = "--planet", make_scene(dn=scene_dn(SIDE, SIDE)), "--sar", make_sar(), *QUICK
    path = geojson(tmp_path / "clouds.geojson", (30, -50, 40, 200))
    done = cli("run", *files, "--mask", path, "-o", tmp_path / "o.tif", "--qa", tmp_path / "qa.tif")
    assert done.exit_code == 0, done.output
    with rasterio.open(tmp_path / "qa.tif") as qa:
        assert (qa.read(1)[CLOUD] == Qa.RECONSTRUCTED).all()
        assert (qa.read(1)[:, 60:] == Qa.OBSERVED).all()
    done = cli("run", *files, "--mask", path, "-o", path, "--overwrite")
    assert "is an input" in done.stderr


def test_vectors_that_are_no_mask_are_refused(tmp_path: Path) -> None:
    cases = {
        "clouds.geojson": (geojson(tmp_path / "a.geojson").read_text(), "--mask needs polygons"),
        "b.geojson": ("{", "no GeoJSON that can be read"),
        "c.json": ('{"a": 1}', "no GeoJSON that can be read"),
        "d.shp": ("x", "GeoJSON"),
        "e.gpkg": ("x", "GeoJSON"),
        "f.geojsonl": ("{}", "polygons are read as GeoJSON: convert it"),
        "g.wkt": ("POLYGON EMPTY", "polygons are read as GeoJSON: convert it"),
        "outside_clouds.geojson": (geojson(tmp_path / "a.geojson", (0, 0, 9, 9)).read_text(), "says both"),
    }
    for name, (content, message) in cases.items():
        path = tmp_path / name
        path.write_text(content)
        with pytest.raises(InputError, match=message):
            identify_mask(path, SCENE)
    item = geojson(tmp_path / f"{ID}_metadata.json", (0, 0, 96, 96), acquired="2022-05-15T10:15:30Z")
    item.write_text(json.dumps(json.loads(item.read_text())["features"][0]))
    with pytest.raises(InputError, match="describes a scene"):
        identify_mask(item, SCENE)
    with pytest.raises(GridError, match="no polygon over the scene"):
        identify_mask(geojson(tmp_path / "far.geojson", (1000, 0, 1010, 10)), SCENE)
    with pytest.raises(InputError, match="holds polygons"):
        identify_mask(geojson(tmp_path / "f.geojson", (0, 0, 9, 9)), SCENE, MaskOptions(values="1"))
    with pytest.raises(CloudfreeError, match="does not exist"):
        identify_mask(tmp_path / "none.geojson", SCENE)


# --- words of names ---

CLEAR = (
    *("clear", "UDM2_Clear", "ClearMask", "clear_sky_mask", "clearsky", "valid", "valid_mask", "validmask", "isClear"),
    *("usable_pixels", "good", "not_cloud", "notcloud", "no_cloud", "NoCloud", "non-cloud", "cloudfree", "cloud_free"),
    *("cloud-free", "CloudFree", "CLOUDFREE_MASK", "20220515_cloudfree_mask", "cloudless", "cloud_or_shadow_free"),
    *("neither_cloud_nor_shadow", "no_thick_cloud", "cloud_mask_clear_is_1", "cloud_is_0"),
    *("no_cloud_or_shadow", "free_of_clouds", "no_cloud_no_shadow", "unclouded", "usable_data"),
)
CLOUDY = (
    *("cloud", "clouds", "cloudmask", "CloudMask", "cirrus", "cloud_shadow", "not_clear", "unclear", "invalid"),
    *(
        "unusable",
        "not_valid",
        "bad_pixels",
        "clear_lake_cloud_mask",
        "cloudfree_scene_cloud_mask",
        "not_cloud_free",
        "s2_cloudless_cloud_mask",
        *(
            "visible_clouds",
            "valid_cloud_mask",
            "Valid_cloud",
            "cloud_no_shadow",
            "cloud_not_shadow",
            "Goodland_clouds",
        ),
    ),
)
BOTH = (
    *("cloud_clear", "clear_cloud_mask", "cloud_mask_inverted", "cloud_mask_inv", "inverse_cloud_mask", "mask_inv"),
    *("cloudmask_neg", "clouds_removed", "cloud_excluded", "exclude_clouds", "outside_clouds", "cloud_absent"),
    *("minus_cloud", "cloud_free_inverse", "CloudMaskInverted", "declouded"),
)
NEITHER = (
    "mask",
    "validation",
    "clearcut_mask",
    "clear_cut",
    "clear_lake_mask",
    "goodyear",
    "scl",
    "nodata",
    "20220515",
)


@pytest.mark.parametrize(
    ("names", "expected"),
    [(CLEAR, "clear"), (CLOUDY, "cloud"), (NEITHER, None), (BOTH, "both")],
)
def test_words_negations_and_pairs(names: tuple[str, ...], expected: str | None) -> None:
    assert {name: meaning_in(name) for name in names} == dict.fromkeys(names, expected)
