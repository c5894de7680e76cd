"""Where clouds and shadows end that a mask begins: pixels beyond it with something in the way, connected to it; and the
shadows, wherever they fall, that its clouds cast.

Whether something is in the way of a pixel, more than the scene's model errs on clear ground, tells `unobstructed`.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from cloudfree.arrays import Image, Mask
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

_LEAST = 1.0  # standard deviation: what `unobstructed` does not notice is not followed, however well the model knows
_CHANCE = 0.02  # of clear pixels that are taken for obstructed, each time they are asked
_FAR_M = 100.0  # from the mask ground is surely clear
# Nearer to the mask than this pixels are left to the model: it knows how cloud leaks, and clear ground is rare there.
_LEAK_M = 60.0
_GREEN, _NIR = 1, 3
_SHADED = 0.85  # share of clear pixels that what is cast must be darker than


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
    classes = np.full(surveyed.cloudy.shape, SkyClass.CLEAR, np.uint8)
    if not surveyed.cloudy.any() or not surveyed.clear.any():
        return classes
    mask, seen = surveyed.cloudy, _seen(surveyed, scene)
    cast = _cast(seen, surveyed, scene, found)
    if cast.any() and (surveyed.clear & ~cast).any():
        surveyed = replace(surveyed, cloudy=mask | cast)
        seen = _seen(surveyed, scene)  # without what ground in shadow taught the model
    size_m = surveyed.grid.pixel_size_m
    away_m = distance_m(surveyed.cloudy, size_m, max(limit_m, buffer_m, _FAR_M))
    far = _far(surveyed, away_m)
    haze, shadow = unobstructed.obstruction(*seen, surveyed.data & ~mask, far)
    small = _beyond_chance(unobstructed.obstruction(*seen, surveyed.data, far, smooth_px=0), far)
    obstructed = (_beyond_chance((haze, shadow), far) | small) & surveyed.data & (away_m <= max(limit_m, buffer_m))
    near = away_m <= buffer_m
    shaded = cast & (shadow > np.quantile(shadow[far], _SHADED))
    followed = (_connected(obstructed & ~cast, mask | shaded, near) | (obstructed & near & ~cast) | shaded) & ~mask
    classes[followed] = np.where((haze > shadow) & ~shaded, SkyClass.HAZE, SkyClass.SHADOW)[followed]
    if size_m > scene.grid.pixel_size_m:
        classes[small & _border(mask)] = SkyClass.CLOUD
    return classes


def _seen(surveyed: Survey, scene: Scene) -> tuple[Image, Image]:
    """What the scene shows, and what its model expects of the ground, as reflectance (4, h, w)."""
    model = of_survey(surveyed, scene, by_holes=False, by_sight=False)
    return scene.reflectance(surveyed.dn), model.coarse()


def _far(surveyed: Survey, away_m: Image) -> Mask:
    """Ground (h, w) that is surely clear, by its distance from the mask; all clear ground where none is far."""
    far = surveyed.clear & (away_m > _FAR_M)
    return far if far.any() else surveyed.clear


def _cast(seen: tuple[Image, Image], surveyed: Survey, scene: Scene, found: FoundClouds | None) -> Mask:
    """Where clouds of the mask cast shadow (h, w) beyond it."""
    size_m = surveyed.grid.pixel_size_m
    casting = _casting(seen, surveyed, found)
    observed, expected = (image[[_GREEN, _NIR]] for image in seen)
    sun = scene.sun.on_grid(surveyed.grid) if scene.sun else None
    cast = cast_shadows.cast(observed, expected, casting, surveyed.data & ~casting, size_m, sun)
    return cast & ~surveyed.cloudy


def _casting(seen: tuple[Image, Image], surveyed: Survey, found: FoundClouds | None) -> Mask:
    """What of a mask (h, w) is cloud: it may have shadows in it and, as a buffer, clear ground."""
    away_m = distance_m(surveyed.cloudy, surveyed.grid.pixel_size_m, _FAR_M)
    far = _far(surveyed, away_m)
    haze, shadow = unobstructed.obstruction(*seen, surveyed.data, far, smooth_px=0)
    casting = surveyed.cloudy & surveyed.data & (haze > np.maximum(shadow, np.quantile(haze[far], 1 - _CHANCE / 2)))
    return casting if found is None else casting & (found.classes != SkyClass.SHADOW)


def _border(cloudy: Mask) -> Mask:
    """Pixels of a mask that touch others: on a finer grid it covers them in part."""
    return np.asarray(cloudy & ~ndimage.binary_erosion(cloudy, np.ones((3, 3), bool), border_value=1))


def _beyond_chance(amounts: tuple[Image, Image], far: Mask) -> Mask:
    """Where haze or shadow (h, w) is more than by chance, which clear ground tells."""
    hazy, shaded = (amount > max(_LEAST, float(np.quantile(amount[far], 1 - _CHANCE / 2))) for amount in amounts)
    return np.asarray(hazy | shaded)


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
