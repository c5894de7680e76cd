"""`run --bbox` and `--aoi`: the same pixels as a run of the whole scene has there, and no others."""

import json
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import rasterio
from affine import Affine
from click.testing import CliRunner, Result
from pyproj import Transformer
from rasterio.crs import CRS
from rasterio.errors import NotGeoreferencedWarning
from rio_cogeo.cogeo import cog_validate
from support import ORIGIN, UTM33, write_raster

from cloudfree.cli import main
from cloudfree.errors import CloudfreeError
from cloudfree.geometry import Grid
from cloudfree.inputs.area import Part, of_scene, read_polygons
from cloudfree.simulate.landscape import landscape

SIDE = 176
GRID = Grid(UTM33, Affine(3, 0, ORIGIN[0], 0, -3, ORIGIN[1]), SIDE, SIDE)
PART = Part(row=50, col=81, height=55, width=42)
"""Within cloud and beyond it, across the seams of tiles."""

TOLERANCE_DN = 1
"""Tiles are blended in float32, and a batch of other tiles may add up in another order: one step of rounding."""

TO_DEGREES = Transformer.from_crs(UTM33, 4326, always_xy=True)
PRODUCTS = {"-o": "out.tif", "--qa": "qa.tif", "--uncertainty": "unsure.tif", "--write-mask": "sky.tif"}


def degrees(part: Part, grid: Grid = GRID, inset_px: float = 0.3) -> tuple[float, float, float, float]:
    """A box in degrees whose pixels are those of a part: within it by less than a pixel."""
    rows, cols = np.mgrid[part.rows.start : part.rows.stop : 50j, part.cols.start : part.cols.stop : 50j]
    lon, lat = Transformer.from_crs(grid.crs, 4326, always_xy=True).transform(*(grid.transform @ (cols, rows)))
    step = 3 * inset_px / 111_000
    return lon.min() + step, lat.min() + step, lon.max() - step, lat.max() - step


def polygon(part: Part) -> dict:
    """A triangle in degrees, whose box of pixels is a part."""
    corners = (
        (part.col + 0.4, part.row + 20),
        (part.cols.stop - 0.4, part.row + 0.4),
        (part.col + 9, part.rows.stop - 0.4),
    )
    lon_lat = [list(TO_DEGREES.transform(*(GRID.transform @ corner))) for corner in corners]
    return {"type": "Polygon", "coordinates": [[*lon_lat, lon_lat[0]]]}


class Inputs(NamedTuple):
    """A folder with a scene, radar and a mask, and the products of a run of the whole scene in it."""

    folder: Path
    report: dict

    def run(self, out: Path, *words: object) -> Result:
        files = [word for option, name in PRODUCTS.items() for word in (option, str(out / name))]
        given = [
            word for o, n in (("planet", "scene"), ("sar", "s1"), ("mask", "mask")) for word in (f"--{o}", n + ".tif")
        ]
        given = [str(self.folder / word) if word.endswith(".tif") else word for word in given]
        words = ("run", *given, *files, "--tile", "64", "--overlap", "16", "--buffer", "6", "--json", *map(str, words))
        return CliRunner().invoke(main, words, catch_exceptions=False)

    def whole(self, name: str) -> np.ndarray:
        with rasterio.open(self.folder / "whole" / name) as dataset:
            return dataset.read()


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> Inputs:
    folder = tmp_path_factory.mktemp("part")
    land = landscape(np.random.default_rng(7), SIDE, SIDE)
    cloud = np.zeros((SIDE, SIDE), np.uint8)
    cloud[40:90, 60:110] = 1
    cloudy = np.where(cloud, 9500, np.clip(1e4 * land.reflectance, 1, 9000))
    cloudy[:, :20] = 0
    write_raster(folder / "scene.tif", cloudy.astype(np.uint16), GRID.transform, nodata=0)
    write_raster(folder / "mask.tif", cloud[None], GRID.transform)
    write_raster(folder / "s1.tif", land.sar_db, GRID.transform, descriptions=("VV", "VH"))
    (folder / "whole").mkdir()
    done = Inputs(folder, {}).run(folder / "whole")
    assert done.exit_code == 0, done.output
    return Inputs(folder, json.loads(done.stdout))


