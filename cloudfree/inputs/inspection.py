"""What a run would take a file for, and why, without running."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from itertools import chain
from typing import Any, NamedTuple

import numpy as np
from rasterio import DatasetReader

from cloudfree.arrays import as_image, known_of
from cloudfree.bands import SAR_BANDS, UDM2_BAND_COUNT
from cloudfree.errors import CloudfreeError, showable
from cloudfree.geometry import Geometry, Grid
from cloudfree.inputs import acquisition
from cloudfree.inputs.acquisition import UNKNOWN, Acquisition
from cloudfree.inputs.location import containers
from cloudfree.inputs.location.source import AnyPath, Source
from cloudfree.inputs.masks.codes import State
from cloudfree.inputs.masks.mask import CloudMask, identify_mask, identify_udm2, is_named
from cloudfree.inputs.masks.meaning import is_own
from cloudfree.inputs.optical import planet_product
from cloudfree.inputs.optical.bands import band_texts
from cloudfree.inputs.optical.scene import Scene, identify_scene
from cloudfree.inputs.radar.image import identify_sar, one_polarisation
from cloudfree.inputs.radar.safe.layout import find_safe
from cloudfree.inputs.radar.safe.product import SafeDataset, geometry_of, opened_radar
from cloudfree.inputs.raster import access, sample, validity

_LOOK_PX, _STRIP_ROWS = 512, 64  # at which a mask is looked at, and of these at once


@dataclass(frozen=True)
class Inspection:
    """A file in words and numbers, of which lengths are in metres and shares 0..1.

    `overlap_share` is the share of the first file's ground that this one covers; None for the first itself. `acquired`
    is when it was taken, in words, and `cloudy_share` the share of what is classified that is cloud, haze or shadow, of
    a scene by the UDM2 beside it; None where that is not known.
    """

    file: str
    kind: str
    reasons: tuple[str, ...]
    bands: int
    dtype: str
    crs: str
    width: int
    height: int
    pixel_size_m: float
    valid_share: float
    overlap_share: float | None = None
    acquired: str | None = None
    cloudy_share: float | None = None

    def as_json(self) -> dict[str, Any]:
        return asdict(self)

    def lines(self) -> list[str]:
        """For people, one fact a line."""
        facts = [
            f"{self.file}: {self.kind}",
            *(f"  {reason}" for reason in self.reasons),
            f"  {self.bands} x {self.dtype}, {self.width} x {self.height} px of {self.pixel_size_m:.3g} m, {self.crs}",
            f"  {100 * self.valid_share:.1f} % valid",
        ]
        if self.acquired and not any(reason.startswith("acquired") for reason in self.reasons):
            facts.append(f"  acquired {self.acquired}")
        if self.cloudy_share is not None:
            facts.append(f"  {100 * self.cloudy_share:.1f} % cloud, haze or shadow")
        if self.overlap_share is not None:
            facts.append(f"  covers {100 * self.overlap_share:.1f} % of the first file's footprint")
        return facts


@dataclass(frozen=True)
class Unusable:
    """A file of which nothing can be said, and why."""

    file: str
    error: CloudfreeError

    def as_json(self) -> dict[str, Any]:
        return {"file": showable(self.file), "error": self.error.message}


def inspect(paths: Sequence[AnyPath], trust_inputs: bool = False) -> list[Inspection]:
    """Say of each file what it is, of a container what a run would take of it; overlaps are with the first.

    Raises InputError or GridError.
    """
    inspections = []
    for one in inspect_each(paths, trust_inputs):
        if isinstance(one, Unusable):
            raise one.error
        inspections.append(one)
    return inspections


def inspect_each(paths: Sequence[AnyPath], trust_inputs: bool = False) -> Iterator[Inspection | Unusable]:
    """The same of each file as it comes; those that cannot be read, and why. Overlaps are with the first that can."""
    first: Geometry | None = None
    with access.gdal_settings(trust_inputs):
        for path in chain.from_iterable(map(_rasters, paths)):
            if isinstance(path, Unusable):
                yield path
                continue
            try:
                with opened_radar(path) as dataset:
                    grid = geometry_of(dataset)
                    inspection = _inspect(path, dataset, grid, first)
            except CloudfreeError as error:
                yield Unusable(str(path), error)
                continue
            first = first or grid
            yield inspection


def _rasters(path: AnyPath) -> Iterator[Source | Unusable]:
    """The file, or those in it that a run would take; or why there are none."""
    try:
        source = Source.of(path)
        yield from [source] if find_safe(source) else containers.usable(source)
    except CloudfreeError as error:
        yield Unusable(str(path), error)


def _inspect(path: Source, dataset: DatasetReader, grid: Geometry, first: Geometry | None) -> Inspection:
    taken = _taken(path, dataset, grid)
    return Inspection(
        file=str(path),
        kind=taken.kind,
        reasons=taken.reasons,
        bands=dataset.count,
        dtype=dataset.dtypes[0],
        crs=grid.crs.to_string(),
        width=grid.width,
        height=grid.height,
        pixel_size_m=round(grid.pixel_size_m, 4),
        valid_share=_valid_share(dataset),
        overlap_share=None if first is None else round(first.overlap_share(grid), 4),
        acquired=str(taken.acquired) if taken.acquired.day else None,
        cloudy_share=_cloudy_share(taken.mask) if taken.mask else None,
    )


class _Taken(NamedTuple):
    """What a file is taken for, when that was taken, and what says where its clouds are."""

    kind: str
    reasons: tuple[str, ...]
    acquired: Acquisition = UNKNOWN
    mask: CloudMask | None = None


def _taken(path: Source, dataset: DatasetReader, grid: Geometry) -> _Taken:
    dtype, count = dataset.dtypes[0], dataset.count
    try:
        if not isinstance(grid, Grid):
            return _sentinel1(dataset, grid)
        if dtype == "uint8" and count >= UDM2_BAND_COUNT:
            return _mask("PlanetScope usable data mask (UDM2)", identify_udm2(path, grid), dataset)
        if is_own(dataset) or (count == 1 and (dtype == "uint8" or is_named(dataset))):
            return _mask("mask", identify_mask(path, grid), dataset)
        if count >= 4 and not access.is_complex(dataset) and not _says_radar(dataset):
            scene = identify_scene(path)
            kind = f"{planet_product.sensor(path, count)}, {scene.quantity}"
            return _Taken(kind, tuple(map(str, scene.reasons)), scene.acquired, _udm2_of(scene))
        return _sentinel1(dataset, grid)
    except CloudfreeError as error:
        return _Taken("nothing that cloudfree can use as it is", (error.message,))


def _mask(kind: str, mask: CloudMask, dataset: DatasetReader) -> _Taken:
    return _Taken(kind, tuple(map(str, mask.reasons)), acquisition.of_scene(dataset), mask)


def _udm2_of(scene: Scene) -> CloudMask | None:
    """The UDM2 beside a scene, if there is one that can be used."""
    beside = planet_product.find(scene.path, planet_product.UDM2)
    with suppress(CloudfreeError):
        return identify_udm2(beside, scene.grid) if beside else None
    return None


def _cloudy_share(mask: CloudMask) -> float | None:
    """Share of what a mask classifies that is cloud, haze or shadow, at a coarse look; None where that is nothing."""
    grid = mask.grid.resized(min(mask.grid.height, _LOOK_PX), min(mask.grid.width, _LOOK_PX))
    with suppress(CloudfreeError), mask.open() as reader:
        states = np.concatenate([reader.states(strip) for strip in grid.strips(_STRIP_ROWS)])
        known = np.isin(states, (State.CLEAR, State.CLOUDY))
        return round(float((states[known] == State.CLOUDY).mean()), 4) if known.any() else None
    return None


def _says_radar(dataset: DatasetReader) -> bool:
    """Whether a band is named like a polarisation."""
    return any({*SAR_BANDS} & {word.upper() for word in band_texts(dataset, index)} for index in dataset.indexes)


def _sentinel1(dataset: DatasetReader, grid: Geometry) -> _Taken:
    if dataset.count == 1:
        band, reasons = one_polarisation(dataset, grid)
        return _Taken(f"Sentinel-1, one polarisation, {band.units}", tuple(map(str, reasons)), band.acquired)
    image = identify_sar([dataset.source], grid)
    which = " and ".join(SAR_BANDS) if image.vh else "VV alone"
    return _Taken(f"Sentinel-1, {which}, {image.vv.units}", tuple(map(str, image.reasons)), image.vv.acquired)


def _valid_share(dataset: DatasetReader) -> float:
    """Share of pixels with data in every band of a thinned sample: no nodata, NaN, or (in all bands) zero."""
    values, window = sample.whole(dataset, dataset.indexes)
    if isinstance(dataset, SafeDataset):
        return round(float(known_of(as_image(values)).mean()), 4)
    return round(float(validity.of_image(dataset, dataset.indexes, window, values).mean()), 4)
