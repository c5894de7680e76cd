"""How well clouds are removed: methods against the truth and against simple rivals, image by image, as one table."""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from scipy import ndimage

from cloudfree.arrays import Float64Array, Image, Mask, as_image
from cloudfree.errors import InputError
from cloudfree.evaluate import metrics
from cloudfree.evaluate import published_metrics as published
from cloudfree.evaluate.triplets import Observation, Triplet, find, pasted, read
from cloudfree.inputs.cloudmask import BUFFER_M, FEATHER_M, Rim
from cloudfree.network.models import CloudRemovalModel
from cloudfree.network.predict import Predictor
from cloudfree.scene import trust
from cloudfree.scene.prior import blend, fit_fine, replaced

Method = Callable[[Observation], Image]
"""Reflectance (4, H, W) of the ground everywhere, from what is seen."""

Watch = Callable[[Triplet, Mapping[str, Image]], None]
"""Called after each image with what every method made of it."""

Protocol = Literal["true", "published"]
MEASURES = ("psnr_db", "ssim", "sam_deg", "mae")

WORLDCOVER = {
    10: "trees",
    20: "shrubs",
    30: "grass",
    40: "crops",
    50: "built-up",
    60: "bare",
    70: "snow and ice",
    80: "water",
    90: "herbaceous wetland",
    95: "mangroves",
    100: "moss and lichen",
}
"""Classes of ESA WorldCover."""

PUBLISHED_GROUPS = {
    "forest": (10,),
    "rangeland": (20, 30),
    "agriculture": (40,),
    "urban": (50,),
    "barren": (60,),
    "water": (80, 90),
    "unknown": (70, 95, 100),
}
"""Classes as the published tables group them."""

_RIDGE_SCALES_M, _RIDGE_AWAY_M, _RIDGE_SHRINKAGE = (10.0, 20.0, 40.0, 80.0), 50.0, 1e-3
_MIN_FIT_PX = 200


@dataclass(frozen=True)
class Score:
    """One method on some pixels of one image, or the mean of its images.

    psnr_db, ssim, sam_deg, mae as in `metrics`; NaN where no pixel has the measure, infinite PSNR of equal images.
    """

    image: str
    method: str
    region: str
    pixels: int
    psnr_db: float
    ssim: float
    sam_deg: float
    mae: float


@dataclass(frozen=True)
class Table:
    """Scores of each image, and which images had nothing to score."""

    scores: tuple[Score, ...]
    skipped: tuple[str, ...]
    protocol: Protocol
    same_date: bool
    keep_observed: bool

    def averages(self) -> list[Score]:
        """The mean over images of each method and region; an image without the region does not take part."""
        groups: dict[tuple[str, str], list[Score]] = {}
        for score in self.scores:
            groups.setdefault((score.region, score.method), []).append(score)
        return [_mean_score(method, region, scores) for (region, method), scores in groups.items()]


# --- the rivals: what any method must beat to be worth its weights ---


def as_seen(seen: Observation) -> Image:
    """Nothing done."""
    return seen.reflectance


def median(seen: Observation) -> Image:
    """The median of what is not masked, in place of what is; without a mask the median everywhere."""
    clear = seen.valid & ~seen.hidden
    colour = np.median(seen.reflectance[:, clear if clear.any() else seen.valid], axis=1)
    return _put(seen, np.broadcast_to(as_image(colour)[:, None, None], seen.reflectance.shape))


def ridge(seen: Observation) -> Image:
    """A ridge regression on smoothed backscatter and its squares, fitted on clear pixels away from the mask."""
    usable = seen.valid & ~seen.hidden & np.isfinite(seen.sar_db).all(axis=0)
    away = usable & (seen.distance_m() > _RIDGE_AWAY_M)
    chosen = away if away.sum() >= _MIN_FIT_PX else usable
    if chosen.sum() < _MIN_FIT_PX:
        return median(seen)
    features = _backscatter_features(seen)
    mean, deviation = features[:, chosen].mean(axis=1), features[:, chosen].std(axis=1) + 1e-6
    features = (features - mean[:, None, None]) / deviation[:, None, None]
    design, colours = features[:, chosen].T.astype(np.float64), seen.reflectance[:, chosen].T.astype(np.float64)
    gram = design.T @ design + _RIDGE_SHRINKAGE * len(design) * np.eye(len(features))
    slopes = np.linalg.solve(gram, design.T @ (colours - colours.mean(0)))
    return _put(seen, as_image(np.tensordot(slopes.T, features, 1) + colours.mean(0)[:, None, None]))


