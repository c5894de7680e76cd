"""A STAC 1.1 item of a product, for catalogues.

It says where there are data and when the scene was taken, what the files hold, and what they were made of (`rel`
`derived_from`; links to Sentinel-1 have the `sar` fields, which the product itself, being optical, has not). Files are
named as they are found from the item's folder, remote inputs by their addresses without secrets. It has no `self` link:
that would have to say where a user keeps files.

`datetime` is when the scene was taken. Where only its day is known, that is its start and end; where nothing is, it was
between the first of Planet's satellites and now, which is warned of. `eo:cloud_cover` is of the product: the share of
its data that clouds hid and nothing was found for. The level of processing is L4: where there were clouds, it is a
model's output and no observation.

Properties of our own: `cloudfree:weights` (name and sha256), `cloudfree:trust` (0..1, under cloud: network 1, the
scene's own model 0), `cloudfree:reconstructed` (percent of the data that are no observation, wholly or in part),
`cloudfree:cloudy` (percent of the whole scene's data under the mask), `cloudfree:radar_shift_m` (how far radar was
moved, metres east and north), `cloudfree:identity` (equal where nothing that decides the pixels differs) and
`cloudfree:acquired_by` (what tells the time).
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyproj
import rasterio
from rasterio.crs import CRS

from cloudfree.bands import RECONSTRUCTED, Qa
from cloudfree.geometry.grid import Grid
from cloudfree.inputs.area import Part
from cloudfree.inputs.files import Inputs
from cloudfree.inputs.optical import planet_product
from cloudfree.product import footprint, pictures
from cloudfree.product.finished import IDENTITY_TAG
from cloudfree.product.footprint import Footprint
from cloudfree.product.stac_assets import File, assets
from cloudfree.product.stac_links import derived_from, when
from cloudfree.scene.survey import Survey

VERSION = "1.1.0"
EXTENSIONS = {
    name: f"https://stac-extensions.github.io/{name}/v{version}/schema.json"
    for name, version in {
        "projection": "2.0.0",
        "eo": "2.0.0",
        "raster": "2.0.0",
        "file": "2.1.0",
        "processing": "1.2.0",
        "classification": "2.0.0",
        "sar": "1.3.0",
    }.items()
}
"""The schemas of the extensions that items use, by name."""

_FIRST_PLANETSCOPE = "2013-01-01T00:00:00Z"
"""Before any of Planet's satellites was launched."""


@dataclass(frozen=True)
class Made:
    """What a product was made of, which part of its scene it shows, and its pixels by the name of their class."""

    inputs: Inputs
    survey: Survey
    part: Part
    pixels: Mapping[str, int]


def write_item(item: File, files: Mapping[str, File], made: Made) -> None:
    """Write the item of files, which are named by the field of `Options` that names them; "output" is the product."""
    text = json.dumps(_item(item.target, files, made), indent=2, ensure_ascii=False, allow_nan=False)
    item.staged.write_text(text + "\n", encoding="utf-8")


def _item(target: Path, files: Mapping[str, File], made: Made) -> dict[str, Any]:
    folder, product, grid = target.parent, files["output"], made.part.of(made.inputs.scene.grid)
    outline = _footprint(grid, made)
    with rasterio.open(product.staged) as dataset:
        tags = dataset.tags()
    classified = "qa" in files or "write_mask" in files
    return {
        "type": "Feature",
        "stac_version": VERSION,
        "stac_extensions": [url for name, url in EXTENSIONS.items() if name != "classification" or classified],
        "id": product.target.stem,
        "geometry": outline.geometry,
        "bbox": outline.bbox,
        "properties": {
            **_times(made.inputs),
            **_instrument(made.inputs, grid),
            **_projection(grid, outline),
            **_processing(made.inputs, tags),
            **_cover(made),
            **_ours(tags),
        },
        "links": derived_from(folder, made.inputs, bool(json.loads(tags["CLOUDFREE_OPTIONS"])["allow_hh_hv"])),
        "assets": assets(folder, files, made.inputs.scene.scale),
    }


def _footprint(grid: Grid, made: Made) -> Footprint:
    coarse = made.survey.grid
    rows, cols = pictures.on_survey(made.part, made.inputs.scene.grid, coarse)
    data = made.survey.data[rows, cols]
    return footprint.of_data(grid, coarse.window(rows.start, cols.start, *data.shape), data)


