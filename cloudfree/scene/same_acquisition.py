"""Whether an image given as one of another date is of the scene's own acquisition: it would bring the clouds back."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from cloudfree.arrays import Image, Mask, known_of
from cloudfree.inputs.files import InputReader, Inputs
from cloudfree.inputs.optical.reference import Reference
from cloudfree.inputs.optical.scene import Scene, has_data
from cloudfree.scene.survey import Survey

_PLACES, _SIDE_PX = 4, 96  # of the scene's own pixels, along each axis
_EQUAL, _EQUAL_SHARE, _FEWEST_PX = 6e-5, 0.5, 30
"""Reflectance, half a step of 10000 and rounding, and a share of the pixels: so many are equal on no two days."""
_OVER_CLEAR, _FEWEST_CLOUD_PX, _SMOOTHED_PX = 0.1, 5, 1.5
_ALIKE = 0.85
"""Correlation of an image with the scene, in each band, all over it and under its mask alone, where the scene has
clouds: pixels under its mask that are brighter by `_OVER_CLEAR` than nearly all of its clear ground. On two series of
Sentinel-2 at 20 m the scene in other numbers, blurred or off by a pixel has 0.95 to 1, and of 272 pairs of different
dates none over 0.71 and 0.63."""


def told_by(inputs: Inputs, surveyed: Survey, reader: InputReader) -> Iterator[str]:
    """Of each reference, what shows that it is of the scene's own acquisition; "" where nothing does.

    One that shows nothing of the scene's hidden ground, as its own mask hides the same clouds, brings none back.
    """
    looks = [*_close_looks(inputs, surveyed, reader)] if inputs.references else []
    hidden = surveyed.data & surveyed.cloudy
    for number, (reference, other) in enumerate(zip(inputs.references, surveyed.others, strict=True)):
        if hidden.any() and not (known_of(other) & hidden).any():
            yield ""
            continue
        is_apart = _is_dated_apart(reference, inputs.scene)
        has_its_clouds = _has_its_clouds(inputs.scene, surveyed, other)
        if (has_its_clouds or not is_apart) and _has_its_pixels(looks, number):
            yield "has the scene's own pixels"
        elif has_its_clouds and not is_apart:
            yield "shows the clouds of the scene"
        else:
            yield ""


class _Look(NamedTuple):
    """Reflectance (4, h, w) of the scene and of each reference, and where the scene is clear, and hidden (h, w)."""

    scene: Image
    others: tuple[Image, ...]
    clear: Mask
    hidden: Mask


def _close_looks(inputs: Inputs, surveyed: Survey, reader: InputReader) -> Iterator[_Look]:
    """The scene's own pixels in some places all over it."""
    rows, cols = (_spread(length) for length in reader.grid.shape)
    height, width = (min(_SIDE_PX, length) for length in reader.grid.shape)
    for row in rows:
        for col in cols:
            grid = reader.grid.window(row, col, height, width)
            dn = reader.scene.window(row, col, height, width)
            cloudy = reader.cloudy(grid) | (inputs.found.on_grid(grid) if inputs.found else False)
            data = has_data(dn)
            if data.any():
                yield _Look(inputs.scene.reflectance(dn), reader.others(grid), data & ~cloudy, data & cloudy)


def _spread(length: int) -> NDArray[np.intp]:
    """Where windows begin along an axis."""
    return np.unique(np.linspace(0, max(0, length - _SIDE_PX), _PLACES).astype(np.intp))


def _has_its_pixels(looks: list[_Look], number: int) -> bool:
    """Whether a reference is equal to the scene where that is clear, and where it is hidden."""
    clear = [(look.scene[:, look.clear], look.others[number][:, look.clear]) for look in looks]
    hidden = [(look.scene[:, look.hidden], look.others[number][:, look.hidden]) for look in looks]
    return _are_equal(clear, _FEWEST_PX) and _are_equal(hidden, 1)


def _are_equal(pairs: list[tuple[Image, Image]], fewest_px: int) -> bool:
    """Whether pixels (4, N) of the scene and of an image are the same, of those that both know."""
    if not pairs:
        return False
    scene, other = (np.concatenate(images, axis=1) for images in zip(*pairs, strict=True))
    known = known_of(other)
    equal = np.abs(scene - other)[:, known].max(axis=0, initial=0) <= _EQUAL
    return bool(equal.size >= fewest_px and equal.mean() >= _EQUAL_SHARE)


def _has_its_clouds(scene: Scene, surveyed: Survey, other: Image) -> bool:
    """Whether an image (4, H, W) on the survey's grid shows what hides the scene's ground, where that is cloud."""
    reflectance, known = scene.reflectance(surveyed.dn), surveyed.data & known_of(other)
    clear, hidden = known & ~surveyed.cloudy, known & surveyed.cloudy
    if clear.sum() < _FEWEST_PX:
        return False
    blue = reflectance[0]
    if (hidden & (blue > np.percentile(blue[clear], 99) + _OVER_CLEAR)).sum() < _FEWEST_CLOUD_PX:
        return False
    for pair in zip(reflectance, other, strict=True):
        one, two = (gaussian_filter(np.where(known, band, 0), _SMOOTHED_PX) for band in pair)
        if not all(_correlation(one[where], two[where]) >= _ALIKE for where in (known, hidden)):
            return False
    return True


def _correlation(one: Image, two: Image) -> float:
    """1 of two that do not vary at all."""
    spread = float(one.std() * two.std())
    return float(((one - one.mean()) * (two - two.mean())).mean() / spread) if spread else 1.0


def _is_dated_apart(reference: Reference, scene: Scene) -> bool:
    """Whether both are dated, and of different days."""
    moment = scene.acquired.moment
    return moment is not None and reference.acquired is not None and reference.acquired != moment.date()
