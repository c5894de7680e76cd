"""Ground that samples are made of: clear pairs, a user's own scenes, clear images beside cloudy ones, aerial images."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np

from cloudfree.arrays import Image
from cloudfree.bands import OPTICAL_BANDS, REFLECTANCE_SCALE
from cloudfree.errors import InputError
from cloudfree.learn.clouded_images import CLEAR_SUFFIX
from cloudfree.learn.obscured_places import Series
from cloudfree.learn.places import (
    Place,
    hold_out,
    mosaics,
    read_aerial_images,
    read_bands,
    read_places,
    site_of,
    without_date,
)
from cloudfree.learn.scenes import is_manifest, read_manifest
from cloudfree.scene.model import PIXEL_M
from cloudfree.simulate.clouds import PLANETSCOPE_PIXEL_M

Groups = list[list[Series]]
InSeries = Callable[[Sequence[Place]], list[Series]]

_WINDOW_CROP_PX = 96  # that must be clear in a window of a scene
# Hardly any cloud: shares of an image that have data, and that are brighter in blue than ground mostly is.
_LEAST_DATA, _BRIGHT_BLUE, _MOST_BRIGHT = 0.99, 0.25, 0.05
_LARGE_PX = 300  # an aerial image that is used as it is
_DARKEST = 1e-4  # reflectance


def read_grounds(data: Sequence[Path], clouds: Path | None, texture: Sequence[Path]) -> tuple[Groups, Groups]:
    """Series of places to train on and, of every fifth site of a group, to validate on.

    data: folders of clear pairs (`places.read_places`), or CSV files of a user's own scenes (`scenes.read_manifest`).
    clouds: a folder whose images `NAME_clear.tif` have hardly any cloud. texture: folders of aerial images of bytes,
    which lend their texture alone. Each is a group. Raises InputError where one cannot be used, or there is nothing.
    """
    split = [_held_out(*_pairs_or_scenes(path)) for path in data]
    split += [_held_out(list(_clear_images(clouds)), _alone)] if clouds else []
    split += [_held_out(_textures(path), _alone) for path in texture]
    training, validation = ([parts[part] for parts in split if parts[part]] for part in (0, 1))
    if not training:
        raise InputError("there is no ground to make samples of; give --data, --clouds with clear images, or --texture")
    return training, validation


def _held_out(places: list[Place], in_series: InSeries) -> tuple[list[Series], list[Series]]:
    seen, unseen = hold_out(places)
    return in_series(seen), in_series(unseen)


def _pairs_or_scenes(path: Path) -> tuple[list[Place], InSeries]:
    if is_manifest(path):
        return read_manifest(path, _WINDOW_CROP_PX), _alone
    _require_folder(path, "--data", "clear pairs, or a CSV of scenes")
    return read_places(path), _by_date


def _by_date(places: Sequence[Place]) -> list[Series]:
    """The dates of each place in order; images of another size are of another series."""
    series: dict[tuple[str, tuple[int, ...]], list[Place]] = {}
    for place in places:
        series.setdefault((place.site, place.valid.shape), []).append(place)
    return list(series.values())


def _alone(places: Sequence[Place]) -> list[Series]:
    """Each a series of its own: several images of a site are of different parts of it."""
    return [[place] for place in places]


def _clear_images(folder: Path) -> Iterator[Place]:
    """Images `NAME_clear.tif` (uint16 blue, green, red, NIR, reflectance * 10000) with hardly any cloud, no radar.

    NAME tells places apart (`places.site_of`).
    """
    _require_folder(folder, "--clouds", "images with clouds")
    for path in sorted(folder.glob(f"*{CLEAR_SUFFIX}")):
        image = read_bands(path, *OPTICAL_BANDS) * np.float32(REFLECTANCE_SCALE)
        if (image > 0).all(axis=0).mean() >= _LEAST_DATA and (image[0] > _BRIGHT_BLUE).mean() <= _MOST_BRIGHT:
            site = site_of(path.name.removesuffix(CLEAR_SUFFIX))
            yield _without_radar(site, np.clip(image, 0, 1), PIXEL_M)


def _textures(folder: Path) -> list[Place]:
    """Large aerial images, and squares of four small ones of a town and year, as ground of PlanetScope's pixels."""
    _require_folder(folder, "--texture", "aerial images")
    images = [(town, np.clip(image, _DARKEST, 1)) for town, image in read_aerial_images(folder)]
    squares = [(town, image) for town, image in images if max(image.shape) > _LARGE_PX]
    small: dict[tuple[str, tuple[int, ...]], list[Image]] = {}
    for town, image in images:
        if max(image.shape) <= _LARGE_PX:
            small.setdefault((town, image.shape), []).append(image)
    for (town, _), tiles in small.items():
        squares += [(town, square) for square in mosaics(tiles, 2)]
    if not squares:
        raise InputError(
            f"{folder} holds too few aerial images; one over {_LARGE_PX} pixels, or four of a town, is needed: check "
            "--texture"
        )
    # Flights over a town in several years show the same ground: one site.
    return [_without_radar(without_date(town), image, PLANETSCOPE_PIXEL_M) for town, image in squares]


def _without_radar(site: str, reflectance: Image, pixel_size_m: float) -> Place:
    return Place(site, reflectance, (), np.ones(reflectance.shape[1:], bool), pixel_size_m)


def _require_folder(path: Path, option: str, content: str) -> None:
    if not path.is_dir():
        raise InputError(f"{path} is no folder; one with {content} is needed: check {option}")
