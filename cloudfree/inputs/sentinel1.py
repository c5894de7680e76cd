"""Sentinel-1 backscatter: which band is which polarisation, in which units, and its pixels in dB on any grid."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Literal

import numpy as np
from rasterio import DatasetReader
from rasterio.windows import Window

from cloudfree.arrays import Image
from cloudfree.bands import SAR_BANDS, SAR_NOISE_DB
from cloudfree.errors import InputError
from cloudfree.grid import Grid
from cloudfree.inputs import raster
from cloudfree.inputs.displacement import Displacement
from cloudfree.inputs.resample import Source, resample

Units = Literal["db", "power", "amplitude"]

_POLARISATION = re.compile(r"(?<![a-z])(vv|vh)(?![a-z])", re.IGNORECASE)
_HYP3 = re.compile(r"_RTC\d+_[A-Z]_[gs]([pad])", re.IGNORECASE)  # ..._RTC30_G_gpuned_...: gamma0, power
_HYP3_UNITS: dict[str, Units] = {"p": "power", "a": "amplitude", "d": "db"}
_PLAUSIBLE_MEDIAN_DB = (-45.0, 10.0)
_BY_POSITION = "VV and VH: by position, for nothing names them"


@dataclass(frozen=True)
class SarBand:
    """One polarisation: a one-based band of a file, in which units it is stored, and where it lies.

    `median_db` is of the valid pixels over the scene.
    """

    path: Path
    index: int
    units: Units
    grid: Grid
    nodata: float | None
    median_db: float


@dataclass(frozen=True)
class Sentinel1:
    """Both polarisations, VV then VH; `reasons` say in words why they were taken for it."""

    vv: SarBand
    vh: SarBand
    reasons: tuple[str, ...]

    @property
    def bands(self) -> tuple[SarBand, SarBand]:
        return self.vv, self.vh

    @contextmanager
    def open(self) -> Iterator[SarReader]:
        """A reader of the image's pixels."""
        with ExitStack() as stack:
            yield SarReader([(band, stack.enter_context(raster.opened(band.path))) for band in self.bands])


class SarReader:
    """Backscatter of an open Sentinel-1 image on any grid."""

    def __init__(self, bands: list[tuple[SarBand, DatasetReader]]) -> None:
        self._sources = [_source(band, dataset) for band, dataset in bands]

    def on_grid(self, grid: Grid, displacement: Displacement | None = None) -> Image:
        """VV and VH in dB (2, H, W) on `grid`, displaced over the ground if so told; NaN where the image says nothing.

        Pixels are resampled once, whatever the displacement and the coordinate systems. Only the part of the image
        under `grid` is read. Going finer, dB are interpolated bilinearly; going coarser, power is averaged.
        """
        return resample(self._sources, grid, displacement)


def identify(
    paths: list[Path], area: Grid, units: Units | Literal["auto"] = "auto", band_numbers: tuple[int, ...] | None = None
) -> Sentinel1:
    """What one file (both polarisations) or two (one each) are, judged where they lie over `area`.

    `band_numbers` are the one-based VV and VH bands; with two files, one number each. Raises InputError or GridError.
    """
    if not 1 <= len(paths) <= 2:
        raise InputError(
            f"{len(paths)} Sentinel-1 files were given; give --sar once (VV and VH in one) or twice (one each)"
        )
    with ExitStack() as stack:
        files = [stack.enter_context(raster.opened(path)) for path in paths]
        for dataset in files:
            _refuse_complex(dataset)
        placed, why_bands = _polarisations(files, band_numbers)
        bands, reasons = [], [why_bands]
        for name, (dataset, index) in zip(SAR_BANDS, placed, strict=True):
            band, why = measure(name, dataset, index, area, units)
            bands.append(band)
            reasons.append(why)
    if why_bands == _BY_POSITION and bands[0].median_db < bands[1].median_db:
        raise InputError(
            f"by position VV has a median of {bands[0].median_db:.1f} dB and VH of {bands[1].median_db:.1f}; VV is the "
            "stronger over any land or water: say which band is which with --sar-bands VV,VH"
        )
    return Sentinel1(bands[0], bands[1], tuple(dict.fromkeys(reasons)))


def to_db(values: Image, units: Units) -> Image:
    """Stored backscatter as dB, NaN where it is no ground: zero, infinite, NaN, or under -50 dB."""
    with np.errstate(divide="ignore", invalid="ignore"):
        db = values if units == "db" else (10 if units == "power" else 20) * np.log10(values)
    invalid = ~np.isfinite(db) | (values == 0) | (db < SAR_NOISE_DB)
    return np.where(invalid, np.nan, db).astype(np.float32)


# --- which band is which polarisation ---


def _polarisations(
    files: list[DatasetReader], band_numbers: tuple[int, ...] | None
) -> tuple[list[tuple[DatasetReader, int]], str]:
    """The (file, band) of VV and of VH, and the reason."""
    if band_numbers is not None:
        return _by_number(files, band_numbers), "VV and VH: --sar-bands"
    named = {pol: [(f, i) for f in files for i in f.indexes if polarisation(f, i) == pol] for pol in SAR_BANDS}
    if all(len(places) == 1 for places in named.values()):
        return [named[pol][0] for pol in SAR_BANDS], "VV and VH: band descriptions, tags or file names"
    if any(named.values()) or sum(f.count for f in files) != 2:
        found = " and ".join(f"{Path(f.name).name} with {_listing(f)}" for f in files)
        raise InputError(
            f"VV and VH cannot be told apart in {found}; one band named VV and one named VH are needed: "
            "give both polarisations, or their band numbers with --sar-bands VV,VH"
        )
    return [(f, i) for f in files for i in f.indexes], _BY_POSITION


