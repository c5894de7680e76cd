"""A STAC collection of the products of a batch, with links from it to their items and back."""

from __future__ import annotations

import json
import logging
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from cloudfree.batch.results import Outcome, replaced
from cloudfree.errors import UNPARSABLE
from cloudfree.product.footprint import turned
from cloudfree.product.kinds import STAC
from cloudfree.product.stac import EXTENSIONS, VERSION
from cloudfree.product.stac_assets import href
from cloudfree.product.targets import write_json

log = logging.getLogger(__name__)

_DESCRIPTION = "PlanetScope scenes whose clouded pixels cloudfree has reconstructed with Sentinel-1."

_SETS = ("constellation", "platform", "gsd", "proj:code")
_RANGES = ("eo:cloud_cover", "cloudfree:reconstructed", "cloudfree:cloudy")
"""Properties of items in the summaries: as a set of values, or as minimum and maximum."""

_PREFIXES = {"projection": "proj", "eo": "eo", "raster": "raster", "classification": "classification"}
"""Prefixes of the fields of a collection, by extension."""

_ASSET_FIELDS = ("type", "title", "roles", "bands")
"""Fields of assets that may be equal in all items."""

_TO_COLLECTION = ("collection", "parent", "root")
_ENDS = "start", "end"
_MOST_BYTES = 256 << 20  # of a file that may be an item or a collection


Item = dict[str, Any]
"""The content of a STAC item."""


def is_collection(path: Path) -> bool:
    """Return whether a file is a collection of ours."""
    return (_json(path) or {}).get("description") == _DESCRIPTION


def write_collection(folder: Path, outcomes: Sequence[Outcome]) -> None:
    """Write `collection.json` of all scenes that have a product, and add links to it to their items.

    Without any product there is none. Raises OutputError.
    """
    items = dict(_items(outcomes))
    if not items:
        log.warning("no scene has a STAC item, so that %s is not written", folder / STAC.listed_in)
        return
    for name, count in Counter(item["id"] for item in items.values()).items():
        if count > 1:
            log.warning(
                "%d STAC items are called %s; catalogues need a name for each: give a column output", count, name
            )
    collection = _collection(folder, items)
    _write(folder / STAC.listed_in, collection)
    for path, item in items.items():
        others = [link for link in item["links"] if link["rel"] not in _TO_COLLECTION]
        own = [_to_collection(rel, folder, path.parent) for rel in _TO_COLLECTION]
        linked = {**item, "collection": collection["id"], "links": [*own, *others]}
        if linked != item:
            _write(path, linked)


def _items(outcomes: Sequence[Outcome]) -> Iterator[tuple[Path, Item]]:
    """Yield the items of all products and their files, with a warning for each file that is no item."""
    for outcome in outcomes:
        if outcome.status not in ("made", "skipped"):
            continue
        path = STAC.beside(outcome.job.output)
        content = _json(path)
        if content and _is_item(content):
            yield path, content
        else:
            log.warning("%s is no STAC item of a product, and is left out of the collection", path)


def _is_item(content: Item) -> bool:
    """Whether it is an item of ours, with all that a collection tells of it."""
    properties, box, links = (content.get(name) for name in ("properties", "bbox", "links"))
    if not isinstance(properties, dict) or "cloudfree:identity" not in properties:
        return False
    numbers = isinstance(box, list) and len(box) == 4 and all(isinstance(one, int | float) for one in box)
    linked = isinstance(links, list) and all(isinstance(link, dict) and "rel" in link for link in links)
    dated = all(isinstance(properties.get("datetime") or properties.get(f"{end}_datetime"), str) for end in _ENDS)
    assets = content.get("assets")
    whole = isinstance(assets, dict) and all(isinstance(asset, dict) for asset in assets.values())
    return numbers and linked and dated and whole and isinstance(content.get("id"), str)


