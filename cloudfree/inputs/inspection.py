"""What a run would take a file for, and why, without running."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from itertools import chain
from typing import Any

from rasterio import DatasetReader

from cloudfree.arrays import as_image, known_of
from cloudfree.bands import SAR_BANDS, UDM2_BAND_COUNT
from cloudfree.errors import CloudfreeError
from cloudfree.geometry import Geometry, Grid
from cloudfree.inputs.location import containers
from cloudfree.inputs.location.source import AnyPath, Source
from cloudfree.inputs.masks.mask import identify_mask, identify_udm2, is_named
from cloudfree.inputs.masks.meaning import is_own
from cloudfree.inputs.optical import planet_product
from cloudfree.inputs.optical.bands import band_texts
from cloudfree.inputs.optical.scene import identify_scene
from cloudfree.inputs.radar.image import identify_sar, one_polarisation
from cloudfree.inputs.radar.safe.layout import find_safe
from cloudfree.inputs.radar.safe.product import SafeDataset, geometry_of, opened_radar
from cloudfree.inputs.raster import access, sample, validity


@dataclass(frozen=True)
class Inspection:
    """A file in words and numbers, of which lengths are in metres and shares 0..1.

    `overlap_share` is the share of the first file's ground that this one covers; None for the first itself.
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
        if self.overlap_share is not None:
            facts.append(f"  covers {100 * self.overlap_share:.1f} % of the first file's footprint")
        return facts


def inspect(paths: Sequence[AnyPath], trust_inputs: bool = False) -> list[Inspection]:
    """Say of each file what it is, of a container what a run would take of it; overlaps are with the first.

    Raises InputError or GridError.
    """
    inspections: list[Inspection] = []
    first: Geometry | None = None
    with access.gdal_settings(trust_inputs):
        given = map(Source.of, paths)
        usable = [[path] if find_safe(path) else containers.usable(path) for path in given]
        for path in chain.from_iterable(usable):
            with opened_radar(path) as dataset:
                grid = geometry_of(dataset)
                inspections.append(_inspect(path, dataset, grid, first))
            first = first or grid
    return inspections


def _inspect(path: Source, dataset: DatasetReader, grid: Geometry, first: Geometry | None) -> Inspection:
    kind, reasons = _kind(path, dataset, grid)
    return Inspection(
        file=str(path),
        kind=kind,
        reasons=reasons,
        bands=dataset.count,
        dtype=dataset.dtypes[0],
        crs=grid.crs.to_string(),
        width=grid.width,
        height=grid.height,
        pixel_size_m=round(grid.pixel_size_m, 4),
        valid_share=_valid_share(dataset),
        overlap_share=None if first is None else round(first.overlap_share(grid), 4),
    )


def _kind(path: Source, dataset: DatasetReader, grid: Geometry) -> tuple[str, tuple[str, ...]]:
    dtype, count = dataset.dtypes[0], dataset.count
    try:
        if not isinstance(grid, Grid):
            return _sentinel1(dataset, grid)
        if dtype == "uint8" and count >= UDM2_BAND_COUNT:
            mask = identify_udm2(path, grid)
            return "PlanetScope usable data mask (UDM2)", tuple(map(str, mask.reasons))
        if is_own(dataset) or (count == 1 and (dtype == "uint8" or is_named(dataset))):
            return "mask", tuple(map(str, identify_mask(path, grid).reasons))
        if count >= 4 and not access.is_complex(dataset) and not _says_radar(dataset):
            scene = identify_scene(path)
            return f"{planet_product.sensor(path, count)}, {scene.quantity}", tuple(map(str, scene.reasons))
        return _sentinel1(dataset, grid)
    except CloudfreeError as error:
        return "nothing that cloudfree can use as it is", (error.message,)


def _says_radar(dataset: DatasetReader) -> bool:
    """Whether a band is named like a polarisation."""
    return any({*SAR_BANDS} & {word.upper() for word in band_texts(dataset, index)} for index in dataset.indexes)


def _sentinel1(dataset: DatasetReader, grid: Geometry) -> tuple[str, tuple[str, ...]]:
    if dataset.count == 1:
        band, reasons = one_polarisation(dataset, grid)
        return f"Sentinel-1, one polarisation, {band.units}", tuple(map(str, reasons))
    image = identify_sar([dataset.source], grid)
    which = " and ".join(SAR_BANDS) if image.vh else "VV alone"
    return f"Sentinel-1, {which}, {image.vv.units}", tuple(map(str, image.reasons))


def _valid_share(dataset: DatasetReader) -> float:
    """Share of pixels with data in every band of a thinned sample: no nodata, NaN, or (in all bands) zero."""
    values, window = sample.whole(dataset, dataset.indexes)
    if isinstance(dataset, SafeDataset):
        return round(float(known_of(as_image(values)).mean()), 4)
    return round(float(validity.of_image(dataset, dataset.indexes, window, values).mean()), 4)
