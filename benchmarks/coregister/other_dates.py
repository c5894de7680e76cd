"""Where images of other dates are put on a scene, and what that is worth; prints the tables of README.md.

    python benchmarks/coregister/other_dates.py [--data ../shared/data] [--only known years unrelated worth scene]
                                                [--draws 6] [--model] [--side PX]

Everything goes through files, as a run reads them. `known`: a real PlanetScope image is moved by known offsets, under
other light and noise, in its own pixels and in those of Sentinel-2. `worth`: real dates of Sentinel-2 as they lie,
under clouds, and the ground under these predicted from them. The rival is what was done before: the offset that windows
of the survey agree on, unless chance could explain it.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import rasterio
from affine import Affine
from rasterio.crs import CRS
from rasterio.windows import Window
from scipy.ndimage import fourier_shift, gaussian_filter, map_coordinates, uniform_filter

from cloudfree.arrays import Image, Mask
from cloudfree.inputs.files import InputOptions, Inputs, identify
from cloudfree.scene import coregister, other_dates, survey
from cloudfree.scene.model import fit, of_survey
from cloudfree.scene.offset import Offset
from cloudfree.scene.survey import Survey

MAX_SHIFT_M = 60.0
ORIGIN = (400_000.0, 5_000_000.0)
UTM33 = CRS.from_epsg(32633)
QUARTET = "planet/m3r-cr/train/planet_cloudfree_fall/planet_cloudfree_fall_1/planet_cloudfree_fall_1_p_457.tif"
NOISE, HAZE = 0.004, 0.006  # reflectance
WORTH_HEAD = """\
| PSNR under the mask | cases | line: as it is | before | now | worst now | model: as it is | before | now | worst now |
| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |"""

Displaced = Callable[[np.ndarray], tuple[np.ndarray, float]]


@dataclass(frozen=True)
class Case:
    """A scene's truth (4, H, W) in reflectance, what hides it (H, W), and other dates, on grids of their own."""

    name: str
    truth: Image
    hidden: Mask
    pixel_m: float
    others: tuple[tuple[Image, Affine], ...]


def read(path: Path) -> Image:
    with rasterio.open(path) as dataset:
        return dataset.read().astype(np.float32) * np.float32(1e-4)


def square(pixel_m: float, away_m: float = 0.0) -> Affine:
    return Affine(pixel_m, 0, ORIGIN[0] + away_m, 0, -pixel_m, ORIGIN[1] - away_m)


def cloud(shape: tuple[int, int], share: float, seed: int) -> Mask:
    """A mask of clouds of many sizes, in pixels."""
    field = gaussian_filter(np.random.default_rng(seed).normal(size=shape), min(shape) / 16)
    return np.asarray(field > np.quantile(field, 1 - share)) if share else np.zeros(shape, bool)


def opened(folder: Path, case: Case) -> tuple[Inputs, Survey]:
    """The case as files, identified and surveyed; clouds are bright, and radar is noise."""
    rng, shape = np.random.default_rng(0), case.hidden.shape
    write(folder / "scene.tif", np.where(case.hidden, 0.8, case.truth), square(case.pixel_m))
    write(folder / "mask.tif", case.hidden[None].astype(np.uint8), square(case.pixel_m))
    radar_m = [max(1, round(side * case.pixel_m / 10)) for side in shape]
    write(folder / "s1.tif", rng.normal([[[-10]], [[-17]]], 1, (2, *radar_m)).astype(np.float32), square(10.0))
    for number, (image, place) in enumerate(case.others):
        write(folder / f"other_{number}.tif", image, place)
    return identified(folder, len(case.others))


def identified(folder: Path, count: int) -> tuple[Inputs, Survey]:
    """The files of a folder, with that many other dates."""
    scene, sar, mask = (folder / f"{name}.tif" for name in ("scene", "s1", "mask"))
    others = [folder / f"other_{number}.tif" for number in range(count)]
    inputs = identify(InputOptions.of(scene, sar, mask=mask, mask_values="1", references=others))
    with inputs.open() as reader:
        return inputs, survey.take(inputs.scene, reader)


