"""Jobs, one after the other, each by itself: what fails is recorded, and the rest goes on."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

from cloudfree import detect
from cloudfree.batch.jobs import Job
from cloudfree.batch.results import Outcome
from cloudfree.errors import CloudfreeError, OutputError
from cloudfree.inputs.files import identify
from cloudfree.inputs.raster.access import gdal_settings
from cloudfree.network.models import CloudRemovalModel
from cloudfree.network.weights import load_model
from cloudfree.pipeline import execute
from cloudfree.plan import Options
from cloudfree.planning import files_of, make_plan, weights_of
from cloudfree.product import provenance
from cloudfree.product.finished import RASTER_ENDINGS, TEXT_MARKS, is_finished, is_product
from cloudfree.product.locks import claimed

log = logging.getLogger(__name__)

SIDE_PRODUCTS = {
    "qa": "_qa.tif",
    "uncertainty": "_uncertainty.tif",
    "write_mask": "_mask.tif",
    "quicklook": ".png",
    "report": ".html",
    "stac": ".json",
}
"""What may lie beside a product, by the field of `Options`, and how it is called after it."""


def beside_product(product: Path, name: str) -> Path:
    """Where one of `SIDE_PRODUCTS` lies."""
    return product.with_name(product.stem + SIDE_PRODUCTS[name])


@dataclass(frozen=True)
class Settings:
    """What all scenes of a batch have in common.

    `told` are fields of `Options` but for files; `side_products` which of `SIDE_PRODUCTS` are made beside each product,
    named after it. After more than `max_failures` the rest is not begun.
    """

    told: dict[str, Any]
    side_products: tuple[str, ...] = ()
    max_failures: int | None = None

    def options(self, job: Job) -> Options:
        """What `cloudfree run` would be told of a job."""
        beside: dict[str, Any] = {name: beside_product(job.output, name) for name in self.side_products}
        files: dict[str, Any] = {"planet": job.planet, "sar": job.sar, "udm2": job.udm2, "mask": job.mask}
        files["references"] = job.references
        return Options(**files, output=job.output, **beside, **self.told)


@lru_cache(maxsize=1)
def held_model(name: str) -> CloudRemovalModel:
    """A network, loaded once for all scenes."""
    return load_model(name)


def run_jobs(jobs: Sequence[Job], settings: Settings, done: Callable[[Outcome], None] | None = None) -> list[Outcome]:
    """Do all jobs; `done` is told of each. A job that fails is recorded, and the rest goes on."""
    outcomes: list[Outcome] = []
    for job in jobs:
        failures = sum(outcome.status == "failed" for outcome in outcomes)
        if settings.max_failures is not None and failures > settings.max_failures:
            outcomes.append(Outcome(job, "not begun", error=f"more than {settings.max_failures} had failed before"))
        else:
            outcomes.append(run_job(job, settings))
        if done:
            done(outcomes[-1])
    return outcomes


def run_job(job: Job, settings: Settings) -> Outcome:
    """Do one job, unless its product is there, whole, and of the same inputs, options and weights."""
    started, options = time.monotonic(), settings.options(job)
    try:
        job.output.parent.mkdir(parents=True, exist_ok=True)
        with claimed(options.targets, options.wait_s):
            if _is_made(options):
                return Outcome(job, "skipped", time.monotonic() - started)
            _refuse_anothers(options)
            # What stands there is of other inputs or options, or is damaged, or half of what is wanted.
            plan = make_plan(replace(options, overwrite=True), held_model)
            result = execute(plan)
    except CloudfreeError as error:
        return Outcome(job, "failed", time.monotonic() - started, error.message)
    except OSError as error:
        return Outcome(
            job, "failed", time.monotonic() - started, f"{job.output.name}: {error}; see to it and run again"
        )
    except Exception as error:  # the one place: a bug in one scene must not cost the others
        log.exception("%s failed by a bug", job.planet)
        return Outcome(job, "failed", time.monotonic() - started, f"bug: {type(error).__name__}: {error}")
    details = {"pixels": result.pixels, "trust": result.trust, "peak_memory_mb": result.peak_memory_mb}
    return Outcome(job, "made", time.monotonic() - started, details=details)


def _refuse_anothers(options: Options) -> None:
    """Raise OutputError where a target is a file that cloudfree has not made, unless it may be replaced.

    A picture is what its product is.
    """
    for target in () if options.overwrite else options.targets:
        telling = target if target.suffix.lower() in (*RASTER_ENDINGS, *TEXT_MARKS) else options.output
        if target.exists() and not is_product(telling):
            raise OutputError(f"{target} is no product of cloudfree and is kept; give --overwrite, or another folder")


def _is_made(options: Options) -> bool:
    if not all(target.exists() for target in options.targets):
        return False
    info = held_model(weights_of(options)).info
    with gdal_settings():
        files = files_of(options, identify(options))
    versions = detect.versions(options.find_clouds_with)
    return is_finished(options.targets, provenance.identity(asdict(options), files, info.sha256, **versions))
