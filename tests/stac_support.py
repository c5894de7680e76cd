"""STAC items and collections against their schemas, without a network."""

import json
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from jsonschema import Draft7Validator
from referencing import Registry, Resource
from referencing.jsonschema import DRAFT7

SCHEMAS = Path(__file__).parent / "product" / "stac_schemas"
_CORE = "https://schemas.stacspec.org/v1.1.0"
_PLACES = {
    **{f"{_CORE}/item-spec/json-schema/{path.name}": path for path in SCHEMAS.glob("*.json")},
    f"{_CORE}/collection-spec/json-schema/collection.json": SCHEMAS / "collection.json",
    "https://geojson.org/schema/Feature.json": SCHEMAS / "geojson-Feature.json",
    "https://geojson.org/schema/Geometry.json": SCHEMAS / "geojson-Geometry.json",
}


@cache
def registry() -> Registry:
    resources = {url: json.loads(path.read_text()) for url, path in _PLACES.items()}
    return Registry().with_resources(
        (url, Resource.from_contents(content, default_specification=DRAFT7)) for url, content in resources.items()
    )


def errors_of(document: dict[str, Any]) -> list[str]:
    """What the schema of an item or a collection, and those of the extensions that it names, say against it."""
    core = SCHEMAS / {"Feature": "item.json", "Collection": "collection.json"}[document["type"]]
    extensions = [SCHEMAS / f"{url.split('/')[-3]}.json" for url in document["stac_extensions"]]
    errors = []
    for path, url in zip((core, *extensions), (None, *document["stac_extensions"]), strict=True):
        schema = json.loads(path.read_text())
        assert url is None or schema["$id"].removesuffix("#") == url, "the schema of this version"
        errors += [
            f"{path.name}: {error.json_path}: {error.message[:200]}"
            for error in Draft7Validator(schema, registry=registry()).iter_errors(document)
        ]
    return errors + _band_errors(document)


def _band_errors(document: dict[str, Any]) -> list[str]:
    """Of the classes in bands, into which the schema of classification 2.0.0 does not look."""
    schema = json.loads((SCHEMAS / "classification.json").read_text())
    fields = Draft7Validator({"$ref": "#/definitions/fields", "definitions": schema["definitions"]})
    assets = document.get("assets", document.get("item_assets", {}))
    bands = [band for asset in assets.values() for band in asset.get("bands", [])]
    return [f"{band['name']}: {error.message[:200]}" for band in bands for error in fields.iter_errors(band)]


def read_valid(path: Path) -> dict[str, Any]:
    """A document whose files are all there, valid and without numbers that JSON has not."""

    def refuse(constant: str) -> None:
        raise AssertionError(f"{constant} is no JSON")

    document = json.loads(path.read_text(encoding="utf-8"), parse_constant=refuse)
    assert errors_of(document) == []
    for thing in (*document["links"], *document.get("assets", {}).values()):
        href = thing["href"]
        assert href.isascii()
        assert " " not in href
        assert "://" in href or target(path, href).exists(), href
    return document


def target(document: Path, href: str) -> Path:
    """The file that a document names."""
    assert not href.startswith("/"), "where a user keeps files is nobody's business"
    return document.parent / unquote(href)
