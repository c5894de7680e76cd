"""What the numbers of an optical image are: which quantity, and how a stored number becomes reflectance.

What decides, in this order: the options; the file's own tags and header; whole words of its name. What is found is then
checked against the values, and refused where they cannot be that, or where nothing decides.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain
from xml.etree import ElementTree

import numpy as np
from rasterio import DatasetReader

from cloudfree.arrays import Float64Array
from cloudfree.bands import REFLECTANCE_SCALE
from cloudfree.errors import InputError
from cloudfree.inputs.decision import Decision
from cloudfree.inputs.location.source import Source
from cloudfree.inputs.optical import planet_product

SURFACE, TOA, RADIANCE = "surface reflectance", "top-of-atmosphere reflectance", "top-of-atmosphere radiance"
COUNTS = "unscaled counts"

QUANTITIES = {"surface-reflectance": SURFACE, "toa-reflectance": TOA, "radiance": RADIANCE}
"""What `--planet-quantity` allows, and what it means."""

NAME_WORDS: tuple[tuple[frozenset[str], str], ...] = (
    (frozenset({"analyticms", "dn"}), COUNTS),
    (frozenset({"analytic", "dn"}), COUNTS),
    (frozenset({"toar"}), TOA),
    (frozenset({"sr"}), SURFACE),
    (frozenset({"analyticms"}), RADIANCE),
    (frozenset({"analytic"}), RADIANCE),
)
"""Whole words that a product's name has together, and the quantity that they state; the first that fits counts."""

HEADER_KEYS = {"atmospheric_correction": SURFACE, "reflectance_coefficients": RADIANCE}
"""Keys in the JSON that Planet writes into a TIFF's image description, and the quantity that they state."""

_OWN_TAG = "CLOUDFREE_QUANTITY"
_DARKEST, _BRIGHTEST = 0.03, 1.6
"""Reflectance that the brightest hundredth of a scene reaches, and that its median stays under: 8-bit pictures in 16
bits end at 0.0255, which is no ground; snow and cloud are at most about as bright as a white sheet, 1."""
_HIGHEST_FRACTION, _LOWEST_TEN_THOUSANDTH = 2.0, 100.0
"""Floats of which the brightest hundredth is under the one are reflectance, over the other reflectance x 10000."""


@dataclass(frozen=True)
class QuantityOptions:
    """What a user says of a scene's numbers: `quantity`, a key of `QUANTITIES`; `scale`, the reflectance of one."""

    quantity: str | None = None
    scale: tuple[float, ...] | None = None


@dataclass(frozen=True)
class Radiometry:
    """Reflectance is a stored number times `scale` plus `offset`, by band (4,); `reasons` say why."""

    quantity: str
    scale: tuple[float, ...]
    offset: tuple[float, ...]
    reasons: tuple[Decision, ...]


def identify(
    path: Source,
    dataset: DatasetReader,
    indexes: tuple[int, ...],
    values: Float64Array,
    told: QuantityOptions | None = None,
) -> Radiometry:
    """What the bands `indexes` (4,) hold, by what the file states and by a sample `values` (4, N) of its data.

    Raises InputError where it is what cannot become reflectance, or where nothing decides.
    """
    told = told or QuantityOptions()
    quantity, why = next(chain(_statements(path, dataset, told), [(SURFACE, "nothing says otherwise")]))
    if quantity == COUNTS and not told.scale:
        raise InputError(
            f"{path.name} holds unscaled counts ({why}), for which no coefficients exist; reflectance or radiance is "
            "needed: order ortho_analytic_4b_sr or _8b_sr, or say otherwise with --planet-quantity"
        )
    scale, offset, stated = _scale(path, dataset, indexes, values, told, (quantity, why))
    reasons = Decision(quantity, why, "--planet-quantity"), Decision(*stated, "--planet-scale")
    return Radiometry(quantity, scale, offset, reasons)


def check(name: str, dtype: str, values: Float64Array, found: Radiometry) -> None:
    """Raise InputError where a sample (4, N) of stored values cannot be what was found."""
    if not values.size:
        return
    with np.errstate(all="ignore"):
        reflectance = values * np.array(found.scale)[:, None] + np.array(found.offset)[:, None]
        middle, high = map(float, np.percentile(reflectance, (50, 99)))
    if not (high >= _DARKEST and middle <= _BRIGHTEST):  # nor if a scale makes them no numbers
        low, top = float(values.min()), float(values.max())
        raise InputError(
            f"{name} holds {dtype} of {low:.6g} to {top:.6g}, as {found.quantity} ({found.reasons[1].why}) a median of "
            f"{middle:.3g} and 99 % under {high:.3g}; reflectance lies between 0 and {_BRIGHTEST}, stored as fractions "
            "or x 10000 (uint16, int16, float): say what one stored number is with --planet-scale"
        )


def header(dataset: DatasetReader) -> dict[str, object]:
    """The JSON that Planet writes into the TIFF's image description, its `properties` if it has some."""
    try:
        found = json.loads(dataset.tags().get("TIFFTAG_IMAGEDESCRIPTION", ""))
    except ValueError:
        return {}
    inner = found.get("properties", found) if isinstance(found, dict) else {}
    return inner if isinstance(inner, dict) else {}


def words_of(path: Source, dataset: DatasetReader) -> set[str]:
    """Whole words of the names of a file, of what it links to, and of the files that it is made of."""
    names = [*planet_product.names_of(path), *map(Source.of, dataset.files)]
    return {word for name in names for word in planet_product.words(name.stem)}


