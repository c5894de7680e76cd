"""Places that camera and radar have seen: read from files, or made up."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol, TypeVar

import numpy as np

from cloudfree.arrays import Image, Mask, as_image
from cloudfree.bands import OPTICAL_BANDS, REFLECTANCE_SCALE, SAR_BANDS, SAR_NOISE_DB, TYPICAL_SAR_DB
from cloudfree.errors import InputError
from cloudfree.inputs.raster import access
from cloudfree.scene.model import PIXEL_M
from cloudfree.simulate.clouds import PLANETSCOPE_PIXEL_M
from cloudfree.simulate.landscape import landscape

# A date is clear when at most this share of it is cloudier than this percentage.
_CLOUD_PROBABILITY, _CLOUDY_SHARE = 40, 0.03
_OPTICAL_SUFFIX, _CLOUD_SUFFIX = "_optical.tif", "_cloudprob.tif"
_BYTE_REFLECTANCE = 0.45 / 255  # an aerial image's brightest is about a white roof
_SAR_SUFFIXES = ("_sar.tif", "_asc_sar.tif", "_desc_sar.tif")


@dataclass(frozen=True)
class Place:
    """An image of a place, clear or partly so, and what the radar saw there.

    reflectance (4, H, W) float32 in 0..1; sar_db: one or more of (2, H, W) float32, VV and VH; valid (H, W): both are
    real there. `site` is shared by the images of one place, so that a held-out site is wholly unseen. `fine_sar`: the
    radar is on pixels of its own size, sharper than it comes with a PlanetScope scene, and the place may be taken for
    one of those too. hidden (H, W): under clouds and shadows of the image's own, None if it has none. others:
    reflectance on other dates (4, H, W), NaN where an image shows nothing.
    """

    site: str
    reflectance: Image
    sar_db: tuple[Image, ...]
    valid: Mask
    pixel_size_m: float
    fine_sar: bool = False
    hidden: Mask | None = None
    others: tuple[Image, ...] = ()


def read_places(folder: Path) -> list[Place]:
    """The clear pairs of a folder: `NAME_optical.tif` with `NAME_sar.tif`, `NAME_asc_sar.tif` or `NAME_desc_sar.tif`.

    Optical: uint16 blue, green, red, NIR, reflectance * 10000, 0 nodata. SAR: float32 dB, VV and VH, on the same
    pixels; a polarisation that is NaN throughout stands at what is typical of land. Where there is a
    `NAME_cloudprob.tif` (0..100), cloudy dates are left out. A trailing number in NAME tells dates of one place apart:
    they are the other dates of each other. Raises InputError where the folder holds no pair.
    """
    images = sorted(folder.glob(f"*{_OPTICAL_SUFFIX}"))
    places = _with_others([place for path in images if (place := _read_place(path))])
    if not places:
        raise InputError(
            f"{folder} holds no clear pair; NAME{_OPTICAL_SUFFIX} with NAME{_SAR_SUFFIXES[0]} is needed: check --data"
        )
    return places


def _read_place(path: Path) -> Place | None:
    name = path.name.removesuffix(_OPTICAL_SUFFIX)
    sar_paths = [sar for suffix in _SAR_SUFFIXES if (sar := path.with_name(name + suffix)).exists()]
    if not sar_paths or not _is_clear(path.with_name(name + _CLOUD_SUFFIX)):
        return None
    digital_numbers = read_bands(path, *OPTICAL_BANDS)
    sar_db = tuple(_without_missing(read_bands(sar, *SAR_BANDS)) for sar in sar_paths)
    if any(image.shape[1:] != digital_numbers.shape[1:] for image in sar_db):
        raise InputError(f"{sar_paths[0]} and {path.name} have different sizes; they must share their pixels: warp one")
    seen = [digital_numbers > 0, *(np.isfinite(image) & (image > SAR_NOISE_DB) for image in sar_db)]
    valid: Mask = np.logical_and.reduce(np.concatenate(seen))
    reflectance = np.clip(digital_numbers * np.float32(REFLECTANCE_SCALE), 0, 1)
    return Place(without_date(name), reflectance, sar_db, valid, PIXEL_M, fine_sar=True)


def _with_others(places: list[Place]) -> list[Place]:
    """Each with the images of its site on other dates, NaN where these are not valid."""
    shown = [as_image(np.where(place.valid, place.reflectance, np.nan)) for place in places]
    return [
        replace(
            place,
            others=tuple(
                image
                for image, other in zip(shown, places, strict=True)
                if other is not place and other.site == place.site and other.valid.shape == place.valid.shape
            ),
        )
        for place in places
    ]


def _without_missing(sar_db: Image) -> Image:
    """VV and VH (2, H, W), one that is missing altogether replaced by what is typical."""
    typical = np.array(TYPICAL_SAR_DB, np.float32)[:, None, None]
    return np.where(np.isfinite(sar_db).any(axis=(1, 2), keepdims=True), sar_db, typical)


def _is_clear(path: Path) -> bool:
    if not path.exists():
        return True
    return float((read_bands(path, "probability of cloud") > _CLOUD_PROBABILITY).mean()) <= _CLOUDY_SHARE


def read_bands(path: Path, *names: str) -> Image:
    """The numbers of a raster (bands, H, W). Raises InputError where it has not as many bands as `names`."""
    with access.opened(path) as dataset:
        if dataset.count != len(names):
            needed = f"{len(names)} are needed ({', '.join(names)})"
            raise InputError(f"{path} has {dataset.count} bands; {needed}: export it so, or leave it out")
        return as_image(dataset.read())


def without_date(name: str) -> str:
    """A name less its trailing number, which tells dates of one place apart."""
    return re.sub(r"_\d+$", "", name)


def site_of(name: str) -> str:
    """The site of an image: all of its name but the last part, after `_`; a name of one part is a site of its own."""
    return name.rpartition("_")[0] or name


def read_aerial_images(folder: Path) -> Iterator[tuple[str, Image]]:
    """Images `TOWN_NAME.tif` of a folder, four bands of bytes: the town, and what could be reflectance (4, H, W)."""
    for path in sorted(folder.glob("*.tif")):
        yield site_of(path.stem), read_bands(path, *OPTICAL_BANDS) * np.float32(_BYTE_REFLECTANCE)


def mosaics(images: Sequence[Image], side: int) -> Iterator[Image]:
    """Squares of `side` x `side` images of one size, in order; those that are left over are left out."""
    for first in range(0, len(images) - side**2 + 1, side**2):
        rows = [np.concatenate(images[first + i : first + i + side], 2) for i in range(0, side**2, side)]
        yield np.concatenate(rows, 1)


def procedural_places(seed: int, count: int, side: int = 384) -> list[Place]:
    """Places that do not exist, `side` pixels of 3 m wide; place i of a seed is the same whatever the count."""
    return [_procedural_place(seed, index, side) for index in range(count)]


def _procedural_place(seed: int, index: int, side: int) -> Place:
    land = landscape(np.random.default_rng([seed, index]), side, side, pixel_size_m=PLANETSCOPE_PIXEL_M)
    valid = np.ones((side, side), bool)
    return Place(f"procedural_{seed}_{index}", land.reflectance, (land.sar_db,), valid, PLANETSCOPE_PIXEL_M)


class HasSite(Protocol):
    """What is of one site."""

    @property
    def site(self) -> str: ...


T = TypeVar("T", bound=HasSite)


def hold_out(items: Sequence[T], every: int = 5) -> tuple[list[T], list[T]]:
    """Items to train on, and those of every fifth site to validate on: of fewer sites the last, of one none."""
    sites = sorted({item.site for item in items})
    every = min(every, max(len(sites), 2))
    held = set(sites[every - 1 :: every])
    return [item for item in items if item.site not in held], [item for item in items if item.site in held]


def by_site(items: Sequence[T]) -> list[list[T]]:
    """The items of each site, in the order of its name."""
    return [[item for item in items if item.site == site] for site in sorted({item.site for item in items})]
