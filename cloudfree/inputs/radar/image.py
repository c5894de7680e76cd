"""Sentinel-1 backscatter: what files hold which polarisation in which units, and its pixels in dB on any grid.

`polarisation` decides which band is which and which belong together, `backscatter` in which units; here files become
frames, each scaled and freed of border noise, and frames one image (`mosaic`). Where a user's image is VV alone, VH
stands at what is typical of land.
"""

from __future__ import annotations

import itertools
import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from typing import Literal, NamedTuple

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
from cloudfree.inputs.radar.safe.product import SafeDataset, find_safe, geometry_of, opened_radar
from cloudfree.inputs.raster import access

log = logging.getLogger(__name__)


class SarOptions(NamedTuple):
    """What a user may say of an image: see the options --sar-bands, --sar-units, --sar-scale and so on."""

    units: Units | Literal["auto"] = "auto"
    band_numbers: tuple[int, ...] | None = None
    scale: float | None = None
    offset: float | None = None
    allow_hh_hv: bool = False


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
        """VV and VH in dB (2, H, W) on `grid`, displaced over the ground if so told; NaN where the image says nothing.

        Pixels are resampled once, whatever the displacement and the coordinate systems. Only the part of the image
        under `grid` is read, on `all_cores` if so told. Going finer, dB are interpolated bilinearly; going coarser,
        power is averaged. Bands of one grid are valid together. Several frames are joined as `mosaic` says. Where an
        image is VV alone, VH is `TYPICAL_SAR_DB` wherever VV is valid. Of a wide grid some `columns` (W,) may be all
        that is wanted: then others may be NaN.
        """
        found = resample([self._image], grid, displacement, columns=columns, all_cores=all_cores)
        if len(found) == len(SAR_BANDS):
            return found
        typical = np.where(np.isfinite(found), np.float32(TYPICAL_SAR_DB[1]), np.float32(np.nan))
        return np.concatenate([found, typical])


def identify_sar(
    paths: Sequence[AnyPath],
    area: Geometry,
    units: Units | Literal["auto"] = "auto",
    band_numbers: tuple[int, ...] | None = None,
    scale: float | None = None,
    offset: float | None = None,
    allow_hh_hv: bool = False,
) -> Sentinel1:
    """What files are, of both polarisations or of one each, as many as cover `area`, judged where they lie over it.

    A file is a raster, or a SAFE product of ESA's (a folder, its manifest.safe, a zip, or one of its measurements), or
    a container of one raster of each polarisation. Of several, those that show nothing of `area` are warned of and left
    out. `band_numbers` are the one-based VV and VH bands of each file, or of two files one number each. Stored values
    times `scale` plus `offset` are backscatter; None is what the file says. Raises InputError or GridError.
    """
    told = SarOptions(units, band_numbers, scale, offset, allow_hh_hv)
    if not paths:
        raise InputError("no Sentinel-1 file is given; one at least is needed: give --sar, as often as needed")
    sources, taken = _unpacked(paths)
    with ExitStack() as stack:
        files = _over([stack.enter_context(opened_radar(source)) for source in sources], area)
        chosen = polarisation.choose(files, band_numbers, allow_hh_hv)
        image = _joined(chosen, area, told)
        return replace(image, reasons=(*image.reasons, *taken))


def _unpacked(paths: Sequence[AnyPath]) -> tuple[list[Source], list[Decision]]:
    """The rasters and products that are given, containers looked into. Raises InputError where one is given twice."""
    sources: list[Source] = []
    reasons: list[Decision] = []
    for told in map(Source.of, paths):
        found, why = ([told], ()) if find_safe(told) else containers.radar(told)
        for source in found:
            if source.resolved() in {other.resolved() for other in sources}:
                raise InputError(f"{source} is given twice with --sar; each file is needed once: leave one out")
        sources += found
        reasons += why
    return sources, reasons


def _over(files: Sequence[DatasetReader], area: Geometry) -> list[DatasetReader]:
    """Those of the files that overlap `area`; the others are warned of. GridError where there are several, and none."""
    for dataset in files:
        _refuse_complex(dataset)
    if len(files) == 1:
        return list(files)  # whose samples will tell
    kept = [dataset for dataset in files if geometry_of(dataset).overlap_share(area) > 0]
    if not kept:
        raise GridError(
            f"{acquisition.listing([file.source.name for file in files])} do not overlap the scene; Sentinel-1 "
            "over the same ground is needed: compare the footprints with cloudfree info"
        )
    for dataset in files:
        if dataset not in kept:
            log.warning("%s does not overlap the scene, and is left out", dataset.source.name)
    return kept


