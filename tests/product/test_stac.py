"""`--stac`: the item of a real run, valid by its schemas, true of the files, and where the data are."""

import hashlib
import json
import zipfile
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import rasterio
import shapely
from affine import Affine
from click.testing import Result
from pyproj import Transformer
from rasterio.crs import CRS
from rasterio.features import shapes
from shapely.geometry import shape
from stac_support import errors_of, read_valid, target
from support import ORIGIN, UTM33, pattern, sar_values_db, scene_dn, write_raster

from cloudfree.bands import Qa
from cloudfree.geometry import Grid
from cloudfree.inputs.files import InputOptions, identify
from cloudfree.inputs.location.source import Source
from cloudfree.inputs.radar.image import NO_RADAR
from cloudfree.product import footprint, profiles
from cloudfree.product.stac import EXTENSIONS, lineage
from cloudfree.product.stac_links import derived_from
from cloudfree.reconstruct.tile import Trust

Cli = Callable[..., Result]
Make = Callable[..., Path]

FAST = "--weights", "identity", "--find-clouds", "never", "--edge-limit", 0
PLANET = "20240606_101530_84_2481_3B_AnalyticMS_SR.tif"
RADAR = "S1A_IW_GRDH_1SDV_20240601T165810_20240601T165835_054321_069ABC_1234.tif"
WGS84 = CRS.from_epsg(4326)
SIDE = 160


@pytest.fixture
def described(cli: Cli, make_scene: Make, make_sar: Make, make_mask: Make, tmp_path: Path) -> Callable[..., Any]:
    """Run on a clouded scene and return its item."""

    def run(
        *options: object, scene: Path | None = None, sar: Path | None = None, out: str = "out.tif"
    ) -> dict[str, Any]:
        cloud = np.zeros((SIDE, SIDE))
        cloud[40:90, 40:90] = 1
        optical, radar = scene or make_scene(SIDE, SIDE, name=PLANET), sar or make_sar(name=RADAR)
        mask = () if scene else ("--mask", make_mask(cloud))
        item = tmp_path / "item.json"
        done = cli(
            "run", "--planet", optical, "--sar", radar, *mask, "-o", tmp_path / out, "--stac", item, *FAST, *options
        )
        assert done.exit_code == 0, done.output
        return read_valid(item)

    return run


def linked(item: dict[str, Any], title: str) -> dict[str, Any]:
    (only,) = [link for link in item["links"] if link["title"] == title]
    return only


def test_the_item_says_what_a_catalogue_asks(described: Callable[..., Any], tmp_path: Path) -> None:
    item = described()
    properties = item["properties"]
    assert item["stac_version"] == "1.1.0"
    assert item["id"] == "out"
    assert properties["datetime"] == "2024-06-06T10:15:30Z"
    assert datetime.fromisoformat(properties["created"]).tzinfo
    assert (properties["constellation"], properties["platform"], properties["gsd"]) == ("planetscope", "2481", 3)
    with rasterio.open(tmp_path / "out.tif") as product:
        assert properties["proj:code"] == product.crs.to_string()
        assert properties["proj:shape"] == list(product.shape)
        assert properties["proj:transform"] == list(product.transform[:6])
        assert properties["proj:bbox"] == list(product.bounds)
        assert properties["cloudfree:identity"] == product.tags()["CLOUDFREE_IDENTITY"]
    assert properties["processing:software"]["cloudfree"] == properties["processing:version"]
    assert "modified Copernicus Sentinel data 2024." in properties["processing:lineage"]
    assert properties["cloudfree:weights"]["name"] == "identity"
    assert 9 < properties["cloudfree:reconstructed"] < 40
    assert properties["eo:cloud_cover"] == 0
    assert "self" not in {link["rel"] for link in item["links"]}
    assert str(tmp_path) not in json.dumps(item)


def test_the_lineage_says_what_made_the_pixels(described: Callable[..., Any], make_scene: Make) -> None:
    def told(*options: object, **files: Path) -> str:
        said: str = described("--overwrite", *options, **files)["properties"]["processing:lineage"]
        return said

    whole = told()
    assert whole.startswith("Of a PlanetScope scene (surface reflectance) the pixels that cloud, haze or shadow hid")
    assert "were reconstructed with Sentinel-1 by the network identity; the others are as observed" in whole
    other = make_scene(SIDE, SIDE, name=PLANET.replace("20240606", "20240610"))
    assert "with Sentinel-1 and 1 other date by" in told("--reference", other)
    clear = make_scene(SIDE, SIDE, name=PLANET.replace("20240606", "20240608"))
    all_of_it = told("--fill", "all", scene=clear)
    assert "all pixels were reconstructed with Sentinel-1 by the network identity. Contains" in all_of_it


