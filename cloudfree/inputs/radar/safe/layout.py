"""Which files an ESA Sentinel-1 product (SAFE) in a folder or an archive has, by what is in it.

Mirrors rename products and files: annotation and calibration are known by what they state, measurements by the
polarisation in their names. Other products than GRD are refused.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from cloudfree.errors import InputError
from cloudfree.inputs.location.source import AnyPath, Source, is_dir, is_file, is_there
from cloudfree.inputs.radar.names import POLARISATIONS, polarisations_in
from cloudfree.inputs.radar.safe.document import Document

_PRODUCT_TYPES = {"SLC": "single-look complex", "OCN": "ocean winds and waves", "RAW": "raw echoes"}
"""Other types of Sentinel-1 products than GRD, and what they hold."""

_MANIFEST, _MEASUREMENTS = "manifest.safe", "measurement"
_ANNOTATION = re.compile(r"annotation/[^/]+\.xml$", re.IGNORECASE)
_CALIBRATION = re.compile(r"annotation/calibration/calibration-[^/]+\.xml$", re.IGNORECASE)
_NOISE = re.compile(r"annotation/calibration/noise-[^/]+\.xml$", re.IGNORECASE)
_MEASUREMENT = re.compile(rf"{_MEASUREMENTS}/[^/]+\.tiff?$", re.IGNORECASE)
_ROOT = re.compile(r"^(|.*/)(?=annotation/[^/]+\.xml$)", re.IGNORECASE)
_TYPE = re.compile(r"(?<![a-z])(SLC|OCN|RAW)(?![a-z])", re.IGNORECASE)

_OF_SENTINEL_2 = re.compile(r"(?:^|/)MTD_MSIL\w+\.xml$")
_LEVELS = 3  # of folders below one that is given: PRODUCT.SAFE/annotation/calibration
_ZARR_FILES = (".zgroup", ".zattrs", ".zmetadata", "zarr.json")


class SafeBand(NamedTuple):
    """The files of one polarisation; `noise` may be missing."""

    polarisation: str
    measurement: Source
    annotation: Source
    calibration: Source
    noise: Source | None


class Safe(NamedTuple):
    """A GRD product, or one of its measurements; `path` is what a user points at, bands are VV first."""

    path: Source
    bands: tuple[SafeBand, ...]

    @property
    def files(self) -> tuple[Source, ...]:
        """The files on disk that are read: those of all bands, or the archive that they are in."""
        files = [file.file for band in self.bands for file in band[1:] if file]
        return tuple(dict.fromkeys(Source.of(file) for file in files if file))


_Files = Mapping[str, Source]
"""The files of a product by their names below its root."""


def find_safe(path: AnyPath) -> Safe | None:
    """The GRD product that a folder, its manifest, an archive or one of its measurements is; None where it is none.

    All of them on disk; within an archive, or at an address, none is looked for.

    Raises InputError for other products of Sentinel-1 (SLC, OCN, RAW), for Zarr, and for damaged or incomplete ones.
    """
    given = Source.of(path).plain
    if given is None:
        return None
    _refuse_zarr(given)
    measurement = None
    if given.name.lower() == _MANIFEST:
        product = given.resolve().parent
    elif is_file(given) and given.parent.name.lower() == _MEASUREMENTS:
        measurement = Source.of(given.resolve())
        product = given.resolve().parent.parent
    else:
        product = given if given.name else given.resolve()
    files = _files(Source.of(product))
    if files is None or (measurement and measurement not in files.values()):
        return None
    bands = tuple(band for band in _bands(product.name, files) if measurement in (None, band.measurement))
    return Safe(Source.of(given if measurement else product), bands)


def _files(product: Source) -> _Files | None:
    """The files of the one product in a folder or an archive; None where there is none."""
    if not product.is_folder or not product.plain:
        return None
    names = {_name_in(product.plain, file): file for file in product.files(_LEVELS)}
    roots = sorted({match[1] for name in names if (match := _ROOT.match(name))})
    if len(roots) > 1:
        raise InputError(
            f"{product.name} holds {len(roots)} Sentinel-1 products; one is needed: unzip it, and give one"
        )
    if roots:
        return {name.removeprefix(roots[0]): names[name] for name in sorted(names) if name.startswith(roots[0])}
    if any(_OF_SENTINEL_2.search(name) for name in names):
        return None
    if product.suffix == ".safe" or any(name.rpartition("/")[2] == _MANIFEST for name in names):
        _refuse_type(product.name, product.name)
        raise InputError(
            f"{product.name} has no annotation/*.xml, as Sentinel-1 products do; a whole GRD product is needed: fetch "
            "it again"
        )
    return None


def _name_in(product: Path, file: Source) -> str:
    return file.inside or Path(str(file)).relative_to(product).as_posix()


def _matching(files: _Files, pattern: re.Pattern[str]) -> list[Source]:
    return [file for name, file in files.items() if pattern.match(name)]


def _bands(product: str, files: _Files) -> Iterator[SafeBand]:
    """The polarisations that are measured, VV first. Raises InputError where their files are missing or of no GRD."""
    annotations, calibrations, noises = (
        _by_polarisation(product, _matching(files, pattern)) for pattern in (_ANNOTATION, _CALIBRATION, _NOISE)
    )
    measured = _measurements(product, _matching(files, _MEASUREMENT), list(annotations))
    for polarisation in sorted(measured, key=POLARISATIONS.index):
        if polarisation not in annotations or polarisation not in calibrations:
            missing = "annotation" if polarisation not in annotations else "annotation/calibration/calibration-*.xml"
            raise InputError(
                f"{product} has a measurement of {polarisation} without its {missing}; counts mean nothing "
                "without it: fetch the whole product"
            )
        own = measured[polarisation], annotations[polarisation], calibrations[polarisation], noises.get(polarisation)
        yield SafeBand(polarisation, *own)


def _by_polarisation(product: str, documents: Sequence[Source]) -> dict[str, Source]:
    """XML files by the polarisation that they state. Raises InputError where one is of no GRD product."""
    by_polarisation = {}
    for file in documents:
        document = Document.of(file)
        _refuse_type(product, document.text("adsHeader/productType"))
        by_polarisation[document.text("adsHeader/polarisation").upper()] = file
    return by_polarisation


def _measurements(product: str, rasters: Sequence[Source], annotated: Sequence[str]) -> dict[str, Source]:
    """Rasters by the polarisation in their names; of a lone one without any, by that of the lone annotation."""
    if not rasters:
        raise InputError(f"{product} has no measurement/*.tiff; a whole GRD product is needed: fetch the whole product")
    by_polarisation: dict[str, Source] = {}
    for raster in rasters:
        candidates = polarisations_in(raster.name) or set(annotated if len(rasters) == 1 else ())
        if len(candidates) != 1 or not by_polarisation.keys().isdisjoint(candidates):
            raise InputError(
                f"{product} has {raster.name}, which is of no polarisation of its own by its name; one raster each "
                "of VV and VH is needed: name them so"
            )
        by_polarisation[candidates.pop()] = raster
    return by_polarisation


# --- what is no GRD product ---


def _refuse_type(name: str, stated: str) -> None:
    """Raise InputError where a product's type, or the name of one that states none, is another than GRD."""
    match = _TYPE.search(stated)
    if match:
        kind = match[1].upper()
        raise InputError(
            f"{name} is a Sentinel-1 {kind} product ({_PRODUCT_TYPES[kind]}); detected backscatter is needed: "
            "give the GRD product of the same time (S1*_IW_GRDH_*), or a terrain-corrected one (RTC)"
        )


def _refuse_zarr(path: Path) -> None:
    """Raise InputError for a Zarr store, as EOPF products are."""
    named = re.search(r"\.zarr(\.zip)?$", path.name, re.IGNORECASE) and is_there(path)
    if named or (is_dir(path) and any(is_file(path / name) for name in _ZARR_FILES)):
        raise InputError(
            f"{path.name} is a Zarr store (EOPF), which is not read here; a SAFE product or a raster file is needed: "
            "fetch the GRD product of the same time as SAFE"
        )
