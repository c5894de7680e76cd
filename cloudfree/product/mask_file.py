"""The mask that was used, given and detected, as a file on the scene's grid."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from cloudfree.bands import SKY_HIDDEN, SKY_NODATA, SkyClass
from cloudfree.geometry.grid import Grid
from cloudfree.inputs.area import Part
from cloudfree.inputs.files import InputReader
from cloudfree.inputs.optical.scene import has_data
from cloudfree.product import profiles
from cloudfree.product.cog import CogWriter

_STRIP_ROWS = 512


def write_mask(path: Path, reader: InputReader, part: Part, compress: str, tags: dict[str, str]) -> None:
    """Write the classes of `SkyClass` and the probability (percent) of cloud, haze or shadow for a part of the scene.

    Pixels that only the given mask hides are cloud at 100 percent, for it does not state their class. The buffer is not
    in the file. Raises OutputError.
    """
    grid = part.of(reader.grid)
    with CogWriter(path, grid, profiles.SKY, compress) as file:
        for row in range(0, grid.height, _STRIP_ROWS):
            height = min(_STRIP_ROWS, grid.height - row)
            data = has_data(reader.scene.window(part.row + row, part.col, height, grid.width))
            file.write(np.where(data, _rows(reader, grid.rows(row, row + height)), SKY_NODATA))
        file.finish(tags)


def _rows(reader: InputReader, grid: Grid) -> NDArray[np.uint8]:
    """Return class and percent (2, H, W)."""
    given = reader.mask.on_grid(grid) if reader.mask else np.zeros(grid.shape, bool)
    classes, percent = np.zeros((2, *grid.shape), np.uint8)
    if reader.found:
        classes, percent = reader.found.classes_on(grid), reader.found.percent_on(grid)
    known = np.isin(classes, SKY_HIDDEN)
    return np.stack([np.where(given & ~known, SkyClass.CLOUD, classes), np.where(given, 100, percent)]).astype(np.uint8)
