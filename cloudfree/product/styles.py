"""How QGIS shows the rasters of a run: a `.qml` beside a file, of the same name, is applied when the file is opened.

Without it QGIS takes blue for red, and two bands of classes for a colour picture. QGIS multiplies numbers by the scale
of their band, so that limits here are reflectance.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from enum import IntEnum
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import rasterio
from rasterio.enums import Resampling

from cloudfree.bands import OPTICAL_BANDS, SKY_NODATA, Qa, SkyClass
from cloudfree.product import kinds, pictures, profiles
from cloudfree.product.kinds import Kind

_SHOWN_PX = 512  # of the longer side, from which contrast is found
_RAMP_STEPS, _NOTHING = 5, 1e-3  # of the ramp; its share up to which a colour is transparent

Colour = tuple[int, int, int]


def write(kind: Kind, raster: Path, target: Path) -> None:
    """Write the style of a raster of a kind, which is there, to `target`."""
    root = ElementTree.Element("qgis", version="3.22", styleCategories="Symbology")
    ElementTree.SubElement(root, "pipe").append(_RENDERERS[kind](raster))
    ElementTree.indent(root)
    document = ElementTree.tostring(root, encoding="unicode")
    mark = (kinds.STYLES[kind].mark or b"").decode()
    doctype = "<!DOCTYPE qgis PUBLIC 'http://mrcc.com/qgis.dtd' 'SYSTEM'>"
    target.write_text(f"{doctype}\n{mark}\n{document}\n", encoding="utf-8")


def _true_colour(raster: Path) -> ElementTree.Element:
    """Red, green and blue with the contrast of the picture beside the product."""
    with rasterio.open(raster) as dataset:
        scale = min(1.0, _SHOWN_PX / max(dataset.shape))
        height, width = (max(1, round(side * scale)) for side in dataset.shape)
        shown = dataset.read(out_shape=(dataset.count, height, width), resampling=Resampling.average)
        scales = dict(zip(OPTICAL_BANDS, dataset.scales, strict=True))
    low, high = pictures.contrast_limits(pictures.true_colour(shown))
    bands = {colour: OPTICAL_BANDS.index(colour) + 1 for colour in ("red", "green", "blue")}
    renderer = _renderer("multibandcolor", **{f"{colour}Band": band for colour, band in bands.items()})
    for colour in bands:
        contrast = ElementTree.SubElement(renderer, f"{colour}ContrastEnhancement")
        lowest, highest = (f"{limit * scales[colour]:g}" for limit in (low, high))
        stretch = {"minValue": lowest, "maxValue": highest, "algorithm": "StretchToMinimumMaximum"}
        for name, text in stretch.items():
            ElementTree.SubElement(contrast, name).text = text
    return renderer


def _classes(colours: profiles.Colours, names: Mapping[int, str]) -> Callable[[Path], ElementTree.Element]:
    """The first band by its classes, each with its colour and name."""

    def render(_: Path) -> ElementTree.Element:
        renderer = _renderer("paletted", band=1)
        palette = ElementTree.SubElement(renderer, "colorPalette")
        for value, (*colour, alpha) in colours.items():
            entry = {"value": int(value), "color": _hex(colour), "label": names[int(value)], "alpha": alpha}
            ElementTree.SubElement(palette, "paletteEntry", {key: str(text) for key, text in entry.items()})
        return renderer

    return render


def _deviation(_: Path) -> ElementTree.Element:
    """The near infrared's standard deviation, in reflectance; nothing where observed."""
    most = pictures.BRIGHTEST_DEVIATION
    band = OPTICAL_BANDS.index("nir") + 1
    renderer = _renderer("singlebandpseudocolor", band=band, classificationMin=0, classificationMax=f"{most:g}")
    shader = ElementTree.SubElement(
        *(ElementTree.SubElement(renderer, "rastershader"), "colorrampshader"),
        {"colorRampType": "INTERPOLATED", "classificationMode": "1", "clip": "0"}
        | {"minimumValue": "0", "maximumValue": f"{most:g}"},
    )
    shares = np.concatenate(([0], np.linspace(_NOTHING, 1, _RAMP_STEPS))).astype(np.float32)
    for share, colour in zip(shares, pictures.ramp(shares[None])[:, 0].T, strict=True):
        values = {"value": f"{share * most:g}", "label": f"{share * most:.3f}"}
        alpha = "255" if share else "0"
        ElementTree.SubElement(shader, "item", {**values, "color": _hex(colour), "alpha": alpha})
    return renderer


def _renderer(kind: str, **attributes: object) -> ElementTree.Element:
    given = {"type": kind, "opacity": 1, "alphaBand": -1, "nodataColor": "", **attributes}
    return ElementTree.Element("rasterrenderer", {name: str(value) for name, value in given.items()})


def _hex(colour: Sequence[int]) -> str:
    return "#{:02x}{:02x}{:02x}".format(*(int(channel) for channel in colour))


def _named(classes: type[IntEnum]) -> dict[int, str]:
    return {one.value: one.name.lower().replace("_", " ") for one in classes}


_RENDERERS: dict[Kind, Callable[[Path], ElementTree.Element]] = {
    kinds.OUTPUT: _true_colour,
    kinds.QA: _classes(profiles.QA_COLOURS, _named(Qa)),
    kinds.WRITE_MASK: _classes(profiles.SKY_COLOURS, {**_named(SkyClass), SKY_NODATA: "nodata"}),
    kinds.UNCERTAINTY: _deviation,
}
