"""A few bytes that stand for very many, or never end, are refused before they are read, in one line."""

import gzip
import os
import struct
import subprocess
import sys
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest
from affine import Affine
from click.testing import Result
from safe_support import SafeRecipe
from support import ORIGIN, from_origin, write_raster

from cloudfree.errors import InputError
from cloudfree.geometry import Grid
from cloudfree.geometry.grid import LARGEST_PIXEL_M, SMALLEST_PIXEL_M
from cloudfree.inputs import limits
from cloudfree.inputs.area import read_polygons
from cloudfree.inputs.location.source import Source
from cloudfree.inputs.optical import planet_product
from cloudfree.inputs.radar.safe.document import Document
from cloudfree.inputs.radar.safe.product import geolocation_of
from cloudfree.inputs.raster import access, admitted
from cloudfree.network.models import base

Cli = Callable[..., Result]
Make = Callable[..., Path]

GRID = from_origin(0, 1000, 10, 10)
ONES = np.ones((1, 64, 64), np.uint8)


@pytest.fixture
def plain(tmp_path: Path) -> Path:
    return write_raster(tmp_path / "plain.tif", ONES, GRID)


def refusal_of(path: object) -> str:
    with pytest.raises(InputError) as refusal, access.opened(path):  # type: ignore[arg-type]
        pass
    assert "\n" not in refusal.value.message
    return refusal.value.message


@pytest.mark.attack(5)
@pytest.mark.parametrize(
    "address",
    [
        "/vsistdin/",
        "/vsistdin?buffer_limit=-1",
        "/vsizip//vsistdin/",
        "/vsizip/{/vsistdin/}/a.tif",
        "/vsigzip//vsistdin/",
        "/vsistdout/{0}",
        "/vsisubfile/0_100000,{0}",
        "/vsisparse/{0}",
        "/vsicached?file={0}",
        "/vsicrypt/key=a,file={0}",
        "/vsicurl_streaming/http://127.0.0.1:9/a.tif",
        'netcdf:"/vsistdin/":VV',
    ],
)
def test_file_systems_that_never_end_or_read_others_are_refused(plain: Path, address: str) -> None:
    refusal = refusal_of(address.replace("{0}", str(plain)))
    assert " of GDAL's" in refusal or "no known kind of address" in refusal


