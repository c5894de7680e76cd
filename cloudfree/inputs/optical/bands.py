"""Which bands of an optical image are blue, green, red and NIR."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from rasterio import DatasetReader

from cloudfree.bands import OPTICAL_BANDS, PLANET_BANDS
from cloudfree.errors import InputError
from cloudfree.inputs.decision import Decision
from cloudfree.inputs.optical import planet_product
from cloudfree.inputs.raster import validity

_OPTION = "--planet-bands"
_MOST_SHOWN = 12  # names of bands in a message
_COLOURS = {*OPTICAL_BANDS, "alpha"}

BAND_NAMES = {
    "blue": ("blue", "b02", "b2", "b"),
    "green": ("green", "b03", "b3", "g"),
    "red": ("red", "b04", "b4", "r"),
    "nir": ("nir", "b08", "b8", "nir08", "nir1", "b8a", "n"),
}
"""What bands are called: by colour, by Sentinel-2's numbers, by letter; the first that one band alone has counts."""

OTHER_BANDS = {"coastal", "edge", "i"}
"""Coastal blue, red edge, SuperDove's green I: a colour in the name of another band."""

CENTRAL_NM = {"blue": (470, 500), "green": (540, 570), "red": (625, 680), "nir": (800, 900)}
"""Central wavelengths in nanometres that are of these bands in PlanetScope (PS2 485, 545, 630, 820; PSB.SD 490, 565,
665, 865) and Sentinel-2 (492, 560, 665, 833), and not of their neighbours (green I 531, yellow 610, red edge 705)."""

_GENERIC = {"band", "layer", "channel", "nanometers", "nanometer", "micrometers", "nm", "um"}
_NAME_TAGS = {"name", "band", "bandname", "band_name", "common_name", "long_name", "description"}
_NEAR_INFRARED = re.compile(r"near[ _-]?infra[ _-]?red|near[ _-]?ir\b")
_PER_NM = {"nanometers": 1.0, "nm": 1.0, "micrometers": 1000.0, "um": 1000.0}

Indexes = tuple[int, ...]
"""One-based numbers of the blue, green, red and NIR bands."""


def choose_bands(
    dataset: DatasetReader, *, is_planet: bool, numbers: tuple[int, ...] | None = None
) -> tuple[Indexes, Decision]:
    """The blue, green, red and NIR bands of an open image, and why.

    Evidence counts in this order: the user's `numbers` (--planet-bands); band names; central wavelengths; the order of
    PlanetScope's products, where the file is one by its name or header, or by the user's word (`is_planet`) and no band
    is named; and of other images their colour interpretation, and last their position. Of a PlanetScope scene these two
    decide nothing: its files call the bands red, green, blue, which are blue, green, red.

    Raises InputError where nothing decides, or where `numbers` do not fit.
    """
    if numbers is not None:
        if not len(numbers) == len(set(numbers)) == 4 or not all(1 <= n <= dataset.count for n in numbers):
            raise InputError(
                f"{_OPTION} {','.join(map(str, numbers))} does not fit the {dataset.count} bands of "
                f"{dataset.source.name}; four different numbers of 1..{dataset.count} are needed: blue, green, red, NIR"
            )
        return numbers, _decision(numbers, _OPTION, _OPTION)
    for indexes, why in _evidence(dataset, is_planet):
        if indexes:
            return indexes, _decision(indexes, why, _OPTION if is_planet else None)
    raise InputError(_undecided_scene(dataset) if is_planet else _undecided_image(dataset))


def _evidence(dataset: DatasetReader, is_planet: bool) -> Iterator[tuple[Indexes | None, str]]:
    names = [band_words(dataset, index) for index in dataset.indexes]
    colours = [{colour.name} - {"undefined", "gray"} for colour in dataset.colorinterp]
    yield bands_by_words(names), "band descriptions or tags"
    yield _by_wavelength(dataset), "central wavelengths"
    count = _count_without_alpha(dataset)
    named = set().union(*names[:count])
    in_planets_order = not named if is_planet else planet_product.is_analytic(dataset) and not named & _COLOURS
    if in_planets_order:
        yield PLANET_BANDS.get(count), f"order of PlanetScope's {count}-band product"
    if not is_planet:
        yield bands_by_words(colours), "color interpretation"
        if not named.union(*colours) & _COLOURS:
            yield _by_position(dataset), "by position, for nothing names them"


