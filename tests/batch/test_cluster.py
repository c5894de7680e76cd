"""The same batch on Dask's workers: real schedulers and workers, as processes on loopback."""

import csv
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from click.testing import Result
from support import scene_dn

from cloudfree.batch import Settings
from cloudfree.batch.cluster import _outcome
from cloudfree.batch.jobs import Job
from cloudfree.inputs.location.source import Source

Cli = Callable[..., Result]
Make = Callable[..., Path]

SIDE, COUNT = 160, 6
FAST = "--weights", "identity", "--find-clouds", "never", "--edge-limit", 0


@pytest.fixture
def scenes(make_scene: Make, make_sar: Make, make_mask: Make, tmp_path: Path) -> Path:
    cloud = np.zeros((SIDE, SIDE))
    cloud[40:90, 40:90] = 1
    sar, mask = make_sar(), make_mask(cloud)
    names = [make_scene(name=f"scene{n}.tif", dn=scene_dn(SIDE, SIDE, seed=n)).name for n in range(COUNT)]
    (tmp_path / "scene1.tif").write_bytes(b"no raster")
    lines = [f"{name},{sar.name},{mask.name}" for name in names]
    (tmp_path / "list.csv").write_text("\n".join(["planet,sar,mask", *lines]) + "\n")
    return tmp_path / "list.csv"


@pytest.fixture
def scheduler() -> Iterator[str]:
    """A scheduler of its own process, on loopback, with its address, that gives a scene to no second worker."""
    port = 20000 + os.getpid() % 20000
    words = [sys.executable, "-m", "distributed.cli.dask_scheduler", "--host", "127.0.0.1", "--port", str(port)]
    environment = os.environ | {"DASK_DISTRIBUTED__SCHEDULER__ALLOWED_FAILURES": "0"}
    process = subprocess.Popen([*words, "--no-dashboard"], stderr=subprocess.DEVNULL, env=environment)
    yield f"tcp://127.0.0.1:{port}"
    process.terminate()
    process.wait(30)


def start_worker(address: str) -> subprocess.Popen[bytes]:
    """Without a nanny, that would start it anew: a worker that dies stays dead."""
    words = [sys.executable, "-m", "distributed.cli.dask_worker", address, "--nthreads", "1", "--memory-limit", "0"]
    return subprocess.Popen([*words, "--no-nanny", "--no-dashboard"], stderr=subprocess.DEVNULL)


def statuses(folder: Path) -> dict[str, str]:
    with (folder / "results.csv").open() as file:
        return {Path(row["planet"]).stem: row["status"] for row in csv.DictReader(file)}


def expected() -> dict[str, str]:
    return {f"scene{n}": "failed" if n == 1 else "made" for n in range(COUNT)}


@pytest.mark.slow
def test_a_local_cluster_makes_what_one_process_makes(cli: Cli, scenes: Path, tmp_path: Path) -> None:
    alone, together = tmp_path / "alone", tmp_path / "together"
    assert cli("batch", scenes, "-o", alone, *FAST).exit_code == 1
    words = [sys.executable, "-m", "cloudfree", "batch", scenes, "-o", together, "--workers", 2, *FAST]
    done = subprocess.run(list(map(str, words)), capture_output=True, text=True, check=False, timeout=240)
    assert done.returncode == 1
    assert "1 of 6 scenes have no product" in done.stderr
    assert "ERROR: scene1.tif: " in done.stderr
    assert statuses(together) == expected()
    for path in alone.glob("*.tif"):
        assert (together / path.name).read_bytes() == path.read_bytes()
    assert not [path for path in together.iterdir() if path.name.startswith(".")]


@pytest.mark.attack(6)
@pytest.mark.slow
def test_a_worker_that_is_killed_costs_nothing(scheduler: str, scenes: Path, tmp_path: Path) -> None:
    out, workers = tmp_path / "made", [start_worker(scheduler), start_worker(scheduler)]
    words = [sys.executable, "-m", "cloudfree", "batch", scenes, "-o", out, "--scheduler", scheduler, *FAST]
    batch = subprocess.Popen(list(map(str, words)), stderr=subprocess.PIPE, text=True)
    try:
        until = time.monotonic() + 120
        while not list(out.glob(".cloudfree-*")) and time.monotonic() < until:
            time.sleep(0.02)
        workers[0].send_signal(signal.SIGKILL)
        _, errors = batch.communicate(timeout=240)
    finally:
        for worker in workers:
            worker.kill()
            worker.wait()
        batch.kill()
    assert batch.returncode == 1, errors
    assert statuses(out) == expected()
    assert len(list(out.glob("*_cloudfree.tif"))) == COUNT - 1
    assert not [path for path in out.iterdir() if path.name.startswith(".")]


def test_a_scheduler_that_is_not_there_is_one_line(
    cli: Cli, scenes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cloudfree.batch.cluster._CONNECT_S", 1)
    done = cli("batch", scenes, "-o", tmp_path / "made", "--scheduler", "tcp://127.0.0.1:9", *FAST)
    assert done.exit_code == 1
    assert "no Dask scheduler answers at tcp://127.0.0.1:9" in done.stderr
    for other in (("--workers", 2), ("--timeout", 5)):
        assert cli("batch", scenes, "-o", tmp_path / "made", "--scheduler", "x", *other, *FAST).exit_code == 2


def test_without_dask_the_command_says_what_to_install(
    cli: Cli, scenes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "distributed", None)
    done = cli("batch", scenes, "-o", tmp_path / "made", "--scheduler", "tcp://127.0.0.1:9", *FAST)
    assert done.exit_code == 1
    assert "pip install cloudfree[dask]" in done.stderr


def test_a_worker_that_cannot_begin_is_not_called_dead() -> None:
    error = ModuleNotFoundError("No module named 'cloudfree'")
    future = SimpleNamespace(status="error", cancelled=lambda: False, exception=lambda: error)
    outcome = _outcome(future, Job(Source.of("a.tif"), (Source.of("b.tif"),), Path("c.tif")), Settings())
    assert (outcome.status, "died" in outcome.error) == ("failed", False)
    assert "No module named 'cloudfree'" in outcome.error