@pytest.mark.attack(5)
def test_nobody_waits_for_what_is_typed() -> None:
    words = [sys.executable, "-m", "cloudfree", "info", "/vsistdin/"]
    with subprocess.Popen(words, stdin=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.wait(30) == 1
        assert process.stderr
        assert process.stderr.read().startswith(b"Error: ")


def test_archives_and_servers_by_gdals_names_are_not(tmp_path: Path, plain: Path) -> None:
    (tmp_path / "vsidata").mkdir()
    with zipfile.ZipFile(tmp_path / "vsidata" / "order.zip", "w") as archive:
        archive.write(plain, "vsistdin/plain.tif")
    for address in (
        "/vsizip/{0}/vsidata/order.zip/vsistdin/plain.tif",
        "zip://{0}/vsidata/order.zip!vsistdin/plain.tif",
    ):
        with access.opened(address.replace("{0}", str(tmp_path))) as dataset:
            np.testing.assert_array_equal(dataset.read(), ONES)


@pytest.mark.attack(5)
def test_nothing_is_written_beside_a_packed_file(tmp_path: Path) -> None:
    large = write_raster(tmp_path / "large.tif", np.random.default_rng(0).integers(0, 9, (1, 500, 500), "u1"), GRID)
    (tmp_path / "large.tif.gz").write_bytes(gzip.compress(large.read_bytes()))
    with access.gdal_settings(), access.opened(f"/vsigzip/{tmp_path}/large.tif.gz") as dataset:
        dataset.read()
    assert {path.name for path in tmp_path.iterdir()} == {"large.tif", "large.tif.gz"}


def packed(path: Path, name: str, megabytes: int, *others: Path) -> Path:
    """An archive of a file that is so large unpacked: XML of blanks."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for other in others:
            archive.write(other, other.name)
        with archive.open(name, "w") as file:
            file.write(b"<PAMDataset>")
            for _ in range(megabytes):
                file.write(b" " * (1 << 20))
            file.write(b"</PAMDataset>")
    return path


@pytest.mark.attack(5)
@pytest.mark.parametrize("name", ["plain.tif.aux.xml", "plain.IMD", "plain.hdr", "folder/other.XML"])
def test_a_document_of_a_few_packed_bytes_is_refused(tmp_path: Path, plain: Path, name: str) -> None:
    archive = packed(tmp_path / "order.zip", name, 17, plain)
    assert archive.stat().st_size < 100_000
    assert f"{name} has more than 16 MB" in refusal_of(f"zip://{archive}!plain.tif")


@pytest.mark.attack(5)
@pytest.mark.parametrize("name", ["plain.tif.aux.xml", "plain.IMD"])
def test_so_is_a_sparse_one_beside_a_raster(tmp_path: Path, plain: Path, name: str) -> None:
    with (tmp_path / name).open("wb") as file:
        file.truncate(10**10)
    assert f"{name} has more than 16 MB" in refusal_of(plain)


@pytest.mark.attack(5)
@pytest.mark.parametrize("name", ["plain_metadata.xml", "plain.tif.aux.xml", "plain.IMD", "plain_RPC.TXT", "plain.tfw"])
def test_a_pipe_beside_a_raster_is_no_document(plain: Path, name: str) -> None:
    os.mkfifo(plain.with_name(name))
    assert "no regular file" in refusal_of(plain)


@pytest.mark.attack(5)
def test_so_are_those_that_are_read_by_us(tmp_path: Path) -> None:
    with (tmp_path / "a.xml").open("wb") as file:
        file.truncate(10**10)
    for read in (Document.of, planet_product.read_metadata):
        with pytest.raises(InputError, match="more than 16 MB"):
            read(Source.of(tmp_path / "a.xml"))
    assert Source.of(tmp_path / "a.xml").read_bytes(5) == bytes(5)
    (tmp_path / "a.xml").rename(tmp_path / "a.geojson")
    with pytest.raises(InputError, match="more than 16 MB"):
        read_polygons(tmp_path / "a.geojson")


@pytest.mark.attack(5)
def test_an_hdf5_file_in_an_archive_is_held_within_bounds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with h5py.File(tmp_path / "s1.h5", "w") as file:
        file.create_dataset("VV", data=ONES[0])
    with zipfile.ZipFile(tmp_path / "order.zip", "w") as archive:
        archive.write(tmp_path / "s1.h5", "s1.h5")
    with warnings.catch_warnings(action="ignore"), access.opened(f"zip://{tmp_path}/order.zip!s1.h5"):
        pass
    monkeypatch.setattr(limits, "UNPACKED_BYTES", 1 << 10)
    assert "take it out" in refusal_of(f"zip://{tmp_path}/order.zip!s1.h5")


@pytest.mark.attack(5)
@pytest.mark.parametrize("bound", ["10000 files", "4 MB of names"])
def test_an_archive_of_very_many_files_is_refused(cli: Cli, tmp_path: Path, bound: str) -> None:
    with zipfile.ZipFile(tmp_path / "order.zip", "w") as archive:
        for number in range(limits.MEMBERS + 1):
            archive.writestr(str(number), "")
    if "MB" in bound:  # a list of which nothing can be known before it is read
        listed = bytes(limits.DIRECTORY_BYTES + 1)
        end = struct.pack("<4s4H2LH", b"PK\5\6", 0, 0, 1, 1, len(listed), 0, 0)
        (tmp_path / "order.zip").write_bytes(listed + end)
    done = cli("info", tmp_path / "order.zip")
    assert done.exit_code == 1
    assert f"holds more than {bound}" in done.stderr
    assert len(done.stderr.splitlines()) == 1


@pytest.mark.attack(5)
def test_a_folder_of_very_many_files_is_no_container(cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "FOLDER_FILES", 100)
    for number in range(101):
        (tmp_path / f"{number}.txt").touch()
    done = cli("run", "--planet", tmp_path, "--sar", tmp_path / "s1.tif", "-o", tmp_path / "out.tif")
    assert done.exit_code == 1
    assert "holds more than 100 files" in done.stderr


@pytest.mark.attack(5)
@pytest.mark.parametrize("size", [(1e-5, 1e-5), (1e-5, 1e5), (3, 1e-3), (2e4, 2e4)])
@pytest.mark.parametrize("kind", ["planet", "sar", "mask", "reference"])
def test_pixels_of_no_likely_size_are_refused(
    cli: Cli, make_scene: Make, make_sar: Make, make_mask: Make, tmp_path: Path, size: tuple[float, float], kind: str
) -> None:
    odd = {"transform": Affine(size[0], 0, ORIGIN[0], 0, -size[1], ORIGIN[1]), "name": "odd.tif"}
    files = {"planet": make_scene(), "sar": make_sar(), "mask": make_mask(np.eye(96))}
    makers = {"planet": make_scene, "sar": make_sar, "mask": make_mask, "reference": make_scene}
    files[kind] = makers[kind](*([np.eye(96)] if kind == "mask" else []), **odd)
    words = [word for name, path in files.items() for word in (f"--{name}", path)]
    done = cli("run", *words, "-o", tmp_path / "out.tif", "--weights", "identity", "--quiet", "--dry-run", "--verbose")
    assert "odd.tif has pixels of" in done.stderr or kind == "reference"
    assert done.exit_code == (0 if kind == "reference" else 1)  # which is left out


def test_pixels_of_images_of_the_ground_are_likely(tmp_path: Path) -> None:
    for size in (SMALLEST_PIXEL_M, 0.5, 3, 30, 1000, LARGEST_PIXEL_M):
        with access.opened(write_raster(tmp_path / "a.tif", ONES, from_origin(*ORIGIN, size, size))) as dataset:
            assert Grid.of(dataset).pixel_sides_m == pytest.approx((size, size))


@pytest.mark.attack(5)
def test_a_geolocation_grid_of_no_likely_size_is_none() -> None:
    def ground(line: np.ndarray, pixel: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        return ORIGIN[0] + pixel * 1e-3, ORIGIN[1] - line * 1e-3

    text = SafeRecipe(ground=ground).annotation()
    with pytest.raises(InputError, match="full grid of lines and pixels"):
        geolocation_of(Document.parse("a.xml", text.encode()))


def test_the_bounds_are_those_that_are_promised() -> None:
    text = (Path(__file__).parents[2] / "SECURITY.md").read_text(encoding="utf-8")
    for bound in (
        f"{admitted._MOST_PIXELS:.0e} pixels",
        f"{admitted._MOST_BANDS} bands",
        f"blocks of {admitted._MOST_BLOCK_BYTES >> 20} MB",
        f"under {SMALLEST_PIXEL_M:g} m or over {LARGEST_PIXEL_M / 1000:g} km",
        f"headers of more than {limits.DOCUMENT_BYTES >> 20} MB",
        f"{limits.MEMBERS} files or {limits.DIRECTORY_BYTES >> 20} MB of their names",
        f"more than {limits.FOLDER_FILES};",
        f"{admitted._MOST_OBJECTS} variables, or in an archive of more than {limits.UNPACKED_BYTES >> 20} MB",
        f"{admitted._MOST_BYTES >> 20} MB, {admitted._MOST_LEVELS} levels or {admitted._MOST_PARTS} parts",
        f"{base._MOST_TENSORS} tensors",
        f"{access._HTTP_SETTINGS['GDAL_HTTP_LOW_SPEED_LIMIT']} bytes a second",
        f"in {access._HTTP_SETTINGS['GDAL_HTTP_LOW_SPEED_TIME']} s",
    ):
        assert bound in text
