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
from cloudfree.geometry import Displacement
from cloudfree.geometry.grid import side_by_side
from cloudfree.inputs.files import InputOptions, InputReader, Inputs, identify
from cloudfree.inputs.masks.mask import BUFFER_M
from cloudfree.inputs.optical.scene import Scene
from cloudfree.inputs.raster.access import gdal_settings
from cloudfree.learn.clouded_places import valid_squares
from cloudfree.learn.places import Place
from cloudfree.reconstruct.feather import Feather
from cloudfree.scene import look, survey

log = logging.getLogger(__name__)

_REQUIRED, _OPTIONAL = ("planet", "sar"), ("udm2", "mask", "reference")
_COLUMNS = (*_REQUIRED, *_OPTIONAL)
_WINDOW_PX, _MOST_WINDOWS = 256, 400  # of a list of scenes: 630 MB, and 420 more for every reference
_LOOKED_AT = 4  # windows to every one that is wanted


@dataclass(frozen=True)
class ClearGround:
    """Windows with clear ground, and masks (H, W) of windows partly under cloud or shadow."""

    places: list[Place]
    shapes: list[Mask]


def find_clear_ground(
    scene: Scene, reader: InputReader, displacement: Displacement, buffer_m: float, crop: int, count: int
) -> ClearGround:
    """At most `count` windows of a scene that samples of `crop` pixels can be cut from, spread at random.

    Its mask hides what lies within `buffer_m` of it too; its radar is displaced to where it belongs. With the windows
    comes what its references show.
    """
    ground = ClearGround([], [])
    for place in _windows(scene, reader, displacement, buffer_m, crop, _LOOKED_AT * count):
        assert place.hidden is not None
        if 0.05 < place.hidden.mean() < 0.95:
            ground.shapes.append(place.hidden)
        if valid_squares(place, crop):
            ground.places.append(place)
        if len(ground.places) == count:
            break
    return ground


def is_manifest(path: Path) -> bool:
    """Whether a file is a CSV whose header names scenes."""
    if not path.is_file():
        return False
    with path.open(newline="", encoding="utf-8", errors="replace") as file:
        header = next(csv.reader(file), [])
    return set(_REQUIRED) <= {name.strip() for name in header}


def read_manifest(path: Path, crop: int, count: int = _MOST_WINDOWS) -> list[Place]:
    """At most `count` windows in all of the scenes that a CSV names, with clear ground; no clear image is needed.

    Its header names the columns: `planet` and `sar` (two files with `;` between them if VV and VH are apart), `udm2` or
    `mask` where wanted, `reference` for images of other dates, several with `;` between them. Files are relative to the
    CSV's folder. Radar and references are co-registered where that can be done reliably. Raises InputError.
    """
    scenes = list(_scenes(path))
    places = [place for scene in scenes for place in _clear_ground(scene, crop, math.ceil(count / len(scenes)))]
    if not places:
        raise InputError(
            f"no scene of {path} has a window of {crop} pixels a side that is clear enough to learn from; "
            "add larger or clearer ones"
        )
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
        udm2, mask = (path.parent / given[name] if name in given else None for name in ("udm2", "mask"))
        sar, others = (
            [path.parent / cell.strip() for cell in given.get(name, "").split(";") if cell.strip()]
            for name in ("sar", "reference")
        )
        options = InputOptions.of(path.parent / given["planet"], sar, udm2=udm2, mask=mask, references=others)
        with gdal_settings():
            inputs = identify(options)
        yield inputs
    if not rows:
        raise InputError(f"{path.name} names no scene; below the header each line names one: {', '.join(_COLUMNS)}")


def _clear_ground(inputs: Inputs, crop: int, count: int) -> list[Place]:
    scene = inputs.scene
    with gdal_settings():
        with inputs.open() as reader:
            surveyed = survey.take(scene, reader)
            placed = look.coregistered(inputs, surveyed, reader, "auto", InputOptions.max_shift_m)
        with placed.inputs.open() as reader:
            places = find_clear_ground(scene, reader, placed.displacement, BUFFER_M, crop, count).places
    log.info("%s: %d windows with clear ground", scene.path.name, len(places))
    return [replace(place, site=scene.path.name) for place in places]


def _windows(
    scene: Scene, reader: InputReader, displacement: Displacement, buffer_m: float, crop: int, most: int
) -> Iterator[Place]:
    """Windows side by side, two at least along each axis that is long enough, in random order."""
    grid = scene.grid
    side = min(_WINDOW_PX, max(crop + crop // 4, min(grid.shape) // 2), *grid.shape)
    corners = [(row, col) for row in side_by_side(grid.height, side) for col in side_by_side(grid.width, side)]
    order = np.random.default_rng(0).permutation(len(corners))[:most]
    feather = Feather(buffer_m / grid.pixel_size_m, 1.0)
    for row, col in (corners[index] for index in order):
        seen = reader.window(row, col, side, side, displacement)
        yield Place(
            f"{scene.path.name} {row} {col}",
            np.clip(scene.reflectance(seen.dn), 0, 1),
            (seen.sar_db,),
            seen.data & seen.sar_valid,
            seen.grid.pixel_size_m,
            hidden=feather.weight(seen.cloudy) > 0,
            others=seen.others,
        )
