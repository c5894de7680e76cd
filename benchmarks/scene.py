"""A whole scene, files to validated COG, beside what GDAL alone takes for its part: time, processor time and memory.

    python benchmarks/scene.py [--side 10000] [--mask] [--find-clouds auto] [--repeat 1] [--network-side 0] [--output F]
    python benchmarks/scene.py --default-weights [--side 1000 3162 10000]

Makes a scene and its Sentinel-1, and with `--mask` clouds over a third of it; without, clouds are found in it, unless
`--find-clouds never`. In turn, as often as told: Python imports torch, which no run does without; GDAL warps the SAR
onto the scene's grid and writes the scene with its COG driver, with all threads and our options; then `cloudfree run`
with the identity model, in a process of its own. With `--network-side`, the default weights run on a scene of that size
too. Files go to a temporary folder, or to the one given.

`--default-weights` measures what a user waits for: `cloudfree run` with all defaults on the ground of the sample,
mirrored to each size, with clouds under a mask of a third, alone and with an image of another date.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import rasterio
import rasterio.shutil
from affine import Affine
from rasterio.crs import CRS
from rasterio.warp import Resampling, reproject, transform_bounds
from rasterio.windows import Window
from scipy import ndimage

from cloudfree.demo import TRUTH, sample_folder

T = TypeVar("T")
UTM33, ORIGIN = CRS.from_epsg(32633), (400_000.0, 5_000_000.0)
STRIP = 512
_SAMPLE_WINDOW, _CLOUD_DN = Window(120, 120, 400, 400), 6500  # within the data of the sample
_BLOB_PX, _COVER = 40, 0.35  # of clouds, in pixels of a sixteenth of the scene's resolution


def write_scene(path: Path, side: int) -> None:
    """Land with texture, as hard to compress as a real scene, nodata in two corners."""
    rng = np.random.default_rng(0)
    profile = {"driver": "GTiff", "width": side, "height": side, "count": 4, "dtype": "uint16", "nodata": 0}
    place = {"crs": UTM33, "transform": Affine(3, 0, ORIGIN[0], 0, -3, ORIGIN[1])}
    layout = {"tiled": True, "blockxsize": 512, "blockysize": 512, "compress": "lzw", "BIGTIFF": "IF_SAFER"}
    x = np.arange(side)
    with rasterio.open(path, "w", **profile, **place, **layout) as dataset:
        for row in range(0, side, STRIP):
            y = np.arange(row, min(row + STRIP, side))[:, None]
            ground = 1500 + 800 * np.sin(x / 60) * np.cos(y / 45)
            dn = (ground + rng.integers(0, 60, (4, len(y), side))).astype(np.uint16)
            dn[:, (x + y < side // 4) | (x + y > 7 * side // 4)] = 0
            dataset.write(dn, window=Window(0, row, side, len(y)))


def write_clouds(path: Path, side: int, seed: int) -> None:
    """A mask of blobs."""
    mask = (coarse_opacity(side, seed) > 0).astype(np.uint8).repeat(16, 0).repeat(16, 1)[:side, :side]
    with rasterio.open(path, "w", dtype="uint8", count=1, **place(side)) as dataset:
        dataset.write(mask, 1)


def coarse_opacity(side: int, seed: int) -> np.ndarray:
    """How opaque blobs of cloud are, 0 to 1, on pixels of sixteen."""
    small = -(-side // 16)
    noise = ndimage.gaussian_filter(np.random.default_rng(seed).normal(size=(small, small)), _BLOB_PX / 2)
    begins, thick = np.quantile(noise, (1 - _COVER, 1 - _COVER / 3))
    return np.clip((noise - begins) / (thick - begins), 0, 1).astype(np.float32)


def write_sample_ground(path: Path, side: int, clouded: bool, gain: float) -> None:
    """The ground of the sample, mirrored again and again, with or without clouds over it, times a gain."""
    with rasterio.open(sample_folder() / TRUTH) as dataset:
        ground = dataset.read(window=_SAMPLE_WINDOW).astype(np.float32) * np.float32(gain)
    mirrored = np.concatenate([ground, ground[:, ::-1]], axis=1)
    mirrored = np.concatenate([mirrored, mirrored[:, :, ::-1]], axis=2)
    opacity = coarse_opacity(side, 0)[:, :, None].repeat(16, 1).reshape(-(-side // 16), -1)[:, :side]
    cols = np.arange(side) % mirrored.shape[2]
    with rasterio.open(path, "w", dtype="uint16", count=4, nodata=0, **place(side)) as dataset:
        for row in range(0, side, STRIP):
            rows = np.arange(row, min(row + STRIP, side))
            lies = mirrored[:, rows[:, None] % mirrored.shape[1], cols]
            share = opacity[rows // 16] if clouded else np.float32(0)
            dataset.write((lies + (_CLOUD_DN - lies) * share).astype(np.uint16), window=Window(0, row, side, len(rows)))


def place(side: int) -> dict[str, object]:
    """The profile of a raster on the grid of a scene."""
    layout = {"tiled": True, "blockxsize": 512, "blockysize": 512, "compress": "lzw", "driver": "GTiff"}
    transform = Affine(3, 0, ORIGIN[0], 0, -3, ORIGIN[1])
    return {"width": side, "height": side, "crs": UTM33, "transform": transform, **layout}


def write_sar(path: Path, side: int) -> None:
    """Linear power at 10 m in the neighbouring UTM zone, with a margin."""
    zone = CRS.from_epsg(32632)
    outline = transform_bounds(UTM33, zone, ORIGIN[0], ORIGIN[1] - 3 * side, ORIGIN[0] + 3 * side, ORIGIN[1])
    width, height = (int((outline[i + 2] - outline[i]) / 10) + 20 for i in (0, 1))
    transform = Affine(10, 0, outline[0] - 100, 0, -10, outline[3] + 100)
    profile = {"driver": "GTiff", "width": width, "height": height, "count": 2, "dtype": "float32", "tiled": True}
    power = 0.05 * np.random.default_rng(1).gamma(4.4, 1 / 4.4, (2, height, width)).astype(np.float32)
    with rasterio.open(path, "w", **profile, crs=zone, transform=transform) as dataset:
        dataset.write(power * np.array([1, 0.2], np.float32)[:, None, None])
        dataset.descriptions = ("VV", "VH")


def gdal_warp(scene: Path, sar: Path, out: Path) -> None:
    """What gdalwarp does: both bands, bilinear, onto the grid of the scene, all threads."""
    with rasterio.open(scene) as grid, rasterio.open(sar) as source:
        place = {"width": grid.width, "height": grid.height, "crs": grid.crs, "transform": grid.transform}
        tiled = {"tiled": True, "blockxsize": 512, "blockysize": 512}
        with rasterio.open(out, "w", driver="GTiff", count=2, dtype="float32", **place, **tiled) as target:
            bands = rasterio.band(source, [1, 2]), rasterio.band(target, [1, 2])
            reproject(*bands, resampling=Resampling.bilinear, num_threads=os.cpu_count(), warp_mem_limit=256)


def gdal_cog(scene: Path, out: Path) -> None:
    """The scene through GDAL's COG driver, packed as ours and with the same overviews, all threads."""
    packing = {
        "COMPRESS": "DEFLATE",
        "OVERVIEW_COMPRESS": "DEFLATE",
        "LEVEL": "1",
        "PREDICTOR": "YES",
        "BLOCKSIZE": "512",
    }
    options = {"OVERVIEW_RESAMPLING": "AVERAGE", "BIGTIFF": "IF_SAFER", "NUM_THREADS": "ALL_CPUS"}
    rasterio.shutil.copy(scene, out, driver="COG", **packing, **options)