def write(path: Path, image: np.ndarray, place: Affine) -> None:
    if len(image) == 4:
        known = np.isfinite(image).all(axis=0)
        image = np.where(known, np.clip(np.nan_to_num(image) * 1e4, 1, 65535), 0).astype(np.uint16)
    profile = {"driver": "GTiff", "dtype": image.dtype, "count": len(image), "crs": UTM33, "transform": place}
    nodata = 0 if len(image) == 4 else None
    with rasterio.open(path, "w", height=image.shape[1], width=image.shape[2], nodata=nodata, **profile) as dataset:
        dataset.write(image)
        if len(image) == 2:
            dataset.descriptions = ("VV", "VH")


# --- the two ways ---


def by_survey(inputs: Inputs, surveyed: Survey) -> tuple[Offset, ...]:
    """What was done before."""
    clear = np.where(surveyed.clear, inputs.scene.reflectance(surveyed.dn), np.float32(np.nan))
    reach_px = MAX_SHIFT_M / surveyed.grid.pixel_size_m
    return tuple(coregister.between_dates(clear, other, reach_px) for other in surveyed.others)


def now(inputs: Inputs, surveyed: Survey) -> tuple[Offset, ...]:
    return other_dates.offsets(inputs, surveyed, MAX_SHIFT_M)


WAYS = {"before": by_survey, "now": now}


# --- known offsets ---


def moved_case(image: Image, kind: str, share: float, seed: int) -> tuple[Case, np.ndarray]:
    """The image of another date that has to move by metres (east, north), which are returned."""
    rng = np.random.default_rng([seed, int(100 * share), kind == "Sentinel-2"])
    down, right = rng.uniform(-5, 5, 2)  # pixels of 3 m
    reach = 24
    wide = np.pad(image, ((0, 0), (reach, reach), (reach, reach)), mode="reflect")
    wide = np.stack([np.fft.ifft2(fourier_shift(np.fft.fft2(band), (-down, -right))).real for band in wide])
    other, place = wide[:, reach:-reach, reach:-reach], square(3.0)
    if kind == "Sentinel-2":
        other, place = as_sentinel2(other, rng.uniform(0, 10))
    shape = other.shape[1:]
    haze = gaussian_filter(rng.normal(size=shape), min(shape) / 10)
    light = other * rng.uniform(0.7, 1.3, (4, 1, 1)) + 0.01 + HAZE * haze / haze.std()
    other = (light + rng.normal(0, NOISE, other.shape)).astype(np.float32)
    hidden = cloud(image.shape[1:], share, seed)
    return Case(f"{kind} {share} {seed}", image, hidden, 3.0, ((other, place),)), 3 * np.array([right, -down])


def as_sentinel2(image: Image, away_m: float) -> tuple[Image, Affine]:
    """Averaged to pixels of 10 m, whose lattice begins `away_m` from the image's."""
    wide = np.stack([uniform_filter(gaussian_filter(band, 1.0), 3) for band in image])
    side = (image.shape[1] * 3 - 10) // 10
    at = ((np.arange(side) + 0.5) * 10 + away_m) / 3 - 0.5
    where = np.meshgrid(at, at, indexing="ij")
    return np.stack([map_coordinates(band, where, order=1, mode="nearest") for band in wide]), square(10.0, away_m)


def known(data: Path, draws: int) -> None:
    image = read(data / QUARTET)
    worth: list[tuple[str, np.ndarray]] = []
    print("| other date | cloud | cases | before: moved | error m | now: moved | median m | largest m | seconds |")
    print("| --- | --- | --- | --- | --- | --- | --- | --- | --- |")
    for kind in ("PlanetScope", "Sentinel-2"):
        for share in (0.0, 0.3, 0.7):
            errors: dict[str, list[float]] = {name: [] for name in WAYS}
            seconds = []
            for seed in range(draws):
                case, truth = moved_case(image, kind, share, seed)
                with tempfile.TemporaryDirectory() as name:
                    inputs, surveyed = opened(Path(name), case)
                    found = {}
                    for way, find in WAYS.items():
                        started = time.perf_counter()
                        (found[way],) = find(inputs, surveyed)
                        seconds.append(time.perf_counter() - started)
                    if share:
                        worth.append((kind, under_cloud(case, inputs, surveyed, list(found.values()))))
                for way, offset in found.items():
                    if offset.accepted:
                        off = np.subtract(offset.on(surveyed.grid).mean_m, truth)
                        errors[way].append(float(np.hypot(*off)))
            before, after = (np.array(errors[way] or [np.nan]) for way in WAYS)
            print(
                f"| {kind} | {100 * share:.0f} % | {draws} | {len(errors['before'])} | {np.median(before):.1f} | "
                f"{len(errors['now'])} | {np.median(after):.2f} | {after.max():.2f} | {np.median(seconds[1::2]):.2f} |",
                flush=True,
            )
    print(f"\n{WORTH_HEAD}")
    for kind in ("PlanetScope", "Sentinel-2"):
        print(worth_row(kind, [each for of_kind, each in worth if of_kind == kind]), flush=True)


