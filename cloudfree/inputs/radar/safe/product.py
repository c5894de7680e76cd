"""ESA's Sentinel-1 GRD products (SAFE): their files in a folder or an archive, read as sigma nought.

A product is known by what is in it, for mirrors rename products and files: annotation and calibration by what they
state, measurements by the polarisation in their names. `SafeDataset` reads like a dataset of rasterio's, so that
whatever reads Sentinel-1 reads these; where its samples lie is a `GeolocationGrid`.
"""

from __future__ import annotations

import re
import warnings
import zipfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import NamedTuple

import numpy as np
from rasterio import DatasetReader
from rasterio.errors import NotGeoreferencedWarning
from rasterio.windows import Window

from cloudfree.arrays import Image
from cloudfree.errors import InputError
from cloudfree.geometry.geolocation_grid import GeolocationGrid, Geometry
from cloudfree.geometry.grid import Grid
from cloudfree.inputs.decision import Decision
from cloudfree.inputs.location.source import UNREADABLE, AnyPath, Source
from cloudfree.inputs.radar.safe.calibration import Calibration, doubts
from cloudfree.inputs.radar.safe.document import Document
from cloudfree.inputs.raster import access

POLARISATIONS = ("VV", "VH", "HH", "HV")
"""In the order of bands."""

_PRODUCT_TYPES = {"SLC": "single-look complex", "OCN": "ocean winds and waves", "RAW": "raw echoes"}
"""Other types of Sentinel-1 products than GRD, and what they hold."""

_ANNOTATION = re.compile(r"annotation/[^/]+\.xml$", re.IGNORECASE)
_CALIBRATION = re.compile(r"annotation/calibration/calibration-[^/]+\.xml$", re.IGNORECASE)
_NOISE = re.compile(r"annotation/calibration/noise-[^/]+\.xml$", re.IGNORECASE)
_MEASUREMENT = re.compile(r"measurement/[^/]+\.tiff?$", re.IGNORECASE)
_ROOT = re.compile(r"^(|.*/)(?=annotation/[^/]+\.xml$)", re.IGNORECASE)
_POLARISATION = re.compile(r"(?<![a-z])(vv|vh|hh|hv)(?![a-z])", re.IGNORECASE)
_TYPE = re.compile(r"(?<![a-z])(SLC|OCN|RAW)(?![a-z])", re.IGNORECASE)
_ACQUISITION = {
    "START_TIME": "adsHeader/startTime",
    "PLATFORM": "adsHeader/missionId",
    "ABSOLUTE_ORBIT": "adsHeader/absoluteOrbitNumber",
    "PASS": "generalAnnotation/productInformation/pass",
}
"""Where an annotation says when and from which orbit it was taken, by the names that tags of rasters have for it."""

_GRID_POINTS = "geolocationGrid/geolocationGridPointList/geolocationGridPoint"
_IMAGE = "imageAnnotation/imageInformation/"

_ZARR_FILES = (".zgroup", ".zattrs", ".zmetadata", "zarr.json")

_MOVED_M = 30.0  # by relief: three samples, about what co-registration has to do with


@dataclass(frozen=True)
class Files:
    """A product's files by their names below `root` ("" or ending in a slash) in a folder or an archive, `path`."""

    path: Path
    root: str
    names: tuple[str, ...]

    @property
    def zipped(self) -> bool:
        return self.path.is_file()

    def matching(self, pattern: re.Pattern[str]) -> list[str]:
        return [name for name in self.names if pattern.match(name)]

    def document(self, name: str) -> Document:
        """A parsed XML file. Raises InputError."""
        return Document.parse(PurePosixPath(name).name, self._content(name))

    def _content(self, name: str) -> bytes:
        try:
            if not self.zipped:
                return (self.path / self.root / name).read_bytes()
            with zipfile.ZipFile(self.path) as archive:
                return archive.read(self.root + name)
        except UNREADABLE as error:
            raise _damaged(self.path, error) from error

    def source(self, name: str) -> Source:
        """One of them."""
        if self.zipped:
            return Source.member(self.path, self.root + name)
        return Source.of(self.path / self.root / name)

    def on_disk(self, names: Sequence[str]) -> tuple[Source, ...]:
        """The files that hold these: the archive, or themselves."""
        return (Source.of(self.path),) if self.zipped else tuple(self.source(name) for name in names)