# --- which quantity ---


def _statements(path: Source, dataset: DatasetReader, told: QuantityOptions) -> Iterator[tuple[str, str]]:
    """Who states a quantity, the most reliable first."""
    if told.quantity:
        yield QUANTITIES[told.quantity], "--planet-quantity"
    if own := dataset.tags().get(_OWN_TAG):
        yield own.strip('"'), f"cloudfree's own tag {_OWN_TAG}"
    said = header(dataset)
    for key, quantity in HEADER_KEYS.items():
        if key in said:
            yield quantity, f"the file's {key.replace('_', ' ')} tag"
    words = words_of(path, dataset)
    for together, quantity in NAME_WORDS:
        if together <= words:
            yield quantity, f"the name says {' and '.join(sorted(together))}"


# --- which scale ---


def _scale(
    path: Source,
    dataset: DatasetReader,
    indexes: tuple[int, ...],
    values: Float64Array,
    told: QuantityOptions,
    stated: tuple[str, str],
) -> tuple[tuple[float, ...], tuple[float, ...], tuple[str, str]]:
    """Scale and offset to reflectance, and these in words with the reason."""
    none = (0.0,) * len(indexes)
    if told.scale:
        scale = told.scale if len(told.scale) == len(indexes) else told.scale[:1] * len(indexes)
        return scale, none, (_in_words(scale), "--planet-scale")
    scale, offset = (tuple(float(of[i - 1]) for i in indexes) for of in (dataset.scales, dataset.offsets))
    if set(scale) != {1.0} or set(offset) != {0.0}:
        return scale, offset, (_in_words(scale, offset), "reflectance by the scale and offset that the file states")
    if stated[0] == RADIANCE:
        scale, why = _coefficients(path, dataset, indexes, stated[1])
        return scale, none, (_in_words(scale), why)
    one, why = _of_values(path.name, dataset.dtypes[indexes[0] - 1], values)
    return (one,) * len(indexes), none, (_in_words((one,)), why)


def _of_values(name: str, dtype: str, values: Float64Array) -> tuple[float, str]:
    """The scale of numbers without a stated one, and why."""
    if dtype.startswith(("int", "uint")):
        return REFLECTANCE_SCALE, f"reflectance x 10000: {dtype}, and nothing states a scale"
    high = float(np.percentile(values, 99)) if values.size else 0.0
    if high <= _HIGHEST_FRACTION:
        return 1.0, f"reflectance: floats, 99 % under {high:.3g}"
    if high < _LOWEST_TEN_THOUSANDTH:
        raise InputError(
            f"{name} holds {dtype}, 99 % under {high:.3g}; reflectance is stored as fractions or x 10000 (uint16, "
            "int16, float), or with a scale tag: convert it, or say what one stored number is with --planet-scale"
        )
    return REFLECTANCE_SCALE, f"reflectance x 10000: floats, 99 % under {high:.4g}"


def _coefficients(
    path: Source, dataset: DatasetReader, indexes: tuple[int, ...], why: str
) -> tuple[tuple[float, ...], str]:
    """Reflectance of one number of radiance by band, from the file's header or the XML beside it, and where from."""
    found, source = _from_header(dataset), "coefficients in the file's header"
    if not found:
        xml = planet_product.find(path, planet_product.METADATA_XML)
        found, source = (_from_xml(xml), f"coefficients in {xml.name}") if xml else ({}, "")
    if not all(0 < found.get(index, 0) < 1 for index in indexes):
        raise InputError(
            f"{path.name} is top-of-atmosphere radiance ({why}), and its reflectance coefficients are neither in its "
            "header nor in a _metadata.xml beside it; reflectance is needed: order the _SR product, fetch the XML, or "
            "say otherwise with --planet-quantity or --planet-scale"
        )
    return tuple(found[index] for index in indexes), source


def _from_header(dataset: DatasetReader) -> dict[int, float]:
    listed = header(dataset).get("reflectance_coefficients")
    if not isinstance(listed, list) or not all(isinstance(each, int | float) for each in listed):
        return {}
    return {number: float(each) for number, each in enumerate(listed, 1)}


def _from_xml(path: Source) -> dict[int, float]:
    """Reflectance of one digital number by one-based band, from the metadata that Planet puts beside a scene."""
    try:
        root = ElementTree.fromstring(path.read_bytes())
        bands = [element for element in root.iter() if _tag(element) == "bandSpecificMetadata"]
        pairs = [(_child(band, "bandNumber"), _child(band, "reflectanceCoefficient")) for band in bands]
        return {int(number): float(value) for number, value in pairs if number and value}
    except (ElementTree.ParseError, ValueError, LookupError, OSError) as error:
        raise InputError(f"{path.name} is not Planet's metadata ({error}); fetch it again or remove it") from error


def _tag(element: ElementTree.Element) -> str:
    return element.tag.rpartition("}")[2]


def _child(element: ElementTree.Element, tag: str) -> str | None:
    return next((child.text for child in element if _tag(child) == tag), None)


def _in_words(scale: tuple[float, ...], offset: tuple[float, ...] = ()) -> str:
    one = f"{scale[0]:g}" if len(set(scale)) == 1 else ", ".join(f"{each:g}" for each in scale)
    plus = f", offset {offset[0]:g}" if any(offset) else ""
    return f"scale {one}{plus}"
