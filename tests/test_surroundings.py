"""The machine around a command: data of other programs, drivers that are skipped, closed streams, rights, encodings."""

import ctypes
import json
import os
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
import rasterio

from cloudfree import process

Make = Callable[..., Path]

OWN = Path(rasterio.__file__).parent / "proj_data" / "proj.db"
FAST = "--weights", "identity", "--find-clouds", "never", "--edge-limit", "0"
NAME = "20240606_101530_84_2481_3B_AnalyticMS_SR.tif"

pytestmark = pytest.mark.skipif(not OWN.is_file(), reason="this rasterio has no data of its own")


@pytest.fixture
def inbox(make_scene: Make, make_sar: Make, make_mask: Make, tmp_path: Path) -> Path:
    (tmp_path / "in").mkdir()
    make_scene(name=f"in/{NAME}")
    make_sar(name="in/s1_20240605.tif")
    make_mask(np.pad(np.ones((20, 20)), 38), name="in/mask.tif")
    return tmp_path / "in"


def command(inbox: Path, kind: str = "run") -> list[str]:
    files = {"run": ("--planet", inbox / NAME, "--mask", inbox / "mask.tif"), "align": ("--planet", inbox / NAME)}
    out = inbox.parent / ("made" if kind == "batch" else f"{kind}.tif")
    given = [inbox] if kind == "batch" else [*files[kind], "--sar", inbox / "s1_20240605.tif"]
    return [kind, *map(str, given), "-o", str(out), *(() if kind == "align" else FAST)]


def started(*words: str, environment: dict[str, str] | None = None, **options: object) -> subprocess.CompletedProcess:
    text = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "encoding": "utf-8"}
    surroundings = {**os.environ, **(environment or {})}
    return subprocess.run([sys.executable, "-m", "cloudfree", *words], env=surroundings, check=False, **text, **options)


# --- PROJ and GDAL ---


def older(folder: Path) -> Path:
    """PROJ's data as an older program has them."""
    shutil.copy(OWN, folder / "proj.db")
    with closing(sqlite3.connect(folder / "proj.db")) as database:
        database.execute("UPDATE metadata SET value = '2' WHERE key = 'DATABASE.LAYOUT.VERSION.MINOR'")
        database.commit()
    return folder


def damaged(folder: Path) -> Path:
    (folder / "proj.db").write_bytes(b"no database")
    return folder


def empty(folder: Path) -> Path:
    return folder


def nowhere(folder: Path) -> Path:
    return folder / "none"


FOREIGN = {
    "older": (older, "has layout 1.2"),
    "damaged": (damaged, "no layout that can be read"),
    "empty": (empty, "which has no proj.db"),
    "nowhere": (nowhere, "which has no proj.db"),
}


@pytest.mark.parametrize("name", ["PROJ_DATA", "PROJ_LIB"])
@pytest.mark.parametrize("kind", FOREIGN)
def test_data_of_another_proj_are_left_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, kind: str
) -> None:
    for one in ("PROJ_DATA", "PROJ_LIB", "GDAL_DATA"):
        monkeypatch.delenv(one, raising=False)
    put, words = FOREIGN[kind]
    monkeypatch.setenv(name, str(put(tmp_path)))
    (line,) = process.leave_data_of_others()
    assert line.startswith(f"{name} is ")
    assert words in line
    assert line.endswith(f"unset {name}")
    assert name not in os.environ


