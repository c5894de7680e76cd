"""Planet's products: what their names, tags and metadata XML say, and which files lie beside a scene."""

from __future__ import annotations

import json
import re
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from io import BytesIO
from typing import NamedTuple
from xml.etree import ElementTree

from rasterio import DatasetReader

from cloudfree.bands import PLANET_BANDS
from cloudfree.errors import UNPARSABLE
from cloudfree.inputs.decision import Decision
from cloudfree.inputs.location.source import AnyPath, Source

# --- words of names ---

SURFACE, TOA, RADIANCE = "surface reflectance", "top-of-atmosphere reflectance", "top-of-atmosphere radiance"
COUNTS = "unscaled counts"

ANALYTIC_WORDS = frozenset({"analytic", "analyticms", "bgrn"})
"""One of them in a file's name says that it is a scene as measured, with its bands in Planet's order."""

COMPANION_WORDS = frozenset({"udm", "udm2", "visual", "browse", "thumbnail"})
"""One of them in a raster's name says that it was delivered beside a scene and is none itself."""

QUANTITY_WORDS: tuple[tuple[frozenset[str], str], ...] = (
    (frozenset({"analyticms", "dn"}), COUNTS),
    (frozenset({"analytic", "dn"}), COUNTS),
    (frozenset({"toar"}), TOA),
    (frozenset({"normalized", "analytic"}), SURFACE),  # basemaps
    (frozenset({"sr"}), SURFACE),
    (frozenset({"analyticms"}), RADIANCE),
    (frozenset({"analytic"}), RADIANCE),
)
"""Words that a name has together, and the quantity that they state; the first entry that fits counts."""

QUANTITY_KEYS = {"atmospheric_correction": SURFACE, "reflectance_coefficients": RADIANCE}
"""Keys in the JSON that Planet writes into a TIFF's image description, and the quantity that they state."""

_PRODUCT_WORDS = (
    ANALYTIC_WORDS
    | COMPANION_WORDS
    | {
        *("1b", "3a", "3b", "3bt", "l1b", "l3a", "l3b", "4b", "8b", "basic", "ortho"),  # levels
        *("sr", "toar", "boa", "dn", "metadata"),  # products
        *("clip", "reproject", "file", "format", "harmonized", "harmonize", "composite", "cog", "tile"),  # tools
    }
)
"""Words that say what a file is or which tools of an order made it, and not of which scene it is."""

_FALLBACK = "composite"  # the name of a composite is nothing but these words

_SCENE_NAME = re.compile(
    r"(?<![0-9a-z])(?P<day>\d{8})_(?P<time>\d{6})_(?:\d\d_)?(?P<satellite>[0-9a-f]{4})(?![0-9a-z])", re.IGNORECASE
)
"""Planet's name of a scene: day, time of day, hundredths of a second for newer satellites, satellite."""

_ITEM_NAME = re.compile(
    rf"{_SCENE_NAME.pattern}|(?<![0-9a-z])(?:"
    r"\d+_\d+_\d{4}-\d\d-\d\d_[0-9a-f]{4}|"  # an ortho tile
    r"\d{8}_\d{6}_ssc\d+(?:d\d+)?_u?\d{4})(?![0-9a-z])",  # SkySat
    re.IGNORECASE,
)
"""Planet's name of anything that is ordered alone."""


class SceneName(NamedTuple):
    """What Planet's name of a scene says: when it was taken (YYYYMMDDTHHMMSS, UTC), and by which satellite (103d)."""

    moment: str
    satellite: str


def scene_name(text: str) -> SceneName | None:
    """The parts of Planet's name of a scene in a file's name; None where there is no such name."""
    match = _SCENE_NAME.search(text)
    return SceneName(f"{match['day']}T{match['time']}", match["satellite"].lower()) if match else None


def is_same_item(one: Source, other: Source) -> bool:
    """Whether two files are one, or products of one acquisition by Planet's name of it."""
    names = [{scene_name(path.name) for path in _names_of(source)} - {None} for source in (one, other)]
    return one.resolved() == other.resolved() or bool(names[0] & names[1])


@lru_cache(maxsize=4096)
def words(text: str) -> tuple[str, ...]:
    """The whole words of a name in any script, composed (NFC) and without case.

    They are cut at whatever is neither letter nor digit, and between Latin letters and others, which have no spaces.
    """
    composed = unicodedata.normalize("NFC", unicodedata.normalize("NFC", text).casefold())
    cut, before = "", ""
    for letter in composed:
        kind = before if unicodedata.category(letter)[0] == "M" else _kind_of(letter)
        cut += (" " if kind != before else "") + (letter if kind else "")
        before = kind
    return tuple(cut.split())


def _kind_of(letter: str) -> str:
    """Whether a letter or digit of a name is Latin or another; "" for what words end at."""
    if letter.isascii():
        return "latin" if letter.isalnum() else ""
    if unicodedata.category(letter)[0] not in "LNS":  # signs are kept: a name of pictures has nothing else
        return ""
    return "latin" if unicodedata.name(letter, "").startswith("LATIN") else "other"


def words_of(dataset: DatasetReader) -> set[str]:
    """The words in the names of an open file, of what it links to, and of the files that a virtual one is made of."""
    names = [*_names_of(dataset.source), *map(Source.of, dataset.files)]
    return {word for name in names for word in words(name.stem)}


