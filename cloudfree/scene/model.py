"""What the ground under a cloud probably looks like, by all that the scene says of itself.

The clear pixels tell how reflectance goes with radar and with the place's other dates, and a smooth field goes through
what these leave over (`evidence`). Simpler models, such as the mean colour, a plain regression on radar or on one
image, are the same with less in it. Which of them to believe the scene decides itself: some of its clear ground is
hidden, and all are mixed as they find it again (`stack`). As each is linear in the same features, so is the mixture.

The model lives on a coarse grid of about 10 m, where Sentinel-1's detail ends, and is sampled bilinearly from there; an
image of another date brings its own detail back.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cache, cached_property
from importlib.resources import files

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from cloudfree.arrays import Float64Array, Image, Mask, as_image, known_of
from cloudfree.inputs.planet import Scene
from cloudfree.scene import coarse, evidence, stack
from cloudfree.scene.evidence import Fit, Samples
from cloudfree.scene.features import OtherDate, Radar, Source
from cloudfree.scene.lattice import Lattice
from cloudfree.scene.survey import Survey

PIXEL_M = 10.0
"""Sentinel-1's pixel, and the finest that a fit is worth."""

_MOST_SAMPLES = 12_000  # clear pixels to fit to: bounds the time whatever the area
# Cloud leaks beyond its mask: nearer than this a clear pixel counts less, at half the distance hardly at all, which is
# enough where there is nothing else. What of it reaches farther is told from the ground by its decay.
_LEAK_M, _LEAK_POWER, _LEAST_WEIGHT = 50.0, 8, 1e-3
_FEWEST_TESTED = 100  # pixels in a hole
_ITERATIONS, _WARM_ITERATIONS = 10, 3

# Reflectance of dark ground in blue, green, red, NIR, and the most that may be taken for path radiance.
_DARK_GROUND, _MAX_PATH_RADIANCE = np.array([0.03, 0.04, 0.03, 0.10]), 0.12


@dataclass(frozen=True)
class DateTerm:
    """What an image of another date adds to the model: coefficients (features, 4) of its own features."""

    image: OtherDate
    coefficients: Float64Array

    def reflectance(self, seen: Image) -> Image:
        """Its part of the ground (4, H, W), where the image shows `seen` (4, H, W) at any resolution."""
        return _weighted_sum(self.image.maps_of(seen), self.coefficients, seen.shape[1:])


@dataclass(frozen=True)
class SceneModel:
    """The model of one scene of `shape` (H, W).

    `ground` (4, h, w) is its reflectance on the coarse grid, but for what the `dates` add. `clear_share` (0..1): share
    of the valid pixels that could be learned from. `path_radiance` (4,): reflectance that even the scene's darkest
    clear pixels have, beyond what dark ground has, as in top-of-atmosphere products. To a network it would look like
    haze, so it is taken off before and put back after. `weights` are what the holes gave each candidate. `trial` is the
    same model without what one hole hides, to try a network on.
    """

    shape: tuple[int, int]
    ground: Image
    dates: tuple[DateTerm, ...]
    clear_share: float
    path_radiance: Image
    weights: dict[str, float]
    trial: Trial | None = None

    def window(self, rows: range, cols: range, others: Sequence[Image] = ()) -> Image:
        """Reflectance (4, rows, columns), 0..1, of a window of the scene.

        others: what the images of other dates show there at full resolution (4, rows, columns), NaN where nothing;
        without them the coarse grid has to do.
        """
        where = self.shape, slice(rows.start, rows.stop), slice(cols.start, cols.stop)
        found = coarse.stretched(self.ground, *where)
        for term, seen in zip(self.dates, others or itertools.repeat(None), strict=bool(others)):
            smooth = coarse.stretched(term.image.reflectance, *where)
            found += term.reflectance(smooth if seen is None else np.where(np.isfinite(seen), seen, smooth))
        return np.clip(found, 0, 1)

    def rows(self, start: int, stop: int, others: Sequence[Image] = ()) -> Image:
        """Full-width rows (4, stop - start, W), 0 <= start <= stop <= H."""
        return self.window(range(start, stop), range(self.shape[1]), others)

    def whole(self, others: Sequence[Image] = ()) -> Image:
        """Reflectance (4, H, W) of the scene."""
        return self.rows(0, self.shape[0], others)


@dataclass(frozen=True)
class Trial:
    """The model of a scene some of whose clear ground, `hole` (h, w), was hidden too."""

    hole: Mask
    model: SceneModel


