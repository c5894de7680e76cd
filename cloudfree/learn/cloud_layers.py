"""Cloud layers to train under: simulated ones, and clouds taken out of real images."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy import ndimage

from cloudfree.arrays import Image, as_image
from cloudfree.bands import OPTICAL_BANDS, REFLECTANCE_SCALE
from cloudfree.errors import InputError
from cloudfree.learn.clouded_images import CLOUDY_SUFFIX
from cloudfree.learn.places import by_site, read_bands, site_of
from cloudfree.simulate.clouds import PLANETSCOPE_PIXEL_M, CloudLayer, Sky, cloud_layer, layer_with_shadow

DrawCloudLayer = Callable[[np.random.Generator, int], CloudLayer]
"""Draws a cloud layer over a square of so many pixels."""

# Blue reflectance tells cloud from any ground but snow: from here on it is taken for opaque. The ground's own is that
# of the darker fifth of the image, or, where hardly anything is free, what air and dark ground have at most.
_OPAQUE_BLUE, _GROUND_QUANTILE, _BRIGHTEST_GROUND = 0.45, 0.2, 0.18
_ROOF_PX, _THIN_BLUR_PX = 5, 3.0
_THICK, _NEGLIGIBLE = 0.7, 0.06  # opacities
_USABLE_SHARE = 0.03  # of an image under thick cloud


def simulated_layer(rng: np.random.Generator, side: int) -> CloudLayer:
    """Simulated clouds of any kind over `side` x `side` pixels, from a few to an overcast sky.

    They are made for PlanetScope's pixels, whatever those of the ground measure.
    """
    return cloud_layer(rng, side, side, cover=float(rng.uniform(0.05, 1.0)))


@dataclass(frozen=True)
class RealClouds:
    """Clouds of a real image: opacity (H, W) 0..1 and radiance (4, H, W) as of `simulate.CloudLayer`.

    `site` is shared by the images of one place.
    """

    site: str
    opacity: Image
    radiance: Image

    def draw_layer(self, rng: np.random.Generator, side: int) -> CloudLayer:
        """A random part of them, turned and enlarged one to threefold over the square, with shadows of some sun."""
        zoom = float(rng.uniform(1, 3))
        size = min(round(side / zoom), *self.opacity.shape)
        y, x = (int(rng.integers(length - size + 1)) for length in self.opacity.shape)
        part = np.concatenate([self.opacity[None], self.radiance])[:, y : y + size, x : x + size]
        part = np.rot90(part, int(rng.integers(4)), (1, 2))
        part = part[..., ::-1] if rng.random() < 0.5 else part
        position = np.linspace(0, size - 1, side)
        grid = np.meshgrid(position, position, indexing="ij")
        opacity, *radiance = (ndimage.map_coordinates(band, grid, np.float32, order=1) for band in part)
        return layer_with_shadow(opacity, as_image(radiance), Sky.draw(rng), PLANETSCOPE_PIXEL_M)


def read_real_clouds(folder: Path) -> list[RealClouds]:
    """The clouds of the images `NAME_cloudy.tif` (uint16 blue, green, red, NIR, reflectance * 10000) of a folder.

    Images with hardly any thick cloud are left out. NAME tells places apart (`places.site_of`).
    Raises InputError where none is left.
    """
    paths = sorted(folder.glob(f"*{CLOUDY_SUFFIX}"))
    images = [clouds for path in paths if (clouds := _read_clouds(path))]
    if not images:
        raise InputError(
            f"{folder} holds no image with clouds (NAME{CLOUDY_SUFFIX}, four bands, uint16): check --clouds"
        )
    return images


def real_or_simulated_layers(clouds: Sequence[RealClouds], share: float = 0.6) -> DrawCloudLayer:
    """Real clouds for a share (0..1) of the layers, each site as often, and simulated ones for the others."""
    sites = by_site(clouds)

    def draw_layer(rng: np.random.Generator, side: int) -> CloudLayer:
        if not sites or rng.random() >= share:
            return simulated_layer(rng, side)
        site = sites[rng.integers(len(sites))]
        return site[rng.integers(len(site))].draw_layer(rng, side)

    return draw_layer


def _read_clouds(path: Path) -> RealClouds | None:
    image = read_bands(path, *OPTICAL_BANDS) * np.float32(REFLECTANCE_SCALE)
    return lift_clouds(image, site_of(path.name.removesuffix(CLOUDY_SUFFIX)))


def lift_clouds(image: Image, site: str) -> RealClouds | None:
    """The clouds of an image (4, H, W), reflectance; the ground that shows through thin ones is taken off.

    None if hardly any is thick.
    """
    opacity = opacity_of(image[0])
    thick = opacity > _THICK
    if thick.mean() < _USABLE_SHARE:
        return None
    ground = np.quantile(image, _GROUND_QUANTILE, axis=(1, 2))[:, None, None]
    radiance = (image - (1 - opacity) * ground) / np.maximum(opacity, _THICK)
    nearest = ndimage.distance_transform_edt(~thick, return_distances=False, return_indices=True)
    return RealClouds(site, opacity, as_image(np.clip(radiance[:, nearest[0], nearest[1]], 0.2, 1.6)))


def opacity_of(blue: Image) -> Image:
    """0..1 (H, W) by blue reflectance; where thin, without the roofs and roads that show through."""
    ground = min(float(np.quantile(blue, _GROUND_QUANTILE)), _BRIGHTEST_GROUND)
    opacity = np.clip((blue - ground) / (_OPAQUE_BLUE - ground), 0, 1)
    thin = ndimage.gaussian_filter(ndimage.grey_opening(opacity, (_ROOF_PX, _ROOF_PX)), _THIN_BLUR_PX)
    thin = np.maximum(thin - _NEGLIGIBLE, 0) / (1 - _NEGLIGIBLE)
    thickness = np.clip((thin - 0.3) / 0.3, 0, 1)
    return as_image(thin + (np.maximum(opacity, thin) - thin) * thickness)
