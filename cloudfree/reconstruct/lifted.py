"""Clouds and shadows taken off the ground that they were seen over, to be laid over other ground.

What shows through is then the right ground, in whatever light these clouds and shadows really left, band by band.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from cloudfree.arrays import Image, Mask, as_image

_OPAQUE = 0.55  # opacity from which on nothing is taken to show through
_AIRLIGHT, _AIRLIGHT_PX = 0.3, 31  # least reflectance of opaque cloud, and the window in which its own is looked for
_DARK_NIR = 0.02  # reflectance by which a shadow darkens the near infrared at least
_DEEPEST, _DARKEST = 0.15, 0.01  # share of light left in the deepest shadow; reflectance
_BRIGHTEST_GROUND = 99  # percentile of the ground, above which it is an error of the model more often than a roof
_GROWN_PX, _FEATHER_PX = 2, 2.0


@dataclass(frozen=True)
class LiftedClouds:
    """What lies over the ground: `light + transmittance * ground` is what is seen.

    light (4, H, W): reflectance that it adds, none in shadow; transmittance (4, H, W), 0..1: the share of the ground's
    reflectance that comes through, 1 where nothing is in the way.
    """

    light: Image
    transmittance: Image

    def over(self, ground: Image) -> Image:
        """The ground (4, H, W) as it is seen under them, reflectance 0..1."""
        return np.clip(self.light + self.transmittance * ground, 1e-4, 1)

    def map(self, move: Callable[[Image], Image]) -> LiftedClouds:
        """Turned, cut or moved: whatever is done to images (4, H, W)."""
        return LiftedClouds(*(np.ascontiguousarray(move(image)) for image in (self.light, self.transmittance)))

    @property
    def opacity(self) -> Image:
        """Share (H, W) of the ground's reflectance that is lost, mean of the bands."""
        return as_image(1 - self.transmittance.mean(axis=0))


def lift(cloudy: Image, ground: Image, mask: Mask) -> LiftedClouds:
    """What lies over the ground (4, H, W), reflectance, in a cloudy image of the same place and light.

    Where the cloud is much brighter than the ground in all visible bands it is opaque, and is its own light; where it
    is less bright, the ground shows through as much less, in all bands alike; where it is darker, in shadow, the share
    that is left of the light is the ratio of the two images, band by band. Beyond the mask (H, W) it fades to nothing.
    """
    ground = np.minimum(
        ground, np.percentile(ground.reshape(len(ground), -1), _BRIGHTEST_GROUND, axis=1)[:, None, None]
    )
    brighter = ndimage.median_filter(cloudy[:3] - ground[:3], (1, 3, 3)).mean(axis=0)
    airlight = ndimage.maximum_filter(ndimage.gaussian_filter(cloudy[0], 1), _AIRLIGHT_PX)
    airlight = np.maximum(airlight, _AIRLIGHT)
    opacity = np.clip(brighter / np.maximum(airlight - ground[:3].mean(axis=0), 0.05), 0, 1)
    opacity = ndimage.gaussian_filter(opacity, 1)
    opaque = opacity > _OPAQUE
    darker_nir = ndimage.median_filter(cloudy[3] - ground[3], 3) < -_DARK_NIR
    shadow = (brighter < 0) & darker_nir & mask
    smooth_cloudy, smooth_ground = (ndimage.gaussian_filter(image, (0, 2, 2)) for image in (cloudy, ground))
    left = np.clip(smooth_cloudy / np.maximum(smooth_ground, _DARKEST), _DEEPEST, 1)
    colour = np.clip(cloudy / np.maximum(cloudy[:1], 0.02), 0.5, 1.5)
    transmittance = np.where(shadow, left, np.where(opaque, 0, 1 - opacity))
    light = np.where(shadow, 0, np.where(opaque, cloudy, opacity * airlight * colour))
    grown = ndimage.binary_dilation(mask, iterations=_GROWN_PX)
    weight = ndimage.gaussian_filter(as_image(grown), _FEATHER_PX)
    return LiftedClouds(as_image(light * weight), as_image(1 - weight + transmittance * weight))
