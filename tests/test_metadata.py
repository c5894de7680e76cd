"""What files say of themselves, made up by a stranger: used where it says something, or refused in one line."""

import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import rasterio
from affine import Affine
from click.testing import Result
from rasterio.control import GroundControlPoint
from rasterio.crs import CRS
from rasterio.rpc import RPC
from safe_support import SafeRecipe
from support import ORIGIN, UTM33

Cli = Callable[..., Result]
Make = Callable[..., Path]
DIGITS = "9" * 5000


def used_or_refused(cli: Cli, *arguments: object) -> Result:
    """The outcome of a command, which is fine or one line."""
    done = cli(*arguments)
    errors = [line for line in done.stderr.splitlines() if not line.startswith(("WARNING", "INFO"))]
    assert (done.exit_code, len(errors)) in ((0, 0), (1, 1)), done.output
    return done


@pytest.mark.attack(8)
@pytest.mark.parametrize(
    "tags",
    [
        {"ABSOLUTE_ORBIT_NUMBER": DIGITS, "PLATFORM": "S1A"},
        {"TRACK_NUMBER": DIGITS},
        {"TRACK_NUMBER": "9999"},
        {"ACQUISITION_DATE": "0000-01-01"},
        {"ACQUISITION_DATE": "9999-12-31T23:59:60"},
        {"ACQUISITION_DATE": "2024-13-45"},
        {"TIFFTAG_DATETIME": "2024:02:30 25:61:61"},
        {"TIFFTAG_IMAGEDESCRIPTION": "[" * 50_000},
        {"TIFFTAG_IMAGEDESCRIPTION": '{"reflectance_coefficients": [' + DIGITS + "]}"},
        {"TIFFTAG_IMAGEDESCRIPTION": '{"reflectance_coefficients": [' + "9" * 400 + ", 1, 1, 1]}"},
        {"TIFFTAG_IMAGEDESCRIPTION": '{"properties": [], "a": NaN}'},
    ],
)
def test_tags(cli: Cli, make_scene: Make, make_sar: Make, tmp_path: Path, tags: dict[str, str]) -> None:
    scene, sar = make_scene(), make_sar()
    for path in (scene, sar):
        with rasterio.open(path, "r+") as dataset:
            dataset.update_tags(**tags)
    done = used_or_refused(cli, "align", "--planet", scene, "--sar", sar, "-o", tmp_path / "out.tif")
    assert "relative orbit 9999" not in done.stderr
    assert used_or_refused(cli, "info", "--json", scene, sar).exit_code == 0


@pytest.mark.attack(8)
@pytest.mark.parametrize(
    "crs",
    [
        *("EPSG:4978", "EPSG:5773", "EPSG:4326+5773", "EPSG:32661", 'LOCAL_CS["x",UNIT["m",1]]'),
        'ENGCRS["x",EDATUM["y"],CS[Cartesian,2],AXIS["a",east],AXIS["b",north],LENGTHUNIT["m",1]]',
        "+proj=ob_tran +o_proj=longlat +o_lat_p=40 +o_lon_p=10 +lon_0=5 +to_meter=0.01745 +type=crs",
        "+proj=tmerc +lon_0=15 +k=1e-30 +type=crs",
        "+proj=gnom +lat_0=90 +type=crs",
    ],
)
@pytest.mark.parametrize("transform", [None, Affine(3e-5, 0, 15, 0, -3e-5, 48)])
def test_systems_of_no_map(cli: Cli, make_scene: Make, make_sar: Make, crs: str, transform: Affine | None) -> None:
    scene = make_scene(crs=CRS.from_string(crs), transform=transform)
    run = "run", "--planet", scene, "--sar", make_sar(), "-o", scene.with_name("out.tif"), "--weights", "identity"
    used_or_refused(cli, *run, "--dry-run")
    used_or_refused(cli, "info", scene)


@pytest.mark.attack(8)
@pytest.mark.parametrize("at", range(6))
@pytest.mark.parametrize("number", [np.nan, np.inf, 1e300, -1e-300, 0.0])
def test_transforms_to_nowhere(cli: Cli, make_scene: Make, make_sar: Make, at: int, number: float) -> None:
    values = [3, 0, ORIGIN[0], 0, -3, ORIGIN[1]]
    values[at] = number
    scene = make_scene(transform=Affine(*values))
    run = "run", "--planet", scene, "--sar", make_sar(), "-o", scene.with_name("out.tif"), "--weights", "identity"
    used_or_refused(cli, *run, "--dry-run")


