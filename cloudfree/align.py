"""Sentinel-1 on a scene's grid, moved to where it belongs, and nothing else."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from rasterio.enums import ColorInterp

from cloudfree.bands import SAR_BANDS
from cloudfree.inputs import files as inputs
from cloudfree.inputs.displacement import Displacement
from cloudfree.inputs.files import Inputs
from cloudfree.inputs.planet import Scene
from cloudfree.inputs.raster import gdal_settings
from cloudfree.inputs.sentinel1 import SarReader, Units
from cloudfree.product import cog, provenance
from cloudfree.product import pictures as report
from cloudfree.product.cog import CogWriter, Product
from cloudfree.scene import coregister, survey
from cloudfree.scene.coregister import Offset
from cloudfree.scene.survey import Survey

log = logging.getLogger(__name__)

Progress = Callable[[float], None]
"""Called with the megapixels just finished."""

_STRIP_ROWS = cog.BLOCK_PX
_LIBRARIES = ("cloudfree", "numpy", "scipy", "pyproj", "rasterio", "rio-cogeo")


@dataclass(frozen=True)
class AlignOptions:
    """Everything that `align` can be told; as in `plan.Options`."""

    planet: Path
    sar: tuple[Path, ...]
    output: Path
    udm2: Path | None = None
    mask: Path | None = None
    max_shift_m: float = 60.0
    sar_units: Units | Literal["auto"] = "auto"
    sar_bands: tuple[int, ...] | None = None
    planet_bands: tuple[int, ...] | None = None
    compress: str = "deflate"
    quicklook: Path | None = None
    overwrite: bool = False

    @property
    def targets(self) -> list[Path]:
        return [path for path in (self.output, self.quicklook) if path is not None]


@dataclass(frozen=True)
class Alignment:
    """What was found. `survey` shows Sentinel-1 as delivered."""

    options: AlignOptions
    inputs: Inputs
    survey: Survey
    offset: Offset

    @property
    def scene(self) -> Scene:
        return self.inputs.scene

    @property
    def moved(self) -> Displacement:
        """What is applied to the Sentinel-1 image: nothing where the offset was refused."""
        return self.offset.on(self.survey.grid)

    def describe(self) -> dict[str, Any]:
        """Plain data for --json."""
        return {
            "output": str(self.options.output),
            **({"quicklook": str(self.options.quicklook)} if self.options.quicklook else {}),
            **self.offset.describe(self.survey.grid),
            "reasons": [*self.scene.reasons, *self.inputs.sar.reasons],
        }

    def tags(self) -> dict[str, str]:
        """TIFF tags of the product. Reads each input once more, whole, for its hash."""
        files = [self.options.planet, *self.options.sar, *self.inputs.mask_paths]
        return {
            **provenance.common_tags(asdict(self.options), files, _LIBRARIES),
            "CLOUDFREE_COREGISTRATION": json.dumps(self.offset.describe(self.survey.grid), ensure_ascii=False),
        }


def align(planet: str | Path, sar: str | Path | Sequence[str | Path], output: str | Path, **options: Any) -> Alignment:
    """Write Sentinel-1 in dB on a scene's grid as a COG, moved by its offset where that can be had reliably.

    `sar` is one file or two. `options` are the fields of `AlignOptions`. Raises CloudfreeError for what a user can
    mend, and leaves no file behind then.
    """
    files = [sar] if isinstance(sar, str | Path) else list(sar)
    paths = {name: Path(options[name]) for name in ("udm2", "mask", "quicklook") if options.get(name)}
    found = find(AlignOptions(Path(planet), tuple(map(Path, files)), Path(output), **{**options, **paths}))
    write(found)
    return found


def find(options: AlignOptions) -> Alignment:
    """Look at the inputs and estimate the offset, without writing a file."""
    with gdal_settings():
        found = inputs.identify(
            options.planet,
            options.sar,
            udm2=options.udm2,
            mask=options.mask,
            planet_bands=options.planet_bands,
            sar_bands=options.sar_bands,
            sar_units=options.sar_units,
        )
        cog.check_targets(options.targets, [options.planet, *options.sar, *found.mask_paths], options.overwrite)
        with found.open() as readers:
            surveyed = survey.take(found.scene, *readers)
    offset = coregister.of_survey(surveyed, found.scene, options.max_shift_m)
    for reason in (*found.scene.reasons, *found.sar.reasons):
        log.info("%s", reason)
    log.log(logging.INFO if offset.accepted else logging.WARNING, "%s", offset.in_words(surveyed.grid))
    return Alignment(options, found, surveyed, offset)


def write(found: Alignment, progress: Progress | None = None) -> None:
    """Write what was planned. Every output appears whole, at the end, or not at all."""
    options = found.options
    with gdal_settings(), cog.staging(options.targets, options.overwrite) as stage, found.inputs.sar.open() as radar:
        _write_product(found, radar, stage.path(options.output), progress)
        if options.quicklook:
            after = survey.with_sar_moved(found.survey, radar, found.moved)
            report.alignment(stage.path(options.quicklook), found.survey, after, found.offset.vectors)


def _write_product(found: Alignment, radar: SarReader, path: Path, progress: Progress | None) -> None:
    grid = found.scene.grid
    with CogWriter(path, grid, _product(found.options)) as writer:
        for start in range(0, grid.height, _STRIP_ROWS):
            strip = grid.rows(start, min(start + _STRIP_ROWS, grid.height))
            writer.write(radar.on_grid(strip, found.moved))
            if progress:
                progress(strip.width * strip.height / 1e6)
        writer.finish(found.tags())


def _product(options: AlignOptions) -> Product:
    return Product(
        dtype="float32",
        descriptions=SAR_BANDS,
        colorinterp=(ColorInterp.gray, ColorInterp.undefined),
        scales=(1.0, 1.0),
        overviews="average",
        compress=options.compress,
        units=("dB", "dB"),
        nodata=np.nan,
    )
