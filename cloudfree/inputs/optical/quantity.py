"""What the numbers of an optical image are: which quantity, and how a stored number becomes reflectance.

Evidence counts in this order: the user's options; the file's own tags and header; whole words of its name. The result
is then checked against the values, and refused where they cannot be that, or where nothing decides.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from rasterio import DatasetReader

from cloudfree.arrays import Float64Array
from cloudfree.bands import REFLECTANCE_SCALE
from cloudfree.errors import InputError
from cloudfree.inputs.decision import Decision
from cloudfree.inputs.location.source import Source
from cloudfree.inputs.optical import missions, planet_product
from cloudfree.inputs.optical.planet_product import COUNTS, RADIANCE, SURFACE, TOA

QUANTITIES = {"surface-reflectance": SURFACE, "toa-reflectance": TOA, "radiance": RADIANCE}
"""What `--planet-quantity` allows, and what it means."""

log = logging.getLogger(__name__)

_LEAST_COEFFICIENT = 1e-8  # Planet's are some 1e-5
_OWN_TAG = "CLOUDFREE_QUANTITY"
_BY_OPTION = "say what one stored number is with --planet-scale"
_DARKEST, _BRIGHTEST, _HIGHEST = 0.03, 1.6, 2.0
"""Reflectance that the brightest hundredth of a scene reaches, that its median stays under, and that hundredth too:
8-bit pictures in 16 bits end at 0.0255, which is no ground; snow and cloud are about as bright as a white sheet, 1."""
_LANDSAT_FLOOR, _RADIANCE_FLOOR = (6500, 9500), 2000
"""Numbers that half a percent of a Collection 2 image stays under, and of radiance's blue is over. So is an image that
is all cloud, which is about as bright in all four bands, as radiance of land and Landsat's numbers are not."""
_HIGHEST_FRACTION, _LOWEST_TEN_THOUSANDTH = 2.0, 100.0
"""Floats of which the brightest hundredth is under the one are reflectance, over the other reflectance x 10000."""


@dataclass(frozen=True)
class QuantityOptions:
    """Options for reading a scene's numbers, those of `files.InputOptions`; None means: take it from the file."""

    quantity: str | None = None
    scale: tuple[float, ...] | None = None


@dataclass(frozen=True)
class Radiometry:
    """Reflectance is a stored number times `scale` plus `offset`, by band (4,).

    `quantity` is one of the constants of `planet_product`. The two `reasons` are of the quantity and of the scale.
    """

    quantity: str
    scale: tuple[float, ...]
    offset: tuple[float, ...]
    reasons: tuple[Decision, ...]


def identify(
    dataset: DatasetReader, indexes: tuple[int, ...], values: Float64Array, options: QuantityOptions | None = None
) -> Radiometry:
    """The quantity and scale of the bands `indexes` (4,), given a sample `values` (4, N) of their stored data.

    `options` are of a scene; None: it is an image of another date. Raises InputError where the quantity cannot become
    reflectance, or where nothing decides.
    """
    is_scene, options = options is not None, options or QuantityOptions()
    stated = next(_statements(dataset, options), None)
    quantity, why = stated or (SURFACE, "nothing says otherwise")
    if quantity == COUNTS and not options.scale:
        raise InputError(
            f"{dataset.source.name} holds unscaled counts ({why}); reflectance or radiance is needed: order "
            f"{'a product of level 2' if why.startswith('Landsat') else 'ortho_analytic_4b_sr or _8b_sr'}, or say "
            "otherwise with --planet-quantity"
        )
    scale, offset, why_scale = _scale(dataset, indexes, values, options, (quantity, why))
    if not stated and not options.scale and set(scale) == {REFLECTANCE_SCALE} and not any(offset):
        _doubt(dataset.source.name, values, is_scene)
    in_words = Decision(_in_words(scale, offset), why_scale, "--planet-scale")
    return Radiometry(quantity, scale, offset, (Decision(quantity, why, "--planet-quantity"), in_words))


