"""What comes as several rasters: folders and archives as delivered, BEAM-DIMAP, files of several variables.

`within` lists the rasters of a container, of whatever kind; `one` and `radar` choose among them by the words in the
names of its files or variables. Where several could be wanted, or none, that is refused with their names. An ENVI
header stands for its image.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import rasterio
from rasterio.errors import NotGeoreferencedWarning

from cloudfree.bands import SAR_BANDS
from cloudfree.errors import InputError
from cloudfree.inputs.decision import Decision
from cloudfree.inputs.location.archive import PACKED_ENDINGS
from cloudfree.inputs.location.source import Source
from cloudfree.inputs.location.stacked import stacked
from cloudfree.inputs.masks.codes import CLEAR_WORDS, CLOUD_WORDS
from cloudfree.inputs.optical import planet_product
from cloudfree.inputs.optical.bands import bands_of_names
from cloudfree.inputs.radar import names
from cloudfree.inputs.radar.names import POLARISATIONS
from cloudfree.inputs.raster import access

RASTER_ENDINGS = (".tif", ".tiff", ".img", ".vrt", ".jp2", ".bsq", ".bil", ".bip", ".dat")
"""Of files that may be meant in a folder or an archive."""

HEADER_ENDING, DIMAP_ENDING, DIMAP_FOLDER = ".hdr", ".dim", ".data"
_BEAM = b"BEAM-DATAMODEL"
IMAGE_ENDINGS = ("", ".img", ".dat", ".bin", ".raw", ".bsq", ".bil", ".bip")
"""How the image of an ENVI header may end, instead of .hdr or before it."""

VARIABLE_ENDINGS = {
    **dict.fromkeys((".nc", ".nc4", ".cdf"), ("netCDF",)),
    **dict.fromkeys((".h5", ".hdf5", ".he5"), ("netCDF", "HDF5")),
}
"""Of files of several variables, and by which of GDAL's drivers: of HDF5, netCDF's knows where pixels lie (CF)."""

_TEN_METRES = "/R10m"
"""The folder of a Sentinel-2 product that holds its bands at full resolution."""
_SENTINEL_2_METADATA = re.compile(r"MTD_MSIL[12][AC]\.xml", re.IGNORECASE)
_ADDED = re.compile(r"<(?:BOA|RADIO)_ADD_OFFSET[^>]*>\s*(-?\d+(?:\.\d+)?)\s*<")
_QUANTIFICATION = re.compile(r"<(?:BOA_)?QUANTIFICATION_VALUE[^>]*>\s*([1-9]\d*(?:\.\d+)?)\s*<")

_MOST_NAMED = 6  # files of a container in a message


@dataclass(frozen=True)
class Wanted:
    """What is looked for in a container: the raster with one of `words` in its name and none of `others`.

    Where no name has one of `words`, the only raster with none of `others`. `title` and `option` are for messages.
    """

    title: str
    words: frozenset[str]
    others: frozenset[str]
    option: str


_RADAR_WORDS = frozenset(name.lower() for name in POLARISATIONS)
_MASK_WORDS = frozenset(CLOUD_WORDS | CLEAR_WORDS | {"mask", "qa", "scl", "fmask"})
# A study area may be in the name of a scene.
_NO_SCENE_WORDS = planet_product.COMPANION_WORDS | (names.COMPANION_WORDS - {"area"}) | _RADAR_WORDS | _MASK_WORDS

SCENE = Wanted("scene", planet_product.ANALYTIC_WORDS, _NO_SCENE_WORDS, "--planet")
UDM2 = Wanted("UDM2", frozenset({planet_product.UDM2.word}), frozenset(), "--udm2")
MASK = Wanted("mask", _MASK_WORDS, _RADAR_WORDS, "--mask")
REFERENCE = Wanted("reference", SCENE.words, SCENE.others, "--reference")


def within(source: Source) -> list[Source] | None:
    """The rasters that a container holds; None of what is a raster itself, or is not there.

    Raises InputError where it cannot be read.
    """
    for fits, read in _KINDS:
        if fits(source):
            return read(source)
    return None


def one(source: Source, wanted: Wanted, date: str | None = None) -> tuple[Source, tuple[Decision, ...]]:
    """The raster that is wanted, and why if it was chosen in a container; a scene or reference may be in single bands.

    `date` is the one that is wanted of variables of several. Raises InputError where something is not clear.
    """
    source = _product_of(source)
    rasters = within(source)
    if rasters is None:
        return source, ()
    if wanted in (SCENE, REFERENCE) and (bands := _by_colour(source, rasters)):
        listed = ", ".join(band.inside or band.name for band in bands)
        why = "the variables' names" if bands[0].is_variable else "the files' names"
        mend = "say which with --planet-date, or " if wanted is SCENE else ""
        stack = stacked(source, bands, date, _stated_scale(source), mend)
        return stack, (Decision(f"a scene of {listed} of {source.name}", why),)
    possible = _without(rasters, wanted.others)
    named = [raster for raster in possible if wanted.words & _words(raster)] or possible
    if len(named) != 1:
        raise InputError(_refusal(source, rasters, named, wanted.title, wanted.option))
    return named[0], _decision(source, named)


def radar(source: Source) -> tuple[list[Source], tuple[Decision, ...]]:
    """The rasters of VV and VH, or of other polarisations, and why if they were chosen in a container.

    Raises InputError where it is not clear which these are.
    """
    rasters = within(source)
    if rasters is None:
        return [source], ()
    named = {name: [raster for raster in rasters if _is_of(raster, name)] for name in POLARISATIONS}
    present = [name for name in SAR_BANDS if named[name]] or [name for name in POLARISATIONS if named[name]]
    for name in present:
        if len(named[name]) > 1:
            raise InputError(_refusal(source, rasters, named[name], name, "--sar"))
    chosen = [named[name][0] for name in present]
    if not chosen:
        chosen = _without(rasters, SCENE.others)
        if len(chosen) != 1:
            raise InputError(_refusal(source, rasters, chosen, "Sentinel-1 image", "--sar"))
    return chosen, _decision(source, chosen)


def usable(source: Source) -> list[Source]:
    """The rasters of a container that a run would take: its scene, its radar, or else all of them."""
    source = _product_of(source)
    rasters = within(source)
    if not rasters:
        return [source]
    if any(SCENE.words & _words(raster) for raster in rasters) or _by_colour(source, rasters):
        return [one(source, SCENE)[0]]
    if any(_is_of(raster, name) for raster in rasters for name in POLARISATIONS):
        return radar(source)[0]
    return rasters


# --- choosing ---


def _words(source: Source) -> set[str]:
    return set(planet_product.words(source.stem))


def _without(rasters: list[Source], others: frozenset[str]) -> list[Source]:
    """The rasters with none of these words in their names; one that is alone may be called anything."""
    return [raster for raster in rasters if not others & _words(raster)] if len(rasters) > 1 else rasters


def _is_of(source: Source, polarisation: str) -> bool:
    """Whether it is backscatter of a polarisation, by its name."""
    return names.polarisation_in(source.stem) == polarisation and not names.is_companion(source.stem)


def _by_colour(source: Source, rasters: Sequence[Source]) -> list[Source] | None:
    """Blue, green, red and NIR, where they are variables or files of their own: those of 10 m, where there are more."""
    if any(SCENE.words & _words(raster) for raster in rasters) and not rasters[0].is_variable:
        return None
    folders: dict[str, list[Source]] = {}
    for raster in rasters:
        folder = "" if raster.is_variable else raster.address.rpartition("/")[0]
        folders.setdefault(folder, []).append(raster)
    found = {}
    for folder, files_of_folder in folders.items():
        files = [file for file in files_of_folder if "10m" in _words(file)] or files_of_folder
        names = [source.name, *(file.stem for file in files)]
        if numbers := bands_of_names([*map(_words, files)], names):
            found[folder] = [files[number - 1] for number in numbers]
    best = [bands for folder, bands in found.items() if folder.endswith(_TEN_METRES)] or [*found.values()]
    return best[0] if len(best) == 1 else None


def _product_of(source: Source) -> Source:
    """The folder of a Sentinel-2 product whose metadata is given; of all else itself."""
    is_metadata = source.plain and _SENTINEL_2_METADATA.fullmatch(source.name)
    return Source.of(source.plain.absolute().parent) if source.plain and is_metadata else source


def _stated_scale(source: Source) -> tuple[float, float] | None:
    """Scale and offset of reflectance by a Sentinel-2 product's own metadata; None where there is none."""
    if not source.is_folder:
        return None
    metadata = next((file for file in source.files() if _SENTINEL_2_METADATA.fullmatch(file.name)), None)
    content = metadata.read_bytes().decode(errors="replace") if metadata else ""
    offsets = {float(number) for number in _ADDED.findall(content)}
    quantity = _QUANTIFICATION.search(content)
    if not quantity or len(offsets) > 1:
        return None
    return 1 / float(quantity[1]), offsets.pop() / float(quantity[1]) if offsets else 0.0