def _joined(chosen: Chosen, area: Geometry, told: SarOptions) -> Sentinel1:
    """The image that the chosen bands are together, each frame by its own values over `area`."""
    sampled = [_sampled(pair, area, told) for pair in polarisation.pairs(chosen)]
    blind = [len(sampled) > 1 and backscatter.says_nothing(each.samples) for each in sampled]
    if all(blind):
        raise InputError(
            f"{acquisition.listing([each.file for each in sampled])} have no valid pixel over the scene; images that "
            "see the ground there are needed: take other frames, or another date or orbit"
        )
    for each in itertools.compress(sampled, blind):
        log.warning("%s has no valid pixel over the scene, and is left out", each.file)
    kept = [each for each, sees_nothing in zip(sampled, blind, strict=True) if not sees_nothing]
    reasons = [chosen.decision]
    frames, coverages = [], []
    for each in kept:
        frame, coverage, found = _measured(each, _borrowed(each, kept), chosen.decision, told)
        several = f"{each.file}: " if len(kept) > 1 else ""
        reasons += [replace(reason, what=several + reason.what) for reason in found]
        reasons += _calibrated([band for _, band in each.pair.named], area)
        frames.append(frame)
        coverages.append(coverage)
    if len(frames) > 1 and isinstance(area, Grid):
        edges = edge_distances(area, coverages)
        frames = [replace(frame, edge=edge) for frame, edge in zip(frames, edges, strict=True)]
    image = Sentinel1(tuple(frames), ())
    return replace(image, reasons=tuple(dict.fromkeys([*reasons, *_together(image)])))


class _Sampled(NamedTuple):
    """Bands that belong together, as stored, and what they hold over a scene."""

    pair: Pair
    stored: list[SarBand]
    samples: list[Sample]
    window: Window

    @property
    def file(self) -> str:
        """The name of the first, by which a user knows the other."""
        return self.pair.named[0][1].file


def _sampled(pair: Pair, area: Geometry, told: SarOptions) -> _Sampled:
    stored = [_stored(band, told) for _, band in pair.named]
    samples = [_sample(name, band, area, each) for (name, band), each in zip(pair.named, stored, strict=True)]
    first = pair.named[0][1].dataset
    return _Sampled(pair, stored, samples, access.window_over(first, stored[0].grid, area, "Sentinel-1"))


def _borrowed(each: _Sampled, others: Sequence[_Sampled]) -> list[Sample]:
    """For the units of a frame of one polarisation that states none: values of the other, of a frame like it if any.

    One polarisation alone can be power or amplitude, and what is given together mostly has one unit.
    """
    own = each.samples[0]
    if len(each.samples) > 1 or len(own.allowed) == 1:
        return []
    ranked = sorted(others, key=lambda other: len(other.samples))
    return [sample for other in ranked for sample in other.samples if sample.name != own.name][:1]


def _measured(
    each: _Sampled, borrowed: list[Sample], which: Decision, told: SarOptions
) -> tuple[Frame, Coverage, list[Decision]]:
    """A frame by its values, both polarisations together, where it has data, and why it is that."""
    _refuse_swapped(which, each.samples)
    units, why = backscatter.decide(
        sorted([*each.samples, *borrowed], key=lambda s: SAR_BANDS.index(s.name)), told.units
    )
    found = {
        name: replace(stored, units=units, median_db=backscatter.median_of(sample, units))
        for (name, _), stored, sample in zip(each.pair.named, each.stored, each.samples, strict=True)
    }
    db = [to_db(sample.values[None], units)[0] for sample in each.samples]
    noise = border_noise.share_of(db)
    bands = [band for _, band in each.pair.named]
    reasons = [why, *_scaling(bands, list(found.values()), told), *_cut(each.file, noise)]
    frame = Frame(found.get(SAR_BANDS[0]), found.get(SAR_BANDS[1]), noise > 0)
    known = known_of(np.stack(db)) if len({band.shape for band in db}) == 1 else np.isfinite(db[0])
    numbers = frozenset(number for number, _ in frame.numbered)
    return frame, Coverage(each.stored[0].grid, each.window, known, numbers), reasons


