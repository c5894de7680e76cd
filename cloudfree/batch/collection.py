"""A STAC collection of a batch's products: what their items have in common, with links to them and from them."""

from __future__ import annotations

import json
import logging
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cloudfree.batch.jobs import Job
from cloudfree.batch.results import RESULTS, Outcome, replaced
from cloudfree.batch.runner import Settings
from cloudfree.errors import OutputError
from cloudfree.product.footprint import turned
from cloudfree.product.kinds import STAC
from cloudfree.product.stac import EXTENSIONS, VERSION
from cloudfree.product.stac_assets import href
from cloudfree.product.targets import write_json

log = logging.getLogger(__name__)

_DESCRIPTION = "PlanetScope scenes whose clouded pixels cloudfree has reconstructed with Sentinel-1."

_SETS = ("constellation", "platform", "gsd", "proj:code")
_RANGES = ("eo:cloud_cover", "cloudfree:reconstructed", "cloudfree:cloudy")
"""Properties of items that are summarised: each value once, or the smallest and the largest."""

_PREFIXES = {"projection": "proj", "eo": "eo", "raster": "raster", "classification": "classification"}
"""Of fields that a collection may have, by the extension that they are of."""

_ASSET_FIELDS = ("type", "title", "roles", "bands")
"""What assets of one name have in common, whatever the scene."""

_TO_COLLECTION = ("collection", "parent", "root")


@dataclass(frozen=True)
class Item:
    """An item as it is in its file."""

    path: Path
    content: dict[str, Any]

    @property
    def properties(self) -> dict[str, Any]:
        found: dict[str, Any] = self.content["properties"]
        return found


def check_collection(folder: Path, jobs: Sequence[Job], settings: Settings) -> None:
    """Raise OutputError where a scene's item would be the collection or the results, or the collection replace a file
    that is not ours.
    """
    if STAC not in settings.beside:
        return
    target = folder / STAC.listed_in
    items = {STAC.beside(job.output).resolve() for job in jobs}
    for what, path in (("the collection", target), ("the results", folder / RESULTS)):
        if path.resolve() in items:
            raise OutputError(
                f"{path} would be {what} and the item of a scene; each needs a name of its own: give that scene "
                "another output"
            )
    ours = (_json(target) or {}).get("description") == _DESCRIPTION
    if target.exists() and not settings.overwrite and not ours:
        raise OutputError(f"{target} is no collection of cloudfree and is kept; give --overwrite, or another folder")


def write_collection(folder: Path, outcomes: Sequence[Outcome]) -> None:
    """`collection.json` of a folder, of the scenes that have a product, whose items get links to it.

    Without any there is none. Raises OutputError.
    """
    items = list(_items(outcomes))
    if not items:
        log.warning("no scene has a STAC item, so that %s is not written", folder / STAC.listed_in)
        return
    for name, count in Counter(item.content["id"] for item in items).items():
        if count > 1:
            log.warning(
                "%d STAC items are called %s; catalogues need a name for each: give a column output", count, name
            )
    collection = _collection(folder, items)
    _write(folder / STAC.listed_in, collection)
    for item in items:
        linked = _linked(item, folder, collection["id"])
        if linked != item.content:
            _write(item.path, linked)


def _items(outcomes: Sequence[Outcome]) -> Iterator[Item]:
    """Of the products that are there; a file that is no item is warned of."""
    for outcome in outcomes:
        if outcome.status not in ("made", "skipped"):
            continue
        path = STAC.beside(outcome.job.output)
        content = _json(path)
        if content and "cloudfree:identity" in (content.get("properties") or ()):
            yield Item(path, content)
        else:
            log.warning("%s is no STAC item of a product, and is left out of the collection", path)


def _json(path: Path) -> dict[str, Any] | None:
    """The object in a file; None where there is none."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return content if isinstance(content, dict) else None


def _collection(folder: Path, items: Sequence[Item]) -> dict[str, Any]:
    name = folder.resolve().name or "cloudfree"
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
            "spatial": {"bbox": [_around([item.content["bbox"] for item in items])]},
            "temporal": {"interval": [_interval(items)]},
        },
        **common,
        "links": [_to_collection("root", folder, folder), *(_to_item(item, folder) for item in items)],
    }


def _extensions(text: str) -> list[str]:
    """Those whose fields are in a text."""
    return [EXTENSIONS[name] for name, prefix in _PREFIXES.items() if f'"{prefix}:' in text]


def _around(boxes: Sequence[Sequence[float]]) -> list[float]:
    """The narrowest box (west, south, east, north) around boxes; its west is over its east across the antimeridian."""
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
        [item.properties.get("datetime") or item.properties[f"{end}_datetime"] for item in items]
        for end in ("start", "end")
    ]
    return [min(moments[0]), max(moments[1])]


def _summaries(items: Sequence[Item]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name in _SETS:
        if values := list(dict.fromkeys(_values(items, name))):
            found[name] = sorted(values)
    for name in _RANGES:
        if values := list(_values(items, name)):
            found[name] = {"minimum": min(values), "maximum": max(values)}
    return found


def _values(items: Iterable[Item], name: str) -> Iterator[Any]:
    return (value for item in items if (value := item.properties.get(name)) is not None)


def _item_assets(items: Sequence[Item]) -> dict[str, Any]:
    """What the assets of all items hold, as far as it is the same in all that have them."""
    found: dict[str, dict[str, Any]] = {}
    for item in items:
        for key, asset in item.content["assets"].items():
            told = {field: asset[field] for field in _ASSET_FIELDS if field in asset}
            known = found.setdefault(key, told)
            found[key] = {field: value for field, value in known.items() if told.get(field) == value}
    return found


def _to_item(item: Item, folder: Path) -> dict[str, Any]:
    href_of_it = href(item.path, folder)
    return {"rel": "item", "href": href_of_it, "type": STAC.media_type, "title": item.content["id"]}


def _to_collection(rel: str, folder: Path, seen_from: Path) -> dict[str, Any]:
    return {"rel": rel, "href": href(folder / STAC.listed_in, seen_from), "type": "application/json"}


def _linked(item: Item, folder: Path, collection: str) -> dict[str, Any]:
    """The item with links to its collection in place of any that it has."""
    others = [link for link in item.content["links"] if link["rel"] not in _TO_COLLECTION]
    own = [_to_collection(rel, folder, item.path.parent) for rel in _TO_COLLECTION]
    return {**item.content, "collection": collection, "links": [*own, *others]}


def _write(path: Path, content: dict[str, Any]) -> None:
    with replaced(path) as file:
        write_json(file, content)
