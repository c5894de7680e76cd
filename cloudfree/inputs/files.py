"""The files of one scene together: the options for reading them, what they are, and one reader of them all."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, Self

import numpy as np
from numpy.typing import NDArray

from cloudfree import process
from cloudfree.arrays import Image, Mask, known_of
from cloudfree.errors import GridError, InputError
from cloudfree.geometry import Displacement, Grid
from cloudfree.inputs import acquisition
from cloudfree.inputs.acquisition import Acquisition
from cloudfree.inputs.location.source import AnyPath, Source
from cloudfree.inputs.masks.codes import MaskOptions
from cloudfree.inputs.masks.found import FoundClouds
from cloudfree.inputs.masks.mask import CloudMask, MaskReader, identify_mask_of
from cloudfree.inputs.optical import planet_product
from cloudfree.inputs.optical.quantity import QuantityOptions
from cloudfree.inputs.optical.reference import Reference, ReferenceReader, identify_reference
from cloudfree.inputs.optical.scene import Scene, SceneReader, has_data, identify_scene
from cloudfree.inputs.radar.backscatter import Units
from cloudfree.inputs.radar.image import NO_RADAR, SarOptions, SarReader, Sentinel1, identify_sar
from cloudfree.inputs.raster import access
from cloudfree.inputs.values import Metres, Scale, convert_fields

log = logging.getLogger(__name__)

_STRIP_ROWS = 256

RADAR_OPTIONS = "sar_bands", "sar_units", "sar_scale", "sar_offset", "allow_hh_hv"
"""Fields of `InputOptions` that say how radar is read."""


@dataclass(frozen=True, kw_only=True)
class InputOptions:
    """Options for reading a scene's files; None means: take it from the file.

    Files are paths or addresses that `Source.of` understands, or containers of one such file; texts and paths become
    sources. Raises InputError for values that a field cannot have (`values`).
    """

    planet: Source
    """The scene."""
    sar: tuple[Source, ...] = ()
    """Sentinel-1: files of VV and VH, or of one of them, as many as cover the scene; none: there is no radar."""
    udm2: Source | None = None
    """The scene's usable data mask; None: the UDM2 beside the scene, if there is one."""
    mask: Source | None = None
    """Another mask of clouds and shadows, instead of a UDM2."""
    references: tuple[Source, ...] = ()
    """Images of the scene's ground on other dates."""
    planet_bands: tuple[int, ...] | None = None
    """One-based blue, green, red and NIR."""
    planet_quantity: Literal["surface-reflectance", "toa-reflectance", "radiance"] | None = None
    """A key of `quantity.QUANTITIES`."""
    planet_scale: tuple[Scale, ...] | None = None
    """The reflectance of one stored number, of all bands or of each of the four."""
    planet_date: str | None = None
    """The date (2024-06-15, or with a time of day) of the scene in a netCDF file of several."""
    mask_values: str | None = None
    """Values of `mask` that are cloud or shadow: "2,3", "4-7", or a name of `codes.VALUE_PRESETS`."""
    mask_bits: str | None = None
    """Bits of `mask` of which any is cloud or shadow, in the same way; a name is one of `codes.BIT_PRESETS`."""
    mask_threshold: float | None = None
    """The number of `mask`, in its own units, from which on it is cloud, where it holds probabilities."""
    mask_unknown: Literal["cloud", "clear"] = "cloud"
    """What ground counts as of which `udm2` or `mask` says nothing."""
    sar_bands: tuple[int, ...] | None = None
    """One-based VV and VH of each file, or of two files one number each."""
    sar_units: Units | Literal["auto"] = "auto"
    """Units of the scaled values: "db", "power", "amplitude"; "auto" is decided by what files state and hold."""
    sar_scale: float | None = None
    """Stored values times `sar_scale` plus `sar_offset` are backscatter."""
    sar_offset: float | None = None
    allow_hh_hv: bool = False
    """Take HH for VV and HV for VH."""
    trust_inputs: bool = False
    """Open files too that have GDAL read others than their own, or ask a server (`raster.admitted`)."""
    max_shift_m: Metres = 60.0
    """The largest offset of Sentinel-1 or a reference to believe, in metres."""

    def __post_init__(self) -> None:
        convert_fields(self)

    @classmethod
    def of(
        cls,
        planet: AnyPath,
        sar: AnyPath | Sequence[AnyPath] | None,
        *,
        udm2: AnyPath | None = None,
        mask: AnyPath | None = None,
        references: AnyPath | Sequence[AnyPath] = (),
        **others: Any,
    ) -> Self:
        """Options from paths as Python callers write them, one or several where several are allowed; no radar is None.

        `others` are the other fields, of a subclass too.
        """
        files: dict[str, Any] = {
            "planet": planet,
            "sar": () if sar is None else sar,
            "udm2": udm2,
            "mask": mask,
            "references": references,
        }
        return cls(**files, **others)

    @property
    def sources(self) -> tuple[Source, ...]:
        """All files that are given."""
        return tuple(filter(None, (self.planet, *self.sar, self.udm2, self.mask, *self.references)))


