"""Damaged files through the commands: every one must be used, or be refused in one line that leaves no file behind.

    python benchmarks/fuzz.py [--minutes 30] [--first-seed 0] [--kinds scene radar ...] [--workers 2]

A seed decides everything: which kind of file is damaged (scene, radar, mask, also as netCDF, UDM2, metadata XML, a
part of a SAFE product, weights, an area, options), and how (`damages.py`): in its bytes, or in its structure. The
command that reads it runs in a process of its own for some seeds at a time, so that one that dies is seen. Prints
counts by outcome, and each seed that came out wrong:

    used      exit 0, and every target is there
    refused   exit 1, one line that begins with "Error: ", and no file; of options exit 2, in Click's words
    wrong     a traceback, another exit status, more lines, or a file left behind
    died      the process was killed by a signal, or hung for two minutes

A seed that came out wrong is repeated with `--first-seed SEED --seeds 1`.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import shutil
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from affine import Affine
from click.testing import CliRunner
from damages import Rng, damage_file, one_of
from rasterio.shutil import copy

from cloudfree.cli import main as cloudfree
from cloudfree.network.weights import weights_folder

sys.path.append(str(Path(__file__).resolve().parents[1] / "tests"))
from safe_support import NAME, SafeRecipe
from support import ORIGIN, sar_values_db, scene_dn, write_raster

SIDE = 96
SEEDS_AT_ONCE, PATIENCE_S = 8, 120
GRID = Affine(3, 0, ORIGIN[0], 0, -3, ORIGIN[1])
STEM = "20240615_101530_84_2481_3B_AnalyticMS"
XML = """<?xml version="1.0" encoding="UTF-8"?>
<ps:EarthObservation xmlns:ps="http://schemas.planet.com/ps/v1/planet_product_metadata_geocorrected_level">
{bands}
</ps:EarthObservation>
"""
BAND = """<ps:bandSpecificMetadata><ps:bandNumber>{n}</ps:bandNumber>
<ps:radiometricScaleFactor>0.01</ps:radiometricScaleFactor>
<ps:reflectanceCoefficient>{k}e-05</ps:reflectanceCoefficient></ps:bandSpecificMetadata>"""


# --- sound files ---

OPTIONS = """buffer = 20
tile = 512
seed = 1
planet-bands = [1, 2, 3, 4]
sar-scale = 1.0
fill = "auto"
compress = "lzw"
max-shift = 60
quiet = false
"""


def write_sound(folder: Path) -> None:
    """A scene with its UDM2 and XML, radar as a raster and as a SAFE product, a mask, and weights."""
    dn = scene_dn(SIDE, SIDE)
    dn[:, 20:50, 20:60] = 9000
    write_raster(folder / f"{STEM}.tif", dn, GRID, nodata=0, tiled=True, blockxsize=32, blockysize=32, compress="lzw")
    bands = "".join(BAND.format(n=n, k=k) for n, k in enumerate((1.9, 2.0, 2.3, 3.5), 1))
    (folder / f"{STEM}_metadata.xml").write_text(XML.format(bands=bands))
    cloudy = np.zeros((SIDE, SIDE), np.uint8)
    cloudy[20:50, 20:60] = 1
    names = "clear", "snow", "shadow", "haze_light", "haze_heavy", "cloud", "confidence", "udm1"
    udm2 = np.stack([1 - cloudy, *[0 * cloudy] * 4, cloudy, 100 + 0 * cloudy, 2 * cloudy])
    write_raster(folder / "20240615_101530_84_2481_3B_udm2.tif", udm2, GRID, descriptions=names)
    write_raster(folder / "mask.tif", cloudy[None], GRID)
    copy(folder / "mask.tif", folder / KINDS["netcdf"], driver="netCDF", FORMAT="NC")
    copy(folder / "mask.tif", folder / KINDS["hdf5"], driver="netCDF", FORMAT="NC4")
    radar = {"descriptions": ("VV", "VH"), "nodata": float("nan"), "compress": "deflate"}
    write_raster(folder / "s1.tif", sar_values_db(SIDE, SIDE), GRID, **radar)
    SafeRecipe().write(folder)
    shutil.copy(weights_folder() / "identity.safetensors", folder)
    west, north = ORIGIN
    corners = [[west + x, north - y] for x, y in ((30, 30), (200, 30), (200, 200), (30, 200), (30, 30))]
    crs = {"type": "name", "properties": {"name": "urn:ogc:def:crs:EPSG::32633"}}
    area = {"type": "Feature", "properties": {}, "crs": crs, "geometry": {"type": "Polygon", "coordinates": [corners]}}
    (folder / "area.geojson").write_text(json.dumps(area))
    (folder / "options.toml").write_text(OPTIONS)


KINDS: dict[str, str] = {
    "scene": f"{STEM}.tif",
    "radar": "s1.tif",
    "mask": "mask.tif",
    "netcdf": "mask.nc",
    "hdf5": "mask4.nc",
    "udm2": "20240615_101530_84_2481_3B_udm2.tif",
    "xml": f"{STEM}_metadata.xml",
    "safe": NAME,
    "weights": "identity.safetensors",
    "area": "area.geojson",
    "options": "options.toml",
}
"""What is damaged, by the name of the file or, of a product, of the folder."""


def arguments(folder: Path, kind: str, whole: bool) -> list[str]:
    """The command that reads a kind of file."""
    scene, out = folder / f"{STEM}.tif", folder / "out" / "out.tif"
    sar = folder / (NAME if kind == "safe" else "s1.tif")
    if kind in ("radar", "safe") and not whole:
        return ["align", "--planet", str(scene), "--sar", str(sar), "-o", str(out)]
    weights = str(folder / "identity.safetensors") if kind == "weights" else "identity"
    mask = ["--mask", str(folder / KINDS[kind])] if kind in ("mask", "netcdf", "hdf5") else []
    area = ["--aoi", str(folder / "area.geojson")] if kind == "area" else []
    config = ["--config", str(folder / "options.toml")] if kind == "options" else []
    run = [*config, "run", "--planet", str(scene), "--sar", str(sar), "-o", str(out), "--weights", weights]
    run += [*mask, *area]
    return [*run, "--find-clouds", "never", "--edge-limit", "0"]


# --- damage ---


def damage(folder: Path, kind: str, rng: Rng) -> None:
    path = folder / KINDS[kind]
    if path.is_dir():
        path = one_of(sorted(part for part in path.rglob("*") if part.is_file()), rng)
    damage_file(path, rng)


# --- outcomes ---


def outcome(sound: Path, seed: int, kinds: list[str]) -> tuple[str, str]:
    """What became of a seed, and, of one that came out wrong, why."""
    rng = np.random.default_rng(seed)
    kind = kinds[int(rng.integers(len(kinds)))]
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary) / "files"
        shutil.copytree(sound, folder)
        (folder / "out").mkdir()
        damage(folder, kind, rng)
        before = set(folder.rglob("*"))
        done = CliRunner().invoke(cloudfree, arguments(folder, kind, bool(rng.random() < 0.3)))
        left = sorted(path.name for path in set(folder.rglob("*")) - before)
    errors = [line for line in done.stderr.splitlines() if not line.startswith(("WARNING", "INFO"))]
    if done.exception and not isinstance(done.exception, SystemExit):
        *_, last = traceback.extract_tb(done.exception.__traceback__)
        return f"{kind} wrong", f"{type(done.exception).__name__} in {last.name}: {str(done.exception)[:150]}"
    if kind == "options" and done.exit_code == 2:
        return (
            ("options refused", "") if not left and errors[-1].startswith("Error: ") else ("options wrong", str(errors))
        )
    if done.exit_code == 0:
        return (f"{kind} used", "") if left == ["out.tif"] else (f"{kind} wrong", f"made {left}")
    if done.exit_code != 1 or len(errors) != 1 or not errors[0].startswith("Error: ") or left:
        return f"{kind} wrong", f"exit {done.exit_code}, {errors[:3]}, left {left}"
    return f"{kind} refused", ""


def _work(sound: Path, seeds: range, kinds: list[str], results: multiprocessing.Queue) -> None:
    for seed in seeds:
        results.put((seed, *outcome(sound, seed, kinds)))


def outcomes(sound: Path, seeds: range, kinds: list[str]) -> Iterator[tuple[int, str, str]]:
    """Of some seeds, in a process of their own; one at which it dies is counted, and the rest goes on without it."""
    first = seeds.start
    while first < seeds.stop:
        results: multiprocessing.Queue = multiprocessing.get_context("fork").Queue()
        worker = multiprocessing.get_context("fork").Process(
            target=_work, args=(sound, range(first, seeds.stop), kinds, results), daemon=True
        )
        worker.start()
        for seed in range(first, seeds.stop):
            result = _next(worker, results)
            first = seed + 1
            if result is None:
                worker.kill()
                yield seed, "died", f"exit status {worker.exitcode}"
                break
            yield result
        worker.join()


def _next(worker: multiprocessing.Process, results: multiprocessing.Queue) -> tuple[int, str, str] | None:
    until = time.monotonic() + PATIENCE_S
    while time.monotonic() < until:
        try:
            return results.get(timeout=0.5)
        except Exception:  # noqa: BLE001 - empty, or torn by the death of the worker
            if not worker.is_alive() and results.empty():
                return None
    return None


def fuzz(
    first_seed: int, wanted: Callable[[int], bool], kinds: list[str], workers: int
) -> tuple[Counter[str], dict[int, str]]:
    """Counts by outcome, and what went wrong by seed, as long as a count of seeds is `wanted`."""
    counts: Counter[str] = Counter()
    wrong: dict[int, str] = {}
    with tempfile.TemporaryDirectory() as temporary, ThreadPoolExecutor(workers) as pool:
        sound = Path(temporary) / "sound"
        sound.mkdir()
        write_sound(sound)
        started = first_seed
        while wanted(sum(counts.values())):
            spans = [range(started + n * SEEDS_AT_ONCE, started + (n + 1) * SEEDS_AT_ONCE) for n in range(workers)]
            started = spans[-1].stop
            for results in pool.map(lambda span: list(outcomes(sound, span, kinds)), spans):
                for seed, what, why in results:
                    counts[what] += 1
                    if why:
                        wrong[seed] = why
                        print(f"seed {seed}: {what}: {why}", flush=True)
    return counts, wrong


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--minutes", type=float, default=30.0)
    parser.add_argument("--seeds", type=int, help="so many, whatever the time")
    parser.add_argument("--first-seed", type=int, default=0)
    parser.add_argument("--kinds", nargs="*", choices=list(KINDS), default=list(KINDS))
    parser.add_argument("--workers", type=int, default=2)
    arguments = parser.parse_args()
    until = time.monotonic() + 60 * arguments.minutes

    def wanted(done: int) -> bool:
        return done < arguments.seeds if arguments.seeds else time.monotonic() < until

    counts, wrong = fuzz(
        arguments.first_seed, wanted, arguments.kinds, 1 if arguments.seeds == 1 else arguments.workers
    )
    print(f"\n{sum(counts.values())} damaged files:")
    for what, count in sorted(counts.items()):
        print(f"{count:7d} {what}")
    sys.exit(1 if wrong else 0)


if __name__ == "__main__":
    main()
