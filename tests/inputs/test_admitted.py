"""Files that would have GDAL read another file, or ask a server, are refused; what people have is read."""

import gzip
import os
import tarfile
import threading
import zipfile
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import h5py
import numpy as np
import pytest
import rasterio
from rasterio.shutil import copy
from rasterio.vrt import WarpedVRT
from support import UTM33, from_origin, write_raster

from cloudfree.errors import InputError
from cloudfree.inputs.location.source import Source
from cloudfree.inputs.raster import access
from cloudfree.inputs.raster.admitted import states_crs, trusting

GRID = from_origin(0, 1000, 10, 10)
SECRET = np.arange(64 * 64, dtype=np.uint8).reshape(1, 64, 64)


@pytest.fixture
def secret(tmp_path: Path) -> Path:
    """A raster that is none of the sender's business."""
    (tmp_path / "private").mkdir()
    return write_raster(tmp_path / "private" / "secret.tif", SECRET, GRID)


@pytest.fixture
def inbox(tmp_path: Path) -> Path:
    folder = tmp_path / "inbox"
    folder.mkdir()
    return folder


@pytest.fixture
def requests() -> Iterator[list[str]]:
    """What a server of ours is asked, whose address is the first entry."""
    asked: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            self.send_error(404)

        def do_HEAD(self) -> None:
            self.do_GET()

        def log_message(self, *_: object) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Handler)
    asked.append(f"http://127.0.0.1:{server.server_port}")
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield asked
    server.shutdown()
    server.server_close()


def vrt(body: str, attributes: str = "", band: str = "") -> str:
    return f"""<VRTDataset rasterXSize="64" rasterYSize="64" {attributes}><SRS>EPSG:32633</SRS>
<GeoTransform>0, 10, 0, 1000, 0, -10</GeoTransform>
<VRTRasterBand dataType="Byte" band="1" {band}>{body}</VRTRasterBand></VRTDataset>"""


def simple(name: object, relative: int = 1, more: str = "") -> str:
    return f"""<SimpleSource><SourceFilename relativeToVRT="{relative}">{name}</SourceFilename>
<SourceBand>1</SourceBand>{more}</SimpleSource>"""


