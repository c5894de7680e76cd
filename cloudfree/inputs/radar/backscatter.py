"""Backscatter as numbers: in which units a file has its values, and these values in dB.

A file's units are what it states, in words or by its product's name, checked against what the values can be. Where it
states nothing, the medians of both polarisations together are compared with those of real ground, in each of the units;
a file that fits several, or none, is refused. The tables at the top are all that is known of words, products, ranges.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Literal, get_args

import numpy as np
from rasterio import DatasetReader
from scipy.ndimage import uniform_filter

from cloudfree.arrays import Image
from cloudfree.bands import SAR_BANDS, SAR_NOISE_DB
from cloudfree.errors import InputError
from cloudfree.inputs.decision import Decision

Units = Literal["db", "power", "amplitude"]

OPTION = "--sar-units"
BRIGHTEST_DB = 30.0
"""Brightest ground; brighter are corners of steel, fill values, and values in other units."""
FLOOR_DB = -40.0
"""Stands for power that noise removal left at zero or under; below the instrument's noise, about -22 to -30 dB."""

_MOST_NEGATIVE_POWER = -0.1  # that the removal of noise (about 0.01) can leave; what is lower is a fill value
_CALIBRATED_MEDIAN_DB = (-45.0, 10.0)

_WORDS: dict[str, tuple[Units, ...]] = {
    "db": ("db",),
    "decibel": ("db",),
    "decibels": ("db",),
    "amplitude": ("amplitude",),
    "amp": ("amplitude",),
    "power": ("power",),
    "intensity": ("power",),
    "linear": ("power",),
    "sigma0": ("power", "db"),
    "gamma0": ("power", "db"),
}
"""Units that a word allows, as a whole token of a description, unit, tag or name; of several words the first here."""

_PRODUCTS: tuple[tuple[re.Pattern[str], Units, str], ...] = (
    (re.compile(r"_RTC?\d+_(\d{8}T\d{6}_)?[A-Z]_[gs]p", re.I), "power", "an ASF RTC product's name (p)"),
    (re.compile(r"_RTC?\d+_(\d{8}T\d{6}_)?[A-Z]_[gs]a", re.I), "amplitude", "an ASF RTC product's name (a)"),
    (re.compile(r"_RTC?\d+_(\d{8}T\d{6}_)?[A-Z]_[gs]d", re.I), "db", "an ASF RTC product's name (d)"),
    (re.compile(r"OPERA_L2_RTC-S1_"), "power", "an OPERA RTC product's name"),
    (re.compile(r"^iw-v[vh]\.rtc", re.I), "power", "a Planetary Computer RTC product's name"),
    (re.compile(r"^s1[a-d]_\d\d[A-Z]{3}_v[vh]_(ASC|DES)_\d{3}_", re.I), "power", "an s1tiling product's name"),
)
_UNIT_TAG = re.compile(r"UNIT|EXPRESSION|RADIOMETRY", re.IGNORECASE)

_DISPLAY_RANGES_DB = ((-20.0, 0.0), (-25.0, 0.0), (-30.0, 0.0))
"""Ranges that pictures and networks are fed with as 0..1: not calibrated, but numbers like those of linear values."""

_ENCODINGS: tuple[tuple[float, Units, str], ...] = (
    (0.01, "db", "dB x 100"),
    (0.1, "db", "dB x 10"),
    (1 / 65535, "power", "linear power x 65535"),
    (1 / 255, "power", "linear power x 255"),
)
"""Scales that published collections and exports use; only to name them in a message."""


@dataclass(frozen=True)
class Ground:
    """Medians in dB that a kind of ground can have: of VV, of VH, and of their difference."""

    name: str
    vv: tuple[float, float]
    vh: tuple[float, float]
    difference: tuple[float, float]

    def matches(self, median_db: Mapping[str, float]) -> bool:
        """Whether medians by polarisation, one or both, can be of this ground."""
        vv, vh = (median_db.get(name) for name in SAR_BANDS)
        checks = [(vv, self.vv), (vh, self.vh)]
        if vv is not None and vh is not None:
            checks.append((vv - vh, self.difference))
        known = [(value, limits) for value, limits in checks if value is not None]
        return bool(known) and all(low <= value <= high for value, (low, high) in known)