@pytest.mark.parametrize(
    ("sees", "radar", "trust", "makers"),
    [
        (True, True, 0.0, "a model of the scene"),
        (True, True, 0.4, "a model of the scene and the network u-net"),
        (True, False, 0.4, "a model of the scene and the network u-net"),
        (False, True, 1.0, "the network u-net"),
        (False, False, 1.0, "a model of the scene"),
    ],
)
def test_a_network_that_took_no_part_is_not_named(sees: bool, radar: bool, trust: float, makers: str) -> None:
    inputs = SimpleNamespace(
        scene=SimpleNamespace(quantity="surface reflectance"), references=(), has_radar=radar, sar=NO_RADAR
    )
    processing = {"sees": sees, "fill": "clouds", "trust": Trust.alike(trust).as_json()}
    stated = {"weights": {"name": "u-net"}, "processing": processing}
    pixels = {qa.name.lower(): 0 for qa in Qa}
    made = lineage(inputs, stated, pixels | {"seen_through": 9})
    assert f" by {makers}; the others are as observed." in made
    assert ("Copernicus" in made) == radar
    nothing = "Nothing of a PlanetScope scene (surface reflectance) was reconstructed; its pixels are as observed."
    assert lineage(inputs, stated, pixels | {"observed": 9}) == nothing


def test_bands_are_those_of_the_files(described: Callable[..., Any], tmp_path: Path) -> None:
    item = described("--qa", tmp_path / "qa.tif", "--write-mask", tmp_path / "mask used.tif")
    for asset in item["assets"].values():
        with rasterio.open(target(tmp_path / "item.json", asset["href"])) as dataset:
            assert [band["data_type"] for band in asset["bands"]] == list(dataset.dtypes)
            assert [band["nodata"] for band in asset["bands"]] == list(dataset.nodatavals)
            assert [band["raster:scale"] for band in asset["bands"]] == list(dataset.scales)
            assert [band["raster:offset"] for band in asset["bands"]] == list(dataset.offsets)
    names = ["blue", "green", "red", "nir"]
    assert [band["eo:common_name"] for band in item["assets"]["product"]["bands"]] == names
    classes = item["assets"]["qa"]["bands"][0]["classification:classes"]
    assert {entry["value"]: entry["name"] for entry in classes} == {qa.value: qa.name.lower() for qa in Qa}
    red, green, blue, _ = profiles.QUALITY.colormap[Qa.RECONSTRUCTED]
    assert classes[Qa.RECONSTRUCTED]["color_hint"] == f"{red:02X}{green:02X}{blue:02X}"
    used = item["assets"]["mask"]["bands"][0]["classification:classes"]
    with rasterio.open(tmp_path / "mask used.tif") as dataset:
        assert set(np.unique(dataset.read(1))) <= {entry["value"] for entry in used}


SIDE_FILES = {"qa": "--qa", "mask": "--write-mask", "picture": "--quicklook", "report": "--report"}


@pytest.mark.parametrize("wanted", [(), ("qa",), ("mask", "picture"), ("qa", "mask", "picture", "report")])
def test_there_is_an_asset_for_each_file_with_its_size_and_checksum(
    described: Callable[..., Any], tmp_path: Path, wanted: tuple[str, ...]
) -> None:
    endings = {"picture": ".png", "report": ".html"}
    options = [part for key in wanted for part in (SIDE_FILES[key], tmp_path / f"the {key}{endings.get(key, '.tif')}")]
    item = described(*options)
    assert set(item["assets"]) == {"product", *wanted}
    for asset in item["assets"].values():
        content = target(tmp_path / "item.json", asset["href"]).read_bytes()
        assert asset["file:size"] == len(content)
        assert asset["file:checksum"] == "1220" + hashlib.sha256(content).hexdigest()
    classified = EXTENSIONS["classification"] in item["stac_extensions"]
    assert classified == bool({"qa", "mask"} & set(wanted))


def test_uncertainty_has_an_asset(cli: Cli, make_scene: Make, make_sar: Make, make_mask: Make, tmp_path: Path) -> None:
    cloud = np.pad(np.ones((20, 20)), ((30, 46), (30, 46)))
    inputs = "--planet", make_scene(), "--sar", make_sar(), "--mask", make_mask(cloud)
    outputs = "-o", tmp_path / "o.tif", "--uncertainty", tmp_path / "u.tif", "--stac", tmp_path / "o.json"
    done = cli("run", *inputs, *outputs, "--find-clouds", "never", "--edge-limit", 0, "--coregister", "off")
    assert done.exit_code == 0, done.output
    bands = read_valid(tmp_path / "o.json")["assets"]["uncertainty"]["bands"]
    assert [band["name"] for band in bands] == [f"{band}_deviation" for band in ("blue", "green", "red", "nir")]
    assert {band["nodata"] for band in bands} == {profiles.NO_DEVIATION}