def of_survey(survey: Survey, scene: Scene) -> SceneModel:
    """The model of a scene as surveyed, radar and references co-registered."""
    reflectance = np.clip(scene.reflectance(survey.dn), 0, 1)
    size_m, shape = survey.grid.pixel_size_m, scene.grid.shape
    return fit(reflectance, survey.sar_db, survey.cloudy, survey.data, size_m, shape, survey.others)


def fit(
    reflectance: Image,
    sar_db: Image,
    hidden: Mask,
    valid: Mask,
    pixel_size_m: float = PIXEL_M,
    shape: tuple[int, int] | None = None,
    others: Sequence[Image] = (),
    *,
    by_holes: bool = True,
) -> SceneModel:
    """Fit to a scene on a coarse grid, such as that of a survey.

    reflectance (4, h, w) 0..1; sar_db (2, h, w) dB, VV and VH, NaN where invalid, co-registered; hidden (h, w): under
    cloud, shadow or their edge; valid (h, w): the scene has data. `shape` (H, W): the scene's at full resolution, if
    that is another. others: the place on other dates (4, h, w), NaN where an image shows nothing. Without holes the
    whole model is all, which is quicker by far. Equal arguments give equal pixels.
    """
    clear = valid & ~hidden
    radar, shape = Radar.of(sar_db, clear, pixel_size_m), shape or (hidden.shape[0], hidden.shape[1])
    if not clear.any():
        return SceneModel(shape, _land(radar), (), 0.0, np.zeros(4, np.float32), {"other places": 1.0})
    view = _View.of(reflectance, hidden, clear, radar, _dates(others, radar), pixel_size_m)
    candidates = [each for each in _candidates(view) if by_holes or each.expected_weight]
    samples = view.samples(_edge_weight(view.distance_m))
    fits = [each.fitted(samples) for each in candidates]
    holes = stack.holes(hidden, clear) if by_holes else []
    trials = [trial for hole in holes if (trial := _Tried.of(view, candidates, fits, hidden, hole))]
    expected = np.array([each.expected_weight for each in candidates])
    weights = stack.mixture([each.predicted for each in trials], [each.truth for each in trials], expected)
    ground, dates = view.terms(fits, weights)
    found = SceneModel(
        shape,
        ground,
        dates,
        clear_share=float(clear.sum() / valid.sum()),
        path_radiance=_path_radiance(reflectance[:, clear]),
        weights={each.name: round(float(weight), 3) for each, weight in zip(candidates, weights, strict=True)},
    )
    if not trials:
        return found
    ground, dates = view.terms(trials[0].fits, weights)
    return replace(found, trial=Trial(trials[0].hole, replace(found, ground=ground, dates=dates)))


def fit_fine(
    reflectance: Image,
    sar_db: Image,
    hidden: Mask,
    valid: Mask,
    pixel_size_m: float = PIXEL_M,
    others: Sequence[Image] = (),
    *,
    by_holes: bool = True,
) -> SceneModel:
    """`fit` for images at full resolution that fit in memory: averaged to the coarse grid first.

    A coarse pixel is hidden where any part of it is.
    """
    shape = hidden.shape[0], hidden.shape[1]
    small = (max(1, round(shape[0] * pixel_size_m / PIXEL_M)), max(1, round(shape[1] * pixel_size_m / PIXEL_M)))
    if small >= shape:
        return fit(reflectance, sar_db, hidden, valid, pixel_size_m, others=others, by_holes=by_holes)
    return fit(
        np.nan_to_num(coarse.averaged(reflectance, valid, small)),
        coarse.averaged(sar_db, known_of(sar_db), small),
        coarse.touched(hidden, small),
        coarse.touched(valid, small),
        pixel_size_m * shape[1] / small[1],
        shape,
        [coarse.averaged(image, known_of(image), small) for image in others],
        by_holes=by_holes,
    )


@cache
def global_coefficients() -> Float64Array:
    """(features + 1, 4) reflectance per feature of radar, the last row the mean, of the land in general.

    By `benchmarks/quality/fit_global_prior.py`.
    """
    table = json.loads(files("cloudfree.scene").joinpath("global_prior.json").read_text(encoding="utf-8"))
    return np.array(table["coefficients"])


def _land(radar: Radar) -> Image:
    """What the land in general looks like under this radar (4, h, w)."""
    *slopes, mean = global_coefficients()
    maps = itertools.islice(radar.maps(), len(slopes))
    return as_image(mean)[:, None, None] + _weighted_sum(maps, np.array(slopes), radar.seen.shape)