def timed(work: Callable[..., None], *paths: Path) -> tuple[float, float]:
    """Seconds by the clock and of the processor."""
    wall, busy = time.perf_counter(), time.process_time()
    with rasterio.Env(GDAL_NUM_THREADS="ALL_CPUS"):
        work(*paths)
    return time.perf_counter() - wall, time.process_time() - busy


def elsewhere(work: Callable[..., T], *arguments: Any) -> T:
    """Do it in a process of its own: a child's peak memory counts what its parent held when it was born."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        return pool.submit(work, *arguments).result()


def cloudfree_run(folder: Path, *options: str) -> tuple[float, float, float, dict[str, float]]:
    """Seconds by the clock and of the processor, peak resident MB, and what each stage was waited for."""
    scene, sar, out, mask = (folder / name for name in ("scene.tif", "s1.tif", "out.tif", "mask.tif"))
    files = ["--planet", scene, "--sar", sar, "-o", out, "--overwrite", *(["--mask", mask] if mask.exists() else [])]
    command = [sys.executable, "-m", "cloudfree", "run", *files, *options, "--json"]
    started = time.perf_counter()
    process = subprocess.Popen(list(map(str, command)), stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    with process.stdout:
        report = json.load(process.stdout)
    _, status, usage = os.wait4(process.pid, 0)
    wall = time.perf_counter() - started
    process.returncode = os.waitstatus_to_exitcode(status)
    assert process.returncode == 0
    peak_mb = usage.ru_maxrss / (1e6 if sys.platform == "darwin" else 1e3)  # bytes there, kilobytes elsewhere
    return wall, usage.ru_utime + usage.ru_stime, peak_mb, report["seconds"]


def importing_torch() -> float:
    """Seconds that a process takes which does nothing else."""
    started = time.perf_counter()
    subprocess.run([sys.executable, "-c", "import torch"], check=True)
    return time.perf_counter() - started


def against_others(folder: Path, side: int, *options: str) -> tuple[float, float]:
    """One row of the table for each step; our time against GDAL's, and against that of importing torch."""
    scene, sar, out = folder / "scene.tif", folder / "s1.tif", folder / "out.tif"
    torch = importing_torch()
    print(f"| import torch | {torch:.2f} | | | |")
    gdal = [elsewhere(timed, gdal_warp, scene, sar, out), elsewhere(timed, gdal_cog, scene, out)]
    wall, busy, peak_mb, seconds = cloudfree_run(folder, "--weights", "identity", *options)
    alone = sum(wall for wall, _ in gdal)
    for name, (clock, processor) in zip(("GDAL alone: warp", "GDAL alone: COG"), gdal, strict=True):
        print(f"| {name} | {clock:.1f} | {processor:.1f} | | |")
    seconds = {"start and plan": wall - seconds.pop("total") + seconds.pop("plan"), **seconds}
    stages = ", ".join(f"{name} {value:.1f}" for name, value in seconds.items() if value >= 0.05)
    print(f"| cloudfree, {side * side / 1e6:.0f} Mpx | {wall:.2f} | {busy:.1f} | {peak_mb:.0f} | {stages}", end="")
    print(f"; {wall / alone:.2f} x GDAL alone |", flush=True)
    return wall / alone, wall / torch


