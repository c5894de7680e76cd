"""Sentinel-1 backscatter: what files hold which polarisation in which units, and its pixels in dB on any grid.

`polarisation` decides which band is which, `backscatter` in which units; here files become one image, are scaled, freed
of border noise, and read. Where a user's image is VV alone, VH stands at what is typical of land.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray
from rasterio import DatasetReader
from rasterio.windows import Window
from scipy import ndimage

from cloudfree.arrays import Image, Mask, as_image, known_of
from cloudfree.bands import SAR_BANDS, TYPICAL_SAR_DB
from cloudfree.errors import InputError
from cloudfree.grid import Grid
from cloudfree.inputs import backscatter, polarisation, raster, safe
from cloudfree.inputs.backscatter import Sample, Units, to_db
from cloudfree.inputs.decision import Decision
from cloudfree.inputs.displacement import Displacement
from cloudfree.inputs.geolocation_grid import Geometry
from cloudfree.inputs.polarisation import Band, Chosen
from cloudfree.inputs.resample import Source, resample
from cloudfree.inputs.safe import SafeDataset

log = logging.getLogger(__name__)

_MARGIN_PX = 3  # of an image's pixels around a window: what is decided of a pixel by its neighbours
_NOISE_PX = 2 * _MARGIN_PX + 1
_BORDER_NOISE_DB = -30.0  # Earth Engine's guide to Sentinel-1 masks edges by this limit
_BAND_SHARE = 0.5  # of the scene's height or width, that a strip of border noise spans


class Told(NamedTuple):
    """What a user may say of an image: see the options --sar-bands, --sar-units, --sar-scale and so on."""

    units: Units | Literal["auto"] = "auto"
    band_numbers: tuple[int, ...] | None = None
    scale: float | None = None
    offset: float | None = None
    allow_hh_hv: bool = False


@dataclass(frozen=True)
class SarBand:
    """One polarisation of one file: a one-based band, how it is stored, and where it lies.

    Stored values times `scale` plus `offset` are in `units`, but for `nodata`, which is compared as stored. `median_db`
    is of the valid pixels over the scene. `files` are those on disk that are read: of a SAFE product several.
    """

    path: Path
    index: int
    units: Units
    grid: Geometry
    nodata: float | None
    median_db: float
    scale: float = 1.0
    offset: float = 0.0
    files: tuple[Path, ...] = ()


@dataclass(frozen=True)
class Sentinel1:
    """VV and VH of an image, or VV alone (`vh` None); `reasons` say why they were taken for it.

    `border_noise` tells that a strip at an edge is the instrument's noise, which is no ground.
    """

    vv: SarBand
    vh: SarBand | None
    reasons: tuple[Decision, ...]
    border_noise: bool = False

    @property
    def bands(self) -> tuple[SarBand, ...]:
        return (self.vv, self.vh) if self.vh else (self.vv,)

    @contextmanager
    def open(self) -> Iterator[SarReader]:
        """A reader of the image's pixels."""
        with ExitStack() as stack:
            paths = dict.fromkeys(band.path for band in self.bands)
            datasets = {path: stack.enter_context(safe.opened(path)) for path in paths}
            yield SarReader(self, [datasets[band.path] for band in self.bands])


class SarReader:
    """Backscatter of an open Sentinel-1 image on any grid."""

    def __init__(self, image: Sentinel1, datasets: Sequence[DatasetReader]) -> None:
        pairs = list(zip(image.bands, datasets, strict=True))
        together = len({band.grid for band in image.bands}) == 1
        groups = [pairs] if together else [[pair] for pair in pairs]
        self._sources = [_source(group, image.border_noise) for group in groups]

    def on_grid(self, grid: Grid, displacement: Displacement | None = None) -> Image:
        """VV and VH in dB (2, H, W) on `grid`, displaced over the ground if so told; NaN where the image says nothing.

        Pixels are resampled once, whatever the displacement and the coordinate systems. Only the part of the image
        under `grid` is read. Going finer, dB are interpolated bilinearly; going coarser, power is averaged. Bands of
        one grid are valid together. Where an image is VV alone, VH is `TYPICAL_SAR_DB` wherever VV is valid.
        """
        found = resample(self._sources, grid, displacement)
        if len(found) == len(SAR_BANDS):
            return found
        typical = np.where(np.isfinite(found), np.float32(TYPICAL_SAR_DB[1]), np.float32(np.nan))
        return np.concatenate([found, typical])


