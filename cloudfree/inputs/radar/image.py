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
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray
from rasterio import DatasetReader
from rasterio.windows import Window

from cloudfree.arrays import Image, known_of
from cloudfree.bands import SAR_BANDS, TYPICAL_SAR_DB
from cloudfree.errors import GridError, InputError
from cloudfree.geometry import Displacement, Geometry, Grid
from cloudfree.geometry.resample import resample
from cloudfree.inputs import acquisition
from cloudfree.inputs.decision import Decision
from cloudfree.inputs.location import containers
from cloudfree.inputs.location.source import AnyPath, Source
from cloudfree.inputs.radar import backscatter, border_noise, polarisation
from cloudfree.inputs.radar.backscatter import SarSample, Units, to_db
from cloudfree.inputs.radar.frame import Frame, SarBand, pieces_of, scaled
from cloudfree.inputs.radar.mosaic import Coverage, Mosaic, edge_distances
from cloudfree.inputs.radar.polarisation import Band, Chosen
from cloudfree.inputs.radar.safe.layout import find_safe
from cloudfree.inputs.radar.safe.product import SafeDataset, geometry_of, opened_radar
from cloudfree.inputs.raster import access, sample

log = logging.getLogger(__name__)

_NEEDED = "detected, terrain-corrected backscatter is needed: use a GRD or RTC product, not single-look complex"


@dataclass(frozen=True)
class SarOptions:
    """Options for reading radar images, those of `files.InputOptions`; None means: take it from the file."""

    units: Units | Literal["auto"] = "auto"
    band_numbers: tuple[int, ...] | None = None
    scale: float | None = None
    offset: float | None = None
    allow_hh_hv: bool = False


@dataclass(frozen=True)
class Sentinel1:
    """VV and VH of one frame or several, or VV alone; `reasons` say why they were taken for it.

    Without a frame (`NO_RADAR`) nothing is known by radar: it is valid nowhere.
    """

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


NO_RADAR = Sentinel1((), ())
"""The image of a scene for which there is none."""


class SarReader:
    """Backscatter of an open Sentinel-1 image on any grid."""

    def __init__(self, image: Sentinel1, datasets: Mapping[Source, DatasetReader]) -> None:
        pieces = [piece for frame in image.frames for piece in pieces_of(frame, datasets)]
        bands = 2 if image.vh else 1
        whole = len(pieces) == 1 and pieces[0].bands == tuple(range(bands))
        self._image = None if not pieces else pieces[0].source if whole else Mosaic(pieces, bands)

    @property
    def is_empty(self) -> bool:
        """Whether the image is `NO_RADAR`."""
        return self._image is None

    def on_grid(
        self,
        grid: Grid,
        displacement: Displacement | None = None,
        columns: NDArray[np.bool_] | None = None,
        all_cores: bool = False,
    ) -> Image:
        """VV and VH in dB (2, H, W) on `grid`, moved over the ground by a displacement; NaN where the image is invalid.

        Resampled as in `geometry.resample`, averages being of power; several frames are joined as in `mosaic`. Bands of
        one grid are valid together. Of an image of VV alone, VH is `TYPICAL_SAR_DB` wherever VV is valid.
        """
        if self._image is None:
            return np.full((len(SAR_BANDS), *grid.shape), np.nan, np.float32)
        db = resample(self._image, grid, displacement, columns=columns, all_cores=all_cores)
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


class _Look(NamedTuple):
    """A band of an open file as it is stored, and a thinned sample of it over a window."""

    dataset: DatasetReader
    stored: SarBand
    sample: SarSample
    window: Window


def _joined(chosen: Chosen, area: Geometry, options: SarOptions) -> Sentinel1:
    """The image that the chosen bands are together, each frame by its own values over `area`."""
    pairs = [[_look(*named, area, options) for named in pair.named] for pair in polarisation.pairs(chosen)]
    kept = [pair for pair in pairs if len(pairs) == 1 or _shows_ground(pair)]
    if not kept:
        raise InputError(
            f"{acquisition.listing([pair[0].sample.file for pair in pairs])} have no valid pixel over the scene; "
            "images that see the ground there are needed: take other frames, or another date or orbit"
        )
    reasons = [chosen.decision]
    frames, coverages = [], []
    for pair in kept:
        frame, coverage, why = _measured(pair, _borrowed(pair, kept), chosen.decision, options)
        prefix = f"{pair[0].sample.file}: " if len(kept) > 1 else ""
        reasons += [*(replace(reason, what=prefix + reason.what) for reason in why), *_calibrated(pair, area)]
        frames.append(frame)
        coverages.append(coverage)
    if len(frames) > 1 and isinstance(area, Grid):
        edges = edge_distances(area, coverages)
        frames = [replace(frame, edge=edge) for frame, edge in zip(frames, edges, strict=True)]
    image = Sentinel1(tuple(frames), ())
    return replace(image, reasons=tuple(dict.fromkeys([*reasons, *_together(image)])))


