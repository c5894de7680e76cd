"""A whole batch: what it would make and needs, and the making of it."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from cloudfree.batch.cluster import run_jobs_on
from cloudfree.batch.collection import write_collection
from cloudfree.batch.dates import MOST_REFERENCES, REFERENCE_DAYS
from cloudfree.batch.images import Look
from cloudfree.batch.index import write_index
from cloudfree.batch.jobs import Job, read_jobs, refuse_outside, with_missing_told
from cloudfree.batch.needs import Needs, check_lists, check_outputs, shapes_of
from cloudfree.batch.pairing import jobs_of_folder
from cloudfree.batch.results import Outcome, read_results, recording, with_earlier
from cloudfree.batch.runner import Settings, run_jobs
from cloudfree.batch.workers import run_jobs_apart
from cloudfree.errors import CloudfreeError
from cloudfree.inputs.location.source import is_dir
from cloudfree.inputs.raster.access import gdal_settings
from cloudfree.planning import check_without_radar
from cloudfree.product.kinds import REPORT, STAC
from cloudfree.stages import begin

log = logging.getLogger(__name__)

Workers = int | str | None
"""Where scenes are made: in this process (None), in so many of their own on this machine, or on the workers of the Dask
scheduler at an address like tcp://host:8786. Only in processes of their own can they die alone, and have a timeout."""


@dataclass(frozen=True)
class BatchPlan:
    """What a batch of a list or a folder (`source`) will make in a folder.

    `product_bytes`: what products take at most; `memory_gb`: what their making takes. `workers` None is this process.
    """

    source: Path
    jobs: tuple[Job, ...]
    folder: Path
    settings: Settings
    workers: Workers
    product_bytes: int
    memory_gb: float

    def describe(self) -> dict[str, Any]:
        """Return plain data for --dry-run."""
        return {
            "jobs": [job.describe() for job in self.jobs],
            "at_most_gb": round(self.product_bytes / 1e9, 3),
            "memory_gb": round(self.memory_gb, 1),
        }


def run(
    source: Path | str,
    folder: Path | str,
    settings: Settings | None = None,
    *,
    max_references: int = MOST_REFERENCES,
    reference_days: float = REFERENCE_DAYS,
    workers: Workers = None,
    done: Callable[[Outcome], None] | None = None,
) -> list[Outcome]:
    """Reconstruct the clouded pixels of many scenes, and return what became of each, in the order of the jobs.

    `source` is a list of scenes (`jobs.read_jobs`), or a folder of them, of which each gets the radar that suits it
    best and up to `max_references` other scenes of `reference_days` around it (`pairing.jobs_of_folder`, `dates`).
    Products go into `folder`, with results.csv, results.json, and index.html and collection.json where
    `settings.beside` has reports and STAC items. A product that is there, whole, and of the same inputs, options and
    weights is skipped.
    `done` is called with each outcome as it comes.

    A scene that fails is recorded, and the others go on. Raises CloudfreeError, before anything is made, for lists that
    say nothing clear, files that would be lost, and too little disk or memory.
    """
    return execute(
        make_plan(
            source, folder, settings, max_references=max_references, reference_days=reference_days, workers=workers
        ),
        done,
    )


def make_plan(
    source: Path | str,
    folder: Path | str,
    settings: Settings | None = None,
    *,
    max_references: int = MOST_REFERENCES,
    reference_days: float = REFERENCE_DAYS,
    workers: Workers = None,
) -> BatchPlan:
    """Find the jobs of a batch and check what they need, without making anything. See `run`."""
    if isinstance(workers, int) and workers < 1:
        raise CloudfreeError(f"workers is {workers}; one at least is needed: give a number, or None for this process")
    source, folder, settings = Path(source), Path(folder), settings or Settings()
    trust_inputs = bool(settings.common.get("trust_inputs"))
    begin("finding scenes")
    with gdal_settings(trust_inputs):
        if is_dir(source):
            jobs = jobs_of_folder(
                source,
                folder,
                max_references=max_references,
                reference_days=reference_days,
                without_radar=settings.without_radar,
                look=Look(trust_inputs, apart=workers is not None),
            )
        else:
            jobs = read_jobs(source, folder, settings.without_radar)
        begin("looking at sizes")
        possible = [job for job in jobs if not job.fault]
        for job in possible:
            check_without_radar(settings.options(job))
        read_results(folder)  # which must be ours, to be added to
        check_outputs(possible, settings)
        if not settings.outputs_anywhere:
            refuse_outside(possible, folder)
        check_lists(folder, possible, settings)
        jobs = jobs if is_dir(source) else [*map(with_missing_told, jobs)]
        shapes = shapes_of([job for job in jobs if not job.fault], trust_inputs, apart=workers is not None)
    needs = Needs.of(shapes, settings, 0 if isinstance(workers, str) else workers or 1)
    size, memory_gb = needs.product_bytes, needs.memory_gb
    log.info("products take %.1f GB at most, their making about %.1f GB of memory", size / 1e9, memory_gb)
    lacking = [replace(job, fault=needs.lacking.get(job, job.fault)) for job in jobs]
    return BatchPlan(source, tuple(lacking), folder, settings, workers, size, memory_gb)


def execute(
    plan: BatchPlan,
    done: Callable[[Outcome], None] | None = None,
    begun: Callable[[Job], None] = lambda _: None,
) -> list[Outcome]:
    """Do all jobs of a plan, keep their results, and write what lists the products. See `run`.

    `begun` is called with each job as it is begun; workers elsewhere do not tell when that is. What batches of other
    sources have left in the folder stays in its results and lists.
    """
    with recording(plan.source, plan.folder, done) as keep:
        outcomes = _outcomes(plan, keep, begun)
    if plan.settings.beside:
        listed = with_earlier(plan.source, plan.folder, outcomes)
    if REPORT in plan.settings.beside:
        write_index(plan.folder, listed)
    if STAC in plan.settings.beside:
        write_collection(plan.folder, listed)
    return outcomes


def _outcomes(plan: BatchPlan, done: Callable[[Outcome], None], begun: Callable[[Job], None]) -> list[Outcome]:
    if plan.workers is None:
        return run_jobs(plan.jobs, plan.settings, done, begun)
    if isinstance(plan.workers, str):
        return run_jobs_on(plan.workers, plan.jobs, plan.settings, done)
    return run_jobs_apart(plan.jobs, plan.settings, plan.workers, done, begun)
