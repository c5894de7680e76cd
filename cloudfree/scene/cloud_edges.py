"""Where clouds and shadows end that a mask begins: pixels beyond it with something in the way, connected to it; and the
shadows, wherever they fall, that its clouds cast.

Whether something is in the way of a pixel, more than the scene's model errs on clear ground, tells `unobstructed`.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from cloudfree.arrays import Image, Mask, as_image
from cloudfree.bands import SkyClass
from cloudfree.geometry import distance_m
from cloudfree.inputs.masks.found import FoundClouds
from cloudfree.inputs.masks.mask import BUFFER_M
from cloudfree.inputs.optical.scene import Scene
from cloudfree.scene import cast_shadows, unobstructed
from cloudfree.scene.model import of_survey
from cloudfree.scene.survey import Survey

LIMIT_M = 300.0
"""How far beyond a mask its clouds are followed."""

_CHANCE = 0.02  # of clear pixels that are taken for obstructed, each time they are asked
_FAR_M = 100.0  # from the mask ground is surely clear
# Nearer to the mask than this pixels are left to the model: it knows how cloud leaks, and clear ground is rare there.
_LEAK_M = 60.0
_NIR, _LEAST_NIR = 3, 0.05  # reflectance expected of ground; on less, as of water, no shadow is seen
_RIM_M = 50.0  # around a shadow that is cast, where it thins out


def follow(
    surveyed: Survey,
    scene: Scene,
    limit_m: float = LIMIT_M,
    buffer_m: float = BUFFER_M,
    found: FoundClouds | None = None,
) -> NDArray[np.uint8]:
    """Classes (h, w) of `SkyClass`, HAZE or SHADOW, of pixels of the survey beyond its mask; CLEAR of all others.

    These have something in the way, and lie in the buffer, or are connected through it and up to `limit_m` away; or
    they are dark where clouds cast shadow, however far. Where the scene is finer than its survey, pixels at the border
    of the mask, which it covers in part, are CLOUD if there is something in the way. `found`: the classes of what was
    found in the scene, which may be all of the mask, or part of it, or none.
    """
    cloudy, size_m = surveyed.cloudy, surveyed.grid.pixel_size_m
    classes = np.full(cloudy.shape, SkyClass.CLEAR, np.uint8)
    if not cloudy.any() or not surveyed.clear.any():
        return classes
    away_m = distance_m(cloudy, size_m, max(limit_m, buffer_m, _FAR_M))
    model = of_survey(surveyed, scene, by_holes=False, by_sight=False)
    seen = scene.reflectance(surveyed.dn), model.coarse()
    far = surveyed.clear & (away_m > _FAR_M)
    far = far if far.any() else surveyed.clear
    haze, shadow = unobstructed.obstruction(*seen, surveyed.data & ~cloudy, far)
    sharp = unobstructed.obstruction(*seen, surveyed.data, far, smooth_px=0)
    small = _beyond_chance(sharp, far)
    obstructed = (_beyond_chance((haze, shadow), far) | small) & surveyed.data & (away_m <= max(limit_m, buffer_m))
    near = away_m <= buffer_m
    followed = (_connected(obstructed, cloudy, near) | (obstructed & near)) & ~cloudy
    classes[followed] = np.where(haze > shadow, SkyClass.HAZE, SkyClass.SHADOW)[followed]
    casting = _casting(cloudy, sharp, small, found)
    classes[_cast(seen, surveyed, scene, casting, shadow > _chance(shadow, far)) & ~cloudy] = SkyClass.SHADOW
    if size_m > scene.grid.pixel_size_m:
        classes[small & _border(cloudy)] = SkyClass.CLOUD
    return classes


def _casting(cloudy: Mask, amounts: tuple[Image, Image], beyond_chance: Mask, found: FoundClouds | None) -> Mask:
    """What of a mask (h, w) is cloud: it may have shadows in it and, as a buffer, clear ground."""
    haze, shadow = amounts
    casting = cloudy & beyond_chance & (haze > shadow)
    return casting if found is None else casting & (found.classes != SkyClass.SHADOW)


def _cast(seen: tuple[Image, Image], surveyed: Survey, scene: Scene, casting: Mask, shaded: Mask) -> Mask:
    """Where clouds cast shadow (h, w) on ground that is `shaded`, and what is so around it."""
    observed, expected = (image[_NIR] for image in seen)
    known = surveyed.data & ~casting
    darkness = as_image(np.where(known & (expected > _LEAST_NIR), 1 - observed / np.maximum(expected, _LEAST_NIR), 0))
    sun = scene.sun.on_grid(surveyed.grid) if scene.sun else None
    cast = cast_shadows.cast(darkness, casting, known, surveyed.grid.pixel_size_m, sun) & shaded
    rim = distance_m(cast, surveyed.grid.pixel_size_m, _RIM_M) <= _RIM_M if cast.any() else cast
    return np.asarray(ndimage.binary_propagation(cast, mask=cast | (rim & shaded & known)))


def _border(cloudy: Mask) -> Mask:
    """Pixels of a mask that touch others: on a finer grid it covers them in part."""
    return np.asarray(cloudy & ~ndimage.binary_erosion(cloudy, np.ones((3, 3), bool), border_value=1))


def _beyond_chance(amounts: tuple[Image, Image], far: Mask) -> Mask:
    """Where haze or shadow (h, w) is more than by chance, which clear ground tells."""
    hazy, shaded = (amount > _chance(amount, far) for amount in amounts)
    return np.asarray(hazy | shaded)


def _chance(amount: Image, far: Mask) -> float:
    """The amount that few clear pixels exceed."""
    return float(np.quantile(amount[far], 1 - _CHANCE / 2))


def with_edges(surveyed: Survey, clouds: FoundClouds | None, classes: NDArray[np.uint8]) -> tuple[Survey, FoundClouds]:
    """The survey, and the clouds found in its scene with the `classes` that `follow` returns among them.

    Of these the survey takes for cloudy, and a model leaves out, only what lies far from the mask.
    """
    beyond = classes != SkyClass.CLEAR
    clear = np.full(beyond.shape, SkyClass.CLEAR, np.uint8)
    clouds = clouds or FoundClouds(surveyed.grid, clear, np.zeros(beyond.shape, np.float32))
    away_m = distance_m(surveyed.cloudy, surveyed.grid.pixel_size_m, _LEAK_M)
    left_out = surveyed.cloudy | (beyond & (away_m > _LEAK_M))
    probability = np.where(beyond, np.float32(1), clouds.probability)
    clouds = replace(clouds, classes=np.where(beyond, classes, clouds.classes), probability=probability)
    return replace(surveyed, cloudy=left_out), clouds


def _connected(flagged: Mask, cloudy: Mask, near: Mask) -> Mask:
    """What of the flagged pixels hangs together with the mask, beginning near it, single ones not counted."""
    together = ndimage.binary_opening(flagged | cloudy) | cloudy
    return np.asarray(ndimage.binary_propagation(near & together, mask=together))