@pytest.mark.slow
def test_its_pixels_are_those_of_the_whole_run(inputs: Inputs, tmp_path: Path) -> None:
    aoi = tmp_path / "aoi.geojson"
    aoi.write_text(json.dumps({"type": "Feature", "properties": {}, "geometry": polygon(PART)}))
    done = inputs.run(tmp_path, "--aoi", aoi, "--quicklook", tmp_path / "picture.png")
    assert done.exit_code == 0, done.output
    part, report = PART, json.loads(done.stdout)
    for name in PRODUCTS.values():
        with rasterio.open(tmp_path / name) as dataset:
            pixels = dataset.read().astype(int)
            assert (dataset.crs, dataset.shape) == (GRID.crs, part.shape)
            assert dataset.transform.almost_equals(GRID.transform @ Affine.translation(part.col, part.row))
        assert cog_validate(tmp_path / name, strict=True, quiet=True)[0]
        away = np.abs(pixels - inputs.whole(name)[:, part.rows, part.cols].astype(int))
        assert away.max() <= TOLERANCE_DN, name
        assert (away > 0).mean() < 0.01, name
    assert sum(report["pixels"].values()) == part.height * part.width
    assert 0 < report["pixels"]["reconstructed"] < part.height * part.width
    for whole_scene in ("trust", "scene_model", "coregistration", "share", "grid"):
        assert report[whole_scene] == inputs.report[whole_scene], whole_scene
    assert report["part"] == {"row": part.row, "col": part.col, "height": part.height, "width": part.width}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", NotGeoreferencedWarning)
        with rasterio.open(tmp_path / "picture.png") as picture:
            assert picture.height == part.height


def test_a_box_in_degrees_is_planned_before_anything_runs(inputs: Inputs, tmp_path: Path) -> None:
    """It lies aslant on the scene's pixels, and takes some more of them."""
    done = inputs.run(tmp_path, "--bbox", ",".join(map(str, degrees(PART))), "--dry-run")
    part = Part(**json.loads(done.stdout)["part"])
    assert part.row <= PART.row < PART.rows.stop <= part.rows.stop < PART.rows.stop + 5
    assert part.col <= PART.col < PART.cols.stop <= part.cols.stop < PART.cols.stop + 5
    assert not list(tmp_path.iterdir())


def test_the_whole_box_is_the_whole_scene() -> None:
    assert of_scene(GRID, (-10.0, -80.0, 100.0, 80.0), None) == Part.whole(GRID)
    assert of_scene(GRID, None, None) == Part.whole(GRID)


def test_it_is_snapped_outwards_by_less_than_a_pixel() -> None:
    geographic = Grid(CRS.from_epsg(4326), Affine(0.001, 0, 14, 0, -0.001, 45), 200, 100)
    assert of_scene(geographic, (14.01, 44.96, 14.05, 44.98), None) == Part(20, 10, 20, 40)
    assert of_scene(geographic, (14.0102, 44.9601, 14.0503, 44.9799), None) == Part(20, 10, 20, 41)
    assert of_scene(geographic, (14.0102, 44.9601, 14.0103, 44.9602), None) == Part(39, 10, 1, 1)
    assert of_scene(geographic, (13.0, 44.99, 14.0101, 46.0), None) == Part(0, 0, 10, 11)


@pytest.mark.parametrize(
    ("left", "bbox"),
    [
        (179.95, (179.99, -17.06, -179.99, -17.04)),
        (-180.05, (179.99, -17.06, -179.99, -17.04)),
        (179.95, (179.99, -17.06, 180.01, -17.04)),
        (179.95, (-180.01, -17.06, -179.99, -17.04)),
    ],
)
def test_across_the_antimeridian(left: float, bbox: tuple[float, float, float, float]) -> None:
    grid = Grid(CRS.from_epsg(4326), Affine(0.001, 0, left, 0, -0.001, -17), 100, 100)
    assert of_scene(grid, bbox, None) == Part(40, 40, 20, 20)
    x, y = Transformer.from_crs(4326, 32760, always_xy=True).transform(180, -17.05)
    fiji = Grid(CRS.from_epsg(32760), Affine(10, 0, x - 2000, 0, -10, y + 2000), 400, 400)
    part = of_scene(fiji, bbox, None)
    assert abs(part.col + part.width / 2 - 200) < 3
    assert part.width == pytest.approx(0.02 * 111_320 * np.cos(np.radians(17.05)) / 10, abs=8)


def test_geojson_in_all_its_forms(tmp_path: Path) -> None:
    shape, path = polygon(PART), tmp_path / "aoi.json"
    rings = np.array(shape["coordinates"])
    projected = np.stack(Transformer.from_crs(4326, UTM33, always_xy=True).transform(*np.moveaxis(rings, -1, 0)), -1)
    forms: list[dict[str, Any]] = [
        shape,
        {"type": "Feature", "geometry": shape},
        {"type": "GeometryCollection", "geometries": [shape]},
        {"type": "MultiPolygon", "coordinates": [shape["coordinates"]]},
        {"type": "FeatureCollection", "features": [{"type": "Feature", "geometry": g} for g in (None, shape)]},
        {
            "type": "Polygon",
            "coordinates": projected.tolist(),
            "crs": {"type": "name", "properties": {"name": "urn:ogc:def:crs:EPSG::32633"}},
        },
    ]
    for form in forms:
        path.write_text(json.dumps(form))
        assert of_scene(GRID, None, path) == PART


