"""The inputs of a product as links of a STAC item: scene, radar, mask and other dates."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import date, datetime, time, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import quote

from cloudfree.bands import SAR_BANDS
from cloudfree.inputs.acquisition import Acquisition
from cloudfree.inputs.files import Inputs
from cloudfree.inputs.location.source import Source
from cloudfree.inputs.radar.image import Sentinel1
from cloudfree.product import provenance
from cloudfree.product.stac_assets import href, multihash

_MEDIA_TYPES = {
    ".tif": "image/tiff; application=geotiff",
    ".tiff": "image/tiff; application=geotiff",
    ".zip": "application/zip",
    ".safe": "application/xml",
    ".nc": "application/netcdf",
    ".h5": "application/x-hdf5",
    ".jp2": "image/jp2",
}

_SENTINEL1 = re.compile(r"(?<![A-Z0-9])S1(?P<unit>[A-D])[_-](?:(?P<mode>IW|EW|WV|S[1-6])[_-])?", re.IGNORECASE)
_PRODUCT_TYPE = re.compile(r"(?<![A-Z])(GRD|RTC)(?![A-Z]{2})", re.IGNORECASE)
"""Parts of names of Sentinel-1 files and folders, by ESA, HyP3 and OPERA."""

_NAMES = 3  # parts of a path, from its end, that may have the name of a product
_SAFE_IN_URLS = "/:%@!$&'()*+,;=~"  # % belongs to what is quoted already


def derived_from(folder: Path, inputs: Inputs, hh_hv: bool) -> list[dict[str, Any]]:
    """Return a link to each input: relative to a folder, or to its address without secrets.

    `hh_hv`: whether HH and HV may stand for VV and VH; the links then do not state polarisations.
    """
    scene = _link(folder, inputs.scene.path, "PlanetScope scene", "data", when(inputs.acquired))
    masks = [_link(folder, inputs.mask.path, "Mask of clouds", "metadata", {})] if inputs.mask else []
    references = [
        _link(folder, image.path, "The same ground on another date", "data", _on(image.acquired))
        for image in inputs.references
    ]
    return [scene, *_radar(folder, inputs.sar, hh_hv), *masks, *references]


def when(acquired: Acquisition) -> dict[str, Any]:
    """Return the STAC fields of a time that is known to the second or to the day; none where it is unknown."""
    if acquired.moment and acquired.timed:
        return {"datetime": _utc(acquired.moment)}
    return _on(acquired.moment.date() if acquired.moment else None)


def _on(day: date | None) -> dict[str, Any]:
    if day is None:
        return {}
    start = datetime.combine(day, time())
    return {
        "datetime": None,
        "start_datetime": _utc(start),
        "end_datetime": _utc(start + timedelta(days=1, seconds=-1)),
    }


def _utc(moment: datetime) -> str:
    return f"{moment:%Y-%m-%dT%H:%M:%S}Z"


def _radar(folder: Path, sar: Sentinel1, hh_hv: bool) -> Iterator[dict[str, Any]]:
    """Yield one link for each file or product."""
    acquisitions: dict[Source, dict[str, Acquisition]] = {}
    for frame in sar.frames:
        for number, band in frame.numbered:
            acquisitions.setdefault(band.path, {})[SAR_BANDS[number]] = band.acquired
    for source, bands in acquisitions.items():
        polarisations = {} if hh_hv else {"sar:polarizations": sorted(bands, key=SAR_BANDS.index)}
        fields = {**when(next(iter(bands.values()))), "constellation": "sentinel-1", "sar:frequency_band": "C"}
        yield _link(folder, source, "Sentinel-1", "data", {**fields, **polarisations, **_fields_of_name(source)})


def _fields_of_name(source: Source) -> dict[str, Any]:
    """Return the fields that the name of a Sentinel-1 file, or of a folder around it, states."""
    names = [*reversed((*Path(source.file or str(source)).parts, *Path(source.inside).parts)[-_NAMES:])]
    satellite = next((match for name in names if (match := _SENTINEL1.search(name))), None)
    product = next((match for name in names if satellite and (match := _PRODUCT_TYPE.search(name))), None)
    return {
        **({"platform": f"sentinel-1{satellite['unit'].lower()}"} if satellite else {}),
        **({"sar:instrument_mode": satellite["mode"].upper()} if satellite and satellite["mode"] else {}),
        **({"sar:product_type": product[1].upper()} if product else {}),
    }


def _link(folder: Path, source: Source, title: str, role: str, fields: dict[str, Any]) -> dict[str, Any]:
    file = _file(source)
    suffix = file.suffix.lower() if file else source.suffix
    media_type = {"type": _MEDIA_TYPES[suffix]} if suffix in _MEDIA_TYPES else {}
    address = href(file, folder) if file else quote(str(source), safe=_SAFE_IN_URLS)
    inside = {"description": f"{source.inside} in it"} if source.inside else {}
    checksum = {"file:checksum": multihash(provenance.sha256_of(file))} if file and file.is_file() else {}
    return {
        "rel": "derived_from",
        "href": address,
        **media_type,
        "title": title,
        **inside,
        "roles": [role],
        **fields,
        **checksum,
    }


def _file(source: Source) -> Path | None:
    """Return the file on disk that holds it; of a SAFE product in a folder, its manifest."""
    manifest = source.file / "manifest.safe" if source.file else None
    return manifest if manifest and manifest.is_file() else source.file
