"""How well the offset of Sentinel-1 is recovered, and when it is refused; prints the tables of README.md.

    python benchmarks/coregister/run.py [--data ../shared/data] [--only pairs|unrelated|field|scene] [--side PX]
                                        [--draws 3]

Real tiles of 224 to 512 pixels at 10 m are moved by known offsets, so that the truth is the difference to the estimate
on the unmoved tile. The rival is scikit-image's masked phase correlation of intensities.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path

import numpy as np
import rasterio
from affine import Affine
from rasterio.crs import CRS
from scipy.ndimage import gaussian_filter, map_coordinates, shift
from skimage.registration import phase_cross_correlation

from cloudfree import align
from cloudfree.inputs.radar.backscatter import to_db
from cloudfree.scene.coregister import estimate
from cloudfree.scene.offset import Offset
from cloudfree.simulate.clouds import add_clouds, cloud_layer
from cloudfree.simulate.landscape import ground_layout
from cloudfree.simulate.parcels import Canvas
from cloudfree.simulate.surface import with_speckle_db

PIXEL_M = 10.0
MAX_SHIFT_M = 60.0
FEW_CLOUDS = 10  # mean cloud probability in percent up to which a tile counts as clear
UTM33, ORIGIN = CRS.from_epsg(32633), (400_000.0, 5_000_000.0)


@dataclass(frozen=True)
class Tile:
    """A clear optical image (4, H, W) in reflectance and SAR (2, H, W) in dB of one place."""

    name: str
    place: str
    optical: np.ndarray
    sar_db: np.ndarray

    @property
    def has_data(self) -> np.ndarray:
        return self.optical.any(axis=0)


def tiles(data: Path) -> Iterator[Tile]:
    """Every clear tile, once with each of its SAR images."""
    for path in [*sorted(data.glob("pairs/*_optical.tif")), *sorted(data.glob("cloudy_clear/*_clear.tif"))]:
        stem = path.stem.removesuffix("_optical").removesuffix("_clear")
        clouds = path.with_name(f"{stem}_cloudprob.tif")
        if clouds.is_file() and read(clouds).mean() > FEW_CLOUDS:
            continue
        optical = read(path) * np.float32(1e-4)
        if min(optical.shape[1:]) < 224:
            continue
        for kind in ("sar", "asc_sar", "desc_sar"):
            sar = path.with_name(f"{stem}_{kind}.tif")
            if sar.is_file():
                place = "_".join(stem.split("_")[:2]) if stem.startswith("biomassters") else stem
                yield Tile(f"{stem}_{kind}", place, optical, to_db(read(sar), "db"))


def read(path: Path) -> np.ndarray:
    with rasterio.open(path) as dataset:
        return dataset.read().astype(np.float32)


# --- the two methods ---


def ours(optical: np.ndarray, clear: np.ndarray, sar_db: np.ndarray) -> Offset:
    valid = np.isfinite(sar_db).all(axis=0)
    return estimate(optical.astype(np.float32), clear, sar_db, valid, MAX_SHIFT_M / PIXEL_M + 3)


def rival(optical: np.ndarray, clear: np.ndarray, sar_db: np.ndarray) -> np.ndarray:
    """Rows down and columns right by which the SAR image has to move, of at most a tenth of the tile."""
    valid = np.isfinite(sar_db).all(axis=0)
    brightness, backscatter = optical.mean(axis=0), np.nan_to_num(sar_db[0])
    shift_px, _, _ = phase_cross_correlation(
        brightness, backscatter, reference_mask=clear, moving_mask=valid, overlap_ratio=0.9
    )
    return np.asarray(shift_px)


# --- real tiles, moved ---


@dataclass
class Score:
    """Errors in metres of accepted cases and of the rival's, and the confidences of all."""

    cases: int = 0
    errors: list[float] = field(default_factory=list)
    rival_errors: list[float] = field(default_factory=list)
    confidences: list[tuple[float, float]] = field(default_factory=list)

    def row(self, name: str) -> str:
        mine, other = np.array(self.errors), np.array(self.rival_errors)
        return (
            f"| {name} | {self.cases} | {len(mine)} ({100 * len(mine) / self.cases:.0f} %) | {np.median(mine):.1f} | "
            f"{np.percentile(mine, 90):.1f} | {(mine > PIXEL_M).sum()} | {np.median(other):.0f} | "
            f"{np.percentile(other, 90):.0f} |"
        )