def test_data_that_fit_are_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A user's may have grids that rasterio's own lacks; several folders are looked through."""
    shutil.copy(OWN, tmp_path / "proj.db")
    for one in ("PROJ_LIB", "GDAL_DATA"):
        monkeypatch.delenv(one, raising=False)
    for folders in (str(tmp_path), f"/nowhere{os.pathsep}{tmp_path}"):
        monkeypatch.setenv("PROJ_DATA", folders)
        assert process.leave_data_of_others() == []
        assert os.environ["PROJ_DATA"] == folders
    monkeypatch.setenv("GDAL_DATA", str(tmp_path))
    (line,) = process.leave_data_of_others()
    assert "GDAL_DATA" in line
    assert "no gdalvrt.xsd" in line


@pytest.mark.parametrize("kind", ["run", "align", "batch"])
def test_each_command_makes_its_product_with_one_line(inbox: Path, tmp_path: Path, kind: str) -> None:
    (tmp_path / "proj").mkdir()
    done = started(*command(inbox, kind), environment={"PROJ_LIB": str(older(tmp_path / "proj"))})
    assert done.returncode == 0, done.stderr
    assert sum("PROJ_LIB" in line for line in done.stderr.splitlines()) == 1
    assert "Traceback" not in done.stderr


def test_what_cannot_be_mended_is_a_line_and_the_doctor_knows(inbox: Path, tmp_path: Path) -> None:
    """A database of the right version, which lacks what is asked of it."""
    (tmp_path / "proj").mkdir()
    shutil.copy(OWN, tmp_path / "proj/proj.db")
    with closing(sqlite3.connect(tmp_path / "proj/proj.db")) as database:
        database.execute("DROP VIEW crs_view")
        database.commit()
    for words in (["doctor"], command(inbox)):
        done = started(*words, environment={"PROJ_DATA": str(tmp_path / "proj")})
        assert done.returncode == 1
        assert "Traceback" not in done.stderr
        assert "PROJ_DATA" in done.stdout + done.stderr


def test_the_doctor_transforms_a_point(monkeypatch: pytest.MonkeyPatch) -> None:
    from cloudfree import doctor

    sound = doctor._proj()
    assert sound.sound
    assert "0.0 m from where it is" in sound.state
    monkeypatch.setattr(doctor, "transform", lambda *a: ([0.0], [0.0]))
    monkeypatch.setenv("PROJ_LIB", "/another")
    wrong = doctor._proj()
    assert not wrong.sound
    assert "PROJ_LIB is '/another'" in wrong.state
    assert "unset" in wrong.advice


@pytest.mark.parametrize("skip", ["COG", "GTiff", "MEM COG"])
@pytest.mark.parametrize("kind", ["run", "batch"])
def test_drivers_that_are_skipped_are_told_before(inbox: Path, kind: str, skip: str) -> None:
    done = started(*command(inbox, kind), environment={"GDAL_SKIP": skip})
    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    assert line.startswith("Error: GDAL is without its driver for")
    assert f"GDAL_SKIP is '{skip}': unset it" in line
    assert not (inbox.parent / "made").exists()


# --- streams ---


@pytest.mark.parametrize("kind", ["run", "align", "batch"])
@pytest.mark.parametrize("closed", ["2>&-", ">&-", "<&- >&- 2>&-"])
def test_closed_streams_cost_nothing(inbox: Path, kind: str, closed: str) -> None:
    line = " ".join([sys.executable, "-m", "cloudfree", *command(inbox, kind), closed])
    assert subprocess.run(["bash", "-c", line], check=False).returncode == 0
    products = inbox.parent.glob("made/*.tif" if kind == "batch" else f"{kind}.tif")
    assert [path.stat().st_size > 0 for path in products] == [True]


# --- rights ---


def without_rights() -> None:
    """Have root be refused what others are (Linux's CAP_DAC_OVERRIDE and CAP_DAC_READ_SEARCH)."""
    for right in (1, 2):
        ctypes.CDLL(None).prctl(24, right)


def closed_to_all(path: Path, mode: int = 0) -> None:
    if os.geteuid() == 0:
        os.chown(path, 65534, 65534)
    path.chmod(mode)


linux = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="rights of Linux")
OTHER = NAME.replace("0606", "0607")


@linux
def test_metadata_that_may_not_be_read_cost_their_scene(inbox: Path) -> None:
    """A line, and no other scene of which it would be another date."""
    shutil.copy(inbox / NAME, inbox / OTHER)
    metadata = inbox / NAME.replace("_SR.tif", "_metadata.xml")
    metadata.write_text("<a/>")
    closed_to_all(metadata)
    done = started(*command(inbox), preexec_fn=without_rights)
    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    assert f"{metadata.name} cannot be read (Permission denied)" in line
    done = started(*command(inbox, "batch"), preexec_fn=without_rights)
    rows = json.loads((inbox.parent / "made/results.json").read_text())
    assert [row["status"] for row in rows] == ["failed", "made"], done.stderr
    assert metadata.name in rows[0]["error"]
    assert "bug" not in rows[0]["error"]


