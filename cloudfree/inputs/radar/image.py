"""Sentinel-1 backscatter of one or more files, as VV and VH in dB on any grid.

`polarisation` decides which band is which and which belong together, `backscatter` in which units; here files become
frames, each scaled and freed of border noise, and frames become one image (`mosaic`). Where a user's image is VV alone,
VH is a constant that is typical of land.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from rasterio import DatasetReader
from rasterio.windows import Window

from cloudfree.arrays import Image, known_of
from cloudfree.bands import SAR_BANDS, TYPICAL_SAR_DB
from cloudfree.errors import GridError, InputError
from cloudfree.geometry.displacement import Displacement
from cloudfree.geometry.geolocation_grid import Geometry
from cloudfree.geometry.grid import Grid
from cloudfree.geometry.resample import resample
from cloudfree.inputs import acquisition
from cloudfree.inputs.decision import Decision
from cloudfree.inputs.location import containers
from cloudfree.inputs.location.source import AnyPath, Source
from cloudfree.inputs.radar import backscatter, border_noise, polarisation
from cloudfree.inputs.radar.backscatter import Sample, Units, to_db
from cloudfree.inputs.radar.frame import Frame, SarBand, pieces_of, scaled
from cloudfree.inputs.radar.mosaic import Coverage, Mosaic, edge_distances
from cloudfree.inputs.radar.polarisation import Band, Chosen, Pair
from cloudfree.inputs.radar.safe.layout import find_safe
from cloudfree.inputs.radar.safe.product import SafeDataset, geometry_of, opened_radar
from cloudfree.inputs.raster import access, sample

log = logging.getLogger(__name__)

_NEEDED = "detected, terrain-corrected backscatter is needed: use a GRD or RTC product, not single-look complex"


@dataclass(frozen=True)
class SarOptions:
    """Options for reading radar images; None means: take it from the file."""

    units: Units | Literal["auto"] = "auto"
    """Units of the scaled values; "auto" is decided by what files state and by the values."""
    band_numbers: tuple[int, ...] | None = None
    """One-based VV and VH bands of each file, or of two files one number each."""
    scale: float | None = None
    """Stored values times `scale` plus `offset` are backscatter."""
    offset: float | None = None
    allow_hh_hv: bool = False
    """Take HH for VV and HV for VH."""


@dataclass(frozen=True)
class Sentinel1:
    """VV and VH of one frame or several, or VV alone; `reasons` say why they were taken for it."""

    frames: tuple[Frame, ...]
    reasons: tuple[Decision, ...]

    @property
    def bands(self) -> tuple[SarBand, ...]:
        return tuple(band for frame in self.frames for _, band in frame.numbered)

    @property
    def vv(self) -> SarBand:
        """Of the first frame that has it."""
        return next(frame.vv for frame in self.frames if frame.vv)

    @property
    def vh(self) -> SarBand | None:
        """Of the first frame that has it; None where all are VV alone."""
        return next((frame.vh for frame in self.frames if frame.vh), None)

    @contextmanager
    def open(self) -> Iterator[SarReader]:
        """A reader of the image's pixels."""
        with ExitStack() as stack:
            paths = dict.fromkeys(band.path for band in self.bands)
            yield SarReader(self, {path: stack.enter_context(opened_radar(path)) for path in paths})


class SarReader:
    """Backscatter of an open Sentinel-1 image on any grid."""

    def __init__(self, image: Sentinel1, datasets: Mapping[Source, DatasetReader]) -> None:
        pieces = [piece for frame in image.frames for piece in pieces_of(frame, datasets)]
        bands = 2 if image.vh else 1
        whole = len(pieces) == 1 and pieces[0].bands == tuple(range(bands))
        self._image = pieces[0].source if whole else Mosaic(pieces, bands)

    def on_grid(
        self,
        grid: Grid,
        displacement: Displacement | None = None,
        columns: NDArray[np.bool_] | None = None,
        all_cores: bool = False,
    ) -> Image:
        """VV and VH in dB (2, H, W) on `grid`, moved over the ground by a displacement; NaN where the image is invalid.

        Pixels are resampled once, whatever the displacement and the coordinate systems. Only the part of the image
        under `grid` is read, on all cores if `all_cores`. Onto a finer grid dB are interpolated bilinearly, onto a
        coarser one power is averaged. Bands of one grid are valid together. Several frames are joined as in `mosaic`.
        Where an image is VV alone, VH is `TYPICAL_SAR_DB` wherever VV is valid. Where `columns` (W,) are given, the
        others may be NaN.
        """
        db = resample([self._image], grid, displacement, columns=columns, all_cores=all_cores)
        if len(db) == len(SAR_BANDS):
            return db
        typical = np.where(np.isfinite(db), np.float32(TYPICAL_SAR_DB[1]), np.float32(np.nan))
        return np.concatenate([db, typical])