# --- links ---


def test_what_it_was_made_of_is_linked(described: Callable[..., Any], tmp_path: Path) -> None:
    item = described()
    assert {link["rel"] for link in item["links"]} == {"derived_from"}
    hrefs = [target(tmp_path / "item.json", link["href"]).name for link in item["links"]]
    assert hrefs == [PLANET, RADAR, "mask.tif"]
    for link in item["links"]:
        content = target(tmp_path / "item.json", link["href"]).read_bytes()
        assert link["file:checksum"] == "1220" + hashlib.sha256(content).hexdigest()
    radar = linked(item, "Sentinel-1")
    assert {key: radar[key] for key in radar if key.startswith("sar:")} == {
        "sar:frequency_band": "C",
        "sar:polarizations": ["VV", "VH"],
        "sar:instrument_mode": "IW",
        "sar:product_type": "GRD",
    }
    assert (radar["platform"], radar["datetime"]) == ("sentinel-1a", "2024-06-01T16:58:10Z")


def test_radar_of_an_unknown_name_has_only_what_is_true_of_all(described: Callable[..., Any], make_sar: Make) -> None:
    vv, vh = sar_values_db(300, 300)
    files = [
        make_sar(name=f"radar_{name}.tif", values=band[None], descriptions=(name,))
        for name, band in (("VV", vv), ("VH", vh))
    ]
    item = described("--sar", files[1], sar=files[0])
    links = [link for link in item["links"] if link["title"] == "Sentinel-1"]
    assert [link["sar:polarizations"] for link in links] == [["VV"], ["VH"]]
    for link in links:
        assert not {"sar:instrument_mode", "sar:product_type", "platform", "datetime"} & set(link)


def test_names_with_spaces_and_letters_of_any_kind_are_encoded(
    described: Callable[..., Any], make_scene: Make, tmp_path: Path
) -> None:
    item = described(scene=make_scene(name="Szene 50% über #1?.tif"), out="été: résultat.tif")
    assert item["id"] == "été: résultat"
    assert item["assets"]["product"]["href"] == "./%C3%A9t%C3%A9%3A%20r%C3%A9sultat.tif"
    assert target(tmp_path / "item.json", linked(item, "PlanetScope scene")["href"]).is_file()


def test_inputs_in_archives_are_linked_by_these(
    described: Callable[..., Any], make_scene: Make, tmp_path: Path
) -> None:
    scene = make_scene(SIDE, SIDE, name=PLANET)
    with zipfile.ZipFile(tmp_path / "order 1.zip", "w") as archive:
        archive.write(scene, f"files/{PLANET}")
    scene.unlink()
    item = described(scene=tmp_path / "order 1.zip")
    link = linked(item, "PlanetScope scene")
    assert (link["href"], link["type"]) == ("./order%201.zip", "application/zip")
    assert f"files/{PLANET}" in link["description"]
    assert item["properties"]["datetime"] == "2024-06-06T10:15:30Z"


def test_remote_inputs_are_linked_without_secrets(make_scene: Make, make_sar: Make, tmp_path: Path) -> None:
    inputs = identify(InputOptions.of(make_scene(), make_sar()))
    remote = Source.of("https://me:word@example.com/some folder/scene.tif?sig=secret")
    inputs = replace(inputs, scene=replace(inputs.scene, path=remote))
    link = derived_from(tmp_path, inputs, hh_hv=False)[0]
    assert link["href"] == "https://example.com/some%20folder/scene.tif"
    assert "file:checksum" not in link


def test_polarisations_are_not_told_where_others_may_stand_for_them(
    make_scene: Make, make_sar: Make, tmp_path: Path
) -> None:
    inputs = identify(InputOptions.of(make_scene(), make_sar()))
    assert not any("sar:polarizations" in link for link in derived_from(tmp_path, inputs, hh_hv=True))


# --- time ---


def test_a_day_is_its_start_and_end(described: Callable[..., Any], make_scene: Make) -> None:
    properties = described(scene=make_scene(name="field_2024-06-06.tif"))["properties"]
    assert properties["datetime"] is None
    assert properties["start_datetime"] == "2024-06-06T00:00:00Z"
    assert properties["end_datetime"] == "2024-06-06T23:59:59Z"
    assert "constellation" not in properties


