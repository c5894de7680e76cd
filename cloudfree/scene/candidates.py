"""Models of a scene's ground from the simplest to the richest, and how each does where clear ground is hidden from it.

All but trees are linear in the same features, so that a mixture of them is one more of the same kind.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import cache, cached_property

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import ThreadpoolController

from cloudfree import process
from cloudfree.arrays import Float64Array, Image, Mask, as_image
from cloudfree.geometry import distance_m
from cloudfree.scene import evidence
from cloudfree.scene.evidence import Fit, Samples
from cloudfree.scene.features import DateTerm, FeatureSource, OtherDate, Radar, features_at, land_coefficients, summed
from cloudfree.scene.lattice import Lattice
from cloudfree.scene.neighbourhood import FEWEST_TREES, Neighbourhood
from cloudfree.scene.stack import Hole
from cloudfree.scene.trees import Trees
from cloudfree.scene.uncertainty import Gap

FEWEST_TESTED = 100
"""Pixels in a hole that tell anything."""

_MOST_SAMPLES = 12_000  # clear pixels to fit to: bounds the time whatever the area
# Cloud leaks beyond its mask: nearer than this a clear pixel counts less, at half the distance hardly at all, which is
# enough where there is nothing else. What of it reaches farther is told from the ground by its decay.
LEAK_M = 50.0
_LEAK_POWER, _LEAST_WEIGHT = 8, 1e-3
_LEAK_ENDS_M = 6 * LEAK_M
_ITERATIONS, _WARM_ITERATIONS = 5, 1
_MOST_GROWN_FROM, _FEWEST_GROWN_FROM = 6_000, 300  # pixels that no cloud leaks to
_OUTLIER, _MAD_TO_DEVIATION, _LEAST_ERROR = 3.0, 1.4826, 0.001


@dataclass(frozen=True)
class Candidate:
    """A model of the ground: with which groups of features, drawn around what, and with a field or none.

    `expected_weight` is its share (0..1) of the mixture for a scene that has no holes to decide by. The models with
    the most features share all of it; where there are images of other dates, half goes to each of these alone, for
    they fail in other ways.
    """

    name: str
    groups: list[int]
    expected: Float64Array
    with_field: bool
    expected_weight: float = 0.0

    def fitted(self, samples: Samples, start: Fit | None, iterations: int) -> Fit:
        """Fit it to samples, from the beginning or from a fit to similar ones."""
        return evidence.fit(
            samples, self.groups, self.expected, with_field=self.with_field, start=start, iterations=iterations
        )


def fitted_side_by_side(
    candidates: Sequence[Candidate], samples: Samples, starts: Sequence[Fit] | None = None
) -> list[Fit]:
    """Fit each candidate to samples, on a thread of its own, from the beginning or from fits to similar samples.

    Matrices are too small for the threads of BLAS, which cost a third here; SuperLU has none.
    """
    pairs: Iterator[tuple[Candidate, Fit | None]] = zip(candidates, starts or itertools.repeat(None), strict=False)
    iterations = _WARM_ITERATIONS if starts else _ITERATIONS
    with _blas().limit(limits=1), ThreadPoolExecutor(min(len(candidates), process.threads())) as pool:
        return list(pool.map(lambda pair: pair[0].fitted(samples, pair[1], iterations), pairs))


@cache
def _blas() -> ThreadpoolController:
    return ThreadpoolController().select(user_api="blas")


def candidates_of(pixels: ClearPixels) -> list[Candidate]:
    """The whole model, and simpler ones: the mean, a regression on radar, radar with a field, each date by itself.

    Without radar there is no regression on it, and a field alone stands in the place of radar with a field.
    """
    nothing = np.zeros((pixels.design.shape[1], 4))
    simple, in_place = [Candidate("mean", [], nothing, False)], _without_dates(pixels)
    if pixels.radar:
        simple.append(Candidate("regression on radar", [0], pixels.land(), False))
    if not pixels.dates:
        return [*simple, *(replace(candidate, expected_weight=0.5) for candidate in in_place)]
    first, every = pixels.leak_group - 2 * len(pixels.dates), list(range(pixels.leak_group))
    alone = [
        Candidate(f"image {number} alone", [first + 2 * (number - 1)], nothing, False, 0.5 / len(pixels.dates))
        for number in range(1, len(pixels.dates) + 1)
    ]
    return [*simple, *in_place, *alone, Candidate("all together", every, nothing, True, 0.5)]


def _without_dates(pixels: ClearPixels) -> list[Candidate]:
    """The richest models that know nothing of other dates: with a field, and one with cloud that leaks too."""
    if pixels.radar is None:
        groups, expected, names = [], np.zeros((pixels.design.shape[1], 4)), ("surroundings", "surroundings")
    else:
        groups, expected, names = [0, 1], pixels.land(), ("radar and surroundings", "radar, surroundings")
    leaking = [*groups, pixels.leak_group]
    return [
        Candidate(names[0], groups, expected, True),
        Candidate(f"{names[1]}, leaking cloud", leaking, expected, True),
    ]


@dataclass(frozen=True)
class ClearPixels:
    """Some clear pixels of a scene, and the features of every source there; `radar` is None where there is none.

    sample (n,): their flat indexes; design (n, features + 2), the last but one cloud that leaks beyond the mask, the
    last ones; target (n, 4); distance_m (n,) from the mask, as far as cloud leaks.
    """

    radar: Radar | None
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
        radar: Radar | None,
        dates: tuple[OtherDate, ...],
        pixel_size_m: float,
    ) -> ClearPixels:
        """Of a scene (4, h, w), `hidden` in part, `clear` (h, w) where it can be learned from; one grid for all."""
        sample = np.random.default_rng(0).permutation(np.flatnonzero(clear))[:_MOST_SAMPLES]
        away_m = distance_m(hidden, pixel_size_m, _LEAK_ENDS_M).ravel()[sample].astype(np.float64)
        leak = np.where(away_m > _LEAK_ENDS_M, 0, np.exp(-away_m / LEAK_M))
        sources: list[FeatureSource] = [*([radar] if radar else []), *dates]
        columns = [feature for source in sources for feature in features_at(source, sample)]
        design = np.stack([*columns, leak, np.ones(len(sample))], axis=1, dtype=np.float64)
        target = reflectance.reshape(len(reflectance), -1)[:, sample].T.astype(np.float64)
        lattice = Lattice((hidden.shape[0], hidden.shape[1]), pixel_size_m)
        return cls(radar, dates, lattice, sample, design, target, away_m)

    @property
    def sources(self) -> list[FeatureSource]:
        return [*([self.radar] if self.radar else []), *self.dates]

    @cached_property
    def group_of(self) -> NDArray[np.intp]:
        """The group of each feature: two of every source, the leak, and -1 for the ones."""
        sizes = [size for source in self.sources for size in source.sizes]
        return np.concatenate([np.repeat(np.arange(len(sizes)), sizes), [len(sizes), -1]])

    @cached_property
    def neighbourhood(self) -> Neighbourhood:
        """What trees are shown of any pixel."""
        return Neighbourhood(self.dates, self.radar)

    @cached_property
    def around(self) -> Image:
        """What trees are shown of these pixels (n, f)."""
        return self.neighbourhood.features(self.sample)

    def trees(self, count: int, distance_m: Float64Array | None = None) -> Trees | None:
        """So many trees grown from pixels that no cloud leaks to, by their distance (n,) from the mask or another one.

        None without images of other dates, or where such pixels are few.
        """
        away = np.flatnonzero((self.distance_m if distance_m is None else distance_m) > LEAK_M)[:_MOST_GROWN_FROM]
        if not self.dates or len(away) < _FEWEST_GROWN_FROM:
            return None
        return Trees.grown(self.around[away], as_image(self.target[away]), count)

    @property
    def leak_group(self) -> int:
        """The group of the leak."""
        return 2 * len(self.sources)

    def land(self) -> Float64Array:
        """The coefficients (features, 4) that the land in general has."""
        land, expected = land_coefficients(), np.zeros((self.design.shape[1], 4))
        expected[: len(land) - 1], expected[-1] = land[:-1], land[-1]
        return expected

    def samples(self, weight: Float64Array | None = None) -> Samples:
        """The pixels of some weight (n,) 0..1; without one, that which their distance from the mask gives them."""
        weight = _edge_weight(self.distance_m) if weight is None else weight
        chosen = weight > 0
        return Samples(
            self.design[chosen],
            self.group_of,
            self.target[chosen],
            weight[chosen],
            self.lattice.at(self.sample[chosen]),
            self.lattice.precision(),
        )

    def mixed(self, fits: Sequence[Fit], weights: Float64Array) -> tuple[Float64Array, Float64Array]:
        """Coefficients (features, 4) and nodes of the field (nodes, 4) of a mixture of fits."""
        coefficients = np.einsum("k,kfb->fb", weights, [fit.coefficients for fit in fits])
        return coefficients, np.einsum("k,knb->nb", weights, [fit.field for fit in fits])

    def terms(self, *mixtures: tuple[Float64Array, Float64Array]) -> list[tuple[Image, tuple[DateTerm, ...]]]:
        """Of mixtures, as `mixed` gives them, the ground (4, h, w) without other dates, and what these add."""
        parts = [np.split(coefficients, self._ends) for coefficients, _ in mixtures]
        grounds = self._by_radar([first for first, *_ in parts])
        grounds_and_terms = []
        for ground, (*of_sources, rest), (_, nodes) in zip(grounds, parts, mixtures, strict=True):
            of_dates = of_sources[len(of_sources) - len(self.dates) :]
            np.add(ground, as_image(rest[-1])[:, None, None], out=ground)
            self.lattice.add(nodes, ground)
            grounds_and_terms.append((ground, tuple(map(DateTerm, self.dates, of_dates))))
        return grounds_and_terms

    def _by_radar(self, coefficients: Sequence[Float64Array]) -> list[Image]:
        """What radar adds to the ground (4, h, w), by its coefficients (features, 4) in each of some mixtures."""
        if self.radar is None:
            return [np.zeros((self.target.shape[1], *self.lattice.shape), np.float32) for _ in coefficients]
        together = summed(
            self.radar.shown, self.radar.features, np.concatenate(coefficients, axis=1), self.lattice.shape
        )
        return np.split(together, len(coefficients))

    def error_variance(self, coefficients: Float64Array, nodes: Float64Array) -> Image:
        """Of what a model leaves over (4,) on clear pixels: on those that no cloud leaks to, if they are enough."""
        away = self.distance_m > LEAK_M
        chosen = away if away.sum() >= FEWEST_TESTED else np.ones_like(away)
        design = self.design[chosen].copy()
        design[:, -2] = 0
        left_over = self.target[chosen] - design @ coefficients - self.lattice.at(self.sample[chosen]) @ nodes
        # A cloud that the mask missed is no error of the model's.
        spread = _MAD_TO_DEVIATION * np.median(np.abs(left_over), axis=0)
        left_over = np.clip(left_over, -_OUTLIER * spread, _OUTLIER * spread)
        return as_image(np.square(left_over).mean(axis=0) + _LEAST_ERROR**2)

    def gaps(self, coefficients: Float64Array) -> tuple[Gap, ...]:
        """Where a source shows nothing, and the variance of what it would have told, by how it varies elsewhere."""
        starts = [0, *self._ends][: len(self._ends)]
        return tuple(
            Gap(
                ~source.known,
                as_image((self.design[:, start:end] @ coefficients[start:end]).var(axis=0) * source.unexplained),
            )
            for source, start, end in zip(self.sources, starts, self._ends, strict=True)
            if not source.known.all()
        )

    @property
    def _ends(self) -> NDArray[np.intp]:
        """Where each source's features end."""
        return np.cumsum([sum(source.sizes) for source in self.sources], dtype=np.intp)