def under_cloud(case: Case, inputs: Inputs, surveyed: Survey, offsets: list[Offset]) -> np.ndarray:
    """PSNR (3, 2) of a line and of the scene's model in pixels of the scene, as it is and by each of two offsets."""
    rows = []
    for moved in (inputs, *(inputs.displaced([offset.on(surveyed.grid)]) for offset in offsets)):
        with moved.open() as reader:
            coarse, fine = reader.others(surveyed.grid), reader.others(inputs.scene.grid)
        where = case.hidden & np.isfinite(fine[0]).all(axis=0)
        where[:20], where[-20:], where[:, :20], where[:, -20:] = False, False, False, False  # what a move brings in
        model = of_survey(replace(surveyed, others=coarse), inputs.scene)
        made = line(case, fine[0], ~case.hidden), model.whole(fine)
        rows.append([psnr(each, case.truth, where) for each in made])
    return np.array(rows)


def years(data: Path, draws: int) -> None:
    """Aerial images of one place in four years, at 5 m: the error is the distance to the offset of the unmoved ones."""
    paths = sorted(data.glob("texture/naip5m_*.tif"))
    images = [read(path) * np.float32(1e4 / 255) for path in paths]
    shape = [min(image.shape[axis] for image in images) for axis in (1, 2)]
    images = [np.clip(image[:, : shape[0], : shape[1]], 0.001, 1) for image in images]
    errors: list[float] = []
    cases, still_refused = 0, 0
    for seed, (first, second) in enumerate((a, b) for a in images for b in images if a is not b):
        for share in (0.0, 0.3, 0.7)[: max(1, draws)]:
            hidden = cloud((shape[0], shape[1]), share, seed)
            away = np.random.default_rng([seed, int(10 * share)]).uniform(-20, 20, 2)  # east, south
            places = (square(5.0), square(5.0) @ Affine.translation(*(away / 5)))
            case = Case("", first, hidden, 5.0, tuple((second, place) for place in places))
            with tempfile.TemporaryDirectory() as name:
                inputs, surveyed = opened(Path(name), case)
                still, moved = (one.on(surveyed.grid).mean_m if one.accepted else None for one in now(inputs, surveyed))
            cases += 1
            still_refused += still is None
            if moved:
                expected = np.subtract(still or (0, 0), (away[0], -away[1]))
                errors.append(float(np.hypot(*(moved - expected))))
    print("| years of one place | moved | median m | 90th pct m | largest m |\n| --- | --- | --- | --- | --- |")
    print(
        f"| {cases}, {still_refused} of them in place before | {len(errors)} | {np.median(errors):.2f} | "
        f"{np.percentile(errors, 90):.2f} | {max(errors):.2f} |",
        flush=True,
    )


# --- nothing to be found ---


def unrelated(data: Path) -> None:
    """Every image of Sentinel-2 against that of another place, of the same shape or cut to it."""
    paths = sorted(data.glob("dates/oscd_*_optical.tif"))[::2] + sorted(data.glob("pairs/terramind_*_optical.tif"))
    images = [read(path)[:, :224, :224] for path in paths]
    images = [image for image in images if image.shape[1:] == (224, 224) and (image.max(axis=0) > 0).all()]
    tried, moved = 0, 0
    for first in range(len(images)):
        for share in (0.0, 0.5):
            others = tuple(
                (images[(first + step) % len(images)], square(10.0)) for step in (1, 2, 3) if step % len(images)
            )
            case = Case("", images[first], cloud((224, 224), share, first), 10.0, others)
            with tempfile.TemporaryDirectory() as name:
                found = now(*opened(Path(name), case))
            tried, moved = tried + len(found), moved + sum(offset.accepted for offset in found)
    print(f"| unrelated pairs | moved |\n| --- | --- |\n| {tried} | {moved} |", flush=True)


