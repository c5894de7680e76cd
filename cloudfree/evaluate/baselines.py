"""Baselines: what any method must beat to be worth its weights."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from scipy import ndimage

from cloudfree.arrays import Image, Mask, as_image, known_of
from cloudfree.evaluate.methods import Method, ground_of
from cloudfree.evaluate.triplets import Observation

_RIDGE_SCALES_M, _RIDGE_AWAY_M, _RIDGE_SHRINKAGE = (10.0, 20.0, 40.0, 80.0), 50.0, 1e-3
_REFERENCE_AWAY_M = 40.0
_MIN_FIT_PX = 200


def unchanged(seen: Observation) -> Image:
    """The image as it is seen, clouds and all."""
    return seen.reflectance


def median(seen: Observation) -> Image:
    """The median of what is not masked, in place of what is; without a mask the median everywhere."""
    return _put(seen, np.broadcast_to(seen.typical_reflectance[:, None, None], seen.reflectance.shape))


def ridge(seen: Observation) -> Image:
    """A ridge regression on smoothed backscatter and its squares, fitted on clear pixels away from the mask."""
    chosen = _to_fit_on(seen, known_of(seen.sar_db), _RIDGE_AWAY_M)
    if chosen.sum() < _MIN_FIT_PX:
        return median(seen)
    features = _backscatter_features(seen)
    mean, deviation = features[:, chosen].mean(axis=1), features[:, chosen].std(axis=1) + 1e-6
    features = (features - mean[:, None, None]) / deviation[:, None, None]
    design, colours = features[:, chosen].T.astype(np.float64), seen.reflectance[:, chosen].T.astype(np.float64)
    gram = design.T @ design + _RIDGE_SHRINKAGE * len(design) * np.eye(len(features))
    slopes = np.linalg.solve(gram, design.T @ (colours - colours.mean(0)))
    return _put(seen, as_image(np.tensordot(slopes.T, features, 1) + colours.mean(0)[:, None, None]))


def pasted_reference(seen: Observation) -> Image:
    """The first image of another date where it shows something, the median elsewhere."""
    return _put(seen, _where_shown(seen, seen.others[0]))


def fitted_reference(seen: Observation) -> Image:
    """The first image of another date in this day's light; the median where it shows nothing, or too little to fit.

    Each band is a linear combination of its bands, and of one, by least squares on clear pixels away from the mask.
    """
    other = seen.others[0]
    chosen = _to_fit_on(seen, known_of(other), _REFERENCE_AWAY_M)
    if chosen.sum() < _MIN_FIT_PX:
        return median(seen)
    design = np.stack([*other, np.ones_like(other[0])], dtype=np.float64)
    slopes = np.linalg.lstsq(design[:, chosen].T, seen.reflectance[:, chosen].T.astype(np.float64), None)[0]
    fitted = np.clip(np.tensordot(slopes.T, design, 1), 0, 1)
    return _put(seen, _where_shown(seen, as_image(fitted)))


def scene_model(seen: Observation) -> Image:
    """What networks are shown in place of cloud: the model of the scene, and what shows through it."""
    return _put(seen, ground_of(seen))


BASELINES: Mapping[str, Method] = {"input": unchanged, "median": median, "ridge": ridge, "scene model": scene_model}
"""By the name that tables give them, in that order."""

REFERENCE_BASELINES: Mapping[str, Method] = {
    "pasted reference": pasted_reference,
    "fitted reference": fitted_reference,
}
"""For observations with other dates alone."""


def baselines_of(seen: Observation) -> Mapping[str, Method]:
    """Those that there are for an observation, in the order of tables."""
    return {**BASELINES, **REFERENCE_BASELINES} if seen.others else BASELINES


def _to_fit_on(seen: Observation, known: Mask, away_m: float) -> Mask:
    """Clear pixels (H, W) where something else is known: those so far from the mask, or all if these are too few."""
    usable = seen.valid & ~seen.hidden & known
    away = usable & (seen.distance_m() > away_m)
    return away if away.sum() >= _MIN_FIT_PX else usable


def _put(seen: Observation, restored: Image) -> Image:
    """The restoration where the mask is, and everywhere if there is none."""
    return restored if seen.mask is None else np.where(seen.mask, restored, seen.reflectance)


def _where_shown(seen: Observation, other: Image) -> Image:
    """An image (4, H, W) where it is a number, the median elsewhere."""
    return np.where(known_of(other), other, median(seen))


def _backscatter_features(seen: Observation) -> Image:
    """(features, H, W): VV and VH smoothed at each scale, and their squares."""
    sar_db = seen.sar_without_gaps()
    smooth = [
        ndimage.gaussian_filter(band, scale_m / seen.pixel_size_m, mode="nearest")
        for band in sar_db
        for scale_m in _RIDGE_SCALES_M
    ]
    return as_image([*smooth, *np.square(smooth)])