def escaped(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;").replace('"', "&quot;")


VIRTUAL: dict[str, Callable[[Path], str]] = {
    "absolute": lambda secret: vrt(simple(secret, relative=0)),
    "above": lambda secret: vrt(simple(f"../private/{secret.name}")),
    "link": lambda secret: vrt(simple("link.tif")),
    "vsi": lambda secret: vrt(simple(f"/vsisparse/{secret}", relative=0)),
    "within itself": lambda secret: vrt(simple(escaped(vrt(simple(secret, relative=0))), relative=0)),
    "subdataset": lambda secret: vrt(simple(f"GTIFF_DIR:1:{secret}", relative=0)),
    "raw band": lambda secret: vrt(
        f'<SourceFilename relativeToVRT="0">{secret}</SourceFilename><ImageOffset>0</ImageOffset>'
        "<PixelOffset>1</PixelOffset><LineOffset>64</LineOffset>",
        band='subClass="VRTRawRasterBand"',
    ),
    "derived band": lambda secret: vrt(
        f"<PixelFunctionType>identity</PixelFunctionType>{simple(secret, relative=0)}",
        band='subClass="VRTDerivedRasterBand"',
    ),
    "mask": lambda secret: vrt(
        simple("own.tif"),
    ).replace(
        "</VRTDataset>",
        f'<MaskBand><VRTRasterBand dataType="Byte">{simple(secret, 0)}</VRTRasterBand></MaskBand></VRTDataset>',
    ),
    "overview": lambda secret: vrt(
        simple("own.tif")
        + f'<Overview><SourceFilename relativeToVRT="0">{secret}</SourceFilename><SourceBand>1</SourceBand></Overview>'
    ),
    "overview file": lambda secret: vrt(simple("own.tif")).replace(
        "<SRS>", f'<Metadata domain="OVERVIEWS"><MDI key="OVERVIEW_FILE">{secret}</MDI></Metadata><SRS>'
    ),
    "part that is no raster": lambda _: vrt(simple("note.txt")),
    "part of another kind": lambda _: vrt(simple("raw.img")),
    "other case": lambda secret: vrt(simple(secret, relative=0)).replace("SourceFilename", "sourcefilename"),
    "entity": lambda secret: f'<!DOCTYPE x [<!ENTITY f "{secret}">]>' + vrt(simple("&f;", relative=0)),
    "options": lambda secret: vrt(
        simple("own.tif", more=f'<OpenOptions><OOI key="x">{secret}</OOI></OpenOptions>'),
    ),
    "pansharpened": lambda secret: vrt(simple("own.tif"), attributes='subClass="VRTPansharpenedDataset"'),
    "elevation": lambda secret: vrt(simple("own.tif")).replace(
        "<SRS>", f'<GDALWarpOptions><Option name="RPC_DEM">{secret}</Option></GDALWarpOptions><SRS>'
    ),
    "itself": lambda _: vrt(simple("scene.vrt")),
}


@pytest.mark.attack(1)
@pytest.mark.parametrize("place", ["scene.vrt", "scene.tif", "scene.zip"])
@pytest.mark.parametrize("kind", VIRTUAL)
def test_a_virtual_raster_of_what_is_not_its_own_is_refused(secret: Path, inbox: Path, kind: str, place: str) -> None:
    write_raster(inbox / "own.tif", np.ones((1, 64, 64), np.uint8), GRID)
    write_raster(inbox / "raw.img", np.ones((1, 64, 64), np.uint8), GRID, driver="ENVI")
    (inbox / "note.txt").write_text("no raster")
    (inbox / "link.tif").symlink_to(secret)
    text = VIRTUAL[kind](secret)
    if place == "scene.zip":
        with zipfile.ZipFile(inbox / place, "w") as archive:
            archive.writestr("scene.vrt", text)
            archive.write(inbox / "own.tif", "own.tif")
            archive.writestr("note.txt", "no raster")
            archive.write(inbox / "raw.img", "raw.img")
        source = Source.of(f"zip://{inbox / place}!scene.vrt")
    else:
        (inbox / place).write_text(text)
        source = Source.of(inbox / place)
    with pytest.raises(InputError, match="virtual raster") as refusal, access.opened(source):
        pass
    assert "--trust-inputs" in refusal.value.message
    assert "\n" not in refusal.value.message


@pytest.mark.attack(1)
@pytest.mark.parametrize("text", ["<GDAL_WMS><Service name='TMS'><ServerUrl>{0}/x</ServerUrl></Service></GDAL_WMS>"])
@pytest.mark.parametrize("name", ["scene.xml", "scene.tif"])
def test_a_file_that_is_an_address_asks_nobody(inbox: Path, requests: list[str], text: str, name: str) -> None:
    (inbox / name).write_text(text.format(requests[0]))
    with pytest.raises(InputError), access.opened(inbox / name):
        pass
    assert not requests[1:]


@pytest.mark.attack(1)
@pytest.mark.parametrize("place", [simple("{0}/a.tif", 0), simple("/vsicurl/{0}/a.tif", 0)])
def test_a_virtual_raster_of_an_address_asks_nobody(inbox: Path, requests: list[str], place: str) -> None:
    (inbox / "scene.vrt").write_text(vrt(place.format(requests[0])))
    with pytest.raises(InputError), access.opened(inbox / "scene.vrt"):
        pass
    (inbox / "scene.vrt").write_text(vrt(simple("own.tif")).replace("EPSG:32633", f"{requests[0]}/crs"))
    with pytest.raises(InputError, match="neither EPSG nor WKT"), access.opened(inbox / "scene.vrt"):
        pass
    assert not requests[1:]


@pytest.mark.attack(1)
@pytest.mark.parametrize("ending", [".ovr", ".msk", ".OVR", ".Ovr", ".MSK"])
def test_side_files_that_are_virtual_are_refused(secret: Path, inbox: Path, ending: str) -> None:
    path = write_raster(inbox / "scene.tif", np.ones((1, 64, 64), np.uint8), GRID)
    (inbox / f"scene.tif{ending}").write_text(vrt(simple(secret, relative=0)))
    with pytest.raises(InputError, match=f"scene.tif{ending}"), access.opened(path):
        pass


@pytest.mark.attack(1)
@pytest.mark.parametrize(
    "names", [["./{}.ovr"], ["{}.ovr", "{}.ovr"], ["{}.OVR"], ["{}.Msk"], ["a//{}"], ["x/../{}.ovr"]]
)
@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_side_files_in_an_archive_are_those_that_gdal_sees(secret: Path, inbox: Path, names: list[str]) -> None:
    """GDAL compares names without case, and takes the first of two; Python's zipfile takes the last."""
    path = write_raster(inbox / "scene.tif", np.ones((1, 64, 64), np.uint8), GRID)
    with zipfile.ZipFile(inbox / "order.zip", "w") as archive:
        archive.write(path, "scene.tif")
        for name in names:
            archive.writestr(name.format("scene.tif"), vrt(simple(secret, relative=0)))
        if len(names) > 1:
            archive.write(path, "scene.tif.ovr")
    refused = pytest.raises(InputError, match=r"no GeoTIFF|read different files")
    with refused, access.opened(f"zip://{inbox}/order.zip!scene.tif"):
        pass


@pytest.mark.attack(1)
@pytest.mark.parametrize("attribute", ['subclass="VRTRawRasterBand"', 'SUBCLASS="VRTDerivedRasterBand"'])
def test_attributes_of_another_spelling_are_refused(inbox: Path, attribute: str) -> None:
    """GDAL takes them in any case."""
    write_raster(inbox / "part.tif", np.ones((1, 64, 64), np.uint8), GRID)
    text = vrt(simple("part.tif")).replace("<VRTRasterBand ", f"<VRTRasterBand {attribute} ")
    assert attribute in text
    (inbox / "whole.vrt").write_text(text)
    with pytest.raises(InputError, match="another spelling"), access.opened(inbox / "whole.vrt"):
        pass


@pytest.mark.attack(1)
@pytest.mark.parametrize("key", ["OVERVIEW_FILE", "overview_file", "Overview_File"])
@pytest.mark.parametrize("inside", [True, False])
def test_overviews_of_another_file_are_refused(secret: Path, inbox: Path, inside: bool, key: str) -> None:
    path = write_raster(inbox / "scene.tif", np.ones((1, 64, 64), np.uint8), GRID)
    if inside:
        with rasterio.open(path, "r+") as dataset:
            dataset.update_tags(ns="OVERVIEWS", **{key: str(secret)})
    else:
        (inbox / "scene.tif.aux.xml").write_text(
            f'<PAMDataset><Metadata domain="OVERVIEWS"><MDI key="{key}">{secret}</MDI></Metadata></PAMDataset>'
        )
    (inbox / "whole.vrt").write_text(vrt(simple("scene.tif")))
    for name in ("scene.tif", "whole.vrt"):
        with pytest.raises(InputError, match="overviews"), access.opened(inbox / name):
            pass


def external(file: h5py.File, secret: Path) -> None:
    file.create_dataset("VV", (64, 64), "u1", external=[(str(secret), 0, 64 * 64)])


def linked(file: h5py.File, secret: Path) -> None:
    file["VV"] = h5py.ExternalLink(str(secret), "/x")


def virtual(file: h5py.File, secret: Path) -> None:
    layout = h5py.VirtualLayout((64, 64), "u1")
    layout[:] = h5py.VirtualSource(str(secret), "x", (64, 64))
    file.create_virtual_dataset("VV", layout)


def circular(file: h5py.File, _: Path) -> None:
    file.create_dataset("VV", data=SECRET[0])
    file["again"] = file["/"]


def circular_below(file: h5py.File, _: Path) -> None:
    file.create_dataset("a/VV", data=SECRET[0])
    file["a/b"] = file["a"]


@pytest.mark.attack(1)
@pytest.mark.parametrize("fill", [external, linked, virtual, circular, circular_below])
@pytest.mark.parametrize("name", ["s1.h5", "s1.nc", "s1.tif"])
@pytest.mark.parametrize("userblock", [0, 512])
def test_hdf5_of_other_files_is_refused(
    secret: Path, inbox: Path, fill: Callable[[h5py.File, Path], None], name: str, userblock: int
) -> None:
    with h5py.File(inbox / name, "w", userblock_size=userblock) as file:
        fill(file, secret)
    for path in (inbox / name, f'HDF5:"{inbox / name}"://VV', f'netcdf:"{inbox / name}":VV'):
        with pytest.raises(InputError, match="itself"), access.opened(path):
            pass


@pytest.mark.attack(5)
def test_what_is_no_regular_file_is_refused(inbox: Path) -> None:
    os.mkfifo(inbox / "scene.tif")
    with pytest.raises(InputError, match="no regular file"), access.opened(inbox / "scene.tif"):
        pass


def values_of(path: object) -> np.ndarray:
    with access.opened(path) as dataset:  # type: ignore[arg-type]
        return dataset.read(1)


def test_virtual_rasters_as_people_make_them_are_read(inbox: Path) -> None:
    (inbox / "tiles").mkdir()
    plain = write_raster(inbox / "tiles" / "plain.tif", SECRET, GRID, nodata=3)
    copy(plain, inbox / "tiles" / "near.vrt", driver="VRT")
    (inbox / "above.vrt").write_text(vrt(simple("tiles/near.vrt")))
    (inbox / "absolute.vrt").write_text(vrt(simple(plain, relative=0)))
    with rasterio.open(plain) as dataset, WarpedVRT(dataset, crs=UTM33) as warped:
        copy(warped, inbox / "tiles" / "warped.vrt", driver="VRT")
    for name in ("tiles/near.vrt", "above.vrt", "absolute.vrt", "tiles/warped.vrt"):
        np.testing.assert_array_equal(values_of(inbox / name), SECRET[0])
    with access.opened(inbox / "tiles" / "near.vrt") as dataset:
        assert dataset.nodata == 3
        assert dataset.crs == UTM33
        assert str(plain) in dataset.files
    with zipfile.ZipFile(inbox / "order.zip", "w") as archive:
        for name in ("tiles/plain.tif", "tiles/near.vrt", "above.vrt"):
            archive.write(inbox / name, name)
    for name in ("tiles/near.vrt", "above.vrt"):
        np.testing.assert_array_equal(values_of(f"zip://{inbox / 'order.zip'}!{name}"), SECRET[0])


def test_who_trusts_inputs_reads_what_they_are_made_of(secret: Path, inbox: Path) -> None:
    (inbox / "scene.vrt").write_text(vrt(simple(secret, relative=0)))
    with trusting(True):
        np.testing.assert_array_equal(values_of(inbox / "scene.vrt"), SECRET[0])
    with pytest.raises(InputError):
        values_of(inbox / "scene.vrt")


@pytest.mark.attack(5)
@pytest.mark.parametrize(
    ("shape", "profile", "found"),
    [
        (
            (1, 1_000_000, 1_000_000),
            {"tiled": True, "blockxsize": 4096, "blockysize": 4096},
            "1000000 x 1000000 pixels",
        ),
        ((1001, 16, 16), {"interleave": "band"}, "1001 bands"),
        ((1, 99, 99), {"tiled": True, "blockxsize": 36_864, "blockysize": 36_864}, "blocks of 1296 MB"),
    ],
)
def test_what_is_larger_than_any_image_is_refused(
    inbox: Path, shape: tuple[int, ...], profile: dict[str, object], found: str
) -> None:
    count, height, width = shape
    path, sparse = inbox / "scene.tif", {"SPARSE_OK": "TRUE", "BIGTIFF": "YES", "crs": UTM33, "transform": GRID}
    with rasterio.open(path, "w", "GTiff", width, height, count, dtype="uint8", **sparse, **profile):
        pass
    with pytest.raises(InputError, match=f"has {found}"), access.opened(path):
        pass


def test_archives_that_gdal_alone_reads(inbox: Path) -> None:
    plain = write_raster(inbox / "plain.tif", SECRET, GRID)
    copy(plain, inbox / "whole.vrt", driver="VRT")
    with tarfile.open(inbox / "order.tar", "w") as archive:
        for name in ("plain.tif", "whole.vrt"):
            archive.add(inbox / name, name)
    (inbox / "plain.tif.gz").write_bytes(gzip.compress(plain.read_bytes()))
    for path in (f"/vsitar/{inbox}/order.tar/plain.tif", f"/vsigzip/{inbox}/plain.tif.gz"):
        np.testing.assert_array_equal(values_of(path), SECRET[0])
    with pytest.raises(InputError, match="cannot be read as a raster"):
        values_of(f"/vsitar/{inbox}/order.tar/whole.vrt")


@pytest.mark.attack(1)
@pytest.mark.parametrize(
    ("text", "states"),
    [
        ("EPSG:32633", True),
        ("EPSG:4326+5773", True),
        ("urn:ogc:def:crs:OGC:1.3:CRS84", True),
        ('LOCAL_CS["site",UNIT["metre",1]]', True),
        ('COMPD_CS["a"]', True),
        ("http://127.0.0.1/crs", False),
        ("/etc/passwd", False),
        ("passwd", False),
    ],
)
def test_a_crs_is_stated_by_code_or_wkt(text: str, states: bool) -> None:
    assert states_crs(text) is states


@pytest.mark.attack(8)
@pytest.mark.parametrize("name", ["mask.nc", "mask.tif"])
@pytest.mark.parametrize("at", [3, 7, 11, 15, 19, 40])
def test_damaged_headers_of_netcdf_are_refused(inbox: Path, name: str, at: int) -> None:
    """NetCDF's library crashes on some, and does not come back of others."""
    plain = write_raster(inbox / "plain.tif", SECRET, GRID)
    copy(plain, inbox / "whole.nc", driver="netCDF")
    content = bytearray((inbox / "whole.nc").read_bytes())
    content[at : at + 4] = b"\x7f\xff\xff\xf0"
    (inbox / name).write_bytes(content)
    with pytest.raises(InputError) as refused, access.opened(f"netcdf:{inbox / name}:Band1"):
        pass
    assert refused.value.message.isprintable()
    (inbox / name).write_bytes(b"CDF")
    with pytest.raises(InputError), access.opened(inbox / name):
        pass


@pytest.mark.attack(8)
def test_damaged_attributes_of_hdf5_are_refused(inbox: Path) -> None:
    """NetCDF's library crashes when it closes a file with a text of no length that it could tell."""
    with h5py.File(inbox / "s1.h5", "w") as file:
        file.create_dataset("g/VV", data=SECRET[0])
        file["g"].attrs["words"] = "words"
    content = (inbox / "s1.h5").read_bytes()
    assert content.count(b"GCOL") == 1
    (inbox / "s1.h5").write_bytes(content.replace(b"GCOL", b"\0\0\0\0"))
    with pytest.raises(InputError, match="cannot be read"), access.opened(inbox / "s1.h5"):
        pass


@pytest.mark.attack(8)
def test_a_crs_that_is_no_crs_is_one_line(inbox: Path) -> None:
    path = write_raster(inbox / "s1.img", SECRET, GRID, driver="HFA")
    content = path.read_bytes()
    assert b"1:dwidth" in content
    path.write_bytes(content.replace(b"1:dwidth", b"o\x1fIwidth", 1))
    with pytest.raises(InputError, match="cannot be used") as refused, access.opened(path):
        pass
    assert refused.value.message.isprintable()


@pytest.mark.attack(9)
def test_words_of_gdal_that_are_no_utf8_reach_the_log(
    inbox: Path, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    """Rasterio cannot decode them, and would print a traceback of its own."""
    path = write_raster(inbox / "scene.tif", SECRET, GRID)
    with rasterio.open(path, "r+") as dataset:
        dataset.update_tags(WORDS="0123456789")
    content = path.read_bytes()
    assert content.count(b'name="WORDS"') == 1
    path.write_bytes(content.replace(b'name="WORDS"', b'\xd498e "WORDS"'))
    with access.opened(path) as dataset:
        np.testing.assert_array_equal(dataset.read(), SECRET)
    assert "\\xd4" in caplog.text
    assert capfd.readouterr().err == ""
