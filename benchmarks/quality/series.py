"""`cloudfree run` on clear days under real clouds and shadows that were lifted off other days, beside simple rivals.

    python benchmarks/quality/series.py [--measure ../shared/measure] [--output FOLDER] [-- OPTIONS OF RUN]

The cases are those of `series.py` in the folder of measures: a clear day, its nearest clear days before and after, and
clouds and shadows of the same place. Radar is speckle that tells nothing. Each is restored without another date, with
the one before, and with both. Beside them the clear images of SEN12MS-CR under each other's clouds, by their radar
alone, and by speckle in its place. Means over cases of PSNR (dB) under the mask: the scene as it is seen, the median of
its clear pixels, a ridge regression on radar, the line fitted to the other date (between two dates, weighted by
nearness), the scene's model, what shows through it in closed form, the command, which adds the network; how far the
command is from these two in the mean and at worst; of the near infrared in shadow and elsewhere under the mask; root
mean square error of NDVI; and the share of errors within one and two standard
deviations, of pixels of class 5 and of the others. --output keeps files and a picture of each case: cloudy, what shows
through, product, truth, in true colour above and in the near infrared below.
"""

from __future__ import annotations

import argparse
import itertools
import runpy
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import rasterio
from rasterio.transform import from_origin
from scipy import ndimage

import cloudfree
from cloudfree.arrays import Image, Mask, as_image
from cloudfree.bands import Qa
from cloudfree.evaluate import baselines, metrics
from cloudfree.evaluate.triplets import Observation
from cloudfree.product.pictures import write_png
from cloudfree.reconstruct.feather import Feather
from cloudfree.reconstruct.tile import Restoration, Tile, seen_of
from cloudfree.scene.model import SceneModel

_PIXEL_M = 10.0
_DARKER = 0.7  # of the near infrared of the truth: in shadow
_LEAST_HIDDEN = 0.05  # share of an image whose clouds are used
_DATES = "none", "before", "before and after"
_HEADER = (
    "place",
    "dates",
    "cases",
    "cloudy",
    "median",
    "ridge",
    "line",
    "model",
    "through",
    "run",
    "run - through",
    "worst",
    "run - model",
    "worst",
    "NIR in shadow",
    "NIR elsewhere",
    "NDVI error: line",
    "model",
    "run",
    "class 5 within 1, 2 sd",
    "others",
)


@dataclass(frozen=True)
class Restored:
    """A case restored by each method: reflectance (4, H, W), the line's None without another date.

    `median` and `ridge` are those of `evaluate.baselines`.

    `classes` (H, W) of `Qa`, and `deviation` (4, H, W) in reflectance, are the command's.
    """

    place: str
    dates: str
    truth: Image
    scene: Image
    mask: Mask
    median: Image
    ridge: Image
    line: Image | None
    model: Image
    through: Image
    run: Image
    classes: Image
    deviation: Image


@dataclass(frozen=True)
class Case:
    """A scene to restore: `truth`, `scene` and `others`, `days` off, are reflectance (4, H, W); radar is in dB."""

    place: str
    name: str
    dates: str
    truth: Image
    scene: Image
    mask: Mask
    others: Sequence[Image]
    days: Sequence[int]
    sar_db: Image


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    shared = Path(__file__).resolve().parents[3] / "shared"
    parser.add_argument("--measure", type=Path, default=shared / "measure", help="beside it, data/cloudy_clear")
    parser.add_argument("--output", type=Path)
    parser.add_argument("--count", type=int, help="days of the series, and images of SEN12MS-CR, at most")
    parser.add_argument("--place", help="only cases of places whose names have this in them")
    parser.add_argument("options", nargs="*", help="of `cloudfree.run`, NAME=VALUE, behind --")
    arguments = parser.parse_args()
    options = dict(option.split("=") for option in arguments.options)
    if not (arguments.measure / "series.py").exists():
        raise SystemExit(f"{arguments.measure} has no series.py: give the folder of measures by --measure")
    sys.path.insert(0, str(arguments.measure))  # of which it imports what lies beside it
    series = SimpleNamespace(**runpy.run_path(str(arguments.measure / "series.py")))
    images = arguments.measure.parent / "data" / "cloudy_clear"
    cases = itertools.chain(series_cases(series, arguments.count), radar_cases(images, series, arguments.count))
    with tempfile.TemporaryDirectory() as temporary:
        folder = arguments.output or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        chosen = (case for case in cases if (arguments.place or "") in case.place)
        restored = [restore(case, folder, options, series) for case in chosen]
    print(f"| {' | '.join(_HEADER)} |\n| --- | --- |{' ---: |' * (len(_HEADER) - 2)}")
    groups: dict[tuple[str, str], list[Restored]] = {}
    for one in sorted(restored, key=lambda one: one.place):
        groups.setdefault((one.place, one.dates), []).append(one)
    for one in restored:
        if one.dates in _DATES:
            groups.setdefault(("all of the series", one.dates), []).append(one)
    for (place, _), group in groups.items():
        print(as_row(place, group))