def _json(path: Path) -> dict[str, Any] | None:
    """Return the JSON object in a file; None where there is none."""
    try:
        usual = path.is_file() and path.stat().st_size <= _MOST_BYTES
        content = json.loads(path.read_bytes()) if usual else None
    except (OSError, *UNPARSABLE):
        return None
    return content if isinstance(content, dict) else None


def _collection(folder: Path, by_path: Mapping[Path, Item]) -> dict[str, Any]:
    items, name = list(by_path.values()), folder.resolve().name or "cloudfree"
    common = {"summaries": _summaries(items), "item_assets": _item_assets(items)}
    return {
        "type": "Collection",
        "stac_version": VERSION,
        "stac_extensions": _extensions(json.dumps(common)),
        "id": name,
        "title": f"Cloud-free PlanetScope scenes: {name}",
        "description": _DESCRIPTION,
        "license": "other",
        "keywords": ["PlanetScope", "Sentinel-1", "cloud removal"],
        "extent": {
            "spatial": {"bbox": [_around([item["bbox"] for item in items])]},
            "temporal": {"interval": [_interval(items)]},
        },
        **common,
        "links": [
            _to_collection("root", folder, folder),
            *(
                {"rel": "item", "href": href(path, folder), "type": STAC.media_type, "title": item["id"]}
                for path, item in by_path.items()
            ),
        ],
    }


def _extensions(text: str) -> list[str]:
    """Return the addresses of the extensions whose fields are in a text."""
    return [EXTENSIONS[name] for name, prefix in _PREFIXES.items() if f'"{prefix}:' in text]


def _around(boxes: Sequence[Sequence[float]]) -> list[float]:
    """Return the narrowest box (west, south, east, north) around boxes; west > east across the antimeridian."""
    spans = sorted((west % 360, west % 360 + (east - west) % 360) for west, _, east, _ in boxes)
    gaps, reached = [], spans[0][1]
    for west, east in spans[1:]:
        gaps.append((west - reached, reached, west))
        reached = max(reached, east)
    gaps.append((spans[0][0] + 360 - reached, reached, spans[0][0]))
    widest, end, start = max(gaps)
    south, north = min(box[1] for box in boxes), max(box[3] for box in boxes)
    west, east = (-180.0, 180.0) if widest <= 0 else (turned(start, -180), turned(end, 180))
    return [west, south, east, north]


def _interval(items: Sequence[Item]) -> list[str]:
    moments = [
        [item["properties"].get("datetime") or item["properties"][f"{end}_datetime"] for item in items] for end in _ENDS
    ]
    return [min(moments[0]), max(moments[1])]


def _summaries(items: Sequence[Item]) -> dict[str, Any]:
    sets = {name: sorted(values) for name in _SETS if (values := set(_values(items, name)))}
    numbers = {name: sorted(_values(items, name)) for name in _RANGES}
    ranges = {name: {"minimum": values[0], "maximum": values[-1]} for name, values in numbers.items() if values}
    return {**sets, **ranges}


def _values(items: Iterable[Item], name: str) -> Iterator[Any]:
    return (value for item in items if (value := item["properties"].get(name)) is not None)


def _item_assets(items: Sequence[Item]) -> dict[str, Any]:
    """Return the fields of each asset that are equal in all items that have it."""
    common: dict[str, dict[str, Any]] = {}
    for item in items:
        for key, asset in item["assets"].items():
            fields = {field: asset[field] for field in _ASSET_FIELDS if field in asset}
            known = common.setdefault(key, fields)
            common[key] = {field: value for field, value in known.items() if fields.get(field) == value}
    return common


def _to_collection(rel: str, folder: Path, seen_from: Path) -> dict[str, Any]:
    return {"rel": rel, "href": href(folder / STAC.listed_in, seen_from), "type": "application/json"}


def _write(path: Path, content: dict[str, Any]) -> None:
    with replaced(path) as file:
        write_json(file, content)
