"""The main job as a table of contents: plan, try the network, then strip by strip read, restore, compose and write."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field, replace
from operator import methodcaller
from pathlib import Path
from typing import Any, Unpack

from cloudfree import described, detect
from cloudfree.bands import RECONSTRUCTED, Qa
from cloudfree.errors import DeviceError, warnings_heard
from cloudfree.inputs.files import InputReader, Inputs
from cloudfree.inputs.location.source import AnyPath, Source
from cloudfree.inputs.location.versions import refuse_replaced
from cloudfree.inputs.raster.access import gdal_settings
from cloudfree.network.device import resolve_device
from cloudfree.network.models import CloudRemovalModel
from cloudfree.plan import Options, Plan, RunArguments
from cloudfree.planning import make_plan_of_one
from cloudfree.process import give_back_memory, peak_memory_mb
from cloudfree.product import pictures, provenance, stac, styles
from cloudfree.product.kinds import QUICKLOOK, REPORT, STAC, STYLES, UNCERTAINTY, WRITE_MASK, Kind
from cloudfree.product.provenance import IDENTITY_TAG, SETTLED_TAG
from cloudfree.product.targets import staging
from cloudfree.product.writer import Counts, open_writer, write_mask
from cloudfree.reconstruct import tiles, trust
from cloudfree.reconstruct.own_clouds import window_reader
from cloudfree.reconstruct.predictor import Predictor, TileTooLargeError
from cloudfree.reconstruct.sliding_window import SlidingWindow
from cloudfree.reconstruct.strips import StripReader
from cloudfree.reconstruct.tile import FULL, Restoration, Trust
from cloudfree.report import page
from cloudfree.report.views import Views
from cloudfree.scene.uncertainty import Uncertainty
from cloudfree.stages import Stopwatch, begin, prefetch

log = logging.getLogger(__name__)

Progress = Callable[[float], None]
"""Called with the megapixels just finished."""

_LIBRARIES = ("torch", "numpy", "rasterio", "rio-cogeo")
_SMALLEST_TILE_PX = 64


@dataclass
class Result:
    """What a run did.

    network: the plan's, or as adapted to the scene.
    tile, overlap: in pixels, smaller than planned where the device ran out of memory.
    trust: how far a network that sees was believed, by the scene's own clouds; fully one that is shown the plain image.
    uncertainty: of what was reconstructed, None where nothing calibrates it.
    pixels: how many, by class of the quality raster.
    deviation: the mean standard deviation of what was reconstructed, by band, if it was asked for.
    seconds: what was waited for, by stage. Reading and writing happen beside the network, and count only as far as
        they keep it waiting.
    total_s: how long all of it took, with the plan; 0 until it is done.
    peak_memory_mb: of the whole process, None where the system does not tell.
    """

    plan: Plan
    network: CloudRemovalModel
    tile: int
    overlap: int
    warnings: tuple[str, ...]
    trust: Trust = FULL
    uncertainty: Uncertainty | None = None
    pixels: dict[str, int] = field(default_factory=dict)
    deviation: dict[str, float] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)
    total_s: float = 0.0
    peak_memory_mb: float | None = None

    @classmethod
    def of(cls, plan: Plan) -> Result:
        """Before anything is done."""
        return cls(plan, plan.network, plan.options.tile, plan.options.overlap, plan.warnings)

    @property
    def rewritten_share(self) -> float:
        """Share (0..1) of the data that was reconstructed, wholly or in part."""
        data = sum(self.pixels.values()) - self.pixels[Qa.NODATA.name.lower()]
        return sum(self.pixels[qa.name.lower()] for qa in RECONSTRUCTED) / max(data, 1)

    def as_json(self) -> dict[str, Any]:
        """Plain data for --json."""
        return {
            **self.describe(),
            **{kind.field: str(path) for kind, path in self.plan.options.files.items() if kind != UNCERTAINTY},
            "pixels": self.pixels,
            **self._uncertainty(),
            "seconds": {name: round(value, 3) for name, value in self._seconds().items()},
            **({} if self.peak_memory_mb is None else {"peak_memory_mb": round(self.peak_memory_mb)}),
        }

    def describe(self) -> dict[str, Any]:
        """The plan as it was carried out, as plain data."""
        info = self.network.info
        weights = {"name": info.name, "sha256": info.sha256, "architecture": info.architecture}
        carried_out = {"weights": weights, "trust": self.trust.as_json(), "tile": self.tile, "overlap": self.overlap}
        return {**described.as_json(self.plan), **carried_out, "warnings": list(self.warnings)}

    def _seconds(self) -> dict[str, float]:
        """By stage, that of the plan first, and of all that was done, once it is."""
        total = {"total": self.total_s} if self.total_s else {}
        return {"plan": self.plan.seconds, **self.seconds, **total}

    def _uncertainty(self) -> dict[str, Any]:
        path = self.plan.options.uncertainty
        if not path or not self.uncertainty:
            return {}
        return {"uncertainty": {"file": str(path), **self.uncertainty.describe(), "mean": self.deviation}}


def run(
    planet: AnyPath, sar: AnyPath | Sequence[AnyPath] | None, output: AnyPath, **options: Unpack[RunArguments]
) -> Result:
    """Remove the clouds of a PlanetScope scene with the help of Sentinel-1, and write a Cloud-Optimized GeoTIFF.

    `sar` is one file or several, or None where there is no radar. `options` are the other fields of `Options`. Raises
    CloudfreeError for what a user can mend, and leaves no file behind then.
    """
    return execute(make_plan_of_one(Options.of(planet, sar, output=output, **options)))


def execute(plan: Plan, progress: Progress | None = None) -> Result:
    """Carry a plan out. Every output appears whole, at the end, or not at all."""
    started_s = time.perf_counter()
    options, stopwatch, result = plan.options, Stopwatch(), Result.of(plan)
    result.seconds = stopwatch.seconds
    give_back_memory()
    if options.adapt_minutes:
        begin("fine-tuning network")
        with stopwatch.timing("adapt"), gdal_settings(options.trust_inputs):
            _adapt(result)
    predictor = Predictor(result.network, resolve_device(plan.device), plan.precision, options.batch)
    with (
        gdal_settings(options.trust_inputs),
        staging(options.files, options.overwrite, options.wait_s) as files,
        plan.inputs.open() as reader,
    ):
        while True:
            try:
                restoration = Restoration.of_scene(plan.scene, plan.survey, plan.scene_model, sees=plan.sees)
                if plan.sees:
                    begin("testing network")
                    with stopwatch.timing("trust"):
                        restoration = _trusting(restoration, result, reader, predictor)
                window = SlidingWindow(predictor, plan.scene, plan.scene_model, restoration, plan.fill)
                begin(f"reconstructing on {plan.device}")
                tags = _write_products(result, window, reader, files, stopwatch, progress)
                break
            except TileTooLargeError:
                _take_smaller_tiles(result)
        _write_beside(result, reader, files, tags, stopwatch)
        refuse_replaced(plan.versions)
    result.total_s = plan.seconds + time.perf_counter() - started_s
    return result


def _adapt(result: Result) -> None:
    """Fine-tune the network to its scene."""
    from cloudfree.learn.adapt import adapt  # noqa: PLC0415 - few runs learn

    plan, options = result.plan, result.plan.options
    with warnings_heard() as warnings:
        result.network = adapt(
            plan.network, plan.inputs, plan.displacement, options.buffer_m, options.adapt_minutes, device=plan.device
        )
    result.warnings = (*result.warnings, *warnings)


def _trusting(restoration: Restoration, result: Result, reader: InputReader, predictor: Predictor) -> Restoration:
    """The same with the trust that the network deserves on its scene, which the result keeps."""
    plan = result.plan
    assert plan.scene_model
    read = window_reader(plan.scene, reader, plan.displacement, plan.feather)
    evidence = trust.measure(predictor, plan.scene_model, restoration, read, result.tile)
    result.trust = evidence.trust
    result.uncertainty = evidence.calibrated(plan.scene_model.uncertainty, result.trust)
    log.info(
        "the network is believed to %.0f %% (near infrared %.0f %%) where something shows through the clouds, to "
        "%.0f %% (%.0f %%) where nothing does, and the scene's model to the rest: %s",
        *(100 * share for believed in result.trust for share in believed),
        "so far it restored clear ground" if evidence.trials else "nothing could be tried on clear ground",
    )
    return evidence.applied_to(restoration)


def _take_smaller_tiles(result: Result) -> None:
    """Tiles of half the size. Raises DeviceError where that would be absurdly small."""
    half = result.tile // 2 // tiles.LATTICE_PX * tiles.LATTICE_PX
    if half < _SMALLEST_TILE_PX:
        raise DeviceError(
            f"{result.plan.device} has too little free memory for a tile of {result.tile} pixels; "
            f"{_SMALLEST_TILE_PX} is the smallest tried: free some memory, or use --device cpu or smaller weights"
        )
    log.warning("out of memory on %s: starting again with tiles of %d", result.plan.device, half)
    result.tile, result.overlap = half, min(result.overlap, half // 4)


def _write_products(
    result: Result,
    window: SlidingWindow,
    reader: InputReader,
    files: Mapping[Kind, Path],
    stopwatch: Stopwatch,
    progress: Progress | None,
) -> dict[str, str]:
    """One pass over the scene: its strips are read, go through the network and are written, each beside the others.

    Of a part of the scene only the strips and tiles that touch it: tiles lie as on the whole, so that its pixels are
    those of the whole. Returns the tags of what was made.
    """
    plan, options = result.plan, result.plan.options
    part, of_part = plan.part, replace(plan.scene, grid=plan.part.of(plan.grid))
    rows, cols = (
        tiles.spans_touching(wanted, length, result.tile, result.overlap)
        for wanted, length in zip((part.rows, part.cols), plan.grid.shape, strict=True)
    )
    strip_reader = StripReader(reader, plan.displacement, plan.feather, plan.fill, cols)
    total = Counts.none()
    with ExitStack() as stack:
        hashed = stack.enter_context(ThreadPoolExecutor(1)).submit(provenance.hash_files, plan.files)
        writer = stack.enter_context(open_writer(of_part, plan.fill, result.uncertainty, files, options.compress))
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
        begin("finishing files")
        with stopwatch.timing("hash_inputs"):
            hashed.result()
            tags = _tags(result)
        with stopwatch.timing("cog"):
            writer.finish(tags)
    return tags


def _write_beside(
    result: Result, reader: InputReader, files: Mapping[Kind, Path], tags: dict[str, str], stopwatch: Stopwatch
) -> None:
    """What stands beside the product and its other rasters; each is made of those before it."""
    plan, options = result.plan, result.plan.options
    if WRITE_MASK in files:
        with stopwatch.timing("mask"):
            write_mask(files[WRITE_MASK], reader, plan.part, options.compress, tags)
    for kind, style in STYLES.items():
        if style in files:
            styles.write(kind, files[kind], files[style])
    if QUICKLOOK in files:
        with stopwatch.timing("quicklook"):
            pictures.quicklook(files, plan.survey, plan.scene, plan.part)
    result.peak_memory_mb = peak_memory_mb()
    if REPORT in files:
        with stopwatch.timing("report"):
            _write_report(result, files)
    if STAC in files:
        with stopwatch.timing("stac"):
            stac.write_item(options.files, files, plan.inputs, plan.survey, plan.part, result.pixels)


def _write_report(result: Result, files: Mapping[Kind, Path]) -> None:
    """The page for people of what was made."""
    plan = result.plan
    named: list[Path | Source] = [*plan.options.targets, *plan.files]
    views = Views(plan.scene, plan.survey, plan.part, files)
    vectors = plan.offset.vectors if plan.offset else ()
    page.write(result.as_json(), {str(file): file.name for file in named}, plan.inputs, views, vectors)


def _tags(result: Result) -> dict[str, str]:
    """TIFF tags of the products."""
    plan, description = result.plan, result.describe()
    processing = ("fill", "without_sar", "sees", "trust", "device", "precision", "tile", "overlap")
    documents = {
        "quantity": plan.scene.quantity,
        "radar": list(map(str, plan.inputs.sar.reasons)),
        "references": [{**one, "file": Path(one["file"]).name} for one in description["references"]],
        **({"uncertainty": result.uncertainty.describe()} if result.uncertainty else {}),
        "processing": {key: description[key] for key in processing},
        **{key: description[key] for key in ("weights", "coregistration", "found", "scene_model")},
    }
    weights_sha256 = description["weights"]["sha256"]
    identities = {IDENTITY_TAG: identity_of(plan.options, plan.files, weights_sha256)}
    if plan.options.references_rule:
        identities[SETTLED_TAG] = identity_but_references(plan.options, plan.inputs, weights_sha256)
    return {**provenance.tags(asdict(plan.options), plan.inputs.paths, _LIBRARIES, **documents), **identities}


def identity_of(options: Options, files: Sequence[Source], weights_sha256: str) -> str:
    """The identity of a product by the files that decide it (`Inputs.deciding`)."""
    versions = detect.versions(options.find_clouds_with)
    return provenance.identity(asdict(options), files, weights_sha256, **versions)


def identity_but_references(options: Options, inputs: Inputs, weights_sha256: str) -> str:
    """The same of all but the references: equal for products that differ in those alone."""
    alone = replace(options, references=())
    return identity_of(alone, replace(inputs, references=()).deciding(alone, options.aoi), weights_sha256)
