"""What still shows of the ground through thin cloud and in shadow.

A pixel under haze is ground and airlight mixed, `observed = t * ground + (1 - t) * airlight`; in shadow it is ground
with less light. The scene's model says what the ground probably is, and how its errors go together over the bands
(`SceneModel.error_covariance`); airlight is nearly white. So the one unknown of a pixel, how much is in the way, is
what makes the ground behind it most plausible, a weighted least squares over the bands, and the ground follows.

How far each part of it is believed against the model was measured under real clouds (`clouds`, `biomassters`), with
another date for the truth: texture shows through in all bands, and in the near infrared colour does too; in the visible
bands the colour of air is not known well enough, and colour is better taken from the model. Where little light comes
through, errors of the airlight are magnified, and the model is all.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from scipy import ndimage

from cloudfree.arrays import Float64Array, Image, Mask, as_image
from cloudfree.bands import CLOUD_COLOUR, HAZE_DEPTH, SHADOW_DEPTH

_AIRLIGHT = 0.45 * as_image(CLOUD_COLOUR)[:, None, None]
_RELATIVE_DEPTH = as_image(HAZE_DEPTH)[:, None, None] / np.float32(np.mean(HAZE_DEPTH))
_SHADOW_DEPTH = as_image(SHADOW_DEPTH)[:, None, None]
_MOST_HAZE, _MOST_SHADOW = 0.97, 0.8

# How far off airlight may be, as reflectance, and the light in shadow, as a share: in texture, finer than some pixels,
# and in colour. Blue, green, red, NIR.
_TEXTURE_PX, _THICKEST_PX = 5.0, 5
_AIRLIGHT_ERROR = as_image([0.06, 0.06, 0.06, 0.02]), as_image([1.0, 1.0, 1.0, 0.02])
_LIGHT_ERROR = as_image([0.15, 0.15, 0.15, 0.05]), as_image([2.0, 2.0, 2.0, 0.05])
_DARKEST = 0.02  # ground is taken for this bright at least, when errors are a share of it

# The sun is half a degree wide: shadow is smooth. Less haze than this around a dark pixel is none.
_PENUMBRA_PX, _LEAST_SHADOW = 1.5, 0.05
_AROUND_PX, _LEAST_HAZE = 2.0, 0.02
_TINY = 1e-6


class SeenThrough(NamedTuple):
    """Ground of a window: reflectance (4, H, W), and how much of it is what is observed, `share` (H, W) 0..1.

    The rest is the model.
    """

    reflectance: Image
    share: Image


class Obstruction(NamedTuple):
    """How much is in the way of the ground: the opacity of haze, and the share of light lost in shadow, each (H, W).

    By chance they come out negative over clear ground.
    """

    haze: Image
    shadow: Image


def obstruction(observed: Image, model: Image, error_covariance: Float64Array, penumbra_px: float = 0.0) -> Obstruction:
    """What makes the ground behind it most plausible, pixel by pixel: arguments as of `see_through`.

    Shadow is smoothed by a Gaussian of `penumbra_px`.
    """
    precision = as_image(np.linalg.inv(error_covariance))
    haze = _least_squares(observed - model, _AIRLIGHT - model, precision)
    visible = (1 - np.clip(haze, 0, _MOST_HAZE)) ** 4  # a cloud tells nothing of the shadow beside it
    shadow = _least_squares(observed - model, -_SHADOW_DEPTH * model, precision, visible, penumbra_px)
    return Obstruction(haze, shadow)


def see_through(observed: Image, model: Image, error_covariance: Float64Array) -> SeenThrough:
    """The ground (4, H, W) behind what is observed there, given a model of it and the covariance (4, 4) of its errors.

    Reaches 15 pixels: within the margin that tiles throw away.
    """
    in_the_way = obstruction(observed, model, error_covariance, _PENUMBRA_PX)
    haze, loss = np.clip(in_the_way.haze, 0, _MOST_HAZE), np.clip(in_the_way.shadow, 0, _MOST_SHADOW)
    shaded = (haze == 0) | ((_smooth(haze, _AROUND_PX) < _LEAST_HAZE) & (loss > _LEAST_SHADOW))
    transmittance, light = (1 - haze) ** _RELATIVE_DEPTH, 1 - loss * _SHADOW_DEPTH
    seen = np.where(shaded, observed / light, (observed - (1 - transmittance) * _AIRLIGHT) / transmittance)
    return _weighed(
        model, seen, np.where(shaded, 1 - loss, 1 - haze), *_shares(model, haze, loss, shaded, error_covariance)
    )


def _shares(
    model: Image, haze: Image, loss: Image, shaded: Mask, error_covariance: Float64Array
) -> tuple[Image, Image]:
    """How far to believe the texture and the colour of what is seen (4, H, W) against the model: 0..1."""
    # What one unit of error is worth: in airlight, of the thickest haze around a pixel, as it grows under real clouds;
    # and in the light of a shadow.
    transmittance = (1 - ndimage.maximum_filter(haze, _THICKEST_PX)) ** _RELATIVE_DEPTH
    of_air, light = (1 - transmittance) / transmittance**4, 1 - loss * _SHADOW_DEPTH
    of_light = np.where(shaded, (1 - light) / light * np.maximum(model, _DARKEST), np.float32(0))
    variance = np.diag(error_covariance)[:, None, None]
    of_texture, of_colour = (
        variance / (variance + (air[:, None, None] * of_air) ** 2 + (dark[:, None, None] * of_light) ** 2)
        for air, dark in zip(_AIRLIGHT_ERROR, _LIGHT_ERROR, strict=True)
    )
    return as_image(of_texture), as_image(of_colour)


def _weighed(model: Image, seen: Image, visible: Image, of_texture: Image, of_colour: Image) -> SeenThrough:
    """The model with the texture and the colour of what is seen, where it is best visible (H, W, 0..1) most of all."""
    weight, added = visible**4 + np.float32(_TINY), seen - model
    colour = _smooth(added * weight, _TEXTURE_PX) / _smooth(weight, _TEXTURE_PX)
    ground = model + of_colour * colour + of_texture * (added - colour)
    return SeenThrough(as_image(ground), as_image(of_texture.mean(axis=0)))


def _least_squares(
    difference: Image, direction: Image, precision: Image, weight: Image | float = 1.0, smooth_px: float = 0.0
) -> Image:
    """How much (H, W) of a direction (4, H, W) explains a difference best, of pixels, or of some by their weight."""
    weighted = weight * (precision @ direction.reshape(len(direction), -1)).reshape(direction.shape)
    along, length = (weighted * difference).sum(axis=0), (weighted * direction).sum(axis=0)
    if smooth_px:
        along, length = _smooth(along, smooth_px), _smooth(length, smooth_px)
    return as_image(along / np.maximum(length, _TINY))


def _smooth(image: Image, deviation_px: float) -> Image:
    """A Gaussian over rows and columns of (..., H, W)."""
    return ndimage.gaussian_filter(image, deviation_px, truncate=2.0, axes=(-2, -1))