def _times(inputs: Inputs) -> dict[str, Any]:
    now = f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%S}Z"
    known = when(inputs.acquired)
    if not known:
        known = {"datetime": None, "start_datetime": _FIRST_PLANETSCOPE, "end_datetime": now}
    told = {"cloudfree:acquired_by": inputs.acquired.stated_by} if inputs.acquired.moment else {}
    return {**known, "created": now, **told}


def _instrument(inputs: Inputs, grid: Grid) -> dict[str, Any]:
    """The constellation and the satellite only where the scene has Planet's name."""
    scene = planet_product.scene_name(inputs.scene.path.name)
    planet = {"constellation": "planetscope", "platform": scene.satellite} if scene else {}
    return {**planet, "gsd": round(grid.pixel_size_m, 2)}


def _projection(grid: Grid, outline: Footprint) -> dict[str, Any]:
    left, lower, right, upper = grid.footprint().bounds
    return {
        **_code(grid.crs),
        "proj:shape": list(grid.shape),
        "proj:transform": [float(value) for value in grid.transform[:6]],
        "proj:bbox": [left, lower, right, upper],
        "proj:geometry": footprint.plain(outline.own),
        "proj:centroid": outline.centroid,
    }


def _code(crs: CRS) -> dict[str, Any]:
    """The code of a CRS; of one that has none, its definition."""
    authority = crs.to_authority()
    if authority:
        return {"proj:code": ":".join(authority)}
    return {"proj:code": None, "proj:wkt2": pyproj.CRS.from_user_input(crs).to_wkt("WKT2_2019")}


def _processing(inputs: Inputs, tags: Mapping[str, str]) -> dict[str, Any]:
    versions = json.loads(tags["CLOUDFREE_VERSIONS"])
    return {
        "processing:level": "L4",
        "processing:lineage": _lineage(inputs, tags),
        "processing:software": versions,
        "processing:version": versions["cloudfree"],
    }


def _lineage(inputs: Inputs, tags: Mapping[str, str]) -> str:
    """How it was made, and the notice that Copernicus asks for."""
    weights, fill = json.loads(tags["CLOUDFREE_WEIGHTS"])["name"], json.loads(tags["CLOUDFREE_PROCESSING"])["fill"]
    dates = f" and {len(inputs.references)} other dates" if inputs.references else ""
    years = sorted({f" {band.acquired.moment:%Y}" for band in inputs.sar.bands if band.acquired.moment})
    which = "all pixels" if fill == "all" else "the pixels that cloud, haze or shadow hid"
    others = "" if fill == "all" else "; the others are as observed"
    return (
        f"Of a PlanetScope scene ({inputs.scene.quantity}) {which} were reconstructed with Sentinel-1{dates} by the "
        f"network {weights}{others}. Contains modified Copernicus Sentinel data{','.join(years)}."
    )


def _cover(made: Made) -> dict[str, Any]:
    """Percent of the data; nothing of clouds where nothing tells where they are."""
    data = sum(made.pixels.values()) - made.pixels[Qa.NODATA.name.lower()]
    if not data:
        return {}
    remade = sum(made.pixels[qa.name.lower()] for qa in RECONSTRUCTED)
    told = {"cloudfree:reconstructed": _percent(remade / data)}
    if made.inputs.masked:
        told["eo:cloud_cover"] = _percent(made.pixels[Qa.NOT_RECONSTRUCTED.name.lower()] / data)
        told["cloudfree:cloudy"] = _percent(made.survey.cloudy_share)
    return told


def _ours(tags: Mapping[str, str]) -> dict[str, Any]:
    """What the product says of itself."""
    weights, moved = (json.loads(tags[f"CLOUDFREE_{name}"]) for name in ("WEIGHTS", "COREGISTRATION"))
    return {
        "cloudfree:weights": {"name": weights["name"], "sha256": weights["sha256"]},
        "cloudfree:trust": round(float(json.loads(tags["CLOUDFREE_PROCESSING"])["trust"]), 4),
        "cloudfree:radar_shift_m": moved["shift_m"],
        "cloudfree:identity": tags[IDENTITY_TAG],
    }


def _percent(share: float) -> float:
    return round(100 * float(share), 2)
