"""Which of the files that a batch has chosen for a scene can be used: tried one by one, after the scene has failed.

Files of a folder may come from anybody, and one that is damaged must not cost the scenes around it.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import replace

from cloudfree.batch.jobs import Job
from cloudfree.errors import CloudfreeError
from cloudfree.geometry import Grid
from cloudfree.inputs.files import identify_radar
from cloudfree.inputs.location.source import Source
from cloudfree.inputs.optical import planet_product
from cloudfree.inputs.optical.quantity import QuantityOptions
from cloudfree.inputs.optical.reference import identify_reference
from cloudfree.inputs.optical.scene import identify_scene
from cloudfree.inputs.radar.image import one_polarisation
from cloudfree.inputs.radar.safe.product import opened_radar
from cloudfree.inputs.raster.access import gdal_settings
from cloudfree.plan import Options
from cloudfree.product.provenance import hash_files

log = logging.getLogger(__name__)

_ROWS = 256


def sound_files(job: Job, options: Options) -> Job | None:
    """The job without radar and references that cannot be read to their end, of which it warns.

    Where none of its radar can be used, that of the next pass takes its place. None where nothing would change, where
    no radar would be left, and where a list has named the files.
    """
    if not job.references_rule:
        return None
    with gdal_settings(options.trust_inputs):
        try:
            quantity = QuantityOptions(options.planet_quantity, options.planet_scale)
            grid = identify_scene(job.planet, options.planet_bands, quantity, options.planet_date).grid
        except CloudfreeError:
            return None  # its own fault
        sar = _radar(job, options, grid)
        references = _usable(job.references, lambda source: _read_reference(source, grid))
    if (sar, references) == (job.sar, job.references) or (job.sar and not sar):
        return None
    return replace(job, sar=sar, references=references)


def _radar(job: Job, options: Options, grid: Grid) -> tuple[Source, ...]:
    """What can be used of the first pass of which anything can."""

    def read(source: Source) -> None:
        with opened_radar(source) as dataset:
            if dataset.count == 1:
                one_polarisation(dataset, grid)
                return
        _read_radar((source,), options, grid)

    for sources in (job.sar, *job.other_passes):
        usable = _usable(sources, read)
        if usable and _fit(usable, options, grid):
            return usable
    return ()


def _fit(sources: tuple[Source, ...], options: Options, grid: Grid) -> bool:
    """Whether files that can be used one by one can be used together."""
    try:
        _read_radar(sources, options, grid)
    except CloudfreeError as error:
        log.warning("%s are left out: %s", " and ".join(source.name for source in sources), error.message)
        return False
    return True


def _usable(sources: Sequence[Source], read: Callable[[Source], None]) -> tuple[Source, ...]:
    """Those that `read` reads, with a warning for each of the others."""
    usable = []
    for source in sources:
        try:
            read(source)
        except CloudfreeError as error:
            log.warning("%s is left out: %s", source.name, error.message)
        except Exception:  # a bug with one file must not cost the scene
            log.exception("%s is left out for a bug", source.name)
        else:
            usable.append(source)
    return tuple(usable)


def _read_radar(sources: tuple[Source, ...], options: Options, grid: Grid) -> None:
    with identify_radar(replace(options, sar=sources), grid).open() as reader:
        for strip in grid.strips(_ROWS):
            reader.on_grid(strip)


def _read_reference(source: Source, grid: Grid) -> None:
    with identify_reference(source, grid).open() as reader:
        for strip in grid.strips(_ROWS):
            reader.on_grid(strip)
    hash_files(filter(None, (source, planet_product.find(source, planet_product.METADATA_XML))))