LAND = Ground("land", vv=(-18, -3), vh=(-25, -12), difference=(4, 11.5))
"""On 122 real images of land on five continents: VV -14.7 to -6.9, VH -21.9 to -13.6, their difference 4.8 to 9.1."""

_GROUNDS = (
    LAND,
    Ground("water, sand or wet snow", vv=(-32, -8), vh=(-45, -17), difference=(0, 40)),
    Ground("towns or bright slopes", vv=(-8, 3), vh=(-14, -4), difference=(3, 16)),
)


@dataclass(frozen=True)
class SarSample:
    """A sample of one polarisation before its units are known.

    `values` (h, w) are stored ones, scaled, NaN where the file has no data; `integers` is whether they are stored as
    such, without a scale. `allowed` are the units that the file states by `stated_by`; empty where it states nothing.
    """

    name: str
    file: str
    integers: bool
    values: Image
    allowed: tuple[Units, ...]
    stated_by: str

    @cached_property
    def valid_db(self) -> Mapping[Units, Image]:
        """The values in dB (N,) that can be ground, by the units of reading them; negative power is `FLOOR_DB`."""
        power = np.where(_slightly_negative(self.values), np.float32(10 ** (FLOOR_DB / 10)), self.values)
        db_of = {units: to_db((power if units == "power" else self.values)[None], units) for units in get_args(Units)}
        return {units: db[np.isfinite(db)] for units, db in db_of.items()}


def to_db(values: Image, units: Units) -> Image:
    """Backscatter (bands, H, W) in `units` as dB, NaN where it is no ground.

    That is where it is infinite, NaN, under -50 or over +30 dB, or zero power or amplitude; and of dB where all bands
    are zero, for zero in one of them is a value (SEN12MS-CR cuts VV off at 0 dB).
    """
    with np.errstate(divide="ignore", invalid="ignore"):
        db = values if units == "db" else (10 if units == "power" else 20) * np.log10(values)
        invalid = ~np.isfinite(db) | (db < SAR_NOISE_DB) | (db > BRIGHTEST_DB)
    if units == "db":
        invalid |= (values == 0).all(axis=0)
    return np.where(invalid, np.nan, db).astype(np.float32)


def without_negative_power(power: Image) -> Image:
    """Power (bands, H, W) with values that noise removal left negative replaced by the mean of 3 x 3 pixels.

    The mean is unbiased, and has dB where the value has none; it is -40 dB at least. Fill values stay as they are.
    """
    negative = _slightly_negative(power)
    if not negative.any():
        return power
    counted = negative | ((power > 0) & (power < 10 ** (BRIGHTEST_DB / 10)))
    size = (1, 3, 3)
    total = uniform_filter(np.where(counted, power, 0).astype(np.float64), size, mode="constant")
    mean = total / np.maximum(uniform_filter(counted.astype(np.float64), size, mode="constant"), 1e-9)
    return np.where(negative, np.maximum(mean, 10 ** (FLOOR_DB / 10)), power).astype(np.float32)


def _slightly_negative(power: Image) -> np.ndarray:
    return np.asarray((power < 0) & (power >= _MOST_NEGATIVE_POWER))


# --- what a file states ---


def stated(dataset: DatasetReader, index: int) -> tuple[tuple[Units, ...], str]:
    """The units that a file allows for a one-based band, and where it says so; () and "" where it says nothing."""
    several: tuple[tuple[Units, ...], str] = (), ""
    for allowed, where in _statements(dataset, index):
        if len(allowed) == 1:
            return allowed, where
        several = several if several[0] else (allowed, where)
    return several


def _statements(dataset: DatasetReader, index: int) -> Iterator[tuple[tuple[Units, ...], str]]:
    """Units that are allowed and where that is said: by the band itself first, by the file's name last."""
    path = Path(str(dataset.source))
    texts = [(dataset.units[index - 1], "the band's unit"), (dataset.descriptions[index - 1], "the band's description")]
    for tags in (dataset.tags(index), dataset.tags()):
        texts += [(value, f"the tag {key}") for key, value in tags.items() if _UNIT_TAG.search(key)]
    for text, where in (*texts, (path.stem, "the file's name")):
        tokens = set(re.findall(r"[a-z]+0?", (text or "").lower()))
        word = next((word for word in _WORDS if word in tokens), None)
        if word:
            yield _WORDS[word], f"{where} says {word}"
    for pattern, units, where in _PRODUCTS:
        if pattern.search(path.name):
            yield (units,), where


