"""What ground looks like to a camera and to a C-band radar: spectra, backscatter and speckle of a dozen materials.

Sources. Spectra: class medians of M3R-CR and SEN12MS-CR scenes, and the ECOSTRESS library (speclib.jpl.nasa.gov).
Backscatter: class medians of the same data; its growth with vegetation after the water cloud model of Attema and Ulaby
(1978). Speckle: 4.4 equivalent looks and 20 x 22 m resolution, from the Sentinel-1 IW GRD product definition.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import IntEnum

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from cloudfree.arrays import Image, Mask, as_image
from cloudfree.simulate.noise import fast_shape, fractal_noise

EQUIVALENT_LOOKS = 4.4
RESOLUTION_M = 21.0

# The sun stands in the south-east; relief and trees are lit from there.
_SUN_YX = (math.cos(math.radians(35)), math.sin(math.radians(35)))


class Material(IntEnum):
    """What lies on top. The order is that of the tables below."""

    SOIL = 0
    CROP = 1
    GRASS = 2
    TREES = 3
    SHRUB = 4
    WATER = 5
    SAND = 6
    TRACK = 7
    ASPHALT = 8
    GARDEN = 9
    TILE_ROOF = 10
    GREY_ROOF = 11
    BRIGHT_ROOF = 12


# Per material: reflectance in blue, green, red, NIR; sigma0 of VV and VH in dB.
_MATERIALS: dict[Material, tuple[tuple[float, ...], tuple[float, float]]] = {
    Material.SOIL: ((0.062, 0.092, 0.125, 0.200), (-13.8, -22.8)),
    Material.CROP: ((0.026, 0.064, 0.034, 0.430), (-11.2, -17.8)),
    Material.GRASS: ((0.036, 0.074, 0.054, 0.310), (-12.4, -19.8)),
    Material.TREES: ((0.022, 0.044, 0.027, 0.285), (-8.4, -14.0)),
    Material.SHRUB: ((0.028, 0.054, 0.038, 0.270), (-9.8, -15.8)),
    Material.WATER: ((0.044, 0.058, 0.042, 0.021), (-22.0, -28.6)),
    Material.SAND: ((0.105, 0.145, 0.180, 0.250), (-15.5, -24.0)),
    Material.TRACK: ((0.095, 0.130, 0.165, 0.230), (-14.0, -22.5)),
    Material.ASPHALT: ((0.068, 0.090, 0.105, 0.130), (-13.0, -21.5)),
    Material.GARDEN: ((0.055, 0.080, 0.074, 0.235), (-7.2, -13.6)),
    Material.TILE_ROOF: ((0.070, 0.092, 0.138, 0.205), (-1.6, -8.2)),
    Material.GREY_ROOF: ((0.108, 0.121, 0.134, 0.165), (-1.0, -8.2)),
    Material.BRIGHT_ROOF: ((0.240, 0.258, 0.272, 0.295), (3.0, -6.5)),
}
_SPECTRA = np.array([_MATERIALS[m][0] for m in Material], np.float32).T
_SIGMA0_DB = np.array([_MATERIALS[m][1] for m in Material], np.float32).T
_TALL = (Material.TREES, Material.TILE_ROOF, Material.GREY_ROOF, Material.BRIGHT_ROOF)
_RIPE_CEREAL = np.array([0.058, 0.102, 0.128, 0.270], np.float32)


@dataclass(frozen=True)
class Ground:
    """The state of H x W pixels of land, each array (H, W).

    material: see Material. vigour: plant density, 0 (bare) to 1 (closed). ripeness: 0 green to 1 golden.
    wetness: soil moisture, 0 to 1. tone: brightness factor of the material, about 1. slope: relief towards the sun.
    """

    material: NDArray[np.uint8]
    vigour: Image
    ripeness: Image
    wetness: Image
    tone: Image
    slope: Image
    pixel_size_m: float

    def paint(self, where: Mask, material: Material, tone: Image | float = 1.0) -> None:
        """Lay a material on top where a mask (H, W) says so, in a brightness of its own: for drawing a layout."""
        self.material[where] = material
        self.tone[where] = tone[where] if isinstance(tone, np.ndarray) else tone

    def reflectance(self) -> Image:
        """(4, H, W) float32 surface reflectance in blue, green, red, NIR; the optics' blur included, noise not."""
        spectrum = _SPECTRA[:, self.material]
        crop = self.material == Material.CROP
        spectrum[:, crop] = self._crop_spectrum(crop)
        # Wet ground is darker; leaves do not care.
        bare = np.isin(self.material, (Material.SOIL, Material.TRACK, Material.SAND)) * self.wetness
        light = self.tone * (1 - 0.35 * bare) * self._illumination()
        # PlanetScope's optics and resampling spread a point over about 1.5 pixels of 3 m.
        blur_px = 2.3 / self.pixel_size_m
        blurred = [ndimage.gaussian_filter(band * light, blur_px) for band in spectrum]
        return as_image(np.clip(np.stack(blurred), 0.001, 1.0))

    def backscatter_db(self) -> Image:
        """(2, H, W) float32 sigma0 of VV and VH in dB, without speckle, at the radar's resolution."""
        vv, vh = _SIGMA0_DB[:, self.material]
        crop = self.material == Material.CROP
        # A canopy adds volume scattering, most in VH, until it dries out; moisture shows in VV through thin canopies.
        sparse = np.where(crop, 1 - self.vigour, 0)
        vv = vv - 3.2 * sparse - np.where(crop, 1.8 * self.ripeness, 0)
        vh = vh - 6.5 * sparse - np.where(crop, 2.4 * self.ripeness, 0)
        soil = np.isin(self.material, (Material.SOIL, Material.GRASS, Material.TRACK)) + sparse
        vv = vv + 6.0 * (self.wetness - 0.5) * soil
        vh = vh + 3.0 * (self.wetness - 0.5) * soil
        # Denser stands scatter more; slopes facing the radar do so too.
        woody = np.isin(self.material, (Material.TREES, Material.SHRUB))
        stand = np.where(woody, 1.8 * (self.vigour - 0.6), 0) + 1.5 * self.slope
        return np.stack([_at_radar_resolution_db(band + stand, self.pixel_size_m) for band in (vv, vh)])

    def _crop_spectrum(self, crop: Mask) -> Image:
        vigour, ripeness = self.vigour[crop], self.ripeness[crop]
        leaf = _SPECTRA[:, Material.CROP, None] * (1 - ripeness) + _RIPE_CEREAL[:, None] * ripeness
        soil = _SPECTRA[:, Material.SOIL, None] * (1 - 0.35 * self.wetness[crop])
        return as_image(leaf * vigour + soil * (1 - vigour))

    def _illumination(self) -> Image:
        """Factor for relief, and the shade that trees and houses cast beyond them."""
        tall = np.isin(self.material, _TALL).astype(np.float32)
        shade = np.zeros_like(tall)
        for reach_m in (4.0, 8.0):
            rows, columns = (round(-reach_m / self.pixel_size_m * axis) for axis in _SUN_YX)
            shade = np.maximum(shade, ndimage.shift(tall, (rows, columns), order=0, mode="nearest"))
        return as_image((1 + 0.5 * self.slope) * (1 - 0.45 * shade * (1 - tall)))


