"""The main job, as a table of contents: plan, then strip by strip read, infer, fill and write, all at once."""

from __future__ import annotations

import logging
import resource
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray
from rasterio.enums import ColorInterp

from cloudfree.arrays import Image
from cloudfree.bands import OPTICAL_BANDS, Qa
from cloudfree.grid import Grid
from cloudfree.inputs.cloudmask import MaskReader, Rim
from cloudfree.inputs.raster import gdal_settings
from cloudfree.learn.adapt import adapt
from cloudfree.network import tiles
from cloudfree.network.predict import Predictor, TileTooLargeError, resolve_device
from cloudfree.network.sliding_window import Filler, Reconstruction
from cloudfree.plan import Options, Plan, make_plan, with_smaller_tile
from cloudfree.product import cog, provenance
from cloudfree.product import pictures as report
from cloudfree.product.cog import CogWriter, Product, Staging
from cloudfree.product.compose import QA_BANDS, Strip, compose
from cloudfree.scene import trust
from cloudfree.stages import ahead

T = TypeVar("T")
log = logging.getLogger(__name__)

Progress = Callable[[float], None]
"""Called with the megapixels just finished."""


@dataclass
class Result:
    """What a run did. `pixels` counts by class; `peak_memory_mb` is of the whole process.

    `seconds` are what was waited for, by stage: reading and writing happen beside the network, and count only as far as
    they keep it waiting.
    """

    plan: Plan
    pixels: dict[str, int] = field(default_factory=lambda: {qa.name.lower(): 0 for qa in Qa})
    seconds: dict[str, float] = field(default_factory=dict)
    peak_memory_mb: float = 0.0

    def as_json(self) -> dict[str, Any]:
        """Plain data for --json."""
        extra = {"qa": self.plan.options.qa, "quicklook": self.plan.options.quicklook}
        return {
            **self.plan.describe(),
            **{name: str(path) for name, path in extra.items() if path},
            "pixels": self.pixels,
            "seconds": {name: round(value, 3) for name, value in self.seconds.items()},
            "peak_memory_mb": round(self.peak_memory_mb),
        }


def run(planet: str | Path, sar: str | Path | Sequence[str | Path], output: str | Path, **options: Any) -> Result:
    """Remove the clouds of a PlanetScope scene with the help of Sentinel-1, and write a Cloud-Optimized GeoTIFF.

    `sar` is one file or two. `options` are the fields of `Options`. Raises CloudfreeError for what a user can mend, and
    leaves no file behind then.
    """
    files = [sar] if isinstance(sar, str | Path) else list(sar)
    paths = {name: Path(options[name]) for name in ("udm2", "mask", "qa", "quicklook") if options.get(name)}
    return execute(make_plan(Options(Path(planet), tuple(map(Path, files)), Path(output), **{**options, **paths})))


def execute(plan: Plan, progress: Progress | None = None) -> Result:
    """Carry a plan out. Every output appears whole, at the end, or not at all."""
    options = plan.options
    result = Result(plan)
    if options.adapt_minutes:
        with _clock(result, "adapt"):
            plan = result.plan = replace(plan, model=adapt(plan, options.adapt_minutes))
    with gdal_settings(), cog.staging(options.targets, options.overwrite) as stage:
        while True:
            try:
                if plan.prior is not None:
                    with _clock(result, "trust"):
                        plan = result.plan = _trusting(plan)
                _write_products(plan, result, stage, progress)
                break
            except TileTooLargeError:
                plan = result.plan = with_smaller_tile(plan)
        with _clock(result, "quicklook"):
            if options.quicklook:
                report.quicklook(stage.path(options.quicklook), plan.survey, plan.scene, stage.path(options.output))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    result.peak_memory_mb = peak / (1e6 if sys.platform == "darwin" else 1e3)  # bytes there, kilobytes elsewhere
    return result


def _write_products(plan: Plan, result: Result, stage: Staging, progress: Progress | None) -> None:
    """One pass over the scene: its strips are read, go through the network and are written, each beside the others."""
    result.pixels = dict.fromkeys(result.pixels, 0)
    rows = tiles.spans(plan.grid.height, plan.tile, plan.overlap)
    cols = tiles.spans(plan.grid.width, plan.tile, plan.overlap)
    with ExitStack() as stack:
        writer = stack.enter_context(CogWriter(stage.path(plan.options.output), plan.grid, _optical_product(plan)))
        quality = None
        if plan.options.qa:
            quality = stack.enter_context(CogWriter(stage.path(plan.options.qa), plan.grid, _quality_product(plan)))
        read = stack.enter_context(_reader(plan))
        strips = _clocked(stack.enter_context(ahead(read, rows)), result, "read")
        finished = _clocked(_reconstruction(plan).over(strips, rows, cols), result, "infer")
        written = stack.enter_context(ahead(partial(_write, plan, writer, quality), finished))
        for counts in _clocked(written, result, "write"):
            for qa, count in zip(Qa, counts, strict=True):
                result.pixels[qa.name.lower()] += int(count)
            if progress:
                progress(counts.sum() / 1e6)
        with _clock(result, "hash inputs"):
            tags = provenance.tags(plan)
        with _clock(result, "cog"):
            writer.finish(tags)
            if quality:
                quality.finish(tags)


