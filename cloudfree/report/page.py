"""The page of a run: everything that a reader needs to judge its product, in one file."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import rasterio

from cloudfree.inputs.files import Inputs
from cloudfree.product.finished import IDENTITY_TAG
from cloudfree.product.pictures import BRIGHTEST_DEVIATION
from cloudfree.report import facts, vectors
from cloudfree.report.embedding import Picture
from cloudfree.report.rendering import rendered
from cloudfree.report.views import Views, deviation_bar
from cloudfree.scene.offset import Vector

_TAGS = ("inputs", "options", "versions")
_MARK = '<script type="application/json" id="cloudfree">'
_HEAD_BYTES = 1 << 18  # of a page, in which its numbers stand


@dataclass(frozen=True)
class Panel:
    """A picture with its caption; `kind` decides what stands beside it: a legend, a bar of colours, arrows."""

    kind: str
    title: str
    caption: str
    picture: Picture
    alt: str


def write(
    target: Path,
    told: Mapping[str, Any],
    names: Mapping[str, str],
    inputs: Inputs,
    views: Views,
    offset_vectors: Sequence[Vector],
) -> None:
    """Write the page of a run.

    `told` are its plain data, as --json has them, in which files are called by name as `names` says of each path.
    Inputs, options and versions are those that the tags of the product have.
    """
    told = facts.without_paths(told, names)
    drawing = vectors.drawn(views.survey.grid, offset_vectors)
    page = rendered(
        "page.html",
        told=told,
        name=inputs.scene.path.name,
        scene=_described(inputs, views),
        summary=facts.summary(told),
        notes=list(facts.notes(told)),
        classes=facts.classes(told["pixels"]),
        offsets=facts.offsets(told),
        comparisons=_comparisons(views),
        panels=list(_panels(views, told, drawing)),
        legend=facts.legend(told["pixels"] if views.quality else None),
        drawing=drawing,
        bar=_bar() if views.uncertainty else None,
        provenance=_provenance(views.product),
        percent=facts.percent,
        metres=facts.metres,
    )
    target.write_bytes(page)


def read_numbers(page: Path) -> dict[str, Any]:
    """The plain data that a page carries; none where it is no page of ours."""
    try:
        with page.open("rb") as file:
            text = file.read(_HEAD_BYTES).decode("utf-8", "replace")
        found = json.loads(text.partition(_MARK)[2].partition("</script>")[0])
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _described(inputs: Inputs, views: Views) -> dict[str, str]:
    """The scene in words: when, how large, where, what."""
    scene, (height, width) = inputs.scene, views.part.shape
    size_m, crs = scene.grid.pixel_size_m, scene.grid.crs.to_string()
    dates = dict.fromkeys(str(band.acquired) for band in inputs.sar.bands)
    return {
        "Scene of": str(inputs.acquired),
        "Sentinel-1 of": "; ".join(dates),
        "Size": f"{width} × {height} pixels of {size_m:.3g} m ({height * width * size_m**2 / 1e6:.3g} km²)",
        "Coordinates": crs if len(crs) < 40 else "a system without a code",
        "Quantity": scene.quantity,
    }


def _comparisons(views: Views) -> list[dict[str, Any]]:
    true_colour, infrared = views.true_colour, views.infrared
    return [
        {
            "id": "true-colour",
            "title": "True colour",
            "caption": "Red, green and blue, in one stretch, taken from the result.",
            "pictures": true_colour,
        },
        {
            "id": "infrared",
            "title": "Colour infrared",
            "caption": "Near infrared, red and green shown as red, green and blue: vegetation is red, water dark.",
            "pictures": infrared,
        },
    ]


def _panels(views: Views, told: Mapping[str, Any], drawing: vectors.Drawing | None) -> Iterator[Panel]:
    yield Panel(
        "radar",
        "Sentinel-1",
        f"Red VV, green VH, blue VV/VH, {_moved(told['coregistration'])}.",
        views.radar,
        "Sentinel-1 backscatter of the same ground, in false colours",
    )
    for number, (picture, each) in enumerate(zip(views.references, told["references"], strict=True), 1):
        date = each["acquired"] or "an unknown date"
        yield Panel(
            "reference",
            f"Image {number}",
            f"{Path(each['file']).name} of {date}, {_moved(each['coregistration'])}; empty where it has clouds itself.",
            picture,
            f"Optical image of the same ground of {date}, true colour",
        )
    yield _quality_panel(views)
    if views.uncertainty:
        yield Panel(
            "uncertainty",
            "Uncertainty",
            "One standard deviation of reflectance, mean of the four bands; black where observed.",
            views.uncertainty_picture,
            "How uncertain each reconstructed pixel is, from violet for little to yellow for much",
        )
    if drawing:
        yield Panel(
            "vectors",
            "Offsets of Sentinel-1",
            f"The way radar has to go by each window of the whole scene, drawn {drawing.times:.2g} times as long as it "
            "is. Green arrows bear the estimate out; red, dashed ones were left out.",
            views.whole,
            "The scene with an arrow for each window of co-registration",
        )


def _quality_panel(views: Views) -> Panel:
    how = "" if views.quality else " Drawn from where the product differs from the scene; --qa tells kinds apart."
    alt = "Which pixels were observed and which reconstructed"
    return Panel("quality", "Quality", f"What became of each pixel.{how}", views.quality_picture, alt)


def _moved(offset: Mapping[str, Any]) -> str:
    if not offset["accepted"]:
        return "left where it is"
    shift = offset["shift_m"]
    return f"moved by {facts.metres(shift['east'])} east, {facts.metres(shift['north'])} north"


def _bar() -> dict[str, Any]:
    steps = [BRIGHTEST_DEVIATION * third / 3 for third in range(4)]
    return {"picture": deviation_bar(), "ticks": [*(f"{step:g}" for step in steps[:3]), f"≥ {steps[3]:g}"]}


def _provenance(product: Path) -> dict[str, Any]:
    """What the product's tags say of its making."""
    with rasterio.open(product) as dataset:
        tags = dataset.tags()
    stated = {name: json.loads(tags[f"CLOUDFREE_{name.upper()}"]) for name in _TAGS}
    return {**stated, "identity": tags[IDENTITY_TAG]}
