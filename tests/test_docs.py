"""What the README and the guides show is run: every command, script and piece of Python."""

import csv
import json
import re
import shlex
import shutil
import socket
import subprocess
import sys
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import rasterio
import torch
from click.testing import CliRunner, Result
from support import ORIGIN, TINY_ONE_BLOCK, sar_values_db, write_raster

from cloudfree.cli import main
from cloudfree.demo import SCENE, sample_folder
from cloudfree.network.models import AlignCR

CHECKOUT = Path(__file__).resolve().parents[1]
PAGES = CHECKOUT / "README.md", *sorted((CHECKOUT / "docs").rglob("*.md"))
README = PAGES[0].read_text(encoding="utf-8")

Make = Callable[..., Path]

SIDE = 256


def blocks(page: Path, language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL)


SHOWN = [(page, block) for page in PAGES for block in blocks(page, "console") if "$ cloudfree" in block]
IN_ORDER = {"own_weights.md"}
"""Pages whose blocks build on each other."""


def test_decibels_of_the_readme_stand_in_a_table_of_the_benchmarks() -> None:
    """One fact, one place: whoever measures again has to change both."""
    number = re.compile(r"(?<![\d.])\d+\.\d+(?![\d.])")
    measured = {n for page in (CHECKOUT / "benchmarks").rglob("*.md") for n in number.findall(page.read_text("utf-8"))}
    told = {n for block in README.split("\n\n") if "dB" in block for n in number.findall(block)}
    assert told
    assert told <= measured, sorted(told - measured)