def check(name: str, dtype: str, values: Float64Array, radiometry: Radiometry, mend: str = _BY_OPTION) -> None:
    """Raise InputError where a sample (4, N) of stored values cannot be reflectance at this scale and offset.

    `mend` is what to do about it.
    """
    if not values.size:
        return
    with np.errstate(all="ignore"):
        reflectance = values * np.array(radiometry.scale)[:, None] + np.array(radiometry.offset)[:, None]
        middle, high = map(float, np.percentile(reflectance, (50, 99)))
    if not (high >= _DARKEST and middle <= _BRIGHTEST and high <= _HIGHEST):  # nor if a scale makes them no numbers
        low, top = float(values.min()), float(values.max())
        raise InputError(
            f"{name} holds {dtype} of {low:.6g} to {top:.6g}, as {radiometry.quantity} ({radiometry.reasons[1].why}) a "
            f"median of {middle:.3g} and 99 % under {high:.3g}; reflectance lies between 0 and {_BRIGHTEST}, stored as "
            f"fractions or x 10000 (uint16, int16, float): {mend}"
        )


def _doubt(name: str, values: Float64Array, is_scene: bool) -> None:
    """Raise InputError where numbers (4, N) that nothing explains are hardly reflectance x 10000.

    Where they may be, a warning is logged: haze lifts numbers as an offset does.
    """
    if not values.size:
        return
    told = "--planet-quantity or --planet-scale" if is_scene else "a scale and an offset (gdal_edit.py -scale -offset)"
    darkest = np.percentile(values, 0.5, axis=1)
    blue, _, red, nir = np.median(values, axis=1)
    found = None
    if _LANDSAT_FLOOR[0] <= darkest.min() <= _LANDSAT_FLOOR[1] and nir >= 1.2 * blue:
        found = "as Landsat's Collection 2 stores reflectance (x 2.75e-5 - 0.2)"
    elif darkest[0] >= _RADIANCE_FLOOR and blue >= 1.3 * red and nir >= 1.3 * red:
        found = "as PlanetScope's radiance is"
    least = ", ".join(f"{number:.0f}" for number in darkest)
    if found:
        raise InputError(
            f"{name} holds numbers of at least {least} in its four bands, {found}, and nothing says what they are; "
            f"reflectance is needed: say it with {told}, or give the file its product's name"
        )
    if missions.may_be_shifted(values):
        log.warning(
            "%s is taken for reflectance x 10000, for nothing says otherwise, and shows nothing dark (at least %s in "
            "its four bands): if it is not all cloud or haze, it may be radiance, or have 1000 added as Sentinel-2 has "
            "since 2022; then say it with %s",
            name,
            least,
            told,
        )


def _statements(dataset: DatasetReader, options: QuantityOptions) -> Iterator[tuple[str, str]]:
    """Quantities that are stated, and by what; the most reliable statement first."""
    if options.quantity:
        yield QUANTITIES[options.quantity], "--planet-quantity"
    if own := dataset.tags().get(_OWN_TAG):
        yield own.strip('"'), f"cloudfree's own tag {_OWN_TAG}"
    header = planet_product.header(dataset)
    for key, quantity in planet_product.QUANTITY_KEYS.items():
        if key in header:
            yield quantity, f"the file's {key.replace('_', ' ')} tag"
    words = planet_product.words_of(dataset)
    for together, quantity in planet_product.QUANTITY_WORDS:
        if together <= words:
            yield quantity, f"the name says {' and '.join(sorted(together))}"
    if mission := missions.of_dataset(dataset):
        yield missions.quantity_of(mission, missions.names_of(dataset)), f"{mission.title}, by its name or tags"


