"""Find cloud, haze and shadow in a scene on a grid of about 10 m."""

from __future__ import annotations

import numpy as np
from scipy import ndimage

from cloudfree.arrays import Image, Mask, as_image, known_of
from cloudfree.bands import SKY_HIDDEN, SkyClass
from cloudfree.detect.detector import Detector, DetectorInput
from cloudfree.detect.found import FoundSky
from cloudfree.detect.names import DEFAULT, load
from cloudfree.geometry import coarse
from cloudfree.inputs.optical.sun import Sun
from cloudfree.scene import cast_shadows

MOST_SHADOW = 5.0
"""Times the area of cloud and haze: clouds outside an image cast some of its shadow, not all."""

_FINER = 0.7  # times a detector's own pixels: images of larger ones are shown as they are

_GREEN, _NIR = 1, 3
_OBSCURED = 0.5  # probability of cloud and haze, from which on the ground is not seen
_UNSHADED = 0.3  # of cloud, haze and shadow, up to which the ground says how bright it is in the sun
_AROUND_M, _AROUND_PIXEL_M = 300.0, 40.0  # from how far around a pixel, and on which pixels that is averaged
_SHADED = 0.35  # darkness of ground that does not say so either
_SNOWY = 0.2  # share of an image, from which on what is dark is woods in the snow
_CAST = 0.85  # probability of shadow where a cloud casts it


def find_sky(
    reflectance: Image,
    valid: Mask,
    pixel_size_m: float,
    detector: Detector | None = None,
    sun: Sun | None = None,
    other: Image | None = None,
) -> FoundSky:
    """Find cloud, haze, shadow and snow in a scene of any size, such as a survey shows it.

    reflectance (4, h, w), blue, green, red, NIR as fractions, at the surface or at the top of the atmosphere, without
    NaN; valid (h, w): the scene has data. Without a detector the package's own is loaded. On grids much finer than the
    detector's own it is shown averages. What clouds that it finds cast, and is dark, is shadow too: `sun`, if it is
    known, says where (`Sun.on_grid`). other (4, h, w): see `DetectorInput`. Equal arguments give equal pixels. Raises
    CloudfreeError of the detector.
    """
    detector = detector or load(DEFAULT)
    whole = DetectorInput(reflectance, valid, pixel_size_m, other)
    scene = _at_resolution(whole, detector.pixel_size_m)
    probability = detector.probability(scene)
    if scene.valid.shape != valid.shape:
        probability = coarse.upsampled(probability, (valid.shape[0], valid.shape[1]), slice(0, valid.shape[0]))
    probability = _with_cast_shadows(_without_shadows_of_nothing(probability, valid), whole, sun)
    clear = np.array([sky == SkyClass.CLEAR for sky in SkyClass], np.float32)[:, None, None]
    return FoundSky(as_image(np.where(valid, probability, clear)), valid, pixel_size_m)


def _without_shadows_of_nothing(probability: Image, valid: Mask) -> Image:
    """Probability (5, h, w) in which dark ground is clear, where it is too much to be in the shadow of the clouds."""
    classes = probability.argmax(axis=0)[valid]
    shaded, clouds = (classes == SkyClass.SHADOW).sum(), np.isin(classes, (SkyClass.CLOUD, SkyClass.HAZE)).sum()
    if shaded <= MOST_SHADOW * clouds:
        return probability
    lit = probability.copy()
    lit[SkyClass.CLEAR] += lit[SkyClass.SHADOW]
    lit[SkyClass.SHADOW] = 0
    return lit


def _with_cast_shadows(probability: Image, scene: DetectorInput, sun: Sun | None) -> Image:
    """Probability (5, h, w) with that of shadow raised where clouds cast it on ground that is dark."""
    thick, thin = probability[SkyClass.CLOUD], probability[SkyClass.HAZE]
    obscured = thick + thin > _OBSCURED
    cloud = scene.valid & obscured & (thick > thin)
    snowy = scene.valid & (probability.argmax(axis=0) == SkyClass.SNOW)
    if not cloud.any() or snowy.sum() > _SNOWY * scene.valid.sum():
        return probability
    ground = scene.valid & ~obscured
    unshaded = ground & (probability[list(SKY_HIDDEN)].sum(axis=0) < _UNSHADED)
    colours = scene.reflectance[[_GREEN, _NIR]]
    for _ in range(2):
        expected = _around(colours, unshaded if unshaded.any() else ground, scene.pixel_size_m)
        unshaded &= cast_shadows.darkness_of(colours, expected, ground) < _SHADED
    shaded = cast_shadows.cast(colours, expected, cloud, ground, scene.pixel_size_m, sun)
    with_cast = probability.copy()
    shadow = np.maximum(probability[SkyClass.SHADOW, shaded], np.float32(_CAST))
    with_cast[:, shaded] *= (1 - shadow) / np.maximum(1 - probability[SkyClass.SHADOW, shaded], np.float32(1e-6))
    with_cast[SkyClass.SHADOW, shaded] = shadow
    return with_cast


def _around(image: Image, where: Mask, pixel_size_m: float) -> Image:
    """The mean (C, h, w) of an image (C, h, w) where it is wanted (h, w), around each pixel; 0 far from all of that."""
    full = where.shape[0], where.shape[1]
    height, width = (max(1, round(side * min(1.0, pixel_size_m / _AROUND_PIXEL_M))) for side in full)
    weights = coarse.averaged(as_image(where)[None], np.ones(full, bool), (height, width))
    totals = np.nan_to_num(coarse.averaged(image, where, (height, width))) * weights
    reach = _AROUND_M / pixel_size_m * height / full[0]
    total, weight = (np.stack([ndimage.gaussian_filter(band, reach) for band in bands]) for bands in (totals, weights))
    return coarse.upsampled(as_image(total / np.maximum(weight, 1e-4)), full, slice(0, full[0]))


def _at_resolution(scene: DetectorInput, wanted_m: float) -> DetectorInput:
    """The scene with pixels of about the wanted size, where its own are much smaller."""
    factor = wanted_m / scene.pixel_size_m
    if factor * _FINER < 1:
        return scene
    height, width = (max(1, round(side / factor)) for side in scene.valid.shape)
    shape = min(height, scene.valid.shape[0]), min(width, scene.valid.shape[1])
    reflectance = coarse.averaged(scene.reflectance, scene.valid, shape)
    pixel_size_m = scene.pixel_size_m * scene.valid.shape[1] / shape[1]
    other = None if scene.other is None else coarse.averaged(scene.other, known_of(scene.other), shape)
    return DetectorInput(np.nan_to_num(reflectance), known_of(reflectance), pixel_size_m, other)
