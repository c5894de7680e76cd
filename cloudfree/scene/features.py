"""What else is known of every pixel of a scene, as numbers that reflectance can be regressed on.

Radar, and each image of another date, are sources of two groups of features: what they show, and smooth functions of
that. All of it lives on the scene's coarse grid; an image's own features need nothing but the colour of a pixel, and
can be had at full resolution too.
"""

from __future__ import annotations

import itertools
import json
import math
import os
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import cache, cached_property, partial
from importlib.resources import files
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from cloudfree.arrays import Float64Array, Image, Mask, as_image, known_of
from cloudfree.bands import TYPICAL_SAR_DB
from cloudfree.scene.coarse import without_gaps

RADAR_SCALES_M = (10.0, 20.0, 40.0, 80.0, 160.0)
"""Standard deviations of the Gaussians that backscatter is smoothed by."""

# Backscatter is centred and scaled by what is typical of land, so that features mean the same in every scene.
_DEVIATION_DB = 4.0
_TEXTURE_SCALES_M = (20.0, 60.0)
_SEEN_PERCENT = (0.2, 99.8)

# Smooth functions are cosines in random directions (Rahimi and Recht 2007): together they span what a Gaussian kernel
# of this many standard deviations would.
_COSINES, _KERNEL = 30, 1.4

_ENOUGH_PX = 500_000
_CACHED_PX = 1 << 15
"""Of a map, that are added to all bands while the processor's cache holds them."""


class Source(Protocol):
    """Something that is known of every pixel, in groups of features (h, w)."""

    @property
    def sizes(self) -> tuple[int, ...]:
        """Features in each group."""

    @property
    def known(self) -> Mask:
        """Where it shows something itself (h, w); elsewhere it is filled."""

    @property
    def unexplained(self) -> float:
        """Share (0..1) of its variance that the filling cannot know."""

    def maps(self) -> Iterator[Image]:
        """The features (h, w), one by one, for together they may not fit into memory."""

    def at(self, sample: NDArray[np.intp]) -> Iterator[Image]:
        """The features (n,) of pixels at flat indexes (n,)."""


@dataclass(frozen=True)
class Cosines:
    """Cosines of values that were standardized by `centre` and `scale` (k,): directions (k, n), phases (n,)."""

    centre: Image
    scale: Image
    directions: Image
    phases: Image

    @classmethod
    def of(cls, values: Image, seen: Mask) -> Cosines:
        """For values (k, h, w), as they spread where `seen` (h, w), or anywhere if nothing is."""
        chosen = values[:, seen if seen.any() else np.ones_like(seen)]
        rng = np.random.default_rng(0)
        directions = rng.normal(size=(len(values), _COSINES)) / _KERNEL
        phases = rng.uniform(0, 2 * np.pi, _COSINES)
        return cls(chosen.mean(1), chosen.std(1) + np.float32(1e-4), as_image(directions), as_image(phases))

    def maps(self, values: Image) -> Iterator[Image]:
        """Each cosine (...) of values (k, ...)."""
        every = (slice(None), *[None] * (values.ndim - 1))
        standard = (values - self.centre[every]) / self.scale[every]
        for direction, phase in zip(self.directions.T, self.phases, strict=True):
            yield np.cos(np.tensordot(direction, standard, 1) + phase)


@dataclass(frozen=True)
class Radar:
    """Backscatter (2, h, w), centred and scaled, its gaps filled from around; `seen`: where its spread is looked at.

    Maps are made each time that they are asked for, for together they would be much of the memory; what was found of
    their spread is kept.
    """

    centred: Image
    seen: Mask
    known: Mask
    pixel_size_m: float
    unexplained: float = 1.0
    _ranges: dict[float, list[Float64Array]] = field(default_factory=dict, repr=False, compare=False)

    @classmethod
    def of(cls, sar_db: Image, seen: Mask, pixel_size_m: float) -> Radar:
        """Of VV and VH (2, h, w) in dB, NaN where invalid."""
        valid = known_of(sar_db)
        typical = np.array(TYPICAL_SAR_DB, np.float32)[:, None, None]
        centred = without_gaps((sar_db - typical) / np.float32(_DEVIATION_DB), valid)
        return cls(centred, _some_of(seen & valid), valid, pixel_size_m)

    @property
    def sizes(self) -> tuple[int, ...]:
        return 4 * len(RADAR_SCALES_M), _COSINES

    def maps(self) -> Iterator[Image]:
        """VV and VH and their squares at each scale; then cosines of both at two of them."""
        for scale_m in RADAR_SCALES_M:
            for smooth in self._smoothed(scale_m):
                yield smooth
                yield smooth * smooth
        yield from self._cosines.maps(self._texture())

    def at(self, sample: NDArray[np.intp]) -> Iterator[Image]:
        """The same of pixels at flat indexes (n,)."""
        for scale_m in RADAR_SCALES_M:
            for smooth in self._smoothed(scale_m).reshape(2, -1)[:, sample]:
                yield smooth
                yield smooth * smooth
        texture = self._texture()
        yield from self._cosines.maps(texture.reshape(len(texture), -1)[:, sample])

    def _texture(self) -> Image:
        return np.concatenate([self._smoothed(scale_m) for scale_m in _TEXTURE_SCALES_M])

    @cached_property
    def _cosines(self) -> Cosines:
        return Cosines.of(self._texture(), self.seen)

    def _smoothed(self, scale_m: float) -> Image:
        """Both bands at a scale, within what is seen there: squares and cosines know nothing of what lies beyond."""
        sigma_px = scale_m / self.pixel_size_m
        smooth = partial(ndimage.gaussian_filter, sigma=sigma_px, mode="nearest", truncate=3.0)
        with ThreadPoolExecutor(len(self.centred)) as pool:
            bands = list(pool.map(smooth, self.centred))
        if not self.seen.any():
            return np.stack(bands)
        if scale_m not in self._ranges:
            self._ranges[scale_m] = [np.percentile(band[self.seen], _SEEN_PERCENT) for band in bands]
        return as_image([np.clip(band, *ends) for band, ends in zip(bands, self._ranges[scale_m], strict=True)])