def _scale(
    dataset: DatasetReader,
    indexes: tuple[int, ...],
    values: Float64Array,
    options: QuantityOptions,
    stated: tuple[str, str],
) -> tuple[tuple[float, ...], tuple[float, ...], str]:
    """Scale and offset to reflectance by band (4,), and the reason; `stated` is the quantity and its own reason."""
    none = (0.0,) * len(indexes)
    if options.scale:
        scale = options.scale if len(options.scale) == len(indexes) else options.scale[:1] * len(indexes)
        return scale, none, "--planet-scale"
    scale, offset = (tuple(float(of[i - 1]) for i in indexes) for of in (dataset.scales, dataset.offsets))
    if set(scale) != {1.0} or set(offset) != {0.0}:
        return scale, offset, "reflectance by the scale and offset that the file states"
    if stated[0] == RADIANCE:
        scale, why = _coefficients(dataset, indexes, stated[1])
        return scale, none, why
    mission = missions.of_dataset(dataset)
    one, why = _of_values(dataset.source.name, dataset.dtypes[indexes[0] - 1], values)
    if mission and values.size:
        as_whole_numbers = one / REFLECTANCE_SCALE
        scale_of_whole, shift, why = missions.scale_of(dataset, mission, values * as_whole_numbers)
        return (scale_of_whole * as_whole_numbers,) * len(indexes), (shift,) * len(indexes), why
    return (one,) * len(indexes), none, why


def _of_values(name: str, dtype: str, values: Float64Array) -> tuple[float, str]:
    """The scale of numbers without a stated one, and why."""
    if dtype.startswith(("int", "uint")):
        return REFLECTANCE_SCALE, f"reflectance x 10000: {dtype}, and nothing states a scale"
    ground = values[:, (values <= _HIGHEST_FRACTION).any(axis=0)]
    if ground.shape[1] < values.shape[1] / 2:  # the rest may be fill that nothing declares: 9999 among fractions
        ground = values
    high = float(np.percentile(ground, 99)) if values.size else 0.0
    if high <= _HIGHEST_FRACTION:
        return 1.0, f"reflectance: floats, 99 % under {high:.3g}"
    if high < _LOWEST_TEN_THOUSANDTH:
        raise InputError(
            f"{name} holds {dtype}, 99 % under {high:.3g}; reflectance is stored as fractions or x 10000 (uint16, "
            "int16, float), or with a scale tag: convert it, or say what one stored number is with --planet-scale"
        )
    return REFLECTANCE_SCALE, f"reflectance x 10000: floats, 99 % under {high:.4g}"


def _coefficients(dataset: DatasetReader, indexes: tuple[int, ...], why_radiance: str) -> tuple[tuple[float, ...], str]:
    """Reflectance of one number of radiance by band (4,), from the file's header or the XML beside it, and which."""
    path, coefficients, why = dataset.source, _from_header(dataset), "coefficients in the file's header"
    if not coefficients and (xml := planet_product.find(path, planet_product.METADATA_XML)):
        coefficients, why = _from_xml(xml), f"coefficients in {xml.name}"
    if not all(_LEAST_COEFFICIENT < coefficients.get(index, 0) < 1 for index in indexes):
        raise InputError(
            f"{path.name} is top-of-atmosphere radiance ({why_radiance}), and its reflectance coefficients are neither "
            "in its header nor in a _metadata.xml beside it; reflectance is needed: order the _SR product, fetch the "
            "XML, or say otherwise with --planet-quantity or --planet-scale"
        )
    return tuple(coefficients[index] for index in indexes), why


def _from_header(dataset: DatasetReader) -> dict[int, float]:
    listed = planet_product.header(dataset).get("reflectance_coefficients")
    if not isinstance(listed, list) or not all(isinstance(number, int | float) and number < 1 for number in listed):
        return {}
    return {index: float(number) for index, number in enumerate(listed, 1)}


def _from_xml(path: Source) -> dict[int, float]:
    metadata = planet_product.read_metadata(path)
    if metadata.damage:
        raise InputError(f"{path.name} is damaged ({metadata.damage}); Planet's metadata XML is needed: fetch it again")
    return metadata.reflectance_coefficients


def _in_words(scale: tuple[float, ...], offset: tuple[float, ...]) -> str:
    one = f"{scale[0]:g}" if len(set(scale)) == 1 else ", ".join(f"{number:g}" for number in scale)
    return f"scale {one}" + (f", offset {offset[0]:g}" if any(offset) else "")