def _look(name: str, band: Band, area: Geometry, options: SarOptions) -> _Look:
    """At a band over `area`, scaled by the options or else by the file; its units and median are not known yet."""
    dataset, at = band.dataset, band.number - 1
    stored = SarBand(
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
    values, window = sample.over(dataset, (band.number,), stored.grid, area, "Sentinel-1")
    plain = np.issubdtype(values.dtype, np.integer) and (stored.scale, stored.offset) == (1, 0)
    stated = backscatter.stated(dataset, band.number)
    return _Look(dataset, stored, SarSample(name, band.file, plain, scaled(values[0], stored), *stated), window)


def _shows_ground(pair: list[_Look]) -> bool:
    blank = backscatter.are_blank([look.sample for look in pair])
    if blank:
        log.warning("%s has no valid pixel over the scene, and is left out", pair[0].sample.file)
    return not blank


def _borrowed(pair: list[_Look], others: Sequence[list[_Look]]) -> list[SarSample]:
    """A sample of the other polarisation for a frame of one that states no units, of another such frame if possible.

    One polarisation alone can be power or amplitude, and what is given together mostly has one unit.
    """
    own = pair[0].sample
    if len(pair) > 1 or len(own.allowed) == 1:
        return []
    return [look.sample for other in sorted(others, key=len) for look in other if look.sample.name != own.name][:1]


def _measured(
    pair: list[_Look], borrowed: list[SarSample], which: Decision, options: SarOptions
) -> tuple[Frame, Coverage, list[Decision]]:
    """A frame in the units of its values, both polarisations together; where it has data; and why it is that."""
    samples = [look.sample for look in pair]
    _refuse_swapped(which, samples)
    both = sorted([*samples, *borrowed], key=lambda of_band: SAR_BANDS.index(of_band.name))
    units, why = backscatter.decide(both, options.units)
    bands = {look.sample.name: _in_units(look, units) for look in pair}
    db = [to_db(of_band.values[None], units)[0] for of_band in samples]
    noise = border_noise.share_of(db)
    reasons = [why, *_scaling(list(bands.values()), options), *_cut(samples[0].file, noise)]
    frame = Frame(bands.get(SAR_BANDS[0]), bands.get(SAR_BANDS[1]), noise > 0)
    known = known_of(np.stack(db)) if len({band.shape for band in db}) == 1 else np.isfinite(db[0])
    numbers = frozenset(number for number, _ in frame.numbered)
    return frame, Coverage(pair[0].stored.grid, pair[0].window, known, numbers), reasons


def _in_units(look: _Look, units: Units) -> SarBand:
    return replace(look.stored, units=units, median_db=backscatter.median_of(look.sample, units))


def one_polarisation(dataset: DatasetReader, area: Geometry) -> tuple[SarBand, tuple[Decision, ...]]:
    """A file of one band, of whichever polarisation, as backscatter over `area`. Raises InputError or GridError."""
    access.refuse_complex(dataset, _NEEDED)
    options, name = SarOptions(), Band(dataset, 1).polarisation
    look = _look(name or SAR_BANDS[0], Band(dataset, 1), area, options)
    units, why = backscatter.decide([look.sample], options.units)
    band = _in_units(look, units)
    which = Decision(name or "polarisation unknown", "description, tag or file name" if name else "nothing names it")
    when = acquisition.described([(look.sample.file, band.acquired)])
    return band, (which, why, *_scaling([band], options), *_calibrated([look], area), *when)


def _refuse_swapped(which: Decision, samples: Sequence[SarSample]) -> None:
    """Raise InputError where bands without names are in the wrong order: VV is the stronger in all units."""
    if which.why != polarisation.BY_POSITION:
        return
    vv, vh = backscatter.stored_medians(samples).values()
    if vv < vh:
        raise InputError(
            f"by position VV has a median of {vv:.3g} and VH of {vh:.3g}; VV is the stronger over any land or water: "
            "say which band is which with --sar-bands VV,VH"
        )


def _scaling(bands: Sequence[SarBand], options: SarOptions) -> Iterator[Decision]:
    for band in bands:
        if (band.scale, band.offset) != (1, 0):
            by_option = options.scale is not None or options.offset is not None
            why = "--sar-scale and --sar-offset" if by_option else f"the scale tag of {band.path.name}"
            yield Decision(f"stored values times {band.scale:g} plus {band.offset:g}", why, "--sar-scale")


def _calibrated(pair: list[_Look], area: Geometry) -> Iterator[Decision]:
    """How counts of a SAFE product became backscatter, and its flaws."""
    for product in dict.fromkeys(look.dataset for look in pair if isinstance(look.dataset, SafeDataset)):
        yield product.calibrated
        yield from _warned(product.flaws(area))


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
