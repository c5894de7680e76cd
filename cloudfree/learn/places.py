"""Places seen by camera and radar, and training samples cut from their clear ground with clouds laid on top."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from cloudfree.arrays import Image, Mask
from cloudfree.bands import REFLECTANCE_SCALE, SAR_NOISE_DB
from cloudfree.errors import InputError
from cloudfree.inputs import raster
from cloudfree.learn.cloud_layers import SKY_PIXEL_M, Skies, any_sky
from cloudfree.learn.samples import LEAST_KNOWN, Sample, primed, turned
from cloudfree.scene.prior import PIXEL_M
from cloudfree.simulate.clouds import add_clouds, imperfect_mask
from cloudfree.simulate.landscape import landscape

# This share of samples keeps a pair's pixels as what they are; in others they stand for PlanetScope's, radar coarser.
_RADAR_FINENESS, _FINE_SHARE = 3, 0.4
# Sentinel-1 IW GRD: a pixel averages about this many independent looks.
_LOOKS = 4.4
# What co-registration may leave between radar and camera; the network is there to align it.
_MAX_SHIFT_PX = 2

_CLOUD_PROBABILITY, _CLEAR_SHARE = 40, 0.03  # a date is clear when at most this share is cloudier than this percentage
_OPTICAL_SUFFIX, _CLOUD_SUFFIX = "_optical.tif", "_cloudprob.tif"
_SAR_SUFFIXES = ("_sar.tif", "_asc_sar.tif", "_desc_sar.tif")


@dataclass(frozen=True)
class Place:
    """An image of a place, clear or partly so, and what the radar saw there.

    reflectance (4, H, W) float32 in 0..1; sar_db: one or more of (2, H, W) float32, VV and VH; valid (H, W): both are
    real there. `site` is shared by the images of one place, so that a held-out site is wholly unseen. `radar_is_fine`:
    the radar is on pixels of its own size, sharper than it comes with a PlanetScope scene, and the place may be taken
    for one of those too. hidden (H, W): under clouds and shadows of the image's own, None if it has none.
    """

    site: str
    reflectance: Image
    sar_db: tuple[Image, ...]
    valid: Mask
    pixel_size_m: float
    radar_is_fine: bool = False
    hidden: Mask | None = None


def read_places(folder: Path) -> list[Place]:
    """The clear pairs of a folder: `NAME_optical.tif` with `NAME_sar.tif`, `NAME_asc_sar.tif` or `NAME_desc_sar.tif`.

    Optical: uint16 blue, green, red, NIR, reflectance * 10000, 0 nodata. SAR: float32 dB, VV and VH, on the same
    pixels. Where there is a `NAME_cloudprob.tif` (0..100), cloudy dates are left out. A trailing number in NAME tells
    dates of one place apart. Raises InputError where the folder holds no pair.
    """
    images = sorted(folder.glob(f"*{_OPTICAL_SUFFIX}"))
    places = [place for path in images if (place := _read_place(path))]
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
    digital_numbers = _read(path, 4)
    sar_db = tuple(_read(sar, 2) for sar in sar_paths)
    if any(image.shape[1:] != digital_numbers.shape[1:] for image in sar_db):
        raise InputError(f"{sar_paths[0]} and {path.name} have different sizes; they must share their pixels: warp one")
    seen = [digital_numbers > 0, *(np.isfinite(image) & (image > SAR_NOISE_DB) for image in sar_db)]
    valid: Mask = np.logical_and.reduce(np.concatenate(seen))
    reflectance = np.clip(digital_numbers * np.float32(REFLECTANCE_SCALE), 0, 1)
    return Place(re.sub(r"_\d+$", "", name), reflectance, sar_db, valid, PIXEL_M, radar_is_fine=True)


def _is_clear(path: Path) -> bool:
    return not path.exists() or float((_read(path, 1) > _CLOUD_PROBABILITY).mean()) <= _CLEAR_SHARE


def _read(path: Path, bands: int) -> Image:
    with raster.opened(path) as dataset:
        if dataset.count != bands:
            raise InputError(f"{path} has {dataset.count} bands; {bands} are needed: see `cloudfree train --help`")
        pixels: Image = dataset.read().astype(np.float32)
    return pixels


def procedural_places(seed: int, count: int, side: int = 384) -> list[Place]:
    """Places that do not exist, `side` pixels of 3 m wide; place i of a seed is the same whatever the count."""
    return [_procedural_place(seed, index, side) for index in range(count)]


def _procedural_place(seed: int, index: int, side: int) -> Place:
    land = landscape(np.random.default_rng([seed, index]), side, side, pixel_size_m=SKY_PIXEL_M)
    valid = np.ones((side, side), bool)
    return Place(f"procedural_{seed}_{index}", land.reflectance, (land.sar_db,), valid, SKY_PIXEL_M)


class OfSite(Protocol):
    """What belongs to a site."""

    @property
    def site(self) -> str: ...


T = TypeVar("T", bound=OfSite)


def hold_out(items: Sequence[T], every: int = 5) -> tuple[list[T], list[T]]:
    """Items to train on, and those of every fifth site to validate on: of fewer sites the last, of one none."""
    sites = sorted({item.site for item in items})
    every = min(every, max(len(sites), 2))
    held = set(sites[every - 1 :: every])
    return [item for item in items if item.site not in held], [item for item in items if item.site in held]


class Sampler:
    """Random crops of places, turned, tinted and clouded over; equal generators give equal samples.

    A share `primed` (0..1) of the samples has the prior of its surroundings in place of the clouds, as a masked scene
    has when it is run. `tinted`: seasons and sensors vary; without it colours and backscatter stay as they are.
    """

    def __init__(
        self, places: Sequence[Place], crop: int, primed: float = 0.0, sky: Skies = any_sky, *, tinted: bool = True
    ) -> None:
        """Raises InputError where no place has a valid square of `crop` pixels, with room to displace the radar."""
        self.crop = crop
        self._primed = primed
        self._sky = sky
        self._tinted = tinted
        self._grounds = [_Ground(place, *squares) for place in places if (squares := _squares(place, crop))]
        if not self._grounds:
            raise InputError(
                f"no place has a valid square of {crop} pixels and a rim; give larger images or a smaller crop"
            )

    def __len__(self) -> int:
        return len(self._grounds)

    def draw(self, rng: np.random.Generator) -> Sample:
        place, side, corners = self._grounds[rng.integers(len(self._grounds))]
        clear, sar_db, hidden = turned(rng, *_cut(rng, place, corners[rng.integers(len(corners))], side))
        pixel_size_m = place.pixel_size_m
        if place.radar_is_fine and rng.random() >= _FINE_SHARE:
            sar_db, pixel_size_m = _as_mapped_at_10_m(rng, sar_db), SKY_PIXEL_M
        if self._tinted:
            clear, sar_db = _retinted(rng, clear, sar_db)
        layer = self._sky(rng, side)
        sample = Sample(add_clouds(clear, layer), sar_db, clear, layer.mask, ~hidden[0].astype(bool))
        if rng.random() < self._primed:
            sample = primed(rng, sample, imperfect_mask(rng, layer.mask), pixel_size_m)
        return sample.crop(rng, self.crop)


class _Ground(NamedTuple):
    """A place, and the corners (N, 2) of the squares of `side` pixels that samples are made on and cut from."""

    place: Place
    side: int
    corners: NDArray[np.intp]


def _squares(place: Place, crop: int) -> tuple[int, NDArray[np.intp]] | None:
    """The largest squares of up to three crops a side that are valid: a prior needs surroundings."""
    for side in (3 * crop, 2 * crop, crop):
        fitting = min(side, min(place.valid.shape) - 2 * _MAX_SHIFT_PX)
        if fitting >= crop and len(corners := _corners(place, fitting)):
            return fitting, corners
    return None


def _corners(place: Place, crop: int) -> NDArray[np.intp]:
    """(N, 2) rows and columns of corners of a valid square of `crop`, clear enough, and a rim to displace the radar."""
    side, valid = crop + 2 * _MAX_SHIFT_PX, place.valid
    if min(valid.shape) < side:
        return np.empty((0, 2), np.intp)
    usable = ndimage.minimum_filter(valid, side, origin=-(side // 2))  # its corner is the pixel itself
    if place.hidden is not None:
        hidden_share = ndimage.uniform_filter(place.hidden.astype(np.float32), side, origin=-(side // 2))
        usable &= hidden_share < 1 - LEAST_KNOWN
    return np.argwhere(usable[: valid.shape[0] - side + 1, : valid.shape[1] - side + 1])


def _cut(rng: np.random.Generator, place: Place, corner: NDArray[np.intp], crop: int) -> tuple[Image, Image, Image]:
    """A square of the optical image, of one radar image displaced by a pixel or two, and (1, crop, crop) of hidden."""
    sar_db = place.sar_db[rng.integers(len(place.sar_db))]
    hidden = np.zeros_like(place.valid) if place.hidden is None else place.hidden
    (y, x), (down, right) = corner + _MAX_SHIFT_PX, corner + rng.integers(0, 2 * _MAX_SHIFT_PX + 1, 2)
    optical = np.concatenate([place.reflectance, hidden[None].astype(np.float32)])[:, y : y + crop, x : x + crop]
    return optical[:4], sar_db[:, down : down + crop, right : right + crop], optical[4:]


def _as_mapped_at_10_m(rng: np.random.Generator, sar_db: Image) -> Image:
    """Radar as it comes with a scene of finer pixels: averaged over them, speckled at its own size, interpolated."""
    _, height, width = sar_db.shape
    rows, columns = -(-height // _RADAR_FINENESS), -(-width // _RADAR_FINENESS)
    power = ndimage.uniform_filter(10 ** (sar_db / 10), (0, _RADAR_FINENESS, _RADAR_FINENESS))
    coarse = power[:, ::_RADAR_FINENESS, ::_RADAR_FINENESS] * rng.gamma(_LOOKS, 1 / _LOOKS, (2, rows, columns))
    y = (np.arange(height) / _RADAR_FINENESS)[:, None].repeat(width, 1)
    x = (np.arange(width) / _RADAR_FINENESS)[None].repeat(height, 0)
    decibels = 10 * np.log10(np.maximum(coarse, 1e-5))
    return np.stack([ndimage.map_coordinates(band, (y, x), order=1, mode="nearest") for band in decibels]).astype(
        np.float32
    )


def _retinted(rng: np.random.Generator, clear: Image, sar_db: Image) -> tuple[Image, Image]:
    """Other seasons, soils, sensors and incidence angles, mildly: gains of each band, shared for the most part."""
    gain = np.exp(rng.normal(0, 0.15) + rng.normal(0, 0.05, 4)).astype(np.float32)
    offset_db = (rng.normal(0, 0.8) + rng.normal(0, 0.3, 2)).astype(np.float32)
    return np.clip(clear * gain[:, None, None], 0, 1), sar_db + offset_db[:, None, None]
