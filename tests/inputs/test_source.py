"""How users write where a file is, what GDAL opens then, and what is shown of it."""

import copy
import logging
import pickle
import zipfile
from dataclasses import asdict
from pathlib import Path

import pytest

from cloudfree.errors import InputError, without_secrets
from cloudfree.inputs.files import InputOptions
from cloudfree.inputs.location.source import Source
from cloudfree.inputs.raster import access

SIGNED = "https://user:word@host.org/a/iw-vv.rtc.tiff?sig=SECRET&sr=c"


@pytest.mark.parametrize(
    ("written", "address", "shown", "name"),
    [
        ("a/scene.tif", "a/scene.tif", "a/scene.tif", "scene.tif"),
        ("./scene.tif", "scene.tif", "scene.tif", "scene.tif"),
        ("file:///a/scene.tif", "/a/scene.tif", "/a/scene.tif", "scene.tif"),
        ("zip:///a/o.zip!/b/VV.tif", "/vsizip/{/a/o.zip}/b/VV.tif", "/a/o.zip/b/VV.tif", "VV.tif"),
        ("zip:///a/o.zip!b/VV.tif", "/vsizip/{/a/o.zip}/b/VV.tif", "/a/o.zip/b/VV.tif", "VV.tif"),
        ("zip:///a/o.zip", "/a/o.zip", "/a/o.zip", "o.zip"),
        ("/vsizip//a/o.zip/b/VV.tif", "/vsizip/{/a/o.zip}/b/VV.tif", "/a/o.zip/b/VV.tif", "VV.tif"),
        ("/vsizip/{/a/o.ZIP}/VV.tif", "/vsizip/{/a/o.ZIP}/VV.tif", "/a/o.ZIP/VV.tif", "VV.tif"),
        ("netcdf:/a/s1.nc:VV", 'NETCDF:"/a/s1.nc":VV', "/a/s1.nc:VV", "s1.nc:VV"),
        ('HDF5:"/a/x.h5"://g/VV', 'HDF5:"/a/x.h5"://g/VV', "/a/x.h5:g/VV", "VV"),
        ("https://host.org/a/VV.tif", "/vsicurl/https://host.org/a/VV.tif", "https://host.org/a/VV.tif", "VV.tif"),
        ("/vsicurl/http://h:81/VV.tif", "/vsicurl/http://h:81/VV.tif", "http://h:81/VV.tif", "VV.tif"),
        (SIGNED, f"/vsicurl/{SIGNED}", "https://host.org/a/iw-vv.rtc.tiff", "iw-vv.rtc.tiff"),
        ("s3://bucket/k/VV.tif", "/vsis3/bucket/k/VV.tif", "s3://bucket/k/VV.tif", "VV.tif"),
        ("/vsigs/bucket/VV.tif", "/vsigs/bucket/VV.tif", "gs://bucket/VV.tif", "VV.tif"),
        (
            "zip+https://host.org/o.zip!b/VV.tif",
            "/vsizip/{/vsicurl/https://host.org/o.zip}/b/VV.tif",
            "https://host.org/o.zip/b/VV.tif",
            "VV.tif",
        ),
    ],
)
def test_addresses_as_they_are_written(written: str, address: str, shown: str, name: str) -> None:
    source = Source.of(written)
    assert (source.address, str(source), source.name) == (address, shown, name)
    assert Source.of(source) is source


def test_a_path_that_was_an_address_is_one_again() -> None:
    assert Source.of(Path("https://host.org/a.tif")) == Source.of("https://host.org/a.tif")
    assert Source.of(Path("a.tif")) == Source.of("a.tif")


def test_secrets_are_shown_nowhere() -> None:
    source = Source.of(SIGNED)
    options = InputOptions.of(SIGNED, ["b.tif", SIGNED], mask=SIGNED)
    for text in (
        str(source),
        repr(source),
        source.name,
        source.stem,
        source.as_written,
        repr(options),
        str(asdict(options)),
    ):
        assert "SECRET" not in text
        assert "word" not in text
    assert without_secrets(f"HTTP 403: {SIGNED} (denied)") == "HTTP 403: https://host.org/a/iw-vv.rtc.tiff (denied)"


def test_what_gdal_logs_of_servers_has_no_secret(caplog: pytest.LogCaptureFixture) -> None:
    assert access.Raster
    logging.getLogger("rasterio._env").warning("HTTP error code: 503 - %s. Retrying", SIGNED)
    assert "503" in caplog.text
    assert "SECRET" not in caplog.text


def test_a_source_is_a_value() -> None:
    source = Source.of("zip:///a/o.zip!b.tif")
    assert {source, Source.of("/vsizip//a/o.zip/b.tif")} == {source}
    assert copy.deepcopy(source) == pickle.loads(pickle.dumps(source)) == source
    assert source != "zip:///a/o.zip!b.tif"


def test_python_callers_write_texts_paths_and_sources() -> None:
    options = InputOptions.of("scene.tif", Path("s1.tif"), mask="netcdf:m.nc:cloud")
    assert options.sar == (Source.of("s1.tif"),)
    assert options == InputOptions(planet=Path("scene.tif"), sar=("s1.tif",), mask=Source.of("netcdf:m.nc:cloud"))


def test_an_archive_is_listed_like_a_folder(tmp_path: Path) -> None:
    names = ("a/one.tif", "a/two.xml", "b/three.tif")
    with zipfile.ZipFile(tmp_path / "o.zip", "w") as archive:
        for name in (*names, "__MACOSX/a/._one.tif"):
            archive.writestr(name, name)
    for name in names:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(name)
    packed, plain = Source.of(f"zip://{tmp_path}/o.zip!a/one.tif"), Source.of(tmp_path / "a/one.tif")
    for source in (packed, plain):
        assert [file.name for file in source.beside()] == ["one.tif", "two.xml"]
        assert source.exists
        assert source.with_ending(".xml").exists is False
        assert source.beside()[1].read_bytes() == b"a/two.xml"
    assert [file.inside for file in Source.of(tmp_path / "o.zip").files()] == list(names)
    assert Source.of(f"zip://{tmp_path}/o.zip!a").is_folder
    assert not Source.of(f"zip://{tmp_path}/o.zip!a/none.tif").exists


def test_what_is_not_there_is_said(tmp_path: Path) -> None:
    (tmp_path / "cut.zip").write_bytes(b"PK\3\4 and no more")
    with zipfile.ZipFile(tmp_path / "o.zip", "w") as archive:
        archive.writestr("a.tif", b"words")
    for path, words in (
        (tmp_path / "none.tif", "does not exist"),
        (f"zip://{tmp_path}/none.zip!a.tif", "does not exist"),
        (f"zip://{tmp_path}/o.zip!b.tif", "is not in its archive"),
        (f"zip://{tmp_path}/o.zip!a.tif", "cannot be read as a raster"),
        (f"zip://{tmp_path}/cut.zip!a.tif", "damaged or cut short"),
        (tmp_path / "o.zip", "is an archive"),
        (f"netcdf:{tmp_path}/none.nc:VV", "does not exist"),
    ):
        with pytest.raises(InputError, match=words), access.opened(path):
            pass
