"""A server that fails now and then: what is read of it is right, or the read fails."""

import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext, suppress
from pathlib import Path

import numpy as np
import pytest
from rasterio.windows import Window
from support import from_origin, write_raster

from cloudfree.errors import InputError
from cloudfree.inputs.location import remote
from cloudfree.inputs.location.source import Source
from cloudfree.inputs.raster import access

# In a process of its own: rasterio holds Python's lock while GDAL waits for an answer.
SERVER = """
import re, sys, time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
data, state = Path(sys.argv[1]).read_bytes(), {"left": 0, "how": ""}

class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def answer(self, code, body=b"", length=None, **headers):
        self.send_response(code)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.send_header("Content-Length", str(len(body) if length is None else length))
        self.end_headers()
        self.wfile.write(b"" if self.command == "HEAD" else body)

    def dribble(self, content):
        for at in range(len(content)):  # two bytes a second
            self.wfile.write(content[at : at + 1])
            self.wfile.flush()
            time.sleep(0.5)

    def do_GET(self):
        if order := re.match(r"/fail/(\\w+)/(\\d+)", self.path):
            state.update(how=order[1], left=int(order[2]))
            return self.answer(200)
        if not self.path.endswith(".tif"):
            return self.answer(404)
        found = re.match(r"bytes=(\\d+)-(\\d+)", self.headers.get("Range", ""))
        first, last = (int(found[1]), min(int(found[2]), len(data) - 1)) if found else (0, len(data) - 1)
        body, where = data[first : last + 1], f"bytes {first}-{last}/{len(data)}"
        state["left"] -= 1
        if state["left"] == 0 and state["how"] == "cut":
            self.close_connection = True
            return self.answer(206, body[: len(body) // 2], len(body), Content_Range=where)
        if state["left"] == 0 and state["how"] == "slow":
            self.answer(206, b"", len(body), Content_Range=where)
            return self.dribble(body)
        if state["left"] == 0 and state["how"] == "header":
            return self.dribble(b"HTTP/1.1 206 Partial Content\\r\\n" + body)
        if state["left"] == 0:
            return self.answer(int(state["how"]))
        if found:
            return self.answer(206, body, Accept_Ranges="bytes", Content_Range=where)
        return self.answer(200, body, Accept_Ranges="bytes")

    do_HEAD = do_GET

    def log_message(self, *_):
        pass

server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
print(server.server_port, flush=True)
server.serve_forever()
"""


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> Path:
    values = np.random.default_rng(0).normal(-12, 3, (2, 1024, 1024)).astype(np.float32)
    tiled = {"tiled": True, "blockxsize": 256, "blockysize": 256, "compress": "deflate", "interleave": "band"}
    return write_raster(tmp_path_factory.mktemp("server") / "s1.tif", values, from_origin(0, 0, 10, 10), **tiled)


@pytest.fixture(scope="module")
def ask(image: Path) -> Iterator[Callable[[str], str]]:
    """Asks the server for a path, and says where that is."""
    with subprocess.Popen([sys.executable, "-c", SERVER, str(image)], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        address = f"http://127.0.0.1:{int(process.stdout.readline())}"

        def asked(path: str) -> str:
            with urllib.request.urlopen(f"{address}/{path}") as answer:
                answer.read()
            return address

        yield asked
        process.terminate()


@pytest.mark.attack(2)
@pytest.mark.parametrize("how", ["404", "500", "cut"])
@pytest.mark.parametrize("request_number", [0, 1, 5, 9, 13, 17, 18, 20, 25])
def test_what_a_failing_server_gives_is_right_or_refused(
    ask: Callable[[str], str], image: Path, how: str, request_number: int
) -> None:
    address = ask(f"fail/{how}/{request_number}")
    with access.opened(image) as dataset:
        truth = dataset.read()
    read = None
    with (
        suppress(*[InputError] if request_number else []),
        access.gdal_settings(),
        access.opened(f"{address}/{how}_{request_number}.tif") as dataset,
    ):
        windows = [Window(0, row, 1024, 128) for row in range(0, 1024, 128)]
        read = np.concatenate([access.read(dataset, [1, 2], window) for window in windows], axis=1)
    if read is not None:
        np.testing.assert_array_equal(read, truth)


@pytest.mark.attack(5)
@pytest.mark.parametrize("how", ["slow", "header"])
@pytest.mark.parametrize(("in_thread", "settings"), [(False, True), (False, False), (True, True), (True, False)])
def test_a_server_of_two_bytes_a_second_is_given_up(
    ask: Callable[[str], str],
    image: Path,
    how: str,
    in_thread: bool,
    settings: bool,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """After a second here; once it is open, in a thread of a run's too, whether or not an Env of ours is around."""
    for kept in (access._HTTP_SETTINGS, access._GDAL_SETTINGS, access._REMOTE_SETTINGS):
        monkeypatch.setitem(kept, "GDAL_HTTP_LOW_SPEED_TIME", 1)
    address, window = ask("fail/none/0"), Window(0, 512, 256, 256)
    with access.opened(image) as dataset:
        truth = dataset.read([1], window=window)

    def outcome() -> np.ndarray | InputError:
        try:
            return access.read(dataset, [1], window)
        except InputError as error:
            return error

    with (
        access.gdal_settings() if settings else nullcontext(),
        access.opened(f"{address}/{how}_{in_thread}_{settings}.tif") as dataset,
    ):
        ask(f"fail/{how}/1")
        began = time.monotonic()
        with ThreadPoolExecutor(1) as pool:
            read = pool.submit(outcome).result() if in_thread else outcome()
    assert time.monotonic() - began < 10
    if how == "slow" or isinstance(read, InputError):
        assert isinstance(read, InputError)
    else:
        np.testing.assert_array_equal(read, truth)  # asked again


@pytest.mark.attack(5)
def test_a_server_that_states_its_version_slowly_states_none(
    ask: Callable[[str], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(remote, "_SECONDS", 1.0)
    address = ask("fail/header/1")
    began = time.monotonic()
    assert remote.stated(Source.of(f"{address}/a.tif")) == {}
    assert time.monotonic() - began < 5
