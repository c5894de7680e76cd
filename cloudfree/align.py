"""Sentinel-1 on a scene's grid, moved to where it belongs, and nothing else."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from cloudfree.described import offset_in_words
from cloudfree.errors import InputError
from cloudfree.geometry import Displacement
from cloudfree.inputs.files import InputOptions, Inputs, identify
from cloudfree.inputs.location.source import AnyPath
from cloudfree.inputs.optical.scene import grid_of
from cloudfree.inputs.radar.image import SarReader
from cloudfree.inputs.raster.access import gdal_settings
from cloudfree.inputs.values import Compress
from cloudfree.product import pictures, profiles, provenance
from cloudfree.product.cog import BLOCK_PX, CogWriter
from cloudfree.product.kinds import OUTPUT, QUICKLOOK, Kind
from cloudfree.product.needs import check_needs
from cloudfree.product.targets import check_targets, named, staging
from cloudfree.scene import coregister, survey
from cloudfree.scene.offset import Offset
from cloudfree.scene.survey import Survey

log = logging.getLogger(__name__)

Progress = Callable[[float], None]
"""Called with the megapixels just finished."""

_LIBRARIES = ("numpy", "scipy", "pyproj", "rasterio", "rio-cogeo")


@dataclass(frozen=True, kw_only=True)
class AlignOptions(InputOptions):
    """Options of `align`. `output`: COG of VV and VH in dB; `quicklook`: PNG of the offsets of windows."""

    output: Path
    compress: Compress = "deflate"
    quicklook: Path | None = None
    overwrite: bool = False

    @property
    def files(self) -> dict[Kind, Path]:
        """The files to be made, by kind."""
        return {OUTPUT: self.output, **({QUICKLOOK: self.quicklook} if self.quicklook else {})}


@dataclass(frozen=True)
class Alignment:
    """The offset of Sentinel-1 from its scene. `survey` shows Sentinel-1 as delivered."""

    options: AlignOptions
    inputs: Inputs
    survey: Survey
    offset: Offset

    @property
    def displacement(self) -> Displacement:
        """The displacement to apply to the Sentinel-1 image: none where the offset was refused."""
        return self.offset.on(self.survey.grid)

    def describe(self) -> dict[str, Any]:
        """Return plain data for --json."""
        return {
            "output": str(self.options.output),
            **({"quicklook": str(self.options.quicklook)} if self.options.quicklook else {}),
            **self.offset.describe(self.survey.grid),
            "reasons": list(self.inputs.reasons),
        }

    def tags(self) -> dict[str, str]:
        """Return the TIFF tags of the product. Reads each input once more, whole, for its hash."""
        offset = self.offset.describe(self.survey.grid)
        radar = list(map(str, self.inputs.sar.reasons))
        return provenance.tags(asdict(self.options), self.inputs.paths, _LIBRARIES, coregistration=offset, radar=radar)


def align(planet: AnyPath, sar: AnyPath | Sequence[AnyPath], output: AnyPath, **options: Any) -> Alignment:
    """Write Sentinel-1 in dB on a scene's grid as a COG, moved by its offset where that can be had reliably.

    `sar` is one file or several. `options` are the other fields of `AlignOptions`. Raises CloudfreeError for what a
    user can mend, and leaves no file behind then.
    """
    alignment = find(AlignOptions.of(planet, sar, output=output, **options))
    write(alignment)
    return alignment


def find(options: AlignOptions) -> Alignment:
    """Read the inputs and estimate the offset, without writing a file. Raises CloudfreeError."""
    if not options.sar:
        raise InputError("align brings Sentinel-1 onto a scene's grid, and none is given; give --sar")
    options = replace(options, **named(options.files, options.sources))
    with gdal_settings(options.trust_inputs):
        scene = grid_of(options.planet, options.planet_date).shape
        check_needs(options.files, scene, scene)
        inputs = identify(options)
        check_targets(list(options.files.values()), inputs.paths, options.overwrite)
        with inputs.open() as reader:
            surveyed = survey.take(inputs.scene, reader)
    offset = coregister.of_survey(surveyed, inputs.scene, options.max_shift_m)
    for reason in inputs.reasons:
        log.info("%s", reason)
    log.log(logging.INFO if offset.accepted else logging.WARNING, "%s", offset_in_words(offset.describe(surveyed.grid)))
    return Alignment(options, inputs, surveyed, offset)


def write(alignment: Alignment, progress: Progress | None = None) -> None:
    """Write the outputs. Each appears whole, at the end, or not at all."""
    options = alignment.options
    with (
        gdal_settings(options.trust_inputs),
        staging(options.files, options.overwrite) as files,
        alignment.inputs.sar.open() as radar,
    ):
        _write_product(alignment, radar, files[OUTPUT], progress)
        if QUICKLOOK in files:
            displaced = radar.on_grid(alignment.survey.grid, alignment.displacement, all_cores=True)
            after = replace(alignment.survey, sar_db=displaced)
            pictures.alignment(files[QUICKLOOK], alignment.survey, after, alignment.offset.vectors)


def _write_product(alignment: Alignment, radar: SarReader, path: Path, progress: Progress | None) -> None:
    grid = alignment.inputs.scene.grid
    with CogWriter(path, grid, profiles.BACKSCATTER, alignment.options.compress) as writer:
        for strip in grid.strips(BLOCK_PX):
            writer.write(radar.on_grid(strip, alignment.displacement))
            if progress:
                progress(strip.width * strip.height / 1e6)
        writer.finish(alignment.tags())
