"""Lists of scenes as spreadsheets, editors and scripts write them."""

import json
import os
import unicodedata
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import Result

from cloudfree.batch.jobs import read_jobs
from cloudfree.errors import InputError

Cli = Callable[..., Result]
Make = Callable[..., Path]

FAST = "--weights", "identity", "--find-clouds", "never", "--edge-limit", 0


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Files of these names; what is in them does not matter."""
    (tmp_path / "data").mkdir()
    for name in ("a.tif", "b c.tif", "vv.tif", "vh.tif", "m.tif", "order.zip", "cube.nc"):
        (tmp_path / "data" / name).write_bytes(b"")
    return tmp_path / "data"


TABLES = {
    "commas": b"planet,sar,mask\na.tif,vv.tif;vh.tif,m.tif\n",
    "semicolons": b'planet;sar;mask\na.tif;"vv.tif;vh.tif";m.tif\n',
    "tabs": b"planet\tsar\tmask\na.tif\tvv.tif;vh.tif\tm.tif\n",
    "spaces": b" planet , sar , mask \n a.tif ,  vv.tif ; vh.tif , m.tif \n\n , , \n",
    "spaces before quotes": b'planet, sar, mask\n"a.tif", "vv.tif;vh.tif", "m.tif"\n',
    "capitals": b"Planet,SAR,Mask\na.tif,vv.tif;vh.tif,m.tif\n",
    "a BOM": b"\xef\xbb\xbfplanet,sar,mask\na.tif,vv.tif;vh.tif,m.tif\n",
    "UTF-16": "planet\tsar\tmask\r\na.tif\tvv.tif;vh.tif\tm.tif\r\n".encode("utf-16"),
    "sep=": b'sep=;\r\nplanet;sar;mask\r\na.tif;"vv.tif;vh.tif";m.tif\r\n',
    "old Mac": b"planet,sar,mask\ra.tif,vv.tif;vh.tif,m.tif\r",
    "empty columns": b"planet,sar,mask,,\na.tif,vv.tif;vh.tif,m.tif,,\n",
    "quoted names": b'"planet";"sar";"mask"\n"a.tif";"vv.tif;vh.tif";"m.tif"\n',
    "blank lines": b"\n\nplanet,sar,mask\n\na.tif,vv.tif;vh.tif,m.tif\n\n",
}


@pytest.mark.parametrize("kind", TABLES)
def test_tables_as_spreadsheets_write_them(folder: Path, kind: str) -> None:
    (folder / "list.csv").write_bytes(TABLES[kind])
    (job,) = read_jobs(folder / "list.csv", folder / "made")
    assert job.planet.file == folder / "a.tif"
    assert [source.file for source in job.sar] == [folder / "vv.tif", folder / "vh.tif"]
    assert job.mask
    assert job.mask.file == folder / "m.tif"
    assert not job.fault


ROW = {"planet": "a.tif", "sar": ["vv.tif", "vh.tif"], "mask": "m.tif"}


@pytest.mark.parametrize("name", ["list.json", "list.jsonl", "list.ndjson", "LIST.JSON"])
@pytest.mark.parametrize(
    "text",
    [
        json.dumps([ROW, ROW | {"planet": "b c.tif"}]),
        json.dumps([ROW, ROW | {"planet": "b c.tif"}], indent=2),
        "\n".join(map(json.dumps, [ROW, ROW | {"planet": "b c.tif"}])),
        "\ufeff" + json.dumps([ROW, {" Planet ": "b c.tif", "SAR": "vv.tif;vh.tif"}]),
    ],
)
def test_json_is_a_list_or_an_object_a_line(folder: Path, name: str, text: str) -> None:
    (folder / name).write_text(text, encoding="utf-8")
    jobs = read_jobs(folder / name, folder / "made")
    assert [job.planet.name for job in jobs] == ["a.tif", "b c.tif"]
    assert [len(job.sar) for job in jobs] == [2, 2]


def test_an_object_of_several_lines_is_one(folder: Path) -> None:
    (folder / "list.json").write_text(json.dumps(ROW, indent=1))
    assert [job.planet.name for job in read_jobs(folder / "list.json", folder)] == ["a.tif"]


@pytest.mark.parametrize(
    ("name", "text", "words"),
    [
        ("list.csv", "planet,Planet,sar\na.tif,b.tif,vv.tif\n", "has 'planet' twice"),
        ("list.json", '{"planet": "a.tif", "PLANET": "b.tif", "sar": "vv.tif"}', "has 'planet' twice"),
        ("list.csv", "planet;sar\na.tif;vv.tif;vh.tif\n", "more cells than columns"),
        ("list.csv", "planet|sar\na.tif|vv.tif\n", "has 'planet|sar'"),
        ("list.json", '{"planet": "a.tif", "planet": "b.tif", "sar": "vv.tif"}', "has 'planet' twice"),
        (
            "list.jsonl",
            '{"planet": "a.tif", "sar": "vv.tif"}\n{"planet": "a.tif", "sar": "x", "sar": "y"}',
            "'sar' twice",
        ),
        ("list.csv", "\nid,planet,sar\n1,a.tif,vv.tif\n", "line 2 has 'id' as the name of a column"),
        ("list.json", '{"planet": {"path": "a.tif"}, "sar": "vv.tif"}', "item 1, planet, has"),
        ("list.json", '{"planet": "a.tif", "sar": ["vv.tif", 7]}', "item 1, sar, has '7'"),
        ("list.xlsx", "PK", "is a spreadsheet"),
        ("list.csv", "planet,sar\na.tif,nan\n", "has no sar"),
        ("list.json", "[1]", "is no object"),
        ("list.json", "null", "is no object"),
        ("list.json", '[{"planet": "a.tif"}]', "item 1 has no sar"),
        ("list.csv", "planet,sar\n\na.tif,vv.tif\na.tif,\n", "line 4 has no sar"),
    ],
)
def test_what_is_not_clear_is_refused(folder: Path, name: str, text: str, words: str) -> None:
    (folder / name).write_text(text)
    with pytest.raises(InputError) as refused:
        read_jobs(folder / name, folder)
    assert words in refused.value.message


def test_addresses_in_archives_and_files_are_relative_to_the_list(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(folder.parent)
    cells = {
        "zip://order.zip!x/a.tif": (folder / "order.zip", "x/a.tif"),
        "/vsizip/order.zip/x/a.tif": (folder / "order.zip", "x/a.tif"),
        "/vsizip/{order.zip}/x/a.tif": (folder / "order.zip", "x/a.tif"),
        f"zip://{folder}/order.zip!x/a.tif": (folder / "order.zip", "x/a.tif"),
        "zip://order.zip": (folder / "order.zip", ""),
        "netcdf:cube.nc:blue": (folder / "cube.nc", "blue"),
        'NETCDF:"cube.nc":blue': (folder / "cube.nc", "blue"),
        f"file://{folder}/a.tif": (folder / "a.tif", ""),
        "a.tif": (folder / "a.tif", ""),
        "../data/a.tif": (folder / "../data/a.tif", ""),
    }
    lines = [json.dumps({"planet": "a.tif", "sar": cell}) for cell in cells]
    (folder / "list.jsonl").write_text("\n".join(lines))
    jobs = read_jobs(Path("data/list.jsonl"), folder)
    for job, (file, inside) in zip(jobs, cells.values(), strict=True):
        (sar,) = job.sar
        assert (os.path.normpath(sar.file.absolute()), sar.inside) == (os.path.normpath(file), inside)
        assert str(sar.file.name) in sar.address


def test_missing_files_are_told_before_and_cost_that_scene(
    cli: Cli, make_scene: Make, make_sar: Make, tmp_path: Path
) -> None:
    for name in ("a.tif", "b.tif", "c.tif"):
        make_scene(name=name)
    make_sar(name="vv.tif")
    rows = "a.tif,vv.tif,\nb.tif,none.tif,\nnone_either.tif,vv.tif,\nc.tif,vv.tif,zip://no.zip!m.tif\n"
    (tmp_path / "list.csv").write_text(f"planet,sar,mask\n{rows}")
    command = "batch", tmp_path / "list.csv", "-o", tmp_path / "made", *FAST
    planned = cli(*command, "--dry-run")
    told = [line for line in planned.stderr.splitlines() if line.startswith("ERROR")]
    assert len(told) == 3
    for line, word in zip(told, ("none.tif does not exist", "none_either.tif does not exist", "m.tif"), strict=True):
        assert word in line
    assert [bool(job.get("fault")) for job in json.loads(planned.stdout)["jobs"]] == [False, True, True, True]
    assert not (tmp_path / "made").exists()
    assert cli(*command).exit_code == 1
    rows = json.loads((tmp_path / "made" / "results.json").read_text())
    assert [row["status"] for row in rows] == ["made", "failed", "failed", "failed"]
    assert "does not exist" in rows[1]["error"]


def test_a_list_that_is_not_there(folder: Path) -> None:
    with pytest.raises(InputError, match=r"none.csv cannot be read as a CSV or JSON, for it does not exist"):
        read_jobs(folder / "none.csv", folder)


def test_cells_without_a_value_as_pandas_writes_them(folder: Path) -> None:
    (folder / "list.csv").write_text("planet,sar,udm2\na.tif,vv.tif,nan\n")
    (folder / "list.json").write_text('[{"planet": "a.tif", "sar": "vv.tif", "udm2": NaN}]')
    for name in ("list.csv", "list.json"):
        (job,) = read_jobs(folder / name, folder)
        assert job.udm2 is None


@pytest.mark.parametrize(("written", "there"), [("NFC", "NFD"), ("NFD", "NFC")])
def test_letters_as_another_system_composes_them(folder: Path, written: str, there: str) -> None:
    path = folder / unicodedata.normalize(there, "Mühle.tif")
    path.write_bytes(b"")
    (folder / "list.csv").write_text(f"planet,sar\n{unicodedata.normalize(written, 'Mühle.tif')},vv.tif\n")
    (job,) = read_jobs(folder / "list.csv", folder)
    assert job.planet.file == path


def test_outputs_of_a_list_are_checked_as_those_of_run(
    cli: Cli, make_scene: Make, make_sar: Make, tmp_path: Path
) -> None:
    """Each bad one costs its scene."""
    make_scene(name="a.tif")
    make_sar(name="vv.tif")
    outputs = "-", "s3://b/x.tif", "x.tif", "sub/"
    lines = "".join(f"a.tif,vv.tif,{output}\n" for output in outputs)
    (tmp_path / "list.csv").write_text(f"planet,sar,output\n{lines}")
    command = "batch", tmp_path / "list.csv", "-o", tmp_path / "made", *FAST
    planned = json.loads(cli(*command, "--dry-run").stdout)["jobs"]
    assert ["its output cannot be" in job.get("fault", "") for job in planned] == [True, True, False, True]
    done = cli(*command)
    assert done.exit_code == 1
    rows = json.loads((tmp_path / "made" / "results.json").read_text())
    assert [row["status"] for row in rows] == ["failed", "failed", "made", "failed"]
    assert [path.name for path in (tmp_path / "made").rglob("*.tif")] == ["x.tif"]


def test_options_from_a_file_with_a_bom(cli: Cli, make_scene: Make, make_sar: Make, tmp_path: Path) -> None:
    (tmp_path / "c.toml").write_bytes(b'\xef\xbb\xbfweights = "identity"\n[run]\nfind-clouds = "never"\n')
    files = "--planet", make_scene(), "--sar", make_sar(), "-o", tmp_path / "out.tif"
    done = cli("--config", tmp_path / "c.toml", "run", *files, "--dry-run")
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout)["option_sources"]["--weights"]["value"] == "identity"