def one_polarisation(dataset: DatasetReader, area: Geometry) -> tuple[SarBand, tuple[Decision, ...]]:
    """A file of one band, of whichever polarisation, as backscatter over `area`."""
    _refuse_complex(dataset)
    band = Band(dataset, 1)
    name = band.polarisation
    stored = _stored(band, SarOptions())
    sample = _sample(name or SAR_BANDS[0], band, area, stored)
    units, why = backscatter.decide([sample], "auto")
    found = replace(stored, units=units, median_db=backscatter.median_of(sample, units))
    which = Decision(name or "polarisation unknown", "description, tag or file name" if name else "nothing names it")
    taken = acquisition.described([(band.file, found.acquired)])
    return found, (which, why, *_scaling([band], [found], SarOptions()), *_calibrated([band], area), *taken)


def _refuse_complex(dataset: DatasetReader) -> None:
    if any(kind.startswith("complex") for kind in dataset.dtypes):
        raise InputError(
            f"{dataset.source.name} holds complex numbers (single-look complex); detected, terrain-corrected "
            "backscatter is needed: use a GRD or RTC product"
        )


def _refuse_swapped(which: Decision, samples: Sequence[Sample]) -> None:
    """InputError where bands that nothing names are in the wrong order: VV is the stronger in all units."""
    if which.why != polarisation.BY_POSITION:
        return
    vv, vh = backscatter.stored_medians(samples).values()
    if vv < vh:
        raise InputError(
            f"by position VV has a median of {vv:.3g} and VH of {vh:.3g}; VV is the stronger over any land or water: "
            "say which band is which with --sar-bands VV,VH"
        )


# --- stored values ---


def _stored(band: Band, told: SarOptions) -> SarBand:
    """A band with the scale that is told, or else the file's; its units and median are not known yet."""
    dataset, at = band.dataset, band.number - 1
    scale = dataset.scales[at] if told.scale is None else told.scale
    offset = dataset.offsets[at] if told.offset is None else told.offset
    source, nodata = dataset.source, dataset.nodatavals[at]
    files = dataset.files if isinstance(dataset, SafeDataset) else (source,)
    where, taken = geometry_of(dataset), acquisition.of(dataset, band.number)
    return SarBand(source, band.number, "db", where, nodata, np.nan, scale, offset, files, taken)


def _sample(name: str, band: Band, area: Geometry, stored: SarBand) -> Sample:
    """The band's values over `area`, thinned, and what its file says of them. `name` is for messages."""
    window = access.window_over(band.dataset, stored.grid, area, "Sentinel-1")
    values = access.read(band.dataset, [band.number], window, access.sampled(window))
    plain = np.issubdtype(values.dtype, np.integer) and (stored.scale, stored.offset) == (1, 0)
    return Sample(name, band.file, plain, scaled(values[0], stored), *backscatter.stated(band.dataset, band.number))


def _scaling(bands: Sequence[Band], found: Sequence[SarBand], told: SarOptions) -> Iterator[Decision]:
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


# --- what a user should know of, and a product say, logged as warnings too ---


def _cut(file: str, noise: float) -> Iterator[Decision]:
    if noise:
        cut = Decision(
            f"border noise is cut, {100 * noise:.1f} % of the scene",
            f"a strip at an edge of {file} is under {border_noise.LIMIT_DB:g} dB in all polarisations",
        )
        log.warning("%s", cut)
        yield cut


def _together(image: Sentinel1) -> Iterator[Decision]:
    """What the frames are together: how they are joined, when they were taken, and what one of them lacks."""
    stated = [(band.path.name, band.acquired) for band in image.bands]
    if len(image.frames) > 1:
        names = list(dict.fromkeys(name for name, _ in stated))
        yield Decision(
            f"a mosaic of {len(image.frames)} frames",
            f"{acquisition.listing(names)} are given; in overlaps the one whose edge is farther away is shown",
        )
    yield from acquisition.described(stated)
    for doubt in (acquisition.mixture(stated), *_lacking(image)):
        if doubt:
            log.warning("%s", doubt)
            yield doubt


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
