"""Which bands of an optical image are blue, green, red and NIR."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence

from rasterio import DatasetReader

from cloudfree.bands import OPTICAL_BANDS, PLANET_BANDS
from cloudfree.errors import InputError
from cloudfree.inputs.decision import Decision
from cloudfree.inputs.optical import missions, planet_product
from cloudfree.inputs.optical.missions import Mission
from cloudfree.inputs.raster import dimensions, validity

_OPTION = "--planet-bands"
_MOST_SHOWN = 12  # names of bands in a message
_COLOURS = {*OPTICAL_BANDS, "alpha"}

BAND_NAMES = {
    "blue": ("blue", "b"),
    "green": ("green", "g"),
    "red": ("red", "r"),
    "nir": ("nir", "nir08", "nir1", "n"),
}
"""What bands are called: by colour, by letter; the first that one band alone has counts."""

OTHER_BANDS = {"coastal", "edge", "i"}
"""Coastal blue, red edge, SuperDove's green I: a colour in the name of another band."""

CENTRAL_NM = {"blue": (470, 500), "green": (540, 570), "red": (625, 680), "nir": (800, 900)}
"""Central wavelengths in nanometres that are of these bands in PlanetScope (PS2 485, 545, 630, 820; PSB.SD 490, 565,
665, 865) and Sentinel-2 (492, 560, 665, 833), and not of their neighbours (green I 531, yellow 610, red edge 705)."""

_GENERIC = {
    "band",
    "layer",
    "lyr",
    "channel",
    "central",
    "wavelength",
    "nanometers",
    "nanometer",
    "micrometers",
    "nm",
    "um",
}
_NAME_TAGS = {"name", "band", "bandname", "band_name", "common_name", "long_name", "description"}
_NAME_TAGS |= {"netcdf_dim_band", "netcdf_dim_bands", "netcdf_dim_wavelength"}
_NEAR_INFRARED = re.compile(r"near[ _-]?infra[ _-]?red|near[ _-]?ir\b")
_NUMBERED = re.compile(r"(?:b|band|layer|lyr|channel)?0*(\d{1,2}a?)")
"""A band's number in a word of its name: B02, b2, band8, B8A, or the 8 of `Band 8`."""
_WAVELENGTH = re.compile(r"b?(\d{3,4})(?:nm)?")
"""A wavelength in nanometres in a word of a name: `865 nm`, B865."""
_TEN_METRES = {"2", "3", "4", "8"}  # Sentinel-2's bands of 10 m, which are no count of four
_PER_NM = {"nanometers": 1.0, "nm": 1.0, "micrometers": 1000.0, "um": 1000.0}

Indexes = tuple[int, ...]
"""One-based numbers of the blue, green, red and NIR bands."""


def choose_bands(
    dataset: DatasetReader, *, is_planet: bool, numbers: tuple[int, ...] | None = None
) -> tuple[Indexes, Decision]:
    """The blue, green, red and NIR bands of an open image, and why.

    Evidence counts in this order: the user's `numbers` (--planet-bands); the names of colours; band numbers, where the
    product is known whose they are; central wavelengths; the order of PlanetScope's products, where the file is one by
    its name or header, or by the user's word (`is_planet`), and no band is named; and of other images their colour
    interpretation, and last their position. Of a PlanetScope scene these two decide nothing: its files call the bands
    red, green, blue, which are blue, green, red. Numbers that only count, as b1 to b8, are no names.

    Raises InputError where nothing decides, or where `numbers` do not fit.
    """
    if numbers is not None:
        if not len(numbers) == len(set(numbers)) == 4 or not all(1 <= n <= dataset.count for n in numbers):
            raise InputError(
                f"{_OPTION} {','.join(map(str, numbers))} does not fit the {dataset.count} bands of "
                f"{dataset.source.name}; four different numbers of 1..{dataset.count} are needed: blue, green, red, NIR"
            )
        return numbers, _decision(numbers, _OPTION, _OPTION)
    _refuse_dates(dataset, is_planet)
    for indexes, why in _evidence(dataset, is_planet):
        if indexes:
            return indexes, _decision(indexes, why, _OPTION if is_planet else None)
    raise InputError(_undecided_scene(dataset) if is_planet else _undecided_image(dataset))


def _refuse_dates(dataset: DatasetReader, is_planet: bool) -> None:
    """Raise InputError where bands are of different dates, as those of one variable of a netCDF file may be."""
    dates = list(dict.fromkeys(filter(None, (dimensions.date_of(dataset, index) for index in dataset.indexes))))
    if len(dates) > 1:
        mend = f"say which bands are its with {_OPTION}, or " if is_planet else ""
        raise InputError(
            f"{dataset.source.name} has bands of {len(dates)} dates ({', '.join(dates[:_MOST_SHOWN])}); one date is "
            f"needed: {mend}write it as a file of its own"
        )


def _evidence(dataset: DatasetReader, is_planet: bool) -> Iterator[tuple[Indexes | None, str]]:
    count = _count_without_alpha(dataset)
    is_analytic = planet_product.is_analytic(dataset)
    of_planet = is_planet or is_analytic
    words = _telling([band_words(dataset, index) for index in dataset.indexes][:count])
    colours = [{colour.name} - {"undefined", "gray"} for colour in dataset.colorinterp[:count]]
    yield bands_by_words(words), "band descriptions or tags"
    mission = None if is_analytic else missions.of_dataset(dataset) or _sentinel_2_by_numbers(words)
    if mission:
        yield _by_number(words, mission.numbers), f"band descriptions or tags, by the numbers of {mission.title}"
    yield _by_wavelength(dataset, words), "central wavelengths"
    numbers = [*map(_number, words)]
    only_count = numbers == [str(number) for number in range(1, count + 1)]
    if of_planet and not mission and all(numbers):
        yield _by_planets_number(words, dataset), "band descriptions or tags, by the numbers of PlanetScope"
    named = set() if only_count else set().union(*words)
    if of_planet and not named and not (mission and only_count):
        yield PLANET_BANDS.get(count), f"order of PlanetScope's {count}-band product"
    if not is_planet:
        yield bands_by_words(colours), "color interpretation"
        # Eight that only count may be Sentinel-2's; Landsat's, and eight of a known product, are in another order.
        unclear = [only_count, mission is not None, count != len(BAND_NAMES)]
        if sum(unclear) < 2 and not named and not set().union(*colours) & _COLOURS:
            yield _by_position(dataset, count), "by position, for nothing names them"


