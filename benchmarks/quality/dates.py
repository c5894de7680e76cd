"""What an image of another date is worth to the scene model, beside what it is worth pasted or fitted by a line.

    python benchmarks/quality/dates.py [--data ../shared/data] [--output FOLDER]

Each date of the Belgian series (`dates/worldcereal_*`) and of the Finnish places (`pairs/biomassters_*`) is laid under
opaque clouds of `clouds` with soft edges (mask dilated by two pixels, then a Gaussian of two), 8 to 85 %, restored with
one clear image of the same series: the nearest up to 10 days away, the nearest up to 30, the farthest up to 90. PSNR
(dB) of masked pixels against the truth of the same day: means by age, and the worst case against the better of ridge
and fit.
"""

from __future__ import annotations

import argparse
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import date
from pathlib import Path

import numpy as np
import rasterio
from scipy import ndimage

from cloudfree.arrays import Image, Mask, as_image
from cloudfree.evaluate import metrics
from cloudfree.evaluate.baselines import fitted_reference, pasted_reference, ridge, scene_model
from cloudfree.evaluate.triplets import Observation
from cloudfree.learn.cloud_layers import RealClouds, read_real_clouds
from cloudfree.product.pictures import write_png
from cloudfree.scene.model import PIXEL_M

_AGES = ((0, 10), (11, 30), (31, 90))  # days
_COVER, _OPAQUE = (0.08, 0.85), 0.25
_DILATION_PX, _SOFT_PX = 2, 2.0


@dataclass(frozen=True)
class Case:
    """A date under clouds, seen beside another date `age_days` away."""

    name: str
    seen: Observation
    truth: Image
    age_days: int


def cases(data: Path) -> Iterator[Case]:
    """All of them, each date's clouds drawn from one seed."""
    clouds, rng = read_real_clouds(data / "clouds"), np.random.default_rng(5)
    for series, dates in _series(data).items():
        for number, (day, path) in enumerate(dates):
            if series.startswith("worldcereal_0") and number % 2:  # a long series: every other date will do
                continue
            for other_day, other in _others(day, dates):
                case = _case(f"{path.stem}, {abs(other_day - day)} days", path, other, clouds, rng)
                if case:
                    yield Case(*case, abs(other_day - day))


def restored(case: Case) -> dict[str, Image]:
    """What each rival and the model make of a case."""
    seen = case.seen
    without_radar = replace(seen, sar_db=np.full_like(seen.sar_db, np.nan))
    return {
        "ridge": ridge(seen),
        "model, radar alone": scene_model(replace(seen, others=())),
        "pasted": pasted_reference(seen),
        "linear fit": fitted_reference(seen),
        "model": scene_model(seen),
        "model, no radar": scene_model(without_radar),
        "model, neither": scene_model(replace(without_radar, others=())),
    }


def _series(data: Path) -> dict[str, list[tuple[int, Path]]]:
    """Clear images by series, each with its day (of months, the fifteenth or a multiple of 30)."""
    series_dates: defaultdict[str, list[tuple[int, Path]]] = defaultdict(list)
    for path in sorted((data / "dates").glob("worldcereal_*_optical.tif")):
        series, digits = path.name.removesuffix("_optical.tif").rsplit("_", 1)
        day = int(digits[6:8] or 15)
        series_dates[series].append((date(int(digits[:4]), int(digits[4:6]), day).toordinal(), path))
    for path in sorted((data / "pairs").glob("biomassters_*_optical.tif")):
        series, month = path.name.removesuffix("_optical.tif").rsplit("_", 1)
        probability = path.with_name(path.name.replace("_optical", "_cloudprob"))
        if not probability.exists() or (_read(probability) > 40).mean() <= 0.03:
            series_dates[series].append((30 * int(month), path))
    return {series: sorted(dates) for series, dates in series_dates.items()}


def _others(day: int, dates: list[tuple[int, Path]]) -> list[tuple[int, Path]]:
    """Of each range of ages one: the first in time, of the oldest range the last."""
    picked = []
    for youngest, oldest in _AGES:
        within = [dated for dated in dates if dated[0] != day and youngest <= abs(dated[0] - day) <= oldest]
        picked += within[-1:] if oldest == _AGES[-1][1] else within[:1]
    return picked