@pytest.mark.attack(8)
@pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")
@pytest.mark.parametrize("number", [np.nan, np.inf, 1e300, 0.0, 1e9])
def test_points_instead_of_a_transform(cli: Cli, make_scene: Make, number: float) -> None:
    scene = make_scene()
    with rasterio.open(scene) as dataset:
        profile, values = {key: dataset.profile[key] for key in ("width", "height", "count", "dtype")}, dataset.read()
    points = [GroundControlPoint(row, col, number, 5e6 + row) for row in (0, 9) for col in (0, 9)]
    line = [number] * 20
    model = RPC(0, number, 12, 1, line, line, 0, 1, 0, 1, line, line, 0, 1)
    for name, placed in (("gcps", (points, UTM33)), ("rpcs", model)):
        with rasterio.open(scene, "w", driver="GTiff", **profile) as dataset:
            dataset.write(values)
            setattr(dataset, name, placed)
        used_or_refused(cli, "info", scene)


@pytest.mark.attack(8)
@pytest.mark.parametrize("number", [np.nan, np.inf, 1e300, 0.0, -1.0])
def test_scales_and_offsets(cli: Cli, make_scene: Make, make_sar: Make, number: float, tmp_path: Path) -> None:
    scene, sar = make_scene(), make_sar()
    for path in (scene, sar):
        with rasterio.open(path, "r+") as dataset:
            dataset.scales = dataset.offsets = (number,) * dataset.count
    run = "run", "--planet", scene, "--sar", sar, "-o", tmp_path / "out.tif", "--weights", "identity"
    used_or_refused(cli, *run, "--find-clouds", "never")


def altered(path: Path, tag: str, text: str, all_of_them: bool) -> None:
    """Other text in the first element of a tag, or in all of them."""
    content = re.sub(rf"(<{tag}[^>]*>)[^<]+(?=</)", rf"\g<1>{text}", path.read_text(), count=0 if all_of_them else 1)
    path.write_text(content)


@pytest.mark.attack(8)
@pytest.mark.parametrize("all_of_them", [True, False])
@pytest.mark.parametrize("text", ["nan", "1e300", "-1", "0", DIGITS, "x", "3 2 1"])
@pytest.mark.parametrize(
    ("file", "tags"),
    [
        ("annotation/*.xml", ("line", "pixel", "longitude", "latitude", "height", "incidenceAngle")),
        ("annotation/*.xml", ("numberOfSamples", "numberOfLines", "startTime", "absoluteOrbitNumber", "polarisation")),
        ("annotation/calibration/calibration-*.xml", ("line", "pixel", "sigmaNought")),
        (
            "annotation/calibration/noise-*.xml",
            ("line", "pixel", "noiseRangeLut", "noiseAzimuthLut", "lastAzimuthLine"),
        ),
    ],
)
def test_annotation_of_a_safe_product(
    cli: Cli, tmp_path: Path, file: str, tags: tuple[str, ...], text: str, all_of_them: bool
) -> None:
    product = SafeRecipe().write(tmp_path)
    first = min(product.glob(file))
    sound = first.read_text()
    for tag in tags:
        altered(first, tag, text, all_of_them)
        used_or_refused(cli, "info", product)
        first.write_text(sound)


METADATA = """<ps:EarthObservation xmlns:ps="http://schemas.planet.com/x">{bands}</ps:EarthObservation>"""
BAND = "<ps:bandSpecificMetadata><ps:bandNumber>{n}</ps:bandNumber>{k}</ps:bandSpecificMetadata>"
COEFFICIENT = "<ps:reflectanceCoefficient>{k}</ps:reflectanceCoefficient>"


@pytest.mark.attack(8)
@pytest.mark.parametrize(
    "bands",
    [
        *([(n, COEFFICIENT.format(k=k)) for n in (1, 2, 3, 4)] for k in ("nan", "inf", "-1", "0", "1e-300", "1e300")),
        [(n, COEFFICIENT.format(k="2e-5")) for n in (1, 2, 3)],
        [(DIGITS, COEFFICIENT.format(k="2e-5"))] * 4,
        [(n, "<x>" * 100_000 + "</x>" * 100_000) for n in (1, 2, 3, 4)],
        [(n, "") for n in (1, 2, 3, 4)],
    ],
)
def test_coefficients_of_planet_that_are_none(
    cli: Cli, make_scene: Make, make_sar: Make, bands: list[tuple[object, str]]
) -> None:
    scene = make_scene(name="20240615_101530_84_2481_3B_AnalyticMS.tif")
    metadata = scene.with_name("20240615_101530_84_2481_3B_AnalyticMS_metadata.xml")
    metadata.write_text(METADATA.format(bands="".join(BAND.format(n=n, k=k) for n, k in bands)))
    run = "run", "--planet", scene, "--sar", make_sar(), "-o", scene.with_name("out.tif"), "--weights", "identity"
    done = used_or_refused(cli, *run)
    assert "coefficients" in done.stderr or "damaged" in done.stderr
    assert not scene.with_name("out.tif").exists()