def _path_radiance(clear: Image) -> Image:
    """Of clear pixels (4, n)."""
    darkest = np.percentile(clear, 1, axis=1)
    return as_image(np.clip(darkest - _DARK_GROUND, 0, _MAX_PATH_RADIANCE))


@dataclass(frozen=True)
class _Candidate:
    """A model of the ground: with which groups of features, drawn around what, and with a field or none.

    `expected_weight` is that in the mixture for a scene that tells nothing: those that know most share all of it, where
    there are images with each of these alone, which fails in other ways.
    """

    name: str
    groups: list[int]
    expected: Float64Array
    with_field: bool
    expected_weight: float = 0.0

    def fitted(self, samples: Samples, start: Fit | None = None, iterations: int = _ITERATIONS) -> Fit:
        """To samples, from the beginning or from a fit to like ones."""
        return evidence.fit(
            samples, self.groups, self.expected, with_field=self.with_field, start=start, iterations=iterations
        )


def _candidates(view: _View) -> list[_Candidate]:
    """The whole model, and simpler ones: the mean, a regression on radar, what radar says, each date by itself."""
    nothing, land = np.zeros((view.design.shape[1], 4)), view.land()
    one, both, with_veil, every = [0], [0, 1], [0, 1, view.veil], list(range(view.veil))
    simple = [
        _Candidate("mean", [], nothing, False),
        _Candidate("regression on radar", one, land, False),
    ]
    of_radar = [
        _Candidate("radar and surroundings", both, land, True),
        _Candidate("the same, cloud's edges heeded", with_veil, land, True),
    ]
    if not view.dates:
        return [*simple, *(replace(each, expected_weight=0.5) for each in of_radar)]
    alone = [
        _Candidate(f"image {number} alone", [2 * number], nothing, False, 0.5 / len(view.dates))
        for number in range(1, len(view.dates) + 1)
    ]
    return [*simple, *of_radar, *alone, _Candidate("all together", every, nothing, True, 0.5)]


def _dates(others: Sequence[Image], radar: Radar) -> tuple[OtherDate, ...]:
    """Images of other dates, their gaps filled: with what is to be expected there, by radar and the other images.

    For a linear model that is as right as fitting it anew for every combination of what is missing.
    """
    known = [known_of(image) for image in others]
    filled = [coarse.without_gaps(image, seen) for image, seen in zip(others, known, strict=True)]
    for number, seen in enumerate(known):
        if seen.all() or not seen.any():
            continue
        rest = tuple(OtherDate.of(image, seen) for i, image in enumerate(filled) if i != number)
        view = _View.of(filled[number], ~seen, seen, radar, rest, radar.pixel_size_m)
        whole = _candidates(view)[-1].fitted(view.samples(_edge_weight(view.distance_m)))
        ground, terms = view.terms([whole], np.ones(1))
        expected = ground + sum(term.reflectance(term.image.reflectance) for term in terms)
        filled[number] = as_image(np.where(seen, filled[number], np.clip(expected, 0, 1)))
    return tuple(OtherDate.of(image, radar.seen) for image in filled)


