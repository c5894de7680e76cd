"""The files of a product as assets of a STAC item: what they are, what their bands hold, size and checksum."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from pathlib import Path, PurePath
from typing import Any, NamedTuple
from urllib.parse import quote

from cloudfree.bands import OPTICAL_BANDS, SKY_NODATA, Qa, SkyClass
from cloudfree.product import profiles, provenance
from cloudfree.product.cog import CogProfile

COG = "image/tiff; application=geotiff; profile=cloud-optimized"

_QA_WORDS = {
    Qa.NODATA: "no data",
    Qa.OBSERVED: "as the satellite saw it",
    Qa.RECONSTRUCTED: "under cloud, haze or shadow, reconstructed with the help of radar",
    Qa.NOT_RECONSTRUCTED: "cloudy, not seen by radar, and kept as observed",
    Qa.RECONSTRUCTED_WITHOUT_SAR: "cloudy, not seen by radar, and filled from its surroundings",
    Qa.SEEN_THROUGH: "reconstructed from what shows through thin cloud or shadow",
}


class File(NamedTuple):
    """A file of a product: the name that it will have, and where it lies now."""

    target: Path
    staged: Path


class _Kind(NamedTuple):
    """What an asset is called and what it is for."""

    key: str
    title: str
    roles: tuple[str, ...]
    media_type: str = COG


_KINDS = {
    "output": _Kind("product", "Cloud-free scene", ("data", "reflectance")),
    "qa": _Kind("qa", "What was observed and what reconstructed", ("metadata", "data-mask")),
    "uncertainty": _Kind("uncertainty", "Standard deviation of reflectance", ("metadata", "uncertainty")),
    "write_mask": _Kind("mask", "Mask that was used", ("metadata", "cloud", "cloud-shadow", "snow-ice")),
    "quicklook": _Kind("picture", "Before, radar and after", ("overview",), "image/png"),
    "report": _Kind("report", "Page of before and after, quality, numbers", ("metadata",), "text/html"),
}
"""By the field of `Options` that names the file."""


def assets(folder: Path, files: Mapping[str, File], scale: tuple[float, ...]) -> dict[str, Any]:
    """Of the files by the field of `Options` that names them, as they are found from a folder.

    `scale` turns the product's digital numbers into reflectance.
    """
    bands = {
        "output": list(_optical(profiles.optical(scale, "none"))),
        "qa": list(_classed(profiles.quality("none"), "share", _qa_classes())),
        "uncertainty": list(_described(profiles.uncertainty("none"), tuple(f"{b}_deviation" for b in OPTICAL_BANDS))),
        "write_mask": list(_classed(profiles.sky("none"), "probability", _sky_classes())),
    }
    found = {}
    for name, file in files.items():
        kind = _KINDS[name]
        found[kind.key] = {
            "href": href(file.target, folder),
            "title": kind.title,
            "type": kind.media_type,
            "roles": list(kind.roles),
            "file:size": file.staged.stat().st_size,
            "file:checksum": multihash(provenance.sha256_of(file.staged)),
            **({"bands": bands[name]} if name in bands else {}),
        }
    return found


def href(path: Path, folder: Path) -> str:
    """A file as it is found from a folder, links in the way followed, in the letters that addresses may have."""
    real = path.parent.resolve() / path.name
    try:
        relative = PurePath(os.path.relpath(real, folder.resolve())).as_posix()
    except ValueError:  # another drive of Windows
        return real.as_uri()
    return quote(relative if relative.startswith("../") else f"./{relative}")


def multihash(sha256: str) -> str:
    """A SHA-256 as catalogues write it: its kind (0x12) and length (0x20) before it."""
    return f"1220{sha256}"


def _described(profile: CogProfile, names: tuple[str, ...]) -> Iterator[dict[str, Any]]:
    for name, description, scale in zip(names, profile.descriptions, profile.scales, strict=True):
        yield {
            "name": name,
            "description": description,
            "data_type": profile.dtype,
            "nodata": int(profile.nodata),
            "raster:scale": scale,
            "raster:offset": 0,
            "raster:sampling": "area",
        }


def _optical(profile: CogProfile) -> Iterator[dict[str, Any]]:
    for band in _described(profile, OPTICAL_BANDS):
        yield {**band, "description": f"{band['name']} reflectance", "eo:common_name": band["name"]}


def _classed(profile: CogProfile, second: str, classes: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """A band of classes, and one that says how much."""
    first, share = _described(profile, ("class", second))
    yield {**first, "description": "class", "classification:classes": classes}
    yield share


def _qa_classes() -> list[dict[str, Any]]:
    colours = profiles.quality("none").colormap
    return [_class(qa, qa.name, colours[qa], _QA_WORDS[qa], qa is Qa.NODATA) for qa in Qa]


def _sky_classes() -> list[dict[str, Any]]:
    colours = profiles.sky("none").colormap
    known = [_class(sky, sky.name, colours[sky], sky.name.lower()) for sky in SkyClass]
    return [*known, _class(SKY_NODATA, "nodata", colours[SKY_NODATA], "no data", nodata=True)]


def _class(
    value: int, name: str, colour: tuple[int, int, int, int], description: str, nodata: bool = False
) -> dict[str, Any]:
    hint = "".join(f"{part:02X}" for part in colour[:3])
    told = {"value": int(value), "name": name.lower(), "description": description, "color_hint": hint}
    return {**told, "nodata": True} if nodata else told