BAD_BOXES = {
    "15,45,16": "four numbers",
    "a,b,c,d": "four numbers",
    "nan,45,16,46": "finite",
    "400000,5000000,401000,5001000": "no degrees",
    "14,46,15,45": "south is not under its north",
    "15,44,14,46": "up to 180 are allowed",
    "15,44,15,46": "wide",
    "-30,10,-29,11": "does not overlap the scene, which lies at",
}


@pytest.mark.parametrize("name", ["http://127.0.0.1:9/crs", "aoi.geojson", 7])
def test_a_crs_of_geojson_is_no_address_or_file(tmp_path: Path, name: object) -> None:
    document = {**polygon(PART), "crs": {"type": "name", "properties": {"name": name}}}
    (tmp_path / "aoi.geojson").write_text(json.dumps(document))
    with pytest.raises(CloudfreeError, match="neither EPSG nor WKT"):
        read_polygons(tmp_path / "aoi.geojson")


@pytest.mark.parametrize("box", BAD_BOXES)
@pytest.mark.slow
def test_a_box_that_cannot_be_is_one_clear_line(inputs: Inputs, tmp_path: Path, box: str) -> None:
    done = inputs.run(tmp_path, "--bbox", box)
    assert done.exit_code != 0
    assert BAD_BOXES[box] in done.stderr
    assert sum("Error" in line for line in done.stderr.splitlines()) == 1
    assert not list(tmp_path.iterdir())


BAD_FILES = {
    "not json": "{",
    "no GeoJSON that can be read": '{"type": "Nonsense"}',
    "holds Point": '{"type": "Point", "coordinates": [15, 45]}',
    "holds nothing": '{"type": "FeatureCollection", "features": []}',
    "in degrees": '{"type": "Polygon", "coordinates": [[[4e5, 5e6], [4.1e5, 5e6], [4.1e5, 5.1e6], [4e5, 5e6]]]}',
    "does not overlap": '{"type": "Polygon", "coordinates": [[[1, 1], [2, 1], [2, 2], [1, 1]]]}',
}


@pytest.mark.parametrize("words", BAD_FILES)
def test_a_file_that_is_no_area_is_one_clear_line(tmp_path: Path, words: str) -> None:
    path = tmp_path / "aoi.geojson"
    path.write_text(BAD_FILES[words])
    with pytest.raises(CloudfreeError, match=words if words != "not json" else "is no GeoJSON"):
        of_scene(GRID, None, path)


def test_other_vector_files_need_a_library(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("pyogrio.raw", "pyogrio", "fiona"):
        monkeypatch.setitem(__import__("sys").modules, name, None)
    path = tmp_path / "aoi.gpkg"
    path.write_bytes(b"SQLite format 3\x00\xff")
    with pytest.raises(CloudfreeError, match="neither pyogrio nor fiona is installed"):
        of_scene(GRID, None, path)
    with pytest.raises(CloudfreeError, match="does not exist"):
        of_scene(GRID, None, tmp_path / "none.geojson")


def test_a_vector_library_is_used_where_there_is_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import sys
    from types import SimpleNamespace

    import shapely
    from shapely.geometry import shape

    def read(path: Path, columns: list) -> tuple:
        return {"crs": "EPSG:4326"}, None, np.array([None, shapely.to_wkb(shape(polygon(PART)))]), []

    monkeypatch.setitem(sys.modules, "pyogrio", SimpleNamespace())
    monkeypatch.setitem(sys.modules, "pyogrio.raw", SimpleNamespace(read=read))
    path = tmp_path / "aoi.gpkg"
    path.write_bytes(b"SQLite format 3\x00\xff")
    assert of_scene(GRID, None, path) == PART


def test_one_of_both_and_no_output_over_the_area(inputs: Inputs, tmp_path: Path) -> None:
    path = tmp_path / "aoi.geojson"
    path.write_text(json.dumps(polygon(PART)))
    both: Callable[..., Result] = inputs.run
    done = both(tmp_path, "--aoi", path, "--bbox", "14,44,15,46")
    assert "both given" in done.stderr
    done = both(tmp_path, "--aoi", path, "--quicklook", path, "--overwrite")
    assert "is an input" in done.stderr
    assert json.loads(path.read_text()) == polygon(PART)
