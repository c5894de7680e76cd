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

_NOT = r"(?:not|no|non|never|neither|without|un|in|free of|free from|absence of)"
_CLOUD = (
    r"(?:clouds?|cloudy|clouded|cloudiness|cloudcover|shadows?|shade|haze|hazy|cirrus|fog|smoke|obscured|occluded"
    r"|contaminated|bad)"
)
_CLEAR = r"(?:clear|valid|validity|usable|useable|good(?!land)|visible|observable)"
_OF_CLOUD = r"(?:(?:valid|visible|good|thick|thin|dense|opaque|heavy|light|high|low) )?"
"""What a cloud is, before the word for it."""
_AFTER = r"(?:masks?|masked|sky|skies|px|pix|pixels?|ground|land|area|areas|data|obs)?"
_PLACES = r"(?: ?(?:cut|cuts|lake|creek|water|brook|fork|field|view|hope|spring|springs|river|bay))"
"""What makes something else of a word for clear."""

_MARKS = re.compile(
    rf"(?:^|(?<= ))(?:(?P<negated>{_NOT}) ?)?"
    rf"(?:(?P<cloud>{_OF_CLOUD}{_CLOUD}(?: ?(?:and |or |nor |n )?{_CLOUD})*)(?P<lacking> ?(?:free|less))?"
    rf"|(?P<clear>{_CLEAR})(?!{_PLACES}\b)) ?{_AFTER}(?= |\d|$)"
)
_S2CLOUDLESS = re.compile(r"\b(?:s2|sentinel ?2?) ?cloudless\b")  # a detector of clouds
_MASK_BEHIND = re.compile(r" ?masks?$|masked$")
_HUMP = re.compile(r"(?<=[a-z])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])")
_LABEL = re.compile(r"(?<![\w.])(\d{1,3})(?![\w.])")
_PROBABILITY = re.compile(r"prob|probs|probability|probabilities|proba|cldprb|likelihood|score|cdf|confidence")
_CLEAR_SCORE = re.compile(r"\bcs(?: cdf)?$|\bcs cdf\b|\bcloud ?score ?plus\b|\bcsplus\b")
_INVERSE = re.compile(
    r"(?:^| )(?:(?:mask)?inv(?:erse|erted|ert)?|neg|negative|negated|reversed|flipped|complement)(?: |$)"
    rf"|(?:^| )(?:exclude|excludes|excluding|remove|outside|beyond|minus|except|but)(?: of| the)? {_CLOUD}"
    rf"|{_CLOUD}(?: ?masks?)? (?:removed|removal|excluded|absent|screened|inv|neg|minus)(?: |$)"
    r"|(?:^| )de ?cloud(?:ed)?(?: |$)"
)
"""Words that turn a name around, or may."""
_IS = re.compile(r"((?:(?:no|not|non) )?[a-z]+(?: (?:sky|free|mask|pixels?))?) (?:is|equals|eq) (\d{1,3})(?= |$)")
_BINARY = re.compile(r"(?:^| )(?:binary|bin|bool|boolean)(?: |$)")
_UNKNOWN = re.compile(r"fill|no ?data|unknown|missing|no observation|not observed|no decision")
_TAGS = ("long_name", "description", "name", "band_name", "bandname", "band")


BOTH = "which says both clear and cloud, or the inverse of one"
"""What a name says whose meaning is "both"."""


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
    spaced = _S2CLOUDLESS.sub("", " ".join(_words(text)))
    if labelled := _of_labels((words, int(number)) for words, number in _IS.findall(spaced)):
        return labelled
    said = list(_marks(spaced))
    if _INVERSE.search(spaced) and (said or re.search(r"masks?\b|cloud", spaced)):
        return "both"
    before_mask = {meaning for meaning, is_before_mask in said if is_before_mask}
    meanings = before_mask if len(before_mask) == 1 else {meaning for meaning, _ in said}
    if not meanings:
        return None
    return meanings.pop() if len(meanings) == 1 else "both"


def is_binary(dataset: DatasetReader, index: int) -> bool:
    """Whether the names of a band or its file say that it is binary."""
    texts = (" ".join(_words(text)) for text in (*of_band(dataset, index), dataset.source.stem))
    return any(map(_BINARY.search, texts))


def flags_of(dataset: DatasetReader, index: int) -> dict[int, str]:
    """What numbers mean by CF's tags `flag_values` and `flag_meanings` of a band; none where these say nothing."""
    tags = {key.lower(): value for key, value in dataset.tags(index).items()}
    values = re.findall(r"-?\d{1,5}", tags.get("flag_values", ""))
    meanings = tags.get("flag_meanings", "").replace(",", " ").split()
    if "flag_masks" in tags or len(values) != len(meanings):
        return {}
    return dict(zip(map(int, values), meanings, strict=True))


def says_unknown(text: str) -> bool:
    """Whether the name of a class says that nothing is known."""
    return bool(_UNKNOWN.search(" ".join(_words(text))))


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
    before: tuple[int, bool] = 0, False  # where the last one ends, and whether it is a plain word for cloud
    for number, match in enumerate(matches):
        touches = number > 0 and not text[before[0] : match.start()].strip()
        is_plain = bool(match["cloud"]) and not match["negated"] and not match["lacking"]
        is_aside = touches and before[1] and bool(match["negated"] and match["cloud"]) and "cloud" not in match["cloud"]
        before = match.end(), is_plain
        if is_aside:  # cloud_no_shadow
            continue
        is_clear = bool(match["clear"]) != (bool(match["negated"]) != bool(match["lacking"]))
        rest = text[match.end() :]
        is_before_mask = bool(_MASK_BEHIND.search(match[0])) or bool(re.match(r" ?masks?\b", rest))
        yield "clear" if is_clear else "cloud", is_before_mask and not touches


def _labelled(text: str) -> Meaning | None:
    """What the numbers mean that a description lists: `0 = cloud, 1 = clear`, `1=clear 0=cloud`, `cloud=0`."""
    text = re.sub(r"([^\W\d])\s*\((\d{1,3})\)", r"\1 \2,", text)
    text = re.sub(r"([=:]\s*\d{1,3})\s+", r"\1,", re.sub(r"\s+(?=\d{1,3}\s*[=:])", ",", text))
    labels = []
    for part in re.split(r"[,;/|()\[\]]", text):
        numbers = _LABEL.findall(part)
        if len(numbers) == 1:
            labels.append((_LABEL.sub(" ", part), int(numbers[0])))
    return _of_labels(labels, is_alone=bool(re.fullmatch(r"[^=:]*[=:]\s*0[\s,]*", text)))


def _of_labels(labels: Iterable[tuple[str, int]], *, is_alone: bool = True) -> Meaning | None:
    """What numbers but zero mark, by words beside numbers; what zero does tells it where it `is_alone`."""
    meanings: dict[bool, set[Meaning]] = {False: set(), True: set()}
    for words, number in labels:
        if meaning := meaning_in(words):
            meanings[number != 0].add(meaning)
    zero, other = meanings[False], meanings[True]
    if is_alone and len(zero) == 1 and not other and "both" not in zero:
        return "clear" if zero == {"cloud"} else "cloud"
    return other.pop() if len(other) == 1 and not zero & other else None
