"""Products as delivered, and files at addresses: whatever holds the pixels, they are those of the plain files."""

import hashlib
import http.server
import json
import re
import shutil
import tarfile
import threading
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import rasterio
from affine import Affine
from click.testing import Result
from rasterio.shutil import copy
from safe_support import SafeRecipe
from scipy.io import netcdf_file
from support import ORIGIN, UTM33, sar_values_db, scene_dn, write_raster

import cloudfree

Cli = Callable[..., Result]
MakeScene = Callable[..., Path]

HYP3 = "S1A_IW_20240612T165810_DVP_RTC20_G_gpuned_7C21"
ID = "20240610_101530_84_2481"
S1_GRID = Affine(10, 0, ORIGIN[0] - 104, 0, -10, ORIGIN[1] + 103)
SCENE_GRID = Affine(3, 0, ORIGIN[0], 0, -3, ORIGIN[1])
DB = sar_values_db(60, 60)
POWER = 10 ** (DB / 10)


def zipped(archive: Path, files: dict[str, Path]) -> Path:
    with zipfile.ZipFile(archive, "w") as opened:
        for name, path in files.items():
            opened.write(path, name)
    return archive


def pixels(path: Path) -> np.ndarray:
    with rasterio.open(path) as dataset:
        return dataset.read()


def variables(path: Path, grid: Affine, bands: dict[str, np.ndarray], **attributes: object) -> Path:
    """A netCDF file as xarray writes them: one variable a band."""
    with netcdf_file(path, "w") as file:
        height, width = next(iter(bands.values())).shape
        for name, size, at in (
            ("y", height, grid.f + grid.e * (np.arange(height) + 0.5)),
            ("x", width, grid.c + grid.a * (np.arange(width) + 0.5)),
        ):
            file.createDimension(name, size)
            axis = file.createVariable(name, "d", (name,))
            axis[:] = at
            axis.standard_name = f"projection_{name}_coordinate"
            axis.units = "m"
        crs = file.createVariable("crs", "i", ())
        crs.grid_mapping_name, crs.spatial_ref = "transverse_mercator", UTM33.to_wkt()
        for name, values in bands.items():
            variable = file.createVariable(name, values.dtype.char, ("y", "x"))
            variable[:] = values
            variable.grid_mapping = "crs"
            for key, value in attributes.items():
                setattr(variable, key, value)
    return path


# --- Sentinel-1 ---


def hyp3(folder: Path) -> Path:
    (folder / HYP3).mkdir()
    for name, values in (("VV", POWER[0]), ("VH", POWER[1]), ("inc_map", POWER[0] * 0 + 0.6), ("dem", POWER[0] * 99)):
        write_raster(folder / HYP3 / f"{HYP3}_{name}.tif", values[None], S1_GRID, nodata=0)
    return folder / HYP3


def in_hyp3_zip(folder: Path, form: str) -> list[str]:
    product = hyp3(folder)
    archive = zipped(folder / f"{HYP3}.zip", {f"{HYP3}/{path.name}": path for path in product.iterdir()})
    shutil.rmtree(product)
    names = [f"{HYP3}/{HYP3}_{polarisation}.tif" for polarisation in ("VV", "VH")]
    return [form.format(archive=archive, name=name) for name in names]


def dimap(folder: Path) -> Path:
    """As SNAP writes it: images with headers in a folder beside an XML."""
    data = folder / "S1A_Orb_NR_Cal_TC_dB.data"
    data.mkdir()
    for name, values in zip(("VV", "VH"), DB, strict=True):
        write_raster(data / f"Sigma0_{name}_db.img", values[None], S1_GRID, driver="ENVI")
    path = data.with_suffix(".dim")
    path.write_text('<?xml version="1.0"?><Dimap_Document name="x"></Dimap_Document>')
    return path


def hdf5(folder: Path) -> Path:
    """One that GDAL's driver for netCDF writes, which is HDF5 in its version 4."""
    plain = write_raster(folder / "plain.tif", DB, S1_GRID)
    with rasterio.open(plain, "r+") as dataset:
        for number, name in enumerate(("VV", "VH"), 1):
            dataset.update_tags(number, NETCDF_VARNAME=name, units="dB")
    copy(plain, folder / "s1.nc", driver="netCDF", FORMAT="NC4")
    plain.unlink()
    return (folder / "s1.nc").rename(folder / "s1.h5")