def prior(seen: Observation) -> Image:
    """The closed form that primes the networks, alone."""
    fitted = fit_fine(seen.reflectance, seen.sar_db, seen.hidden, seen.valid, seen.pixel_size_m)
    return _put(seen, fitted.whole())


RIVALS: Mapping[str, Method] = {"input": as_seen, "median": median, "ridge": ridge, "prior": prior}


def network(model: CloudRemovalModel, device: str = "cpu") -> Method:
    """A network as a method, run on the whole image at once; primed and tempered if its weights expect that."""
    predictor = Predictor(model, torch.device(device), "fp32", batch=1)

    def restored(seen: Observation) -> Image:
        sar_db = seen.sar_without_gaps()
        if not model.expects_primed or seen.mask is None:
            return predictor.image(seen.reflectance, sar_db)
        rim = Rim(BUFFER_M / seen.pixel_size_m, max(1.0, FEATHER_M / seen.pixel_size_m)).share(seen.mask)
        fitted = fit_fine(seen.reflectance, seen.sar_db, seen.mask, seen.valid, seen.pixel_size_m)
        share = replaced(seen.reflectance, fitted.whole(), rim)
        given, veil = blend(seen.reflectance, fitted.whole(), share), fitted.veil[:, None, None]
        belief = trust.of_image(predictor.image, seen.reflectance, sar_db, rim > 0, seen.valid, seen.pixel_size_m)
        return trust.temper(veil + predictor.image(given - veil, sar_db), given, share, belief)

    return restored


# --- the evaluation ---


def evaluate(
    source: Path,
    methods: Mapping[str, Method] | None = None,
    *,
    root: Path | None = None,
    protocol: Protocol = "true",
    same_date: bool = False,
    keep_observed: bool = False,
    watch: Watch | None = None,
) -> Table:
    """Score methods and all rivals on the images that `source` names (see `triplets.find`), one in memory at a time.

    protocol "published" computes what the published code computes. `same_date` lays the masked part of each cloudy
    image over the clear one, so that the truth is of the same day, and leaves out images without a masked pixel.
    `keep_observed` puts unmasked pixels back as they were seen. Raises InputError or GridError.
    """
    scores: list[Score] = []
    skipped: list[str] = []
    for files in find(source, root):
        triplet = read(files, georeferenced=protocol == "true")
        if same_date and (triplet.seen.mask is None or not triplet.seen.mask.any()):
            skipped.append(files.name)
            continue
        triplet = pasted(triplet) if same_date else triplet
        triplet = triplet.cut(*published.centre(*triplet.valid.shape)) if protocol == "published" else triplet
        restored = {name: _restore(m, triplet.seen, keep_observed) for name, m in {**RIVALS, **(methods or {})}.items()}
        for name, image in restored.items():
            scores += _score(triplet, name, image, protocol)
        if watch:
            watch(triplet, restored)
    if not scores:
        raise InputError(f"no image of {source} has a mask with a masked pixel; --same-date needs them: leave it out")
    return Table(tuple(scores), tuple(skipped), protocol, same_date, keep_observed)


def _restore(method: Method, seen: Observation, keep_observed: bool) -> Image:
    image = method(seen)
    if not keep_observed or seen.mask is None:
        return image
    return np.where(seen.mask, image, seen.reflectance)


def _score(triplet: Triplet, method: str, restored: Image, protocol: Protocol) -> Iterator[Score]:
    """Scores of an image: of all its pixels, cloud and clear ones, and land-cover classes, where there are any."""
    truth, psnr_of_equal = triplet.truth, math.inf
    definitions: Any = metrics
    if protocol == "published":
        restored, truth = np.clip(restored, 0, 1), np.clip(truth, 0, 1)
        definitions, psnr_of_equal = published, published.PSNR_OF_EQUAL
    error = restored.astype(np.float64) - truth
    similarity, angle = definitions.similarity_map(restored, truth), definitions.angle_map(restored, truth)
    for region, chosen in _regions(triplet).items():
        mse = _mean(np.square(error).mean(0)[chosen])
        psnr = -10 * math.log10(mse) if mse else psnr_of_equal
        measures = (psnr, _mean(similarity[chosen]), _mean(angle[chosen]), _mean(np.abs(error).mean(0)[chosen]))
        yield Score(triplet.name, method, region, int(chosen.sum()), *measures)