class Band(NamedTuple):
    """The names of the files of one polarisation; `noise` may be missing."""

    polarisation: str
    measurement: str
    annotation: str
    calibration: str
    noise: str | None

    @property
    def names(self) -> list[str]:
        return [name for name in self[1:] if name]


@dataclass(frozen=True)
class Safe:
    """A GRD product, or of one of its measurements; `path` is what a user points at."""

    path: Path
    files: Files
    bands: tuple[Band, ...]

    @contextmanager
    def open(self) -> Iterator[SafeDataset]:
        """Its sigma nought. Raises InputError for what is damaged or does not fit together."""
        with ExitStack() as stack:
            yield SafeDataset(self, [_opened(stack, self.files, band) for band in self.bands])


class _Measurement(NamedTuple):
    dataset: DatasetReader
    calibration: Calibration
    geolocation: GeolocationGrid
    acquisition: dict[str, str]


class SafeDataset:
    """An open GRD product: bands of linear sigma nought (power), NaN where there is no data.

    It has what is asked of a rasterio dataset by whatever reads Sentinel-1.
    """

    def __init__(self, safe: Safe, measurements: Sequence[_Measurement]) -> None:
        self.safe = safe
        self._measurements = measurements
        self.source = Source.of(safe.path)
        self.name = str(self.source)
        self.geolocation = measurements[0].geolocation
        self.width, self.height = self.geolocation.width, self.geolocation.height
        self.count = len(measurements)
        self.indexes = tuple(range(1, self.count + 1))
        self.descriptions = tuple(band.polarisation for band in safe.bands)
        self.units = ("linear power",) * self.count
        self.dtypes = ("float32",) * self.count
        self.nodatavals = (None,) * self.count
        self.scales, self.offsets = (1.0,) * self.count, (0.0,) * self.count

    @property
    def files(self) -> tuple[Source, ...]:
        """Every file on disk that is read."""
        return self.safe.files.on_disk([name for band in self.safe.bands for name in band.names])

    def tags(self, index: int = 0, ns: str | None = None) -> dict[str, str]:
        """Of the product, when and from which orbit it was taken; of bands none."""
        return {} if index or ns else dict(self._measurements[0].acquisition)

    def tag_namespaces(self, index: int = 0) -> list[str]:
        return []

    def read(self, indexes: Sequence[int], window: Window, out_shape: tuple[int, ...] | None = None) -> Image:
        """Bands (N, rows, columns) of a window. Thinned to `out_shape`, only what is taken is calibrated."""
        shape = out_shape[-2:] if out_shape else (window.height, window.width)
        lines = window.row_off + access.nearest(window.height, shape[0]).astype(np.float64)
        pixels = window.col_off + access.nearest(window.width, shape[1]).astype(np.float64)
        bands = []
        for index in indexes:
            measurement = self._measurements[index - 1]
            dn = access.read(measurement.dataset, [1], window, (shape[0], shape[1]) if out_shape else None)[0]
            bands.append(measurement.calibration.sigma0(dn, lines, pixels))
        return np.stack(bands)

    # --- what to know of it ---

    @property
    def calibrated(self) -> Decision:
        """How its counts became backscatter."""
        denoised = all(each.calibration.noise for each in self._measurements)
        how = "calibrated to sigma nought by its tables" + (", thermal noise removed" if denoised else "")
        return Decision("a GRD product", f"{how}, placed by its geolocation grid")

    def doubts(self, area: Grid | GeolocationGrid) -> Iterator[Decision]:
        """What may be wrong with it over `area`: noise that stays in, relief that it does not know of."""
        for why in doubts(each.calibration for each in self._measurements):
            yield Decision("thermal noise stays in, so that dark ground is too bright, mostly in VH", why)
        relief = self.geolocation.relief_over(area)
        if relief.moved_m > _MOVED_M:
            yield Decision(
                f"relief may move ground by up to {relief.moved_m:.0f} m",
                f"{Path(self.name).name} is not terrain-corrected, and its geolocation grid has heights of "
                f"{relief.lowest_m:.0f} to {relief.highest_m:.0f} m there; an RTC product knows those in between",
            )


