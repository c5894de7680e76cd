"""Ground whose classes are known before any cloud is laid over it: what a detector of clouds learns from.

Clear places are clear, or snow where they are white; images with clouds of their own have labels of `sky_labels`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from scipy import ndimage

from cloudfree.arrays import Image, as_image
from cloudfree.bands import OPTICAL_BANDS, REFLECTANCE_SCALE, SkyClass
from cloudfree.errors import InputError
from cloudfree.learn.clouded_images import CLEAR_SUFFIX, CloudedImage, cloud_share, read_clouded_images
from cloudfree.learn.places import Place, hold_out, mosaics, read_aerial_images, read_bands, read_places, site_of
from cloudfree.learn.sky_labels import SAYS_CLOUD, UNLABELLED, Labels, clear_labels, cloudy_labels
from cloudfree.simulate.landscape import landscape

_PIXEL_M = 10.0
# As dark as water in NIR where VH sees land: a shadow that the image's mask does not know.
_WATER_NIR, _LAND_VH_DB = 0.07, -19.0
_USABLE_CLOUD, _OVERCAST = 0.05, 0.8  # shares of an image
_CLOUDLESS = 0.01  # share of an image that another network calls cloud, up to which it sees none
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


def read_grounds(
    data: Sequence[Path],
    clouds: Path | None,
    procedural: int,
    seed: int,
    clouded: Sequence[LabelledGround] = (),
    cloud_percent: Path | None = None,
) -> tuple[Groups, Groups]:
    """Grounds to train on and, of other sites, to validate on, in groups that are drawn from equally often.

    They are what `cloudfree train --architecture cloud_detector` names. Raises InputError where there is nothing.

    data: folders of clear pairs (`places.read_places`), or of aerial images of bytes, which lend their texture alone.
    clouds: images with real clouds and clear ones of the same place; the latter are read. clouded: the former, with
    their labels. cloud_percent: see `clouded_images.cloud_share`. Every fifth site is held out. What lies under snow is
    a group of its own too, for it is rare, and so is what is overcast, which looks like it.
    """
    groups = [_textures(path) if _is_texture(path) else [ground_of(p) for p in read_places(path)] for path in data]
    groups += [list(read_clear_images(clouds, cloud_percent))] if clouds else []
    groups += [list(clouded), [_procedural(seed, number) for number in range(procedural)]]
    groups = [group for group in groups if group]
    if not groups:
        raise InputError("there is nothing to train on; give --data, --clouds, or --procedural 1 or more")
    split = [hold_out(group) for group in groups]
    training = [seen for seen, _ in split]
    rare = ([ground for group in training for ground in group if is_rare(ground)] for is_rare in (_snowy, _overcast))
    return [*training, *filter(None, rare)], [held for _, held in split if held]


def _snowy(ground: LabelledGround) -> bool:
    return ground.snowy


def _overcast(ground: LabelledGround) -> bool:
    return bool((ground.labels == SkyClass.CLOUD).mean() > _OVERCAST)


def ground_of(place: Place) -> LabelledGround:
    """A clear place, its snow told by colour; what may be a shadow that its own mask missed is left out."""
    labels = clear_labels(place.reflectance, place.valid)
    for sar_db in place.sar_db:
        is_land = ndimage.uniform_filter(sar_db[1], 5) > _LAND_VH_DB if np.ptp(sar_db[1]) else False
        labels[(ndimage.uniform_filter(place.reflectance[3], 5) < _WATER_NIR) & is_land] = UNLABELLED
    return LabelledGround(place.site, place.reflectance, labels, place.sar_db, place.others)


def read_clear_images(folder: Path, cloud_percent: Path | None = None) -> Iterator[LabelledGround]:
    """The images `NAME_clear.tif` of a folder (uint16 blue, green, red, NIR, reflectance * 10000), without radar.

    What another network calls cloud (`clouded_images.cloud_share`) is not labelled. White is snow where that network
    sees no cloud in the whole image, and else not labelled either.
    """
    for path in sorted(folder.glob(f"*{CLEAR_SUFFIX}")):
        image = read_bands(path, *OPTICAL_BANDS) * np.float32(REFLECTANCE_SCALE)
        labels = clear_labels(image, np.asarray((image > 0).all(0)))
        share = cloud_share(cloud_percent, path.stem, labels.shape)
        says_cloud = np.ones(labels.shape, bool) if share is None else share > SAYS_CLOUD
        if says_cloud.mean() > _CLOUDLESS:
            labels[labels == SkyClass.SNOW] = UNLABELLED
        if share is not None:
            labels[says_cloud] = UNLABELLED
        yield LabelledGround(site_of(path.name.removesuffix(CLEAR_SUFFIX)), np.clip(image, 0, 1), labels)


def read_cloudy_images(folder: Path) -> Iterator[LabelledGround]:
    """The images with clouds of a folder (`clouded_images.read_clouded_images`), labelled by brightness alone."""
    for image in read_clouded_images(folder):
        ground = of_clouded_image(image, cloudy_labels(image.filled))
        if (ground.labels == SkyClass.CLOUD).mean() >= _USABLE_CLOUD:
            yield ground


def of_clouded_image(image: CloudedImage, labels: Labels) -> LabelledGround:
    """An image with its labels (H, W), to which no clouds are added; its other date is what there is besides."""
    others = () if image.other is None else (image.other,)
    known = np.where(image.valid, labels, np.uint8(UNLABELLED))
    return LabelledGround(image.site, image.filled, known, (), others, is_clear=False)


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
