"""What the names of a mask's file and band say: cloud or clear ground, classes of a known kind, or probabilities."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from rasterio import DatasetReader

from cloudfree.inputs.optical import planet_product

Meaning = Literal["cloud", "clear", "both"]
"""What a number that is not zero marks by a name; "both" where the name does not decide."""

_NOT = r"(?:not|no|non|never|without|un|in|free of|free from|absence of)"
_CLOUD = (
    r"(?:clouds?|cloudy|clouded|cloudiness|cloudcover|shadows?|shade|haze|hazy|cirrus|fog|smoke|obscured|occluded"
    r"|contaminated|bad)"
)
_CLEAR = r"(?:clear|valid|validity|usable|useable|good|visible|observable)"
_AFTER = r"(?:masks?|masked|sky|skies|px|pix|pixels?|ground|land|area|areas|data|obs)?"
_PLACES = r"(?: ?(?:cut|cuts|lake|creek|water|brook|fork|field|view|hope|spring|springs|river|bay))"
"""What makes something else of a word for clear."""

_MARKS = re.compile(
    rf"(?:^|(?<= ))(?:(?P<negated>{_NOT}) ?)?"
    rf"(?:(?P<cloud>{_CLOUD}(?: ?(?:and |or |nor |n )?{_CLOUD})*)(?P<lacking> ?(?:free|less))?"
    rf"|(?P<clear>{_CLEAR})(?!{_PLACES}\b)) ?{_AFTER}(?= |\d|$)"
)
_S2CLOUDLESS = re.compile(r"\b(?:s2|sentinel ?2?) ?cloudless\b")  # a detector of clouds
_MASK_BEHIND = re.compile(r" ?masks?$|masked$")
_HUMP = re.compile(r"(?<=[a-z])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])")
_LABEL = re.compile(r"(?<![\w.])(\d{1,3})(?![\w.])")
_PROBABILITY = re.compile(r"prob|probs|probability|probabilities|proba|cldprb|likelihood|score|cdf|confidence")
_CLEAR_SCORE = re.compile(r"\bcs(?: cdf)?$|\bcs cdf\b|\bcloud ?score ?plus\b|\bcsplus\b")
_TAGS = ("long_name", "description", "name", "band_name", "bandname", "band")


@dataclass(frozen=True)
class Named:
    """What a name says: `why` has the name, or words of it."""

    meaning: Meaning
    why: str


def of_band(dataset: DatasetReader, index: int) -> list[str]:
    """What a band is called: its description, and tags that name it."""
    tags = {key.lower(): value for key, value in dataset.tags(index).items()}
    texts = [dataset.descriptions[index - 1] or "", *(tags.get(tag, "") for tag in _TAGS)]
    return list(dict.fromkeys(filter(None, texts)))


def meaning_of(dataset: DatasetReader, index: int) -> Named | None:
    """What the names of a band, or else of its file, say that it marks; None where they say nothing."""
    for text in of_band(dataset, index):
        if meaning := _labelled(text) or meaning_in(text):
            return Named(meaning, f"its band is called {text[:60]}")
    meaning = meaning_in(dataset.source.stem)
    return Named(meaning, "the name of the file") if meaning else None


def meaning_in(text: str) -> Meaning | None:
    """What a name says that a number which is not zero marks: `not_cloud`, `CloudFree` and `valid` are clear ground.

    Of words for both, the one before "mask" counts.
    """
    said = list(_marks(_S2CLOUDLESS.sub("", " ".join(_words(text)))))
    before_mask = {meaning for meaning, is_before_mask in said if is_before_mask}
    meanings = before_mask if len(before_mask) == 1 else {meaning for meaning, _ in said}
    if not meanings:
        return None
    return meanings.pop() if len(meanings) == 1 else "both"


def is_probability(dataset: DatasetReader, index: int) -> bool:
    """Whether the names of a band, or else of its file, say that it holds probabilities."""
    named = of_band(dataset, index)
    texts = named if any(map(meaning_in, named)) or any(map(_says_probability, named)) else [dataset.source.stem]
    return any(map(_says_probability, texts))


def is_clear_score(dataset: DatasetReader, index: int) -> bool:
    """Whether it is Cloud Score+ by the names of a band or its file, of which 1 is clear."""
    texts = (" ".join(_words(text)) for text in (*of_band(dataset, index), dataset.source.stem))
    return any(map(_CLEAR_SCORE.search, texts))


def _says_probability(text: str) -> bool:
    return any(_PROBABILITY.fullmatch(word.rstrip("0123456789")) for word in _words(text))


def _words(text: str) -> tuple[str, ...]:
    return planet_product.words(_HUMP.sub(" ", text))


def _marks(text: str) -> Iterable[tuple[Meaning, bool]]:
    """What each word of a name marks, and whether "mask" follows it at once; those beside their opposite decide not."""
    matches = list(_MARKS.finditer(text))
    for number, match in enumerate(matches):
        is_clear = bool(match["clear"]) != (bool(match["negated"]) != bool(match["lacking"]))
        rest = text[match.end() :]
        is_before_mask = bool(_MASK_BEHIND.search(match[0])) or bool(re.match(r" ?masks?\b", rest))
        touches = number > 0 and not text[matches[number - 1].end() : match.start()].strip()
        yield "clear" if is_clear else "cloud", is_before_mask and not touches


def _labelled(text: str) -> Meaning | None:
    """What the numbers mean that a description lists: `0 = cloud, 1 = clear`."""
    labels: dict[bool, set[Meaning]] = {False: set(), True: set()}
    for part in re.split(r"[,;/|()\[\]]", text):
        numbers, meaning = _LABEL.findall(part), meaning_in(_LABEL.sub(" ", part))
        if len(numbers) == 1 and meaning:
            labels[int(numbers[0]) != 0].add(meaning)
    zero, other = labels[False], labels[True]
    if len(other) != 1 or (zero & other):
        return None
    return other.pop()
