"""What comes as several rasters: folders and archives as delivered, BEAM-DIMAP, files of several variables.

`within` reads a container, of whatever kind; `one` and `radar` choose in it by the names of its files or variables, as
`siblings` does beside a scene: the words of a name say which kind of file it is. Where several could be meant, or none,
that is refused with their names. An ENVI header stands for its image.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import rasterio
from rasterio.errors import NotGeoreferencedWarning

from cloudfree.bands import SAR_BANDS
from cloudfree.errors import InputError
from cloudfree.inputs.decision import Decision
from cloudfree.inputs.location.source import Source
from cloudfree.inputs.location.stacked import stacked
from cloudfree.inputs.masks.codes import CLEAR_WORDS, CLOUD_WORDS
from cloudfree.inputs.optical import planet_product
from cloudfree.inputs.optical.bands import bands_by_words
from cloudfree.inputs.radar import polarisation
from cloudfree.inputs.raster import access

RASTER_ENDINGS = (".tif", ".tiff", ".img", ".vrt", ".jp2", ".bsq", ".bil", ".bip", ".dat")
"""Of files that may be meant in a folder or an archive."""

HEADER_ENDING, DIMAP_ENDING, DIMAP_FOLDER = ".hdr", ".dim", ".data"
_BEAM = b"BEAM-DATAMODEL"
IMAGE_ENDINGS = ("", ".img", ".dat", ".bin", ".raw", ".bsq", ".bil", ".bip")
"""How the image of an ENVI header may end, instead of .hdr or before it."""

VARIABLE_ENDINGS = {
    **dict.fromkeys((".nc", ".nc4", ".cdf"), ("netcdf",)),
    **dict.fromkeys((".h5", ".hdf5", ".he5"), ("netcdf", "hdf5")),
}
"""Of files of several variables, and by which of GDAL's drivers: of HDF5, netCDF's knows where pixels lie (CF)."""

_DRIVER_NAMES = {"netcdf": "netCDF", "hdf5": "HDF5"}
_POLARISATIONS = (*SAR_BANDS, "HH", "HV")
_MOST_NAMED = 6  # files of a container in a message


@dataclass(frozen=True)
class Wanted:
    """What is looked for in a container: names with some of `words`, without any of `others`; or the only ones left."""

    title: str
    words: frozenset[str]
    others: frozenset[str] = frozenset()
    option: str | None = None


_COMPANIONS = frozenset({"udm", "udm2", "visual", "browse", "thumbnail", "angle", "inc", "lia", "ls", "dem", "rgb"})
_RADAR = frozenset(word.lower() for word in _POLARISATIONS)
_MASKS = frozenset(CLOUD_WORDS | CLEAR_WORDS | {"mask", "qa", "scl", "fmask"})

SCENE = Wanted("scene", frozenset({"analyticms", "analytic", "bgrn"}), _COMPANIONS | _RADAR | _MASKS, "--planet")
UDM2 = Wanted("UDM2", frozenset({"udm2"}), option="--udm2")
MASK = Wanted("mask", _MASKS, _RADAR, "--mask")
REFERENCE = Wanted("reference", SCENE.words, SCENE.others, "--reference")


def within(source: Source) -> list[Source] | None:
    """The rasters that a container holds; None of what is a raster itself, or is not there.

    Raises InputError where it cannot be read.
    """
    for fits, read in _KINDS:
        if fits(source):
            return read(source)
    return None


def one(source: Source, wanted: Wanted) -> tuple[Source, tuple[Decision, ...]]:
    """The raster that is meant, and why if it was chosen. Raises InputError where that cannot be told."""
    held = within(source)
    if held is None:
        return source, ()
    if wanted in (SCENE, REFERENCE) and (bands := _by_colour(held)):
        names = ", ".join(band.inside for band in bands)
        return stacked(source, bands), (Decision(f"a scene of {names} of {source.name}", "the variables' names"),)
    possible = [each for each in held if not wanted.others & _words(each)] if len(held) > 1 else held
    named = [each for each in possible if wanted.words & _words(each)] or possible
    if len(named) != 1:
        raise InputError(_refusal(source, held, named, wanted.title, wanted.option))
    return named[0], _taken(source, named)


def radar(source: Source) -> tuple[list[Source], tuple[Decision, ...]]:
    """The rasters of VV and VH, or of what else there is, that are meant. Raises InputError where that is not clear."""
    held = within(source)
    if held is None:
        return [source], ()
    found = {name: [each for each in held if _is_of(each, name)] for name in _POLARISATIONS}
    names = [name for name in SAR_BANDS if found[name]] or [name for name in _POLARISATIONS if found[name]]
    for name in names:
        if len(found[name]) > 1:
            raise InputError(_refusal(source, held, found[name], name, "--sar"))
    chosen = [found[name][0] for name in names]
    if not chosen:
        chosen = [each for each in held if not SCENE.others & _words(each)] if len(held) > 1 else held
        if len(chosen) != 1:
            raise InputError(_refusal(source, held, chosen, "Sentinel-1 image", "--sar"))
    return chosen, _taken(source, chosen)


def usable(source: Source) -> list[Source]:
    """What a run would look at of a container: its scene, its radar, or else all that it holds."""
    held = within(source)
    if not held:
        return [source]
    if any(SCENE.words & _words(each) for each in held) or _by_colour(held):
        return [one(source, SCENE)[0]]
    if any(_is_of(each, name) for each in held for name in _POLARISATIONS):
        return radar(source)[0]
    return held


# --- choosing ---


def _words(source: Source) -> set[str]:
    return set(planet_product.words(source.stem))


def _is_of(source: Source, name: str) -> bool:
    """Whether it is backscatter of a polarisation."""
    return polarisation.named_in(source.stem) == name and not polarisation.names_companion(source.stem)


def _by_colour(held: Sequence[Source]) -> list[Source] | None:
    """Blue, green, red and NIR, where they are variables of their own."""
    numbers = bands_by_words([_words(each) for each in held]) if all(s.is_variable for s in held) else None
    return [held[number - 1] for number in numbers] if numbers else None


def _taken(source: Source, chosen: Sequence[Source]) -> tuple[Decision, ...]:
    names = " and ".join(each.name for each in chosen)
    return () if names == source.name else (Decision(f"{names} of {source.name}", "by the names of what it holds"),)


def _refusal(source: Source, held: Sequence[Source], possible: Sequence[Source], title: str, option: str | None) -> str:
    several = len(possible) > 1
    shown = [each.inside or each.name for each in (possible if several else held)]
    listed = ", ".join(shown[:_MOST_NAMED]) + (f" and {len(shown) - _MOST_NAMED} more" if shown[_MOST_NAMED:] else "")
    found = f"{len(possible)} files that may be the {title}" if several else f"no {title}"
    example = f", like {option} '{(possible or held)[0].told}'" if held else ""
    held_words = f"({listed})" if listed else "(and no other raster)"
    return f"{source.name} holds {found} {held_words}; one is needed: give the file itself{example}"


# --- reading, a kind at a time ---


def _of_folder(source: Source) -> list[Source]:
    """Rasters in a folder or an archive, and in the folders within."""
    return [each for each in source.files() if each.suffix in RASTER_ENDINGS]


def _of_dimap(source: Source) -> list[Source] | None:
    """The images in the .data folder beside a .dim file of SNAP's; None of what SPOT calls so, which GDAL reads."""
    folder = source.with_ending(DIMAP_FOLDER)
    if not folder.is_folder and _BEAM not in source.read_bytes():
        return None
    if not folder.is_folder:
        raise InputError(f"{source.name} has no folder {folder.name} beside it, which has its images; fetch it too")
    return _of_folder(folder)


