"""The files of one scene together: what was said of them, what they are, and one reader of them all."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any, Literal, Self

import numpy as np
from numpy.typing import NDArray

from cloudfree.arrays import Image, Mask, known_of
from cloudfree.errors import GridError, InputError
from cloudfree.geometry.displacement import Displacement
from cloudfree.geometry.grid import Grid
from cloudfree.inputs import acquisition
from cloudfree.inputs.acquisition import UNKNOWN, Acquisition
from cloudfree.inputs.location.source import AnyPath, Source
from cloudfree.inputs.masks.codes import MaskOptions
from cloudfree.inputs.masks.found import FoundClouds
from cloudfree.inputs.masks.mask import CloudMask, MaskReader, identify_mask_of
from cloudfree.inputs.optical import planet_product
from cloudfree.inputs.optical.quantity import QuantityOptions
from cloudfree.inputs.optical.reference import Reference, ReferenceReader, identify_reference
from cloudfree.inputs.optical.scene import Scene, SceneReader, has_data, identify_scene
from cloudfree.inputs.radar.backscatter import Units
from cloudfree.inputs.radar.image import SarReader, Sentinel1, identify_sar
from cloudfree.inputs.raster import access

log = logging.getLogger(__name__)

_STRIP_ROWS = 256


@dataclass(frozen=True, kw_only=True)
class InputOptions:
    """What a command can be told of a scene's files.

    Files are what `Source.of` understands, or containers of one such file each; paths and texts become sources.
    `sar` is one file or several of VV and VH, or one of them, as many as cover the scene. `udm2` or `mask` says where
    clouds are; without either it is the UDM2 beside the scene, if there is one. `references` are images of the place on
    other dates. Bands are one-based numbers of blue, green, red and NIR, and of VV and VH. `planet_quantity` and
    `planet_scale` say what the scene's numbers are (`QuantityOptions`); `mask_values`, `mask_bits` and `mask_unknown`,
    what the mask's mean (`MaskOptions`). `sar_units`, `sar_scale`, `sar_offset` and `allow_hh_hv` say what radar's
    mean (`identify_sar`). `max_shift_m` is the largest offset of Sentinel-1 to believe, in metres.
    """

    planet: Source
    sar: tuple[Source, ...]
    udm2: Source | None = None
    mask: Source | None = None
    references: tuple[Source, ...] = ()
    planet_bands: tuple[int, ...] | None = None
    planet_quantity: str | None = None
    planet_scale: tuple[float, ...] | None = None
    mask_values: str | None = None
    mask_bits: str | None = None
    mask_unknown: Literal["cloud", "clear"] = "cloud"
    sar_bands: tuple[int, ...] | None = None
    sar_units: Units | Literal["auto"] = "auto"
    sar_scale: float | None = None
    sar_offset: float | None = None
    allow_hh_hv: bool = False
    max_shift_m: float = 60.0

    def __post_init__(self) -> None:
        for field in fields(InputOptions):
            value = getattr(self, field.name)
            if str(field.type).startswith("tuple[Source"):
                object.__setattr__(self, field.name, tuple(map(Source.of, value)))
            elif str(field.type).startswith("Source") and value:
                object.__setattr__(self, field.name, Source.of(value))

    @classmethod
    def of(cls, planet: AnyPath, sar: AnyPath | Sequence[AnyPath], **others: Any) -> Self:
        """Options from paths as Python callers write them, one or several where several are allowed."""
        types = {field.name: str(field.type) for field in fields(cls)}
        given = {"planet": planet, "sar": sar, **others}
        for name, value in given.items():
            if types.get(name, "").startswith("tuple[Source") and isinstance(value, AnyPath):
                given[name] = (value,)
            elif types.get(name, "").startswith("Path") and value:
                given[name] = Path(value)
        return cls(**given)


@dataclass(frozen=True)
class Pixels:
    """What all inputs show on a grid.

    `dn` (4, H, W) uint16, all zero without data; `sar_db` (2, H, W), VV and VH, NaN where invalid; `cloudy` (H, W):
    what the mask flags, nothing where there is none; `others`: reflectance of each reference (4, H, W), NaN where it
    shows nothing.
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
        """The pixels of the scene from a row and a column on, and radar, displaced over the ground if so told."""
        grid = self.grid.window(row, col, height, width)
        dn = self.scene.window(row, col, height, width)
        return Pixels(grid, dn, self.sar.on_grid(grid, displacement), self.cloudy(grid), self.others(grid))

    def averaged(self, grid: Grid) -> Pixels:
        """The whole scene averaged to a coarser grid; cloud by the nearest pixel of the mask."""
        strips = [grid.rows(row, min(row + _STRIP_ROWS, grid.height)) for row in range(0, grid.height, _STRIP_ROWS)]
        with ThreadPoolExecutor(os.cpu_count() or 1) as pool:  # each reads files of its own
            dn, sar_db = pool.submit(self.scene.averaged, *grid.shape), pool.submit(self.sar.on_grid, grid)
            cloudy = pool.submit(lambda: np.concatenate([*map(self.cloudy, strips)]))
            others = self.others(grid, all_cores=True)
            return Pixels(grid, dn.result(), sar_db.result(), cloudy.result(), others)

    def others(self, grid: Grid, all_cores: bool = False) -> tuple[Image, ...]:
        """Reflectance of each reference (4, H, W), NaN where it shows nothing; read on `all_cores` if so told."""
        return tuple(each.on_grid(grid, all_cores) for each in self.references)

    def cloudy(self, grid: Grid) -> Mask:
        """What the mask flags, or was found in the scene (H, W)."""
        cloudy = np.zeros(grid.shape, bool)
        for source in (self.mask, self.found):
            if source:
                cloudy |= source.on_grid(grid)
        return cloudy


