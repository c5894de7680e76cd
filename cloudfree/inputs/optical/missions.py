"""Sensors other than PlanetScope's: how their products are known, number their bands and store reflectance.

Sources: the product specifications of Sentinel-2 (ESA), Landsat Collection 2 (USGS) and HLS (NASA).
"""

from __future__ import annotations

import logging
import math
import re
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime

import numpy as np
from rasterio import DatasetReader

from cloudfree.arrays import Float64Array
from cloudfree.bands import REFLECTANCE_SCALE
from cloudfree.errors import InputError
from cloudfree.inputs import acquisition
from cloudfree.inputs.location.source import Source
from cloudfree.inputs.optical import planet_product
from cloudfree.inputs.optical.planet_product import COUNTS, SURFACE, TOA

log = logging.getLogger(__name__)

_TAGS = ("SPACECRAFT_NAME", "SPACECRAFT_ID", "PLATFORM", "MISSION", "CONSTELLATION", "SATELLITE", "PRODUCT_URI")
"""Keys of tags that name a satellite or a product; values are compared like names."""

_START, _END = r"(?<![a-z0-9])", r"(?![a-z0-9])"
_LEVEL_1C, _LANDSAT_LEVEL_1 = re.compile(rf"{_START}(?:msi)?l1c{_END}"), re.compile(rf"{_START}l1(?:tp|gt|gs|t){_END}")
_TOA = re.compile(rf"{_START}(?:toa|toar){_END}")
_BASELINE = re.compile(rf"{_START}n(0[2-9]\d\d){_END}")
"""Sentinel-2's processing baseline in a product's name: N0400 is 04.00."""

_FIRST_SHIFTED, _SHIFTED_SINCE = 400, datetime(2022, 1, 25)
_SHIFTED = "reflectance x 10000 + 1000, as Sentinel-2 is stored since {}, and its values agree"
_SHIFT = -0.1
"""Reflectance to add to numbers x 0.0001 of Sentinel-2 since baseline 04.00: 1000 was added to all of them."""
_UNDER_THE_SHIFT, _RARELY, _NEAR_THE_SHIFT = 900, 0.01, 1600
"""Of shifted numbers, the least over four bands is hardly ever under the first, and somewhere under the last."""
_FEWEST = 100  # pixels of which that can be said
_FAR_UNDER, _OFTEN = 700, 0.05
"""Of numbers that were shifted back, the least is often under this, else hardly ever: water is slightly negative."""
_ADDED_TAG, _BASELINE_TAG = "BOA_ADD_OFFSET", "PROCESSING_BASELINE"
_LANDSAT_SCALE, _LANDSAT_SHIFT, _LEAST_LANDSAT = 2.75e-5, -0.2, 6500
"""Of Collection 2; numbers of which a hundredth is over the last in all bands: no reflectance is 7273."""


@dataclass(frozen=True)
class Mission:
    """A family of products.

    `pattern` finds it in names in lower case. `numbers`: what its blue, green, red and NIR bands are numbered, the
    first that is there. `is_collection_2` says whether its reflectance is stored as Landsat's Collection 2 stores it.
    """

    title: str
    pattern: re.Pattern[str]
    numbers: tuple[tuple[str, ...], ...]
    is_collection_2: bool = False


_OLI = ("2",), ("3",), ("4",), ("5",)

SENTINEL_2 = Mission(
    "Sentinel-2",
    re.compile(
        rf"{_START}(?:s2[a-d]?|sen2[a-d]?|sentinel[-_ ]?2[a-d]?|msil[12][abc]|hls[._]?s30"
        rf"|t\d\d[a-z]{{3}}_\d{{8}}t\d{{6}}|\d{{8}}t\d{{6}}_t\d\d[a-z]{{3}}){_END}"
    ),
    (("2",), ("3",), ("4",), ("8", "8a")),
)
_MISSIONS = (
    Mission("HLS L30", re.compile(rf"{_START}hls[._]?l30{_END}"), _OLI),
    Mission(
        "MODIS", re.compile(rf"{_START}(?:m[oy]d09\w*|mcd43\w*|modis|sur[_ ]refl)"), (("3",), ("4",), ("1",), ("2",))
    ),
    SENTINEL_2,
    Mission(
        "Landsat 8 or 9",
        re.compile(rf"{_START}(?:l[co]0[89]|lnd0[89]|landsat[-_ ]?[89]){_END}"),
        _OLI,
        is_collection_2=True,
    ),
    Mission(
        "Landsat 4 to 7",
        re.compile(rf"{_START}(?:l[et]0[457]|lnd0[457]|landsat[-_ ]?[457]){_END}"),
        (("1",), ("2",), ("3",), ("4",)),
        is_collection_2=True,
    ),
)


