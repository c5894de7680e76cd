"""Numbers and depths that parsers choke on, wherever a user or a file writes them: one line, and no file."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import Result
from safetensors import safe_open
from support import ORIGIN
from test_bad_input import Case

from cloudfree.network.weights import weights_folder

Cli = Callable[..., Result]
Make = Callable[..., Path]
DIGITS = "9" * 5000


@pytest.fixture
def case(cli: Cli, make_scene: Make, make_sar: Make, tmp_path: Path) -> Case:
    made = Case(cli, tmp_path, make_scene(), make_sar())
    made.options["--find-clouds"] = "never"
    return made


@pytest.mark.attack(10)
@pytest.mark.parametrize(
    "value", ["nan", "-inf", "1e400", DIGITS, "0x" + "f" * 5000, "[" * 5000, "[[1]]", "{a = 1}", '"1e9"']
)
def test_a_file_of_options(case: Case, cli: Cli, value: str) -> None:
    (case.folder / "c.toml").write_text(f"max-shift = {value}\n")
    before = sorted(case.folder.iterdir())
    arguments = [word for pair in case.options.items() for word in pair]
    done = cli("--config", case.folder / "c.toml", "run", *arguments)
    assert done.exit_code == 2
    assert done.stderr.splitlines()[-1].startswith("Error: ")
    assert sorted(case.folder.iterdir()) == before


@pytest.mark.attack(10)
@pytest.mark.parametrize("value", ["nan", "inf", "1e400", DIGITS, "1e9", "x", "-1"])
def test_the_environment(case: Case, value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("MAX_SHIFT", "BATCH", "BUFFER", "BUFFER_M"):
        monkeypatch.setenv(f"CLOUDFREE_RUN_{name}", value)
        case.fails("Error: Invalid value for", status=2)
        monkeypatch.delenv(f"CLOUDFREE_RUN_{name}")


@pytest.mark.attack(10)
@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("--bbox", "nan,1,2,3"),
        ("--bbox", "1e400,1,2,3"),
        ("--bbox", f"1,2,3,{DIGITS}"),
        ("--mask-values", "9-2"),
        ("--mask-values", "0-99999999999"),
        ("--mask-values", DIGITS),
        ("--mask-bits", "-1"),
        ("--mask-bits", "99999999"),
        ("--planet-bands", "1,1,1,1"),
    ],
)
def test_numbers_in_lists(case: Case, make_mask: Make, option: str, value: str) -> None:
    import numpy as np

    if option.startswith("--mask"):
        case.options["--mask"] = make_mask(np.ones((96, 96)))
    case.options[option] = value
    case.fails("bbox is nan" if "nan" in value else "bbox is inf" if option == "--bbox" else value[:30])


def polygon(*corners: object) -> str:
    west, north = ORIGIN
    ring = [[west + x, north - y] for x, y in ((0, 0), (90, 0), (90, 90))]
    return json.dumps({"type": "Polygon", "coordinates": [[*ring, *corners, ring[0]]]})


@pytest.mark.attack(10)
@pytest.mark.parametrize(
    "text",
    [
        polygon([float("nan"), 0]),
        polygon([float("inf"), 0]),
        polygon([1e300, -1e300]),
        polygon(["x", None]),
        polygon([[]]),
        polygon([1]),
        polygon([0, 0]).replace("[0, 0]", f"[{DIGITS}, 0]"),
        polygon([0, 0]).replace("[0, 0]", f"[{'9' * 400}, 0]"),
        "[" * 100_000,
        '{"type": "GeometryCollection", "geometries": [' * 900 + polygon() + "]}" * 900,
        '{"type": "Polygon", "coordinates": []}',
        '{"type": "Polygon", "coordinates": ' + "[" * 500 + "]" * 500 + "}",
        '{"type": "", "coordinates": [0, 0]}',
        '{"type": ["Polygon"]}',
        '{"type": "Feature", "geometry": 5}',
        '{"type": "FeatureCollection", "features": "many"}',
        "null",
        "5",
        '"\\ud800"',
        polygon().replace("{", '{"crs": {"properties": {"name": 5}}, ', 1),
        polygon().replace("{", '{"crs": {"properties": {"name": "EPSG:' + DIGITS + '"}}, ', 1),
        polygon().replace("{", '{"crs": {"properties": {"name": "LOCAL_CS[' + "[" * 5000 + '"}}, ', 1),
    ],
)
def test_an_outline(case: Case, text: str) -> None:
    case.options["--aoi"] = case.folder / "area.geojson"
    (case.folder / "area.geojson").write_text(text)
    case.fails("area.geojson")


def test_an_outline_larger_than_any(case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cloudfree.inputs.limits.DOCUMENT_BYTES", 100)
    case.options["--aoi"] = case.folder / "area.geojson"
    (case.folder / "area.geojson").write_text(polygon() + " " * 100)
    case.fails("it has more than")


def with_document(path: Path, change: Callable[[str], str]) -> Path:
    """The identity's weights with other metadata."""
    source = weights_folder() / "identity.safetensors"
    with safe_open(source, "np") as file:
        document = file.metadata()["cloudfree"]
    content = source.read_bytes()
    length = int.from_bytes(content[:8], "little")
    header = json.loads(content[8 : 8 + length])
    header["__metadata__"]["cloudfree"] = change(document)
    odd = json.dumps(header).encode()
    path.write_bytes(len(odd).to_bytes(8, "little") + odd + content[8 + length :])
    return path