def geometry_of(dataset: DatasetReader | SafeDataset) -> Geometry:
    """Where an open raster or product lies. Raises GridError where it does not say so."""
    return dataset.geolocation if isinstance(dataset, SafeDataset) else Grid.of(dataset)


@contextmanager
def opened_radar(path: AnyPath) -> Iterator[DatasetReader | SafeDataset]:
    """Open a SAFE product, or else a raster, to read. Raises InputError."""
    safe = find_safe(path)
    with safe.open() if safe else access.opened(path) as dataset:
        yield dataset


# --- finding files ---


def find_safe(told: AnyPath) -> Safe | None:
    """The GRD product that a folder, its manifest, an archive or one of its measurements is; None where it is none.

    All of them on disk; within an archive, or at an address, none is looked for.

    Raises InputError for other products of Sentinel-1 (SLC, OCN, RAW), for Zarr, and for damaged or incomplete ones.
    """
    path = Source.of(told).plain
    if path is None:
        return None
    _refuse_zarr(path)
    chosen = None
    if path.name.lower() == "manifest.safe":
        folder = path.resolve().parent
    elif path.is_file() and path.parent.name.lower() == "measurement":
        folder, chosen = path.resolve().parent.parent, f"measurement/{path.name}"
    else:
        folder = path if path.name else path.resolve()
    files = _files(folder)
    if files is None or (chosen and chosen not in files.names):
        return None
    bands = tuple(band for band in _bands(files) if chosen in (None, band.measurement))
    return Safe(path if chosen else folder, files, bands)


def _files(path: Path) -> Files | None:
    """The files of the one product in a folder or an archive; None where there is none."""
    if path.is_dir():
        claims = path.suffix.lower() == ".safe" or (path / "manifest.safe").is_file()
        names = [found.relative_to(path).as_posix() for found in _xml_and_tiff(path)]
    elif path.is_file() and path.suffix.lower() == ".zip":
        names = _archived(path)
        claims = any(name.endswith("manifest.safe") for name in names)
    else:
        return None
    names = [name for name in names if not any(part.startswith((".", "__MACOSX")) for part in name.split("/"))]
    roots = sorted({match[1] for name in names if (match := _ROOT.match(name))})
    if len(roots) > 1:
        raise InputError(f"{path.name} holds {len(roots)} Sentinel-1 products; one is needed: unzip it, and give one")
    if roots:
        inside = tuple(sorted(name.removeprefix(roots[0]) for name in names if name.startswith(roots[0])))
        return Files(path, roots[0], inside)
    if claims:
        _refuse_type(path, path.name)
        raise InputError(
            f"{path.name} has no annotation/*.xml, as Sentinel-1 products do; a whole GRD product is needed: fetch it "
            "again"
        )
    return None


def _xml_and_tiff(folder: Path) -> Iterator[Path]:
    """Files that a product in the folder itself, or in one folder within it, may have."""
    # Not the whole tree: a user may have pointed at all there is on a disk.
    for root in (folder, *(inner for inner in folder.iterdir() if inner.suffix.lower() == ".safe")):
        for pattern in ("annotation/*", "annotation/calibration/*", "measurement/*"):
            yield from root.glob(pattern)


def _archived(path: Path) -> list[str]:
    try:
        with zipfile.ZipFile(path) as archive:
            return archive.namelist()
    except UNREADABLE as error:
        raise _damaged(path, error) from error


def _bands(files: Files) -> Iterator[Band]:
    """The polarisations that are measured, VV first. Raises InputError where their files are missing or of no GRD."""
    annotations = _by_polarisation(files, _ANNOTATION)
    calibrations, noises = _by_polarisation(files, _CALIBRATION), _by_polarisation(files, _NOISE)
    measured = _measurements(files, list(annotations))
    for polarisation in sorted(measured, key=POLARISATIONS.index):
        if polarisation not in annotations or polarisation not in calibrations:
            missing = "annotation" if polarisation not in annotations else "annotation/calibration/calibration-*.xml"
            raise InputError(
                f"{files.path.name} has a measurement of {polarisation} without its {missing}; counts mean nothing "
                "without it: fetch the whole product"
            )
        yield Band(
            polarisation,
            measured[polarisation],
            annotations[polarisation],
            calibrations[polarisation],
            noises.get(polarisation),
        )


