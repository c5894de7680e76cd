"""`cloudfree batch`: the main job for many scenes."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from cloudfree.cli import options
from cloudfree.cli.config import told_elsewhere
from cloudfree.cli.options import FILE
from cloudfree.cli.terminal import echo_json, log_to_stderr, progress_bar
from cloudfree.product.kinds import BESIDE, REPORT, STAC, Kind

if TYPE_CHECKING:
    from cloudfree.batch.results import Outcome

log = logging.getLogger(__name__)

SCENES = "{n:.0f}/{total:.0f} scenes"


@click.command()
@click.argument("source", type=FILE)
@click.option("-o", "--output", "folder", type=FILE, required=True, help="The folder of the products.")
@click.option(
    "--reference-days",
    type=click.FloatRange(min=0),
    metavar="DAYS",
    default=0.0,
    help="Of a folder: help each scene with others of the same ground, so many days before or after.",
)
@click.option("--max-failures", type=click.IntRange(min=0), metavar="N", help="Begin no more after more than so many.")
@click.option("--workers", type=click.IntRange(min=1), metavar="N", help="So many processes here, by Dask.")
@click.option("--scheduler", metavar="tcp://HOST:PORT", help="The workers of a Dask scheduler instead.")
@options.meaning
@options.making
@options.beside_product(in_batch=True)
@options.overwrite
@options.wait
@click.option("--dry-run", is_flag=True, help="Say what would be done.")
@options.as_json_with("What became of each scene, on stdout.")
@options.verbosity
def batch(
    source: Path,
    folder: Path,
    reference_days: float,
    max_failures: int | None,
    workers: int | None,
    scheduler: str | None,
    dry_run: bool,
    as_json: bool,
    quiet: bool,
    verbose: bool,
    **told: Any,
) -> None:
    """Reconstruct the clouded pixels of many scenes.

    SOURCE is a CSV (columns planet, sar, and any of udm2, mask, reference, output; several files of a cell with ;
    between them), lines of JSON of the same, or a folder, whose scenes are each given the radar that suits it best. A
    product that is there, whole, and of the same inputs, options and weights is skipped. results.csv and results.json
    in the folder say what became of each scene; exits with 1 if any failed.
    """
    log_to_stderr(quiet, verbose)
    if workers and scheduler:
        raise click.UsageError("--workers and --scheduler are both given; one says where scenes are made.")
    from cloudfree.batch.collection import check_collection
    from cloudfree.batch.index import check_index
    from cloudfree.batch.jobs import read_jobs
    from cloudfree.batch.needs import check_disk, check_memory, check_outputs, shapes_of
    from cloudfree.batch.pairing import jobs_of_folder
    from cloudfree.batch.results import Record, make_folder
    from cloudfree.batch.runner import Settings, run_jobs

    jobs = jobs_of_folder(source, folder, reference_days) if source.is_dir() else read_jobs(source, folder)
    beside = tuple(kind for kind in BESIDE if told.pop(kind.field))
    settings = Settings(told, beside, max_failures)
    check_outputs(jobs, settings)
    check_index(folder, jobs, settings)
    check_collection(folder, jobs, settings)
    shapes = shapes_of(jobs)
    size = check_disk(shapes, settings)
    memory_gb = check_memory(shapes, 0 if scheduler else workers or 1)
    log.info("products take %.1f GB at most, their making about %.1f GB of memory", size / 1e9, memory_gb)
    if dry_run:
        needs = {"at_most_gb": round(size / 1e9, 3), "memory_gb": round(memory_gb, 1)}
        elsewhere = {"told_elsewhere": told_elsewhere(click.get_current_context())}
        echo_json({"jobs": [job.describe() for job in jobs], **needs, **elsewhere})
        return
    make_folder(folder)
    with Record(folder) as record, progress_bar(told["device"], quiet, len(jobs), SCENES) as progress:

        def done(outcome: Outcome) -> None:
            record.add(outcome)
            if outcome.error:
                log.error("%s: %s", outcome.job.planet.name, outcome.error)
            progress(1)

        with ExitStack() as stack:
            if workers or scheduler:
                from cloudfree.batch.cluster import local_cluster, run_jobs_on

                address = scheduler or stack.enter_context(local_cluster(workers or 1))
                run_jobs_on(address, jobs, settings, done)
            else:
                run_jobs(jobs, settings, done)
    if as_json:
        echo_json([outcome.as_json() for outcome in record.outcomes])
    _list_all(folder, beside, record.outcomes)
    failed = sum(outcome.status in ("failed", "not begun") for outcome in record.outcomes)
    if failed:
        raise click.ClickException(f"{failed} of {len(jobs)} scenes have no product; see {folder / 'results.csv'}")


def _list_all(folder: Path, beside: tuple[Kind, ...], outcomes: Sequence[Outcome]) -> None:
    """What lists all products of a batch, by what was wanted beside each."""
    if REPORT in beside:
        from cloudfree.batch.index import write_index

        write_index(folder, outcomes)
    if STAC in beside:
        from cloudfree.batch.collection import write_collection

        write_collection(folder, outcomes)