@dataclass(frozen=True)
class Pixels:
    """Pixels of all inputs on a grid.

    `dn` (4, H, W) uint16, all zero without data; `sar_db` (2, H, W), VV and VH, NaN where invalid; `cloudy` (H, W),
    by the mask or detected; `others`: reflectance of each reference (4, H, W), NaN where it is invalid.
    """

    grid: Grid
    dn: NDArray[np.uint16]
    sar_db: Image
    cloudy: Mask
    others: tuple[Image, ...] = ()

    @property
    def data(self) -> Mask:
        return has_data(self.dn)

    @property
    def clear(self) -> Mask:
        clear: Mask = np.logical_and(self.data, np.logical_not(self.cloudy))
        return clear

    @property
    def sar_valid(self) -> Mask:
        return known_of(self.sar_db)


@dataclass(frozen=True)
class InputReader:
    """All inputs of a scene, open; `grid` is the scene's."""

    grid: Grid
    scene: SceneReader
    sar: SarReader
    mask: MaskReader | None
    references: tuple[ReferenceReader, ...] = ()
    found: FoundClouds | None = None

    def window(self, row: int, col: int, height: int, width: int, displacement: Displacement | None = None) -> Pixels:
        """The pixels of the scene from a row and a column on; radar is moved over the ground by a displacement."""
        grid = self.grid.window(row, col, height, width)
        dn = self.scene.window(row, col, height, width)
        return Pixels(grid, dn, self.sar.on_grid(grid, displacement), self.cloudy(grid), self.others(grid))

    def averaged(self, grid: Grid) -> Pixels:
        """The whole scene averaged to a coarser grid; cloud by the nearest pixel of the mask."""
        with ThreadPoolExecutor(process.threads()) as pool:  # each reads files of its own
            dn, sar_db = pool.submit(self.scene.averaged, *grid.shape), pool.submit(self.sar.on_grid, grid)
            cloudy = pool.submit(lambda: np.concatenate([*map(self.cloudy, grid.strips(_STRIP_ROWS))]))
            others = self.others(grid, all_cores=True)
            return Pixels(grid, dn.result(), sar_db.result(), cloudy.result(), others)

    def others(self, grid: Grid, all_cores: bool = False) -> tuple[Image, ...]:
        """Reflectance of each reference (4, H, W), NaN where it is invalid; read on all cores if `all_cores`."""
        return tuple(reference.on_grid(grid, all_cores) for reference in self.references)

    def cloudy(self, grid: Grid) -> Mask:
        """Cloud or shadow (H, W), by the mask or detected in the scene."""
        cloudy = np.zeros(grid.shape, bool)
        for source in (self.mask, self.found):
            if source:
                cloudy |= source.on_grid(grid)
        return cloudy


