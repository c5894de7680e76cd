"""What the ground under a cloud probably looks like, by all that the scene says of itself.

The clear pixels tell how reflectance goes with radar and with the place's other dates, and a smooth field goes through
what these leave over (`evidence`). Simpler models, such as the mean colour, a plain regression on radar or on one
image, are the same with less in it. Which of them to believe the scene decides itself: some of its clear ground is
hidden, and all are mixed as they find it again (`stack`). As each is linear in the same features, so is the mixture.
Where there are images of other dates, `trees` stand beside them, for what no line can follow.

The model lives on a coarse grid of about 10 m, where Sentinel-1's detail ends, and is sampled bilinearly from there; an
image of another date brings its own detail back. Trees speak of hidden ground alone: clear ground, such as what is
observed is compared with, has the linear models, whose errors there are known.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np

from cloudfree.arrays import Float64Array, Image, Mask, as_image, known_of
from cloudfree.geometry import coarse, distance_m
from cloudfree.inputs.optical.scene import Scene
from cloudfree.scene import stack, unobstructed
from cloudfree.scene.candidates import (
    FEWEST_TESTED,
    LEAK_M,
    Candidate,
    ClearPixels,
    HoleTest,
    candidates_of,
    fitted_side_by_side,
)
from cloudfree.scene.features import (
    DateTerm,
    OtherDate,
    Radar,
    land_coefficients,
    land_deviation,
    some_of,
    summed,
)
from cloudfree.scene.neighbourhood import trees_for
from cloudfree.scene.stack import Hole
from cloudfree.scene.survey import Survey
from cloudfree.scene.uncertainty import Uncertainty

PIXEL_M = 10.0
"""Sentinel-1's pixel, and the finest that a fit is worth."""

_SMALL_PX = 500_000  # of the coarse grid: a scene that is tried in all of its holes, for one tells little
_TREES_EXPECTED = 0.5  # their weight in a scene that has no holes to decide by

# Reflectance of dark ground in blue, green, red, NIR, and the most that may be taken for path radiance.
_DARK_GROUND, _MAX_PATH_RADIANCE = np.array([0.03, 0.04, 0.03, 0.10]), 0.12


class Expected(NamedTuple):
    """What a model expects of a window of a scene.

    ground (4, rows, columns), 0..1: reflectance; deviation (4, rows, columns): one standard deviation of its errors;
    unobstructed (rows, columns), 0..1: the probability that nothing is in the way.
    """

    ground: Image
    deviation: Image
    unobstructed: Image


@dataclass(frozen=True)
class SceneModel:
    """The model of one scene of `shape` (H, W).

    `ground` (4, h, w) is its reflectance on the coarse grid, but for what the `dates` add; trees are in it where the
    mask hides, and near by. `clear_share` (0..1): share
    of the valid pixels that could be learned from. `path_radiance` (4,): reflectance that even the scene's darkest
    clear pixels have, beyond what dark ground has, as in top-of-atmosphere products. To a network it would look like
    haze, so it is taken off before and put back after. `weights` are what the holes gave each candidate. `uncertainty`
    is what they tell of its errors, at the resolution of the coarse grid; `error_variance` (4,) is that of what is left
    over on clear ground. `unobstructed` (h, w), 0..1: the probability that nothing is in the way of a pixel, were it
    under the mask. `held_out` are the same model without what a hole hides, to try a network on: one, or several of a
    small scene.
    """

    shape: tuple[int, int]
    ground: Image
    dates: tuple[DateTerm, ...]
    clear_share: float
    path_radiance: Image
    weights: dict[str, float]
    uncertainty: Uncertainty
    error_variance: Image
    unobstructed: Image
    held_out: tuple[HeldOutModel, ...] = ()

    def expected(self, rows: range, cols: range, others: Sequence[Image] = ()) -> Expected:
        """All that it expects of a window; `others` as of `window`."""
        ground = self.window(rows, cols, others)
        return Expected(ground, self.uncertainty.deviation(ground, rows, cols), self.unobstructed_window(rows, cols))

    def window(self, rows: range, cols: range, others: Sequence[Image] = ()) -> Image:
        """Reflectance (4, rows, columns), 0..1, of a window of the scene.

        others: what the images of other dates show there at full resolution (4, rows, columns), NaN where nothing;
        without them the coarse grid has to do.
        """
        where = self.shape, slice(rows.start, rows.stop), slice(cols.start, cols.stop)
        reflectance = coarse.upsampled(self.ground, *where)
        shown: Sequence[Image | None] = others or [None] * len(self.dates)
        for term, seen in zip(self.dates, shown, strict=True) if self.dates else ():  # without clear ground it has none
            smooth = coarse.upsampled(term.image.reflectance, *where)
            reflectance += term.reflectance(smooth if seen is None else np.where(np.isfinite(seen), seen, smooth))
        return np.clip(reflectance, 0, 1)

    def unobstructed_window(self, rows: range, cols: range) -> Image:
        """The probability (rows, columns), 0..1, that nothing is in the way of a window of the scene."""
        where = slice(rows.start, rows.stop), slice(cols.start, cols.stop)
        return coarse.upsampled(self.unobstructed[None], self.shape, *where)[0]

    @property
    def side_px(self) -> int:
        """Pixels of the scene along a side of one of the coarse grid."""
        return round(self.shape[0] / self.coarse_shape[0])

    @property
    def coarse_shape(self) -> tuple[int, int]:
        """(h, w) of the coarse grid."""
        return self.ground.shape[1], self.ground.shape[2]

    def rows(self, start: int, stop: int, others: Sequence[Image] = ()) -> Image:
        """Full-width rows (4, stop - start, W), 0 <= start <= stop <= H."""
        return self.window(range(start, stop), range(self.shape[1]), others)

    def coarse(self) -> Image:
        """Reflectance (4, h, w) on the coarse grid."""
        reflectance = self.ground + sum(term.reflectance(term.image.reflectance) for term in self.dates)
        return np.clip(as_image(reflectance), 0, 1)

    def whole(self, others: Sequence[Image] = ()) -> Image:
        """Reflectance (4, H, W) of the scene."""
        return self.rows(0, self.shape[0], others)