def _by_polarisation(files: Files, pattern: re.Pattern[str]) -> dict[str, str]:
    """Names of XML files by the polarisation that they state. Raises InputError where one is of no GRD product."""
    found = {}
    for name in files.matching(pattern):
        document = files.document(name)
        _refuse_type(files.path, document.text("adsHeader/productType"))
        found[document.text("adsHeader/polarisation").upper()] = name
    return found


def _measurements(files: Files, annotated: Sequence[str]) -> dict[str, str]:
    """Names of rasters by polarisation; of a lone one whose name tells none, that of the lone annotation."""
    names = files.matching(_MEASUREMENT)
    if not names:
        raise InputError(
            f"{files.path.name} has no measurement/*.tiff; a whole GRD product is needed: fetch the whole product"
        )
    found: dict[str, str] = {}
    for name in names:
        told = {match.upper() for match in _POLARISATION.findall(PurePosixPath(name).name)}
        candidates = told or set(annotated if len(names) == 1 else ())
        if len(candidates) != 1 or not found.keys().isdisjoint(candidates):
            raise InputError(
                f"{files.path.name} has {name}, which is of no polarisation of its own by its name; one raster each of "
                "VV and VH is needed: name them so"
            )
        found[candidates.pop()] = name
    return found


def _opened(stack: ExitStack, files: Files, band: Band) -> _Measurement:
    """One polarisation, whose parts fit together."""
    annotation = files.document(band.annotation)
    noise = files.document(band.noise) if band.noise else None
    calibration = Calibration.of(annotation, files.document(band.calibration), noise)
    geolocation = geolocation_of(annotation)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", NotGeoreferencedWarning)  # the annotation says where it lies
        dataset = stack.enter_context(access.opened_by_gdal(files.source(band.measurement)))
    if (dataset.width, dataset.height) != (geolocation.width, geolocation.height):
        raise InputError(
            f"{band.measurement} of {files.path.name} has {dataset.width} x {dataset.height} samples, and its "
            f"annotation {geolocation.width} x {geolocation.height}; they must agree: fetch the product again"
        )
    stated = {key: text for key, path in _ACQUISITION.items() if (text := annotation.text_or_none(path))}
    return _Measurement(dataset, calibration, geolocation, stated)


def geolocation_of(annotation: Document) -> GeolocationGrid:
    """Where its samples lie. Raises InputError where the annotation's points are no full grid."""
    names = ("line", "pixel", "longitude", "latitude", "height", "incidenceAngle")
    rows = [[annotation.number(name, point) for name in names] for point in annotation.root.iterfind(_GRID_POINTS)]
    width, height = (int(annotation.number(_IMAGE + tag)) for tag in ("numberOfSamples", "numberOfLines"))
    try:
        return GeolocationGrid.of_points(np.array(rows).reshape(-1, len(names)).T, width, height)
    except ValueError as error:
        raise annotation.wrong("has a geolocationGrid that is no full grid of lines and pixels") from error


# --- what is no GRD product ---


def _refuse_type(path: Path, stated: str) -> None:
    """Raise InputError where a product's type, or the name of one that states none, is another than GRD."""
    match = _TYPE.search(stated)
    if match:
        kind = match[1].upper()
        raise InputError(
            f"{path.name} is a Sentinel-1 {kind} product ({_PRODUCT_TYPES[kind]}); detected backscatter is needed: "
            "give the GRD product of the same time (S1*_IW_GRDH_*), or a terrain-corrected one (RTC)"
        )


def _refuse_zarr(path: Path) -> None:
    """Raise InputError for a Zarr store, as EOPF products are."""
    named = re.search(r"\.zarr(\.zip)?$", path.name, re.IGNORECASE) and path.exists()
    if named or (path.is_dir() and any((path / name).is_file() for name in _ZARR_FILES)):
        raise InputError(
            f"{path.name} is a Zarr store (EOPF), which is not read here; a SAFE product or a raster file is needed: "
            "fetch the GRD product of the same time as SAFE"
        )


def _damaged(path: Path, error: BaseException) -> InputError:
    return InputError(
        f"{path.name} is damaged or cut short ({' '.join(str(error).split())[:120]}); a whole product is needed: fetch "
        "it again"
    )