def test_metadata_beside_a_scene_tell_the_time(described: Callable[..., Any], make_scene: Make, tmp_path: Path) -> None:
    xml = '<m xmlns:ps="ps/v1"><ps:acquisitionDateTime>2024-06-06T10:15:31+00:00</ps:acquisitionDateTime></m>'
    (tmp_path / "my_own_field_metadata.xml").write_text(xml)
    assert described(scene=make_scene(name="my_own_field.tif"))["properties"]["datetime"] == "2024-06-06T10:15:31Z"


def test_an_unknown_time_is_an_honest_interval_and_told(
    cli: Cli, make_scene: Make, make_sar: Make, tmp_path: Path
) -> None:
    inputs = "--planet", make_scene(), "--sar", make_sar()
    done = cli("run", *inputs, "-o", tmp_path / "o.tif", "--stac", tmp_path / "o.json", *FAST)
    assert done.exit_code == 0
    assert "nothing tells when scene.tif was taken" in done.stderr
    properties = read_valid(tmp_path / "o.json")["properties"]
    assert properties["datetime"] is None
    assert properties["start_datetime"] < "2014" < properties["end_datetime"] == properties["created"]
    assert "eo:cloud_cover" not in properties, "nothing tells of clouds"


# --- where it lies ---


def seen_from(item: dict[str, Any], grid: Grid, data: np.ndarray) -> tuple[float, float]:
    """Shares of the pixels with data, and of those without, whose centres the footprint covers."""
    row, col = np.indices(data.shape) + 0.5
    x, y = grid.transform @ (col, row)
    lon, lat = Transformer.from_crs(grid.crs, WGS84, always_xy=True).transform(x, y)
    covered = shapely.contains_xy(shape(item["geometry"]), lon, lat)
    return covered[data].mean(), covered[~data].mean() if (~data).any() else 0.0


def corners_cut(side: int) -> np.ndarray:
    """Where there are data (side, side): as in a scene whose track is not north."""
    row, col = np.indices((side, side))
    return (row + col > 0.4 * side) & (row + col < 1.6 * side)


def test_the_footprint_is_of_the_data(described: Callable[..., Any], make_scene: Make, tmp_path: Path) -> None:
    dn, data = scene_dn(300, 300), corners_cut(300)
    dn[:, ~data] = 0
    item = described(scene=make_scene(name=PLANET, dn=dn))
    with rasterio.open(tmp_path / "out.tif") as product:
        inside, outside = seen_from(item, Grid.of(product), data)
    assert inside == 1
    assert outside < 0.15
    geometry = shape(item["geometry"])
    assert geometry.is_valid
    assert geometry.exterior.is_ccw
    assert tuple(item["bbox"]) == geometry.bounds
    assert len(geometry.exterior.coords) < 30


def test_a_part_of_a_scene_has_its_own_footprint(described: Callable[..., Any], tmp_path: Path) -> None:
    lon, lat = Transformer.from_crs(UTM33, WGS84, always_xy=True).transform(
        [ORIGIN[0] + 150, ORIGIN[0] + 300], [ORIGIN[1] - 300, ORIGIN[1] - 150]
    )
    item = described("--bbox", f"{lon[0]},{lat[0]},{lon[1]},{lat[1]}")
    with rasterio.open(tmp_path / "out.tif") as product:
        assert product.shape < (SIDE, SIDE)
        assert item["properties"]["proj:shape"] == list(product.shape)
        assert item["properties"]["proj:bbox"] == list(product.bounds)
        outline = Grid.of(product).footprint(WGS84)
        assert seen_from(item, Grid.of(product), np.ones(product.shape, bool))[0] == 1
    assert shape(item["geometry"]).symmetric_difference(outline).area < 1e-3 * outline.area


def test_a_scene_across_the_antimeridian_is_cut_there(
    described: Callable[..., Any], make_scene: Make, make_sar: Make, tmp_path: Path
) -> None:
    fiji = CRS.from_epsg(32760)
    x, y = Transformer.from_crs(WGS84, fiji, always_xy=True).transform(180, -16.8)
    scene = write_raster(tmp_path / PLANET, scene_dn(SIDE, SIDE), Affine(3, 0, x - 240, 0, -3, y + 240), fiji, nodata=0)
    where = Affine(10, 0, x - 1500, 0, -10, y + 1500)
    radar = write_raster(tmp_path / RADAR, sar_values_db(300, 300), where, fiji, descriptions=("VV", "VH"))
    item = described(scene=scene, sar=radar)
    geometry = shape(item["geometry"])
    assert geometry.geom_type == "MultiPolygon"
    assert geometry.is_valid
    assert all(part.exterior.is_ccw for part in geometry.geoms)
    west, _, east, _ = item["bbox"]
    assert -180 < east < -179.9
    assert 179.9 < west < 180
    assert {round(bound) for part in geometry.geoms for bound in part.bounds[::2]} == {-180, 180}
    with rasterio.open(scene) as dataset:
        assert seen_from(item, Grid.of(dataset), np.ones((SIDE, SIDE), bool))[0] == 1