def _trusting(plan: Plan) -> Plan:
    """The plan with the trust that its network deserves on its scene."""
    found = trust.of_scene(plan.inputs, plan.survey, plan.moved, plan.options.buffer_m, _predictor(plan).image)
    log.info("under opaque cloud the network is believed to %.0f %%, the prior to the rest", 100 * found)
    return replace(plan, trust=found)


def _predictor(plan: Plan) -> Predictor:
    return Predictor(plan.model, resolve_device(plan.device), plan.precision, plan.options.batch)


def _reconstruction(plan: Plan) -> Reconstruction:
    typical = plan.scene.reflectance(plan.survey.typical_dn()[:, None, None])[:, 0, 0]
    filler = Filler(typical, plan.survey.typical_sar_db())
    return Reconstruction(_predictor(plan), plan.scene, filler, plan.prior, plan.trust, plan.mode)


@contextmanager
def _reader(plan: Plan) -> Iterator[Callable[[tiles.Span], Strip]]:
    """What reads the scene, its SAR and its mask on a span of rows, full-width."""
    rim = Rim.on(plan.grid, plan.options.buffer_m)
    with plan.inputs.open() as (pixels, radar, masked):

        def read(span: tiles.Span) -> Strip:
            start, stop = span.start, span.stop
            sar_db = radar.on_grid(plan.grid.rows(start, stop), plan.moved)
            return Strip(start, pixels.rows(start, stop), sar_db, _cloudy(masked, plan.grid, rim, start, stop))

        yield read


def _cloudy(masked: MaskReader | None, grid: Grid, rim: Rim, start: int, stop: int) -> Image:
    """Share of reconstruction that the mask asks for on rows start..stop; its halo makes strips equal the whole."""
    if masked is None:
        return np.zeros((stop - start, grid.width), np.float32)
    first, last = max(0, start - rim.reach_px), min(grid.height, stop + rim.reach_px)
    return rim.share(masked.on_grid(grid.rows(first, last)))[start - first : stop - first]


def _write(plan: Plan, writer: CogWriter, quality: CogWriter | None, finished: tuple[Strip, Image]) -> NDArray[np.intp]:
    """Fill a strip with the network's reflectance and write it; how many of its pixels are of each class."""
    counts = np.zeros(len(Qa), np.intp)
    for strip, reflectance in _pieces(*finished):
        dn, classes = compose(plan.scene, strip, reflectance, plan.mode)
        writer.write(dn)
        if quality:
            quality.write(classes)
        counts += np.bincount(classes[0].ravel(), minlength=len(Qa))
    return counts


def _pieces(strip: Strip, reflectance: Image) -> Iterator[tuple[Strip, Image]]:
    """A strip in shallow ones, on which arithmetic stays in the processor's cache."""
    for row in range(0, strip.dn.shape[1], cog.WORK_ROWS):
        rows = slice(row, row + cog.WORK_ROWS)
        start, dn, sar_db = strip.start + row, strip.dn[:, rows], strip.sar_db[:, rows]
        yield Strip(start, dn, sar_db, strip.cloudy[rows]), reflectance[:, rows]


def _optical_product(plan: Plan) -> Product:
    return Product(
        dtype="uint16",
        descriptions=OPTICAL_BANDS,
        colorinterp=(ColorInterp.blue, ColorInterp.green, ColorInterp.red, ColorInterp.nir),
        scales=plan.scene.scale,
        overviews="average",
        compress=plan.options.compress,
    )


def _quality_product(plan: Plan) -> Product:
    # A class has no average; and of the share, a value that some pixel really has is as good.
    interp = (ColorInterp.gray, ColorInterp.undefined)
    return Product("uint8", QA_BANDS, interp, (1.0, 0.01), overviews="nearest", compress=plan.options.compress)


@contextmanager
def _clock(result: Result, stage: str) -> Iterator[None]:
    started = time.perf_counter()
    yield
    result.seconds[stage] = result.seconds.get(stage, 0.0) + time.perf_counter() - started


def _clocked(items: Iterator[T], result: Result, stage: str) -> Iterator[T]:
    """Count the time that `items` are waited for, less that of the stages within, which count their own."""
    while True:
        started, inside = time.perf_counter(), sum(result.seconds.values())
        item = next(items, None)
        spent = time.perf_counter() - started - (sum(result.seconds.values()) - inside)
        result.seconds[stage] = result.seconds.get(stage, 0.0) + spent
        if item is None:
            return
        yield item
        del item  # it may be large
