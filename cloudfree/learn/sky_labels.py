"""Labels of what is in the way of the ground, as far as they are sure.

Three witnesses are heard: the ground itself, where another date or a simulation knows it, what another network says of
cloud, and brightness alone. Where they contradict each other, nothing is to be learned.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from cloudfree.arrays import Image, Mask
from cloudfree.bands import SKY_NODATA, SkyClass
from cloudfree.detect.find import MOST_SHADOW
from cloudfree.learn.cloud_layers import opacity_of

UNLABELLED = SKY_NODATA
"""A pixel from which nothing is to be learned."""

Labels = NDArray[np.uint8]

HAZE_BLUE = 0.03
"""Blue reflectance that cloud adds to the ground, from where on people call it haze, and not clear ground."""

SAYS_CLOUD = 0.5
"""Another network's share of cloud in a pixel, over which it calls that cloud."""

_CLEAR_BLUE = 0.012  # change of blue that no one sees
_SHADED_NIR, _LIT_NIR = 0.75, 0.9  # share of the ground's near infrared: at most in shadow, at least in the sun
_OPAQUE, _WHITE_OUT = 0.45, 0.8  # opacities: cloud, and cloud over ground that is as bright
# Between two dates ground changes, so that less is sure: the clear change of blue, and of the near infrared.
_SMOOTH_PX, _SAME_BLUE, _SAME_NIR = 5, 0.02, (0.8, 1.3)
_WATER_NIR = 0.05  # reflectance
_CLOUD_BLUE, _SEEN_CLOUD_BLUE = 0.15, 0.06  # change of blue that is cloud, and that is if the other network says so
_SAYS_CLEAR = 0.2
# Opacities by brightness alone: what is surely clear, surely haze, surely cloud, and in between in doubt.
_CLEAR, _HAZE, _CLOUD = 0.06, 0.16, 0.45
_PERHAPS_SHADED_NIR = 0.7  # of the median of what is clear
# Snow reflects blue as it does red, and NIR less; some white roofs do too, so that an image needs a share of it.
_SNOW_BLUE, _SNOW_COLOUR, _SNOW_SHARE = 0.25, 1.08, 0.06


def clear_labels(reflectance: Image, valid: Mask) -> Labels:
    """Clear or snow (H, W) of a clear image (4, H, W)."""
    blue, nir = reflectance[0], reflectance[3]
    ratio = nir / np.maximum(blue, 1e-3)
    white = (blue > _SNOW_BLUE) & (ratio < _SNOW_COLOUR) & (reflectance[2] < 1.15 * blue)
    labels = np.where(white & (white.mean() > _SNOW_SHARE), SkyClass.SNOW, SkyClass.CLEAR)
    return np.where(valid, labels, UNLABELLED).astype(np.uint8)


def labels_over(ground: Labels, lies: Image, seen: Image, opacity: Image) -> Labels:
    """Of ground with labels (H, W) and reflectance `lies` (4, H, W), as it is seen (4, H, W) under known clouds.

    opacity (H, W), 0..1: share of the ground's light that clouds, not shadows, replace.
    """
    brighter, nir = seen[0] - lies[0], seen[3] / np.maximum(lies[3], 1e-3)
    thick = (opacity > _OPAQUE) & ((brighter > HAZE_BLUE) | (opacity > _WHITE_OUT))
    labels = np.full_like(ground, UNLABELLED)
    unchanged = (np.abs(brighter) < _CLEAR_BLUE) & (nir > _LIT_NIR)
    labels[unchanged] = ground[unchanged]
    labels[(brighter < HAZE_BLUE) & (nir < _SHADED_NIR)] = SkyClass.SHADOW
    labels[brighter > HAZE_BLUE] = SkyClass.HAZE
    labels[thick] = SkyClass.CLOUD
    return labels


def labels_by_ground(reflectance: Image, ground: Image, cloud_share: Image | None = None) -> Labels:
    """Of a real image (4, H, W), finite, by the ground (4, H, W) that another date tells.

    cloud_share (H, W), 0..1: what another network, which knows neither haze nor shadow, says of cloud.
    """
    blue, nir = (ndimage.median_filter(reflectance[band], _SMOOTH_PX) for band in (0, 3))
    brighter, ratio = (
        blue - ndimage.median_filter(ground[0], _SMOOTH_PX),
        nir / np.maximum(ndimage.median_filter(ground[3], _SMOOTH_PX), 0.02),
    )
    says = np.full(blue.shape, np.nan, np.float32) if cloud_share is None else cloud_share
    labels = np.full(blue.shape, UNLABELLED, np.uint8)
    labels[(np.abs(brighter) < _SAME_BLUE) & (ratio > _SAME_NIR[0]) & (ratio < _SAME_NIR[1])] = SkyClass.CLEAR
    labels[brighter > HAZE_BLUE] = SkyClass.HAZE
    labels[(brighter > _CLOUD_BLUE) | ((brighter > _SEEN_CLOUD_BLUE) & (says > SAYS_CLOUD))] = SkyClass.CLOUD
    labels[(labels == SkyClass.CLEAR) & (says > SAYS_CLOUD)] = UNLABELLED
    shaded = (brighter < 0) & (ratio < _SHADED_NIR) & (blue < 0.95 * ground[0]) & (nir > _WATER_NIR)
    if shaded.sum() < MOST_SHADOW * (brighter > HAZE_BLUE).sum():  # else the ground is of another season
        labels[shaded] = SkyClass.SHADOW
    return labels


def cloudy_labels(reflectance: Image, cloud_share: Image | None = None) -> Labels:
    """Cloud, haze and clear (H, W) of an image (4, H, W) by its opacity; what may be in shadow is left out."""
    opacity, nir = opacity_of(reflectance[0]), ndimage.median_filter(reflectance[3], 5)
    labels = np.full(opacity.shape, UNLABELLED, np.uint8)
    labels[opacity > _HAZE] = SkyClass.HAZE
    labels[opacity > _CLOUD] = SkyClass.CLOUD
    clear = opacity < _CLEAR
    if clear.any():
        labels[clear & (nir > _PERHAPS_SHADED_NIR * np.median(nir[clear]))] = SkyClass.CLEAR
    if cloud_share is not None:  # bright ground that it calls clear, and clear ground that it calls cloud
        labels[(labels == SkyClass.CLEAR) & (cloud_share > SAYS_CLOUD)] = UNLABELLED
        labels[np.isin(labels, (SkyClass.CLOUD, SkyClass.HAZE)) & (cloud_share < _SAYS_CLEAR)] = UNLABELLED
    return labels