def virtual(folder: Path) -> Path:
    whole = write_raster(folder / "whole.tif", DB, S1_GRID, descriptions=("VV", "VH"))
    copy(whole, folder / "s1.vrt", driver="VRT")
    return folder / "s1.vrt"


RADAR: dict[str, Callable[[Path], list[object]]] = {
    "folder": lambda folder: [hyp3(folder)],
    "zip": lambda folder: in_hyp3_zip(folder, "{archive}")[:1],
    "folder in a zip": lambda folder: [f"zip://{in_hyp3_zip(folder, '{archive}')[0]}!{HYP3}"],
    "/vsizip/": lambda folder: in_hyp3_zip(folder, "/vsizip/{archive}/{name}"),
    "zip://": lambda folder: in_hyp3_zip(folder, "zip://{archive}!{name}"),
    ".dim": lambda folder: [dimap(folder)],
    ".data": lambda folder: [dimap(folder).with_suffix(".data")],
    ".hdr": lambda folder: sorted(dimap(folder).with_suffix(".data").glob("*.hdr")),
    ".img": lambda folder: sorted(dimap(folder).with_suffix(".data").glob("*.img")),
    ".nc": lambda folder: [variables(folder / "s1.nc", S1_GRID, dict(zip(("VV", "VH"), DB, strict=True)), units="dB")],
    "netcdf:": lambda folder: [f"netcdf:{RADAR['.nc'](folder)[0]}:{name}" for name in ("VV", "VH")],
    ".h5": lambda folder: [hdf5(folder)],
    ".vrt": lambda folder: [virtual(folder)],
}


@pytest.mark.parametrize("kind", RADAR)
def test_radar_in_any_container(cli: Cli, make_scene: MakeScene, tmp_path: Path, kind: str) -> None:
    plain = write_raster(tmp_path / "plain.tif", DB, S1_GRID, descriptions=("VV", "VH"))
    scene, given = make_scene(), tmp_path / "given"
    given.mkdir()
    sar = RADAR[kind](given)
    aligned = []
    for name, files in (("one.tif", [plain]), ("other.tif", sar)):
        options = [part for file in files for part in ("--sar", file)]
        result = cli("align", "--planet", scene, *options, "-o", tmp_path / name, "--max-shift", 0)
        assert result.exit_code == 0, result.output
        aligned.append(pixels(tmp_path / name))
    np.testing.assert_allclose(aligned[1], aligned[0], atol=1e-4)
    info = cli("info", *sar)
    assert info.exit_code == 0, info.output
    assert info.output.count("Sentinel-1") >= 1
    assert "nothing that cloudfree can use" not in info.output


def safe(folder: Path, zipped: bool = False) -> Path:
    return SafeRecipe().write(folder, zipped)


def packed_safe(folder: Path) -> Path:
    """The zip alone."""
    archive = safe(folder, zipped=True)
    shutil.rmtree(archive.with_suffix(".SAFE"))
    return archive


SAFES: dict[str, Callable[[Path], list[object]]] = {
    "SAFE": lambda folder: [safe(folder)],
    "zipped SAFE": lambda folder: [packed_safe(folder)],
    "manifest.safe": lambda folder: [safe(folder) / "manifest.safe"],
    "measurements": lambda folder: sorted((safe(folder) / "measurement").iterdir()),
    "folder of a SAFE": lambda folder: [safe(folder).parent],
}