def identify_sar(paths: Sequence[AnyPath], area: Geometry, options: SarOptions | None = None) -> Sentinel1:
    """Identify the files of a radar image, both polarisations or one in each, by what they show of `area`.

    A file is a raster, or a SAFE product of ESA's (a folder, its manifest.safe, a zip, or one of its measurements), or
    a container of one raster of each polarisation. As many as cover `area`; those that show nothing of it are warned of
    and left out. Raises InputError or GridError.
    """
    options = options or SarOptions()
    if not paths:
        raise InputError("no Sentinel-1 file is given; one at least is needed: give --sar, as often as needed")
    sources, chosen_files = _unpacked(paths)
    with ExitStack() as stack:
        datasets = _over([stack.enter_context(opened_radar(source)) for source in sources], area)
        bands = polarisation.choose(datasets, options.band_numbers, options.allow_hh_hv)
        image = _joined(bands, area, options)
        return replace(image, reasons=(*image.reasons, *chosen_files))


def _unpacked(paths: Sequence[AnyPath]) -> tuple[list[Source], list[Decision]]:
    """The rasters and products that are given, containers looked into. Raises InputError where one is given twice."""
    sources: list[Source] = []
    reasons: list[Decision] = []
    for path in map(Source.of, paths):
        rasters, why = ([path], ()) if find_safe(path) else containers.radar(path)
        for source in rasters:
            if source.resolved() in {other.resolved() for other in sources}:
                raise InputError(f"{source} is given twice with --sar; each file is needed once: leave one out")
        sources += rasters
        reasons += why
    return sources, reasons


def _over(datasets: Sequence[DatasetReader], area: Geometry) -> list[DatasetReader]:
    """The files that overlap `area`; the others are warned of. Raises GridError where of several none does."""
    for dataset in datasets:
        access.refuse_complex(dataset, _NEEDED)
    if len(datasets) == 1:
        return list(datasets)  # whose sample will tell
    kept = [dataset for dataset in datasets if geometry_of(dataset).overlap_share(area) > 0]
    if not kept:
        raise GridError(
            f"{acquisition.listing([dataset.source.name for dataset in datasets])} do not overlap the scene; "
            "Sentinel-1 over the same ground is needed: compare the footprints with cloudfree info"
        )
    for dataset in datasets:
        if dataset not in kept:
            log.warning("%s does not overlap the scene, and is left out", dataset.source.name)
    return kept


def _joined(chosen: Chosen, area: Geometry, options: SarOptions) -> Sentinel1:
    """The image that the chosen bands are together, each frame by its own values over `area`."""
    sampled = [_sampled(pair, area, options) for pair in polarisation.pairs(chosen)]
    kept = [pair for pair in sampled if len(sampled) == 1 or not backscatter.are_blank(pair.samples)]
    if not kept:
        raise InputError(
            f"{acquisition.listing([pair.file for pair in sampled])} have no valid pixel over the scene; images that "
            "see the ground there are needed: take other frames, or another date or orbit"
        )
    for pair in sampled:
        if pair not in kept:
            log.warning("%s has no valid pixel over the scene, and is left out", pair.file)
    reasons = [chosen.decision]
    frames, coverages = [], []
    for pair in kept:
        frame, coverage, why_frame = _measured(pair, _borrowed(pair, kept), chosen.decision, options)
        prefix = f"{pair.file}: " if len(kept) > 1 else ""
        reasons += [replace(reason, what=prefix + reason.what) for reason in why_frame]
        reasons += _calibrated([band for _, band in pair.bands], area)
        frames.append(frame)
        coverages.append(coverage)
    if len(frames) > 1 and isinstance(area, Grid):
        edges = edge_distances(area, coverages)
        frames = [replace(frame, edge=edge) for frame, edge in zip(frames, edges, strict=True)]
    image = Sentinel1(tuple(frames), ())
    return replace(image, reasons=tuple(dict.fromkeys([*reasons, *_together(image)])))