def identify(
    paths: Sequence[Path],
    area: Geometry,
    units: Units | Literal["auto"] = "auto",
    band_numbers: tuple[int, ...] | None = None,
    scale: float | None = None,
    offset: float | None = None,
    allow_hh_hv: bool = False,
) -> Sentinel1:
    """What one file (both polarisations, or VV) or two (one each) are, judged where they lie over `area`.

    A file is a raster, or a SAFE product of ESA's (a folder, its manifest.safe, a zip, or one of its measurements).
    `band_numbers` are the one-based VV and VH bands; with two files, one number each. Stored values times `scale` plus
    `offset` are backscatter; None is what the file says. Raises InputError or GridError.
    """
    if not 1 <= len(paths) <= 2:
        raise InputError(
            f"{len(paths)} Sentinel-1 files were given; give --sar once (VV and VH in one) or twice (one each)"
        )
    with ExitStack() as stack:
        files = [stack.enter_context(safe.opened(path)) for path in paths]
        for dataset in files:
            _refuse_complex(dataset)
        chosen = polarisation.choose(files, band_numbers, allow_hh_hv)
        if len(chosen.vv) > 1 or len(chosen.vh) > 1:
            raise InputError(
                f"{' and '.join(path.name for path in paths)} hold one polarisation twice; one image is needed: "
                "mosaic them first (gdalbuildvrt), or leave one out"
            )
        return _measured(chosen, area, Told(units, band_numbers, scale, offset, allow_hh_hv))


def _measured(chosen: Chosen, area: Geometry, told: Told) -> Sentinel1:
    """The image that the chosen bands are, by their values over `area`."""
    bands = [*chosen.vv, *chosen.vh]
    stored = [_stored(band, told) for band in bands]
    samples = [_sample(name, band, area, each) for name, band, each in zip(SAR_BANDS, bands, stored, strict=False)]
    _refuse_swapped(chosen, samples)
    units, why = backscatter.decide(samples, told.units)
    found = [
        replace(each, units=units, median_db=backscatter.median_of(sample, units))
        for each, sample in zip(stored, samples, strict=True)
    ]
    noise = _border_noise([to_db(sample.values[None], units)[0] for sample in samples])
    reasons = (chosen.decision, why, *_scaling(bands, found, told), *_calibrated(bands, area), *_warned(found, noise))
    return Sentinel1(found[0], found[1] if chosen.vh else None, tuple(dict.fromkeys(reasons)), noise > 0)


def one_polarisation(dataset: DatasetReader, area: Geometry) -> tuple[SarBand, tuple[Decision, ...]]:
    """A file of one band, of whichever polarisation, as backscatter over `area`."""
    _refuse_complex(dataset)
    band = Band(dataset, 1)
    name = band.polarisation
    stored = _stored(band, Told())
    sample = _sample(name or SAR_BANDS[0], band, area, stored)
    units, why = backscatter.decide([sample], "auto")
    found = replace(stored, units=units, median_db=backscatter.median_of(sample, units))
    which = Decision(name or "polarisation unknown", "description, tag or file name" if name else "nothing names it")
    return found, (which, why, *_scaling([band], [found], Told()), *_calibrated([band], area))


def _refuse_complex(dataset: DatasetReader) -> None:
    if any(kind.startswith("complex") for kind in dataset.dtypes):
        raise InputError(
            f"{Path(dataset.name).name} holds complex numbers (single-look complex); detected, terrain-corrected "
            "backscatter is needed: use a GRD or RTC product"
        )


def _refuse_swapped(chosen: Chosen, samples: Sequence[Sample]) -> None:
    """InputError where bands that nothing names are in the wrong order: VV is the stronger in all units."""
    if chosen.decision.why != polarisation.BY_POSITION:
        return
    vv, vh = backscatter.stored_medians(samples).values()
    if vv < vh:
        raise InputError(
            f"by position VV has a median of {vv:.3g} and VH of {vh:.3g}; VV is the stronger over any land or water: "
            "say which band is which with --sar-bands VV,VH"
        )


# --- stored values ---


def _stored(band: Band, told: Told) -> SarBand:
    """A band with the scale that is told, or else the file's; its units and median are not known yet."""
    dataset, at = band.dataset, band.number - 1
    scale = dataset.scales[at] if told.scale is None else told.scale
    offset = dataset.offsets[at] if told.offset is None else told.offset
    path, nodata = Path(dataset.name), dataset.nodatavals[at]
    files = dataset.files if isinstance(dataset, SafeDataset) else (path,)
    return SarBand(path, band.number, "db", safe.geometry_of(dataset), nodata, np.nan, scale, offset, files)


def _sample(name: str, band: Band, area: Geometry, stored: SarBand) -> Sample:
    """The band's values over `area`, thinned, and what its file says of them. `name` is for messages."""
    window = raster.window_over(band.dataset, stored.grid, area, "Sentinel-1")
    values = raster.read(band.dataset, [band.number], window, raster.sampled(window))
    plain = np.issubdtype(values.dtype, np.integer) and (stored.scale, stored.offset) == (1, 0)
    return Sample(name, band.file, plain, _scaled(values[0], stored), *backscatter.stated(band.dataset, band.number))


def _scaled(values: NDArray[np.generic], band: SarBand) -> Image:
    """Stored values as backscatter in the band's units, NaN where they are nodata; fill values may be infinite."""
    with np.errstate(over="ignore"):
        absent = values == band.nodata if band.nodata is not None else False
        scaled = values.astype(np.float32) * np.float32(band.scale) + np.float32(band.offset)
    return np.where(absent, np.float32(np.nan), scaled)


