"""A STAC 1.1 item of a product, for catalogues.

It has the outline of the data, the time of the scene, the bands of the files, and links to the inputs (`rel`
`derived_from`; links to Sentinel-1 have the `sar` fields, which an optical product has not). Paths are relative to the
folder of the item, remote inputs have their addresses without secrets. It has no `self` link, which would show where a
user keeps files.

`datetime` is that of the scene. Where only the day is known, the item has its start and end; where nothing is known, it
says between the first of Planet's satellites and now, with a warning in the log. `eo:cloud_cover` is of the product:
the share of its data that is cloudy and was not reconstructed. `processing:level` is L4: where there were clouds, the
pixels are a model's output and no observation.

Properties of our own: `cloudfree:weights` (name and sha256), `cloudfree:trust` (1 the network, 0 the scene's model:
`thin` where something shows through the clouds, `opaque` where nothing does, each in the visible bands and in the near
infrared), `cloudfree:reconstructed` (percent of the data, wholly or in part), `cloudfree:cloudy` (percent of the data
of the whole scene under the mask), `cloudfree:radar_shift_m` (shift applied to radar, if there is any, metres east and
north), `cloudfree:identity` (equal for equal inputs, options and weights) and `cloudfree:acquired_by` (origin of the
time).
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyproj
from rasterio.crs import CRS

from cloudfree.bands import RECONSTRUCTED, Qa
from cloudfree.geometry import Grid
from cloudfree.inputs.area import Part
from cloudfree.inputs.files import Inputs
from cloudfree.inputs.optical import planet_product
from cloudfree.product import footprint, kinds, pictures, provenance
from cloudfree.product.footprint import Footprint
from cloudfree.product.kinds import Kind
from cloudfree.product.stac_assets import assets
from cloudfree.product.stac_links import derived_from, when
from cloudfree.product.targets import write_json
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


def write_item(
    targets: Mapping[Kind, Path],
    staged: Mapping[Kind, Path],
    inputs: Inputs,
    survey: Survey,
    part: Part,
    pixels: Mapping[str, int],
) -> None:
    """Write the STAC item of all files of a run, itself one of them: by their names, from where they lie until then.

    `part` is what the product shows of the scene; `pixels` counts it by the name of the class.
    """
    folder, grid = targets[kinds.STAC].parent, part.of(inputs.scene.grid)
    rows, cols = pictures.on_survey(part, inputs.scene.grid, survey.grid)
    data = survey.data[rows, cols]
    outline = footprint.of_data(grid, survey.grid.window(rows.start, cols.start, *data.shape), data)
    stated = provenance.stated(staged[kinds.OUTPUT])
    classified = not targets.keys().isdisjoint((kinds.QA, kinds.WRITE_MASK))
    item = {
        "type": "Feature",
        "stac_version": VERSION,
        "stac_extensions": [url for name, url in EXTENSIONS.items() if name != "classification" or classified],
        "id": targets[kinds.OUTPUT].stem,
        "geometry": outline.geometry,
        "bbox": outline.bbox,
        "properties": {
            **_times(inputs),
            **_instrument(inputs, grid),
            **_projection(grid, outline),
            "processing:level": "L4",
            "processing:lineage": lineage(inputs, stated, pixels),
            "processing:software": stated["versions"],
            "processing:version": stated["versions"]["cloudfree"],
            **_cover(inputs, survey, pixels),
            "cloudfree:weights": {name: stated["weights"][name] for name in ("name", "sha256")},
            "cloudfree:trust": stated["processing"]["trust"],
            **_radar_shift(stated),
            "cloudfree:identity": stated["identity"],
        },
        "links": derived_from(folder, inputs, bool(stated["options"]["allow_hh_hv"])),
        "assets": assets(folder, targets, staged, inputs.scene.scale),
    }
    write_json(staged[kinds.STAC], item)


def _radar_shift(stated: Mapping[str, Any]) -> dict[str, Any]:
    offset = stated["coregistration"]
    return {"cloudfree:radar_shift_m": offset["shift_m"]} if offset else {}


def _times(inputs: Inputs) -> dict[str, Any]:
    now = f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%S}Z"
    known = when(inputs.acquired)
    if not known:
        known = {"datetime": None, "start_datetime": _FIRST_PLANETSCOPE, "end_datetime": now}
    origin = {"cloudfree:acquired_by": inputs.acquired.stated_by} if inputs.acquired.moment else {}
    return {**known, "created": now, **origin}


def _instrument(inputs: Inputs, grid: Grid) -> dict[str, Any]:
    """Return constellation, satellite (both only of a scene with Planet's name) and pixel size in metres."""
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
    """Return the code of a CRS, or its definition where it has none."""
    authority = crs.to_authority()
    if authority:
        return {"proj:code": ":".join(authority)}
    return {"proj:code": None, "proj:wkt2": pyproj.CRS.from_user_input(crs).to_wkt("WKT2_2019")}


def lineage(inputs: Inputs, stated: Mapping[str, Any], pixels: Mapping[str, int]) -> str:
    """Return how it was made, in words, with the notice that Copernicus requires of what has its data in it."""
    scene = f"a PlanetScope scene ({inputs.scene.quantity})"
    if not any(pixels[qa.name.lower()] for qa in RECONSTRUCTED):
        return f"Nothing of {scene} was reconstructed; its pixels are as observed."
    everything = stated["processing"]["fill"] == "all"
    which = "all pixels" if everything else "the pixels that cloud, haze or shadow hid"
    others = "" if everything else "; the others are as observed"
    known = ["Sentinel-1"] if inputs.has_radar else []
    dates = len(inputs.references)
    known += [f"{dates} other date{'s' if dates > 1 else ''}"] if dates else []
    known += [] if inputs.has_radar else ["their surroundings"]
    made = f"Of {scene} {which} were reconstructed with {' and '.join(known)} by {_makers(inputs, stated)}{others}."
    return f"{made}{_notice(inputs)}"


def _makers(inputs: Inputs, stated: Mapping[str, Any]) -> str:
    """What made the reconstructed pixels.

    A network takes no part where it was found to do no better than the scene's model (trust 0), nor, as published,
    where there is no radar.
    """
    network, processing = f"the network {stated['weights']['name']}", stated["processing"]
    if not processing["sees"]:
        return network if inputs.has_radar else "a model of the scene"
    trusted = any(share for believed in processing["trust"].values() for share in believed.values())
    return f"a model of the scene and {network}" if trusted else "a model of the scene"


def _notice(inputs: Inputs) -> str:
    if not inputs.has_radar:
        return ""
    years = sorted({f" {band.acquired.moment:%Y}" for band in inputs.sar.bands if band.acquired.moment})
    return f" Contains modified Copernicus Sentinel data{','.join(years)}."


def _cover(inputs: Inputs, survey: Survey, pixels: Mapping[str, int]) -> dict[str, Any]:
    """Return percentages of the data, those of clouds only where there is a mask."""
    data = sum(pixels.values()) - pixels[Qa.NODATA.name.lower()]
    if not data:
        return {}
    reconstructed = sum(pixels[qa.name.lower()] for qa in RECONSTRUCTED)
    cover = {"cloudfree:reconstructed": _percent(reconstructed / data)}
    if inputs.masked:
        cover["eo:cloud_cover"] = _percent(pixels[Qa.NOT_RECONSTRUCTED.name.lower()] / data)
        cover["cloudfree:cloudy"] = _percent(survey.cloudy_share)
    return cover


def _percent(share: float) -> float:
    return round(100 * float(share), 2)
