"""The files of a product as assets of a STAC item: what they are, what their bands hold, size and checksum."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePath
from typing import Any
from urllib.parse import quote

from cloudfree.bands import OPTICAL_BANDS, QA_MEANINGS, SKY_NODATA, Qa, SkyClass
from cloudfree.product import kinds, profiles, provenance
from cloudfree.product.cog import CogProfile
from cloudfree.product.kinds import Kind


def assets(
    folder: Path, targets: Mapping[Kind, Path], staged: Mapping[Kind, Path], scale: tuple[float, ...]
) -> dict[str, Any]:
    """Return the assets of the files that have one: by the names that they will have, relative to a folder.

    `staged` is where they lie until then. `scale` turns the product's digital numbers into reflectance.
    """
    qa_classes = [(int(qa), qa.name.lower(), QA_MEANINGS[qa]) for qa in Qa]
    sky_classes = [(int(sky), sky.name.lower(), sky.name.lower()) for sky in SkyClass]
    bands = {
        kinds.OUTPUT: [
            {**band, "description": f"{band['name']} reflectance", "eo:common_name": band["name"]}
            for band in _described(profiles.optical(scale), OPTICAL_BANDS)
        ],
        kinds.QA: _classed(profiles.QUALITY, "share", qa_classes),
        kinds.UNCERTAINTY: _described(profiles.UNCERTAINTY, [f"{band}_deviation" for band in OPTICAL_BANDS]),
        kinds.WRITE_MASK: _classed(profiles.SKY, "probability", [*sky_classes, (SKY_NODATA, "nodata", "no data")]),
    }
    return {
        kind.asset: {
            "href": href(target, folder),
            "title": kind.title,
            "type": kind.media_type,
            "roles": list(kind.roles),
            "file:size": staged[kind].stat().st_size,
            "file:checksum": multihash(provenance.sha256_of(staged[kind])),
            **({"bands": bands[kind]} if kind in bands else {}),
        }
        for kind, target in targets.items()
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


def _described(profile: CogProfile, names: Sequence[str]) -> list[dict[str, Any]]:
    return [
        {
            "name": name,
            "description": description,
            "data_type": profile.dtype,
            "nodata": int(profile.nodata),
            "raster:scale": scale,
            "raster:offset": 0,
            "raster:sampling": "area",
        }
        for name, description, scale in zip(names, profile.descriptions, profile.scales, strict=True)
    ]


def _classed(profile: CogProfile, second: str, classes: Sequence[tuple[int, str, str]]) -> list[dict[str, Any]]:
    """Return the band of classes, each a value, a name and a description, and the second band, a percentage."""
    first, share = _described(profile, ("class", second))
    entries = [
        {
            "value": value,
            "name": name,
            "description": description,
            "color_hint": "".join(f"{part:02X}" for part in profile.colormap[value][:3]),
            **({"nodata": True} if name == "nodata" else {}),
        }
        for value, name, description in classes
    ]
    return [{**first, "description": "class", "classification:classes": entries}, share]