@dataclass(frozen=True)
class _View:
    """Some clear pixels of a scene, and what every source shows there.

    sample (n,): their flat indexes; design (n, features + 2), the last but one the veil of cloud beyond the mask, the
    last ones; target (n, 4); distance_m (n,) from the mask.
    """

    radar: Radar
    dates: tuple[OtherDate, ...]
    lattice: Lattice
    sample: NDArray[np.intp]
    design: Float64Array
    target: Float64Array
    distance_m: Float64Array

    @classmethod
    def of(
        cls,
        reflectance: Image,
        hidden: Mask,
        clear: Mask,
        radar: Radar,
        dates: tuple[OtherDate, ...],
        pixel_size_m: float,
    ) -> _View:
        sample = np.random.default_rng(0).permutation(np.flatnonzero(clear))[:_MOST_SAMPLES]
        distance_m = _distance_m(hidden, pixel_size_m).ravel()[sample]
        sources: list[Source] = [radar, *dates]
        columns = [each.ravel()[sample] for source in sources for each in source.maps()]
        design = np.stack([*columns, np.exp(-distance_m / _LEAK_M), np.ones(len(sample))], axis=1, dtype=np.float64)
        target = reflectance.reshape(len(reflectance), -1)[:, sample].T.astype(np.float64)
        lattice = Lattice((hidden.shape[0], hidden.shape[1]), pixel_size_m)
        return cls(radar, dates, lattice, sample, design, target, distance_m)

    @property
    def sources(self) -> list[Source]:
        return [self.radar, *self.dates]

    @cached_property
    def group_of(self) -> NDArray[np.intp]:
        """The group of each feature: two of every source, the veil, and -1 for the ones."""
        sizes = [size for source in self.sources for size in source.sizes]
        return np.concatenate([np.repeat(np.arange(len(sizes)), sizes), [len(sizes), -1]])

    @property
    def veil(self) -> int:
        """The group of the veil."""
        return 2 * (1 + len(self.dates))

    def land(self) -> Float64Array:
        """The coefficients (features, 4) that the land in general has."""
        land, expected = global_coefficients(), np.zeros((self.design.shape[1], 4))
        expected[: len(land) - 1], expected[-1] = land[:-1], land[-1]
        return expected

    def samples(self, weight: Float64Array) -> Samples:
        chosen = weight > 0
        return Samples(
            self.design[chosen],
            self.group_of,
            self.target[chosen],
            weight[chosen],
            self.lattice.at(self.sample[chosen]),
            self.lattice.precision(),
        )

    def terms(self, fits: Sequence[Fit], weights: Float64Array) -> tuple[Image, tuple[DateTerm, ...]]:
        """The mixture of fits: the ground (4, h, w) without other dates, and what these add."""
        coefficients = np.einsum("k,kfb->fb", weights, [each.coefficients for each in fits])
        nodes = np.einsum("k,knb->nb", weights, [each.field for each in fits])
        ends = np.cumsum([sum(source.sizes) for source in self.sources])
        of_radar, *of_dates, rest = np.split(coefficients, ends)
        ground = self.lattice.image(nodes) + as_image(rest[-1])[:, None, None]
        ground += _weighted_sum(self.radar.maps(), of_radar, self.lattice.shape)
        return ground, tuple(map(DateTerm, self.dates, of_dates))


@dataclass(frozen=True)
class _Tried:
    """What candidates make of a hole: fits without it, predicted (k, n, 4) and truth (n, 4) in it."""

    hole: Mask
    fits: list[Fit]
    predicted: Float64Array
    truth: Float64Array

    @classmethod
    def of(
        cls, view: _View, candidates: Sequence[_Candidate], fits: Sequence[Fit], hidden: Mask, hole: Mask
    ) -> _Tried | None:
        """None where the hole, or what it leaves, is too small to tell. `fits` to all that is clear are gone on
        from."""
        in_hole = hole.ravel()[view.sample]
        tested = in_hole & (view.distance_m > _LEAK_M)
        distance_m = _distance_m(hidden | hole, view.lattice.pixel_size_m).ravel()[view.sample]
        weight = np.where(in_hole, 0, _edge_weight(distance_m))
        if min(tested.sum(), (~in_hole).sum()) < _FEWEST_TESTED:
            return None
        samples = view.samples(weight)
        fits = [
            each.fitted(samples, replace(before, tail=before.tail[~in_hole]), _WARM_ITERATIONS)
            for each, before in zip(candidates, fits, strict=True)
        ]
        at_nodes, design = view.lattice.at(view.sample[tested]), view.design[tested].copy()
        design[:, -2] = 0  # what is predicted is the ground without the veil
        predicted = np.stack([design @ each.coefficients + at_nodes @ each.field for each in fits])
        return cls(hole, fits, predicted, view.target[tested])


def _edge_weight(distance_m: Float64Array) -> Float64Array:
    """How far pixels (n,) at a distance from the mask count."""
    return np.clip((distance_m / _LEAK_M) ** _LEAK_POWER, _LEAST_WEIGHT, 1)


def _distance_m(hidden: Mask, pixel_size_m: float) -> Float64Array:
    """From the mask (h, w); where there is none, far."""
    if not hidden.any():
        return np.full(hidden.shape, 1e6)
    return np.asarray(pixel_size_m * ndimage.distance_transform_edt(~hidden))


def _weighted_sum(maps: Iterable[Image], coefficients: Float64Array, shape: tuple[int, ...]) -> Image:
    """The sum (C, H, W) of maps (H, W), each times its coefficients (features, C)."""
    total = np.zeros((coefficients.shape[1], *shape), np.float32)
    for each, row in zip(maps, coefficients.astype(np.float32), strict=True):
        total += row[:, None, None] * each
    return total
