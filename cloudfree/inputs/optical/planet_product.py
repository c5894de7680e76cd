"""What Planet delivers beside a scene, found by the scene's own name."""

from __future__ import annotations

import re
from dataclasses import dataclass

from cloudfree.inputs.decision import Decision
from cloudfree.inputs.location.source import AnyPath, Source

PRODUCT_WORDS = frozenset(
    {
        *("1b", "3a", "3b", "3bt", "l1b", "l3a", "l3b", "4b", "8b", "basic", "ortho"),  # levels
        *("analytic", "analyticms", "bgrn", "visual", "sr", "toar", "boa", "dn", "udm", "udm2", "metadata"),  # products
        *("clip", "reproject", "file", "format", "harmonized", "harmonize", "composite", "cog", "tile"),  # tools
    }
)
"""Words of Planet's file names that say what a file is or which tools of an order made it, not of which scene it is."""

_SCENE_WORDS = 3  # of Planet's name of a scene at least: 20170915_020728_103d, 20211008_002442_03_2456
_FALLBACK = "composite"  # the name of a composite is nothing but these words


@dataclass(frozen=True)
class Kind:
    """A file that may lie beside a scene: a `word` in its name, and its `endings`."""

    title: str
    word: str
    endings: tuple[str, ...]
    option: str | None


UDM2 = Kind("UDM2", "udm2", (".tif", ".tiff"), "--udm2")
METADATA_XML = Kind("metadata XML", "metadata", (".xml",), None)


def words(text: str) -> tuple[str, ...]:
    """The whole words of a name in lower case, as its separators cut it."""
    return tuple(re.findall(r"[a-z0-9]+", text.lower()))


def names_of(path: AnyPath) -> tuple[Source, ...]:
    """A file as it is called and, if that is a link, what it leads to."""
    source = Source.of(path)
    resolved = source.resolved()
    same = not source.plain or resolved.plain == source.plain.absolute()
    return (source,) if same else (source, resolved)


def find(scene: AnyPath, kind: Kind) -> Source | None:
    """The file of that kind beside a scene, or beside what the scene is a link to.

    It has the same words in its name but for Planet's own (`PRODUCT_WORDS`), in any order and case, and what a user
    wrote behind Planet's name of a scene. Of several, the one with the most in common, for a folder may hold the
    clipped and the whole. An archive is looked into; what lies beside an address is not known.
    """
    for place in names_of(scene):
        found = [path for path in place.beside() if _belongs(path, place, kind)]
        if found:
            own = set(words(place.stem))
            return min(found, key=lambda path: (len(own ^ set(words(path.stem))), path.name))
    return None


def decision(scene: AnyPath, kind: Kind) -> Decision:
    """What was looked for beside a scene, and whether it is there."""
    scene = Source.of(scene)
    found = find(scene, kind)
    if found:
        return Decision(f"{kind.title} is {found.name}", "beside the scene, with the scene's name", kind.option)
    if scene.is_remote:
        return Decision(f"no {kind.title} looked for", "what lies beside an address is not known", kind.option)
    shown = " ".join(_identity(scene)) or scene.stem
    why = f"no *{kind.endings[0]} of {shown!r} with {kind.word!r} in its name"
    return Decision(f"no {kind.title} beside the scene", why, kind.option)


def _belongs(path: Source, scene: Source, kind: Kind) -> bool:
    if path.suffix not in kind.endings or kind.word not in words(path.stem) or path == scene:
        return False
    own = _identity(scene)
    theirs = _identity(path)
    same = theirs == own or (len(theirs) >= _SCENE_WORDS and own[: len(theirs)] == theirs)
    return bool(own) and same


def _identity(path: Source) -> tuple[str, ...]:
    """The words of a name that say of which scene it is."""
    said = words(path.stem)
    return tuple(word for word in said if word not in PRODUCT_WORDS) or tuple(w for w in said if w == _FALLBACK)