@linux
def test_folders_that_may_not_be_listed_are_a_line_each(inbox: Path) -> None:
    (inbox / "closed").mkdir()
    closed_to_all(inbox / "closed")
    done = started(*command(inbox, "batch"), preexec_fn=without_rights)
    assert done.returncode == 0, done.stderr
    assert sum("closed cannot be listed (Permission denied)" in line for line in done.stderr.splitlines()) == 1
    for words in (
        ["run", "--planet", str(inbox / NAME), "--sar", str(inbox / "closed"), "-o", "x.tif", *FAST],
        ["run", "--planet", str(inbox / "closed"), "--sar", str(inbox / "closed"), "-o", "x.tif", *FAST],
        ["run", "--planet", str(inbox / "closed/a.tif"), "--sar", str(inbox / "s1_20240605.tif"), "-o", "x.tif", *FAST],
        ["info", str(inbox / "closed")],
    ):
        done = started(*words, cwd=inbox.parent, preexec_fn=without_rights)
        assert done.returncode != 0
        assert [line.startswith("Error: ") for line in done.stderr.splitlines()] == [True], done.stderr
        assert "Permission denied" in done.stderr


@linux
def test_a_folder_that_may_be_listed_and_not_entered_is_a_line(inbox: Path) -> None:
    (inbox / "half").mkdir()
    shutil.copy(inbox / NAME, inbox / "half" / OTHER)
    closed_to_all(inbox / "half", 0o644)
    done = started(*command(inbox, "batch"), preexec_fn=without_rights)
    assert done.returncode == 0, done.stderr
    assert sum("half cannot be entered (Permission denied)" in line for line in done.stderr.splitlines()) == 1
    half = str(inbox / "half")
    for words in (["run", "--planet", str(inbox / NAME), "--sar", half, "-o", "x.tif", *FAST], ["info", half]):
        done = started(*words, cwd=inbox.parent, preexec_fn=without_rights)
        (line,) = done.stderr.splitlines()
        assert "half cannot be listed (Permission denied); see to its permissions" in line


@linux
def test_an_archive_that_may_not_be_read_is_not_called_damaged(inbox: Path) -> None:
    (inbox / "o.zip").write_bytes(b"x")
    closed_to_all(inbox / "o.zip")
    done = started(*command(inbox, "batch"), preexec_fn=without_rights)
    assert done.returncode == 0, done.stderr
    assert "o.zip cannot be read (Permission denied); see to its permissions" in done.stderr
    assert "damaged" not in done.stderr


@pytest.mark.parametrize(
    ("environment", "words"),
    [
        ({"PROJ_AUX_DB": "/nonexistent"}, "PROJ_AUX_DB is '/nonexistent'"),
        ({"GDAL_GEOREF_SOURCES": "NONE"}, ""),
        ({"PROJ_DATA": "", "GDAL_DATA": "", "PROJ_AUX_DB": ""}, ""),
    ],
)
def test_variables_that_would_stop_everything(inbox: Path, environment: dict[str, str], words: str) -> None:
    done = started(*command(inbox), environment=environment)
    assert done.returncode == 0, done.stderr
    assert [words in line for line in done.stderr.splitlines() if line.startswith("WARNING")] == [True] * bool(words)


@linux
def test_a_mask_that_cannot_be_looked_for_is_warned_of(inbox: Path) -> None:
    """Its folder may be entered and not listed."""
    (inbox / "entered").mkdir()
    shutil.copy(inbox / NAME, inbox / "entered")
    closed_to_all(inbox / "entered", 0o311)
    words = command(inbox)
    words[2] = str(inbox / "entered" / NAME)
    done = started(*words, preexec_fn=without_rights)
    assert done.returncode == 0, done.stderr
    assert sum("entered cannot be listed" in line for line in done.stderr.splitlines()) == 1


# --- encodings ---

NO_UTF8 = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONIOENCODING": "ascii", "PYTHONCOERCECLOCALE": "0"}


def test_names_beyond_ascii_need_utf8(inbox: Path) -> None:
    """Where Python takes names of files for ASCII, those of ASCII alone are read; elsewhere whatever is printed."""
    shutil.copy(inbox / NAME, inbox / OTHER.replace("_SR", "_SR_Mühle"))
    done = started(*command(inbox), environment=NO_UTF8)
    assert done.returncode == 0, done.stderr
    done = started(*command(inbox, "batch"), environment=NO_UTF8)
    assert done.returncode == 1
    rows = json.loads((inbox.parent / "made/results.json").read_text())
    assert [row["status"] for row in rows] == ["made", "failed"], done.stderr
    assert "set PYTHONUTF8=1" in rows[1]["error"]
    done = started("info", str(inbox / OTHER.replace("_SR", "_SR_Mühle")), environment=NO_UTF8)
    assert "set PYTHONUTF8=1" in done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    done = started(*command(inbox, "batch"), "--json", environment={"PYTHONIOENCODING": "ascii"})
    assert done.returncode == 0, done.stderr
    assert "Mühle" in done.stdout