# --- what it is worth on real dates ---


def of_series(data: Path) -> Iterator[Case]:
    sys.path.insert(0, str(data.parent / "measure"))
    from series import cases  # noqa: PLC0415

    for case in cases():
        others = tuple((other.astype(np.float32), square(10.0)) for other in case.others)
        yield Case(case.name.split("_")[1].split()[0], case.truth.astype(np.float32), case.mask, 10.0, others)


def of_cities(data: Path) -> Iterator[Case]:
    paths = sorted(data.glob("dates/oscd_*_optical.tif"))
    for seed, (first, second) in enumerate(zip(paths[::2], paths[1::2], strict=True)):
        truth, other = read(first), read(second)
        for share in (0.3, 0.7):
            hidden = cloud(truth.shape[1:], share, seed)
            yield Case("22 cities", truth, hidden, 10.0, ((np.where(other > 0, other, np.nan), square(10.0)),))


def psnr(made: Image, truth: Image, where: Mask) -> float:
    return float(-10 * np.log10(np.mean((np.clip(made, 0, 1) - truth)[:, where] ** 2)))


def line(case: Case, other: Image, clear: Mask) -> Image:
    """Each band fitted to the scene's clear pixels by a line."""
    known = clear & np.isfinite(other).all(axis=0)
    pairs = zip(case.truth, other, strict=True)
    return np.stack([np.polyval(np.polyfit(o[known], x[known], 1), o) for x, o in pairs])


def scores(case: Case, surveyed: Survey, others: tuple[Image, ...], with_model: bool) -> np.ndarray:
    """PSNR of the best line, and of the scene's model."""
    known = np.isfinite(np.stack(others)).all(axis=(0, 1)) & (case.truth.min(axis=0) > 0)
    where = case.hidden & known & np.isfinite(case.truth).all(axis=0)
    best = max(psnr(line(case, other, ~case.hidden), case.truth, where) for other in others)
    if not with_model:
        return np.array([best, np.nan])
    valid = case.truth.max(axis=0) > 0
    model = fit(case.truth, surveyed.sar_db, case.hidden, valid, 10.0, None, others)
    return np.array([best, psnr(model.whole(), case.truth, where)])


def worth(data: Path, with_model: bool) -> None:
    table: dict[str, list[np.ndarray]] = {}
    for case in (*of_series(data), *of_cities(data)):
        with tempfile.TemporaryDirectory() as name:
            inputs, surveyed = opened(Path(name), case)
            each = [scores(case, surveyed, surveyed.others, with_model)]
            for find in WAYS.values():
                moved = inputs.displaced([offset.on(surveyed.grid) for offset in find(inputs, surveyed)])
                with moved.open() as reader:
                    each.append(scores(case, surveyed, reader.others(surveyed.grid), with_model))
        table.setdefault(case.name, []).append(np.array(each))
        gain = (np.array(each)[1:] - each[0]).round(2).tolist()
        print(case.name, each[0].round(2).tolist(), "before, now:", gain, file=sys.stderr, flush=True)
    print(WORTH_HEAD)
    for name, rows in table.items():
        print(worth_row(name, rows), flush=True)


def worth_row(name: str, cases: list[np.ndarray]) -> str:
    """Means over cases of PSNR (3, 2), and the least that the way of now is worth in any."""
    each = np.array(cases)
    gain, mean = each[:, 1:] - each[:, :1], each.mean(axis=0)
    columns = [
        f"{mean[0, k]:.2f} | {gain[:, 0, k].mean():+.2f} | {gain[:, 1, k].mean():+.2f} | {gain[:, 1, k].min():+.2f}"
        for k in (0, 1)
    ]
    return f"| {name} | {len(each)} | {' | '.join(columns)} |"


# --- a whole scene ---