def _regions(triplet: Triplet) -> dict[str, Mask]:
    """Pixels that count (H, W) by the name of the region; none is empty."""
    valid = triplet.valid
    regions = {"all": valid}
    if triplet.seen.mask is not None:
        regions |= {"cloud": valid & triplet.seen.mask, "clear": valid & ~triplet.seen.mask}
    if triplet.landcover is not None:
        cover = triplet.landcover
        regions |= {f"class: {name}": valid & (cover == code) for code, name in WORLDCOVER.items()}
        regions |= {f"group: {name}": valid & np.isin(cover, codes) for name, codes in PUBLISHED_GROUPS.items()}
    return {name: chosen for name, chosen in regions.items() if chosen.any()}


def _mean(values: Float64Array) -> float:
    """Of the values that are numbers, NaN if none is."""
    numbers = values[~np.isnan(values)]
    return float(numbers.mean()) if numbers.size else math.nan


def _mean_score(method: str, region: str, scores: list[Score]) -> Score:
    measures = (_mean(np.array([getattr(score, name) for score in scores])) for name in MEASURES)
    return Score("mean", method, region, sum(score.pixels for score in scores), *measures)


# --- parts of the rivals ---


def _put(seen: Observation, restored: Image) -> Image:
    """The restoration where the mask is, and everywhere if there is none."""
    return restored if seen.mask is None else np.where(seen.mask, restored, seen.reflectance)


def _backscatter_features(seen: Observation) -> Image:
    """(features, H, W): VV and VH smoothed at each scale, and their squares."""
    sar_db = seen.sar_without_gaps()
    smooth = [
        ndimage.gaussian_filter(band, scale_m / seen.pixel_size_m, mode="nearest")
        for band in sar_db
        for scale_m in _RIDGE_SCALES_M
    ]
    return as_image([*smooth, *np.square(smooth)])


# --- the table as text ---


def as_csv(table: Table) -> str:
    """One line per image, method and region, the means at the end."""
    text = io.StringIO()
    writer = csv.DictWriter(text, list(Score.__dataclass_fields__), lineterminator="\n")
    writer.writeheader()
    writer.writerows(asdict(score) for score in (*table.scores, *table.averages()))
    return text.getvalue()


def as_json(table: Table) -> str:
    """Everything; null where a measure is not a finite number."""
    plain = {
        "protocol": table.protocol,
        "same_date": table.same_date,
        "keep_observed": table.keep_observed,
        "skipped": table.skipped,
        "averages": [_finite(score) for score in table.averages()],
        "images": [_finite(score) for score in table.scores],
    }
    return json.dumps(plain, indent=2, ensure_ascii=False)


def as_markdown(table: Table) -> str:
    """The means, a table a region with the best of each measure in bold."""
    parts = [_heading(table)]
    averages = table.averages()
    for region in dict.fromkeys(score.region for score in averages):
        of_region = [score for score in averages if score.region == region]
        images = len({score.image for score in table.scores if score.region == region})
        parts.append(f"**{region}**: {of_region[0].pixels:,} pixels of {images} image{'s' if images > 1 else ''}")
        parts.append("\n".join(_markdown_rows(of_region)))
    return "\n\n".join(parts) + "\n"


def _heading(table: Table) -> str:
    definitions = "published definitions (not the true ones)" if table.protocol == "published" else "true definitions"
    truth = "real clouds over the clear image, truth of the same date" if table.same_date else "truth of another date"
    skipped = f"; without a masked pixel and left out: {', '.join(table.skipped)}" if table.skipped else ""
    kept = "; unmasked pixels as observed" if table.keep_observed else ""
    return f"Means over images, {definitions}; {truth}{kept}{skipped}."


def _markdown_rows(scores: list[Score]) -> Iterator[str]:
    yield "| method | PSNR dB | SSIM | SAM ° | MAE |"
    yield "| --- | ---: | ---: | ---: | ---: |"
    formats, best_of = ("{:.2f}", "{:.3f}", "{:.2f}", "{:.4f}"), (max, max, min, min)
    columns = []
    for name, form, best in zip(MEASURES, formats, best_of, strict=True):
        texts = [form.format(getattr(score, name)) for score in scores]
        top = form.format(best((getattr(score, name) for score in scores), default=math.nan))
        columns.append([f"**{text}**" if text == top else text for text in texts])
    for score, *cells in zip(scores, *columns, strict=True):
        yield f"| {score.method} | {' | '.join(cells)} |"


def _finite(score: Score) -> dict[str, str | int | float | None]:
    return {k: None if isinstance(v, float) and not math.isfinite(v) else v for k, v in asdict(score).items()}