def _case(
    name: str, path: Path, other: Path, clouds: list[RealClouds], rng: np.random.Generator
) -> tuple[str, Observation, Image] | None:
    """None where no cloud of fitting size is found, or radar or the image is mostly missing."""
    truth = np.clip(_read(path) / 1e4, 0, 1)
    sar_paths = [path.with_name(path.name.replace("_optical", kind)) for kind in ("_sar", "_asc_sar")]
    sar_db = next((_read(sar) for sar in sar_paths if sar.exists()), None)
    layer = _layer(clouds, rng, truth.shape[1:])
    if sar_db is None or layer is None:
        return None
    mask, radiance = layer
    share = ndimage.gaussian_filter(as_image(ndimage.binary_dilation(mask, iterations=_DILATION_PX)), _SOFT_PX)
    valid = np.asarray((truth > 0).all(axis=0) & (np.nan_to_num(sar_db, nan=-99) > -50).all(axis=0))
    if valid.mean() < 0.5:
        return None
    others = (np.clip(_read(other) / 1e4, 0, 1),)
    return name, Observation(as_image(truth + share * (radiance - truth)), sar_db, valid, mask, PIXEL_M, others), truth


def _layer(clouds: list[RealClouds], rng: np.random.Generator, shape: tuple[int, ...]) -> tuple[Mask, Image] | None:
    """The mask (H, W) of some real cloud and its radiance (4, H, W)."""
    for _ in range(50):
        drawn = clouds[int(rng.integers(len(clouds)))]
        layer = np.rot90(np.concatenate([drawn.opacity[None], drawn.radiance]), int(rng.integers(4)), (1, 2))
        repeats = [-(-wanted // length) for wanted, length in zip(shape, layer.shape[1:], strict=True)]
        layer = np.tile(layer, (1, *repeats))
        y, x = (int(rng.integers(length - wanted + 1)) for wanted, length in zip(shape, layer.shape[1:], strict=True))
        part = layer[:, y : y + shape[0], x : x + shape[1]]
        mask = part[0] > _OPAQUE
        if _COVER[0] < mask.mean() < _COVER[1]:
            return mask, part[1:]
    return None


def _read(path: Path) -> Image:
    with rasterio.open(path) as dataset:
        return dataset.read().astype(np.float32)


def _group(case: Case) -> str:
    place = "Finland" if case.name.startswith("biom") else "Belgium"
    youngest, oldest = next(ages for ages in _AGES if case.age_days <= ages[1])
    return f"{place}, {youngest} to {oldest} days"


def _picture(case: Case, made: dict[str, Image]) -> Image:
    """Cloudy, every restoration, truth, side by side in true colour and one stretch."""
    low, high = np.percentile(case.truth[:3], (1, 99))
    panels = [case.seen.reflectance, *made.values(), case.truth]
    return np.concatenate([np.clip((panel[2::-1] - low) / (high - low), 0, 1) for panel in panels], axis=2)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, default=Path(__file__).resolve().parents[3] / "shared" / "data")
    parser.add_argument("--output", type=Path, help="folder for a picture of each case")
    arguments = parser.parse_args()
    groups: defaultdict[str, list[list[float]]] = defaultdict(list)
    names: list[str] = []
    for case in cases(arguments.data):
        made = restored(case)
        names, tested = list(made), case.seen.hidden & case.seen.valid
        groups[_group(case)].append([metrics.psnr(image, case.truth, tested) for image in made.values()])
        if arguments.output:
            arguments.output.mkdir(parents=True, exist_ok=True)
            picture = np.rint(255 * _picture(case, made)).astype(np.uint8)
            write_png(arguments.output / f"{case.name.replace(', ', '_').replace(' ', '_')}.png", picture)
    print(f"| dates | cases | {' | '.join(names)} | worst case |")
    print(f"| --- | ---: |{' ---: |' * (len(names) + 1)}")
    for group, rows in sorted(groups.items()):
        scores = np.array(rows)
        rivals = scores[:, [names.index("ridge"), names.index("linear fit")]].max(axis=1)
        worst = (scores[:, names.index("model")] - rivals).min()
        cells = " | ".join(f"{value:.2f}" for value in scores.mean(axis=0))
        print(f"| {group} | {len(rows)} | {cells} | {worst:+.2f} |")


if __name__ == "__main__":
    main()
