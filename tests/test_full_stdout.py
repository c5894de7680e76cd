"""A log or an answer that cannot be written is an exit code and a line; nothing that a user has is written into."""

import logging
import os
import subprocess
import sys
from collections.abc import Callable
from contextlib import redirect_stdout
from io import TextIOWrapper
from pathlib import Path

import numpy as np
import pytest
import rasterio
from click.testing import Result
from support import from_origin, write_raster

from cloudfree.cli import main

Cli = Callable[..., Result]
Make = Callable[..., Path]

FAST = "--weights", "identity", "--find-clouds", "never", "--edge-limit", "0", "--quiet"

pytestmark = pytest.mark.skipif(not Path("/dev/full").exists(), reason="no device that is always full")


@pytest.fixture
def files(make_scene: Make, make_sar: Make, make_mask: Make) -> list[str]:
    mask = make_mask(np.pad(np.ones((20, 20)), 38))
    return ["--planet", str(make_scene()), "--sar", str(make_sar()), "--mask", str(mask)]


@pytest.mark.attack(11)
@pytest.mark.parametrize("to", [">/dev/full", ">&-", "| true"])
@pytest.mark.parametrize("words", ["weights list", "weights list --json", "info a.tif --json", "--help", "--version"])
def test_an_answer_that_is_not_told_is_a_failure(tmp_path: Path, words: str, to: str) -> None:
    write_raster(tmp_path / "a.tif", np.ones((1, 8, 8), np.uint8), from_origin(0, 90, 9, 9))
    command = f"sleep 0.2; {sys.executable} -m cloudfree {words}"
    line = f"set -o pipefail; ({command}) {to}"
    done = subprocess.run(["bash", "-c", line], cwd=tmp_path, stderr=subprocess.PIPE, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr.startswith("Error: stdout cannot be written")
    assert len(done.stderr.splitlines()) == 1


@pytest.mark.attack(11)
@pytest.mark.parametrize("command", ["run", "run --dry-run", "batch", "batch --dry-run", "align"])
def test_so_it_is_with_each_command_that_makes_something(
    files: list[str], tmp_path: Path, command: str, capfd: pytest.CaptureFixture[str]
) -> None:
    name, *more = command.split()
    (tmp_path / "list.csv").write_text("planet,sar,mask\n" + ",".join(files[1::2]) + "\n")
    given = [str(tmp_path / "list.csv")] if name == "batch" else files[:4] if name == "align" else files
    options = ["--quiet"] if name == "align" else [*FAST]
    with Path("/dev/full").open("w") as full, redirect_stdout(full), pytest.raises(SystemExit) as end:
        main([name, *given, "-o", str(tmp_path / "made"), "--json", *options, *more])
    assert end.value.code == 1
    assert [line[:30] for line in capfd.readouterr().err.splitlines()] == ["Error: stdout cannot be written"[:30]]
    assert (tmp_path / "made").exists() == (not more)


@pytest.mark.attack(11)
def test_a_failure_is_told_though_its_json_cannot_be(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    with Path("/dev/full").open("w") as full, redirect_stdout(full), pytest.raises(SystemExit) as end:
        main(["run", "--planet", str(tmp_path / "none.tif"), "-o", str(tmp_path / "out.tif"), "--json", *FAST])
    assert end.value.code == 1
    (line,) = capfd.readouterr().err.splitlines()
    assert "none.tif does not exist" in line


def test_who_asks_for_no_answer_needs_no_stdout(files: list[str], tmp_path: Path) -> None:
    """Nor stderr, whose number no product gets."""
    words = [sys.executable, "-m", "cloudfree", "run", *files, "-o", str(tmp_path / "out.tif"), *FAST]
    code = "import os, sys\nfor n in range(3): os.close(n)\nos.execv(sys.argv[1], sys.argv[1:])"
    assert subprocess.run([sys.executable, "-c", code, *words], check=False).returncode == 0
    with rasterio.open(tmp_path / "out.tif") as dataset:
        assert dataset.read().any()


@pytest.mark.attack(11)
def test_a_log_that_lacks_lines_is_a_failure(
    cli: Cli, files: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_: logging.FileHandler) -> TextIOWrapper:
        return open("/dev/full", "a")  # noqa: PTH123 - a handler closes it

    monkeypatch.setattr(logging.FileHandler, "_open", full)
    done = cli("run", *files, "-o", tmp_path / "out.tif", *FAST[:-1], "--verbose", "--log-file", tmp_path / "log")
    assert done.exit_code == 1
    assert "lacks lines of this log" in done.stderr.splitlines()[-1]
    assert "Traceback" not in done.stderr
    assert (tmp_path / "out.tif").exists()


@pytest.mark.attack(7)
@pytest.mark.parametrize("name", ["scene.tif", "s1.tif", "mask.tif", "out.tif", "other.tif", "pipe", "link", "."])
def test_a_log_is_no_input_no_output_and_no_device(cli: Cli, files: list[str], tmp_path: Path, name: str) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "link").symlink_to(tmp_path / "nothing")
    (tmp_path / "other.tif").write_bytes((tmp_path / "scene.tif").read_bytes())
    before = {path.name: path.read_bytes() for path in tmp_path.glob("*.tif")}
    done = cli("run", *files, "-o", tmp_path / "out.tif", *FAST, "--overwrite", "--log-file", tmp_path / name)
    assert done.exit_code == 1
    assert "--log-file needs a text file of its own" in done.stderr
    assert {path.name: path.read_bytes() for path in tmp_path.glob("*.tif")} == before


@pytest.mark.attack(7)
def test_nor_the_list_of_a_batch(cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "list.csv").write_text("planet,sar\na.tif,b.tif\n")
    done = cli("batch", tmp_path / "list.csv", "-o", tmp_path / "made", "--log-file", tmp_path / "list.csv")
    assert done.exit_code == 1
    assert (tmp_path / "list.csv").read_text() == "planet,sar\na.tif,b.tif\n"
