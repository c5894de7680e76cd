"""Synthetic cloud: what a cloudy sky does to a clear scene, for training without cloudy-and-clear pairs, and for tests.

A layer is made once (`cloud_layer`) and laid over any scene of its size (`add_clouds`). Every number comes from the
generator that is passed in: an equal seed gives equal pixels. Brightness and colour follow the real clouds of
SEN12MS-CR and M3R-CR: reflectance 0.4 to 0.9 over the thick parts, near-infrared about a tenth above blue.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from cloudfree.arrays import Image, Mask, as_image
from cloudfree.bands import CLOUD_COLOUR, HAZE_DEPTH, SHADOW_DEPTH
from cloudfree.simulate.noise import fast_shape, fractal_noise

PLANETSCOPE_PIXEL_M = 3.0

# What a good mask flags. Opacity is the share of the ground's light that is replaced, shadow that of the sun's lost.
HAZE_OPACITY = 0.1
CLOUD_OPACITY = 0.45
SHADOW_LOSS = 0.15

# Through less than this transmittance nothing of the ground can be told in 12 bits beside a bright cloud: call it none.
_INVISIBLE = 0.02
# Deep shade still receives the sky's light: 30 % of the total.
_DEEPEST_SHADOW = 0.7


@dataclass(frozen=True)
class Sky:
    """The weather and the sun. Lengths in metres, angles in degrees, azimuth clockwise from north (up).

    cell_m: size of the larger clouds. base_m: their height, which with the zenith sets how far shadows fall.
    thickness: optical depth at the thickest point. haze_share: part (0..1) of the covered area that is haze alone.
    haze_depth: the haze's greatest optical depth.
    """

    cell_m: float = 500.0
    base_m: float = 400.0
    thickness: float = 20.0
    haze_share: float = 0.2
    haze_depth: float = 0.6
    sun_azimuth_deg: float = 150.0
    sun_zenith_deg: float = 40.0

    @classmethod
    def draw(cls, rng: np.random.Generator) -> Sky:
        """Any fair or foul day at the hours when PlanetScope passes, in either hemisphere."""
        return cls(
            cell_m=math.exp(rng.uniform(math.log(150), math.log(1200))),
            base_m=math.exp(rng.uniform(math.log(150), math.log(1500))),
            thickness=rng.uniform(8, 40),
            haze_share=rng.uniform(0, 0.8) ** 2,
            haze_depth=rng.uniform(0.25, 1.0),
            sun_azimuth_deg=rng.uniform(30, 160),
            sun_zenith_deg=rng.uniform(20, 60),
        )

    def shadow_shift_yx_px(self, pixel_size_m: float) -> tuple[int, int]:
        """Rows down and columns right from a cloud to its shadow: away from the sun, height times tan(zenith)."""
        return self.away_from_sun_yx_px(self.base_m * math.tan(math.radians(self.sun_zenith_deg)) / pixel_size_m)

    def away_from_sun_yx_px(self, reach_px: float) -> tuple[int, int]:
        """Rows down and columns right over so many pixels away from the sun."""
        azimuth = math.radians(self.sun_azimuth_deg)
        return round(reach_px * math.cos(azimuth)), round(-reach_px * math.sin(azimuth))


@dataclass(frozen=True)
class CloudLayer:
    """Cloud and its shadow over H x W pixels.

    opacity (H, W) float32: share of the ground's light replaced, 0 to exactly 1.
    radiance (4, H, W) float32: what replaces it, as reflectance in blue, green, red, NIR; may exceed 1.
    shadow (H, W) float32: share of sunlight lost, 0 to 0.7; none under opaque cloud.
    cloud, haze, shade (H, W) bool: disjoint, as UDM2 has them; haze is the part that the ground shows through.
    """

    opacity: Image
    radiance: Image
    shadow: Image
    cloud: Mask
    haze: Mask
    shade: Mask

    @property
    def mask(self) -> Mask:
        """(H, W) bool, all that a good cloud and shadow mask flags."""
        return self.cloud | self.haze | self.shade


def cloud_layer(
    rng: np.random.Generator,
    height: int,
    width: int,
    *,
    pixel_size_m: float = PLANETSCOPE_PIXEL_M,
    cover: float = 0.3,
    sky: Sky | None = None,
) -> CloudLayer:
    """Clouds over `cover` (0..1) of the area, haze included and shadow not, under the given sky or one drawn."""
    sky = sky or Sky.draw(rng)
    shape = fast_shape(height, width)
    relief = _billows(rng, shape, sky.cell_m / pixel_size_m)
    thick = _optical_depth(relief, cover * (1 - sky.haze_share), sky.thickness)
    haze = _haze_depth(rng, thick, cover, sky, pixel_size_m)
    opacity = np.minimum((1 - np.exp(-thick - haze)) / np.float32(1 - _INVISIBLE), np.float32(1))
    radiance = _radiance(rng, relief, thick, sky)
    shadow = _shadow(opacity, sky, pixel_size_m)
    return _classified(opacity[:height, :width], radiance[:, :height, :width], shadow[:height, :width])


def layer_with_shadow(opacity: Image, radiance: Image, sky: Sky, pixel_size_m: float) -> CloudLayer:
    """Given clouds, opacity (H, W) and radiance (4, H, W), with the shadow that they cast under a sky."""
    return _classified(opacity, radiance, _shadow(opacity, sky, pixel_size_m))


def add_clouds(reflectance: Image, layer: CloudLayer) -> Image:
    """A scene (4, H, W), reflectance in blue, green, red, NIR, as seen under the layer; float32.

    Pixels with neither cloud nor shadow keep their value exactly.
    """
    sunlight = 1 - layer.shadow * as_image(SHADOW_DEPTH)[:, None, None]
    transmittance = (1 - layer.opacity) ** as_image(HAZE_DEPTH)[:, None, None]
    return as_image(reflectance * sunlight * transmittance + layer.radiance * (1 - transmittance))


def imperfect_mask(rng: np.random.Generator, mask: Mask, error_px: float = 6.0) -> Mask:
    """A mask (H, W) as providers deliver it: the outline strays by about `error_px`, specks are lost and invented."""
    if not mask.any() or mask.all():
        return mask.copy()
    inside_px = ndimage.distance_transform_edt(mask) - ndimage.distance_transform_edt(~mask)
    stray = fractal_noise(rng, fast_shape(*mask.shape), slope=2.0, outer_px=12 * error_px, inner_px=error_px)
    flagged: Mask = inside_px + error_px * stray[: mask.shape[0], : mask.shape[1]] > rng.normal(0, error_px / 2)
    return flagged


def _billows(rng: np.random.Generator, shape: tuple[int, int], cell_px: float) -> Image:
    """Cloud tops: a fractal gives the outline; folded noise, round with creases between, gives the cauliflower."""
    outline = fractal_noise(rng, shape, slope=2.25, outer_px=cell_px, inner_px=1.5)
    folds = np.abs(fractal_noise(rng, shape, slope=2.0, outer_px=cell_px / 4, inner_px=1.5))
    return as_image(outline + np.float32(0.3) * folds)


def _optical_depth(field: Image, share: float, peak: float) -> Image:
    """Depth (H, W) from 0 to `peak`, rising as height^1.5 so that edges are soft and cores firm.

    It passes the haze threshold exactly at the field's quantile: `share` of the area is deeper than a mask would flag.
    """
    if share <= 0:
        return np.zeros_like(field)
    edge = float(np.quantile(field, max(1 - share, 0.0)))
    fringe = (HAZE_OPACITY / peak) ** (1 / 1.5)
    height = (field - np.float32(edge)) * np.float32((1 - fringe) / max(float(field.max()) - edge, 1e-6))
    height = np.maximum(height + np.float32(fringe), np.float32(0))
    return as_image(np.float32(peak) * height * np.sqrt(height))


def _haze_depth(rng: np.random.Generator, thick: Image, cover: float, sky: Sky, pixel_size_m: float) -> Image:
    """Optical depth (H, W) of streaked haze, enough where thick cloud leaves the ground free to make up the cover."""
    streaks = fractal_noise(
        rng,
        (thick.shape[0], thick.shape[1]),
        slope=2.2,
        outer_px=2 * sky.cell_m / pixel_size_m,
        elongation=rng.uniform(1, 3),
        direction_rad=rng.uniform(0, math.pi),
    )
    free = max(float((thick < HAZE_OPACITY).mean()), 1e-6)
    return _optical_depth(streaks, min(cover * sky.haze_share / free, 1.0), sky.haze_depth)


def _radiance(rng: np.random.Generator, relief: Image, thick: Image, sky: Sky) -> Image:
    """Reflectance (4, H, W) of the cloud itself: brighter where deeper, lit on the side of the sun, nearly white."""
    albedo = np.float32(0.42) + np.float32(0.55) * thick / (thick + 5)
    facing = relief - np.roll(relief, sky.away_from_sun_yx_px(4), (0, 1))
    facing *= np.float32(rng.uniform(0.04, 0.11)) / max(float(facing.std()), 1e-6)
    grey = albedo * np.clip(1 + facing * (thick / (thick + 1)), 0.6, 1.4)
    tint = as_image(CLOUD_COLOUR) * rng.normal(1, 0.015, 4).astype(np.float32) * np.float32(rng.uniform(0.85, 1.1))
    return as_image(tint[:, None, None] * grey)


def _shadow(opacity: Image, sky: Sky, pixel_size_m: float) -> Image:
    """The opacity, displaced, and softened by the sun's half degree and by light scattered in from the sides."""
    cast = np.roll(opacity, sky.shadow_shift_yx_px(pixel_size_m), (0, 1))
    blur_px = (6 + 0.01 * sky.base_m) / pixel_size_m
    soft = ndimage.gaussian_filter(cast, blur_px, mode="wrap", truncate=2.5)
    # Tails that no one could see are cut to nothing, so that clear ground stays exactly as it was.
    soft = np.maximum(soft - np.float32(0.02), np.float32(0)) / np.float32(0.98)
    return as_image(np.float32(_DEEPEST_SHADOW) * soft * (1 - opacity))


def _classified(opacity: Image, radiance: Image, shadow: Image) -> CloudLayer:
    """The layer with its masks: the thicker class wins where two apply."""
    cloud = opacity > CLOUD_OPACITY
    haze = (opacity > HAZE_OPACITY) & ~cloud
    shade = (shadow > SHADOW_LOSS) & ~cloud & ~haze
    return CloudLayer(opacity, radiance, shadow, cloud, haze, shade)