def _scaling(bands: Sequence[Band], found: Sequence[SarBand], told: Told) -> Iterator[Decision]:
    for band, each in zip(bands, found, strict=True):
        if (each.scale, each.offset) != (1, 0):
            by_option = told.scale is not None or told.offset is not None
            why = "--sar-scale and --sar-offset" if by_option else f"the scale tag of {band.file}"
            yield Decision(f"stored values times {each.scale:g} plus {each.offset:g}", why, "--sar-scale")


def _calibrated(bands: Sequence[Band], area: Geometry) -> Iterator[Decision]:
    """How counts of a SAFE product became backscatter, and what a user should know of that, logged as warnings."""
    for product in dict.fromkeys(band.dataset for band in bands if isinstance(band.dataset, SafeDataset)):
        yield product.calibrated
        for doubt in product.doubts(area):
            log.warning("%s", doubt)
            yield doubt


# --- what is no ground at the edges, and what is missing ---


def _warned(found: Sequence[SarBand], noise: float) -> Iterator[Decision]:
    """What a user should know of, and a product say, logged as warnings."""
    name = found[0].path.name
    if len(found) == 1:
        alone = Decision(
            f"VH stands at {TYPICAL_SAR_DB[1]:g} dB", f"{name} is VV alone, which tells a network less of the ground"
        )
        log.warning("%s", alone)
        yield alone
    if noise:
        cut = Decision(
            f"border noise is cut, {100 * noise:.1f} % of the scene",
            f"a strip at an edge of {name} is under {_BORDER_NOISE_DB:g} dB in all polarisations",
        )
        log.warning("%s", cut)
        yield cut


def _noisy(db: Image) -> Mask:
    """Where most of 7 x 7 pixels of an image (bands, H, W) are as low as noise in all bands."""
    with np.errstate(invalid="ignore"):
        low = (db < _BORDER_NOISE_DB).all(axis=0).astype(np.float32)
    return np.asarray(ndimage.uniform_filter(low, _NOISE_PX, mode="nearest") > 0.5)


def _border_noise(db: Sequence[Image]) -> float:
    """The share of a sample that strips of noise at its edges, or at those of the valid pixels, take up.

    A strip spans at least half of the sample's height or width: a calm lake does not.
    """
    if len({band.shape for band in db}) > 1:
        return 0.0
    image = np.stack(db)
    noisy = _noisy(image) & known_of(image)
    outside = ndimage.binary_dilation(np.pad(~known_of(image), 1, constant_values=True), iterations=_NOISE_PX)
    parts, _ = ndimage.label(noisy)
    share = 0.0
    for number, place in enumerate(ndimage.find_objects(parts), 1):
        part = parts == number
        spans = max((s.stop - s.start) / length for s, length in zip(place, part.shape, strict=True))
        if spans >= _BAND_SHARE and (part & outside[1:-1, 1:-1]).any():
            share += float(part.mean())
    return share


# --- onto a grid ---


def _source(pairs: Sequence[tuple[SarBand, DatasetReader]], border_noise: bool) -> Source:
    """Bands of one grid in dB, averaged as power."""
    grid = pairs[0][0].grid

    def load(window: Window) -> Image:
        """A window, with neighbours while it is decided what is noise: strips then equal the whole."""
        around, inside = _with_margin(window, grid)
        db = np.stack([_band_db(band, dataset, around) for band, dataset in pairs])
        if all(band.units == "db" for band, _ in pairs):
            db = to_db(db, "db")
        if border_noise:
            db[:, _noisy(db)] = np.nan
        return as_image(db[:, inside[0], inside[1]])

    return Source(grid, len(pairs), load, to_linear=_power, from_linear=partial(to_db, units="power"))


def _band_db(band: SarBand, dataset: DatasetReader, window: Window) -> Image:
    """One band (H, W) in dB; one that is stored so, as it is."""
    values = _scaled(raster.read(dataset, [band.index], window), band)
    if band.units == "power":
        values = backscatter.without_negative_power(values)
    return as_image((values if band.units == "db" else to_db(values, band.units))[0])


def _with_margin(window: Window, grid: Geometry) -> tuple[Window, tuple[slice, slice]]:
    """The window with a margin within the image, and where the window lies in it."""
    row, col = max(0, window.row_off - _MARGIN_PX), max(0, window.col_off - _MARGIN_PX)
    stop_row = min(grid.height, window.row_off + window.height + _MARGIN_PX)
    stop_col = min(grid.width, window.col_off + window.width + _MARGIN_PX)
    down, across = window.row_off - row, window.col_off - col
    inside = slice(down, down + window.height), slice(across, across + window.width)
    return Window(col, row, stop_col - col, stop_row - row), inside


def _power(db: Image) -> Image:
    return as_image(np.power(np.float32(10), db / 10))