@pytest.mark.parametrize("kind", [*RADAR, *SAFES])
def test_any_container_of_radar_through_run(cli: Cli, make_scene: MakeScene, tmp_path: Path, kind: str) -> None:
    """Through all that `run` does: identity, tags, what may not be written over, and what is skipped in a batch."""
    (tmp_path / "given").mkdir()
    sar = (RADAR | SAFES)[kind](tmp_path / "given")
    options = [part for file in sar for part in ("--sar", file)]
    command = "run", "--planet", make_scene(), *options, "-o", tmp_path / "out.tif", "--weights", "identity"
    done = cli(*command, "--find-clouds", "never", "--report", tmp_path / "out.html")
    assert done.exit_code == 0, done.output
    with rasterio.open(tmp_path / "out.tif") as dataset:
        assert (dataset.read() > 0).all()
        inputs = json.loads(dataset.tags()["CLOUDFREE_INPUTS"])
    assert all(one.get("sha256") for one in inputs), inputs
    files = [file for file in (tmp_path / "given").rglob("*") if file.is_file()]
    hashes = {hashlib.sha256(file.read_bytes()).hexdigest() for file in files}
    assert len(hashes & {one["sha256"] for one in inputs}) > 0
    (tmp_path / "list.jsonl").write_text(json.dumps({"planet": "scene.tif", "sar": [*map(str, sar)]}))
    for status in ("made", "skipped"):
        batch = cli("batch", tmp_path / "list.jsonl", "-o", tmp_path / "made", *command[-2:], "--find-clouds", "never")
        assert batch.exit_code == 0, batch.output
        assert json.loads((tmp_path / "made" / "results.json").read_text())[0]["status"] == status


def test_a_target_that_is_a_part_of_a_safe_product_is_refused(cli: Cli, make_scene: MakeScene, tmp_path: Path) -> None:
    product = safe(tmp_path)
    command = "run", "--planet", make_scene(), "--sar", product, "--overwrite", "--weights", "identity", "-o"
    for part in sorted((product / "measurement").iterdir()):
        refused(cli(*command, part), "is an input")
    archive = packed_safe(tmp_path / "zipped")
    refused(cli(*command[:4], archive, *command[5:], archive), "is an input")


def test_radar_that_could_be_several_is_refused_by_name(cli: Cli, make_scene: MakeScene, tmp_path: Path) -> None:
    folder = hyp3(tmp_path)
    shutil.copy(folder / f"{HYP3}_VV.tif", folder / f"{HYP3}_other_VV.tif")
    result = cli("align", "--planet", make_scene(), "--sar", folder, "-o", tmp_path / "out.tif")
    assert result.exit_code == 1
    assert f"{HYP3}_VV.tif, {HYP3}_other_VV.tif" in result.stderr
    assert "--sar" in result.stderr
    twice = cli("align", "--planet", make_scene(), *["--sar", f"{folder}/{HYP3}_VV.tif"] * 2, "-o", tmp_path / "o.tif")
    assert "given twice" in twice.stderr


# --- scenes ---


@pytest.fixture
def order(tmp_path: Path) -> Path:
    """An order of PlanetScope: a scene and its UDM2, as Planet names them."""
    folder = tmp_path / "order" / "PSScene"
    folder.mkdir(parents=True)
    write_raster(folder / f"{ID}_3B_AnalyticMS_SR_clip.tif", scene_dn(96, 96), SCENE_GRID, nodata=0)
    udm2 = np.zeros((8, 96, 96), np.uint8)
    udm2[0] = 1
    udm2[:6, 30:50, 30:50] = np.array([0, 0, 0, 0, 0, 1])[:, None, None]
    write_raster(folder / f"{ID}_3B_udm2_clip.tif", udm2, SCENE_GRID)
    (folder / f"{ID}_metadata.json").write_text("{}")
    return folder.parent


@pytest.fixture
def s1(tmp_path: Path) -> Path:
    return write_raster(tmp_path / "s1.tif", DB, S1_GRID, descriptions=("VV", "VH"))


def order_zip(order: Path) -> Path:
    return zipped(order.with_suffix(".zip"), {f"files/PSScene/{p.name}": p for p in sorted(order.rglob("*.*"))})


def packed(order: Path) -> Path:
    """The order as a zip and no more."""
    archive = order_zip(order)
    shutil.rmtree(order)
    return archive


def run(cli: Cli, planet: object, sar: object, output: Path, *extra: object) -> Result:
    options = "--weights", "identity", "--coregister", "off", "--edge-limit", 0
    return cli("run", "--planet", planet, "--sar", sar, "-o", output, *options, *extra)


INSIDE = f"files/PSScene/{ID}_3B_AnalyticMS_SR_clip.tif"


