"""The page of a run: all that a reader needs to judge its product, in one file."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cloudfree.inputs.files import Inputs
from cloudfree.product import provenance
from cloudfree.product.kinds import OUTPUT, QA, REPORT, UNCERTAINTY
from cloudfree.product.pictures import BRIGHTEST_DEVIATION
from cloudfree.report import facts, vectors
from cloudfree.report.embedding import Picture
from cloudfree.report.rendering import rendered
from cloudfree.report.views import Views, deviation_bar
from cloudfree.scene.offset import Vector

_MARK = '<script type="application/json" id="cloudfree">'
_HEAD_BYTES = 1 << 18  # of a page, that have its plain data


@dataclass(frozen=True)
class Panel:
    """A picture with its caption; by `kind` it has a legend, a bar of colours or arrows."""

    kind: str
    title: str
    caption: str
    picture: Picture
    alt: str


def write(
    run: Mapping[str, Any],
    names: Mapping[str, str],
    inputs: Inputs,
    views: Views,
    offset_vectors: Sequence[Vector],
) -> None:
    """Write the page of a run, among the files that `views` are of.

    `run`: its plain data, as in --json; paths in it are replaced by names, which `names` has for each path. Inputs,
    options and versions are read from the tags of the product.
    """
    run = facts.without_paths(run, names)
    drawing = vectors.drawn(views.survey.grid, offset_vectors)
    page = rendered(
        "page.html",
        run=run,
        name=inputs.scene.path.name,
        scene=_described(inputs, views),
        summary=facts.summary(run),
        notes=list(facts.notes(run)),
        classes=facts.classes(run["pixels"]),
        offsets=facts.offsets(run),
        true_colour=views.true_colour,
        infrared=views.infrared,
        panels=list(_panels(views, run, drawing)),
        legend=facts.legend(run["pixels"] if QA in views.files else None),
        drawing=drawing,
        bar=_bar() if UNCERTAINTY in views.files else None,
        provenance=provenance.stated(views.files[OUTPUT]),
        percent=facts.percent,
        metres=facts.metres,
    )
    views.files[REPORT].write_bytes(page)


def read_numbers(page: Path) -> dict[str, Any]:
    """Return the plain data in a page; empty where it is no page of ours."""
    try:
        with page.open("rb") as file:
            text = file.read(_HEAD_BYTES).decode("utf-8", "replace")
        run = json.loads(text.partition(_MARK)[2].partition("</script>")[0])
    except (OSError, ValueError):
        return {}
    return run if isinstance(run, dict) else {}


def _described(inputs: Inputs, views: Views) -> dict[str, str]:
    """Return the scene in words: time, size, place, quantity."""
    scene, (height, width) = inputs.scene, views.part.shape
    size_m, crs = scene.grid.pixel_size_m, scene.grid.crs.to_string()
    dates = dict.fromkeys(str(band.acquired) for band in inputs.sar.bands)
    return {
        "Scene of": str(inputs.acquired),
        "Sentinel-1 of": "; ".join(dates) or "no date: there is none",
        "Size": f"{width} × {height} pixels of {size_m:.3g} m ({height * width * size_m**2 / 1e6:.3g} km²)",
        "Coordinates": crs if len(crs) < 40 else "a system without a code",
        "Quantity": scene.quantity,
    }


def _panels(views: Views, run: Mapping[str, Any], drawing: vectors.Drawing | None) -> Iterator[Panel]:
    if run["coregistration"]:
        yield Panel(
            "radar",
            "Sentinel-1",
            f"Red VV, green VH, blue VV/VH, {_moved(run['coregistration'])}.",
            views.radar,
            "Sentinel-1 backscatter of the same ground, in false colours",
        )
    for number, (picture, image) in enumerate(zip(views.references, run["references"], strict=True), 1):
        date = image["acquired"] or "an unknown date"
        yield Panel(
            "reference",
            f"Image {number}",
            f"{Path(image['file']).name} of {date}, {_moved(image['coregistration'])}; empty under its own clouds.",
            picture,
            f"Optical image of the same ground of {date}, true colour",
        )
    without_qa = " Drawn from pixels that differ from the scene; --qa distinguishes the classes."
    yield Panel(
        "quality",
        "Quality",
        f"What became of each pixel.{'' if QA in views.files else without_qa}",
        views.quality_picture,
        "Which pixels were observed and which reconstructed",
    )
    if UNCERTAINTY in views.files:
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
            f"The shift of radar by each window of the whole scene, drawn {drawing.times:.2g} times as long as it is. "
            "Green arrows were used for the estimate; red, dashed ones were rejected.",
            views.whole,
            "The scene with an arrow for each window of co-registration",
        )


def _moved(offset: Mapping[str, Any]) -> str:
    if not offset["accepted"]:
        return "left where it is"
    shift = offset["shift_m"]
    return f"moved by {facts.metres(shift['east'])} east, {facts.metres(shift['north'])} north"


def _bar() -> dict[str, Any]:
    steps = [BRIGHTEST_DEVIATION * third / 3 for third in range(4)]
    return {"picture": deviation_bar(), "ticks": [*(f"{step:g}" for step in steps[:3]), f"≥ {steps[3]:g}"]}