def sensor(source: Source, band_count: int) -> str:
    """Which sensor took a scene, as far as its name and number of bands tell."""
    if band_count == max(PLANET_BANDS):
        return "PlanetScope SuperDove (PSB.SD) scene"
    return "PlanetScope scene" if ANALYTIC_WORDS & set(words(source.stem)) else "optical scene"


# --- the header of a TIFF, and the metadata XML ---


def header(dataset: DatasetReader) -> dict[str, object]:
    """The JSON that Planet writes into the TIFF's image description, its `properties` if it has some; else empty."""
    try:
        document = json.loads(dataset.tags().get("TIFFTAG_IMAGEDESCRIPTION", ""))
    except UNPARSABLE:
        return {}
    inner = document.get("properties", document) if isinstance(document, dict) else {}
    return inner if isinstance(inner, dict) else {}


def is_analytic(dataset: DatasetReader) -> bool:
    """Whether an open file is an analytic product by its name or header, with its bands in Planet's order."""
    return bool(ANALYTIC_WORDS & words_of(dataset) or QUANTITY_KEYS.keys() & header(dataset).keys())


@dataclass(frozen=True)
class Metadata:
    """What Planet's metadata XML states.

    `acquired`: dates and times as they are written, in order. `reflectance_coefficients`: the reflectance of one
    digital number, by one-based band. `damage`: why reading stopped, "" where the whole file was read. `angles`: of
    the sun and the satellite, in degrees, as they are written, by the names of their elements.
    """

    acquired: tuple[str, ...]
    reflectance_coefficients: dict[int, float]
    damage: str = ""
    angles: Mapping[str, str] = field(default_factory=dict)


def read_metadata(path: Source) -> Metadata:
    """The metadata XML at `path`, in whatever namespaces; of a damaged file, what stands before the damage.

    Raises InputError where it cannot be read at all.
    """
    acquired: list[str] = []
    coefficients: dict[int, float] = {}
    angles: dict[str, str] = {}
    damage = ""
    try:
        for _, element in ElementTree.iterparse(BytesIO(path.read_bytes())):
            tag = _tag(element)
            if tag in ("acquisitionDate", "acquisitionDateTime"):
                acquired.append(element.text or "")
            elif tag.endswith("Angle"):
                angles.setdefault(tag, element.text or "")
            elif tag == "bandSpecificMetadata":
                stated = {_tag(child): child.text for child in element}
                number, coefficient = stated.get("bandNumber"), stated.get("reflectanceCoefficient")
                if number and coefficient:
                    coefficients[int(number)] = float(coefficient)
    except UNPARSABLE as error:
        damage = str(error) or type(error).__name__
    return Metadata(tuple(acquired), coefficients, damage, angles)


def _tag(element: ElementTree.Element) -> str:
    """Its name without a namespace."""
    return element.tag.rpartition("}")[2]


# --- files beside a scene ---


class Companion(NamedTuple):
    """A kind of file that Planet delivers beside a scene, known by a word in its name and by its endings."""

    word: str
    endings: tuple[str, ...]


UDM2 = Companion("udm2", (".tif", ".tiff"))
METADATA_XML = Companion("metadata", (".xml",))
METADATA_JSON = Companion("metadata", (".json",))


def find(scene: AnyPath, kind: Companion) -> Source | None:
    """The file of that kind beside a scene, or beside the file that the scene is a link to; None where there is none.

    Its name has the same words as the scene's but for Planet's own (`_PRODUCT_WORDS`), in any script and case; or
    Planet's name of the same scene and no other word, whatever a user wrote behind that of the scene. Of several, the
    one whose name differs least, for a folder may hold the clipped and the whole. An archive is looked into; what lies
    beside an address is not known.
    """
    for place in _names_of(scene):
        candidates = [path for path in place.beside() if _belongs(path, place, kind)]
        if candidates:
            own = set(words(place.stem))
            return min(candidates, key=lambda path: (len(own ^ set(words(path.stem))), path.name))
    return None


def which_udm2(scene: Source) -> Decision:
    """Whether a UDM2 lies beside a scene, and which."""
    if beside := find(scene, UDM2):
        return Decision(f"UDM2 is {beside.name}", "beside the scene, with the scene's name", "--udm2")
    if scene.is_remote:
        return Decision("no UDM2 looked for", "what lies beside an address is not known", "--udm2")
    shown = " ".join(_identity(scene)) or scene.stem
    return Decision("no UDM2 beside the scene", f"no *.tif of {shown!r} with 'udm2' in its name", "--udm2")


def _names_of(path: AnyPath) -> tuple[Source, ...]:
    """A file as it is called and, if that is a link, the file that it leads to."""
    source = Source.of(path)
    resolved = source.resolved()
    same = not source.plain or resolved.plain == source.plain.absolute()
    return (source,) if same else (source, resolved)


def _belongs(path: Source, scene: Source, kind: Companion) -> bool:
    if path.suffix not in kind.endings or kind.word not in words(path.stem) or path == scene:
        return False
    own, theirs = _identity(scene), _identity(path)
    return bool(own and theirs) and theirs in (own, _item_words(scene))


def _item_words(path: Source) -> tuple[str, ...]:
    """The words of Planet's name of a scene within a name; none where it has none."""
    match = _ITEM_NAME.search(path.stem)
    return words(match[0]) if match else ()


def _identity(path: Source) -> tuple[str, ...]:
    """The words of a name that say of which scene a file is."""
    named = words(path.stem)
    return tuple(word for word in named if word not in _PRODUCT_WORDS) or tuple(w for w in named if w == _FALLBACK)