def pairs(data: Path, draws: int) -> None:
    print("| simulated cloud | cases | accepted | median m | 90th pct m | over 10 m | rival median m | rival 90th |")
    print("| --- | --- | --- | --- | --- | --- | --- | --- |")
    everything = Score()
    for cover in (0.0, 0.3, 0.6):
        score = Score()
        for number, tile in enumerate(tiles(data)):
            still, still_rival = (method(tile.optical, tile.has_data, tile.sar_db) for method in (ours, rival))
            if not still.accepted and cover == 0.0:
                print(f"unmoved, {tile.name} is refused: {still.reason}", file=sys.stderr)
            for draw in range(draws):
                one_case(tile, still, still_rival, cover, np.random.default_rng([number, draw]), score)
        print(score.row(f"{100 * cover:.0f} %"), flush=True)
        for name in ("errors", "rival_errors", "confidences"):
            getattr(everything, name).extend(getattr(score, name))
        everything.cases += score.cases
    print(everything.row("all"))
    print_calibration(everything)


def one_case(
    tile: Tile, still: Offset, still_rival: np.ndarray, cover: float, rng: np.random.Generator, score: Score
) -> None:
    moved_px = rng.uniform(-MAX_SHIFT_M, MAX_SHIFT_M, 2) / PIXEL_M
    optical, clear = tile.optical, tile.has_data
    if cover:
        sky = cloud_layer(rng, *clear.shape, pixel_size_m=PIXEL_M, cover=cover)
        optical, clear = add_clouds(optical, sky), clear & ~sky.mask
    sar_db = moved(tile.sar_db, moved_px)
    offset = ours(optical, clear, sar_db)
    score.cases += 1
    # The reference is an estimate too: where that was refused there is nothing to measure against.
    error = PIXEL_M * float(np.hypot(*(np.subtract(offset.shift_yx_px, still.shift_yx_px) + moved_px)))
    if still.accepted:
        score.confidences.append((offset.confidence, error))
        score.errors += [error] if offset.accepted else []
    score.rival_errors.append(PIXEL_M * float(np.hypot(*(rival(optical, clear, sar_db) - still_rival + moved_px))))


def moved(sar_db: np.ndarray, yx_px: np.ndarray) -> np.ndarray:
    """The image with its content moved; NaN where that leaves nothing."""
    known = np.isfinite(sar_db)
    values = [shift(np.where(k, b, -15), yx_px, order=1, cval=-15) for b, k in zip(sar_db, known, strict=True)]
    whole = [shift(k.astype(np.float32), yx_px, order=1, cval=0) > 0.99 for k in known]
    return np.where(whole, values, np.nan).astype(np.float32)


def print_calibration(score: Score) -> None:
    print("\n| confidence | cases | within 10 m |")
    print("| --- | --- | --- |")
    confidence, error = np.array(score.confidences).T
    edges = (0.0, 0.5, 0.9, 0.99, 0.9995, 1.01)
    for low, high in pairwise(edges):
        chosen = (confidence >= low) & (confidence < high)
        share = f"{100 * (error[chosen] <= PIXEL_M).mean():.0f} %" if chosen.any() else ""
        print(f"| {low:g} to {min(high, 1):g} | {chosen.sum()} | {share} |")


# --- nothing to be found ---


