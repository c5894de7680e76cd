"""What else is known of every pixel of a scene, as numbers that reflectance can be regressed on.

Radar, and each image of another date, are sources of two groups of features: what they show, and smooth functions of
that. All of it lives on the scene's coarse grid; an image's own features need nothing but the colour of a pixel, and
can be had at full resolution too.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from cloudfree.arrays import Float64Array, Image, Mask, as_image, known_of
from cloudfree.bands import TYPICAL_SAR_DB
from cloudfree.geometry import without_gaps
from cloudfree.scene.smoothing import Smoothed
from cloudfree.scene.threads import over_rows

RADAR_SCALES_M = (10.0, 20.0, 40.0, 80.0, 160.0)
"""Standard deviations of the Gaussians that backscatter is smoothed by."""

# Backscatter is centred and scaled by what is typical of land, so that features mean the same in every scene.
_DEVIATION_DB = 4.0
_TEXTURE_SCALES_M = (20.0, 60.0)
_DETAIL_SCALE_M = 10.0
_SCALES_M = tuple(sorted({*RADAR_SCALES_M, *_TEXTURE_SCALES_M, _DETAIL_SCALE_M}))
_SEEN_PERCENT = (0.2, 99.8)

# Smooth functions are cosines in random directions (Rahimi and Recht 2007): together they span what a Gaussian kernel
# of this many standard deviations would.
_COSINES, _KERNEL = 30, 1.4

_ENOUGH_PX = 500_000
_CACHED_PX = 1 << 14
"""Whose features are made and added up while the processor's cache holds them."""


class FeatureSource(Protocol):
    """Something that is known of every pixel, in groups of features."""

    @property
    def sizes(self) -> tuple[int, ...]:
        """Features in each group."""

    @property
    def known(self) -> Mask:
        """Where it shows something itself (h, w); elsewhere it is filled."""

    @property
    def unexplained(self) -> float:
        """Share (0..1) of its variance that the filling cannot know."""

    def shown(self, rows: slice) -> Image:
        """What features are made of (k, rows, w), of some rows."""

    def features(self, shown: Image) -> Iterator[Image]:
        """The features (...) of what is shown (k, ...), one by one: together they are many times as large.

        Each number comes of its own pixel alone, so that parts equal the whole.
        """


@dataclass(frozen=True)
class Cosines:
    """Cosines of values that were standardized by `centre` and `scale` (k,): directions (k, n), phases (n,)."""

    centre: Image
    scale: Image
    directions: Image
    phases: Image

    @classmethod
    def of(cls, values: Image) -> Cosines:
        """For values that spread like these (k, n)."""
        rng = np.random.default_rng(0)
        directions = rng.normal(size=(len(values), _COSINES)) / _KERNEL
        phases = rng.uniform(0, 2 * np.pi, _COSINES)
        return cls(values.mean(1), values.std(1) + np.float32(1e-4), as_image(directions), as_image(phases))

    def of_values(self, values: Image) -> Iterator[Image]:
        """Each cosine (...) of values (k, ...)."""
        every = (slice(None), *[None] * (values.ndim - 1))
        standard = (values - self.centre[every]) / self.scale[every]
        share = np.empty_like(standard[0])
        for direction, phase in zip(self.directions.T, self.phases, strict=True):
            angle = np.full_like(share, phase)
            for factor, layer in zip(direction, standard, strict=True):  # BLAS would add up by where a pixel lies
                angle += np.multiply(factor, layer, out=share)
            yield np.cos(angle, out=angle)


@dataclass(frozen=True)
class Radar:
    """Backscatter, centred and scaled, its gaps filled from around: `smoothed` at every scale (2, h, w).

    `known`: where it is valid; `seen`: where its spread is looked at. `limits` (2, k): the least and the most that is
    shown, VV and VH at each scale; squares and cosines know nothing of what lies beyond.
    """

    smoothed: tuple[Smoothed, ...]
    limits: Image
    cosines: Cosines
    seen: Mask
    known: Mask
    unexplained: float = 1.0

    @classmethod
    def of(cls, sar_db: Image, seen: Mask, pixel_size_m: float) -> Radar:
        """Of VV and VH (2, h, w) in dB, NaN where invalid, as they spread where `seen`, or anywhere if nothing is."""
        known = known_of(sar_db)
        typical = np.array(TYPICAL_SAR_DB, np.float32)[:, None, None]
        centred = without_gaps((sar_db - typical) / np.float32(_DEVIATION_DB), known)
        smoothed = tuple(Smoothed.of(centred, scale_m / pixel_size_m) for scale_m in _SCALES_M)
        seen = some_of(seen & known if (seen & known).any() else np.ones_like(known))
        values = shown_at(np.flatnonzero(seen), seen.shape, lambda rows: _stacked(smoothed, rows))
        limits = as_image(np.percentile(values, _SEEN_PERCENT, axis=1))
        cosines = Cosines.of(_of_scales(_TEXTURE_SCALES_M, np.clip(values, *limits[..., None])))
        return cls(smoothed, limits, cosines, seen, known)

    @property
    def sizes(self) -> tuple[int, ...]:
        return 4 * len(RADAR_SCALES_M), _COSINES

    def shown(self, rows: slice) -> Image:
        """VV and VH at each scale (k, rows, w)."""
        shown = _stacked(self.smoothed, rows)
        return np.clip(shown, *self.limits[..., None, None], out=shown)

    def detail(self, rows: slice) -> Image:
        """VV and VH (2, rows, w) at the finest scale."""
        return self.smoothed[_SCALES_M.index(_DETAIL_SCALE_M)].rows(rows)

    def features(self, shown: Image) -> Iterator[Image]:
        """VV and VH and their squares at each scale; then cosines of both at two of them."""
        for layer in _of_scales(RADAR_SCALES_M, shown):
            yield layer
            yield layer * layer
        yield from self.cosines.of_values(_of_scales(_TEXTURE_SCALES_M, shown))


