"""Damaged files through the commands: every one must be used, or be refused in one line that leaves no file behind.

    python benchmarks/fuzz.py [--minutes 30] [--first-seed 0] [--kinds scene radar ...] [--workers 2]

A seed decides everything: which kind of file is damaged (scene, radar, mask, UDM2, metadata XML, a part of a SAFE
product, weights), and how: bytes flipped, overwritten, cut out, repeated or cut off, numbers and words of XML replaced,
or a raster whose transform, CRS, band names, nodata or tags are odd. The command that reads it runs in a process of its
own for some seeds at a time, so that one that dies is seen. Prints counts by outcome, and each seed that came out
wrong:

    used      exit 0, and every target is there
    refused   exit 1, one line that begins with "Error: ", and no file
    wrong     a traceback, another exit status, more lines, or a file left behind
    died      the process was killed by a signal, or hung for two minutes

A seed that came out wrong is repeated with `--first-seed SEED --seeds 1`.
"""

from __future__ import annotations

import argparse
import multiprocessing
import re
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
import rasterio
from affine import Affine
from click.testing import CliRunner
from rasterio.crs import CRS

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

Rng = np.random.Generator


# --- sound files ---


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
    radar = {"descriptions": ("VV", "VH"), "nodata": float("nan"), "compress": "deflate"}
    write_raster(folder / "s1.tif", sar_values_db(SIDE, SIDE), GRID, **radar)
    SafeRecipe().write(folder)
    shutil.copy(weights_folder() / "identity.safetensors", folder)


KINDS: dict[str, str] = {
    "scene": f"{STEM}.tif",
    "radar": "s1.tif",
    "mask": "mask.tif",
    "udm2": "20240615_101530_84_2481_3B_udm2.tif",
    "xml": f"{STEM}_metadata.xml",
    "safe": NAME,
    "weights": "identity.safetensors",
}
"""What is damaged, by the name of the file or, of a product, of the folder."""


def arguments(folder: Path, kind: str, whole: bool) -> list[str]:
    """The command that reads a kind of file."""
    scene, out = folder / f"{STEM}.tif", folder / "out" / "out.tif"
    sar = folder / (NAME if kind == "safe" else "s1.tif")
    if kind in ("radar", "safe") and not whole:
        return ["align", "--planet", str(scene), "--sar", str(sar), "-o", str(out)]
    weights = str(folder / "identity.safetensors") if kind == "weights" else "identity"
    mask = ["--mask", str(folder / "mask.tif")] if kind == "mask" else []
    run = ["run", "--planet", str(scene), "--sar", str(sar), "-o", str(out), "--weights", weights, *mask]
    return [*run, "--find-clouds", "never", "--edge-limit", "0"]


# --- damage ---


def damaged(content: bytes, rng: Rng) -> bytes:
    """Bytes with one to eight places of damage, half of them near the beginning, where headers are."""
    data = bytearray(content)
    for _ in range(int(rng.integers(1, 9))):
        reach = min(len(data), 1024) if rng.random() < 0.5 else len(data)
        at, size = int(rng.integers(max(reach, 1))), int(rng.integers(1, 17))
        match int(rng.integers(5)):
            case 0:
                data[at : at + 1] = bytes([data[at] ^ 1 << int(rng.integers(8))]) if data else b""
            case 1:
                data[at : at + size] = rng.bytes(size)
            case 2:
                del data[at : at + size]
            case 3:
                data[at:at] = data[at : at + size]
            case _:
                del data[max(at, 1) :]
    return bytes(data)


WORDS = ["", "nan", "-1", "0", "1e999", "9" * 400, "\x00", "<", "&x;", "É", "VV", "1 2", "2024-13-45T99:99:99"]


def reworded(text: str, rng: Rng) -> str:
    """XML with some of its numbers and words replaced, or elements lost."""
    for _ in range(int(rng.integers(1, 4))):
        matches = list(re.finditer(r">([^<>]+)<|<(\w[^<>]*)>", text))
        match = matches[int(rng.integers(len(matches)))]
        word = WORDS[int(rng.integers(len(WORDS)))]
        text = text[: match.start() + 1] + word + text[match.end() - 1 :]
    return text


def odd_raster(path: Path, rng: Rng) -> None:
    """The same pixels with an odd transform, CRS, name, nodata, scale or tag."""
    with rasterio.open(path) as source:
        profile, pixels, names = dict(source.profile), source.read(), source.descriptions
    odd = [np.nan, np.inf, 0.0, -0.0, 1e300, -1e-300, 1e9]
    number = odd[int(rng.integers(len(odd)))]
    choice = int(rng.integers(7))
    values = list(GRID)[:6]
    if choice == 0:
        values[int(rng.integers(6))] = number
    if choice == 1:
        texts = ["EPSG:4326", "EPSG:3857", "EPSG:32761", "EPSG:4978", "EPSG:2056", 'LOCAL_CS["x",UNIT["m",1]]']
        profile["crs"] = CRS.from_string(texts[int(rng.integers(len(texts)))])
    if choice == 2:
        profile["nodata"] = 0 if not np.isfinite(number) and pixels.dtype.kind == "u" else min(number, 255)
        profile["nodata"] = abs(profile["nodata"]) if pixels.dtype.kind == "u" else profile["nodata"]
    if choice == 3 and pixels.dtype.kind == "f":
        pixels[:, rng.random(pixels.shape[1:]) < 0.5] = number
    if choice == 4:
        pixels = pixels[:, : int(rng.integers(1, 4)), : int(rng.integers(1, 4))]
        profile |= {"height": pixels.shape[1], "width": pixels.shape[2], "tiled": False}
        profile.pop("blockxsize", None)
        profile.pop("blockysize", None)
    profile["transform"] = Affine(*values)
    with rasterio.open(path, "w", **profile) as target:
        target.write(pixels)
        target.descriptions = names if choice != 5 else tuple("É\u202e" * 9 for _ in names)
        if choice == 6:
            target.scales, target.offsets = (number,) * target.count, (number,) * target.count


def damage(folder: Path, kind: str, rng: Rng) -> None:
    path = folder / KINDS[kind]
    if path.is_dir():
        parts = sorted(part for part in path.rglob("*") if part.is_file())
        path = parts[int(rng.integers(len(parts)))]
    if path.suffix == ".tif" and rng.random() < 0.4:
        odd_raster(path, rng)
    elif path.suffix == ".xml" and rng.random() < 0.6:
        path.write_text(reworded(path.read_text(), rng), encoding="utf-8", errors="surrogateescape")
    elif path.suffix == ".tif" and rng.random() < 0.15:
        path.write_bytes(path.read_bytes().replace(b"VV", b"V\xff").replace(b"cloud", b"clo\xe9d"))
    else:
        path.write_bytes(damaged(path.read_bytes(), rng))


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
