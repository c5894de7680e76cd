"""The clear ground of a user's own scenes, to learn from: windows of it, and the shapes of the clouds over it."""

from __future__ import annotations

import csv
import logging
import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from cloudfree.arrays import Mask
from cloudfree.errors import InputError
from cloudfree.grid import Grid
from cloudfree.inputs.cloudmask import BUFFER_M, Rim
from cloudfree.inputs.displacement import Displacement
from cloudfree.inputs.files import Inputs, Readers, identify
from cloudfree.inputs.planet import Scene, has_data
from cloudfree.inputs.raster import gdal_settings
from cloudfree.learn.places import Place, Sampler
from cloudfree.network.tiles import side_by_side
from cloudfree.scene import coregister, survey

log = logging.getLogger(__name__)

_REQUIRED, _OPTIONAL = ("planet", "sar"), ("udm2", "mask")
_COLUMNS = (*_REQUIRED, *_OPTIONAL)
_MAX_SHIFT_M = 60.0
_WINDOW_PX = 256
_LOOKED_AT = 4  # windows to every one that is wanted


@dataclass(frozen=True)
class Ground:
    """Windows with clear ground, and masks (H, W) of windows partly under cloud or shadow."""

    places: list[Place]
    shapes: list[Mask]


def survey_ground(inputs: Inputs, moved: Displacement, buffer_m: float, crop: int, count: int) -> Ground:
    """At most `count` windows of a scene that samples of `crop` pixels can be cut from, spread at random.

    Its mask hides what lies within `buffer_m` of it too; its radar is `moved` to where it belongs.
    """
    found = Ground([], [])
    for place in _windows(inputs, moved, buffer_m, crop, _LOOKED_AT * count):
        assert place.hidden is not None
        if 0.05 < place.hidden.mean() < 0.95:
            found.shapes.append(place.hidden)
        if _is_learnable(place, crop):
            found.places.append(place)
        if len(found.places) == count:
            break
    return found


def is_manifest(path: Path) -> bool:
    """Whether a file is a CSV whose header names scenes."""
    if not path.is_file():
        return False
    with path.open(newline="", encoding="utf-8", errors="replace") as file:
        header = next(csv.reader(file), [])
    return set(_REQUIRED) <= {name.strip() for name in header}


def read_manifest(path: Path, crop: int, count: int) -> list[Place]:
    """At most `count` windows in all of the scenes that a CSV names, with clear ground; no clear image is needed.

    Its header names the columns: `planet` and `sar` (two files with `;` between them if VV and VH are apart), `udm2` or
    `mask` where wanted. Files are relative to the CSV's folder. Radar is co-registered where that can be done reliably.
    Raises InputError.
    """
    scenes = list(_scenes(path))
    places = [place for scene in scenes for place in _clear_ground(scene, crop, math.ceil(count / len(scenes)))]
    if not places:
        raise InputError(f"no scene of {path} has clear ground of {crop} pixels; add clearer ones, or a smaller --crop")
    return places


def _scenes(path: Path) -> Iterator[Inputs]:
    with path.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    for number, row in enumerate(rows, 2):
        given = {k: v.strip() for k, v in row.items() if k in _COLUMNS and v and v.strip()}
        if unknown := [str(k) for k in row if k not in _COLUMNS]:
            raise InputError(f"{path.name} has a column {unknown[0]!r}; allowed are {', '.join(_COLUMNS)}: rename it")
        if missing := [name for name in _REQUIRED if name not in given]:
            raise InputError(f"line {number} of {path.name} has no {missing[0]}; each scene needs planet and sar")
        udm2, mask = (path.parent / given[name] if name in given else None for name in _OPTIONAL)
        sar = [path.parent / name for name in given["sar"].split(";")]
        with gdal_settings():
            found = identify(path.parent / given["planet"], sar, udm2=udm2, mask=mask)
        yield found
    if not rows:
        raise InputError(f"{path.name} names no scene; below the header each line names one: {', '.join(_COLUMNS)}")


def _clear_ground(scene: Inputs, crop: int, count: int) -> list[Place]:
    with gdal_settings(), scene.open() as readers:
        surveyed = survey.take(scene.scene, *readers)
    moved = coregister.of_survey(surveyed, scene.scene, _MAX_SHIFT_M).on(surveyed.grid)
    found = survey_ground(scene, moved, BUFFER_M, crop, count).places
    log.info("%s: %d windows with clear ground", scene.scene.path.name, len(found))
    return [replace(place, site=scene.scene.path.name) for place in found]


def _windows(inputs: Inputs, moved: Displacement, buffer_m: float, crop: int, most: int) -> Iterator[Place]:
    """Windows side by side, two at least along each axis that is long enough, in random order."""
    grid = inputs.scene.grid
    side = min(_WINDOW_PX, max(crop + crop // 4, min(grid.shape) // 2), *grid.shape)
    corners = [(row, col) for row in side_by_side(grid.height, side) for col in side_by_side(grid.width, side)]
    order = np.random.default_rng(0).permutation(len(corners))[:most]
    rim = Rim(buffer_m / grid.pixel_size_m, 1.0)
    with gdal_settings(), inputs.open() as readers:
        for row, col in (corners[index] for index in order):
            yield _window(inputs.scene, readers, moved, rim, grid.window(row, col, side, side), row, col)


def _window(scene: Scene, readers: Readers, moved: Displacement, rim: Rim, grid: Grid, row: int, col: int) -> Place:
    """What the scene shows in a window at a row and column, and what its mask and the rim of that hide there."""
    dn = readers.pixels.window(row, col, *grid.shape)
    sar_db = readers.radar.on_grid(grid, moved)
    cloudy = readers.masked.on_grid(grid) if readers.masked else np.zeros(grid.shape, bool)
    valid = has_data(dn) & np.isfinite(sar_db).all(axis=0)
    reflectance = np.clip(scene.reflectance(dn), 0, 1)
    site = f"{scene.path.name} {row} {col}"
    return Place(site, reflectance, (sar_db,), valid, grid.pixel_size_m, hidden=rim.share(cloudy) > 0)


def _is_learnable(place: Place, crop: int) -> bool:
    """Whether a sample can be cut from it."""
    try:
        Sampler([place], crop)
    except InputError:
        return False
    return True
