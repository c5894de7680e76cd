"""The documents as a site: its pages and links, and that what they say of files, colours and numbers is so."""

from __future__ import annotations

import importlib.util
import json
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest
import rasterio
import yaml
from click.testing import Result
from rasterio.warp import transform_bounds
from support import scene_dn

from cloudfree.bands import SKY_NODATA, Qa, SkyClass
from cloudfree.product import profiles

CHECKOUT = Path(__file__).resolve().parents[1]
DOCS = CHECKOUT / "docs"
SITE = yaml.safe_load((CHECKOUT / "mkdocs.yml").read_text("utf-8"))

Make = Callable[..., Path]


def text_of(name: str) -> str:
    return (DOCS / name).read_text("utf-8")


def blocks(name: str, language: str) -> list[str]:
    return re.findall(rf"^ *```{language}\n(.*?)^ *```", text_of(name), re.DOTALL | re.MULTILINE)


def tool(name: str) -> ModuleType:
    """A script of the documents as a module."""
    spec = importlib.util.spec_from_file_location(name, DOCS / name)
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def pages_in(nav: Any) -> Iterator[str]:
    """The pages of a part of the table of contents."""
    if isinstance(nav, str):
        yield nav
    elif isinstance(nav, dict):
        for part in nav.values():
            yield from pages_in(part)
    else:
        for part in nav:
            yield from pages_in(part)


def test_each_page_is_in_the_table_of_contents() -> None:
    listed = list(pages_in(SITE["nav"]))
    written = {path.relative_to(DOCS).as_posix() for path in DOCS.rglob("*.md")}
    notebooks = {path.relative_to(DOCS).with_suffix(".md").as_posix() for path in DOCS.rglob("*.ipynb")}
    of_repository = {page for page in listed if page.startswith("development/")}
    assert len(listed) == len(set(listed))
    assert set(listed) == written | notebooks | of_repository
    assert all((CHECKOUT / hook).is_file() for hook in SITE["hooks"])


def test_each_command_has_a_page() -> None:
    from cloudfree.cli import main

    assert set(main.commands) == {path.stem for path in (DOCS / "commands").glob("*.md")} - {"index"}
    for name in main.commands:
        assert f"    :prog_name: cloudfree {name}\n" in text_of(f"commands/{name}.md")


def test_the_site_builds_without_a_warning(tmp_path: Path) -> None:
    for package in ("mkdocs", "material", "mkdocstrings", "mkdocs_click"):
        pytest.importorskip(package, reason="make docs installs what the site is built with")
    words = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", tmp_path / "site"]
    done = subprocess.run(list(map(str, words)), cwd=CHECKOUT, check=False, capture_output=True, text=True, timeout=250)
    assert done.returncode == 0, done.stderr
    pages = [path.read_text("utf-8") for path in (tmp_path / "site").rglob("*.html")]
    assert len(pages) > 30
    assert not [page for page in pages if re.search(r'<(?:link|script)[^>]+(?:href|src)="https?:', page)]


def test_what_commands_print_is_written_into_every_page() -> None:
    for path in DOCS.rglob("*.md"):
        assert "```text\n```" not in path.read_text("utf-8"), f"python docs/tools/refresh.py {path}"


def test_the_figure_is_what_its_script_draws() -> None:
    assert text_of("figures/how_it_works.svg") == tool("figures/how_it_works.py").drawing()


@pytest.mark.parametrize("page", ["quality.md", "performance.md"])
def test_numbers_stand_in_a_table_of_the_benchmarks(page: str) -> None:
    """One fact, one place: whoever measures again has to change both."""
    number = re.compile(r"(?<![\d.,])\d+(?:,\d{3})*\.\d+(?![\d.])|(?<![\d.,])\d+,\d{3}(?![\d.,])")
    measured = {n for file in (CHECKOUT / "benchmarks").rglob("*.md") for n in number.findall(file.read_text("utf-8"))}
    told = set(number.findall(text_of(page)))
    assert told
    assert told - measured <= ALSO_TOLD[page]


ALSO_TOLD = {"quality.md": set[str](), "performance.md": {"0.0009", "0.0014"}}
"""Measured, by a script that is not kept: what bfloat16 changes."""