def mission_of(names: Iterable[str]) -> Mission | None:
    """The family of products that names of files, or tags, tell; None where none does."""
    texts = [name.lower() for name in names]
    return next((mission for mission in _MISSIONS if any(map(mission.pattern.search, texts))), None)


def names_of(dataset: DatasetReader) -> list[str]:
    """Everything that names the product of an open file: its name, its parts' and bands', tags of the satellite."""
    tags = {key.upper(): value for key, value in dataset.tags().items()}
    stems = [source.stem for source in (dataset.source, *map(Source.of, dataset.files))]
    bands = [text for text in dataset.descriptions if text]
    return [*stems, *bands, *(tags[key] for key in _TAGS if key in tags)]


def of_dataset(dataset: DatasetReader) -> Mission | None:
    """The family of products that an open file is of; None where nothing tells, and of Planet's own products."""
    return None if planet_product.is_analytic(dataset) else mission_of(names_of(dataset))


def quantity_of(mission: Mission, names: Iterable[str]) -> str:
    """What a product's numbers are, one of the constants of `planet_product`, by the level in its names."""
    texts = [name.lower() for name in names]
    if mission.is_collection_2 and any(map(_LANDSAT_LEVEL_1.search, texts)):
        return COUNTS
    return TOA if any(map(_LEVEL_1C.search, texts)) or any(map(_TOA.search, texts)) else SURFACE


def scale_of(dataset: DatasetReader, mission: Mission, values: Float64Array) -> tuple[float, float, str]:
    """Scale and offset of a product's numbers, and why, given a sample (4, N) of them as whole numbers are stored.

    Raises InputError where nothing tells whether Sentinel-2's numbers are shifted.
    """
    least = values.min(axis=0)
    if mission.is_collection_2 and np.median(least) >= _LEAST_LANDSAT:
        return _LANDSAT_SCALE, _LANDSAT_SHIFT, "reflectance as Landsat's Collection 2 stores it, by name and values"
    plain = f"reflectance x 10000, as {mission.title} is stored, by its name and values"
    if mission is not SENTINEL_2:
        return REFLECTANCE_SCALE, 0.0, plain
    shift, why = _shift_of_sentinel_2(dataset, values)
    return REFLECTANCE_SCALE, shift, why or plain


def _shift_of_sentinel_2(dataset: DatasetReader, values: Float64Array) -> tuple[float, str]:
    """The offset of reflectance, and why; no reason where nothing was added. Raises InputError where nothing tells."""
    least = values.min(axis=0)
    tags = {key.upper(): value for key, value in dataset.tags().items()}
    added = {float(value) for key, value in tags.items() if key.startswith(_ADDED_TAG) and _is_number(value)}
    if len(added) == 1:
        return added.pop() * REFLECTANCE_SCALE, f"reflectance x 10000, and its tag {_ADDED_TAG}"
    names = [name.lower() for name in names_of(dataset)]
    baselines = [int(number) for name in names for number in _BASELINE.findall(name)]
    if _is_number(stated := tags.get(_BASELINE_TAG, "")):
        baselines.append(round(100 * float(stated)))
    moment, dark = acquisition.of(dataset).moment, float(np.percentile(least, 1)) < _NEAR_THE_SHIFT
    if baselines:
        is_shifted = max(baselines) >= _FIRST_SHIFTED and (least < _FAR_UNDER).mean() <= _OFTEN
        return (_SHIFT, _SHIFTED.format("baseline 04.00")) if is_shifted else (0.0, "")
    if not may_be_shifted(values) or (moment and moment.replace(tzinfo=None) < _SHIFTED_SINCE):
        return 0.0, ""
    if moment and dark:
        log.warning(
            "%s is taken for Sentinel-2 with 1000 added, as numbers are since January 2022, for hardly one is under "
            "1000; if none was added, state its scale and offset (gdal_edit.py -scale 0.0001 -offset 0)",
            dataset.source.name,
        )
        return _SHIFT, _SHIFTED.format("January 2022")
    raise InputError(
        f"{dataset.source.name} is Sentinel-2 with hardly a number under 1000, and neither its baseline nor its date "
        "tells whether 1000 was added, as since 2022; reflectance is needed: state its offset "
        "(gdal_edit.py -scale 0.0001 -offset -0.1, or -offset 0)"
    )


def _is_number(text: str) -> bool:
    with suppress(ValueError):
        return math.isfinite(float(text))
    return False


def may_be_shifted(values: Float64Array) -> bool:
    """Whether numbers (4, N) of reflectance x 10000 are hardly ever dark, as if 1000 had been added to them."""
    return values.shape[1] >= _FEWEST and bool((values.min(axis=0) < _UNDER_THE_SHIFT).mean() < _RARELY)