@pytest.mark.parametrize("form", ["{zip}", "zip://{zip}!{inside}", "/vsizip/{zip}/{inside}", "{folder}"])
def test_an_order_as_delivered(cli: Cli, order: Path, s1: Path, tmp_path: Path, form: str) -> None:
    plain = next(order.rglob("*_SR_clip.tif"))
    expected, out, archive = tmp_path / "expected.tif", tmp_path / "out.tif", order_zip(order)
    assert run(cli, plain, s1, expected, "--qa", tmp_path / "qa0.tif").exit_code == 0
    if form != "{folder}":
        shutil.rmtree(order)
    given = form.format(zip=archive, inside=INSIDE, folder=order)
    result = run(cli, given, s1, out, "--qa", tmp_path / "qa.tif")
    assert result.exit_code == 0, result.output
    np.testing.assert_array_equal(pixels(out), pixels(expected))
    np.testing.assert_array_equal(pixels(tmp_path / "qa.tif"), pixels(tmp_path / "qa0.tif"))
    assert (pixels(tmp_path / "qa.tif")[0] == 2).any(), "the UDM2 inside was found"
    with rasterio.open(out) as dataset:
        inputs = json.loads(dataset.tags()["CLOUDFREE_INPUTS"])
    assert inputs[0]["name"] == plain.name
    if form != "{folder}":
        assert inputs[0]["archive"] == "order.zip"
        assert inputs[0]["sha256"] == hashlib.sha256(archive.read_bytes()).hexdigest()
    info = cli("info", given)
    assert "PlanetScope scene, surface reflectance" in info.output
    assert f"UDM2 is {ID}_3B_udm2_clip.tif" in info.output


def test_udm2_and_reference_by_their_container(cli: Cli, order: Path, s1: Path, tmp_path: Path) -> None:
    archive, scene = order_zip(order), next(order.rglob("*_SR_clip.tif")).rename(tmp_path / "renamed.tif")
    result = run(cli, scene, s1, tmp_path / "out.tif", "--udm2", archive, "--reference", archive, "--dry-run")
    assert result.exit_code == 0, result.output
    assert "left out" not in result.stderr
    report = json.loads(result.stdout)
    assert report["share"]["cloudy_of_data"] > 0
    assert report["references"][0]["file"].endswith(f"{ID}_3B_AnalyticMS_SR_clip.tif")


def test_radiance_in_an_archive_with_its_coefficients(order: Path, tmp_path: Path) -> None:
    from cloudfree.inputs.optical.scene import identify_scene

    scene = next(order.rglob("*_SR_clip.tif"))
    scene.rename(scene.with_name(f"{ID}_3B_AnalyticMS_clip.tif"))
    bands = "".join(
        f"<b:bandSpecificMetadata><b:bandNumber>{n}</b:bandNumber><b:reflectanceCoefficient>{n}e-5"
        "</b:reflectanceCoefficient></b:bandSpecificMetadata>"
        for n in (1, 2, 3, 4)
    )
    xml = f'<b:EarthObservation xmlns:b="http://schemas.planet.com/ps/v1">{bands}</b:EarthObservation>'
    (scene.parent / f"{ID}_3B_AnalyticMS_metadata_clip.xml").write_text(xml)
    scene_of_archive = identify_scene(packed(order))
    assert scene_of_archive.quantity == "top-of-atmosphere radiance"
    assert scene_of_archive.scale == (1e-5, 2e-5, 3e-5, 4e-5)


@pytest.mark.parametrize("scale", [1.0, 0.5])
def test_a_scene_of_variables(cli: Cli, make_scene: MakeScene, s1: Path, tmp_path: Path, scale: float) -> None:
    reflectance = (scene_dn(96, 96) * 1e-4).astype(np.float32)
    names = ("nir", "red", "green", "blue", "scl")
    values = [*reflectance[::-1], np.ones((96, 96), np.float32)]
    bands = {name: (band / scale).astype(np.float32) for name, band in zip(names, values, strict=True)}
    cube = variables(tmp_path / "cube.nc", SCENE_GRID, bands, **({"scale_factor": scale} if scale != 1 else {}))
    expected = run(cli, make_scene(), s1, tmp_path / "one.tif", "--find-clouds", "never", "--fill", "all")
    assert expected.exit_code == 0, expected.output
    result = run(cli, cube, s1, tmp_path / "two.tif", "--find-clouds", "never", "--fill", "all")
    assert result.exit_code == 0, result.output
    np.testing.assert_allclose(pixels(tmp_path / "two.tif"), pixels(tmp_path / "one.tif"), atol=1)
    assert "blue, green, red, NIR are bands 1, 2, 3, 4" in cli("info", cube).output


