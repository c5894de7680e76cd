"""Where nothing is in the way of the ground that a mask hides: clear pixels that the mask, or its buffer, took in.

What is observed there differs from the ground that the scene's model expects by the model's errors alone; behind cloud
and in shadow it differs in whatever way they do on this scene. So the differences under a mask are a mixture of two
distributions: the first is that of the clear ground, the second is fitted, by expectation maximization (Dempster et
al. 1977).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from cloudfree.arrays import Float64Array, Image, Mask, as_image
from cloudfree.scene.threads import over_rows

_SMOOTH_PX = 2.0  # of about 10 m: noise and registration go, the level stays
_NOISE = 0.001  # reflectance
_NOTICED = 0.003  # reflectance: haze of less is not followed
_WHITE = 0.45  # of thin cloud
_OUTLIER, _MAD_TO_DEVIATION = 4.0, 1.4826
_FREEDOM = 5.0  # of Student's t: tails of both are heavy
_STEPS, _FIRST_SHARE, _LEAST_SHARE = 20, 0.3, 0.01
_MOST_PX, _FEWEST_PX = 20_000, 50


def probability(observed: Image, ground: Image, hidden: Mask, clear: Mask) -> Image:
    """The probability (h, w), 0..1, that nothing is in the way of a pixel, were it under the mask.

    observed, ground (4, h, w): reflectance, the second by a model. hidden (h, w): under the mask; clear (h, w): surely
    not, where the model errs as it does. All 0 where too little is hidden or clear to tell.
    """
    if min(hidden.sum(), clear.sum()) < _FEWEST_PX:
        return np.zeros(hidden.shape, np.float32)
    differences = _smooth_differences(observed, ground)
    of_errors = _spread_of_errors(differences, clear, _NOISE)
    share, of_obstruction = _fitted(_some_of(differences, hidden), of_errors)
    return _over_pixels(lambda some: _posterior(some, share, of_errors, of_obstruction), differences)


def obstruction(
    observed: Image, ground: Image, beyond: Mask, clear: Mask, smooth_px: float = _SMOOTH_PX
) -> tuple[Image, Image]:
    """How far pixels look like haze and like shadow, each (h, w), in standard deviations of errors on clear ground.

    Arguments as of `probability`. Haze takes ground towards white, shadow towards black, all bands alike.
    beyond (h, w): the pixels that are asked about, and smoothed among themselves: the cloud next to them, or what
    stands where there are no data, says nothing of them. `smooth_px`: the Gaussian that they are smoothed by; 0 finds
    what is as small as a pixel.
    """
    if clear.sum() < _FEWEST_PX:
        return np.zeros(clear.shape, np.float32), np.zeros(clear.shape, np.float32)
    differences = _smooth_differences(observed, ground, beyond, smooth_px)
    precision = as_image(np.linalg.inv(_spread_of_errors(differences, clear, _NOTICED).scale))
    haze, shadow = np.empty((2, *clear.shape), np.float32)

    def look(rows: slice) -> None:
        for found, towards in ((haze, np.float32(_WHITE)), (shadow, np.float32(0))):
            direction = towards - ground[:, rows]
            weighted = np.tensordot(precision, direction, 1)
            along, length = (weighted * differences[:, rows]).sum(axis=0), (weighted * direction).sum(axis=0)
            found[rows] = along / np.sqrt(np.maximum(length, 1e-12))

    over_rows(look, len(haze))
    return haze, shadow


def _smooth_differences(
    observed: Image, ground: Image, among: Mask | None = None, smooth_px: float = _SMOOTH_PX
) -> Image:
    """Differences (4, h, w), smoothed; if `among` (h, w) is given, by those pixels alone."""
    differences = np.empty(observed.shape, np.float32)
    for smooth, seen, expected in zip(differences, observed, ground, strict=True):
        _smooth(seen - expected if among is None else np.where(among, seen - expected, 0), smooth, smooth_px)
    if among is not None:
        differences /= np.maximum(_smooth(as_image(among), np.empty(among.shape, np.float32), smooth_px), 1e-3)
    return differences


def _smooth(image: Image, output: Image, smooth_px: float) -> Image:
    ndimage.gaussian_filter(image, smooth_px, output=output, truncate=2.5)
    return output


def _over_pixels(values: Callable[[Image], Float64Array | Image], differences: Image) -> Image:
    """A function of pixels (n, 4), over an image (4, h, w): (h, w)."""
    found = np.empty(differences.shape[1:], np.float32)

    def find(rows: slice) -> None:
        found[rows] = values(differences[:, rows].reshape(len(differences), -1).T).reshape(found[rows].shape)

    over_rows(find, len(found))
    return found


def _spread_of_errors(differences: Image, clear: Mask, noise: float) -> _Spread:
    """How differences (4, h, w) spread on clear ground (h, w), outliers cut."""
    errors = _some_of(differences, clear)
    spread = _OUTLIER * _MAD_TO_DEVIATION * np.median(np.abs(errors), axis=0)
    errors = np.clip(errors, -spread, spread)
    scale = errors.T @ errors / len(errors) + noise**2 * np.eye(errors.shape[1])
    return _Spread(np.zeros(errors.shape[1]), scale)


def _some_of(differences: Image, where: Mask) -> Float64Array:
    """Enough pixels (n, C), evenly, of those of an image (C, h, w) that are asked for (h, w)."""
    chosen = np.flatnonzero(where)
    chosen = chosen[:: -(-len(chosen) // _MOST_PX)]
    return differences.reshape(len(differences), -1)[:, chosen].T.astype(np.float64)


@dataclass(frozen=True)
class _Spread:
    """Student's t of four bands about a mean (4,), with a scale matrix (4, 4)."""

    mean: Float64Array
    scale: Float64Array

    def squared_distance(self, values: Float64Array | Image) -> Float64Array:
        """Of values (n, 4), in standard deviations (n,)."""
        off = values - self.mean
        return np.asarray(((off @ np.linalg.inv(self.scale)) * off).sum(axis=1))

    def log_density(self, values: Float64Array | Image) -> Float64Array:
        """Of values (n, 4), but for a constant (n,)."""
        tails = (_FREEDOM + len(self.mean)) / 2 * np.log1p(self.squared_distance(values) / _FREEDOM)
        return np.asarray(-0.5 * np.linalg.slogdet(self.scale)[1] - tails)


def _fitted(difference: Float64Array, of_errors: _Spread) -> tuple[float, _Spread]:
    """The share (0..1) of differences (n, 4) that errors explain, and how the others spread: wider than errors do."""
    share = _FIRST_SHARE
    rest = _Spread(difference.mean(axis=0), np.cov(difference.T) + of_errors.scale)
    for _ in range(_STEPS):
        obstructed = 1 - _posterior(difference, share, of_errors, rest)
        share = float(np.clip(1 - obstructed.mean(), _LEAST_SHARE, 1 - _LEAST_SHARE))
        weight = obstructed * (_FREEDOM + 4) / (_FREEDOM + rest.squared_distance(difference))
        mean = weight @ difference / (weight.sum() + 1e-12)
        off = difference - mean
        scale = (off * weight[:, None]).T @ off / (obstructed.sum() + 1e-12)
        rest = _Spread(mean, scale + of_errors.scale)
    return share, rest


def _posterior(difference: Float64Array | Image, share: float, of_errors: _Spread, rest: _Spread) -> Image:
    """The probability (n,) that each difference (n, 4) is one of the model's errors."""
    odds = rest.log_density(difference) - of_errors.log_density(difference) + np.log((1 - share) / share)
    return as_image(1 / (1 + np.exp(np.clip(odds, -50, 50))))
