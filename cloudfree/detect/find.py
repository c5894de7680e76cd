"""Find cloud, haze and shadow in a scene on a grid of about 10 m."""

from __future__ import annotations

import warnings
from collections.abc import Sequence

import numpy as np

from cloudfree.arrays import Image, Mask, as_image, known_of
from cloudfree.bands import SkyClass
from cloudfree.detect.detector import Detector, View
from cloudfree.detect.found import FoundSky
from cloudfree.detect.names import DEFAULT, load
from cloudfree.detect.resampling import averaged, stretched

_FINER = 0.7  # times a detector's own pixels: images of larger ones are shown as they are


def find_sky(
    reflectance: Image,
    sar_db: Image | None,
    valid: Mask,
    pixel_size_m: float,
    others: Sequence[Image] = (),
    detector: Detector | None = None,
) -> FoundSky:
    """Cloud, haze, shadow and snow over a scene of any size, such as a survey shows it.

    reflectance (4, h, w), blue, green, red, NIR as fractions, at the surface or at the top of the atmosphere, without
    NaN; sar_db (2, h, w), VV and VH in dB, NaN where invalid, or None; valid (h, w): the scene has data. others:
    reflectance of the place on other dates (4, h, w), NaN where an image shows nothing; of several their median is
    what the place looked like before. Without a detector the package's own is loaded. On grids much finer than the
    detector's own it is shown averages. Equal arguments give equal pixels. Raises CloudfreeError of the detector.
    """
    detector = detector or load(DEFAULT)
    shape = valid.shape[0], valid.shape[1]
    view = View(reflectance, valid, _or_nothing(sar_db, 2, shape), _median(others, shape), pixel_size_m)
    probability = stretched(detector.probability(_at_resolution(view, detector.pixel_size_m)), shape)
    clear = np.array([each == SkyClass.CLEAR for each in SkyClass], np.float32)[:, None, None]
    return FoundSky(as_image(np.where(valid, probability, clear)), valid, pixel_size_m)


def _at_resolution(view: View, wanted_m: float) -> View:
    """The view with pixels of about the wanted size, where its own are much smaller."""
    factor = wanted_m / view.pixel_size_m
    if factor * _FINER < 1:
        return view
    height, width = (max(1, round(side / factor)) for side in view.valid.shape)
    shape = min(height, view.valid.shape[0]), min(width, view.valid.shape[1])
    reflectance = averaged(view.reflectance, view.valid, shape)
    return View(
        np.nan_to_num(reflectance),
        known_of(reflectance),
        averaged(view.sar_db, known_of(view.sar_db), shape),
        averaged(view.other, known_of(view.other), shape),
        view.pixel_size_m * view.valid.shape[1] / shape[1],
    )


def _median(others: Sequence[Image], shape: tuple[int, int]) -> Image:
    """What several dates show at each pixel in the middle (4, h, w), NaN where none shows anything."""
    if len(others) <= 1:
        return _or_nothing(others[0] if others else None, 4, shape)
    with warnings.catch_warnings(action="ignore"):  # of pixels where all are NaN
        return as_image(np.nanmedian(np.stack(others), axis=0))


def _or_nothing(image: Image | None, bands: int, shape: tuple[int, int]) -> Image:
    """The image, or as many bands of NaN, which take no memory."""
    return np.broadcast_to(np.float32(np.nan), (bands, *shape)) if image is None else image