def refused(result: Result, *words: str) -> None:
    assert result.exit_code == 1, result.output
    errors = [line for line in result.stderr.splitlines() if not line.startswith("WARNING")]
    assert len(errors) == 1
    assert errors[0].startswith("Error: ")
    for word in words:
        assert word in errors[0]


def test_what_could_be_several_scenes_or_none_is_refused(cli: Cli, order: Path, s1: Path, tmp_path: Path) -> None:
    folder = order / "PSScene"
    shutil.copy(folder / f"{ID}_3B_AnalyticMS_SR_clip.tif", folder / "20240611_101530_84_2481_3B_AnalyticMS_SR.tif")
    archive, out = order_zip(order), tmp_path / "out.tif"
    refused(run(cli, archive, s1, out), "2 files that may be the scene", "20240611_101530", f"zip://{archive}!files/")
    empty = zipped(tmp_path / "empty.zip", {"read.me": s1})
    refused(run(cli, empty, s1, out), "holds no scene")
    refused(run(cli, empty, empty, out), "holds no scene")
    refused(run(cli, folder / f"{ID}_3B_AnalyticMS_SR_clip.tif", empty, out), "holds no Sentinel-1 image")
    (tmp_path / "alone.dim").write_text("<METADATA_PROFILE>BEAM-DATAMODEL-V1</METADATA_PROFILE>")
    refused(run(cli, folder / f"{ID}_3B_AnalyticMS_SR_clip.tif", tmp_path / "alone.dim", out), "no folder alone.data")
    (tmp_path / "alone.hdr").write_text("ENVI")
    refused(run(cli, folder / f"{ID}_3B_AnalyticMS_SR_clip.tif", tmp_path / "alone.hdr", out), "no image beside it")
    (tmp_path / "words.nc").write_text("these are words")
    refused(run(cli, folder / f"{ID}_3B_AnalyticMS_SR_clip.tif", tmp_path / "words.nc", out), "cannot be read")
    assert not out.exists()


def test_a_target_that_holds_an_input_is_refused(cli: Cli, order: Path, tmp_path: Path) -> None:
    archive, vrt = packed(order), virtual(tmp_path)
    refused(run(cli, archive, vrt, archive, "--overwrite"), "is an input")
    refused(run(cli, archive, vrt, tmp_path / "whole.tif", "--overwrite"), "is an input")


def test_a_driver_that_is_lacking_is_said(
    cli: Cli, make_scene: MakeScene, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cloudfree.inputs.location.containers._has", lambda driver: False)
    cube = RADAR[".nc"](tmp_path)[0]
    refused(cli("align", "--planet", make_scene(), "--sar", cube, "-o", tmp_path / "o.tif"), "GDAL's driver for netCDF")


# --- addresses ---


class Ranges(http.server.SimpleHTTPRequestHandler):
    """Files with ranges and a version, but for `busy`, which never answers; only to those who sign."""

    def log_message(self, *args: object) -> None:
        pass

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        path = Path(self.translate_path(self.path))
        if "sig=SECRET" not in self.path or not path.is_file():
            self.send_error(404 if "sig=SECRET" in self.path else 403)
            return
        content = path.read_bytes()
        asked = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers["Range"] or "")
        first, last = (int(asked[1]), int(asked[2] or len(content) - 1)) if asked else (0, len(content) - 1)
        part = content[first : last + 1]
        self.send_response(206 if asked else 200)
        for name, value in (("ETag", '"v1"'), ("Accept-Ranges", "bytes"), ("Content-Length", len(part))):
            self.send_header(name, str(value))
        if asked:
            self.send_header("Content-Range", f"bytes {first}-{first + len(part) - 1}/{len(content)}")
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(part)