def _telling(words: Sequence[set[str]]) -> list[set[str]]:
    """The words of each band without those that all of them have: `SR` of SR_B2, the file's name."""
    common = {word for word in set.intersection(*words) if word not in BAND_NAMES}
    are_alike = all(named == words[0] for named in words)
    return list(words) if are_alike else [named - common for named in words]


def _count_without_alpha(dataset: DatasetReader) -> int:
    """The number of bands but for an alpha band behind as many as a PlanetScope product has."""
    count: int = dataset.count
    return count - 1 if count - 1 in PLANET_BANDS and validity.alpha_bands(dataset) == (count,) else count


def _by_position(dataset: DatasetReader, count: int) -> Indexes | None:
    """Four bands in order; eight only in the type of a PlanetScope scene, whose name may have been changed."""
    return PLANET_BANDS.get(count) if count == len(BAND_NAMES) or dataset.dtypes[0] == "uint16" else None


def _number(words: set[str]) -> str | None:
    """The one number in the words of a band: "2" of B02, "8a"; None where there is none, or more."""
    numbers = [match[1] for word in words if (match := _NUMBERED.fullmatch(word))]
    return numbers[0] if len(numbers) == 1 else None


def _by_number(words: Sequence[set[str]], wanted: Sequence[tuple[str, ...]]) -> Indexes | None:
    """The bands with the numbers of blue, green, red and NIR, of each the first that one band alone has."""
    numbers = [{number} if (number := _number(named)) else set() for named in words]
    return _four([_alone(numbers, names) for names in wanted])


def _by_planets_number(words: Sequence[set[str]], dataset: DatasetReader) -> Indexes | None:
    """Bands by their numbers in a product of four, or of eight where the name says so or a number is over four."""
    eight = "8b" in planet_product.words_of(dataset) or not {*map(_number, words)} <= {"1", "2", "3", "4"}
    return _by_number(words, [(str(number),) for number in PLANET_BANDS[8 if eight else 4]])


def _sentinel_2_by_numbers(words: Sequence[set[str]]) -> Mission | None:
    """Sentinel-2, where numbers tell: it alone has a band 8A, and no other a band 11 or 12 without a band 10."""
    numbers = {*map(_number, words)} - {None}
    tells = "8a" in numbers or ({"11", "12"} & numbers and "10" not in numbers)
    return missions.SENTINEL_2 if tells or (numbers == _TEN_METRES and len(words) == len(numbers)) else None


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


def bands_of_names(words: Sequence[set[str]], names: Iterable[str]) -> Indexes | None:
    """Blue, green, red and NIR among files or variables by the words of each one's name, and `names` of the product."""
    telling = _telling(words)
    if found := bands_by_words(telling):
        return found
    mission = missions.mission_of(names) or _sentinel_2_by_numbers(telling)
    return _by_number(telling, mission.numbers) if mission else None


def band_words(dataset: DatasetReader, index: int) -> set[str]:
    """The words that name a band, in lower case; no colour where the name of another band only mentions it."""
    words = band_texts(dataset, index) - _GENERIC
    return words - {*BAND_NAMES} if words & OTHER_BANDS else words


def band_texts(dataset: DatasetReader, index: int) -> set[str]:
    """All words in a band's description and the tags that name it, in lower case; near infrared is nir."""
    texts = [dataset.descriptions[index - 1] or ""]
    texts += [value for key, value in dataset.tags(index).items() if key.lower() in _NAME_TAGS]
    return set(planet_product.words(_NEAR_INFRARED.sub(" nir ", " ".join(texts).lower())))


def bands_by_words(words: Sequence[set[str]]) -> Indexes | None:
    """The bands whose words, a set for each, name colours; of four bands, three of them named, the nameless is NIR."""
    numbers = [_alone(words, names) for names in BAND_NAMES.values()]
    nameless = [number for number, named in enumerate(words, 1) if all(map(_NUMBERED.fullmatch, named))]
    if len(words) == len(numbers) and numbers[-1] is None and len(nameless) == 1:
        numbers[-1] = nameless[0]
    return _four(numbers)


def _by_wavelength(dataset: DatasetReader, words: Sequence[set[str]]) -> Indexes | None:
    """The bands whose central wavelengths, as ENVI headers or names state them, are those of `CENTRAL_NM`."""
    nm = [_central_nm(dataset, index) for index in dataset.indexes[: len(words)]]
    if not any(nm):
        nm = [_nm_in(named) for named in words]
    inside = ([i for i, at in enumerate(nm, 1) if at and low <= at <= high] for low, high in CENTRAL_NM.values())
    return _four([numbers[0] if len(numbers) == 1 else None for numbers in inside])


def _nm_in(words: set[str]) -> float | None:
    """The one wavelength in nanometres in the words of a band."""
    found = [float(match[1]) for word in words if (match := _WAVELENGTH.fullmatch(word))]
    return found[0] if len(found) == 1 else None


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
