"""Peak memory and time of a whole scene: 10,000 x 10,000 pixels through the identity model, files to validated COG.

    python benchmarks/memory.py [--side 10000] [--weights identity]

The scene is made strip by strip in a temporary folder; the run is a process of its own, so that the peak is its own.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import rasterio
from affine import Affine
from rasterio.crs import CRS
from rasterio.warp import transform_bounds
from rasterio.windows import Window

UTM33, ORIGIN = CRS.from_epsg(32633), (400_000.0, 5_000_000.0)
STRIP = 512


def write_scene(path: Path, side: int) -> None:
    """Land with texture, as hard to compress as a real scene, nodata in two corners."""
    rng = np.random.default_rng(0)
    profile = {"driver": "GTiff", "width": side, "height": side, "count": 4, "dtype": "uint16", "nodata": 0}
    place = {"crs": UTM33, "transform": Affine(3, 0, ORIGIN[0], 0, -3, ORIGIN[1])}
    layout = {"tiled": True, "blockxsize": 512, "blockysize": 512, "compress": "lzw"}
    x = np.arange(side)
    with rasterio.open(path, "w", **profile, **place, **layout) as dataset:
        for row in range(0, side, STRIP):
            y = np.arange(row, min(row + STRIP, side))[:, None]
            ground = 1500 + 800 * np.sin(x / 60) * np.cos(y / 45)
            dn = (ground + rng.integers(0, 60, (4, len(y), side))).astype(np.uint16)
            dn[:, (x + y < side // 4) | (x + y > 7 * side // 4)] = 0
            dataset.write(dn, window=Window(0, row, side, len(y)))


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


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--side", type=int, default=10_000)
    parser.add_argument("--weights", default="identity")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_scene(folder / "scene.tif", arguments.side)
        write_sar(folder / "s1.tif", arguments.side)
        command = [
            sys.executable,
            "-m",
            "cloudfree",
            "run",
            "--planet",
            folder / "scene.tif",
            "--sar",
            folder / "s1.tif",
        ]
        options = ["-o", folder / "out.tif", "--weights", arguments.weights, "--qa", folder / "qa.tif", "--json"]
        done = subprocess.run(list(map(str, command + options)), check=True, stdout=subprocess.PIPE, text=True)
    report = json.loads(done.stdout)
    print(json.dumps({key: report[key] for key in ("pixels", "seconds", "peak_memory_mb", "device", "tile")}, indent=2))


if __name__ == "__main__":
    main()