@pytest.fixture
def server(tmp_path: Path) -> Iterator[str]:
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), lambda *a: Ranges(*a, directory=str(tmp_path))) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


@pytest.mark.parametrize("form", ["{server}/{name}?sig=SECRET", "/vsicurl/{server}/{name}?sig=SECRET"])
def test_files_at_an_address(cli: Cli, make_scene: MakeScene, s1: Path, server: str, tmp_path: Path, form: str) -> None:
    scene = make_scene()
    options = "--fill", "all", "--find-clouds", "never"
    assert run(cli, scene, s1, tmp_path / "one.tif", *options).exit_code == 0
    planet, sar = (form.format(server=server, name=path.name) for path in (scene, s1))
    result = run(cli, planet, sar, tmp_path / "two.tif", *options, "--json", "-v")
    assert result.exit_code == 0, result.output
    np.testing.assert_array_equal(pixels(tmp_path / "two.tif"), pixels(tmp_path / "one.tif"))
    with rasterio.open(tmp_path / "two.tif") as dataset:
        tags = dataset.tags()
    assert json.loads(tags["CLOUDFREE_INPUTS"])[0] == {
        "name": "scene.tif",
        "address": f"{server}/scene.tif",
        "etag": '"v1"',
        "size": str(scene.stat().st_size),
    }
    assert "SECRET" not in str(tags) + result.output
    info = cli("info", planet, sar)
    assert "optical scene" in info.output
    assert "SECRET" not in info.output


def test_an_archive_at_an_address(cli: Cli, order: Path, s1: Path, server: str, tmp_path: Path) -> None:
    archive = packed(order)
    inside = f"/vsizip/{{/vsicurl/{server}/{archive.name}?sig=SECRET}}/{INSIDE}"
    assert cloudfree.make_plan(
        cloudfree.Options.of(inside, s1, output=tmp_path / "out.tif", weights="identity", find_clouds="never")
    ).scene.path.name.endswith("_SR_clip.tif")
    refused(run(cli, f"{server}/order.zip?sig=SECRET", s1, tmp_path / "out.tif"), "cannot be listed", "zip+https://")


def test_servers_that_do_not_serve_are_one_line(cli: Cli, s1: Path, server: str, tmp_path: Path) -> None:
    out = tmp_path / "out.tif"
    for address, words in (
        (f"{server}/none.tif?sig=SECRET", "404"),
        (f"{server}/s1.tif?sig=WRONG", "403"),
        ("http://127.0.0.1:9/none.tif?sig=SECRET", "connect"),
    ):
        result = run(cli, address, s1, out)
        refused(result, address.partition("?")[0], words)
        assert "sig=" not in result.output
    assert not out.exists()


# --- several dates in one file ---


def dated(path: Path, grid: Affine, bands: dict[str, np.ndarray], days: list[int], units: str) -> Path:
    """As `variables`, with a date for each part of them."""
    whole = variables(path.with_name("one.nc"), grid, bands)
    with netcdf_file(whole, "r", mmap=False) as one, netcdf_file(path, "w") as file:
        file.createDimension("time", len(days))
        time = file.createVariable("time", "d", ("time",))
        time[:], time.units, time.standard_name = days, units, "time"
        for name, size in one.dimensions.items():
            file.createDimension(name, size)
        for name, variable in one.variables.items():
            is_band = name in bands
            copied = file.createVariable(
                name, variable.typecode(), (("time",) if is_band else ()) + variable.dimensions
            )
            for key, value in variable._attributes.items():
                setattr(copied, key, value)
            if is_band:
                copied[:] = np.stack([variable[:] + number for number in range(len(days))])
            elif variable.dimensions:
                copied[:] = variable[:]
    whole.unlink()
    return path


DATES = {
    "days since 1970-01-01": [19853, 19858, 19863],
    "hours since 2024-05-10 10:30:00": [0, 120, 240],
    "seconds since 2024-05-10T10:30:00Z": [0, 432_000, 864_000],
    "milliseconds since 2024-05-10 00:00:00 UTC": [0, 432_000_000, 864_000_000],
    "d since 2024-05-10": [0, 5, 10],
}