def _stacked(smoothed: Sequence[Smoothed], rows: slice) -> Image:
    return np.concatenate([layer.rows(rows) for layer in smoothed])


def _of_scales(scales_m: Sequence[float], values: Image) -> Image:
    """VV and VH (2 * scales, ...) of values (k, ...) of all scales."""
    return values[[2 * _SCALES_M.index(scale_m) + band for scale_m in scales_m for band in (0, 1)]]


def some_of(seen: Mask) -> Mask:
    """Enough of the pixels (h, w) to tell how values spread, evenly."""
    step = max(1, int(seen.sum()) // _ENOUGH_PX)
    thinned = np.zeros(seen.shape, bool)
    thinned.flat[np.flatnonzero(seen)[::step]] = True
    return thinned


@dataclass(frozen=True)
class OtherDate:
    """The place on another date: reflectance (4, h, w) without gaps, `known` where it is the image's own."""

    reflectance: Image
    known: Mask
    cosines: Cosines
    unexplained: float = 1.0

    @classmethod
    def of(cls, reflectance: Image, seen: Mask, known: Mask, unexplained: float = 1.0) -> OtherDate:
        """`seen` (h, w): where its spread is looked at, or anywhere if nothing is."""
        spread = reflectance[:, seen if seen.any() else np.ones_like(seen)]
        return cls(reflectance, known, Cosines.of(spread), unexplained)

    @property
    def sizes(self) -> tuple[int, ...]:
        return 4, _COSINES

    def shown(self, rows: slice) -> Image:
        """Reflectance (4, rows, w)."""
        return self.reflectance[:, rows]

    def features(self, shown: Image) -> Iterator[Image]:
        """Of what the same image shows at any resolution (4, ...): that, and its cosines."""
        yield from shown
        yield from self.cosines.of_values(shown)


@dataclass(frozen=True)
class DateTerm:
    """What an image of another date adds to a model: coefficients (features, 4) of its own features."""

    image: OtherDate
    coefficients: Float64Array

    def reflectance(self, seen: Image) -> Image:
        """Its part of the ground (4, H, W), where the image shows `seen` (4, H, W) at any resolution."""
        shown = lambda rows: seen[:, rows]  # noqa: E731
        return summed(shown, self.image.features, self.coefficients, (seen.shape[1], seen.shape[2]))

    def add_to(self, ground: Image, seen: Image) -> None:
        """Add its part to the ground (4, n) of some pixels, where the image shows `seen` (4, n)."""
        _add(self.image.features(seen), as_image(self.coefficients), ground)


@cache
def land_coefficients() -> Float64Array:
    """(features + 1, 4) reflectance per linear feature of radar, the last row the mean, of the land in general.

    By `benchmarks/quality/fit_global_prior.py`.
    """
    return np.array(_land_in_general()["coefficients"])


@cache
def land_deviation() -> Image:
    """(4,) the standard deviation of reflectance about what these say, over places they were not fitted to."""
    return as_image(np.sqrt(np.diag(_land_in_general()["error_covariance"])))


def _land_in_general() -> dict[str, list[list[float]]]:
    table: dict[str, list[list[float]]] = json.loads(
        files("cloudfree.scene").joinpath("global_prior.json").read_text(encoding="utf-8")
    )
    return table


def features_at(source: FeatureSource, sample: NDArray[np.intp]) -> Iterator[Image]:
    """A source's features (n,) of the pixels at flat indexes (n,)."""
    return source.features(shown_at(sample, source.known.shape, source.shown))


def summed(
    shown: Callable[[slice], Image],
    features: Callable[[Image], Iterator[Image]],
    coefficients: Float64Array,
    shape: tuple[int, ...],
) -> Image:
    """The sum (C, h, w) of the first features of what is shown (k, rows, w), each times its coefficients (some, C).

    `shape` (h, w). Every pixel's sum is its own: parts equal the whole.
    """
    height, width = shape
    total = np.zeros((coefficients.shape[1], height * width), np.float32)
    table = coefficients.astype(np.float32)

    def add(rows: slice) -> None:
        part = shown(rows).reshape(-1, (rows.stop - rows.start) * width)
        into = total[:, rows.start * width : rows.stop * width]
        for start in range(0, part.shape[1], _CACHED_PX):
            chunk = slice(start, start + _CACHED_PX)
            _add(features(part[:, chunk]), table, into[:, chunk])

    over_rows(add, height)
    return total.reshape(-1, height, width)


def _add(features: Iterator[Image], table: Image, total: Image) -> None:
    """Add features (n,), each times a row (C,) of the table, to the total (C, n)."""
    product = np.empty_like(total[0])
    for row, values in zip(table, features, strict=False):
        for band, coefficient in zip(total, row, strict=True):
            np.add(band, np.multiply(values, coefficient, out=product), out=band)


def shown_at(sample: NDArray[np.intp], shape: tuple[int, ...], shown: Callable[[slice], Image]) -> Image:
    """What is shown (k, n) at flat indexes (n,) of an image of `shape` (h, w), of which `shown` gives rows."""
    height, width = shape
    row = sample // width
    parts: list[tuple[NDArray[np.intp], Image]] = []

    def take(rows: slice) -> None:
        inside = np.flatnonzero((row >= rows.start) & (row < rows.stop))
        part = shown(rows)
        parts.append((inside, part.reshape(len(part), -1)[:, sample[inside] - rows.start * width]))

    over_rows(take, height)
    values = np.empty((len(parts[0][1]), len(sample)), np.float32)
    for inside, part in parts:
        values[:, inside] = part
    return values
