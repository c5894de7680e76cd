"""The files of a product as assets of a STAC item: what they are, what their bands hold, size and checksum."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path, PurePath
from typing import Any, NamedTuple
from urllib.parse import quote

from cloudfree.bands import OPTICAL_BANDS, QA_MEANINGS, SKY_NODATA, Qa, SkyClass
from cloudfree.product import kinds, profiles, provenance
from cloudfree.product.cog import CogProfile
from cloudfree.product.kinds import Kind


class StagedFile(NamedTuple):
    """A file that is being made: the name that it will have, and where it lies until then."""

    target: Path
    staged: Path


def assets(folder: Path, files: Mapping[Kind, StagedFile], scale: tuple[float, ...]) -> dict[str, Any]:
    """Return the assets of the files that have one, with addresses relative to a folder.

    `scale` turns the product's digital numbers into reflectance.
    """
    bands = {
        kinds.OUTPUT: list(_optical(profiles.optical(scale, "none"))),
        kinds.QA: list(_classed(profiles.quality("none"), "share", _qa_classes())),
        kinds.UNCERTAINTY: list(_described(profiles.uncertainty("none"), [f"{b}_deviation" for b in OPTICAL_BANDS])),
        kinds.WRITE_MASK: list(_classed(profiles.sky("none"), "probability", _sky_classes())),
    }
    return {
        kind.asset: {
            "href": href(file.target, folder),
            "title": kind.title,
            "type": kind.media_type,
            "roles": list(kind.roles),
            "file:size": file.staged.stat().st_size,
            "file:checksum": multihash(provenance.sha256_of(file.staged)),
            **({"bands": bands[kind]} if kind in bands else {}),
        }
        for kind, file in files.items()
        if kind.asset
    }


def href(path: Path, folder: Path) -> str:
    """Return the percent-encoded address of a file relative to a folder, with links in both resolved."""
    real = path.parent.resolve() / path.name
    try:
        relative = PurePath(os.path.relpath(real, folder.resolve())).as_posix()
    except ValueError:  # another drive of Windows
        return real.as_uri()
    return quote(relative if relative.startswith("../") else f"./{relative}")


def multihash(sha256: str) -> str:
    """Return a SHA-256 as STAC has it: after its algorithm (0x12) and length (0x20)."""
    return f"1220{sha256}"


def _described(profile: CogProfile, names: Sequence[str]) -> Iterator[dict[str, Any]]:
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
    """Yield the band of classes, and the second band, a percentage."""
    first, share = _described(profile, ("class", second))
    yield {**first, "description": "class", "classification:classes": classes}
    yield share


def _qa_classes() -> list[dict[str, Any]]:
    colours = profiles.quality("none").colormap
    return [_class(qa, qa.name, colours[qa], QA_MEANINGS[qa], qa is Qa.NODATA) for qa in Qa]


def _sky_classes() -> list[dict[str, Any]]:
    colours = profiles.sky("none").colormap
    known = [_class(sky, sky.name, colours[sky], sky.name.lower()) for sky in SkyClass]
    return [*known, _class(SKY_NODATA, "nodata", colours[SKY_NODATA], "no data", nodata=True)]


def _class(
    value: int, name: str, colour: tuple[int, int, int, int], description: str, nodata: bool = False
) -> dict[str, Any]:
    hint = "".join(f"{part:02X}" for part in colour[:3])
    entry = {"value": int(value), "name": name.lower(), "description": description, "color_hint": hint}
    return {**entry, "nodata": True} if nodata else entry