def _count_without_alpha(dataset: DatasetReader) -> int:
    """The number of bands but for an alpha band behind as many as a PlanetScope product has."""
    count: int = dataset.count
    return count - 1 if count - 1 in PLANET_BANDS and validity.alpha_bands(dataset) == (count,) else count


def _by_position(dataset: DatasetReader) -> Indexes | None:
    """Four bands in order; eight only in the type of a PlanetScope scene, whose name may have been changed."""
    return PLANET_BANDS.get(dataset.count) if dataset.count == 4 or dataset.dtypes[0] == "uint16" else None


def _decision(indexes: Indexes, why: str, option: str | None) -> Decision:
    return Decision(f"blue, green, red, NIR are bands {', '.join(map(str, indexes))}", why, option)


def _undecided_scene(dataset: DatasetReader) -> str:
    named = [text for text in dataset.descriptions if text]
    shown = f"named {', '.join(named[:_MOST_SHOWN])}" if named else "without names"
    count = "1 band" if dataset.count == 1 else f"{dataset.count} bands"
    return (
        f"{dataset.source.name} has {count} {shown}; a scene has 4 (blue, green, red, NIR) or 8 (SuperDove), in "
        f"this order or so named: give the analytic product, or say which is which with {_OPTION}"
    )


def _undecided_image(dataset: DatasetReader) -> str:
    texts = [text or colour.name for text, colour in zip(dataset.descriptions, dataset.colorinterp, strict=True)]
    named = ", ".join(texts[:_MOST_SHOWN]) + (", ..." if len(texts) > _MOST_SHOWN else "")
    bands = f"the {dataset.count} band{'s' if dataset.count > 1 else ''} of {dataset.source.name} ({named})"
    return (
        f"blue, green, red and NIR cannot be told apart in {bands}; one band named each is needed: "
        "name the bands with rio edit-info --bidx N --description NAME"
    )


def band_words(dataset: DatasetReader, index: int) -> set[str]:
    """The words that name a band, in lower case; no colour where the name of another band only mentions it."""
    words = {word for word in band_texts(dataset, index) if not word.isdigit()} - _GENERIC
    return words - {*BAND_NAMES} if words & OTHER_BANDS else words


def band_texts(dataset: DatasetReader, index: int) -> set[str]:
    """All words in a band's description and the tags that name it, in lower case; near infrared is nir."""
    texts = [dataset.descriptions[index - 1] or ""]
    texts += [value for key, value in dataset.tags(index).items() if key.lower() in _NAME_TAGS]
    return set(re.findall(r"[a-z0-9]+", _NEAR_INFRARED.sub(" nir ", " ".join(texts).lower())))


def bands_by_words(words: Sequence[set[str]]) -> Indexes | None:
    """The bands that these words, a set for each, name; of four bands with the colours named, the nameless is NIR."""
    numbers = [_alone(words, names) for names in BAND_NAMES.values()]
    nameless = [number for number, named in enumerate(words, 1) if not named]
    if len(words) == len(numbers) and numbers[-1] is None and len(nameless) == 1:
        numbers[-1] = nameless[0]
    return _four(numbers)


def _by_wavelength(dataset: DatasetReader) -> Indexes | None:
    """The bands whose central wavelengths, as ENVI headers state them, are those of `CENTRAL_NM`."""
    nm = [_central_nm(dataset, index) for index in dataset.indexes]
    inside = ([i for i, at in enumerate(nm, 1) if at and low <= at <= high] for low, high in CENTRAL_NM.values())
    return _four([numbers[0] if len(numbers) == 1 else None for numbers in inside])


def _four(numbers: Sequence[int | None]) -> Indexes | None:
    known = tuple(number for number in numbers if number is not None)
    return known if len(set(known)) == len(BAND_NAMES) else None


def _alone(words: Sequence[set[str]], names: tuple[str, ...]) -> int | None:
    """The number of the band that alone has one of the names, tried in order."""
    places = ([number for number, named in enumerate(words, 1) if name in named] for name in names)
    return next((numbers[0] for numbers in places if len(numbers) == 1), None)


def _central_nm(dataset: DatasetReader, index: int) -> float | None:
    tags = {key.lower(): value for key, value in dataset.tags(index).items()}
    try:
        return float(tags["wavelength"]) * _PER_NM[tags.get("wavelength_units", "nanometers").lower()]
    except (KeyError, ValueError):
        return None