@dataclass(frozen=True, eq=False)
class _SampledPair:
    """Bands that belong together, by polarisation; as they are stored, and a sample of each over a window."""

    bands: list[tuple[str, Band]]
    stored: list[SarBand]
    samples: list[Sample]
    window: Window

    @property
    def file(self) -> str:
        """The name of the first, by which a user knows the other."""
        return self.bands[0][1].file


def _sampled(pair: Pair, area: Geometry, options: SarOptions) -> _SampledPair:
    stored = [_stored(band, options) for _, band in pair.named]
    looks = [_sample(name, band, area, sar_band) for (name, band), sar_band in zip(pair.named, stored, strict=True)]
    return _SampledPair(pair.named, stored, [values for values, _ in looks], looks[0][1])


def _borrowed(pair: _SampledPair, others: Sequence[_SampledPair]) -> list[Sample]:
    """A sample of the other polarisation for a frame of one that states no units, of another such frame if possible.

    One polarisation alone can be power or amplitude, and what is given together mostly has one unit.
    """
    own = pair.samples[0]
    if len(pair.samples) > 1 or len(own.allowed) == 1:
        return []
    ranked = sorted(others, key=lambda other: len(other.samples))
    return [sample for other in ranked for sample in other.samples if sample.name != own.name][:1]


def _measured(
    pair: _SampledPair, borrowed: list[Sample], which: Decision, options: SarOptions
) -> tuple[Frame, Coverage, list[Decision]]:
    """A frame in the units of its values, both polarisations together; where it has data; and why it is that."""
    _refuse_swapped(which, pair.samples)
    samples = sorted([*pair.samples, *borrowed], key=lambda sample: SAR_BANDS.index(sample.name))
    units, why = backscatter.decide(samples, options.units)
    named = {
        name: replace(stored, units=units, median_db=backscatter.median_of(sample_of_band, units))
        for (name, _), stored, sample_of_band in zip(pair.bands, pair.stored, pair.samples, strict=True)
    }
    db = [to_db(sample_of_band.values[None], units)[0] for sample_of_band in pair.samples]
    noise = border_noise.share_of(db)
    reasons = [why, *_scaling(list(named.values()), options), *_cut(pair.file, noise)]
    frame = Frame(named.get(SAR_BANDS[0]), named.get(SAR_BANDS[1]), noise > 0)
    known = known_of(np.stack(db)) if len({band.shape for band in db}) == 1 else np.isfinite(db[0])
    numbers = frozenset(number for number, _ in frame.numbered)
    return frame, Coverage(pair.stored[0].grid, pair.window, known, numbers), reasons


def one_polarisation(dataset: DatasetReader, area: Geometry) -> tuple[SarBand, tuple[Decision, ...]]:
    """A file of one band, of whichever polarisation, as backscatter over `area`. Raises InputError or GridError."""
    access.refuse_complex(dataset, _NEEDED)
    band, options = Band(dataset, 1), SarOptions()
    name = band.polarisation
    stored = _stored(band, options)
    values, _ = _sample(name or SAR_BANDS[0], band, area, stored)
    units, why = backscatter.decide([values], options.units)
    measured = replace(stored, units=units, median_db=backscatter.median_of(values, units))
    which = Decision(name or "polarisation unknown", "description, tag or file name" if name else "nothing names it")
    when = acquisition.described([(band.file, measured.acquired)])
    return measured, (which, why, *_scaling([measured], options), *_calibrated([band], area), *when)