def series_cases(series: SimpleNamespace, count: int | None) -> Iterator[Case]:
    """Each day without another date, with the one before, and with both."""
    for case in itertools.islice(series.cases(), count):
        for number, dates in enumerate(_DATES):
            place, images, sar_db = case.name.split()[0], (case.truth, case.scene), series.speckle(case.mask.shape)
            dated = case.others[:number], case.days[:number]
            yield Case(place, case.name, dates, *map(as_image, images), case.mask, *dated, sar_db)


def radar_cases(folder: Path, series: SimpleNamespace, count: int | None) -> Iterator[Case]:
    """Clear images of SEN12MS-CR under the clouds of the next, lifted off its own clear image."""
    clear, cloudy, mask, sar = (
        {path.name.removesuffix(f"_{kind}.tif"): path for path in sorted(folder.glob(f"*_{kind}.tif"))}
        for kind in ("clear", "cloudy", "mask", "sar")
    )
    hiding = {name: hidden for name, path in mask.items() if (hidden := read(path)[0] > 0).mean() > _LEAST_HIDDEN}
    for number, name in enumerate(itertools.islice(clear, count)):
        layers = [other for other in hiding if other != name]
        above = layers[number % len(layers)]
        hidden = ndimage.binary_dilation(hiding[above], iterations=2)
        truth, *images = (read(path) * 1e-4 for path in (clear[name], cloudy[above], clear[above]))
        scene, sar_db = as_image(series.over(*series.lift(*images, hidden), truth)), read(sar[name])
        for dates, radar in (("none, its radar", sar_db), ("none, speckle", series.speckle(hidden.shape))):
            yield Case("sen12mscr", f"{name} under {above}", dates, as_image(truth), scene, hidden, (), (), radar)


def read(path: Path) -> Image:
    with rasterio.open(path) as dataset:
        return as_image(dataset.read())


def restore(case: Case, folder: Path, options: dict[str, str], series: SimpleNamespace) -> Restored:
    """A case by each method, with a picture of it."""
    name = f"{case.name} {case.dates}".replace(",", "").replace(" ", "_")
    line = as_image(series.between(case.scene, case.others, case.days, case.mask)) if case.others else None
    run, model, through, classes, deviation = restored_by_command(folder / name, case, options)
    seen = Observation(case.scene, case.sar_db, np.ones_like(case.mask), case.mask, _PIXEL_M)
    rivals = baselines.median(seen), baselines.ridge(seen), line
    images = model, through, run, classes, deviation
    one = Restored(case.place, case.dates, case.truth, case.scene, case.mask, *rivals, *images)
    scores = [metrics.psnr(image, one.truth, one.mask) for image in (run, through)]
    print(f"{name}: run {scores[0]:.2f}, {scores[0] - scores[1]:+.2f}", file=sys.stderr)
    write_picture(folder / f"{name}.png", one)
    return one


def restored_by_command(stem: Path, case: Case, options: dict[str, str]) -> tuple[Image, Image, Image, Image, Image]:
    """Files of a case through the command: product, model and what shows through it (4, H, W), classes, deviation."""
    scene, sar, mask, out, qa, unsure, *dates = (
        stem.with_name(f"{stem.name}_{what}.tif")
        for what in ("scene", "sar", "mask", "out", "qa", "uncertainty", *range(len(case.others)))
    )
    write(scene, dn_of(case.scene), nodata=0)
    write(sar, case.sar_db)
    write(mask, case.mask[None].astype(np.uint8))
    for path, other in zip(dates, case.others, strict=True):
        write(path, dn_of(other), nodata=0)
    beside = {"mask": mask, "references": dates, "qa": qa, "uncertainty": unsure, "overwrite": True}
    result = cloudfree.run(scene, sar, out, **{**beside, **options})
    model = result.plan.scene_model
    assert model
    with rasterio.open(out) as product, rasterio.open(qa) as quality, rasterio.open(unsure) as deviation:
        return (
            as_image(product.read() * 1e-4),
            *without_network(model, case),
            quality.read(1),
            as_image(deviation.read() * 1e-4),
        )


