"""Which bands of an optical image are blue, green, red and NIR, by what they are called."""

from __future__ import annotations

import re

from rasterio import DatasetReader

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


def band_words(dataset: DatasetReader, index: int) -> set[str]:
    """What names a band, word by word in lower case; no colour where another band's name only mentions it."""
    words = {word for word in band_texts(dataset, index) if not word.isdigit()} - _GENERIC
    return words - {*BAND_NAMES} if words & OTHER_BANDS else words


def band_texts(dataset: DatasetReader, index: int) -> set[str]:
    """All words in a band's description and the tags that name it, in lower case; near infrared is nir."""
    texts = [dataset.descriptions[index - 1] or ""]
    texts += [value for key, value in dataset.tags(index).items() if key.lower() in _NAME_TAGS]
    return set(re.findall(r"[a-z0-9]+", _NEAR_INFRARED.sub(" nir ", " ".join(texts).lower())))


def bands_by_words(words: list[set[str]]) -> tuple[int, ...] | None:
    """The four bands that these words name; of four bands with the colours named, the nameless one is NIR."""
    found = [_alone(words, names) for names in BAND_NAMES.values()]
    nameless = [number for number, said in enumerate(words, 1) if not said]
    if len(words) == len(found) and found[-1] is None and len(nameless) == 1:
        found[-1] = nameless[0]
    return _four(found)


def bands_by_wavelength(dataset: DatasetReader) -> tuple[int, ...] | None:
    """The four bands whose central wavelengths, as ENVI headers state them, are those of `CENTRAL_NM`."""
    nm = [_central_nm(dataset, index) for index in dataset.indexes]
    inside = ([i for i, each in enumerate(nm, 1) if each and low <= each <= high] for low, high in CENTRAL_NM.values())
    return _four([numbers[0] if len(numbers) == 1 else None for numbers in inside])


def _four(found: list[int | None]) -> tuple[int, ...] | None:
    numbers = tuple(number for number in found if number is not None)
    return numbers if len(set(numbers)) == len(BAND_NAMES) else None


def _alone(words: list[set[str]], names: tuple[str, ...]) -> int | None:
    """The number of the band that alone has one of the names, tried in order."""
    places = ([number for number, said in enumerate(words, 1) if name in said] for name in names)
    return next((numbers[0] for numbers in places if len(numbers) == 1), None)


def _central_nm(dataset: DatasetReader, index: int) -> float | None:
    tags = {key.lower(): value for key, value in dataset.tags(index).items()}
    try:
        return float(tags["wavelength"]) * _PER_NM[tags.get("wavelength_units", "nanometers").lower()]
    except (KeyError, ValueError):
        return None