@dataclass(frozen=True)
class HoleTest:
    """How k candidates do in a hole of the clear ground.

    fits, and trees if these are one of the candidates, the last: to the pixels outside it; where (n,): flat indexes of
    pixels inside; predicted (k, n, 4) and truth (n, 4) there.
    """

    hole: Hole
    fits: list[Fit]
    trees: Trees | None
    where: NDArray[np.intp]
    predicted: Float64Array
    truth: Float64Array

    @classmethod
    def of(
        cls, pixels: ClearPixels, candidates: Sequence[Candidate], fits: Sequence[Fit], hole: Hole, *, with_trees: bool
    ) -> HoleTest | None:
        """Test candidates, and trees, on a hole, their fits begun from `fits` to all clear pixels.

        None where the hole, or what it leaves, is too small to tell.
        """
        in_hole = hole.mask.ravel()[pixels.sample]
        tested = in_hole & (pixels.distance_m > LEAK_M)
        from_hole_m = distance_m(hole.mask, pixels.lattice.pixel_size_m, LEAK_M).ravel()[pixels.sample]
        away_m = np.minimum(pixels.distance_m, from_hole_m)
        weight = np.where(in_hole, 0, _edge_weight(away_m))
        if min(tested.sum(), (~in_hole).sum()) < FEWEST_TESTED:
            return None
        trees = pixels.trees(FEWEST_TREES, away_m) if with_trees else None
        if with_trees and trees is None:
            return None
        samples = pixels.samples(weight)
        starts = [replace(before, tail=before.tail[~in_hole]) for before in fits]
        fits = fitted_side_by_side(candidates, samples, starts)
        at_nodes, design = pixels.lattice.at(pixels.sample[tested]), pixels.design[tested].copy()
        design[:, -2] = 0  # what is predicted is the ground without the leak
        predicted = [design @ fit.coefficients + at_nodes @ fit.field for fit in fits]
        predicted += [trees.predicted(pixels.around[tested])] if trees else []
        return cls(hole, fits, trees, pixels.sample[tested], np.stack(predicted), pixels.target[tested])


def _edge_weight(distance_m: Float64Array) -> Float64Array:
    """How far pixels (n,) at a distance from the mask count."""
    return np.clip((distance_m / LEAK_M) ** _LEAK_POWER, _LEAST_WEIGHT, 1)
