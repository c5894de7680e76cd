"""Scenes and radar images of a folder by the names of their files, also of those in archives as they are delivered."""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path

from cloudfree.errors import InputError
from cloudfree.inputs.location.archive import FILE_SYSTEMS, PACKED_ENDINGS, members_of, names_in
from cloudfree.inputs.location.source import Source, is_dir, is_file, refuse_closed
from cloudfree.inputs.optical import planet_product
from cloudfree.inputs.radar import names

log = logging.getLogger(__name__)

Found = Path | Source
"""A file or folder on disk, whose name may be none for a source, or a file in an archive."""

SCENE_WORDS = planet_product.ANALYTIC_WORDS
"""Words of which one is in the name of a scene, but for those of composites, strips and FORCE's products."""

_FORCE_SCENE = re.compile(r"\d{8}_LEVEL[23]_[A-Z0-9]{4,6}_(BOA|TOA)$", re.IGNORECASE)
_FORCE_TILE = re.compile(r"X-?\d{4}_Y-?\d{4}$", re.IGNORECASE)
_FORCE_RADAR = re.compile(r"s1[a-d]i[ad]$")
_RADAR_WORDS = frozenset(
    {"vv", "vh", "s1", "s1a", "s1b", "s1c", "s1d", "sentinel1", "sar", "grd", "rtc", "gamma0", "sigma0"}
)
_INDEX_WORDS = frozenset(
    {"ndvi", "gndvi", "ndwi", "mndwi", "ndre", "ndsi", "nbr", "evi", "evi2", "savi", "msavi", "osavi", "tgi", "vari"}
    | {"bandmath", "classified", "classification"}
)
_NEITHER_WORDS = planet_product.COMPANION_WORDS | {"cloudfree", "qa", "mask", "uncertainty"} | _INDEX_WORDS
_RADAR_JOINED = re.compile(
    r"(?:s1[a-d]?(?:grdh?|rtc)?|sentinel1[a-d]?)(?:\d{6}|\d{8})?(?:t\d{6})?$|"
    r"(?:gamma|sigma|beta)(?:0|nought|naught)(?:vv|vh)(?:db)?$|backscatter"
)
"""Words of radar images that are written together: s1a20240605, gamma0vv."""
_NO_COMPANION = re.compile(r"mask[-_ .]?applied|(?:study|test|project|target|my)[-_ .]?area", re.IGNORECASE)
"""Words of what products carry beside backscatter, where they say what was done, or where."""
_BASIC_WORDS = frozenset({"1b", "basic"})
_ENDINGS = (".tif", ".tiff")
_OTHER_ENDINGS = (".vrt", ".img", ".jp2", ".nc", ".ntf", ".dat", ".bil", ".bsq", ".ers", ".pix")
"""Of rasters that no folder is looked through for."""

_OF_SYSTEMS = frozenset(
    {
        "$recycle.bin",
        "system volume information",
        "@eadir",
        "#recycle",
        "@recycle",
        "lost+found",
        "__macosx",
        "recycler",
    }
)
"""Folders in which systems keep what was removed, previews and the like; besides those that are hidden."""

_MOST_DEPTH = 50  # of folders within each other
_ANNOTATION = re.compile(r"(^|/)annotation/[^/]+\.xml$", re.IGNORECASE)  # of a SAFE product
_OWN_NAME = re.compile(r"\d{8}[_t]\d{6}", re.IGNORECASE)  # which no other product has


@dataclass
class Inbox:
    """The scenes and radar images in a folder and those within, by path."""

    scenes: list[Found] = field(default_factory=list)
    radar: list[Found] = field(default_factory=list)

    @classmethod
    def of(cls, folder: Path, trust_inputs: bool = False) -> Inbox:
        """Look through a folder, but for what is hidden or a system's. Warns of what cannot be looked into.

        Links to folders are followed where inputs are trusted.
        """
        inbox, archived = cls(), cls()
        for path in _below(folder, trust_inputs):
            if path.suffix.lower() in FILE_SYSTEMS and is_file(path):
                archived._add_archive(path)
            elif path.suffix.upper() == ".SAFE":
                inbox.radar += [path] if is_dir(path) else []
            elif path.suffix.lower() in _ENDINGS:
                inbox._add(path)
            elif path.name.lower().endswith(PACKED_ENDINGS):
                log.warning("left out: %s is an archive that is not read in place: unpack it, or make it a .zip", path)
            elif path.suffix.lower() in _OTHER_ENDINGS and set(planet_product.words(path.stem)) & SCENE_WORDS:
                log.warning("left out: %s is no GeoTIFF: make it one (gdal_translate), or give a list", path)
        inbox._add_others(archived)
        inbox.scenes.sort(key=str)
        inbox.radar.sort(key=str)
        return inbox

    def _add(self, file: Found) -> None:
        if _is_scene(file):
            self.scenes.append(file)
        elif is_radar(file.stem):
            self.radar += [] if isinstance(file, Path) and not is_file(file) else [file]
        elif _is_named_radar(file.stem):
            log.info("passed over: %s is no backscatter by other words of its name", file)

    def _add_archive(self, archive: Path) -> None:
        try:
            inside = names_in(archive)
        except InputError as error:
            log.warning("left out: %s", error.message)
            return
        if any(map(_ANNOTATION.search, inside)):
            self.radar += [] if _is_unpacked(archive) else [archive]
            return
        for name in inside:
            if name.lower().endswith(_ENDINGS):
                self._add(Source.member(archive, name))
            elif name.lower().endswith((*FILE_SYSTEMS, *PACKED_ENDINGS)):
                log.warning("left out: %s in %s is an archive in another: unpack that", name, archive)

    def _add_others(self, archived: Inbox) -> None:
        """Add what is in archives, but for what is unpacked too: it would be read twice."""
        there = {file.name for file in (*self.scenes, *self.radar) if _OWN_NAME.search(file.name)}
        first: dict[object, Found] = {}
        for mine, others in ((self.scenes, archived.scenes), (self.radar, archived.radar)):
            for file in sorted(others, key=lambda file: (len(str(file)), str(file))):
                same = first.setdefault(_content_of(file), file)
                if file.name in there:
                    log.info("%s is unpacked too, which is used", file)
                elif same is not file:
                    log.info("%s is %s once more, which is used", file, same)
                else:
                    mine.append(file)