def what_a_user_waits_for(folder: Path, side: int) -> None:
    """Two rows: all defaults, without and with another date."""
    scene, other, mask = (folder / name for name in ("scene.tif", "other.tif", "mask.tif"))
    elsewhere(write_sample_ground, scene, side, True, 1.0)
    elsewhere(write_sample_ground, other, side, False, 1.1)
    elsewhere(write_sar, folder / "s1.tif", side)
    elsewhere(write_clouds, mask, side, 0)
    for words, options in (("", ()), (", another date", ("--reference", str(other)))):
        wall, busy, peak_mb, seconds = cloudfree_run(folder, *options)
        stages = ", ".join(f"{name} {value:.1f}" for name, value in seconds.items() if value >= 0.05)
        print(
            f"| {side * side / 1e6:.0f} Mpx{words} | {wall:.1f} | {busy:.1f} | {peak_mb:.0f} | {stages} |", flush=True
        )


def with_network(folder: Path, side: int) -> None:
    elsewhere(write_scene, folder / "scene.tif", side)
    elsewhere(write_sar, folder / "s1.tif", side)
    wall, busy, peak_mb, seconds = cloudfree_run(folder)
    print(f"| default weights, {side * side / 1e6:.1f} Mpx | {wall:.1f} | {busy:.1f} | {peak_mb:.0f} | ", end="")
    print(f"{side * side / 1e3 / wall:.1f} kpx/s, network alone {side * side / 1e3 / seconds['infer']:.1f} |")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--side", type=int, nargs="+", help="pixels; 10000, or with the default weights three sizes")
    parser.add_argument("--default-weights", action="store_true", help="what a user waits for, and nothing else")
    parser.add_argument("--mask", action="store_true")
    parser.add_argument("--find-clouds", default="auto", help="as the command has it")
    parser.add_argument("--repeat", type=int, default=1)
    parser.add_argument("--network-side", type=int, default=0, help="pixels; 0 leaves the network out")
    parser.add_argument("--output", type=Path, help="an existing folder, in which the files stay")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = arguments.output or Path(name)
        print("| step | seconds | processor seconds | peak MB | waited for |")
        print("| --- | --- | --- | --- | --- |", flush=True)
        if arguments.default_weights:
            for side in arguments.side or (1000, 3162, 10_000):
                what_a_user_waits_for(folder, side)
            return
        (side,) = arguments.side or (10_000,)
        elsewhere(write_scene, folder / "scene.tif", side)
        elsewhere(write_sar, folder / "s1.tif", side)
        if arguments.mask:
            elsewhere(write_clouds, folder / "mask.tif", side, 0)
        options = ("--find-clouds", arguments.find_clouds)
        ratios = [against_others(folder, side, *options) for _ in range(arguments.repeat)]
        if arguments.network_side:
            with_network(folder, arguments.network_side)
    gdal, torch = (statistics.median(of) for of in zip(*ratios, strict=True))
    print(f"\n{gdal:.2f} times GDAL alone, {torch:.2f} times import torch: medians of {len(ratios)}", end="")
    print(f", on {os.cpu_count()} cores")


if __name__ == "__main__":
    main()
