"""How far off a reconstructed pixel probably is, as a scene's errors in its own holes tell.

    variance = constant + relative * reflectance**2, and more where radar or another date shows nothing

Bright ground is harder to tell than dark ground, in proportion. Distance from clear ground and the disagreement of
candidates were tried too: over cases of `pairs` and `dates` neither told more of the errors.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from cloudfree.arrays import Float64Array, Image, Mask, as_image
from cloudfree.geometry import coarse

_WITHIN_ONE, _WITHIN_TWO = 0.683, 0.954  # of a normal distribution
_STEPS = 10
_OUTLIER = 4.0  # standard deviations beyond which an error counts no more: a pixel of unmasked cloud, a new roof
_LEAST = 1e-8


@dataclass(frozen=True)
class Gap:
    """Where a source of the model shows nothing, `missing` (h, w), and the variance (4,) of what it would have told."""

    missing: Mask
    variance: Image


@dataclass(frozen=True)
class Uncertainty:
    """Of reflectance reconstructed in a scene of `shape` (H, W).

    constant, relative (4,): the variance is constant + relative * reflectance**2; gaps add to it. `errors` is how many
    pixels of hidden ground it was calibrated on, 0 if there were too few and other places have to do; `coverage` is the
    share of them within one and two standard deviations. seen_factor: what deviations are multiplied by where something
    shows through, beyond the share of the variance that the observation takes away.
    """

    shape: tuple[int, int]
    constant: Image
    relative: Image
    gaps: tuple[Gap, ...] = ()
    errors: int = 0
    coverage: tuple[float, float] | None = None
    seen_factor: float = 1.0

    @classmethod
    def constantly(cls, deviation: Image, shape: tuple[int, int]) -> Uncertainty:
        """The same everywhere: standard deviations (4,) known from elsewhere."""
        return cls(shape, deviation**2, np.zeros_like(deviation))

    @classmethod
    def of_errors(
        cls, predicted: Float64Array, error: Float64Array, gaps: tuple[Gap, ...], shape: tuple[int, int]
    ) -> Uncertainty:
        """From pixels of hidden ground, where no source had a gap: what was predicted and how far off (4, n)."""
        terms = np.array([_fitted(*band) for band in zip(predicted, error, strict=True)])
        uncertainty = cls(shape, as_image(terms[:, 0]), as_image(terms[:, 1]), gaps)
        return uncertainty._covering(error, uncertainty._variance(as_image(predicted)))

    def calibrated(self, error: Image, deviation: Image) -> Uncertainty:
        """The same by errors of the product itself (4, n), where it says `deviation` (4, n).

        At full resolution there is texture that the coarse grid does not have: as much is added to the variance of
        every pixel.
        """
        variance = np.square(deviation, dtype=np.float64)
        texture = np.maximum(0, (np.square(error, dtype=np.float64) - variance).mean(axis=1))
        return replace(self, constant=self.constant + as_image(texture))._covering(error, variance + texture[:, None])

    def calibrated_where_seen(self, error: Image, reflectance: Image, unseen: Image) -> Uncertainty:
        """The same by errors of a reflectance (4, n) where something shows through.

        unseen (n,), 0..1: the share of the variance that this leaves.
        """
        deviation = np.sqrt(self._variance(np.clip(reflectance, 0, 1)) * unseen)
        return replace(self, seen_factor=_scale(np.abs(error) / np.maximum(deviation, _LEAST)))

    def deviation(self, reflectance: Image, rows: range, cols: range) -> Image:
        """Standard deviations (4, rows, columns) of the reflectance reconstructed in a window of the scene."""
        variance = self._variance(reflectance)
        for gap in self.gaps:
            where = slice(rows.start, rows.stop), slice(cols.start, cols.stop)
            variance += gap.variance[:, None, None] * coarse.upsampled(as_image(gap.missing[None]), self.shape, *where)
        return np.sqrt(variance)

    def describe(self) -> dict[str, Any]:
        """What it was calibrated on, as plain data."""
        one, two = self.coverage or (None, None)
        return {"errors": self.errors, "within_one": one, "within_two": two}

    def _variance(self, reflectance: Image) -> Image:
        """For reflectance (4, ...), without gaps."""
        constant, relative = (
            np.expand_dims(term, tuple(range(1, reflectance.ndim))) for term in (self.constant, self.relative)
        )
        return constant + relative * reflectance**2

    def _covering(self, error: Float64Array | Image, variance: Float64Array | Image) -> Uncertainty:
        """All of it times what brings errors (4, n) of these variances within one and two deviations, as is due."""
        off = np.abs(error) / np.sqrt(variance)
        scale = _scale(off)
        within = tuple(round(float((off <= k * scale).mean()), 3) for k in (1, 2))
        factor = as_image(scale**2 + _LEAST)
        return replace(
            self,
            constant=self.constant * factor,
            relative=self.relative * factor,
            gaps=tuple(Gap(gap.missing, gap.variance * factor) for gap in self.gaps),
            errors=error.shape[1],
            coverage=(within[0], within[1]),
        )


def _scale(off: Float64Array | Image) -> float:
    """What deviations must be multiplied by, for errors `off` (4, n) in units of them to be within one and two.

    Their tails are heavier than a normal distribution's, so that the two cannot both hold: their geometric mean.
    """
    return float(np.sqrt(np.quantile(off, _WITHIN_ONE) * np.quantile(off, _WITHIN_TWO) / 2))


def _fitted(predicted: Float64Array, error: Float64Array) -> Float64Array:
    """Constant and relative part (2,), neither negative, of the variance that makes errors (n,) most likely.

    Normal errors make their squares gamma distributed, whose likelihood is maximized by weighted least squares, the
    weights from the last step (a generalized linear model with identity link).
    """
    from scipy.optimize import nnls  # noqa: PLC0415 - slow to import, and a clear scene needs none

    squared = np.square(error)
    squared = np.minimum(squared, _OUTLIER**2 * np.median(squared) / 0.455)  # the median of a chi-square of one
    design = np.stack([np.ones_like(predicted), np.square(predicted)], axis=1)
    scale = design.mean(axis=0) + _LEAST
    variance = np.full(len(squared), squared.mean() + _LEAST)
    for _ in range(_STEPS):
        terms, _ = nnls(design / scale / variance[:, None], squared / variance)
        variance = design @ (terms / scale) + _LEAST
    return np.maximum(terms / scale, [_LEAST, 0])
