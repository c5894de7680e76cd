"""ESA's Sentinel-1 GRD products (SAFE), read as sigma nought.

`SafeDataset` reads like a dataset of rasterio's, so that whatever reads Sentinel-1 reads these; where its samples lie
is a `GeolocationGrid`.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import PurePosixPath
from typing import NamedTuple

import numpy as np
from rasterio import DatasetReader
from rasterio.errors import NotGeoreferencedWarning
from rasterio.windows import Window

from cloudfree.arrays import Image
from cloudfree.errors import InputError
from cloudfree.geometry import GeolocationGrid, Geometry, Grid
from cloudfree.inputs.acquisition import MEASUREMENT_TAG
from cloudfree.inputs.dates import moments_in
from cloudfree.inputs.decision import Decision
from cloudfree.inputs.location.source import AnyPath
from cloudfree.inputs.radar.safe.calibration import Calibration
from cloudfree.inputs.radar.safe.document import Document
from cloudfree.inputs.radar.safe.layout import Safe, SafeBand, find_safe
from cloudfree.inputs.raster import access

_ACQUISITION = {
    "START_TIME": "adsHeader/startTime",
    "PLATFORM": "adsHeader/missionId",
    "ABSOLUTE_ORBIT": "adsHeader/absoluteOrbitNumber",
    "PASS": "generalAnnotation/productInformation/pass",
}
"""Where an annotation says when and from which orbit it was taken, by the names that tags of rasters have for it."""

_GRID_POINTS = "geolocationGrid/geolocationGridPointList/geolocationGridPoint"
_IMAGE = "imageAnnotation/imageInformation/"

_MOVED_M = 30.0  # by relief: three samples, about what co-registration has to do with


class _Measurement(NamedTuple):
    dataset: DatasetReader
    calibration: Calibration
    geolocation: GeolocationGrid
    acquisition: dict[str, str]


class SafeDataset:
    """An open GRD product: bands of linear sigma nought (power), NaN where there is no data.

    It has what is asked of a rasterio dataset by whatever reads Sentinel-1; `files` are those on disk that are read.
    """

    def __init__(self, safe: Safe, measurements: Sequence[_Measurement]) -> None:
        self._measurements = measurements
        self.source = safe.path
        self.name = str(self.source)
        self.files = safe.files
        self.geolocation = measurements[0].geolocation
        self.width, self.height = self.geolocation.width, self.geolocation.height
        self.count = len(measurements)
        self.indexes = tuple(range(1, self.count + 1))
        self.descriptions = tuple(band.polarisation for band in safe.bands)
        self.units = ("linear power",) * self.count
        self.dtypes = ("float32",) * self.count
        self.nodatavals = (None,) * self.count
        self.scales, self.offsets = (1.0,) * self.count, (0.0,) * self.count

    def tags(self, index: int = 0, ns: str | None = None) -> dict[str, str]:
        """When and from which orbit the product was taken; nothing of a band."""
        return {} if index or ns else dict(self._measurements[0].acquisition)

    def tag_namespaces(self, _index: int) -> list[str]:
        return []

    def read(self, indexes: Sequence[int], window: Window, out_shape: tuple[int, ...] | None = None) -> Image:
        """Bands (N, rows, columns) of a window. Thinned to `out_shape`, only the remaining pixels are calibrated."""
        shape = out_shape[-2:] if out_shape else (window.height, window.width)
        lines = window.row_off + access.nearest(window.height, shape[0]).astype(np.float64)
        pixels = window.col_off + access.nearest(window.width, shape[1]).astype(np.float64)
        bands = []
        for index in indexes:
            measurement = self._measurements[index - 1]
            dn = access.read(measurement.dataset, [1], window, (shape[0], shape[1]) if out_shape else None)[0]
            bands.append(measurement.calibration.sigma0(dn, lines, pixels))
        return np.stack(bands)

    @property
    def calibrated(self) -> Decision:
        """How its counts became backscatter."""
        denoised = all(measurement.calibration.noise for measurement in self._measurements)
        how = "calibrated to sigma nought by its tables" + (", thermal noise removed" if denoised else "")
        return Decision("a GRD product", f"{how}, placed by its geolocation grid")

    def flaws(self, area: Geometry) -> Iterator[Decision]:
        """What may be wrong with it over `area`: noise that stays in, relief that it does not know of."""
        for flaw in dict.fromkeys(measurement.calibration.flaw for measurement in self._measurements):
            if flaw:
                yield Decision("thermal noise stays in, so that dark ground is too bright, mostly in VH", flaw)
        relief = self.geolocation.relief_over(area)
        if relief.moved_m > _MOVED_M:
            yield Decision(
                f"relief may move ground by up to {relief.moved_m:.0f} m",
                f"{self.source.name} is not terrain-corrected, and its geolocation grid has heights of "
                f"{relief.lowest_m:.0f} to {relief.highest_m:.0f} m there; an RTC product knows those in between",
            )


def geometry_of(dataset: DatasetReader | SafeDataset) -> Geometry:
    """Where an open raster or product lies. Raises GridError where it does not say so."""
    return dataset.geolocation if isinstance(dataset, SafeDataset) else Grid.of(dataset)


@contextmanager
def opened_radar(path: AnyPath) -> Iterator[DatasetReader | SafeDataset]:
    """Open a SAFE product, or else a raster, to read.

    Raises InputError for what cannot be opened, is damaged, or does not fit together.
    """
    with ExitStack() as stack:
        if safe := find_safe(path):
            yield SafeDataset(safe, [_opened(stack, safe, band) for band in safe.bands])
        else:
            yield stack.enter_context(access.opened(path))


def _opened(stack: ExitStack, safe: Safe, band: SafeBand) -> _Measurement:
    """One polarisation, whose parts fit together. Raises InputError."""
    annotation = Document.of(band.annotation)
    noise = Document.of(band.noise) if band.noise else None
    calibration = Calibration.of(annotation, Document.of(band.calibration), noise)
    geolocation = geolocation_of(annotation)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", NotGeoreferencedWarning)  # the annotation says where it lies
        dataset = stack.enter_context(access.opened_by_gdal(band.measurement))
    if (dataset.width, dataset.height) != (geolocation.width, geolocation.height):
        raise InputError(
            f"{band.measurement.name} of {safe.path.name} has {dataset.width} x {dataset.height} samples, and its "
            f"annotation {geolocation.width} x {geolocation.height}; they must agree: fetch the product again"
        )
    stated = {key: text for key, path in _ACQUISITION.items() if (text := annotation.text_or_none(path))}
    if names := [name for name in _names_of(band) if any(moments_in(name))]:
        stated[MEASUREMENT_TAG] = names[0]
    return _Measurement(dataset, calibration, geolocation, stated)


def _names_of(band: SafeBand) -> tuple[str, ...]:
    """Of a polarisation's files and their product's folder, the best first: the product itself may be called anything.

    A folder or archive that was given by name is left to whoever reads that name.
    """
    folder = PurePosixPath(str(band.annotation)).parents[1].name
    return band.measurement.name, band.annotation.name, *([folder] if folder.upper().endswith(".SAFE") else [])


def geolocation_of(annotation: Document) -> GeolocationGrid:
    """Where its samples lie. Raises InputError where the annotation's points are no full grid."""
    columns = ("line", "pixel", "longitude", "latitude", "height", "incidenceAngle")
    rows = [[annotation.number(name, point) for name in columns] for point in annotation.root.iterfind(_GRID_POINTS)]
    width, height = (int(annotation.number(_IMAGE + tag)) for tag in ("numberOfSamples", "numberOfLines"))
    points = np.array(rows).reshape(-1, len(columns)).T
    if ((points[-1] <= 0) | (points[-1] >= 90)).any():
        raise annotation.wrong("has an incidenceAngle that is not between 0 and 90 degrees")
    try:
        return GeolocationGrid.of_points(points, width, height)
    except ValueError as error:
        raise annotation.wrong("has a geolocationGrid that is no full grid of lines and pixels") from error
