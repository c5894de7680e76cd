"""Clear places seen by camera and radar, and training samples cut from them with simulated clouds on top."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from cloudfree import raster
from cloudfree.bands import REFLECTANCE_SCALE, SAR_NOISE_DB
from cloudfree.cloudmask import BUFFER_M, FEATHER_M, Rim
from cloudfree.errors import InputError
from cloudfree.landscape import landscape
from cloudfree.noise import Field, Mask
from cloudfree.prior import prime
from cloudfree.simulate import CloudLayer, add_clouds, cloud_layer, imperfect_mask

# Clouds are simulated for PlanetScope whatever the pixels of the pair measure, and radar is mapped at 10 m there.
_PIXEL_M, _RADAR_FINENESS = 3.0, 3
# Sentinel-1 IW GRD: a pixel averages about this many independent looks.
_LOOKS = 4.4
# What co-registration may leave between radar and camera; the network is there to align it.
_MAX_SHIFT_PX = 2

_CLOUD_PROBABILITY, _CLEAR_SHARE = 40, 0.03  # a date is clear when at most this share is cloudier than this percentage
_OPTICAL_SUFFIX, _CLOUD_SUFFIX = "_optical.tif", "_cloudprob.tif"
_SAR_SUFFIXES = ("_sar.tif", "_asc_sar.tif", "_desc_sar.tif")


@dataclass(frozen=True)
class Place:
    """A clear image and what the radar saw there.

    reflectance (4, H, W) float32 in 0..1; sar_db: one or more of (2, H, W) float32, VV and VH; valid (H, W): both are
    real there. `site` is shared by the images of one place, so that a held-out site is wholly unseen. `radar_is_fine`:
    the radar is on pixels of its own size, sharper than it comes with a PlanetScope scene.
    """

    site: str
    reflectance: Field
    sar_db: tuple[Field, ...]
    valid: Mask
    radar_is_fine: bool


@dataclass(frozen=True)
class Sample:
    """cloudy, clear (4, H, W) reflectance; sar_db (2, H, W); mask (H, W): what is to be reconstructed.

    That is where cloud, haze or shadow was laid; if the sample is primed, where the scene's prior stands in `cloudy`.
    """

    cloudy: Field
    sar_db: Field
    clear: Field
    mask: Mask


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
    return Place(re.sub(r"_\d+$", "", name), reflectance, sar_db, valid, radar_is_fine=True)


def _is_clear(path: Path) -> bool:
    return not path.exists() or float((_read(path, 1) > _CLOUD_PROBABILITY).mean()) <= _CLEAR_SHARE


def _read(path: Path, bands: int) -> Field:
    with raster.opened(path) as dataset:
        if dataset.count != bands:
            raise InputError(f"{path} has {dataset.count} bands; {bands} are needed: see `cloudfree train --help`")
        pixels: Field = dataset.read().astype(np.float32)
    return pixels


def procedural_places(seed: int, count: int, side: int = 384) -> list[Place]:
    """Places that do not exist, `side` pixels of 3 m wide; place i of a seed is the same whatever the count."""
    return [_procedural_place(seed, index, side) for index in range(count)]


def _procedural_place(seed: int, index: int, side: int) -> Place:
    land = landscape(np.random.default_rng([seed, index]), side, side, pixel_size_m=_PIXEL_M)
    valid = np.ones((side, side), bool)
    return Place(f"procedural_{seed}_{index}", land.reflectance, (land.sar_db,), valid, radar_is_fine=False)


def hold_out(places: Sequence[Place], every: int = 5) -> tuple[list[Place], list[Place]]:
    """Places to train on, and those of every fifth site to validate on: of fewer sites the last, of one none."""
    sites = sorted({place.site for place in places})
    every = min(every, max(len(sites), 2))
    held = set(sites[every - 1 :: every])
    return [p for p in places if p.site not in held], [p for p in places if p.site in held]


SkyOver = Callable[[np.random.Generator, int], CloudLayer]
"""Clouds over a square of so many pixels of 3 m."""


def any_sky(rng: np.random.Generator, side: int) -> CloudLayer:
    """Simulated clouds of any kind, from a few to an overcast sky."""
    return cloud_layer(rng, side, side, pixel_size_m=_PIXEL_M, cover=float(rng.uniform(0.05, 1.0)))


class Sampler:
    """Random crops of places, turned, tinted and clouded over; equal generators give equal samples.

    Each group of places (a data set) is drawn from equally often, whatever its size. A share `primed` (0..1) of the
    samples has the prior of its surroundings in place of the clouds, as a masked scene has when it is run.
    """

    def __init__(
        self, groups: Sequence[Sequence[Place]], crop: int, primed: float = 0.0, sky: SkyOver | None = None
    ) -> None:
        """Raises InputError where no place has a valid square of `crop` pixels, with room to displace the radar."""
        self.crop = crop
        self._primed = primed
        self._sky = sky or any_sky
        usable = [
            [_Ground(place, *squares) for place in group if (squares := _squares(place.valid, crop))]
            for group in groups
        ]
        self._groups = [group for group in usable if group]
        if not self._groups:
            raise InputError(
                f"no place has a valid square of {crop} pixels and a rim; give larger images or a smaller crop"
            )

    def draw(self, rng: np.random.Generator) -> Sample:
        group = self._groups[rng.integers(len(self._groups))]
        place, side, corners = group[rng.integers(len(group))]
        clear, sar_db = _turned(rng, *_cut(rng, place, corners[rng.integers(len(corners))], side))
        if place.radar_is_fine and rng.random() < 0.7:
            sar_db = _as_mapped_at_10_m(rng, sar_db)
        clear, sar_db = _retinted(rng, clear, sar_db)
        layer = self._sky(rng, side)
        cloudy = add_clouds(clear, layer)
        sample = Sample(cloudy, sar_db, clear, layer.mask)
        if rng.random() < self._primed:
            sample = _primed(rng, sample)
        y, x = rng.integers(0, side - self.crop + 1, 2)
        return _window(sample, slice(y, y + self.crop), slice(x, x + self.crop))


class _Ground(NamedTuple):
    """A place, and the corners (N, 2) of the squares of `side` pixels that samples are made on and cut from."""

    place: Place
    side: int
    corners: NDArray[np.intp]


def _squares(valid: Mask, crop: int) -> tuple[int, NDArray[np.intp]] | None:
    """The largest squares of up to three crops a side that are valid: a prior needs surroundings."""
    for side in (3 * crop, 2 * crop, crop):
        fitting = min(side, min(valid.shape) - 2 * _MAX_SHIFT_PX)
        if fitting >= crop and len(corners := _corners(valid, fitting)):
            return fitting, corners
    return None


def _primed(rng: np.random.Generator, sample: Sample) -> Sample:
    """The sample as a run would prime it: masked imperfectly, as by UDM2, with a rim, and filled by a prior."""
    height, width = sample.mask.shape
    rim = Rim(BUFFER_M / _PIXEL_M, FEATHER_M / _PIXEL_M)
    share = rim.share(imperfect_mask(rng, sample.mask))
    filled, _ = prime(sample.cloudy, sample.sar_db, share, np.ones((height, width), bool), _PIXEL_M)
    return replace(sample, cloudy=filled, mask=share > 0)


def _window(sample: Sample, rows: slice, cols: slice) -> Sample:
    cloudy, sar_db, clear = (
        np.ascontiguousarray(image[:, rows, cols]) for image in (sample.cloudy, sample.sar_db, sample.clear)
    )
    return Sample(cloudy, sar_db, clear, sample.mask[rows, cols])


def _corners(valid: Mask, crop: int) -> NDArray[np.intp]:
    """(N, 2) rows and columns of corners of a valid square of `crop` and a rim for the radar's displacement."""
    side = crop + 2 * _MAX_SHIFT_PX
    if min(valid.shape) < side:
        return np.empty((0, 2), np.intp)
    whole = ndimage.minimum_filter(valid, side, origin=-(side // 2))  # its corner is the pixel itself
    return np.argwhere(whole[: valid.shape[0] - side + 1, : valid.shape[1] - side + 1])


def _cut(rng: np.random.Generator, place: Place, corner: NDArray[np.intp], crop: int) -> tuple[Field, Field]:
    """A square of the optical image, and of one radar image displaced by a pixel or two."""
    sar_db = place.sar_db[rng.integers(len(place.sar_db))]
    (y, x), (down, right) = corner + _MAX_SHIFT_PX, corner + rng.integers(0, 2 * _MAX_SHIFT_PX + 1, 2)
    return place.reflectance[:, y : y + crop, x : x + crop], sar_db[:, down : down + crop, right : right + crop]


def _turned(rng: np.random.Generator, *images: Field) -> list[Field]:
    """One of the eight symmetries of the square, the same for all."""
    turns, flip = int(rng.integers(4)), rng.random() < 0.5
    turned = [np.rot90(image, turns, (1, 2)) for image in images]
    return [image[..., ::-1] if flip else image for image in turned]


def _as_mapped_at_10_m(rng: np.random.Generator, sar_db: Field) -> Field:
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


def _retinted(rng: np.random.Generator, clear: Field, sar_db: Field) -> tuple[Field, Field]:
    """Other seasons, soils, sensors and incidence angles, mildly: gains of each band, shared for the most part."""
    gain = np.exp(rng.normal(0, 0.15) + rng.normal(0, 0.05, 4)).astype(np.float32)
    offset_db = (rng.normal(0, 0.8) + rng.normal(0, 0.3, 2)).astype(np.float32)
    return np.clip(clear * gain[:, None, None], 0, 1), sar_db + offset_db[:, None, None]