def _some_of(seen: Mask) -> Mask:
    """Enough of the pixels (h, w) to tell how values spread, evenly."""
    step = max(1, int(seen.sum()) // _ENOUGH_PX)
    thinned = np.zeros_like(seen)
    thinned.ravel()[np.flatnonzero(seen)[::step]] = True
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
        """`seen` (h, w): where its spread is looked at."""
        return cls(reflectance, known, Cosines.of(reflectance, seen), unexplained)

    @property
    def sizes(self) -> tuple[int, ...]:
        return 4, _COSINES

    def maps(self) -> Iterator[Image]:
        return self.maps_of(self.reflectance)

    def at(self, sample: NDArray[np.intp]) -> Iterator[Image]:
        return self.maps_of(self.reflectance.reshape(len(self.reflectance), -1)[:, sample])

    def maps_of(self, reflectance: Image) -> Iterator[Image]:
        """The features (...) of the same image at any resolution (4, ...)."""
        yield from reflectance
        yield from self.cosines.maps(reflectance)


@dataclass(frozen=True)
class DateTerm:
    """What an image of another date adds to a model: coefficients (features, 4) of its own features."""

    image: OtherDate
    coefficients: Float64Array

    def reflectance(self, seen: Image) -> Image:
        """Its part of the ground (4, H, W), where the image shows `seen` (4, H, W) at any resolution."""
        return weighted_sum(self.image.maps_of(seen), self.coefficients, seen.shape[1:])


@cache
def land_coefficients() -> Float64Array:
    """(features + 1, 4) reflectance per linear feature of radar, the last row the mean, of the land in general.

    By `benchmarks/quality/fit_global_prior.py`.
    """
    return np.array(_land_in_general()["coefficients"])


@cache
def land_error_covariance() -> Float64Array:
    """(4, 4) of reflectance about what these coefficients say, over places they were not fitted to."""
    return np.array(_land_in_general()["error_covariance"])


@cache
def land_deviation() -> Image:
    """(4,) the standard deviations of that."""
    return as_image(np.sqrt(np.diag(land_error_covariance())))


def _land_in_general() -> dict[str, list[float]]:
    table: dict[str, list[float]] = json.loads(
        files("cloudfree.scene").joinpath("global_prior.json").read_text(encoding="utf-8")
    )
    return table


def weighted_sum(maps: Iterable[Image], coefficients: Float64Array, shape: tuple[int, ...]) -> Image:
    """The sum (C, H, W) of maps (H, W), each times its coefficients (features, C)."""
    total = np.zeros((coefficients.shape[1], math.prod(shape)), np.float32)
    threads = os.cpu_count() or 1
    ends = np.linspace(0, total.shape[1], threads + 1).astype(int)
    with ThreadPoolExecutor(threads) as pool:
        for each, row in zip(maps, coefficients.astype(np.float32), strict=True):
            parts = [(each.ravel()[start:end], total[:, start:end]) for start, end in itertools.pairwise(ends)]
            deque(pool.map(partial(_add, row), *zip(*parts, strict=True)), maxlen=0)
    return total.reshape(-1, *shape)


def _add(row: Image, some: Image, total: Image) -> None:
    """Add values (n,) of a map, each times a coefficient of the row (C,), to the total (C, n)."""
    product = np.empty(_CACHED_PX, np.float32)
    for start in range(0, some.size, _CACHED_PX):
        piece = some[start : start + _CACHED_PX]
        for band, coefficient in zip(total, row, strict=True):
            band[start : start + _CACHED_PX] += np.multiply(piece, coefficient, out=product[: piece.size])