def _decision(source: Source, chosen: Sequence[Source]) -> tuple[Decision, ...]:
    listed = " and ".join(raster.name for raster in chosen)
    return () if listed == source.name else (Decision(f"{listed} of {source.name}", "by the names of what it holds"),)


def _refusal(source: Source, rasters: Sequence[Source], possible: Sequence[Source], title: str, option: str) -> str:
    several = len(possible) > 1
    shown = [raster.inside or raster.name for raster in (possible if several else rasters)]
    more = f" and {len(shown) - _MOST_NAMED} more" if len(shown) > _MOST_NAMED else ""
    listed = f"({', '.join(shown[:_MOST_NAMED])}{more})" if shown else "(and no other raster)"
    count = f"{len(possible)} files that may be the {title}" if several else f"no {title}"
    example = f", like {option} '{(possible or rasters)[0].as_written}'" if rasters else ""
    return f"{source.name} holds {count} {listed}; one is needed: give the file itself{example}"


# --- reading, a kind at a time ---


def _of_folder(source: Source) -> list[Source]:
    """Rasters in a folder or an archive, and in the folders within."""
    return [file for file in source.files() if file.suffix in RASTER_ENDINGS]


def _of_dimap(source: Source) -> list[Source] | None:
    """The images in the .data folder beside a .dim file of SNAP's; None for a .dim file of another kind."""
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
    images = [file for file in source.beside() if file in candidates and file != source]
    if len(images) != 1:
        count = f"{len(images)} images ({', '.join(image.name for image in images)})" if images else "no image"
        raise InputError(
            f"{source.name} is an ENVI header with {count} beside it; the one image is needed that it is of: give that"
        )
    return images