@dataclass(frozen=True)
class HeldOutModel:
    """The model of a scene some of whose clear ground was hidden too, in a hole."""

    hole: Hole
    model: SceneModel


def of_survey(survey: Survey, scene: Scene, *, by_holes: bool = True, by_sight: bool = True) -> SceneModel:
    """The model of a scene as surveyed, radar and references co-registered; `by_holes` and `by_sight` as of `fit`."""
    reflectance = np.clip(scene.reflectance(survey.dn), 0, 1)
    size_m, shape = survey.grid.pixel_size_m, scene.grid.shape
    inputs = reflectance, survey.sar_db, survey.cloudy, survey.data, size_m, shape, survey.others
    return fit(*inputs, by_holes=by_holes, by_sight=by_sight)


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
    by_sight: bool = True,
) -> SceneModel:
    """Fit to a scene on a coarse grid, such as that of a survey.

    reflectance (4, h, w) 0..1; sar_db (2, h, w) dB, VV and VH, NaN where invalid, co-registered (radar that is valid
    nowhere is no source); hidden (h, w): under cloud, shadow or their edge; valid (h, w): the scene has data. `shape`
    (H, W): the scene's at full resolution, if that is another. others: the place on other dates (4, h, w), NaN where an
    image shows nothing. Without holes the whole model is all, and there are no trees, which is quicker by far;
    `by_sight`: whether `unobstructed` is looked for, which is 0 else. Equal arguments give equal pixels.
    """
    clear = valid & ~hidden
    radar = Radar.of(sar_db, clear, pixel_size_m) if known_of(sar_db).any() else None
    shape = shape or (hidden.shape[0], hidden.shape[1])
    if not clear.any():
        return _land_alone(radar, hidden.shape, shape)
    other_dates = _dates(others, radar, radar.seen if radar else some_of(clear), pixel_size_m)
    pixels = ClearPixels.of(reflectance, hidden, clear, radar, other_dates, pixel_size_m)
    candidates = [candidate for candidate in candidates_of(pixels) if by_holes or candidate.expected_weight]
    fits = fitted_side_by_side(candidates, pixels.samples())
    trees = pixels.trees(trees_for(int((hidden & valid).sum()))) if by_holes else None
    holes = stack.holes(hidden, clear) if by_holes else []
    tests = [test for hole in holes if (test := HoleTest.of(pixels, candidates, fits, hole, with_trees=bool(trees)))]
    weights, linear = _weights(candidates, tests, with_trees=bool(trees))
    coefficients, nodes = pixels.mixed(fits, linear)
    kept = tests if hidden.size <= _SMALL_PX else tests[:1]
    without_hole = [pixels.mixed(test.fits, linear) for test in kept]
    (ground, dates), *held_out = pixels.terms((coefficients, nodes), *without_hole)
    names = [*(candidate.name for candidate in candidates), *(["trees"] if trees else [])]
    model = SceneModel(
        shape,
        ground,
        dates,
        clear_share=float(clear.sum() / valid.sum()),
        path_radiance=_path_radiance(reflectance[:, clear]),
        weights=dict(zip(names, weights.round(3).tolist(), strict=True)),
        uncertainty=_uncertainty(pixels, tests, weights, coefficients, shape),
        error_variance=pixels.error_variance(coefficients, nodes),
        unobstructed=np.zeros(hidden.shape, np.float32),
    )
    if by_sight:
        sight = _unobstructed(model, reflectance, hidden & valid, clear, pixel_size_m)
        model = replace(model, unobstructed=sight)
    if trees:
        pixels.neighbourhood.mix_in(model.ground, model.dates, trees, weights[-1], hidden & valid, pixel_size_m)
    for test, (ground, dates) in zip(kept, held_out, strict=True):
        if test.trees:
            pixels.neighbourhood.mix_in(ground, dates, test.trees, weights[-1], test.hole.mask, pixel_size_m)
    without = (replace(model, ground=ground, dates=dates) for ground, dates in held_out)
    return replace(model, held_out=tuple(map(HeldOutModel, (test.hole for test in kept), without)))


