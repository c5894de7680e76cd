"""Where the sun stood is read from the files beside a scene, and nothing in them stops a run."""

import json
import os
from pathlib import Path

import pytest
from affine import Affine
from support import ORIGIN, UTM33

from cloudfree.geometry import Grid
from cloudfree.inputs.location.source import Source
from cloudfree.inputs.optical.scene import identify_scene
from cloudfree.inputs.optical.sun import Sun, of_scene

ID = "20200727_014458_104b"
XML = f"{ID}_3B_AnalyticMS_metadata_clip.xml"
JSON = f"{ID}_metadata.json"


def xml(azimuth: object = "6.379029e+01", elevation: object = "3.432182e+01", view: object = "-2.154592e+00") -> str:
    return f"""<?xml version="1.0"?><ps:EarthObservation xmlns:ps="a" xmlns:opt="b" xmlns:eop="c">
    <eop:incidenceAngle uom="deg">{view}</eop:incidenceAngle>
    <opt:illuminationAzimuthAngle uom="deg">{azimuth}</opt:illuminationAzimuthAngle>
    <opt:illuminationElevationAngle uom="deg">{elevation}</opt:illuminationElevationAngle>
    <ps:spaceCraftViewAngle uom="deg">2.0</ps:spaceCraftViewAngle></ps:EarthObservation>"""


def item(**properties: object) -> str:
    return json.dumps({"properties": {"sun_azimuth": 63.8, "sun_elevation": 34.3, "view_angle": 2} | properties})


@pytest.fixture
def scene(tmp_path: Path) -> Source:
    (tmp_path / f"{ID}_3B_AnalyticMS_SR_clip.tif").touch()
    return Source.of(tmp_path / f"{ID}_3B_AnalyticMS_SR_clip.tif")


def test_nothing_beside_it(scene: Source) -> None:
    assert of_scene(scene) is None


def test_the_xml_counts_before_the_json(scene: Source, tmp_path: Path) -> None:
    (tmp_path / JSON).write_text(item())
    assert of_scene(scene) == Sun(63.8, 34.3, 2, JSON)
    (tmp_path / XML).write_text(xml())
    assert of_scene(scene) == Sun(63.79029, 34.32182, 2.154592, XML)


def test_an_item_of_stac(scene: Source, tmp_path: Path) -> None:
    stated = {"view:sun_azimuth": 150, "view:sun_elevation": 40.5}
    (tmp_path / JSON).write_text(json.dumps({"properties": stated}))
    assert of_scene(scene) == Sun(150, 40.5, None, JSON)


@pytest.mark.parametrize("wrong", ["nan", "inf", "-1", "1e999", "361", "", "south", "0x10"])
def test_impossible_angles_are_unknown(scene: Source, tmp_path: Path, wrong: str) -> None:
    for text in (xml(azimuth=wrong), xml(elevation=wrong)):
        (tmp_path / XML).write_text(text)
        assert of_scene(scene) is None
    (tmp_path / XML).write_text(xml(view=wrong))
    found = of_scene(scene)
    assert found
    assert found.view_deg == (1 if wrong == "-1" else 2)  # its sign is a side; else by the next name


@pytest.mark.parametrize("wrong", [True, None, [150], {}, 1e999, -5, "150 degrees", 10**400])
def test_so_are_those_of_a_json(scene: Source, tmp_path: Path, wrong: object) -> None:
    (tmp_path / JSON).write_text(item(sun_azimuth=wrong))
    assert of_scene(scene) is None


def test_angles_that_cannot_be_are_warned_of_and_missing_ones_are_not(
    scene: Source, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / JSON).write_text(item(sun_azimuth="3" * 400))
    assert of_scene(scene) is None
    (line,) = (record.getMessage() for record in caplog.records if record.levelname == "WARNING")
    assert f"{JSON} has sun_azimuth '{'3' * 20}', sun_elevation '34.3'; the sun's azimuth is 0 to 360 degrees" in line
    caplog.clear()
    (tmp_path / JSON).write_text(json.dumps({"properties": {"cloud_cover": 0.2}}))
    assert of_scene(scene) is None
    assert not caplog.records


@pytest.mark.parametrize("elevation", [0, 90.1, -3])
def test_a_sun_under_the_horizon_casts_no_shadow(elevation: float) -> None:
    assert Sun.of({"sun_azimuth": 100, "sun_elevation": elevation}) is None


@pytest.mark.parametrize("text", ["", "[1]", '{"properties": 5}', "[" * 100_000, "\xff", "{}"])
def test_a_damaged_json_states_nothing(scene: Source, tmp_path: Path, text: str) -> None:
    (tmp_path / JSON).write_text(text, encoding="latin-1")
    assert of_scene(scene) is None


@pytest.mark.attack(5)
def test_neither_does_a_pipe_nor_a_flood(scene: Source, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / XML)
    with (tmp_path / JSON).open("wb") as file:
        file.truncate(10**10)
    assert of_scene(scene) is None


def test_a_truncated_xml_states_what_stands_before_the_damage(scene: Source, tmp_path: Path) -> None:
    (tmp_path / XML).write_text(xml().partition("<ps:spaceCraft")[0])
    assert of_scene(scene) == Sun(63.79029, 34.32182, 2.154592, XML)


@pytest.mark.parametrize(
    ("transform", "turned_deg"),
    [
        (Affine(3, 0, 0, 0, -3, 0), 0),
        (Affine.rotation(30) @ Affine(3, 0, 0, 0, -3, 0), 30),  # its top is turned to the west
        (Affine.rotation(180) @ Affine(3, 0, 0, 0, -3, 0), 180),
    ],
)
def test_on_a_turned_grid(transform: Affine, turned_deg: float) -> None:
    seen = Sun(100, 40).on_grid(Grid(UTM33, Affine.translation(*ORIGIN) @ transform, 10, 10))
    assert seen.azimuth_deg == pytest.approx(100 + turned_deg)


def test_on_a_grid_whose_rows_run_north() -> None:
    seen = Sun(100, 40, 3.0, "a").on_grid(Grid(UTM33, Affine(3, 0, ORIGIN[0], 0, 3, ORIGIN[1]), 10, 10))
    assert seen == Sun(pytest.approx(80), 40, 3.0, "a")


def test_a_scene_carries_it_and_says_so(make_scene, tmp_path: Path) -> None:
    path = make_scene(name=f"{ID}_3B_AnalyticMS_SR.tif")
    assert identify_scene(path).sun is None
    (tmp_path / JSON).write_text(item())
    scene = identify_scene(path)
    assert scene.sun == Sun(63.8, 34.3, 2, JSON)
    said = "the sun stood at 64 degrees from north, 34 over the horizon: " + JSON
    assert said in map(str, scene.reasons)


def test_real_metadata(shared_data: Path) -> None:
    folder = shared_data / "planet" / "coastline"
    sun = of_scene(Source.of(folder / "20160909_213104_0e19_3B_AnalyticMS_SR_clip.tif"))
    assert sun == Sun(158.4305, 27.64354, 4.005396, "20160909_213104_0e19_3B_AnalyticMS_metadata_clip.xml")
