"""The identity of a product is that of its pixels: whatever it is called, and whatever a server says."""

import csv
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import numpy as np
import pytest
import rasterio
from click.testing import Result
from support import from_origin, scene_dn

from cloudfree.errors import InputError
from cloudfree.inputs.location import remote
from cloudfree.inputs.location.source import Source
from cloudfree.inputs.location.versions import refuse_replaced, versions_of
from cloudfree.product import provenance
from cloudfree.product.kinds import OUTPUT

Cli = Callable[..., Result]
Make = Callable[..., Path]

SIDE = 96
FAST = "--weights", "identity", "--find-clouds", "never", "--edge-limit", 0


@pytest.mark.attack(3)
@pytest.mark.parametrize("name", ["a.tif", "a.TIFF", "a.png", "a.html", "a.json", "a.dat", "a"])
def test_a_product_of_any_name_is_finished_with_its_own_options_alone(
    cli: Cli, make_scene: Make, make_sar: Make, make_mask: Make, tmp_path: Path, name: str
) -> None:
    mask = make_mask(np.pad(np.ones((20, 20)), 38))
    scene = make_scene(dn=scene_dn(SIDE, SIDE))
    (tmp_path / "list.csv").write_text(f"planet,sar,mask,output\n{scene.name},{make_sar().name},{mask.name},{name}\n")

    def status(*options: object) -> str:
        cli("batch", tmp_path / "list.csv", "-o", tmp_path / "made", *FAST, *options)
        with (tmp_path / "made" / "results.csv").open() as file:
            row = next(csv.DictReader(file))
        return row["status"] + row["error"]

    assert [status(), status(), status("--buffer", 60)] == ["made", "skipped", "made"]
    with (tmp_path / "made" / name).open("r+b") as file:
        file.truncate((tmp_path / "made" / name).stat().st_size - 5000)
    assert status("--buffer", 60) == "made"


@pytest.mark.attack(3)
@pytest.mark.parametrize("address", ["s3://bucket/a.tif", "gs://bucket/a.tif", "az://box/a.tif", "ftp://127.0.0.1:9/a"])
def test_what_states_no_version_is_never_the_same(address: str) -> None:
    inputs = [Source.of(address)]
    assert provenance.identity({}, inputs, "0") != provenance.identity({}, inputs, "0")
    assert (
        provenance.tags({}, inputs, [])["CLOUDFREE_INPUTS"]
        == f'[{{"name": "{inputs[0].name}", "address": "{address}"}}]'
    )


@pytest.fixture
def server() -> Iterator[dict[str, str]]:
    """The headers that a server of ours gives, and its `address`."""
    headers: dict[str, str] = {}

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(206)
            for name, value in headers.items():
                self.send_header(name, value)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    headers["address"] = f"http://127.0.0.1:{server.server_port}/a.tif"
    yield headers
    server.shutdown()
    server.server_close()


@pytest.mark.attack(3)
def test_a_size_is_no_version(server: dict[str, str]) -> None:
    source = Source.of(server["address"])
    server["Content-Range"] = "bytes 0-0/1000"
    assert remote.stated(source) == {}
    assert provenance.identity({}, [source], "0") != provenance.identity({}, [source], "0")
    server["ETag"] = '"1"'
    assert remote.stated(source) == {"etag": '"1"', "size": "1000"}
    assert provenance.identity({}, [source], "0") == provenance.identity({}, [source], "0")


@pytest.mark.attack(3)
def test_a_file_at_an_address_that_is_replaced_while_it_is_read_is_told(server: dict[str, str]) -> None:
    server["ETag"] = '"1"'
    versions = versions_of([Source.of(server["address"]), Source.of("s3://bucket/a.tif")])
    refuse_replaced(versions)
    server["ETag"] = '"2"'
    with pytest.raises(InputError, match="was replaced"):
        refuse_replaced(versions)
    del server["ETag"]
    refuse_replaced(versions)  # and its product has no identity that another has


@pytest.mark.attack(1)
def test_what_stands_in_for_a_product_is_read_by_no_other_driver(tmp_path: Path) -> None:
    """A virtual raster in a shared folder would have us read, or ask, for its sender."""
    own = tmp_path / "own.tif"
    with rasterio.open(own, "w", "GTiff", 8, 8, 1, dtype="uint8", transform=from_origin(0, 9, 2, 2)) as dataset:
        dataset.update_tags(CLOUDFREE_IDENTITY="x")
        dataset.write(np.ones((1, 8, 8), np.uint8))
    rasterio.shutil.copy(own, tmp_path / "a.tif", driver="VRT")
    assert provenance.is_ours(OUTPUT, own)
    assert not provenance.is_ours(OUTPUT, tmp_path / "a.tif")
    assert provenance.is_finished({OUTPUT: own}, "x")
    assert not provenance.is_finished({OUTPUT: tmp_path / "a.tif"}, "x")
