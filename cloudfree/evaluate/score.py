"""How well clouds are removed: methods and baselines against the truth, image by image, as one table."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np

from cloudfree.arrays import Image, Mask
from cloudfree.errors import InputError
from cloudfree.evaluate import metrics
from cloudfree.evaluate import published_metrics as published
from cloudfree.evaluate.baselines import REFERENCE_BASELINES, baselines_of
from cloudfree.evaluate.methods import Method
from cloudfree.evaluate.triplets import Observation, Triplet, find, paste_clouds, read

ImageCallback = Callable[[Triplet, Mapping[str, Image]], None]
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


@dataclass(frozen=True)
class Score:
    """One method on some pixels of one image, or the mean of as many `images`.

    psnr_db, ssim and the angle sam_deg as in `metrics`; mae: mean absolute error of reflectance, over bands too. NaN
    where no pixel has the measure, infinite PSNR of equal images.
    """

    image: str
    method: str
    region: str
    pixels: int
    psnr_db: float
    ssim: float
    sam_deg: float
    mae: float
    images: int = 1


@dataclass(frozen=True)
class Table:
    """Scores of each image, and which images had nothing to score."""

    scores: tuple[Score, ...]
    skipped: tuple[str, ...]
    protocol: Protocol
    same_date: bool
    keep_observed: bool

    def averages(self) -> list[Score]:
        """The mean over images of each method and region; an image without the region does not take part.

        All means of a region are of the same images. Where only some have other dates, what needs these is compared in
        regions of their own, and with everything else.
        """
        groups: dict[tuple[str, str], list[Score]] = {}
        for score in self._comparable():
            groups.setdefault((score.region, score.method), []).append(score)
        return [_mean_score(method, region, scores) for (region, method), scores in groups.items()]

    def _comparable(self) -> Iterator[Score]:
        """The scores, those of some images alone in regions of their own."""
        with_others = {score.image for score in self.scores if score.method in REFERENCE_BASELINES}
        if with_others == {score.image for score in self.scores}:
            yield from self.scores
            return
        yield from (score for score in self.scores if score.method not in REFERENCE_BASELINES)
        for score in self.scores:
            if score.image in with_others:
                yield replace(score, region=f"{score.region}, images with references")


def evaluate(
    source: Path,
    methods: Mapping[str, Method] | None = None,
    *,
    root: Path | None = None,
    protocol: Protocol = "true",
    same_date: bool = False,
    keep_observed: bool = False,
    callback: ImageCallback | None = None,
) -> Table:
    """Score the baselines and the given methods on all images of `source` (see `triplets.find`), one after the other.

    Where an image comes with other dates, what these make of it alone is a baseline too, and methods may use them.
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
        triplet = paste_clouds(triplet) if same_date else triplet
        triplet = triplet.crop(*published.centre(*triplet.valid.shape)) if protocol == "published" else triplet
        compared = {**baselines_of(triplet.seen), **(methods or {})}
        restored = {name: _restore(method, triplet.seen, keep_observed) for name, method in compared.items()}
        for name, image in restored.items():
            scores += _score(triplet, name, image, protocol)
        if callback:
            callback(triplet, restored)
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
    absolute = np.abs(error).mean(0)
    maps = definitions.similarity_map(restored, truth), definitions.angle_map(restored, truth), absolute
    for region, chosen in _regions(triplet).items():
        mse = metrics.mean(np.square(error).mean(0), chosen)
        psnr_db = -10 * math.log10(mse) if mse else psnr_of_equal
        ssim, sam_deg, mae = (metrics.mean(values, chosen) for values in maps)
        yield Score(triplet.name, method, region, int(chosen.sum()), psnr_db, ssim, sam_deg, mae)


def _regions(triplet: Triplet) -> dict[str, Mask]:
    """Pixels that count (H, W) by the name of the region; none is empty."""
    valid = triplet.valid
    regions = {"all": valid}
    if triplet.seen.mask is not None:
        regions |= {"cloud": valid & triplet.seen.mask, "clear": valid & ~triplet.seen.mask}
    if triplet.land_cover is not None:
        cover = triplet.land_cover
        regions |= {f"class: {name}": valid & (cover == code) for code, name in WORLDCOVER.items()}
        regions |= {f"group: {name}": valid & np.isin(cover, codes) for name, codes in PUBLISHED_GROUPS.items()}
    return {name: chosen for name, chosen in regions.items() if chosen.any()}


def _mean_score(method: str, region: str, scores: list[Score]) -> Score:
    psnr_db, ssim, sam_deg, mae = (
        metrics.mean(np.array([getattr(score, name) for score in scores])) for name in MEASURES
    )
    pixels = sum(score.pixels for score in scores)
    return Score("mean", method, region, pixels, psnr_db, ssim, sam_deg, mae, len(scores))
