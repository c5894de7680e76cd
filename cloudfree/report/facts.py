"""Words and numbers of a run for readers, from its plain data as in --json (`run` in the functions here)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from cloudfree.bands import QA_MEANINGS, RECONSTRUCTED, Qa
from cloudfree.product.profiles import QA_COLOURS

_TITLES = {
    Qa.OBSERVED: "Observed",
    Qa.RECONSTRUCTED: "Reconstructed",
    Qa.SEEN_THROUGH: "Seen through",
    Qa.RECONSTRUCTED_WITHOUT_SAR: "Reconstructed without radar",
    Qa.NOT_RECONSTRUCTED: "Not reconstructed",
    Qa.NODATA: "No data",
}
"""In the order of tables."""


@dataclass(frozen=True)
class PixelClass:
    """A class of `Qa` with its pixels, their share (0..1) of the data (None for nodata), and its colour for CSS."""

    name: str
    meaning: str
    pixels: int
    share: float | None
    colour: str


def classes(pixels: Mapping[str, int]) -> list[PixelClass]:
    """Return all classes that have pixels, from counts by the names of `Qa` in lower case."""
    data = max(sum(pixels.values()) - pixels["nodata"], 1)
    return [
        PixelClass(title, QA_MEANINGS[qa], count, None if qa == Qa.NODATA else count / data, colour_of(qa))
        for qa, title in _TITLES.items()
        if (count := pixels[qa.name.lower()])
    ]


def legend(pixels: Mapping[str, int] | None) -> list[tuple[str, str]]:
    """Return names and colours of the classes in a picture of quality; two of them without counts."""
    if pixels is None:
        return [("Observed", colour_of(Qa.OBSERVED)), ("Reconstructed, of all kinds", colour_of(Qa.RECONSTRUCTED))]
    return [(entry.name, entry.colour) for entry in classes(pixels) if entry.share is not None]


def colour_of(qa: Qa) -> str:
    """Return the colour of a class for CSS; "none" for nodata."""
    red, green, blue, alpha = QA_COLOURS[qa]
    return f"#{red:02x}{green:02x}{blue:02x}" if alpha else "none"


def reconstructed_share(pixels: Mapping[str, int]) -> float:
    """Return the share (0..1) of the data that is reconstructed."""
    data = sum(pixels.values()) - pixels["nodata"]
    return sum(pixels[qa.name.lower()] for qa in RECONSTRUCTED) / max(data, 1)


def summary(run: Mapping[str, Any]) -> str:
    """Return what was done, in a sentence or two."""
    pixels, cloudy = run["pixels"], run["share"]["cloudy_of_data"]
    data = max(sum(pixels.values()) - pixels["nodata"], 1)
    kept, left = (pixels[qa.name.lower()] / data for qa in (Qa.OBSERVED, Qa.NOT_RECONSTRUCTED))
    kinds = {_how(qa): pixels[qa.name.lower()] / data for qa in RECONSTRUCTED if pixels[qa.name.lower()]}
    share = percent(sum(kinds.values())) if kinds else "Nothing"
    done = f"{share} of {'the part' if 'part' in run else 'the data'} is reconstructed"
    if len(kinds) > 1:
        done += f", {_listed(f'{percent(share)} {words}' for words, share in kinds.items())}"
    else:
        done += "".join(f" {words}" for words in kinds)
    hidden = "" if cloudy is None else f"Cloud, haze or shadow hides {percent(cloudy)} of the scene. "
    margin = "With a margin around it, " if cloudy and kinds and run["fill"] == "clouds" else ""
    rest = f"; {percent(left)} is clouded and left so, without radar" if left else ""
    return f"{hidden}{margin}{done}; {percent(kept)} is kept as it was observed{rest}."


def notes(run: Mapping[str, Any]) -> Iterator[str]:
    """Yield what a reader should know before trusting the product: warnings, and what is uncertain."""
    yield from (f"{warning[0].upper()}{warning[1:]}." for warning in run["warnings"])
    if run["share"]["cloudy_of_data"] is None:
        yield "Nothing says where clouds are: there is no mask, and none were looked for."
    for name, offset in offsets(run):
        if "reason" in offset and not offset["accepted"]:
            yield f"{name} was left where it is: {offset['reason']}."
    if run["share"]["cloudy_of_data"] and run.get("uncertainty", {}).get("errors") == 0:
        yield "The scene has too little clear ground to calibrate the uncertainty on; it is that of other places."


def offsets(run: Mapping[str, Any]) -> list[tuple[str, dict[str, Any]]]:
    """Return titles and the co-registration of radar, if there is any, and of each reference."""
    radar = [("Sentinel-1", run["coregistration"])] if run["coregistration"] else []
    references = [(f"Image {n}", image["coregistration"]) for n, image in enumerate(run["references"], 1)]
    return [*radar, *references]


def without_paths(value: Any, names: Mapping[str, str]) -> Any:
    """Return plain data with the names of files in place of their paths; `names` has the name of each path."""
    if isinstance(value, Mapping):
        return {key: without_paths(item, names) for key, item in value.items()}
    if isinstance(value, list):
        return [without_paths(item, names) for item in value]
    if isinstance(value, str):
        for path in sorted(names, key=len, reverse=True):
            value = value.replace(path, names[path])
    return value


def metres(value: float, digits: int = 1) -> str:
    """Return metres with a sign, in as many decimals as `digits`; the minus is as long as the plus."""
    return f"{value:+.{digits}f} m".replace("-", "−")


def percent(share: float) -> str:
    """Return a share (0..1) as a percentage of two digits or so; 0 and 100 only if it is exactly that."""
    value = 100 * share
    if 0 < value < 0.1:
        return "< 0.1 %"
    if 99.9 < value < 100:
        return "> 99.9 %"
    return f"{value:.1f} %" if 0 < value < 9.95 or 99 < value < 100 else f"{value:.0f} %"


def _how(qa: Qa) -> str:
    """How pixels of a reconstructed class were made: the first part of their meaning, after "reconstructed"."""
    return QA_MEANINGS[qa].removeprefix("reconstructed ").partition(",")[0]


def _listed(words: Iterable[str]) -> str:
    *first, last = words
    return f"{', '.join(first)} and {last}" if first else last