def _by_number(files: list[DatasetReader], numbers: tuple[int, ...]) -> list[tuple[DatasetReader, int]]:
    homes = [files[0], files[-1]]
    if len(numbers) != 2 or not all(1 <= n <= f.count for n, f in zip(numbers, homes, strict=False)):
        found = " and ".join(f"the {f.count} band(s) of {Path(f.name).name}" for f in files)
        raise InputError(
            f"--sar-bands {','.join(map(str, numbers))} does not fit {found}; two one-based numbers are needed: VV,VH"
        )
    return list(zip(homes, numbers, strict=True))


def polarisation(dataset: DatasetReader, index: int) -> str | None:
    """VV, VH or None: by description, then tag, then (for a file of one band) the file name."""
    texts = [dataset.descriptions[index - 1] or ""]
    texts += [value for key, value in dataset.tags(index).items() if key.upper().startswith("POLARI")]
    if dataset.count == 1:
        texts.append(Path(dataset.name).stem)
    for text in texts:
        found = {match.upper() for match in _POLARISATION.findall(text)}
        if len(found) == 1:
            return found.pop()
    return None


def _listing(dataset: DatasetReader) -> str:
    names = [polarisation(dataset, i) or dataset.descriptions[i - 1] or "unnamed" for i in dataset.indexes]
    return f"{dataset.count} band{'s' if dataset.count > 1 else ''} ({', '.join(names)})"


# --- in which units ---


def _refuse_complex(dataset: DatasetReader) -> None:
    if any(kind.startswith("complex") for kind in dataset.dtypes):
        raise InputError(
            f"{Path(dataset.name).name} holds complex numbers (single-look complex); detected, terrain-corrected "
            "backscatter is needed: use a GRD or RTC product"
        )


def measure(
    name: str, dataset: DatasetReader, index: int, area: Grid, units: Units | Literal["auto"]
) -> tuple[SarBand, str]:
    """One band as backscatter over `area`, and why its units were taken for what they are. `name` is for messages."""
    path, grid = Path(dataset.name), Grid.of(dataset)
    stored, _ = raster.sample_over(dataset, [index], area, "Sentinel-1")
    sample = _without_nodata(stored[0].astype(np.float32), dataset.nodata)
    found, why = (units, "--sar-units") if units != "auto" else _units(dataset, index, sample)
    db = to_db(sample, found)
    if not np.isfinite(db).any():
        raise InputError(
            f"{name} of {path.name} has no valid pixel over the scene (all zero, NaN, nodata or under {SAR_NOISE_DB:g} "
            "dB); an image that sees the ground there is needed: take another date or orbit"
        )
    median = float(np.nanmedian(db))
    if not _PLAUSIBLE_MEDIAN_DB[0] < median < _PLAUSIBLE_MEDIAN_DB[1]:
        raise InputError(
            f"{name} of {path.name} read as {found} has a median of {median:.0f} dB; calibrated backscatter lies "
            f"between {_PLAUSIBLE_MEDIAN_DB[0]:g} and {_PLAUSIBLE_MEDIAN_DB[1]:g}: calibrate it, or give --sar-units"
        )
    return SarBand(path, index, found, grid, dataset.nodata, median), f"units are {found}: {why}"


def _units(dataset: DatasetReader, index: int, sample: Image) -> tuple[Units, str]:
    """The units of a band and the reason: what the file says before what its values look like."""
    stated = f"{dataset.descriptions[index - 1] or ''} {dataset.units[index - 1] or ''}".lower()
    if re.search(r"(?<![a-z])db(?![a-z])", stated):
        return "db", "the band's description or unit says dB"
    hyp3 = _HYP3.search(Path(dataset.name).name)
    if hyp3:
        return _HYP3_UNITS[hyp3[1].lower()], "the HyP3 product name"
    return _units_by_value(Path(dataset.name).name, dataset.dtypes[index - 1], sample)


def _units_by_value(name: str, dtype: str, sample: Image) -> tuple[Units, str]:
    values = sample[np.isfinite(sample) & (sample != 0)]
    if not values.size:
        return "db", "no valid value"
    low, median, high = (float(v) for v in np.percentile(values, (0, 50, 99.9)))
    if np.issubdtype(np.dtype(dtype), np.integer) and low >= 0:
        raise InputError(
            f"{name} holds integers up to {high:.0f}: uncalibrated amplitude counts; calibrated backscatter is needed: "
            "calibrate it to sigma nought (SNAP, ASF HyP3), or give --sar-units if it is"
        )
    if low >= 0 and high < 50:
        return "power", f"all values >= 0, 99.9 % under {high:.3g}"
    if -80 < median < 0:
        return "db", f"median {median:.1f}"
    raise InputError(
        f"the units of {name} are ambiguous (minimum {low:.3g}, median {median:.3g}, 99.9th percentile {high:.3g}); "
        "dB, linear power or amplitude are known: say which with --sar-units"
    )


# --- onto a grid ---


def _source(band: SarBand, dataset: DatasetReader) -> Source:
    """One polarisation in dB, averaged as power."""

    def load(window: Window) -> Image:
        stored = raster.read(dataset, [band.index], window).astype(np.float32)
        return to_db(_without_nodata(stored, band.nodata), band.units)

    return Source(band.grid, 1, load, to_linear=_power, from_linear=partial(to_db, units="power"))


def _power(db: Image) -> Image:
    return np.power(np.float32(10), db / 10)


def _without_nodata(values: Image, nodata: float | None) -> Image:
    if nodata is not None and not np.isnan(nodata):
        values[values == np.float32(nodata)] = np.nan
    return values