@pytest.mark.parametrize("units", DATES)
def test_a_scene_of_several_dates_is_refused_with_them_and_one_is_chosen(
    cli: Cli, tmp_path: Path, make_mask: Callable[..., Path], units: str
) -> None:
    dn = scene_dn(40, 40)
    bands = dict(zip(("blue", "green", "red", "nir"), dn.astype(np.int16), strict=True))
    path = dated(tmp_path / "three.nc", SCENE_GRID, bands, DATES[units], units)
    cloud = np.zeros((40, 40), np.uint8)
    cloud[10:13, 10:13] = 1
    mask = make_mask(cloud)
    run = "run", "--planet", path, "--mask", mask, "-o", tmp_path / "out.tif", "--weights", "identity"
    refused = cli(*run)
    assert refused.exit_code == 1
    assert all(f"2024-05-{day}" in refused.stderr for day in (10, 15, 20))
    assert "--planet-date" in refused.stderr
    assert cli(*run, "--planet-date", "2024-05").exit_code == 1
    done = cli(*run, "--planet-date", "2024-05-15", "--json")
    assert done.exit_code == 0, done.output
    assert pixels(tmp_path / "out.tif")[:, 30:, 30:].tolist() == (dn[:, 30:, 30:] + 1).tolist()
    again = cli(*run, "--planet-date", "2024-05-20", "--overwrite")
    assert again.exit_code == 0, again.output
    assert pixels(tmp_path / "out.tif")[:, 30:, 30:].tolist() == (dn[:, 30:, 30:] + 2).tolist()
    info = cli("info", path)
    assert (info.exit_code, "one date is needed" in info.output + info.stderr) == (1, True)
    absent = cli(*run, "--planet-date", "2024-06-01")
    assert (absent.exit_code, "no band of 2024-06-01" in absent.stderr) == (1, True)


@pytest.mark.parametrize("units", ["fortnights since 2024-05-10", "1"])
def test_dates_in_units_that_nobody_knows_are_dates(cli: Cli, tmp_path: Path, units: str) -> None:
    path = dated(tmp_path / "x.nc", SCENE_GRID, {"sr": scene_dn(40, 40)[0].astype(np.int16)}, [0, 1, 2, 3], units)
    done = cli("run", "--planet", path, "-o", tmp_path / "out.tif", "--find-clouds", "never")
    assert (done.exit_code, "bands of 4 dates" in done.stderr) == (1, True)


def test_one_variable_of_several_dates_is_no_scene(cli: Cli, tmp_path: Path) -> None:
    """Four dates of one band are not blue, green, red and near infrared."""
    path = dated(
        tmp_path / "ndvi.nc",
        SCENE_GRID,
        {"ndvi": scene_dn(40, 40)[0].astype(np.int16)},
        [1, 2, 3, 4],
        "days since 2024-06-01",
    )
    done = cli("run", "--planet", path, "-o", tmp_path / "out.tif", "--find-clouds", "never")
    assert (done.exit_code, len(done.stderr.splitlines())) == (1, 1)
    assert "bands of 4 dates (2024-06-02, 2024-06-03" in done.stderr


@pytest.mark.parametrize("ending", [".tgz", ".tar.gz", ".7z"])
def test_a_packed_archive_is_one_line(cli: Cli, tmp_path: Path, ending: str) -> None:
    path = tmp_path / f"order{ending}"
    path.write_bytes(b"packed")
    done = cli("run", "--planet", path, "-o", tmp_path / "out.tif")
    assert (done.exit_code, len(done.stderr.splitlines())) == (1, 1)
    assert "packed archive" in done.stderr


def test_a_tar_with_names_that_gdal_does_not_find_is_one_line(cli: Cli, tmp_path: Path) -> None:
    plain = write_raster(tmp_path / "plain.tif", scene_dn(20, 20), SCENE_GRID)
    with tarfile.open(tmp_path / "order.tar", "w", format=tarfile.PAX_FORMAT) as archive:
        archive.add(plain, f"{'f' * 90}/{'g' * 90}/{ID}_3B_AnalyticMS_SR.tif")
    done = cli("run", "--planet", tmp_path / "order.tar", "-o", tmp_path / "out.tif")
    assert (done.exit_code, len(done.stderr.splitlines())) == (1, 1)
    assert "--format=gnu" in done.stderr