def slope_towards_sun(relief_m: Image, pixel_size_m: float) -> Image:
    """Rise away from the sun, metres per metre, of a surface (H, W): positive where it faces the light."""
    down, right = np.gradient(relief_m, pixel_size_m)
    return as_image(-(down * _SUN_YX[0] + right * _SUN_YX[1]))


def speckle(rng: np.random.Generator, shape: tuple[int, int], pixel_size_m: float) -> Image:
    """(H, W) float32 factor of mean 1 on power: gamma noise, correlated over the resolution cell as in an IW GRD."""
    spread_px = RESOLUTION_M / 2.355 / math.sqrt(2) / pixel_size_m
    normal = fractal_noise(rng, fast_shape(*shape), slope=0.0, outer_px=1.0, inner_px=2 * math.pi * spread_px)
    # Wilson and Hilferty (1931): the cube root of a gamma variable is all but normal.
    variance = 1 / (9 * EQUIVALENT_LOOKS)
    root = 1 - variance + math.sqrt(variance) * normal[: shape[0], : shape[1]]
    return as_image(np.maximum(root, 0.05) ** 3)


def with_speckle_db(rng: np.random.Generator, mean_db: Image, pixel_size_m: float) -> Image:
    """Backscatter (C, H, W) in dB with speckle, independent between the polarisations."""
    grains = np.stack([speckle(rng, (mean_db.shape[1], mean_db.shape[2]), pixel_size_m) for _ in mean_db])
    return as_image(mean_db + 10 * np.log10(grains))


def _at_radar_resolution_db(band_db: Image, pixel_size_m: float) -> Image:
    """Power, not decibels, is what a resolution cell averages."""
    power = ndimage.gaussian_filter(10 ** (band_db / 10), RESOLUTION_M / 2.355 / pixel_size_m)
    return as_image(10 * np.log10(power))
