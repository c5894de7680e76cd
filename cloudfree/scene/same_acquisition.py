"""Whether an image given as one of another date is of the scene's own acquisition: it would bring the clouds back."""

from __future__ import annotations

from collections.abc import Iterator

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
"""Reflectance, half a step of 10000 and rounding, and a share of the clear pixels: that many are equal on no two dates,
and in a product of ours, of which some clear ground is rewritten."""
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
    for number, (reference, other) in enumerate(zip(inputs.references, surveyed.others, strict=True)):
        if surveyed.cloudy.any() and not (known_of(other) & surveyed.data & surveyed.cloudy).any():
            yield ""
        elif _has_its_pixels([(scene, others[number], clear) for scene, others, clear in looks]):
            yield "has the scene's own pixels where it is clear"
        elif not _is_dated_apart(reference, inputs.scene) and _has_its_clouds(inputs.scene, surveyed, other):
            yield "shows the clouds of the scene"
        else:
            yield ""


def _close_looks(
    inputs: Inputs, surveyed: Survey, reader: InputReader
) -> Iterator[tuple[Image, tuple[Image, ...], Mask]]:
    """Reflectance of the scene and of references in some places, in the scene's own pixels, and where it is clear."""
    rows, cols = (_spread(length) for length in reader.grid.shape)
    for row in rows:
        for col in cols:
            height, width = (min(_SIDE_PX, length) for length in reader.grid.shape)
            grid = reader.grid.window(row, col, height, width)
            dn = reader.scene.window(row, col, height, width)
            cloudy = reader.cloudy(grid) | (inputs.found.on_grid(grid) if inputs.found else False)
            clear = has_data(dn) & ~cloudy
            if clear.any():
                yield inputs.scene.reflectance(dn), reader.others(grid), clear


def _spread(length: int) -> NDArray[np.intp]:
    """Where windows begin along an axis."""
    return np.unique(np.linspace(0, max(0, length - _SIDE_PX), _PLACES).astype(np.intp))


def _has_its_pixels(looks: list[tuple[Image, Image, Mask]]) -> bool:
    shared = [(scene[:, both], other[:, both]) for scene, other, clear in looks for both in [clear & known_of(other)]]
    if not shared:
        return False
    scene, other = (np.concatenate(images, axis=1) for images in zip(*shared, strict=True))
    varies = np.ptp(scene, axis=1).max() > _EQUAL
    equal = np.abs(scene - other).max(axis=0) <= _EQUAL
    return bool(varies and equal.size >= _FEWEST_PX and equal.mean() >= _EQUAL_SHARE)


def _has_its_clouds(scene: Scene, surveyed: Survey, other: Image) -> bool:
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