@dataclass(frozen=True)
class Inputs:
    """The files of a scene, identified; and what was `found` in it of clouds beside or instead of a mask's.

    `acquired` is when the scene was taken; that of radar is with its bands.
    """

    scene: Scene
    sar: Sentinel1
    mask: CloudMask | None
    references: tuple[Reference, ...] = ()
    found: FoundClouds | None = None
    acquired: Acquisition = UNKNOWN

    @property
    def masked(self) -> bool:
        """Whether anything says where clouds are."""
        return self.mask is not None or self.found is not None

    @property
    def paths(self) -> list[Source]:
        """Every file that is read: the scene, radar, the mask if there is one, references and their masks.

        And what virtual ones (VRT) among them are made of.
        """
        masks = [self.mask.path] if self.mask else []
        others = [path for each in self.references for path in (each.path, *([each.mask.path] if each.mask else []))]
        radar = dict.fromkeys(path for band in self.sar.bands for path in band.files)
        return [part for path in (self.scene.path, *radar, *masks, *others) for part in access.parts_of(path)]

    @property
    def reasons(self) -> tuple[str, ...]:
        """In words, why files were taken for what they are."""
        masked = self.mask.reasons if self.mask else ()
        return tuple(map(str, (*self.scene.reasons, *masked, *self.sar.reasons)))

    @contextmanager
    def open(self) -> Iterator[InputReader]:
        """A reader of all of them, closed together."""
        with ExitStack() as stack:
            mask = stack.enter_context(self.mask.open()) if self.mask else None
            scene, sar = stack.enter_context(self.scene.open()), stack.enter_context(self.sar.open())
            references = tuple(stack.enter_context(each.open()) for each in self.references)
            yield InputReader(self.scene.grid, scene, sar, mask, references, self.found)

    def displaced(self, displacements: Sequence[Displacement]) -> Inputs:
        """The same, each reference moved over the ground; as many displacements as references."""
        pairs = zip(self.references, displacements, strict=True)
        return replace(self, references=tuple(replace(each, displacement=moved) for each, moved in pairs))


def identify(told: InputOptions) -> Inputs:
    """Identify a scene, its radar, its mask, the one that is given or the scene's own, and its references.

    Raises InputError or GridError where they do not fit; a reference that is of no use is warned of and left out.
    """
    scene = identify_scene(told.planet, told.planet_bands, QuantityOptions(told.planet_quantity, told.planet_scale))
    numbers = told.sar_scale, told.sar_offset
    sar = identify_sar(told.sar, scene.grid, told.sar_units, told.sar_bands, *numbers, told.allow_hh_hv)
    with access.opened(scene.path) as dataset:
        acquired = acquisition.of_scene(dataset, planet_product.find(scene.path, planet_product.METADATA_XML))
    sar = _dated(sar, acquired)
    coded = MaskOptions(told.mask_values, told.mask_bits, told.mask_unknown)
    mask = identify_mask_of(scene, told.udm2, told.mask, coded)
    return Inputs(scene, sar, mask, tuple(usable_references(told.references, scene.grid)), acquired=acquired)


def _dated(sar: Sentinel1, scene: Acquisition) -> Sentinel1:
    """With a warning among its reasons, logged too, where it was taken long before or after the scene."""
    apart = acquisition.distance(scene, [band.acquired for band in sar.bands])
    if apart is None:
        return sar
    log.warning("%s", apart)
    return replace(sar, reasons=(*sar.reasons, apart))


def usable_references(paths: Sequence[AnyPath], area: Grid) -> Iterator[Reference]:
    """Those of the images that are of use over `area`; the others are warned of. InputError where one is no file."""
    for path in map(Source.of, paths):
        if not path.exists:
            raise InputError(f"{path} does not exist; a reference must be a raster file: check the path")
        try:
            yield identify_reference(path, area)
        except (InputError, GridError) as error:
            log.warning("reference left out: %s", error.message)