def _of_variables(source: Source) -> list[Source] | None:
    """The variables of a netCDF or HDF5 file; None where GDAL opens it as one raster."""
    drivers = [driver for driver in VARIABLE_ENDINGS[source.suffix] if _has(driver)]
    if not drivers:
        raise InputError(
            f"{source.name} needs GDAL's driver for {' or '.join(VARIABLE_ENDINGS[source.suffix])}, which this "
            "rasterio lacks; a GeoTIFF is read: convert it (gdal_translate), or install a rasterio that has it"
        )
    for driver in drivers:
        whole = source.made_of(f'NETCDF:"{source.address}"') if driver == "netCDF" else source
        try:
            count, variables = _subdatasets(whole)
        except InputError:
            if driver == drivers[-1]:
                raise
            continue
        if count:
            return [whole]
        if variables:
            return [source.variable(driver, name) for name in variables]
    return None


def _subdatasets(source: Source) -> tuple[int, list[str]]:
    """The bands that a file has itself, and the names of its variables."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", NotGeoreferencedWarning)  # variables lie somewhere, the file need not
        with access.opened(source) as dataset:
            return dataset.count, [name.rpartition(":")[2] for name in dataset.subdatasets]


def _has(driver: str) -> bool:
    with rasterio.Env() as env:
        return driver in env.drivers()


def _packed(source: Source) -> list[Source]:
    raise InputError(
        f"{source.name} is a packed archive, in which every file is unpacked for each that is read; a folder, .zip and "
        ".tar are read in place: unpack it"
    )


def _remote_archive(source: Source) -> list[Source]:
    raise InputError(
        f"{source} is an archive at an address, which cannot be listed; name the file in it, as "
        f"zip+https://HOST/ARCHIVE!FILE, or download it"
    )


def _is(*endings: str) -> Callable[[Source], bool]:
    return lambda source: source.suffix in endings and not source.is_stack and source.exists


_KINDS: tuple[tuple[Callable[[Source], bool], Callable[[Source], list[Source] | None]], ...] = (
    (lambda source: source.is_remote and source.is_archive, _remote_archive),
    (lambda source: source.name.lower().endswith(PACKED_ENDINGS) and not source.is_remote, _packed),
    (lambda source: source.is_folder, _of_folder),
    (_is(DIMAP_ENDING), _of_dimap),
    (_is(HEADER_ENDING), _of_header),
    (_is(*VARIABLE_ENDINGS), _of_variables),
)
"""Kinds of containers: how one is known, and its reader. The first that fits counts."""
