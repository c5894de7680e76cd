"""A disk that fills while a product is being made: one line, nothing left over, nothing half made."""

import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import rasterio
from click.testing import Result
from support import scene_dn

from cloudfree.errors import OutputError
from cloudfree.product.pictures import write_png

Cli = Callable[..., Result]
Make = Callable[..., Path]

SIDE = 600
FAST = "--weights", "identity", "--find-clouds", "never", "--edge-limit", 0, "--quiet"


@pytest.fixture(params=[600, 2_600, 3_600, 5_200, 6_000])
def small_disk(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Path]:
    """A file system in memory of so many kB: too little for the work file, the overviews, the copy."""
    yield from mounted(tmp_path, request.param)


@pytest.fixture(autouse=True)
def unforeseen(monkeypatch: pytest.MonkeyPatch) -> None:
    """A disk has room while a run is planned, and fills later."""
    monkeypatch.setattr("shutil.disk_usage", lambda path: type("Usage", (), {"free": 10**12})())


def mounted(tmp_path: Path, size_kb: int) -> Iterator[Path]:
    folder = tmp_path / "disk"
    folder.mkdir()
    words = ["mount", "-t", "tmpfs", "-o", f"size={size_kb}k", "tmpfs", str(folder)]
    if os.name == "nt" or subprocess.run(words, capture_output=True, check=False).returncode:
        pytest.skip("no file system can be mounted here")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def test_a_full_disk_is_one_error_and_leaves_nothing(
    small_disk: Path, make_scene: Make, make_sar: Make, make_mask: Make, cli: Cli
) -> None:
    cloud = np.zeros((SIDE, SIDE))
    cloud[100:200, 100:300] = 1
    scene, sar, mask = make_scene(SIDE, SIDE, dn=scene_dn(SIDE, SIDE)), make_sar(), make_mask(cloud)
    files = "--planet", scene, "--sar", sar, "--mask", mask
    beside = "--qa", small_disk / "qa.tif", "--quicklook", small_disk / "picture.png"
    done = cli("run", *files, "-o", small_disk / "out.tif", *beside, *FAST)
    assert done.exit_code == 1, done.output
    assert isinstance(done.exception, SystemExit)
    error = done.stderr.splitlines()[-1]
    assert error.startswith("Error: ")
    assert "free space" in error
    assert not any(small_disk.iterdir())


@pytest.fixture
def tiny_disk(tmp_path: Path) -> Iterator[Path]:
    yield from mounted(tmp_path, 200)


def test_so_it_is_with_a_picture(tiny_disk: Path) -> None:
    rgb = np.random.default_rng(0).integers(0, 255, (3, 600, 600), dtype=np.uint8)
    with pytest.raises(OutputError, match="free space"):
        write_png(tiny_disk / "picture.png", rgb)


@pytest.mark.slow
def test_a_batch_goes_on_when_there_is_room_again(
    small_disk: Path, make_scene: Make, make_sar: Make, make_mask: Make, cli: Cli
) -> None:
    """Its results, where even these cannot be written, are one line too."""
    cloud = np.zeros((SIDE, SIDE))
    cloud[100:200, 100:300] = 1
    sar, mask = make_sar(), make_mask(cloud)
    names = [make_scene(SIDE, SIDE, name=f"scene{n}.tif", dn=scene_dn(SIDE, SIDE, seed=n)).name for n in range(2)]
    listed = sar.parent / "list.csv"
    listed.write_text("planet,sar,mask\n" + "".join(f"{name},{sar.name},{mask.name}\n" for name in names))
    done = cli("batch", listed, "-o", small_disk / "out", *FAST)
    assert done.exit_code == 1, done.output
    assert isinstance(done.exception, SystemExit)
    for product in small_disk.rglob("*.tif"):
        with rasterio.open(product) as dataset:
            assert dataset.read().any()
    assert not list(small_disk.rglob(".*"))
    subprocess.run(["mount", "-o", "remount,size=60m", str(small_disk)], check=True)
    assert cli("batch", listed, "-o", small_disk / "out", *FAST).exit_code == 0
    assert sorted(path.name for path in (small_disk / "out").glob("*.tif")) == [
        "scene0_cloudfree.tif",
        "scene1_cloudfree.tif",
    ]