@dataclass(frozen=True)
class Inputs:
    """The files of a scene, identified.

    `sar` is `NO_RADAR` where none is given; `found` are clouds detected in the scene beside or instead of a mask's.
    """

    scene: Scene
    sar: Sentinel1
    mask: CloudMask | None
    references: tuple[Reference, ...] = ()
    found: FoundClouds | None = None

    @property
    def acquired(self) -> Acquisition:
        """When the scene was taken; that of radar is with its bands."""
        return self.scene.acquired

    @property
    def has_radar(self) -> bool:
        """Whether radar is given."""
        return bool(self.sar.frames)

    @property
    def masked(self) -> bool:
        """Whether anything says where clouds are."""
        return self.mask is not None or self.found is not None

    @property
    def paths(self) -> list[Source]:
        """Every file that is read: the scene, radar, the mask if there is one, references and their masks.

        And what virtual ones (VRT) among them are made of.
        """
        polygons = [self.mask.path] if self.mask and self.mask.burnt else []
        masks = [self.mask.path] if self.mask and not polygons else []
        others = [image.path for ref in self.references for image in (ref, ref.mask) if image]
        radar = dict.fromkeys(path for band in self.sar.bands for path in band.files)
        return [
            part for path in (self.scene.path, *radar, *masks, *others) for part in access.parts_of(path)
        ] + polygons

    def deciding(self, options: InputOptions, area: Path | None) -> tuple[Source, ...]:
        """Every file that decides what is made of these: references that are left out too, and a file of an area."""
        given = [reference for reference in options.references if not reference.is_folder]  # of a folder, what was used
        images = [self.scene.path, *given, *(reference.path for reference in self.references)]
        kinds = planet_product.METADATA_XML, planet_product.METADATA_JSON
        metadata = [beside for image in images for kind in kinds if (beside := planet_product.find(image, kind))]
        return tuple(dict.fromkeys([*self.paths, *given, *metadata, *([Source.of(area)] if area else [])]))

    @property
    def reasons(self) -> tuple[str, ...]:
        """Why files were taken for what they are, in words."""
        masked = self.mask.reasons if self.mask else ()
        return tuple(map(str, (*self.scene.reasons, *masked, *self.sar.reasons)))

    @contextmanager
    def open(self) -> Iterator[InputReader]:
        """A reader of all of them, which are closed together."""
        with ExitStack() as stack:
            mask = stack.enter_context(self.mask.open()) if self.mask else None
            scene, sar = stack.enter_context(self.scene.open()), stack.enter_context(self.sar.open())
            references = tuple(stack.enter_context(reference.open()) for reference in self.references)
            yield InputReader(self.scene.grid, scene, sar, mask, references, self.found)

    def displaced(self, displacements: Sequence[Displacement]) -> Inputs:
        """The same with each reference moved over the ground by the displacement at its place."""
        pairs = zip(self.references, displacements, strict=True)
        return replace(self, references=tuple(replace(image, displacement=moved) for image, moved in pairs))


def identify(options: InputOptions) -> Inputs:
    """Identify a scene, its radar, its mask (the one that is given or the scene's own), and its references.

    Raises InputError or GridError where they do not fit; a reference that is of no use is warned of and left out.
    """
    quantity = QuantityOptions(options.planet_quantity, options.planet_scale)
    scene = identify_scene(options.planet, options.planet_bands, quantity, options.planet_date)
    sar = _dated(identify_radar(options, scene.grid), scene.acquired)
    codes = MaskOptions(options.mask_values, options.mask_bits, options.mask_unknown, options.mask_threshold)
    mask = identify_mask_of(scene, options.udm2, options.mask, codes)
    return Inputs(scene, sar, mask, tuple(usable_references(options.references, scene.grid, scene.path)))


def identify_radar(options: InputOptions, area: Grid) -> Sentinel1:
    """Identify the radar of a scene whose grid is `area`. Raises InputError or GridError."""
    scaling = options.sar_scale, options.sar_offset
    reading = SarOptions(options.sar_units, options.sar_bands, *scaling, options.allow_hh_hv)
    if options.sar:
        return identify_sar(options.sar, area, reading)
    if reading != SarOptions():
        raise InputError(
            "--sar-bands, --sar-units, --sar-scale, --sar-offset and --allow-hh-hv say how radar is read, and none is "
            "given; give --sar, or leave them out"
        )
    return NO_RADAR


def _dated(sar: Sentinel1, scene: Acquisition) -> Sentinel1:
    """The image with a warning among its reasons, logged too, if it was taken long before or after the scene."""
    apart = acquisition.distance(scene, [band.acquired for band in sar.bands])
    if apart is None:
        return sar
    log.warning("%s", apart)
    return replace(sar, reasons=(*sar.reasons, apart))


def usable_references(paths: Sequence[AnyPath], area: Grid, scene: Source | None = None) -> Iterator[Reference]:
    """The images that are of use over `area`, and not of the acquisition of `scene`; the others are warned of.

    Raises InputError where one is no file.
    """
    for path in map(Source.of, paths):
        if not path.exists:
            raise InputError(f"{path} does not exist; a reference must be a raster file: check the path")
        try:
            reference = identify_reference(path, area)
        except (InputError, GridError) as error:
            log.warning("reference left out: %s", error.message)
            continue
        if scene and planet_product.is_same_item(reference.path, scene):
            log.warning(
                "reference left out: %s is of the scene's own acquisition, by its name; take one of another day",
                reference.path.name,
            )
        elif scene and f'"{scene.name}"' in reference.made_of:
            log.warning(
                "reference left out: %s was made of the scene itself, by its tags; take an image of another day",
                reference.path.name,
            )
        else:
            yield reference