def unrelated(data: Path) -> None:
    every = list(tiles(data))
    rng = np.random.default_rng(0)
    groups: dict[str, list[Offset]] = {"two places": [], "one place, half a tile apart": [], "nothing but noise": []}
    for a in every:
        for b in every:
            if a.place != b.place and a.optical.shape == b.optical.shape:
                groups["two places"].append(ours(a.optical, a.has_data, b.sar_db))
        for half in ((0, 1), (1, 0), (1, 1)):
            away = [axis * length // 2 for axis, length in zip(half, a.has_data.shape, strict=True)]
            groups["one place, half a tile apart"].append(
                ours(a.optical, a.has_data, np.roll(a.sar_db, away, axis=(1, 2)))
            )
        flat = np.clip(rng.normal(0.05, 0.002, a.optical.shape), 0, 1)
        groups["nothing but noise"].append(ours(flat, a.has_data, a.sar_db))
    print("| unrelated pairs | cases | accepted | highest confidence |")
    print("| --- | --- | --- | --- |")
    for name, offsets in groups.items():
        accepted, top = sum(o.accepted for o in offsets), max(o.confidence for o in offsets)
        print(
            f"| {name} | {len(offsets)} | {accepted} ({100 * accepted / len(offsets):.2f} %) | {top:.5f} |", flush=True
        )


# --- a field, and a whole scene, through files ---


def scene_with_field(folder: Path, side: int) -> Path:
    """A simulated scene at 3 m, and its SAR at 10 m that has to move by 20 m + 7.5 m u east and 11 m south."""
    rng = np.random.default_rng(0)
    ground = ground_layout(Canvas.blank(rng, side, side, 3.0))
    place = {"crs": UTM33, "transform": Affine(3, 0, ORIGIN[0], 0, -3, ORIGIN[1])}
    dn = np.clip(ground.reflectance() * 1e4, 1, 1e4).astype(np.uint16)
    write(folder / "scene.tif", dn, nodata=0, **place)
    size = side * 3 // 10 + 40
    grid = Affine(10, 0, ORIGIN[0] - 203, 0, -10, ORIGIN[1] + 197)
    x, y = grid @ tuple(np.meshgrid(np.arange(size) + 0.5, np.arange(size) + 0.5))
    east, north = truth_m(x, side)
    col, row = (x + east - ORIGIN[0]) / 3 - 0.5, (ORIGIN[1] - y - north) / 3 - 0.5
    power = [gaussian_filter(10 ** (band / 10), 1.0) for band in ground.backscatter_db()]
    mean_db = [10 * np.log10(map_coordinates(band, [row, col], order=1, mode="nearest")) for band in power]
    sar_db = with_speckle_db(rng, np.stack(mean_db).astype(np.float32), PIXEL_M)
    sar_db[:, (row < 0) | (col < 0) | (row > side - 1) | (col > side - 1)] = np.nan
    write(folder / "s1.tif", sar_db, crs=UTM33, transform=grid)
    return folder


def truth_m(x: np.ndarray, side: int) -> tuple[np.ndarray, np.ndarray]:
    u = 2 * (x - ORIGIN[0]) / (3 * side) - 1
    return 20 + 7.5 * u, np.full_like(u, -11.0)


def write(path: Path, values: np.ndarray, **profile: object) -> None:
    count, height, width = values.shape
    options = {"driver": "GTiff", "dtype": values.dtype, "count": count, "height": height, "width": width}
    with rasterio.open(path, "w", **options, **profile) as dataset:
        dataset.write(values)
        if count == 2:
            dataset.descriptions = ("VV", "VH")


def recovered_field(side: int) -> None:
    with tempfile.TemporaryDirectory() as name:
        result = alignment(scene_with_field(Path(name), side))
    x, y = np.meshgrid(np.linspace(0, 3 * side, 200) + ORIGIN[0], ORIGIN[1] - np.linspace(0, 3 * side, 200))
    east, north = result.displacement.at(x, y)
    true_east, true_north = truth_m(x, side)
    error = np.sqrt(((east - true_east) ** 2 + (north - true_north) ** 2).mean())
    bias = np.hypot((east - true_east).mean(), (north - true_north).mean())
    print(f"| simulated {side}x{side} at 3 m, displacement 12.5..27.5 m east, 11 m south | measured |")
    print("| --- | --- |")
    print(f"| RMSE of the field | {error:.2f} m (of which common to the whole scene: {bias:.2f} m) |")
    print(f"| terms of the polynomial | {len(result.displacement.east_m)} |")
    print(f"| windows | {result.offset.windows_used} of {result.offset.windows} |")


def alignment(folder: Path) -> align.Alignment:
    """The offset of the radar in a folder."""
    return align.find(align.AlignOptions.of(folder / "scene.tif", folder / "s1.tif", output=folder / "out.tif"))


def whole_scene(side: int) -> None:
    """Files to offset in a process of its own, so that the peak is its own."""
    sys.path.insert(0, str(Path(__file__).parents[1]))
    from scene import write_sar, write_scene  # noqa: PLC0415

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_scene(folder / "scene.tif", side)
        write_sar(folder / "s1.tif", side)
        done = subprocess.run(
            [sys.executable, __file__, "--measure", name], check=True, stdout=subprocess.PIPE, text=True
        )
    measured = json.loads(done.stdout)
    print(f"| {side**2 / 1e6:.0f} megapixels, SAR in the next UTM zone | measured |")
    print("| --- | --- |")
    print(f"| files to offset | {measured['seconds']:.1f} s, {measured['cpu_seconds']:.1f} s of CPU |")
    print(f"| peak memory of the process | {measured['peak_mb']:.0f} MB |")


def measure(folder: Path) -> None:
    started = time.perf_counter()
    alignment(folder)
    used = resource.getrusage(resource.RUSAGE_SELF)
    seconds, cpu = time.perf_counter() - started, used.ru_utime + used.ru_stime
    print(json.dumps({"seconds": seconds, "cpu_seconds": cpu, "peak_mb": used.ru_maxrss / 1e3}))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, default=Path(__file__).resolve().parents[3] / "shared" / "data")
    parser.add_argument("--only", choices=["pairs", "unrelated", "field", "scene"])
    parser.add_argument("--side", type=int, help="of simulated scenes, in pixels: 4000, of a whole one 10000")
    parser.add_argument("--draws", type=int, default=3, help="offsets and skies for each tile")
    parser.add_argument("--measure", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.measure:
        measure(arguments.measure)
        return
    parts = {
        "pairs": lambda: pairs(arguments.data, arguments.draws),
        "unrelated": lambda: unrelated(arguments.data),
        "field": lambda: recovered_field(arguments.side or 4000),
        "scene": lambda: whole_scene(arguments.side or 10_000),
    }
    for name, part in parts.items():
        if arguments.only in (None, name):
            part()
            print(flush=True)


if __name__ == "__main__":
    main()