def _unobstructed(model: SceneModel, reflectance: Image, hidden: Mask, clear: Mask, pixel_size_m: float) -> Image:
    """By what a model leaves over on ground that no cloud leaks to, or on all clear ground if there is no other."""
    far = clear & (distance_m(hidden, pixel_size_m, LEAK_M) > LEAK_M)
    return unobstructed.probability(reflectance, model.coarse(), hidden, far if far.any() else clear)


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


def _land_alone(radar: Radar | None, coarse_shape: tuple[int, ...], shape: tuple[int, int]) -> SceneModel:
    """What the land in general looks like under this radar, for a scene that shows nothing of itself."""
    *slopes, mean = land_coefficients()
    ground = np.broadcast_to(as_image(mean)[:, None, None], (len(mean), *coarse_shape))
    if radar:
        ground = ground + summed(radar.shown, radar.features, np.array(slopes), coarse_shape)
    unsure = Uncertainty.constantly(land_deviation(), shape)
    nothing = np.zeros(4, np.float32)
    never = np.zeros(coarse_shape, np.float32)
    return SceneModel(shape, ground, (), 0.0, nothing, {"other places": 1.0}, unsure, land_deviation() ** 2, never)


def _weights(
    candidates: Sequence[Candidate], tests: Sequence[HoleTest], *, with_trees: bool
) -> tuple[Float64Array, Float64Array]:
    """Weights (k,) of all candidates, trees last, as holes decide; and of the linear ones, as shares of their sum."""
    linear = np.array([candidate.expected_weight for candidate in candidates])
    expected = np.append((1 - _TREES_EXPECTED) * linear, _TREES_EXPECTED) if with_trees else linear
    weights = stack.mixture([test.predicted for test in tests], [test.truth for test in tests], expected)
    return weights, stack.shares(weights[: len(candidates)], linear)


def _uncertainty(
    pixels: ClearPixels,
    tests: Sequence[HoleTest],
    weights: Float64Array,
    coefficients: Float64Array,
    shape: tuple[int, int],
) -> Uncertainty:
    """Calibrate the mixture's uncertainty by its errors in the holes, where every source shows something."""
    gaps = pixels.gaps(coefficients)
    shown = ~np.logical_or.reduce([np.zeros(pixels.lattice.shape, bool), *(gap.missing for gap in gaps)]).ravel()
    chosen = [shown[test.where] for test in tests]
    if sum(part.sum() for part in chosen) < FEWEST_TESTED:
        return replace(Uncertainty.constantly(land_deviation(), shape), gaps=gaps)
    predicted = np.concatenate(
        [np.einsum("k,knb->nb", weights, test.predicted)[part] for test, part in zip(tests, chosen, strict=True)]
    )
    truth = np.concatenate([test.truth[part] for test, part in zip(tests, chosen, strict=True)])
    return Uncertainty.of_errors(predicted.T, (predicted - truth).T, gaps, shape)


def _path_radiance(clear: Image) -> Image:
    """Of clear pixels (4, n)."""
    darkest = np.percentile(clear, 1, axis=1)
    return as_image(np.clip(darkest - _DARK_GROUND, 0, _MAX_PATH_RADIANCE))


def _dates(others: Sequence[Image], radar: Radar | None, clear: Mask, pixel_size_m: float) -> tuple[OtherDate, ...]:
    """Images of other dates, their gaps filled: with what is to be expected there, by radar and the other images.

    Their spread is looked at where the scene is `clear`. For a linear model that is as right as fitting it anew for
    every combination of what is missing.
    """
    known = [known_of(image) for image in others]
    plain = [coarse.without_gaps(image, seen) for image, seen in zip(others, known, strict=True)]
    dates = [OtherDate.of(image, clear & seen, seen) for image, seen in zip(plain, known, strict=True)]
    for number, seen in enumerate(known):
        if seen.all() or not seen.any():
            continue
        rest = (*dates[:number], *dates[number + 1 :])
        pixels = ClearPixels.of(dates[number].reflectance, ~seen, seen, radar, rest, pixel_size_m)
        (whole,) = fitted_side_by_side(candidates_of(pixels)[-1:], pixels.samples())
        ((ground, terms),) = pixels.terms((whole.coefficients, whole.field))
        expected = ground + sum(term.reflectance(term.image.reflectance) for term in terms)
        filled = as_image(np.where(seen, dates[number].reflectance, np.clip(expected, 0, 1)))
        unexplained = float(np.clip(whole.noise.sum() / pixels.target.var(axis=0).sum(), 0, 1))
        dates[number] = OtherDate.of(filled, clear, seen, unexplained)
    return tuple(dates)