def without_network(model: SceneModel, case: Case) -> tuple[Image, Image]:
    """The model's ground and what shows through it (4, H, W)."""
    rows, cols = map(range, case.mask.shape)
    expected = model.expected(rows, cols, [as_image(other) for other in case.others])
    weight, everywhere = Feather.of_pixel_size(_PIXEL_M).alone.weight(case.mask), np.ones_like(case.mask)
    tile = Tile(as_image(case.scene), everywhere, case.sar_db, weight, *expected, wanted=weight)
    nothing = np.zeros(4, np.float32), np.zeros(2, np.float32)
    return expected.ground, seen_of(tile, Restoration.of(*nothing, model, sees=True)).through[0].numpy()


def dn_of(reflectance: Image) -> Image:
    return np.clip(np.rint(1e4 * reflectance), 1, 65535).astype(np.uint16)


def write(path: Path, image: Image, nodata: float | None = None) -> None:
    profile = {"driver": "GTiff", "crs": "EPSG:32633", "transform": from_origin(500000, 5000000, _PIXEL_M, _PIXEL_M)}
    count, height, width = image.shape
    with rasterio.open(
        path, "w", count=count, height=height, width=width, dtype=image.dtype, nodata=nodata, **profile
    ) as target:
        target.write(image)


def ndvi(image: Image) -> Image:
    return as_image((image[3] - image[2]) / np.maximum(image[3] + image[2], 0.01))


def as_row(place: str, group: Sequence[Restored]) -> str:
    """A line of the table: means over cases."""
    psnr = lambda image, one, where, bands=slice(None): metrics.psnr(image[bands], one.truth[bands], where)  # noqa: E731
    *simple, line, model, through, run = (
        [psnr(image, one, one.mask) for one in group if (image := getattr(one, name)) is not None]
        for name in ("scene", "median", "ridge", "line", "model", "through", "run")
    )
    gains = np.subtract(run, through), np.subtract(run, model)
    nir = slice(3, 4)
    shadow = [one.mask & (one.scene[3] < _DARKER * one.truth[3]) for one in group]
    in_shadow = [psnr(one.run, one, where, nir) for one, where in zip(group, shadow, strict=True) if where.any()]
    elsewhere = [psnr(one.run, one, one.mask & ~where, nir) for one, where in zip(group, shadow, strict=True)]
    errors = [
        np.mean([rmse(ndvi(getattr(one, name)), ndvi(one.truth), one.mask) for one in group]) if line else None
        for name in ("line", "model", "run")
    ]
    numbers = [*map(np.mean, simple), np.mean(line) if line else None, *map(np.mean, (model, through, run))]
    numbers += [number for gain in gains for number in (gain.mean(), gain.min())]
    words = [place, group[0].dates, str(len(group))]
    words += ["" if number is None else f"{number:.2f}" for number in numbers]
    words += [f"{np.mean(in_shadow):.2f}" if in_shadow else "", f"{np.mean(elsewhere):.2f}"]
    words += ["" if error is None else f"{error:.3f}" for error in errors]
    words += [within(group, seen=True), within(group, seen=False)]
    return f"| {' | '.join(words)} |"


def rmse(image: Image, truth: Image, where: Mask) -> float:
    return float(np.sqrt(np.square(image - truth)[where].mean()))


def within(group: Sequence[Restored], *, seen: bool) -> str:
    """Shares of errors within one and two standard deviations, of class 5 or of the others under the mask."""
    off = []
    for one in group:
        where = one.mask & ((one.classes == Qa.SEEN_THROUGH) == seen)
        off.append((np.abs(one.run - one.truth) / np.maximum(one.deviation, 1e-4))[:, where].ravel())
    every = np.concatenate(off)
    return f"{(every <= 1).mean():.2f}, {(every <= 2).mean():.2f}" if len(every) else ""


def write_picture(path: Path, one: Restored) -> None:
    """Cloudy, what shows through, product and truth side by side; true colour above, near infrared below."""
    images = one.scene, one.through, one.run, one.truth
    bright = np.percentile(one.truth, 99, axis=(1, 2))
    colours = [np.concatenate([image[[2, 1, 0]] / bright[:3].max() for image in images], axis=2)]
    colours += [np.concatenate([image[[3, 3, 3]] / bright[3] for image in images], axis=2)]
    picture = np.clip(255 * np.concatenate(colours, axis=1), 0, 255).astype(np.uint8)
    write_png(path, np.repeat(np.repeat(picture, 2, axis=1), 2, axis=2))


if __name__ == "__main__":
    main()