# --- what the values can be ---


def decide(samples: Sequence[SarSample], given: Units | Literal["auto"]) -> tuple[Units, Decision]:
    """The units of all polarisations of an image, and why: those that are `given`, or by statements and values.

    Raises InputError where nothing decides, or where statements and values disagree.
    """
    if given != "auto":
        return given, Decision(f"units are {given}", OPTION)
    if are_blank(samples):
        return "db", Decision("units are unknown", "there is no valid value")  # which `median_of` refuses
    medians = {units: median_db for units in get_args(Units) if (median_db := _possible_medians(samples, units))}
    stating = [sample for sample in samples if sample.allowed]
    allowed: tuple[Units, ...] = stating[0].allowed if stating else get_args(Units)
    if any(sample.allowed != allowed for sample in stating):
        differing = " but ".join(f"{sample.file}: {sample.stated_by}" for sample in stating)
        raise InputError(f"VV and VH state different units ({differing}); they have one: say which with {OPTION}")
    if stating and len(allowed) == 1:
        return _checked(samples, allowed[0], stating[0].stated_by, medians)
    return _by_values(samples, allowed, stating[0].stated_by if stating else "", medians)


def _checked(
    samples: Sequence[SarSample], units: Units, stated_by: str, medians: Mapping[Units, Mapping[str, float]]
) -> tuple[Units, Decision]:
    """The stated units, unless the values deny them: land in other units counts more than other ground in these."""
    others = [other for other in medians if other != units and LAND.matches(medians[other])]
    ground = _ground(medians.get(units, {}))
    if ground and (ground is LAND or not others):
        return units, Decision(f"units are {units}", f"{stated_by}; {_words(medians[units])} fit {ground.name}", OPTION)
    instead = f"; as {' or '.join(others)} they would be land" if others else _encodings(samples)
    shown = f"as such they have {_words(medians[units])}" if units in medians else "most values cannot be that"
    raise InputError(
        f"{_files(samples)}: {stated_by}, which means {units}, but {shown}{instead}; statement and values must agree: "
        f"say what holds with {OPTION}{', --sar-scale' if not others else ''}"
    )


def _by_values(
    samples: Sequence[SarSample],
    allowed: tuple[Units, ...],
    stated_by: str,
    medians: Mapping[Units, Mapping[str, float]],
) -> tuple[Units, Decision]:
    """The only units in which the values are land, or else any ground.

    Never amplitude: images normalised to 0..1 have the same values, and only words tell them apart.
    """
    readings: dict[str, Ground] = {
        units: ground for units in allowed if (ground := _ground(medians.get(units, {}))) is not None
    }
    if not stated_by:
        readings |= dict.fromkeys(_stretches(samples), LAND)
    best = [name for name, ground in readings.items() if ground is LAND] or list(readings)
    units = next((u for u in allowed if best == [u] and u != "amplitude"), None)
    if units:
        why = f"{_words(medians[units])} fit {readings[units].name}, and no other reading does"
        return units, Decision(f"units are {units}", f"{stated_by}; {why}" if stated_by else why, OPTION)
    raise InputError(_undecided(samples, best))


def _undecided(samples: Sequence[SarSample], plausible: Sequence[str]) -> str:
    stored = " and ".join(f"{name} {value:.3g}" for name, value in stored_medians(samples).items())
    if any(sample.integers for sample in samples):
        return (
            f"{_files(samples)} holds integers without a scale (medians {stored}): uncalibrated counts, or scaled "
            f"backscatter{_encodings(samples)}; calibrated backscatter is needed: calibrate it to sigma nought (SNAP, "
            f"ASF HyP3), or give --sar-scale, --sar-offset and {OPTION}"
        )
    can_be = f"plausible as {' and as '.join(plausible)}" if plausible else "not plausible as dB, power or amplitude"
    return (
        f"the units of {_files(samples)} are ambiguous: medians {stored} are {can_be}{_encodings(samples)}; calibrated "
        f"dB, linear power or amplitude are needed: say which with {OPTION} (and --sar-scale), no display stretch"
    )