def whole_scene(data: Path, side: int) -> None:
    """The PlanetScope image and its mirror images side by side, and another date 5 to 9 m too far west, 4 m south."""
    image = read(data / QUARTET)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_by_strips(folder / "scene.tif", image, side, truth_m=lambda u: (0 * u, 0.0), light=1.0)
        write_by_strips(folder / "other_0.tif", image, side, truth_m=lambda u: (7 + 2 * u, 4.0), light=0.8)
        coarse = cloud((side // 10, side // 10), 0.4, 0).astype(np.uint8)
        write(folder / "mask.tif", coarse[None], square(30.0))
        radar = np.random.default_rng(0).normal([[[-10]], [[-17]]], 1, (2, side * 3 // 10, side * 3 // 10))
        write(folder / "s1.tif", radar.astype(np.float32), square(10.0))
        inputs, surveyed = identified(folder, 1)
        started, cpu = time.perf_counter(), time.process_time()
        (offset,) = now(inputs, surveyed)
        seconds, cpu = time.perf_counter() - started, time.process_time() - cpu
        (before,) = by_survey(inputs, surveyed)
    across = np.array(square(3.0) @ (np.linspace(0, side, 50), np.full(50, side / 2.0)))
    truth = np.stack([7 + 2 * np.linspace(-1, 1, 50), np.full(50, 4.0)])
    off = [np.hypot(*(np.stack(one.on(surveyed.grid).at(*across)) - truth)).mean() for one in (before, offset)]
    print(f"| {side**2 / 1e6:.0f} megapixels under 40 % of cloud, a shift that changes across the scene | measured |")
    print("| --- | --- |")
    print(f"| off in the mean: before, now | {off[0]:.2f} m, {off[1]:.2f} m |")
    print(f"| survey to offset | {seconds:.1f} s, {cpu:.1f} s of CPU |")
    print(offset.reason, offset.describe(surveyed.grid), file=sys.stderr)


def write_by_strips(path: Path, image: Image, side: int, truth_m: Displaced, light: float) -> None:
    """What has to move by metres (east, north) that depend on the column, which runs from -1 to 1."""
    rng = np.random.default_rng(int(10 * light))
    tile = np.concatenate([image, image[:, ::-1]], axis=1)
    tile = np.concatenate([tile, tile[:, :, ::-1]], axis=2)
    profile = {"driver": "GTiff", "width": side, "height": side, "count": 4, "dtype": "uint16", "nodata": 0}
    layout = {"tiled": True, "compress": "lzw", "crs": UTM33, "transform": square(3.0)}
    east, north = truth_m(np.linspace(-1, 1, side))
    wide = between(tile, np.arange(side) + east / 3, 2)
    with rasterio.open(path, "w", **profile, **layout) as dataset:
        for top in range(0, side, 512):
            strip = light * between(wide, np.arange(top, min(top + 512, side)) - north / 3, 1)
            strip += rng.normal(0, NOISE, strip.shape).astype(np.float32)
            dn = np.clip(strip * 1e4, 1, 1e4).astype(np.uint16)
            dataset.write(dn, window=Window(0, top, side, dn.shape[1]))


def between(tile: Image, at: np.ndarray, axis: int) -> Image:
    """A tile that comes again and again, linear between its pixels along an axis."""
    whole = np.floor(at).astype(int)
    shape = [-1 if axis == k else 1 for k in range(3)]
    share = (at - whole).astype(np.float32).reshape(shape)
    first, second = (tile.take((whole + step) % tile.shape[axis], axis) for step in (0, 1))
    return first * (1 - share) + second * share


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, default=Path(__file__).resolve().parents[3] / "shared" / "data")
    parser.add_argument("--only", nargs="+", choices=["known", "years", "unrelated", "worth", "scene"])
    parser.add_argument("--side", type=int, default=10_000, help="of the whole scene, in pixels")
    parser.add_argument("--draws", type=int, default=6, help="offsets and skies of each kind")
    parser.add_argument("--model", action="store_true", help="what it is worth to the scene's model too, in minutes")
    arguments = parser.parse_args()
    parts = {
        "known": lambda: known(arguments.data, arguments.draws),
        "years": lambda: years(arguments.data, arguments.draws),
        "unrelated": lambda: unrelated(arguments.data),
        "worth": lambda: worth(arguments.data, arguments.model),
        "scene": lambda: whole_scene(arguments.data, arguments.side),
    }
    for name, part in parts.items():
        if not arguments.only or name in arguments.only:
            part()
            print(flush=True)


if __name__ == "__main__":
    main()
