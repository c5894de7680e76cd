"""Skies to train under: simulated ones, and clouds lifted from real images."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy import ndimage

from cloudfree.arrays import Image, as_image
from cloudfree.bands import REFLECTANCE_SCALE
from cloudfree.errors import InputError
from cloudfree.inputs import raster
from cloudfree.simulate.clouds import CloudLayer, Sky, cloud_layer, layer_of

SKY_PIXEL_M = 3.0
"""Pixels that clouds are made for, whatever those of the ground measure: PlanetScope's."""

Skies = Callable[[np.random.Generator, int], CloudLayer]
"""Clouds over a square of so many pixels."""

_CLOUDY_SUFFIX = "_cloudy.tif"

# Blue reflectance tells cloud from any ground but snow: from here on it is taken for opaque. The ground's own is that
# of the darker fifth of the image, or, where hardly anything is free, what air and dark ground have at most.
_OPAQUE_BLUE, _GROUND_QUANTILE, _BRIGHTEST_GROUND = 0.45, 0.2, 0.18
_ROOF_PX, _THIN_BLUR_PX, _FIRM, _TRACE = 5, 3.0, 0.7, 0.06
_USABLE_SHARE = 0.03  # of an image under firm cloud


def any_sky(rng: np.random.Generator, side: int) -> CloudLayer:
    """Simulated clouds of any kind, from a few to an overcast sky."""
    return cloud_layer(rng, side, side, pixel_size_m=SKY_PIXEL_M, cover=float(rng.uniform(0.05, 1.0)))


@dataclass(frozen=True)
class RealClouds:
    """Clouds of a real image: opacity (H, W) 0..1 and radiance (4, H, W) as of `simulate.CloudLayer`.

    `site` is shared by the images of one place.
    """

    site: str
    opacity: Image
    radiance: Image

    def over(self, rng: np.random.Generator, side: int) -> CloudLayer:
        """A piece of them, turned and stretched one to threefold over the square, with shadows of some sun."""
        zoom = float(rng.uniform(1, 3))
        reach = min(round(side / zoom), *self.opacity.shape)
        y, x = (int(rng.integers(length - reach + 1)) for length in self.opacity.shape)
        piece = np.concatenate([self.opacity[None], self.radiance])[:, y : y + reach, x : x + reach]
        piece = np.rot90(piece, int(rng.integers(4)), (1, 2))
        piece = piece[..., ::-1] if rng.random() < 0.5 else piece
        position = np.linspace(0, reach - 1, side)
        grid = np.meshgrid(position, position, indexing="ij")
        opacity, *radiance = (ndimage.map_coordinates(band, grid, np.float32, order=1) for band in piece)
        return layer_of(opacity, as_image(radiance), Sky.draw(rng), SKY_PIXEL_M)


def real_clouds(folder: Path) -> list[RealClouds]:
    """The clouds of the images `NAME_cloudy.tif` (uint16 blue, green, red, NIR, reflectance * 10000) of a folder.

    Images with hardly any firm cloud are left out. All of NAME but its last part, after `_`, tells places apart.
    Raises InputError where none is left.
    """
    paths = sorted(folder.glob(f"*{_CLOUDY_SUFFIX}"))
    found = [clouds for path in paths if (clouds := _lifted(path))]
    if not found:
        raise InputError(
            f"{folder} holds no image with clouds (NAME{_CLOUDY_SUFFIX}, four bands, uint16): check --clouds"
        )
    return found


def real_or_simulated(clouds: Sequence[RealClouds], share: float = 0.6) -> Skies:
    """Real clouds for a share (0..1) of the skies, each site as often, and simulated ones for the others."""
    sites = [[c for c in clouds if c.site == site] for site in sorted({c.site for c in clouds})]

    def sky(rng: np.random.Generator, side: int) -> CloudLayer:
        if not sites or rng.random() >= share:
            return any_sky(rng, side)
        site = sites[rng.integers(len(sites))]
        return site[rng.integers(len(site))].over(rng, side)

    return sky


def _lifted(path: Path) -> RealClouds | None:
    with raster.opened(path) as dataset:
        if dataset.count != 4:
            raise InputError(f"{path} has {dataset.count} bands; blue, green, red and NIR are needed: export it so")
        image = dataset.read().astype(np.float32) * np.float32(REFLECTANCE_SCALE)
    opacity = _opacity(image[0])
    firm = opacity > _FIRM
    if firm.mean() < _USABLE_SHARE:
        return None
    ground = np.quantile(image, _GROUND_QUANTILE, axis=(1, 2))[:, None, None]
    radiance = (image - (1 - opacity) * ground) / np.maximum(opacity, _FIRM)
    nearest = ndimage.distance_transform_edt(~firm, return_distances=False, return_indices=True)
    site = path.name.removesuffix(_CLOUDY_SUFFIX).rpartition("_")[0]
    return RealClouds(site, opacity, as_image(np.clip(radiance[:, nearest[0], nearest[1]], 0.2, 1.6)))


def _opacity(blue: Image) -> Image:
    """0..1 by brightness; where thin, without the roofs and roads that show through."""
    ground = min(float(np.quantile(blue, _GROUND_QUANTILE)), _BRIGHTEST_GROUND)
    opacity = np.clip((blue - ground) / (_OPAQUE_BLUE - ground), 0, 1)
    thin = ndimage.gaussian_filter(ndimage.grey_opening(opacity, (_ROOF_PX, _ROOF_PX)), _THIN_BLUR_PX)
    thin = np.maximum(thin - _TRACE, 0) / (1 - _TRACE)
    firmness = np.clip((thin - 0.3) / 0.3, 0, 1)
    return as_image(thin + (np.maximum(opacity, thin) - thin) * firmness)