def _ground(median_db: Mapping[str, float]) -> Ground | None:
    return next((ground for ground in _GROUNDS if ground.matches(median_db)), None)


def _possible_medians(samples: Sequence[SarSample], units: Units) -> dict[str, float]:
    """Medians in dB by polarisation; empty where more than half of the values cannot be ground in these units."""
    medians = {}
    for sample in samples:
        db = sample.valid_db[units]
        if db.size == 0 or db.size < max(other.size for other in sample.valid_db.values()) / 2:
            return {}
        medians[sample.name] = float(np.median(db))
    return medians


def are_blank(samples: Sequence[SarSample]) -> bool:
    """Whether one of the polarisations has no valid value, under any known scale."""
    return any(_is_blank(sample) for sample in samples) and not _encodings(samples)


def _is_blank(sample: SarSample) -> bool:
    """Whether the values are nothing in any units: absent, zero, or far too low."""
    return not any(db.size for db in sample.valid_db.values()) and stored_medians([sample])[sample.name] <= 0


def stored_medians(samples: Sequence[SarSample]) -> dict[str, float]:
    """Medians of the scaled values but zero, by polarisation; 0 where there are none."""
    known = {sample.name: sample.values[np.isfinite(sample.values) & (sample.values != 0)] for sample in samples}
    return {name: float(np.median(values)) if values.size else 0.0 for name, values in known.items()}


def _stretches(samples: Sequence[SarSample]) -> Iterator[str]:
    """In words, the display ranges in dB over which the stored values, as 0..1, would be land."""
    medians = stored_medians(samples)
    for low, high in _DISPLAY_RANGES_DB:
        if (
            "VV" in medians
            and all(0 < median < 1 for median in medians.values())
            and LAND.matches({name: low + median * (high - low) for name, median in medians.items()})
        ):
            yield f"a display stretch of {low:g}..{high:g} dB"


def _encodings(samples: Sequence[SarSample]) -> str:
    """Known scales by which the values would be land, in words for a message; "" where there is none."""
    fits = []
    for scale, units, name in _ENCODINGS:
        scaled = [replace(sample, values=sample.values * np.float32(scale)) for sample in samples]
        if LAND.matches(_possible_medians(scaled, units)):
            fits.append(f"{name} (--sar-scale {scale:.6g} {OPTION} {units})")
    return f"; they look like {' or '.join(fits)}" if fits else ""


def median_of(sample: SarSample, units: Units) -> float:
    """The median in dB of the valid pixels. Raises InputError where there are none, or where these are uncalibrated."""
    with np.errstate(divide="ignore", invalid="ignore"):
        raw = sample.values if units == "db" else (10 if units == "power" else 20) * np.log10(sample.values)
    valid = sample.valid_db[units]
    finite = raw[np.isfinite(raw) & (sample.values != 0)]
    median = float(np.median(valid if valid.size else finite)) if valid.size or finite.size else np.nan
    low, high = _CALIBRATED_MEDIAN_DB
    if not valid.size and not median > high:
        raise InputError(
            f"{sample.name} of {sample.file} has no valid pixel over the scene (all zero, NaN, nodata, or not between "
            f"{SAR_NOISE_DB:g} and {BRIGHTEST_DB:g} dB as {units}{_encodings([sample])}); an image that sees the "
            "ground there is needed: take another date or orbit, or give its --sar-scale"
        )
    if not low < median < high:
        raise InputError(
            f"{sample.name} of {sample.file} read as {units} has a median of {median:.0f} dB{_encodings([sample])}; "
            f"calibrated backscatter lies between {low:g} and {high:g}: calibrate it, or give --sar-scale or {OPTION}"
        )
    return median


def _words(median_db: Mapping[str, float]) -> str:
    return "medians of " + " and ".join(f"{name} {value:.1f} dB" for name, value in median_db.items())


def _files(samples: Sequence[SarSample]) -> str:
    return " and ".join(dict.fromkeys(sample.file for sample in samples))
