"""The main job, as a table of contents: plan, then strip by strip read, infer, compose and write, all at once."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from operator import methodcaller
from pathlib import Path
from typing import Any

from cloudfree import detect
from cloudfree.errors import warnings_heard
from cloudfree.inputs.files import InputReader
from cloudfree.inputs.location.source import AnyPath, Source
from cloudfree.inputs.raster.access import gdal_settings
from cloudfree.network.device import resolve_device
from cloudfree.plan import Options, Plan, make_plan, with_smaller_tile
from cloudfree.process import give_back_memory, peak_memory_mb
from cloudfree.product import pictures, provenance, stac
from cloudfree.product.finished import IDENTITY_TAG
from cloudfree.product.kinds import UNCERTAINTY
from cloudfree.product.mask_file import write_mask
from cloudfree.product.stac_assets import StagedFile
from cloudfree.product.targets import Staging, staging
from cloudfree.product.writer import Counts, ProductPaths, open_writer
from cloudfree.reconstruct import tiles, trust
from cloudfree.reconstruct.feather import Feather
from cloudfree.reconstruct.predictor import Predictor, TileTooLargeError
from cloudfree.reconstruct.sliding_window import SlidingWindow
from cloudfree.reconstruct.strips import StripReader
from cloudfree.reconstruct.tile import Priming
from cloudfree.report import page
from cloudfree.report.views import Views
from cloudfree.stages import Stopwatch, prefetch

log = logging.getLogger(__name__)

Progress = Callable[[float], None]
"""Called with the megapixels just finished."""

_LIBRARIES = ("torch", "numpy", "rasterio", "rio-cogeo")


@dataclass
class Result:
    """What a run did.

    `pixels` counts by class; `deviation` is the mean standard deviation of what was reconstructed, by band, if it was
    asked for; `peak_memory_mb` is of the whole process, None where it is not told.

    `seconds` are what was waited for, by stage: reading and writing happen beside the network, and count only as far as
    they keep it waiting.
    """

    plan: Plan
    pixels: dict[str, int] = field(default_factory=dict)
    deviation: dict[str, float] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)
    peak_memory_mb: float | None = None

    def as_json(self) -> dict[str, Any]:
        """Plain data for --json."""
        return {
            **self.plan.describe(),
            **{kind.field: str(path) for kind, path in self.plan.options.files.items() if kind != UNCERTAINTY},
            "pixels": self.pixels,
            **self._uncertainty(),
            "seconds": {name: round(value, 3) for name, value in self.seconds.items()},
            **({} if self.peak_memory_mb is None else {"peak_memory_mb": round(self.peak_memory_mb)}),
        }

    def _uncertainty(self) -> dict[str, Any]:
        path, found = self.plan.options.uncertainty, self.plan.uncertainty
        if not path or not found:
            return {}
        return {"uncertainty": {"file": str(path), **found.describe(), "mean": self.deviation}}


def run(planet: AnyPath, sar: AnyPath | Sequence[AnyPath], output: AnyPath, **options: Any) -> Result:
    """Remove the clouds of a PlanetScope scene with the help of Sentinel-1, and write a Cloud-Optimized GeoTIFF.

    `sar` is one file or several. `options` are the other fields of `Options`. Raises CloudfreeError for what a user can
    mend, and leaves no file behind then.
    """
    return execute(make_plan(Options.of(planet, sar, output=output, **options)))


def execute(plan: Plan, progress: Progress | None = None) -> Result:
    """Carry a plan out. Every output appears whole, at the end, or not at all."""
    options, stopwatch = plan.options, Stopwatch()
    give_back_memory()
    result = Result(plan, seconds=stopwatch.seconds)
    if options.adapt_minutes:
        with stopwatch.timing("adapt"), warnings_heard() as heard:
            adapted = _adapted(plan)
        result.plan = replace(adapted, warnings=(*plan.warnings, *heard))
    with (
        gdal_settings(),
        staging(options.targets, options.overwrite, options.wait_s) as stage,
        plan.inputs.open() as reader,
    ):
        while True:
            try:
                if plan.primed:
                    with stopwatch.timing("trust"):
                        result.plan = _trusting(result.plan, reader)
                tags = _write_products(result, reader, stage, stopwatch, progress)
                break
            except TileTooLargeError:
                result.plan = with_smaller_tile(result.plan)
        if options.write_mask:
            with stopwatch.timing("mask"):
                write_mask(stage.path(options.write_mask), reader, plan.part, options.compress, tags)
        if options.quicklook:
            with stopwatch.timing("quicklook"):
                product = stage.path(options.output)
                deviation = stage.path(options.uncertainty) if options.uncertainty else None
                shown = plan.survey, plan.scene, plan.part, product, deviation
                pictures.quicklook(stage.path(options.quicklook), *shown)
        result.peak_memory_mb = peak_memory_mb()
        if options.report:
            with stopwatch.timing("report"):
                _write_report(result, stage)
        if options.stac:
            with stopwatch.timing("stac"):
                _write_stac(result, stage)
    return result


def _adapted(plan: Plan) -> Plan:
    """The plan with its network fine-tuned to its scene."""
    from cloudfree.learn.adapt import adapt  # noqa: PLC0415 - few runs learn

    options = plan.options
    model = adapt(
        plan.model, plan.inputs, plan.displacement, options.buffer_m, options.adapt_minutes, device=plan.device
    )
    return replace(plan, model=model)


def _trusting(plan: Plan, reader: InputReader) -> Plan:
    """The plan with the trust that its network deserves on its scene, and how far off both are together."""
    assert plan.prior is not None
    inputs = plan.scene, reader, plan.survey, plan.displacement, plan.options.buffer_m
    found = trust.of_scene(*inputs, plan.prior, _predictor(plan).image)
    log.info("under opaque cloud the network is believed to %.0f %%, the scene's model to the rest", 100 * found.trust)
    return replace(plan, trust=found.trust, uncertainty=found.calibrated(plan.prior.uncertainty))


def _write_products(
    result: Result, reader: InputReader, stage: Staging, stopwatch: Stopwatch, progress: Progress | None
) -> dict[str, str]:
    """One pass over the scene: its strips are read, go through the network and are written, each beside the others.

    Of a part of the scene only the strips and tiles that touch it: tiles lie as on the whole, so that its pixels are
    those of the whole. Returns the tags of what was made.
    """
    plan, options = result.plan, result.plan.options
    part, spans = plan.part, partial(tiles.spans, tile=plan.tile, overlap=plan.overlap)
    rows = tiles.touching(spans(plan.grid.height), part.rows.start, part.rows.stop)
    cols = tiles.touching(spans(plan.grid.width), part.cols.start, part.cols.stop)
    priming = Priming.of(plan.scene, plan.survey, plan.prior, plan.primed, plan.trust)
    window = SlidingWindow(_predictor(plan), priming, plan.fill)
    feather, across = Feather.on(plan.grid, options.buffer_m), [slice(col.start, col.stop) for col in cols]
    strip_reader = StripReader(reader, plan.displacement, feather, plan.fill, across)
    quality, deviation = (stage.path(path) if path else None for path in (options.qa, options.uncertainty))
    paths = ProductPaths(stage.path(options.output), quality, deviation)
    of_part = replace(plan.scene, grid=part.of(plan.grid))
    total = Counts.none()
    with ExitStack() as stack:
        hashed = stack.enter_context(ThreadPoolExecutor(1)).submit(provenance.hash_files, plan.files)
        writer = stack.enter_context(open_writer(of_part, plan.fill, plan.uncertainty, paths, options.compress))
        read = stack.enter_context(prefetch(lambda span: strip_reader.read(span.start, span.stop), rows))
        strips = stopwatch.waiting(read, "read")
        finished = stopwatch.waiting(window.over(strips, rows, cols), "infer")
        cut = map(methodcaller("within", part), finished)  # a generator would keep its last while it waits for the next
        written = stack.enter_context(prefetch(writer.write, cut))
        for counts in stopwatch.waiting(written, "write"):
            total += counts
            if progress:
                progress(counts.pixels.sum() / 1e6)
        result.pixels, result.deviation = total.by_class(), total.mean_deviation()
        with stopwatch.timing("hash inputs"):
            hashed.result()
            tags = _tags(plan)
        with stopwatch.timing("cog"):
            writer.finish(tags)
    return tags


def _write_report(result: Result, stage: Staging) -> None:
    """The page for people of what was made."""
    plan, options = result.plan, result.plan.options
    assert options.report
    quality, deviation = (stage.path(path) if path else None for path in (options.qa, options.uncertainty))
    views = Views(plan.scene, plan.survey, plan.part, stage.path(options.output), quality, deviation)
    files: list[Path | Source] = [*options.targets, *plan.files]
    names = {str(each): each.name for each in files}
    vectors = plan.offset.vectors if plan.offset else ()
    page.write(stage.path(options.report), result.as_json(), names, plan.inputs, views, vectors)


def _write_stac(result: Result, stage: Staging) -> None:
    """The item for catalogues of what was made."""
    plan = result.plan
    files = {kind: StagedFile(path, stage.path(path)) for kind, path in plan.options.files.items()}
    stac.write_item(files, stac.Contents(plan.inputs, plan.survey, plan.part, result.pixels))


def _predictor(plan: Plan) -> Predictor:
    return Predictor(plan.model, resolve_device(plan.device), plan.precision, plan.options.batch)


def _tags(plan: Plan) -> dict[str, str]:
    told = plan.describe()
    processing = ("fill", "without_sar", "primed", "trust", "device", "precision", "tile", "overlap")
    identity = provenance.identity(
        asdict(plan.options), plan.files, told["weights"]["sha256"], **detect.versions(plan.options.find_clouds_with)
    )
    stated = provenance.tags(
        asdict(plan.options),
        plan.inputs.paths,
        _LIBRARIES,
        quantity=plan.scene.quantity,
        weights=told["weights"],
        radar=list(map(str, plan.inputs.sar.reasons)),
        coregistration=told["coregistration"],
        references=[{**each, "file": Path(each["file"]).name} for each in told["references"]],
        found=told["found"],
        scene_model=told["scene_model"],
        **({"uncertainty": plan.uncertainty.describe()} if plan.uncertainty else {}),
        processing={key: told[key] for key in processing},
    )
    return {**stated, IDENTITY_TAG: identity}
