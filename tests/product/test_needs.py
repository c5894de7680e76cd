"""Disk and memory are checked by each command before pixels are read, and nothing is left behind."""

from collections.abc import Callable
from pathlib import Path

import pytest
import rasterio
from affine import Affine
from click.testing import Result
from support import ORIGIN, UTM33

from cloudfree.product.kinds import OUTPUT, QA
from cloudfree.product.needs import making_bytes, peak_memory_gb, product_bytes

Cli = Callable[..., Result]
Make = Callable[..., Path]


@pytest.fixture
def giant(tmp_path: Path) -> Path:
    """A scene of a few kilobytes, of as many pixels as are allowed at all."""
    path = tmp_path / "giant.tif"
    place = {"crs": UTM33, "transform": Affine(3, 0, ORIGIN[0], 0, -3, ORIGIN[1])}
    tiles = {"tiled": True, "blockxsize": 8192, "blockysize": 8192, "SPARSE_OK": "TRUE", "BIGTIFF": "YES"}
    with rasterio.open(path, "w", "GTiff", 140_000, 140_000, 4, dtype="uint16", nodata=0, **place, **tiles):
        pass
    return path


@pytest.mark.attack(5)
@pytest.mark.parametrize("command", ["run", "run --dry-run", "align"])
@pytest.mark.parametrize("short_of", ["disk", "memory"])
def test_a_scene_of_a_few_bytes_that_stand_for_very_many(
    cli: Cli, giant: Path, make_sar: Make, tmp_path: Path, command: str, short_of: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    free = 10**11 if short_of == "disk" else 10**15
    monkeypatch.setattr("shutil.disk_usage", lambda path: type("Usage", (), {"free": free})())
    memory_gb = 5.0 if short_of == "memory" else None
    monkeypatch.setattr("cloudfree.product.needs.available_memory_gb", lambda: memory_gb)
    options = ["--weights", "identity"] if command != "align" else []
    done = cli(
        *command.split(), "--planet", giant, "--sar", make_sar(), "-o", tmp_path / "out.tif", "--quiet", *options
    )
    assert done.exit_code == 1
    assert len(done.stderr.splitlines()) == 1
    assert ("GB free" if short_of == "disk" else "GB of memory") in done.stderr
    assert {path.name for path in tmp_path.iterdir()} == {"giant.tif", "s1.tif"}


def test_only_the_part_that_is_made_takes_disk(
    cli: Cli, make_scene: Make, make_sar: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with rasterio.open(make_scene()) as dataset:
        west, south, east, north = rasterio.warp.transform_bounds(dataset.crs, "EPSG:4326", *dataset.bounds)
    middle = f"{west + 0.4 * (east - west)},{south + 0.4 * (north - south)},{west + 0.5 * (east - west)},{north}"
    monkeypatch.setattr("shutil.disk_usage", lambda path: type("Usage", (), {"free": 100_000})())
    words = "run", "--planet", tmp_path / "scene.tif", "--sar", make_sar(), "-o", tmp_path / "out.tif", "--dry-run"
    assert cli(*words, "--weights", "identity").exit_code == 1
    assert cli(*words, "--weights", "identity", f"--bbox={middle}").exit_code == 0


def test_what_is_needed_is_that_of_all_files() -> None:
    assert product_bytes((300, 400), [OUTPUT, QA]) == pytest.approx(300 * 400 * 10 * 4 / 3)
    assert making_bytes((300, 400), [OUTPUT, QA]) == pytest.approx(300 * 400 * 10 * 7 / 3)
    assert peak_memory_gb((6000, 9000), 6) > peak_memory_gb((6000, 9000), 0) > peak_memory_gb((60, 90), 0)
