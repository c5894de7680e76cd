"""Find cloud, haze and shadow in a scene on a grid of about 10 m."""

from __future__ import annotations

import numpy as np

from cloudfree.arrays import Image, Mask, as_image, known_of
from cloudfree.bands import SkyClass
from cloudfree.detect.detector import Detector, DetectorInput
from cloudfree.detect.found import FoundSky
from cloudfree.detect.names import DEFAULT, load
from cloudfree.geometry import coarse

_FINER = 0.7  # times a detector's own pixels: images of larger ones are shown as they are


def find_sky(reflectance: Image, valid: Mask, pixel_size_m: float, detector: Detector | None = None) -> FoundSky:
    """Find cloud, haze, shadow and snow in a scene of any size, such as a survey shows it.

    reflectance (4, h, w), blue, green, red, NIR as fractions, at the surface or at the top of the atmosphere, without
    NaN; valid (h, w): the scene has data. Without a detector the package's own is loaded. On grids much finer than the
    detector's own it is shown averages. Equal arguments give equal pixels. Raises CloudfreeError of the detector.
    """
    detector = detector or load(DEFAULT)
    scene = _at_resolution(DetectorInput(reflectance, valid, pixel_size_m), detector.pixel_size_m)
    probability = detector.probability(scene)
    if scene.valid.shape != valid.shape:
        probability = coarse.upsampled(probability, (valid.shape[0], valid.shape[1]), slice(0, valid.shape[0]))
    clear = np.array([sky == SkyClass.CLEAR for sky in SkyClass], np.float32)[:, None, None]
    return FoundSky(as_image(np.where(valid, probability, clear)), valid, pixel_size_m)


def _at_resolution(scene: DetectorInput, wanted_m: float) -> DetectorInput:
    """The scene with pixels of about the wanted size, where its own are much smaller."""
    factor = wanted_m / scene.pixel_size_m
    if factor * _FINER < 1:
        return scene
    height, width = (max(1, round(side / factor)) for side in scene.valid.shape)
    shape = min(height, scene.valid.shape[0]), min(width, scene.valid.shape[1])
    reflectance = coarse.averaged(scene.reflectance, scene.valid, shape)
    pixel_size_m = scene.pixel_size_m * scene.valid.shape[1] / shape[1]
    return DetectorInput(np.nan_to_num(reflectance), known_of(reflectance), pixel_size_m)
