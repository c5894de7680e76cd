"""A batch under adversity: bad scenes among good ones, killed again and again, several at once; and what it costs.

    python benchmarks/batch.py [--scenes 40] [--bad 3] [--kills 50] [--together 8] [--side 256]

Writes small scenes, some of them no rasters, and runs `cloudfree batch` with the identity model on them: undisturbed;
killed by SIGKILL at random moments and begun anew, until it comes to an end; several at once on one folder; by two
worker processes. Compares the products with those of the undisturbed run, byte for byte, looks for what is left over,
and prints seconds, also of a single run.
"""

from __future__ import annotations

import argparse
import csv
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from affine import Affine

sys.path.append(str(Path(__file__).resolve().parents[1] / "tests"))
from support import ORIGIN, sar_values_db, scene_dn, write_raster

GRID = Affine(3, 0, ORIGIN[0], 0, -3, ORIGIN[1])
RADAR_GRID = Affine(10, 0, ORIGIN[0] - 1004, 0, -10, ORIGIN[1] + 1003)
OPTIONS = "--weights", "identity", "--find-clouds", "never", "--edge-limit", "0", "--qa"


def write_scenes(folder: Path, count: int, bad: int, side: int) -> Path:
    """A list of scenes, every so many of them no raster."""
    cloudy = np.zeros((1, side, side), np.uint8)
    cloudy[:, side // 4 : side // 2, side // 4 : side // 2] = 1
    write_raster(folder / "mask.tif", cloudy, GRID)
    write_raster(folder / "s1.tif", sar_values_db(300, 300), RADAR_GRID, descriptions=("VV", "VH"))
    lines = ["planet,sar,mask"]
    for number in range(count):
        path = folder / f"scene{number}.tif"
        if number % (count // bad) == 1:
            path.write_bytes(b"no raster")
        else:
            write_raster(path, scene_dn(side, side, seed=number), GRID, nodata=0)
        lines.append(f"{path.name},s1.tif,mask.tif")
    listed = folder / "list.csv"
    listed.write_text("\n".join(lines) + "\n")
    return listed


def start(listed: Path, out: Path, *options: object) -> subprocess.Popen[str]:
    words = [sys.executable, "-m", "cloudfree", "batch", listed, "-o", out, *OPTIONS, *options]
    return subprocess.Popen(list(map(str, words)), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)


def timed(listed: Path, out: Path, *options: object) -> float:
    """Seconds of a batch that is left alone."""
    began = time.monotonic()
    start(listed, out, *options).communicate()
    return time.monotonic() - began


def single(folder: Path) -> float:
    """Seconds of `cloudfree run` on the first scene."""
    files = ["--planet", folder / "scene0.tif", "--sar", folder / "s1.tif", "--mask", folder / "mask.tif"]
    words = [sys.executable, "-m", "cloudfree", "run", *files, *OPTIONS, folder / "qa.tif", "-o", folder / "single.tif"]
    began = time.monotonic()
    subprocess.run(list(map(str, words)), check=True, stderr=subprocess.DEVNULL)
    return time.monotonic() - began


def killed(listed: Path, out: Path, kills: int, longest_s: float) -> int:
    """Begin a batch, kill it at a random moment, so often; then let it end. How often it had ended before."""
    rng, ended = random.Random(1), 0
    for _ in range(kills):
        process = start(listed, out)
        try:
            process.wait(rng.uniform(0.5, longest_s))
            ended += 1
        except subprocess.TimeoutExpired:
            process.kill()
        process.communicate()
    timed(listed, out)
    return ended


def comparison(calm: Path, out: Path) -> str:
    """How a folder differs from that of the undisturbed batch."""
    ours, theirs = ({path.name: path.read_bytes() for path in folder.glob("*.tif")} for folder in (out, calm))
    different = [name for name in ours.keys() | theirs.keys() if ours.get(name) != theirs.get(name)]
    left = [path.name for path in out.iterdir() if path.name.startswith(".")]
    with (out / "results.csv").open() as file:
        statuses = [row["status"] for row in csv.DictReader(file)]
    counts = ", ".join(f"{statuses.count(status)} {status}" for status in sorted(set(statuses)))
    return f"{len(ours)} files, {len(different)} different, {len(left)} left over; last results: {counts}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--scenes", type=int, default=40)
    parser.add_argument("--bad", type=int, default=3)
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--together", type=int, default=8)
    parser.add_argument("--side", type=int, default=256)
    parser.add_argument("--workers", type=int, default=2)
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        listed = write_scenes(folder, chosen.scenes, chosen.bad, chosen.side)
        calm = folder / "calm"
        alone_s = timed(listed, calm)
        print(f"undisturbed: {alone_s:.1f} s; {comparison(calm, calm)}", flush=True)
        print(f"a single run: {single(folder):.1f} s", flush=True)
        print(f"again, all skipped: {timed(listed, calm):.1f} s", flush=True)
        ended = killed(listed, folder / "killed", chosen.kills, 1.2 * alone_s / 4)
        print(f"killed {chosen.kills - ended} times: {comparison(calm, folder / 'killed')}", flush=True)
        began = time.monotonic()
        for process in [start(listed, folder / "together", "--wait", 600) for _ in range(chosen.together)]:
            process.communicate()
        seconds = time.monotonic() - began
        print(f"{chosen.together} at once: {seconds:.1f} s; {comparison(calm, folder / 'together')}", flush=True)
        seconds = timed(listed, folder / "workers", "--workers", chosen.workers)
        print(f"{chosen.workers} workers: {seconds:.1f} s; {comparison(calm, folder / 'workers')}", flush=True)


if __name__ == "__main__":
    main()