@pytest.fixture
def workplace(make_scene: Make, make_sar: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that holds every input that a page names."""
    scene = make_scene(SIDE, SIDE)
    make_scene(SIDE, SIDE, name="last_week.tif")
    make_sar()
    (tmp_path / "inbox").mkdir()
    make_scene(name="inbox/20240615_101530_84_2481_3B_AnalyticMS_SR.tif")
    make_sar(name="inbox/s1.tif")
    (tmp_path / "sample_data").symlink_to(CHECKOUT / "sample_data")
    model = AlignCR(TINY_ONE_BLOCK)
    network = {f"module.{key}": value for key, value in model.state_dict().items()}
    torch.save({"network": network}, tmp_path / "published.pth")
    _write_data_sets(tmp_path, scene, make_scene, make_sar)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def _write_data_sets(folder: Path, scene: Path, make_scene: Make, make_sar: Make) -> None:
    """A UDM2, a list of scenes, clear pairs, cloudy images, and a benchmark of one place."""
    udm2 = np.zeros((8, SIDE, SIDE), np.uint8)
    udm2[5, 30:60, 30:60] = 1
    udm2[0] = 1 - udm2[5]
    with rasterio.open(scene) as dataset:
        grid, dn = dataset.transform, dataset.read()
    write_raster(folder / "scene_udm2.tif", udm2, grid)
    (folder / "scenes.csv").write_text(blocks(CHECKOUT / "docs" / "own_weights.md", "csv")[0])
    cloudy = dn.copy()
    cloudy[:, 30:60, 30:60] = 9000
    sets = {"places/a_optical": dn, "benchmark/a_clear": dn, "benchmark/a_cloudy": cloudy}
    for name, values in sets.items():
        (folder / name).parent.mkdir(exist_ok=True)
        make_scene(SIDE, SIDE, name=f"{name}.tif", dn=values)
    for name in ("places", "benchmark"):
        write_raster(folder / name / "a_sar.tif", sar_values_db(SIDE, SIDE), grid, descriptions=("VV", "VH"))
    write_raster(folder / "benchmark" / "a_mask.tif", udm2[5:6], grid)
    (folder / "cloudy").mkdir()
    shutil.copy(sample_folder() / SCENE, folder / "cloudy" / "a_cloudy.tif")


@pytest.fixture
def scheduler() -> Iterator[str]:
    """A scheduler with one worker, both processes of their own, on loopback."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    address = f"tcp://127.0.0.1:{port}"
    words = ["dask_scheduler", "--host", "127.0.0.1", "--port", str(port), "--no-dashboard"]
    others = ["dask_worker", address, "--nthreads", "1", "--memory-limit", "0", "--no-nanny", "--no-dashboard"]
    started = [
        subprocess.Popen([sys.executable, "-m", f"distributed.cli.{word}", *rest], stderr=subprocess.DEVNULL)
        for word, *rest in (words, others)
    ]
    yield address
    for process in reversed(started):
        process.terminate()
        process.wait(30)


def commands(block: str) -> Iterator[list[str]]:
    for line in block.splitlines():
        program, *arguments = shlex.split(line.removeprefix("$ "), comments=True)
        assert program == "cloudfree"
        yield arguments


def names(shown: list[tuple[Path, str]]) -> list[str]:
    return [f"{page.stem}-{number}" for number, (page, _) in enumerate(shown)]


ALONE = [(page, block) for page, block in SHOWN if page.name not in IN_ORDER and "--scheduler" not in block]


@pytest.mark.parametrize(("page", "block"), ALONE, ids=names(ALONE))
@pytest.mark.slow
def test_commands(page: Path, block: str, workplace: Path, cli: Callable[..., Result]) -> None:
    for arguments in commands(block):
        result = cli(*arguments)
        assert result.exit_code == 0, result.output


@pytest.mark.slow
def test_commands_that_build_on_each_other(workplace: Path, cli: Callable[..., Result]) -> None:
    for _, block in (shown for shown in SHOWN if shown[0].name in IN_ORDER):
        for arguments in commands(block):
            result = cli(*arguments)
            assert result.exit_code == 0, result.output
    assert {"published.safetensors", "mine.safetensors", "out_published.tif"} <= {p.name for p in workplace.iterdir()}


@pytest.mark.slow
def test_a_batch_on_a_scheduler(workplace: Path, scheduler: str, cli: Callable[..., Result]) -> None:
    (block,) = (block for _, block in SHOWN if "--scheduler" in block)
    for arguments in commands(block.replace("tcp://127.0.0.1:8786", scheduler)):
        result = cli(*arguments)
        assert result.exit_code == 0, result.output
    with (workplace / "products" / "results.csv").open() as file:
        assert [row["status"] for row in csv.DictReader(file)] == ["made"]


@pytest.mark.parametrize("code", blocks(PAGES[0], "python"))
@pytest.mark.slow
def test_library(code: str, workplace: Path) -> None:
    exec(compile(code, "README.md", "exec"), {})
    assert (workplace / "out.tif").is_file()


@pytest.mark.slow
def test_python_page(workplace: Path) -> None:
    """Its last block is for a process that has not imported torch yet."""
    *shown, last = blocks(CHECKOUT / "docs" / "python.md", "python")
    for code in shown:
        exec(compile(code, "python.md", "exec"), {})
    assert (workplace / "out.tif").is_file()
    subprocess.run([sys.executable, "-c", last], check=True, timeout=60)


def test_a_file_of_options_as_shown(
    workplace: Path, cli: Callable[..., Result], monkeypatch: pytest.MonkeyPatch
) -> None:
    page = CHECKOUT / "docs" / "commands" / "index.md"
    (workplace / "site.toml").write_text(blocks(page, "toml")[0])
    dry = "batch", "inbox", "-o", "products", "--dry-run"
    of_file = json.loads(cli("--config", "site.toml", *dry).stdout)["option_sources"]
    assert {name: one["value"] for name, one in of_file.items()} == {
        "--compress": "zstd",
        "--buffer": "60.0",
        "--find-clouds": "always",
        "--max-failures": "20",
    }
    name, value = re.findall(r"`(CLOUDFREE_BATCH_\w+)=(\w+)`", page.read_text("utf-8"))[0]
    monkeypatch.setenv(name, value)
    assert json.loads(cli(*dry).stdout)["option_sources"] == {"--compress": {"value": value, "from": "environment"}}


@pytest.mark.skipif(not shutil.which("gdal_rasterize"), reason="a program of GDAL's")
@pytest.mark.slow
def test_a_cloud_is_painted_into_the_mask(workplace: Path, cli: Callable[..., Result]) -> None:
    (block,) = blocks(CHECKOUT / "docs" / "troubleshooting.md", "sh")
    paint, again = block.splitlines()
    first = "run", "--planet", "scene.tif", "--sar", "s1.tif", "-o", "out.tif", "--write-mask", "mask.tif"
    assert cli(*first).exit_code == 0
    x, y = ORIGIN[0] + 300, ORIGIN[1] - 300
    corners = [[x, y], [x + 90, y], [x + 90, y - 90], [x, y - 90], [x, y]]
    crs = {"type": "name", "properties": {"name": "urn:ogc:def:crs:EPSG::32633"}}
    feature = {"type": "Feature", "properties": {}, "geometry": {"type": "Polygon", "coordinates": [corners]}}
    drawn = {"type": "FeatureCollection", "crs": crs, "features": [feature]}
    (workplace / "cloud.geojson").write_text(json.dumps(drawn))
    subprocess.run(shlex.split(paint), check=True, timeout=60, capture_output=True)
    *arguments, output = next(commands(again))
    assert cli(*arguments, output, "--qa", "qa.tif").exit_code == 0
    with rasterio.open(workplace / "qa.tif") as dataset:
        assert dataset.read(1)[dataset.index(x + 45, y - 45)] > 1


def test_the_two_commands_exist() -> None:
    makefile = (CHECKOUT / "Makefile").read_text(encoding="utf-8")
    shown = [line for block in blocks(PAGES[0], "console") for line in block.splitlines() if line.startswith("$ make")]
    assert len(shown) == 2
    for line in shown:
        assert f"\n{line.split()[2]}:" in makefile


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_links_between_pages_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", page.read_text(encoding="utf-8")):
        assert "://" in target or (page.parent / target).exists(), target


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_shells_complete_commands_and_choices(shell: str) -> None:
    source = CliRunner().invoke(main, [], env={"_CLOUDFREE_COMPLETE": f"{shell}_source"}, prog_name="cloudfree")
    assert "_CLOUDFREE_COMPLETE" in source.output
    cursor = "2" if shell != "fish" else "au"
    asked = {"COMP_WORDS": "cloudfree run --find-clouds au", "COMP_CWORD": cursor}
    if shell != "fish":
        asked |= {"COMP_WORDS": "cloudfree run --find-clouds au", "COMP_CWORD": "3"}
    asked |= {"_CLOUDFREE_COMPLETE": f"{shell}_complete"}
    completion = CliRunner().invoke(main, [], env=asked, prog_name="cloudfree")
    assert "auto" in completion.output


def test_the_container_is_built_of_what_is_there() -> None:
    """As text: nobody builds it here."""
    text = (CHECKOUT / "Dockerfile").read_text(encoding="utf-8")
    for line in re.findall(r"^COPY (?!--)(.*)", text, re.MULTILINE):
        *sources, _ = line.split()
        assert all((CHECKOUT / source).exists() for source in sources), line
        kept = (CHECKOUT / ".dockerignore").read_text(encoding="utf-8").split()
        assert all(f"!{source}" in kept for source in sources), line
    arguments = dict(re.findall(r"^ARG (\w+)=(.*)", text, re.MULTILINE))
    assert f"torch=={arguments['TORCH']}" in (CHECKOUT / "constraints.txt").read_text(encoding="utf-8").split()
    project = tomllib.loads((CHECKOUT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    oldest = project["requires-python"].removeprefix(">=")
    assert [int(n) for n in arguments["PYTHON"].split(".")] >= [int(n) for n in oldest.split(".")]
    assert set(re.findall(r"\[(\w+)\]\"", text)) <= set(project["optional-dependencies"])
    assert "USER cloudfree" in text
    assert 'ENTRYPOINT ["cloudfree"]' in text