def _of_header(source: Source) -> list[Source]:
    """The image that an ENVI header is of."""
    bare = source.with_ending("")
    candidates = {bare.with_ending(ending) if ending else bare for ending in IMAGE_ENDINGS}
    images = [each for each in source.beside() if each in candidates and each != source]
    if len(images) != 1:
        found = f"{len(images)} images ({', '.join(each.name for each in images)})" if images else "no image"
        raise InputError(
            f"{source.name} is an ENVI header with {found} beside it; the one image is needed that it is of: give that"
        )
    return images


def _of_variables(source: Source) -> list[Source] | None:
    """The variables of a netCDF or HDF5 file; None where GDAL opens it as one raster."""
    drivers = [driver for driver in VARIABLE_ENDINGS[source.suffix] if _has(driver)]
    if not drivers:
        needed = " or ".join(_DRIVER_NAMES[driver] for driver in VARIABLE_ENDINGS[source.suffix])
        raise InputError(
            f"{source.name} needs GDAL's driver for {needed}, which this rasterio lacks; a GeoTIFF is read: convert it "
            "(gdal_translate), or install a rasterio that has it"
        )
    for driver in drivers:
        whole = source.made_of(f'NETCDF:"{source.address}"') if driver == "netcdf" else source
        try:
            count, names = _subdatasets(whole)
        except InputError:
            if driver == drivers[-1]:
                raise
            continue
        if count:
            return [whole]
        if names:
            return [source.variable(driver, name) for name in names]
    return None


def _subdatasets(source: Source) -> tuple[int, list[str]]:
    """The bands that a file has itself, and the names of its variables."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", NotGeoreferencedWarning)  # variables lie somewhere, the file need not
        with access.opened(source) as dataset:
            return dataset.count, [name.rpartition(":")[2] for name in dataset.subdatasets]


def _has(driver: str) -> bool:
    with rasterio.Env() as env:
        return _DRIVER_NAMES[driver] in env.drivers()


def _remote_archive(source: Source) -> list[Source]:
    raise InputError(
        f"{source} is an archive at an address, which cannot be listed; name the file in it, as "
        f"zip+https://HOST/ARCHIVE!FILE, or download it"
    )


def _is(*endings: str) -> Callable[[Source], bool]:
    return lambda source: source.suffix in endings and source.exists


_KINDS: tuple[tuple[Callable[[Source], bool], Callable[[Source], list[Source] | None]], ...] = (
    (lambda source: source.is_remote and source.is_archive, _remote_archive),
    (lambda source: source.is_folder, _of_folder),
    (_is(DIMAP_ENDING), _of_dimap),
    (_is(HEADER_ENDING), _of_header),
    (_is(*VARIABLE_ENDINGS), _of_variables),
)
"""Kinds of containers: how one is known, and its reader. The first that fits counts."""