def _refuse_swapped(which: Decision, samples: Sequence[Sample]) -> None:
    """Raise InputError where bands without names are in the wrong order: VV is the stronger in all units."""
    if which.why != polarisation.BY_POSITION:
        return
    vv, vh = backscatter.stored_medians(samples).values()
    if vv < vh:
        raise InputError(
            f"by position VV has a median of {vv:.3g} and VH of {vh:.3g}; VV is the stronger over any land or water: "
            "say which band is which with --sar-bands VV,VH"
        )


# --- stored values ---


def _stored(band: Band, options: SarOptions) -> SarBand:
    """A band with the scale of the options, or else the file's; its units and median are not known yet."""
    dataset, at = band.dataset, band.number - 1
    return SarBand(
        path=dataset.source,
        index=band.number,
        units="db",
        grid=geometry_of(dataset),
        nodata=dataset.nodatavals[at],
        median_db=np.nan,
        scale=dataset.scales[at] if options.scale is None else options.scale,
        offset=dataset.offsets[at] if options.offset is None else options.offset,
        files=dataset.files if isinstance(dataset, SafeDataset) else (dataset.source,),
        acquired=acquisition.of(dataset, band.number),
    )


def _sample(name: str, band: Band, area: Geometry, stored: SarBand) -> tuple[Sample, Window]:
    """A thinned sample of a band over `area`, with what its file says of its units; and its window."""
    values, window = sample.over(band.dataset, (band.number,), stored.grid, area, "Sentinel-1")
    plain = np.issubdtype(values.dtype, np.integer) and (stored.scale, stored.offset) == (1, 0)
    stated = backscatter.stated(band.dataset, band.number)
    return Sample(name, band.file, plain, scaled(values[0], stored), *stated), window


def _scaling(bands: Sequence[SarBand], options: SarOptions) -> Iterator[Decision]:
    for band in bands:
        if (band.scale, band.offset) != (1, 0):
            by_option = options.scale is not None or options.offset is not None
            why = "--sar-scale and --sar-offset" if by_option else f"the scale tag of {band.path.name}"
            yield Decision(f"stored values times {band.scale:g} plus {band.offset:g}", why, "--sar-scale")


def _calibrated(bands: Sequence[Band], area: Geometry) -> Iterator[Decision]:
    """How counts of a SAFE product became backscatter, and its flaws, logged as warnings too."""
    for product in dict.fromkeys(band.dataset for band in bands if isinstance(band.dataset, SafeDataset)):
        yield product.calibrated
        yield from _warned(product.flaws(area))


# --- what a user should know of, and a product say, logged as warnings too ---


def _warned(decisions: Iterable[Decision | None]) -> Iterator[Decision]:
    for decision in decisions:
        if decision:
            log.warning("%s", decision)
            yield decision


def _cut(file: str, noise: float) -> Iterator[Decision]:
    if noise:
        why = f"a strip at an edge of {file} is under {border_noise.LIMIT_DB:g} dB in all polarisations"
        yield from _warned([Decision(f"border noise is cut, {100 * noise:.1f} % of the scene", why)])


def _together(image: Sentinel1) -> Iterator[Decision]:
    """How the frames are joined, when they were taken, and what one of them lacks."""
    stated = [(band.path.name, band.acquired) for band in image.bands]
    if len(image.frames) > 1:
        names = list(dict.fromkeys(name for name, _ in stated))
        yield Decision(
            f"a mosaic of {len(image.frames)} frames",
            f"{acquisition.listing(names)} are given; in overlaps the one whose edge is farther away is shown",
        )
    yield from acquisition.described(stated)
    yield from _warned([acquisition.mixture(stated), *_lacking(image)])


def _lacking(image: Sentinel1) -> Iterator[Decision]:
    if image.vh is None:
        names = acquisition.listing(list(dict.fromkeys(band.path.name for band in image.bands)))
        are = "is" if len(image.bands) == 1 else "are"
        why = f"{names} {are} VV alone, which tells a network less of the ground"
        yield Decision(f"VH stands at {TYPICAL_SAR_DB[1]:g} dB", why)
        return
    alone = [band.path.name for frame in image.frames if len(frame.numbered) == 1 for _, band in frame.numbered]
    if alone:
        yield Decision(
            "ground that no file shows in the other polarisation counts as unseen by radar",
            f"{acquisition.listing(alone)} has no file of the other polarisation that belongs to it",
        )