def changed(**values: object) -> Callable[[str], str]:
    return lambda text: json.dumps({**json.loads(text), **values})


@pytest.mark.attack(8)
@pytest.mark.parametrize(
    "change",
    [
        lambda _: "[" * 100_000,
        lambda text: text.replace('"format": 1', f'"format": {DIGITS}'),
        lambda _: "[]",
        lambda _: "5",
        changed(architecture={}),
        changed(architecture=None),
        changed(config=[]),
        changed(config={"width": 10**12}),
        changed(normalization="x"),
        changed(normalization=[1]),
        changed(normalization={"reflectance_range": [0, 1e300]}),
        changed(normalization={"reflectance_range": [0, float("nan")]}),
        changed(normalization={"vv_range_db": [1]}),
        changed(provenance=[]),
        changed(format={}),
    ],
)
def test_what_weights_say_of_themselves(case: Case, change: Callable[[str], str]) -> None:
    case.options["--weights"] = with_document(case.folder / "w.safetensors", change)
    case.fails("w.safetensors")


@pytest.mark.attack(10)
def test_weights_with_other_headers(case: Case) -> None:
    path = case.folder / "w.safetensors"
    case.options["--weights"] = path
    tensor = '{"band_shift": {"dtype": "F32", "shape": [SHAPE], "data_offsets": [0, 16]}, '
    tensor += '"__metadata__": {"cloudfree": "{}"}}'
    for shape in (DIGITS, "1e400", "-4", str(2**62), "4,1,1,1,1,1"):
        header = tensor.replace("SHAPE", shape).encode()
        path.write_bytes(len(header).to_bytes(8, "little") + header + bytes(16))
        case.fails("w.safetensors")
    for length in (0, 2**63, 10**12):
        path.write_bytes(length.to_bytes(8, "little") + tensor.encode())
        case.fails("w.safetensors")


@pytest.mark.slow
@pytest.mark.attack(10)
def test_little_address_space_is_one_line(case: Case) -> None:
    import resource

    arguments = [str(word) for pair in case.options.items() for word in pair]
    for limit in (5 * 10**8, 10**9, 1_900_000_000):
        done = subprocess.run(
            [sys.executable, "-m", "cloudfree", "run", *arguments],
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
            preexec_fn=lambda limit=limit: resource.setrlimit(resource.RLIMIT_AS, (limit, limit)),
        )
        assert done.returncode == 1
        assert done.stderr.startswith("Error: the address space is limited to ")
        assert len(done.stderr.splitlines()) == 1


@pytest.mark.attack(10)
def test_memory_that_runs_out_is_one_line(case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise MemoryError("Unable to allocate 3 TiB")

    monkeypatch.setattr("cloudfree.planning.make_plan", fail)
    case.fails("memory ran out (Unable to allocate 3 TiB)")
