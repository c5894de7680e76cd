"""A look at a raster's values without reading all of them: thinned to the nearest pixels, or by some of its blocks."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from rasterio import DatasetReader
from rasterio.windows import Window

from cloudfree.arrays import Float64Array
from cloudfree.errors import GridError
from cloudfree.geometry import Geometry
from cloudfree.inputs.raster import access, validity

_THINNED_PX = 512  # pixels along a side
# Of data: all of a raster up to this side, or blocks of a larger one in a lattice; and so many of their pixels.
_WHOLE_PX, _LATTICE, _DATA_PX = 1024, 4, 2**18
_LEAST_BLOCK_PX, _MOST_BLOCK_PX = 64, 512


class Sample(NamedTuple):
    """Stored values (N, rows, columns) of bands, thinned, and the window of the raster that they are of."""

    values: NDArray[np.generic]
    window: Window


def whole(dataset: DatasetReader, indexes: tuple[int, ...]) -> Sample:
    """Bands of all of a raster, thinned to some hundred pixels a side."""
    return _thinned(dataset, indexes, Window(0, 0, dataset.width, dataset.height))


def over(dataset: DatasetReader, indexes: tuple[int, ...], geometry: Geometry, area: Geometry, needed: str) -> Sample:
    """Bands of the part of a raster under `area`, thinned to some hundred pixels a side; `geometry` is the raster's.

    Raises GridError where the raster lies elsewhere; `needed` says in its message what should be given instead.
    """
    row0, row1, col0, col1 = geometry.pixel_bounds_of(area)
    if row0 >= row1 or col0 >= col1 or geometry.overlap_share(area) == 0:
        raise GridError(
            f"{dataset.source.name} does not overlap the scene; {needed} over the same ground is needed: "
            "compare the footprints with cloudfree info"
        )
    return _thinned(dataset, indexes, Window(col0, row0, col1 - col0, row1 - row0))


def _thinned(dataset: DatasetReader, indexes: tuple[int, ...], window: Window) -> Sample:
    shape = min(window.height, _THINNED_PX), min(window.width, _THINNED_PX)
    return Sample(access.read(dataset, list(indexes), window, shape), window)


def of_data(dataset: DatasetReader, indexes: tuple[int, ...]) -> Float64Array:
    """Stored values (N, count) of pixels with data in all of the bands: of all of a small raster, thinned, of some
    blocks of a larger one, or of all of it if these have none.
    """
    height, width = dataset.height, dataset.width
    all_of_it = [(Window(0, 0, width, height), (min(height, _WHOLE_PX), min(width, _WHOLE_PX)))]
    if max(height, width) <= _WHOLE_PX:
        return _with_data(dataset, indexes, all_of_it)
    rows, cols = map(_lattice, (height, width), dataset.block_shapes[indexes[0] - 1])
    blocks = [Window.from_slices(row, col) for row in rows for col in cols]
    values = _with_data(dataset, indexes, [(block, (block.height, block.width)) for block in blocks])
    return values if values.size else _with_data(dataset, indexes, all_of_it)


def _lattice(length: int, block: int) -> list[slice]:
    """Pixels of some blocks of a file spread along an axis, so that none is unpacked twice."""
    side = min(block * max(1, _LEAST_BLOCK_PX // block), _MOST_BLOCK_PX)
    count = -(-length // side)
    chosen = sorted({int((place + 0.5) * count / _LATTICE) for place in range(_LATTICE)})
    return [slice(number * side, min((number + 1) * side, length)) for number in chosen]


def _with_data(
    dataset: DatasetReader, indexes: tuple[int, ...], parts: list[tuple[Window, tuple[int, int]]]
) -> Float64Array:
    """Values (N, count) of the pixels with data in windows read at a shape, evenly thinned to about `_DATA_PX`."""
    pieces = []
    for window, shape in parts:
        stored = access.read(dataset, list(indexes), window, shape)
        known = validity.of_image(dataset, indexes, window, stored)
        pieces.append((stored.reshape(len(stored), -1), np.flatnonzero(known)))
    step = max(1, sum(known.size for _, known in pieces) // _DATA_PX)
    return np.concatenate([stored[:, known[::step]] for stored, known in pieces], axis=1).astype(np.float64)