def test_a_crs_without_a_code_is_told_whole(
    described: Callable[..., Any], make_scene: Make, make_sar: Make, tmp_path: Path
) -> None:
    own = CRS.from_proj4("+proj=tmerc +lat_0=45 +lon_0=13.7 +k=0.99987 +x_0=1234 +y_0=0 +ellps=GRS80 +units=m")
    scene = write_raster(tmp_path / PLANET, scene_dn(SIDE, SIDE), Affine(3, 0, 1000, 0, -3, 1000), own, nodata=0)
    where = Affine(10, 0, -200, 0, -10, 2000)
    radar = write_raster(tmp_path / RADAR, sar_values_db(300, 300), where, own, descriptions=("VV", "VH"))
    properties = described(scene=scene, sar=radar)["properties"]
    assert properties["proj:code"] is None
    assert CRS.from_wkt(properties["proj:wkt2"]) == own


@pytest.mark.parametrize("seed", range(3))
def test_however_scattered_the_data_are_a_footprint_has_few_points_and_covers_them(seed: int) -> None:
    grid = Grid(UTM33, Affine(3, 0, *ORIGIN[:1], 0, -3, ORIGIN[1]), 1500, 1400)
    data = np.random.default_rng(seed).random(grid.shape) < (0.5, 0.01, 1e-5)[seed]
    outline = footprint.of_data(grid, grid, data)
    geometry = shape(outline.geometry)
    assert shapely.get_num_coordinates(geometry) < 400
    assert geometry.is_valid
    assert seen_from({"geometry": outline.geometry}, grid, data)[0] == 1


@pytest.mark.parametrize("seed", range(8))
def test_a_ragged_footprint_covers_the_data_and_is_valid(seed: int) -> None:
    height, width = np.random.default_rng(seed).integers(30, 90, 2)
    grid = Grid(UTM33, Affine.translation(*ORIGIN) @ Affine.rotation(30) @ Affine.scale(3, -3), width, height)
    data = pattern(height, width, seed, smooth=2.0) > 0.3
    outline = footprint.of_data(grid, grid, data)
    assert shape(outline.geometry).is_valid
    exact = shapely.union_all(
        [shape(polygon) for polygon, _ in shapes(data.astype(np.uint8), data, transform=grid.transform)]
    )
    assert exact.difference(outline.own).area == pytest.approx(0, abs=1e-3)


def test_a_scene_in_degrees_of_0_to_360_lies_within_180() -> None:
    grid = Grid(WGS84, Affine(3e-5, 0, 345.5, 0, -3e-5, 10), 100, 100)
    outline = footprint.of_data(grid, grid, np.ones(grid.shape, bool))
    np.testing.assert_allclose(outline.bbox, [-14.5, 9.997, -14.497, 10], atol=1e-6)
    np.testing.assert_allclose(outline.centroid["lon"], -14.4985, atol=1e-6)


# --- the schemas tell right from wrong ---


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("properties", "datetime"), "yesterday"),
        (("properties", "eo:cloud_cover"), 101),
        (("properties", "proj:shape"), [1.5, 2]),
        (("properties", "processing:software"), {"cloudfree": 1}),
        (("properties", "processing:unknown"), 1),
        (("assets", "product", "file:checksum"), "XYZ"),
        (("assets", "product", "bands", 0, "eo:common_name"), "ultraviolet"),
        (("assets", "product", "bands", 0, "raster:scale"), "much"),
        (("assets", "qa", "bands", 0, "classification:classes"), []),
        (("links", 1, "sar:frequency_band"), "Z"),
        (("geometry",), {"type": "Polygon"}),
    ],
)
def test_a_wrong_item_is_found_wrong(
    described: Callable[..., Any], tmp_path: Path, path: tuple[str | int, ...], value: object
) -> None:
    item = described("--qa", tmp_path / "qa.tif")
    place = item
    for part in path[:-1]:
        place = place[part]
    place[path[-1]] = value
    assert errors_of(item)