def test_classes_and_colours_are_those_of_the_files() -> None:
    quality, mask = re.split(r"^## The mask that was used", text_of("outputs.md"), flags=re.MULTILINE)
    square, rest = r"(?: <span .*rgb\((\d+, \d+, \d+)\).*</span>)?", r"(\d+) \| ([\w ]+) \|(?:.* \|)?? ([\w, ]+)"
    row = re.compile(rf"^\|{square} \| {rest} \|$", re.MULTILINE)
    for page, classes, profile in ((quality, Qa, profiles.QUALITY), (mask, SkyClass, profiles.SKY)):
        shown = {int(number): (patch, name, colour) for patch, number, name, colour in row.findall(page)}
        nodata = {SKY_NODATA: "nodata"} if classes is SkyClass else {}
        names = {one.value: one.name.lower().replace("_", " ").replace("sar", "radar") for one in classes} | nodata
        assert {number: name for number, (_, name, _) in shown.items()} == names
        for number, (patch, _, colour) in shown.items():
            *rgb, alpha = profile.colormap[number]
            assert colour == (", ".join(map(str, rgb)) if alpha else "transparent")
            assert patch == (colour if alpha else "")


def keys_of(value: Any, path: str = "") -> set[str]:
    """The keys of plain data, with those above them; of the first of a list."""
    if isinstance(value, list):
        return keys_of(value[0], path) if value else set()
    if not isinstance(value, dict):
        return set()
    below = (keys_of(part, f"{path}/{key}") for key, part in value.items())
    return {f"{path}/{key}" for key in value}.union(*below)


