"""Ground whose classes are known before any cloud is laid over it: what a detector of clouds learns from.

Clear places are clear, or snow where they are white. Images that nobody looked at in the infrared of snow are told by
brightness alone, so labels are left out (`UNLABELLED`) where that is in doubt.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from cloudfree.arrays import Image, Mask, as_image
from cloudfree.bands import OPTICAL_BANDS, REFLECTANCE_SCALE, SKY_NODATA, SkyClass
from cloudfree.errors import InputError
from cloudfree.learn.cloud_layers import opacity_of
from cloudfree.learn.places import Place, hold_out, mosaics, read_aerial_images, read_bands, read_places, site_of
from cloudfree.simulate.landscape import landscape

UNLABELLED = SKY_NODATA
"""A pixel from which nothing is to be learned."""

Labels = NDArray[np.uint8]

_PIXEL_M = 10.0
# Snow reflects blue as it does red, and NIR less; some white roofs do too, so that an image needs a share of it.
_SNOW_BLUE, _SNOW_COLOUR, _SNOW_SHARE = 0.25, (0.8, 1.35), 0.06
# As dark as water in NIR where VH sees land: a shadow that the image's mask does not know.
_WATER_NIR, _LAND_VH_DB = 0.07, -19.0
# Opacities of real clouds: what is surely clear, surely haze, surely cloud, and in between in doubt.
_CLEAR, _HAZE, _CLOUD = 0.06, 0.16, 0.45
_SHADED_NIR = 0.7  # of the median of what is clear: darker is perhaps in shadow
_USABLE_CLOUD = 0.05  # share of an image
_TOWN_TILES = 4  # a side, of a mosaic of small images


@dataclass(frozen=True)
class LabelledGround:
    """An image and what its pixels are.

    reflectance (4, H, W) 0..1; labels (H, W): `SkyClass` or `UNLABELLED`; sar_db: any number of (2, H, W) dB; others:
    reflectance on other dates (4, H, W), NaN where nothing. `is_clear`: clouds may be laid over it. `site` is shared by
    the images of one place.
    """

    site: str
    reflectance: Image
    labels: Labels
    sar_db: tuple[Image, ...] = ()
    others: tuple[Image, ...] = ()
    is_clear: bool = True

    @property
    def snowy(self) -> bool:
        return bool((self.labels == SkyClass.SNOW).any())


Groups = list[list[LabelledGround]]


def read_grounds(data: Sequence[Path], clouds: Path | None, procedural: int, seed: int) -> tuple[Groups, Groups]:
    """Grounds to train on and, of other sites, to validate on, in groups that are drawn from equally often.

    They are what `cloudfree train --architecture cloud_detector` names. Raises InputError where there is nothing.

    data: folders of clear pairs (`places.read_places`), or of aerial images of bytes, which lend their texture alone.
    clouds: images with real clouds and clear ones of the same place. Every fifth site is held out.
    """
    groups = [_textures(path) if _is_texture(path) else [ground_of(p) for p in read_places(path)] for path in data]
    if clouds:
        groups += [list(read_clear_images(clouds)), list(read_cloudy_images(clouds))]
    if procedural:
        groups.append([_procedural(seed, number) for number in range(procedural)])
    groups = [group for group in groups if group]
    if not groups:
        raise InputError("there is nothing to train on; give --data, --clouds, or --procedural 1 or more")
    split = [hold_out(group) for group in groups]
    return [seen for seen, _ in split], [held for _, held in split if held]


def ground_of(place: Place) -> LabelledGround:
    """A clear place, its snow told by colour; what may be a shadow that its own mask missed is left out."""
    labels = clear_labels(place.reflectance, place.valid)
    for sar_db in place.sar_db:
        is_land = ndimage.uniform_filter(sar_db[1], 5) > _LAND_VH_DB if np.ptp(sar_db[1]) else False
        labels[(ndimage.uniform_filter(place.reflectance[3], 5) < _WATER_NIR) & is_land] = UNLABELLED
    return LabelledGround(place.site, place.reflectance, labels, place.sar_db, place.others)


def clear_labels(reflectance: Image, valid: Mask) -> Labels:
    """Clear or snow (H, W) of a clear image (4, H, W)."""
    blue, nir = reflectance[0], reflectance[3]
    ratio = nir / np.maximum(blue, 1e-3)
    white = (blue > _SNOW_BLUE) & (ratio < _SNOW_COLOUR[0] * _SNOW_COLOUR[1]) & (reflectance[2] < 1.15 * blue)
    labels = np.where(white & (white.mean() > _SNOW_SHARE), SkyClass.SNOW, SkyClass.CLEAR)
    return np.where(valid, labels, UNLABELLED).astype(np.uint8)


def read_clear_images(folder: Path) -> Iterator[LabelledGround]:
    """The images `NAME_clear.tif` of a folder (uint16 blue, green, red, NIR, reflectance * 10000), without radar."""
    for path in sorted(folder.glob("*_clear.tif")):
        image = read_bands(path, *OPTICAL_BANDS) * np.float32(REFLECTANCE_SCALE)
        site = site_of(path.name.removesuffix("_clear.tif"))
        yield LabelledGround(site, np.clip(image, 0, 1), clear_labels(image, np.asarray((image > 0).all(0))))


def read_cloudy_images(folder: Path) -> Iterator[LabelledGround]:
    """The images `NAME_cloudy.tif` of a folder, labelled by brightness; `NAME_clear.tif` is another date."""
    for path in sorted(folder.glob("*_cloudy.tif")):
        image = read_bands(path, *OPTICAL_BANDS) * np.float32(REFLECTANCE_SCALE)
        labels = cloudy_labels(image)
        if (labels == SkyClass.CLOUD).mean() < _USABLE_CLOUD:
            continue
        name = path.name.removesuffix("_cloudy.tif")
        clear = path.with_name(f"{name}_clear.tif")
        others = (read_bands(clear, *OPTICAL_BANDS) * np.float32(REFLECTANCE_SCALE),) if clear.exists() else ()
        yield LabelledGround(site_of(name), np.clip(image, 0, 2), labels, (), others, is_clear=False)


def cloudy_labels(reflectance: Image) -> Labels:
    """Cloud, haze and clear (H, W) of an image (4, H, W) by its opacity; what may be in shadow is left out."""
    opacity, nir = opacity_of(reflectance[0]), ndimage.median_filter(reflectance[3], 5)
    labels = np.full(opacity.shape, UNLABELLED, np.uint8)
    labels[opacity > _HAZE] = SkyClass.HAZE
    labels[opacity > _CLOUD] = SkyClass.CLOUD
    clear = opacity < _CLEAR
    if clear.any():
        labels[clear & (nir > _SHADED_NIR * np.median(nir[clear]))] = SkyClass.CLEAR
    return labels


def _is_texture(path: Path) -> bool:
    if not path.is_dir():
        raise InputError(f"{path} is no folder; a detector learns from folders of clear pairs or images: check --data")
    return not any(path.glob("*_optical.tif"))


def _textures(folder: Path) -> list[LabelledGround]:
    """Aerial images of bytes as ground of 10 m pixels: large ones averaged, small ones of a town side by side."""
    towns: dict[str, list[Image]] = {}
    for town, image in read_aerial_images(folder):
        towns.setdefault(town, []).append(_halved(image))
    if not towns:
        raise InputError(f"{folder} holds no images; NAME_optical.tif and NAME_sar.tif are needed: check --data")
    return [_plain(site, image) for site, town in towns.items() for image in _large_ones_and_mosaics(town)]


def _large_ones_and_mosaics(images: list[Image]) -> Iterator[Image]:
    """Squares of small images; large images as they are."""
    yield from (image for image in images if max(image.shape) >= 192)
    yield from mosaics([image for image in images if max(image.shape) < 192], _TOWN_TILES)


def _halved(image: Image) -> Image:
    height, width = (side // 2 * 2 for side in image.shape[1:])
    return as_image(image[:, :height, :width].reshape(len(image), height // 2, 2, width // 2, 2).mean((2, 4)))


def _plain(site: str, reflectance: Image) -> LabelledGround:
    return LabelledGround(site, reflectance, np.full(reflectance.shape[1:], SkyClass.CLEAR, np.uint8))


def _procedural(seed: int, number: int) -> LabelledGround:
    land = landscape(np.random.default_rng([seed, number]), 256, 256, pixel_size_m=_PIXEL_M)
    return replace(_plain(f"procedural_{seed}_{number}", land.reflectance), sar_db=(land.sar_db,))
