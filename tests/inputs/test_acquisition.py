"""When and from which orbit files say that they were taken."""

from collections.abc import Callable
from datetime import datetime
from pathlib import Path

import numpy as np
import pytest
import rasterio
from click.testing import Result
from safe_support import SafeRecipe
from support import sar_values_db

from cloudfree.inputs import acquisition
from cloudfree.inputs.acquisition import Acquisition, moments_in
from cloudfree.inputs.radar.image import identify_sar
from cloudfree.inputs.radar.safe.product import geometry_of, opened_radar
from cloudfree.inputs.raster import access

MakeSar = Callable[..., Path]
NOTHING_STATES_IT = "neither a tag nor the file's name tells"
HYP3 = "S1A_IW_{}T165810_DVP_RTC20_G_gpuned_7C21_{}.tif"


@pytest.mark.parametrize(
    ("name", "tags", "expected"),
    [
        (HYP3.format("20240612", "VV"), {}, "2024-06-12 16:58 UTC"),
        (
            "OPERA_L2_RTC-S1_T073-155304-IW2_20240612T165815Z_20240613T010203Z_S1A_30_v1.0_VV.tif",
            {"ORBIT_PASS_DIRECTION": "descending"},
            "2024-06-12 16:58 UTC, descending, relative orbit 73",
        ),
        (
            "S1A_IW_GRDH_1SDV_20240612T165810_20240612T165835_054295_069B48_7C21.tif",
            {},
            "2024-06-12 16:58 UTC, relative orbit 148",
        ),
        ("s1a_33NWB_vv_DES_007_20200108t044150.tif", {}, "2020-01-08 04:41 UTC, descending, relative orbit 7"),
        ("x_20200101.tif", {"ACQUISITION_DATE": "2024-06-12T16:58:10.123Z"}, "2024-06-12 16:58 UTC"),
        ("x.tif", {"first_line_time": "12-JUN-2024 16:58:10.123456", "PASS": "ASCENDING"}, "2024-06-12 16:58 UTC, asc"),
        ("x_20240612.tif", {"TIFFTAG_DATETIME": "2025:01:01 00:00:00"}, "2024-06-12"),
        ("x.tif", {"TIFFTAG_DATETIME": "2024:06:12 16:58:10"}, "2024-06-12 16:58 UTC"),
        (
            "S1A_IW_GRDH_1SDV_20240612T165810_20240612T165835_054295_069B48_rtc/measurement/iw-vv.rtc.tiff",
            {},
            "2024-06-12 16:58 UTC, relative orbit 148",
        ),
        ("x_20241399_12345678901.tif", {}, "an unknown date"),
        ("x.tif", {"PLATFORM": "Sentinel-1B", "ABSOLUTE_ORBIT": "027"}, "relative orbit 1"),
        # By ESA's formulas, as isce2 and sentineleof have them; S1C was moved after orbit 8018.
        (
            "S1C_IW_GRDH_1SDV_20250331T060127_20250331T060154_001681_002CBA_7C21.tif",
            {},
            "2025-03-31 06:01 UTC, relative orbit 110",
        ),
        ("x.tif", {"PLATFORM": "S1C", "ABSOLUTE_ORBIT": "8018"}, "relative orbit 147"),
        ("x.tif", {"PLATFORM": "S1C", "ABSOLUTE_ORBIT": "8019"}, "relative orbit 46"),
        (
            "S1C_IW_GRDH_1SDV_20260701T060127_20260701T060154_008345_002CBA_7C21.tif",
            {},
            "2026-07-01 06:01 UTC, relative orbit 22",
        ),
        ("x.tif", {"PLATFORM": "SENTINEL-1D", "ABSOLUTE_ORBIT": "45"}, "relative orbit 4"),
        ("x.tif", {"PLATFORM": "S1D", "ABSOLUTE_ORBIT": "2389"}, "relative orbit 73"),  # as its manifest says
        # As people and programs write dates.
        ("s1_2022_05_15.tif", {}, "2022-05-15"),
        ("s1_2022.05.15_vv.tif", {}, "2022-05-15"),
        ("Sigma0_VV_12Jun2024.tif", {}, "2024-06-12"),
        ("s1_12-June-2024.tif", {}, "2024-06-12"),
        ("s1_2024Jun12.tif", {}, "2024-06-12"),
        ("s1_2022135.tif", {}, "2022-05-15"),
        ("A2022135_vv.tif", {}, "2022-05-15"),
        ("s1_2022_doy135.tif", {}, "2022-05-15"),
        ("s1_2022135T101530.tif", {}, "2022-05-15 10:15 UTC"),
        ("s1_220515.tif", {}, "2022-05-15"),
        ("s1_20220515_101530.tif", {}, "2022-05-15 10:15 UTC"),
        ("s1_2022-05-15_10-15-30.tif", {}, "2022-05-15 10:15 UTC"),
        ("s1_20220515101530.tif", {}, "2022-05-15 10:15 UTC"),
        ("s1_20220515T1015.tif", {}, "2022-05-15 10:15 UTC"),
        ("20220515_LEVEL2_S1AIA_SIG.tif", {}, "2022-05-15"),
        ("s1_05.06.2024.tif", {}, "2024-06-05"),
        ("s1_15-06-2022.tif", {}, "2022-06-15"),
        ("s1_15_06_2022.tif", {}, "2022-06-15"),
        ("s1_2024-157.tif", {}, "2024-06-05"),
        ("s1_2024_187.tif", {}, "2024-07-05"),
        ("s1_15Jun22.tif", {}, "2022-06-15"),
        ("s1_Jun-15-2022.tif", {}, "2022-06-15"),
        ("s1_2022-6-5.tif", {}, "2022-06-05"),
        ("s1_2022年06月15日.tif", {}, "2022-06-15"),
        ("SENTINEL1A_20240605.tif", {}, "2024-06-05"),
        ("S1A20240605.tif", {}, "2024-06-05"),
        # Of two, that which stands at the satellite's name; and none of two that are as good.
        ("order_20240606_S1A_20240520_vv_vh.tif", {}, "2024-05-20"),
        ("s1_20240601_20240630_mean.tif", {}, "2024-06-01"),
        ("s1_order_20240601_field_20240630.tif", {}, "an unknown date"),
        ("LC08_L2SP_191029_20220515_20220519_02_T1.tif", {}, "2022-05-15"),
        ("MOD09GA.A2022135.h18v04.061.2022137034512.tif", {}, "2022-05-15"),
        ("order_20230104_field7_20240606_analytic_sr.tif", {}, "an unknown date"),
        # What no date is.
        *(
            (f"{name}.tif", {}, "an unknown date")
            for name in (
                *("s1_05-06-2024", "s1_2024_157", "s1_2023366", "s1_v1.2.2024", "s1_site_2022123", "s1_tile_2022034"),
                *("s1_plot_201203", "plot_201203", "s1_19000101", "s1_20120304"),
            )
        ),
        *(
            (f"s1_{digits}.tif", {}, "an unknown date")
            for digits in (
                *(
                    "20220532",
                    "2022_13_01",
                    "2022400",
                    "5612345",
                    "1234567",
                    "2022_073",
                    "054295_069B48",
                    "12345678901",
                ),
                *(
                    "330712",
                    "991231",
                    "220515_220516",
                    "x220515y",
                    "31Foo2022",
                    "0.2.12",
                    "v1.2.3",
                    "32633_10m",
                    "2022",
                ),
            )
        ),
        ("s1_20220515_999999.tif", {}, "2022-05-15"),
        ("s1_20220515-054295.tif", {}, "2022-05-15"),
        # A product's own name counts before other digits.
        ("20250101T000000_S1A_IW_20220515T101530_DVP_RTC30_G_gpuned_1234_VV.tif", {}, "2022-05-15 10:15 UTC"),
        ("20250101_order_20220515_101530_84_2481_3B_AnalyticMS_SR.tif", {}, "2022-05-15 10:15 UTC"),
        ("20250101T101010_20220515_101530_84_2481_3B_AnalyticMS_SR.tif", {}, "2022-05-15 10:15 UTC"),
        ("20220515_101530_84_2481_s1_20220513_VV.tif", {}, "2022-05-13"),
        ("20220515_101530_84_2481_s1.tif", {}, "2022-05-15 10:15 UTC"),
        # Time zones count.
        ("x.tif", {"ACQUIRED": "2022-05-15T08:00:00+09:00"}, "2022-05-14 23:00 UTC"),
        ("x.tif", {"ACQUIRED": "2022-05-15T22:30:00.5-03:30"}, "2022-05-16 02:00 UTC"),
        ("x.tif", {"ACQUIRED": "2022-05-15T08:00:00+0900"}, "2022-05-14 23:00 UTC"),
        ("x.tif", {"ACQUIRED": "2022-05-15 08:00:00 +09:00"}, "2022-05-14 23:00 UTC"),
        ("x.tif", {"ACQUIRED": "2022-05-15T20:00:00-05"}, "2022-05-16 01:00 UTC"),
        ("x.tif", {"ACQUIRED": "2022-05-15T08:00:00+09"}, "2022-05-14 23:00 UTC"),
        ("s1_20240612T165810-12.tif", {}, "2024-06-12 16:58 UTC"),
        ("x.tif", {"ACQUIRED": "2022-05-15T08:00Z"}, "2022-05-15 08:00 UTC"),
        ("s1_20240612T165810-1200.tif", {}, "2024-06-12 16:58 UTC"),
    ],
)
def test_what_names_and_tags_say(make_sar: MakeSar, tmp_path: Path, name: str, tags: dict, expected: str) -> None:
    (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
    path = make_sar(20, name=name)
    with rasterio.open(path, "r+") as dataset:
        dataset.update_tags(**tags)
    with rasterio.open(path) as dataset:
        assert str(acquisition.of(dataset)).startswith(expected)


def test_a_safe_product_says_it_in_its_annotation(tmp_path: Path) -> None:
    """The orbit counts from ESA's rule: S1A's 54295 is relative orbit (54295 - 73) mod 175 + 1."""
    stated = {
        "</adsHeader>": "<missionId>S1A</missionId><startTime>2024-06-12T16:58:10.5</startTime>"
        "<absoluteOrbitNumber>54295</absoluteOrbitNumber></adsHeader><generalAnnotation><productInformation>"
        "<pass>Ascending</pass></productInformation></generalAnnotation>"
    }
    path = SafeRecipe(name="renamed.SAFE", stem="measured-{pol}-{number}").write(tmp_path)
    for xml in path.glob("annotation/*.xml"):
        xml.write_text(xml.read_text().replace(*next(iter(stated.items()))))
    with opened_radar(path) as dataset:
        acquired = acquisition.of(dataset)
    assert acquired.moment == datetime(2024, 6, 12, 16, 58, 10)
    assert (acquired.direction, acquired.relative_orbit) == ("ascending", (54295 - 73) % 175 + 1)


@pytest.mark.parametrize("zipped", [False, True])
def test_a_renamed_safe_product_is_dated_by_its_measurements(tmp_path: Path, zipped: bool) -> None:
    path = SafeRecipe().write(tmp_path, zipped=zipped)
    renamed = path.rename(tmp_path / ("download (1).ZIP" if zipped else "S1A.SAFE"))
    with opened_radar(renamed) as dataset:
        assert str(acquisition.of(dataset)) == "2024-06-12 16:58 UTC, relative orbit 148"


def test_two_dates_that_disagree_are_told(make_sar: MakeSar) -> None:
    with rasterio.open(make_sar(20, name="order_20230104_field7_20240606_sr.tif")) as dataset:
        assert "several dates, 2023-01-04 and 2024-06-06" in acquisition.of(dataset).stated_by


def test_one_pass_takes_half_an_hour_and_may_cross_midnight() -> None:
    late, early = (Acquisition(next(moments_in(text))[0], True) for text in ("20240612T235955", "20240613T000020"))
    assert late.may_be_of_pass(early)
    assert not late.may_be_of_pass(Acquisition(datetime(2024, 6, 13, 12), True))
    assert not Acquisition(datetime(2024, 6, 12)).may_be_of_pass(early)
    assert Acquisition(relative_orbit=73).may_be_of_pass(late)
    assert not Acquisition(relative_orbit=73).may_be_of_pass(Acquisition(relative_orbit=7))
    assert not Acquisition(direction="ascending").may_be_of_pass(Acquisition(direction="descending"))


def pair(make_sar: MakeSar, *days: str) -> list[Path]:
    power = (10 ** (sar_values_db(300, 300) / 10)).astype(np.float32)
    named = zip(("VV", "VH"), days, power, strict=True)
    return [make_sar(name=HYP3.format(day, pol), values=band[None], descriptions=None) for pol, day, band in named]


def test_dates_are_reported_and_mixed_ones_warned_of(make_sar: MakeSar, caplog: pytest.LogCaptureFixture) -> None:
    with rasterio.open(make_sar(name="area.tif")) as dataset:
        area = geometry_of(dataset)
    image = identify_sar(pair(make_sar, "20240612", "20240612"), area)
    assert "acquired 2024-06-12 16:58 UTC: the file's name" in " ".join(map(str, image.reasons))
    assert "different" not in caplog.text
    image = identify_sar(pair(make_sar, "20240612", "20170101"), area)
    warnings = [record.message for record in caplog.records if "different dates or orbits" in record.message]
    assert len(warnings) == 1
    for part in ("2024-06-12", "2017-01-01", HYP3.format("20240612", "VV"), HYP3.format("20170101", "VH")):
        assert part in warnings[0]
        assert part in " ".join(map(str, image.reasons))


@pytest.mark.parametrize(
    ("day", "words"), [("20170101", "is 2722 days before the scene of 2024-06-15"), ("20240612", "")]
)
def test_radar_of_another_year_is_warned_of(
    make_scene: Callable[..., Path],
    make_sar: MakeSar,
    cli: Callable[..., Result],
    tmp_path: Path,
    day: str,
    words: str,
) -> None:
    scene = make_scene(name="20240615_101530_84_2481_3B_AnalyticMS_SR.tif")
    vv, vh = pair(make_sar, day, day)
    options = ("--sar", vv, "--sar", vh, "-o", tmp_path / "out.tif", "--max-shift", "0", "--json")
    result = cli("align", "--planet", scene, *options)
    assert result.exit_code == 0, result.stderr
    assert ("days before" in result.stderr) == bool(words)
    assert words in result.stderr
    assert words in result.stdout
    assert f"acquired {day[:4]}-{day[4:6]}-{day[6:]}" in result.stdout
    info = cli("info", vv)
    assert f"acquired {day[:4]}" in info.stdout


@pytest.mark.parametrize("end", [b"</ps:Acquisition>", b"<cut off here"])
def test_planet_metadata_say_when_a_renamed_scene_was_taken(make_sar: MakeSar, tmp_path: Path, end: bytes) -> None:
    """Of a damaged file, what stands before the damage."""
    path, metadata = make_sar(20, name="field.tif"), tmp_path / "field_metadata.xml"
    xml = (
        b'<ps:Acquisition xmlns:ps="http://schemas.planet.com/ps/v1">'
        b"<ps:acquisitionDateTime>2022-05-15T10:15:30+00:00</ps:acquisitionDateTime>"
    )
    for content, expected in ((xml + end, "2022-05-15 10:15 UTC"), (b"<nothing/>", "an unknown date")):
        metadata.write_bytes(content)
        with access.opened(path) as dataset:
            acquired = acquisition.of_scene(dataset)
        assert str(acquired) == expected
        assert acquired.stated_by == ("field_metadata.xml" if acquired.moment else NOTHING_STATES_IT)


@pytest.mark.parametrize("xml", [b"<a>2024-06-15T10:15:30Z</a>", b"<a>2024-06-15</a>"])
def test_planet_metadata_count_for_more_than_when_a_file_was_written(
    make_sar: MakeSar, tmp_path: Path, xml: bytes
) -> None:
    path, metadata = make_sar(name="field.tif"), tmp_path / "field_metadata.xml"
    with rasterio.open(path, "r+") as dataset:
        dataset.update_tags(TIFFTAG_DATETIME="2024:09:01 12:00:00")
    with access.opened(path) as dataset:
        assert str(acquisition.of_scene(dataset)) == "2024-09-01 12:00 UTC"
        metadata.write_bytes(xml.replace(b"a>", b"acquisitionDateTime>"))
        acquired = acquisition.of_scene(dataset)
    assert (acquired.day, acquired.stated_by) == ("2024-06-15", "field_metadata.xml")