@pytest.mark.slow
def test_the_annotated_json_has_keys_of_a_run(make_scene: Make, make_sar: Make, tmp_path: Path, cli: Any) -> None:
    (shown,) = blocks("outputs.md", "jsonc")
    told = json.loads(re.sub(r"//.*", "", shown))
    earlier = (scene_dn(256, 256) // 2 + scene_dn(256, 256, seed=9) // 2).astype(np.uint16)
    scene, other = make_scene(256, 256), make_scene(256, 256, name="last_week.tif", dn=earlier)
    udm2 = np.zeros((8, 256, 256), np.uint8)
    udm2[5, 30:90, 30:90] = 1
    udm2[0] = 1 - udm2[5]
    with rasterio.open(scene) as dataset:
        profile = {**dataset.profile, "count": 8, "dtype": "uint8"}
    with rasterio.open(tmp_path / "scene_udm2.tif", "w", **profile) as dataset:
        dataset.write(udm2)
    files = "--planet", scene, "--sar", make_sar(), "--reference", other, "--qa", tmp_path / "qa.tif"
    more = "--uncertainty", tmp_path / "u.tif", "-o", tmp_path / "out.tif", "--json"
    done: Result = cli("run", *files, *more)
    assert done.exit_code == 0, done.output
    missing = keys_of(told) - keys_of(json.loads(done.stdout))
    assert {key for key in missing if not key.startswith("/scene_model/")} == set()
    assert {Qa[name.upper()] for name in told["pixels"]} == set(Qa)
    if shutil.which("gdalinfo"):
        printed = subprocess.run(["gdalinfo", tmp_path / "out.tif"], capture_output=True, text=True, check=True).stdout
        (bands,) = (block for block in blocks("outputs.md", "text") if block.startswith("Band 1"))
        lines = {line for line in bands.splitlines() if "Overviews" not in line and "Band 4" not in line}
        assert {re.sub(r"\d+x\d+", "512x512", line) for line in printed.splitlines()} >= lines


@pytest.mark.slow
def test_what_commands_print_of_the_sample_is_what_is_shown() -> None:
    """Of commands that print no times; the others are written by the same script."""
    refresh = tool("tools/refresh.py")
    for page in ("commands/info.md", "commands/weights.md"):
        (command, *_), (shown, *_) = blocks(page, "console"), blocks(page, "text")
        with refresh.workplace() as folder:
            assert refresh.printed(command, folder) == shown.rstrip("\n")


@pytest.mark.parametrize("name", ["ndvi.ipynb"])
@pytest.mark.slow
def test_the_notebook_runs_and_is_stored_with_its_outputs(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    cells = [c for c in json.loads(text_of(f"notebooks/{name}"))["cells"] if c["cell_type"] == "code"]
    refresh, names = tool("tools/refresh.py"), dict[str, Any]()
    printed = [refresh.run_cell("".join(cell["source"]), names)[0] for cell in cells]
    assert names["error"][names["known"]].mean() < 0.01 < names["error"].mean()
    with rasterio.open("ndvi.tif") as dataset:
        assert (dataset.read(1, masked=True).count()) == names["known"].sum()
    stored = ["".join(o.get("text", "")) for cell in cells for o in cell["outputs"] if o["output_type"] == "stream"]
    told = [re.sub(r"\d", "0", text) for text in stored]
    assert [re.sub(r"\d", "0", text) for text in printed if text] == told


def test_paths_of_operators_are_made_by_the_lines_above_them() -> None:
    install, *_ = blocks("operators.md", "bash")
    (script,), (cron, *_) = blocks("operators.md", "sh"), [b for b in blocks("operators.md", "text") if "* * *" in b]
    service, timer = blocks("operators.md", "ini")
    made = {path for line in install.splitlines() for path in re.findall(r"/(?:opt|srv)/\S+", line)}
    used = {path for text in (script, cron, service) for path in re.findall(r"/(?:opt|srv)/[\w./]+", text)}
    assert used <= made | {"/opt/cloudfree/bin"}
    assert f"User={re.findall(r'useradd .* (.+)', install)[0]}" in service
    assert "OnCalendar=" in timer


@pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="no systemd here")
def test_units_are_sound(tmp_path: Path) -> None:
    service, timer = blocks("operators.md", "ini")
    (tmp_path / "cloudfree.service").write_text(re.sub(r"ExecStart=\S+", "ExecStart=/bin/true", service))
    (tmp_path / "cloudfree.timer").write_text(timer)
    words = ["systemd-analyze", "verify", "cloudfree.service", "cloudfree.timer"]
    done = subprocess.run(words, cwd=tmp_path, check=False, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr


def test_addresses_of_the_cluster_agree() -> None:
    page = text_of("cluster.md")
    assert len(set(re.findall(r"tcp://\S+(?<!\.)", "\n".join(blocks("cluster.md", "(?:sh|console)"))))) == 1
    assert not re.search(r"\b10\.\d+\.\d+\.\d+", page)


def test_code_for_radar_of_other_services_is_python() -> None:
    shown = blocks("sentinel_1.md", "python")
    assert len(shown) == 4
    for code in shown:
        compile(code, "sentinel_1.md", "exec")


def test_radar_is_cut_from_a_catalogue_as_shown(
    make_scene: Make, make_sar: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cli: Any
) -> None:
    """With a catalogue of our own in the place of Planetary Computer's, which is not reached from here."""
    area_code, code, *_ = blocks("sentinel_1.md", "python")
    make_scene(128, 128)
    identifier = "S1A_IW_GRDH_1SDV_20240612T052012_20240612T052037_054290_069B2C_rtc"
    with rasterio.open(make_sar()) as dataset:
        assets, profile = {}, {**dataset.profile, "count": 1}
        for number, band in enumerate(("vv", "vh"), 1):
            assets[band] = SimpleNamespace(href=str(tmp_path / f"iw-{band}.rtc.tiff"))
            with rasterio.open(assets[band].href, "w", **profile) as target:
                target.write(10 ** (dataset.read(number) / 10), 1)
    item = SimpleNamespace(
        id=identifier,
        datetime=datetime(2024, 6, 12, 5, 20, tzinfo=UTC),
        assets=assets,
        properties={"sat:orbit_state": "descending", "sat:relative_orbit": 143},
    )
    found = SimpleNamespace(item_collection=lambda: [item])
    catalogue = SimpleNamespace(search=lambda **_: found)
    client = SimpleNamespace(open=lambda *_, **__: catalogue)
    monkeypatch.setitem(sys.modules, "pystac_client", SimpleNamespace(Client=client))
    monkeypatch.setitem(sys.modules, "planetary_computer", SimpleNamespace(sign_inplace=None))
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {}
    exec(compile(area_code, "sentinel_1.md", "exec"), names)
    exec(compile(code, "sentinel_1.md", "exec"), names)
    written = sorted(tmp_path.glob("S1A*_power_V?.tif"))
    with rasterio.open(written[0]) as dataset:
        west, south, east, north = names["area"]
        bounds = transform_bounds(dataset.crs, "EPSG:4326", *dataset.bounds)
        assert np.allclose(bounds, (west, south, east, north), atol=0.001)
    told = cli("info", *written).output
    assert told.count("units are power: the file's name says power") == 2
    assert told.count("acquired 2024-06-12 05:20 UTC") == 2
    done = cli("run", "--planet", "scene.tif", "--sar", written[1], "--sar", written[0], "-o", "out.tif", "--dry-run")
    assert done.exit_code == 0, done.output
