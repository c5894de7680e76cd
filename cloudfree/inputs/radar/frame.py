"""A frame of Sentinel-1, VV and VH that belong together: how they are stored, and their pixels in dB."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial

import numpy as np
from numpy.typing import NDArray
from rasterio import DatasetReader
from rasterio.windows import Window

from cloudfree.arrays import Image, as_image
from cloudfree.geometry import Geometry, PixelSource
from cloudfree.inputs.acquisition import UNKNOWN, Acquisition
from cloudfree.inputs.location.source import Source
from cloudfree.inputs.radar import backscatter, border_noise
from cloudfree.inputs.radar.backscatter import Units, to_db
from cloudfree.inputs.radar.mosaic import EdgeDistance, Piece
from cloudfree.inputs.raster import access


@dataclass(frozen=True)
class SarBand:
    """One polarisation of one file: a one-based band, how it is stored, and where it lies.

    Stored values times `scale` plus `offset` are in `units`; a stored value equal to `nodata` is none. `median_db` is
    of the valid pixels over the scene. `files` are those that are read, of a SAFE product several.
    """

    path: Source
    index: int
    units: Units
    grid: Geometry
    nodata: float | None
    median_db: float
    scale: float = 1.0
    offset: float = 0.0
    files: tuple[Source, ...] = ()
    acquired: Acquisition = UNKNOWN


@dataclass(frozen=True)
class Frame:
    """VV and VH that belong together, or one of them, of one file or two.

    `border_noise` is whether a strip at an edge is the instrument's noise, and no ground. `edge` is how far pixels are
    from the frame's edge, for one frame of several.
    """

    vv: SarBand | None
    vh: SarBand | None
    border_noise: bool = False
    edge: EdgeDistance | None = field(default=None, compare=False)

    @property
    def numbered(self) -> list[tuple[int, SarBand]]:
        """The bands that are there, by their place among VV and VH."""
        return [(number, band) for number, band in enumerate((self.vv, self.vh)) if band]


def pieces_of(frame: Frame, datasets: Mapping[Source, DatasetReader]) -> Iterator[Piece]:
    """The frame as pieces of a mosaic: both bands in one where they are on one grid."""
    bands = frame.numbered
    together = len({band.grid for _, band in bands}) == 1
    for group in [bands] if together else [[band] for band in bands]:
        source = _source([(band, datasets[band.path]) for _, band in group], frame.border_noise)
        yield Piece(source, tuple(number for number, _ in group), frame.edge)


def _source(pairs: Sequence[tuple[SarBand, DatasetReader]], noisy: bool) -> PixelSource:
    """Bands of one grid in dB, averaged as power."""
    grid = pairs[0][0].grid

    def load(window: Window) -> Image:
        """A window, with neighbours while it is decided what is noise: strips then equal the whole."""
        around, inside = _with_margin(window, grid)
        db = np.stack([_band_db(band, dataset, around) for band, dataset in pairs])
        if all(band.units == "db" for band, _ in pairs):
            db = to_db(db, "db")
        if noisy:
            db[:, border_noise.noisy(db)] = np.nan
        return as_image(db[:, inside[0], inside[1]])

    return PixelSource(grid, len(pairs), load, to_linear=_power, from_linear=partial(to_db, units="power"))


def _band_db(band: SarBand, dataset: DatasetReader, window: Window) -> Image:
    """One band (H, W) in dB; one that is stored so, as it is."""
    values = scaled(access.read(dataset, [band.index], window), band)
    if band.units == "power":
        values = backscatter.without_negative_power(values)
    return as_image((values if band.units == "db" else to_db(values, band.units))[0])


def _with_margin(window: Window, grid: Geometry) -> tuple[Window, tuple[slice, slice]]:
    """The window with a margin within the image, and where the window lies in it."""
    row, col = max(0, window.row_off - border_noise.MARGIN_PX), max(0, window.col_off - border_noise.MARGIN_PX)
    stop_row = min(grid.height, window.row_off + window.height + border_noise.MARGIN_PX)
    stop_col = min(grid.width, window.col_off + window.width + border_noise.MARGIN_PX)
    down, across = window.row_off - row, window.col_off - col
    inside = slice(down, down + window.height), slice(across, across + window.width)
    return Window(col, row, stop_col - col, stop_row - row), inside


def _power(db: Image) -> Image:
    return as_image(np.power(np.float32(10), db / 10))


def scaled(values: NDArray[np.generic], band: SarBand) -> Image:
    """Stored values as backscatter in the band's units, NaN where they are nodata; fill values may be infinite."""
    with np.errstate(over="ignore", invalid="ignore"):
        absent = values == band.nodata if band.nodata is not None else False
        scaled = values.astype(np.float32) * np.float32(band.scale) + np.float32(band.offset)
    return np.where(absent, np.float32(np.nan), scaled)