def _content_of(file: Found) -> object:
    """The same for files of one name and content in two archives: an order may be downloaded twice."""
    if isinstance(file, Source) and file.file:
        member = next(member for member in members_of(file.file) if member.name == file.inside)
        if member.checksum is not None:
            return member
    return str(file)


def tile_of(file: Source) -> str:
    """The folder of a tile of FORCE's, whose files are called alike in all tiles; empty for other files."""
    folder = Path(str(file)).parent.name
    return folder if _FORCE_TILE.match(folder) else ""


def is_radar(stem: str) -> bool:
    """Whether a raster is a Sentinel-1 image by its name."""
    stem = _NO_COMPANION.sub("", stem)
    neither = set(planet_product.words(stem)) & (_NEITHER_WORDS | SCENE_WORDS)
    return _is_named_radar(stem) and not neither and not names.is_companion_of_product(stem)


def _is_named_radar(stem: str) -> bool:
    """Whether a name has words of Sentinel-1 images, whatever else it says."""
    words = planet_product.words(stem)
    named = bool(set(words) & _RADAR_WORDS) or any(map(_FORCE_RADAR.match, words))
    return named or any(map(_RADAR_JOINED.match, words)) or ("sentinel", "1") in pairwise(words)


def _is_scene(file: Found) -> bool:
    words = set(planet_product.words(file.stem))
    if words & _NEITHER_WORDS:
        return False
    if not words & SCENE_WORDS:
        return bool(_FORCE_SCENE.match(file.stem)) or _is_composite(file, words)
    if words & _BASIC_WORDS:
        log.warning("left out: %s is a basic product (1B) by its name, which has no map projection", file)
        return False
    return True


def _is_composite(file: Found, words: set[str]) -> bool:
    """Whether it is scenes of a strip in one file, as tools of an order make it, by its name or the UDM2 beside it."""
    if "composite" not in words:
        return False
    try:
        return "strip" in words or planet_product.find(file, planet_product.UDM2) is not None
    except InputError:  # no name that a source can have
        return False


def _below(folder: Path, trust_inputs: bool) -> Iterator[Path]:
    """Files and SAFE products in a folder and those within."""
    seen = {os.path.realpath(folder)}
    folders = [(folder, 0)]
    while folders:
        within, depth = folders.pop()
        for path in _listed(within):
            if path.name.startswith(".") or path.name.lower() in _OF_SYSTEMS:
                continue
            if not is_dir(path) or path.suffix.upper() == ".SAFE":
                yield path
            elif depth < _MOST_DEPTH and _is_to_be_entered(path, folder, seen, trust_inputs):
                seen.add(os.path.realpath(path))
                folders.append((path, depth + 1))


def _is_to_be_entered(path: Path, folder: Path, seen: set[str], trust_inputs: bool) -> bool:
    """Whether to look into a folder: not into one twice, nor through a link to another's files without a word."""
    if not path.is_symlink():
        return True
    leads_to = os.path.realpath(path)
    if leads_to in seen or is_within(path, folder):
        return False  # it is met on its own way
    if not trust_inputs:
        log.warning(
            "left out: %s is a link out of the folder, which may lead to another's files: copy it, or give "
            "--trust-inputs",
            path,
        )
    return trust_inputs


def is_within(path: Path, folder: Path) -> bool:
    """Whether a path, or what it is a link to, lies in a folder."""
    return Path(os.path.realpath(path)).is_relative_to(os.path.realpath(folder))


def _listed(folder: Path) -> list[Path]:
    try:
        refuse_closed(folder)
        return list(folder.iterdir())
    except OSError as error:
        what = "entered" if str(error.filename).endswith("/.") else "listed"
        log.warning("left out: %s cannot be %s (%s)", folder, what, error.strerror)
        return []


def _is_unpacked(archive: Path) -> bool:
    """Return whether the folder of a zipped SAFE product is there too: it would be read twice."""
    name = f"{archive.stem.removesuffix('.SAFE')}.SAFE"
    return any(is_dir(folder / name) for folder in (archive.parent, archive.with_suffix("")))
