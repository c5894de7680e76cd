"""`cloudfree batch`: the main job for many scenes."""

from __future__ import annotations

import logging
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from cloudfree.cli import closing, options, screens
from cloudfree.cli.config import option_sources
from cloudfree.cli.progress import Progress, progress_bar, progress_log, shortened
from cloudfree.cli.terminal import echo_json, echo_plan, log_to_stderr
from cloudfree.cli.values import FILE, Real, Whole
from cloudfree.product.kinds import BESIDE, STYLE
from cloudfree.stages import heard_by

if TYPE_CHECKING:
    from cloudfree.batch import BatchPlan
    from cloudfree.batch.jobs import Job, WithoutRadar
    from cloudfree.batch.results import Outcome
    from cloudfree.batch.runner import NewReferences

log = logging.getLogger(__name__)

SCENES = "{n:.0f}/{total:.0f} scenes"
_EXAMPLE = "  cloudfree batch inbox -o products --also qa,report --workers 2"


@screens.command(_EXAMPLE)
@click.argument("source", type=FILE)
@screens.option(
    "-o", "--output", "folder", type=FILE, metavar="FOLDER", required=True, help="The folder of the products."
)
@screens.option(
    "--max-references",
    type=Whole(min=0),
    metavar="N",
    default=6,
    show_default=True,
    help="Of a folder: help each scene with so many others of its ground, the clearest and nearest; 0: none.",
)
@screens.option(
    "--reference-days",
    type=Real(min=0),
    metavar="DAYS",
    default=60.0,
    show_default=True,
    help="Such others of a folder are at most so many days before or after.",
)
@screens.option(
    "--new-references",
    type=click.Choice(["keep", "remake"]),
    default="keep",
    show_default=True,
    help="A finished product for which others would be chosen now: keep it, or make it again.",
)
@screens.option(
    "--without-radar",
    type=click.Choice(["refuse", "allow"]),
    default="refuse",
    show_default=True,
    help="Scenes without Sentinel-1: of a folder they fail, a list of them is refused; or make them without.",
)
@screens.option("--max-failures", type=Whole(min=0), metavar="N", help="Begin no more after more than so many.")
@options.timeout(240.0, "A scene")
@screens.option(
    "--workers",
    type=Whole(min=1),
    metavar="N",
    help="Make so many scenes at once, each in a process of its own.  [default: 1]",
)
@screens.option("--scheduler", metavar="tcp://HOST:PORT", help="The workers of a Dask scheduler instead.")
@screens.flag("--outputs-anywhere", help="Let a list name outputs outside of the folder.")
@options.meaning
@options.making
@options.beside_product(in_batch=True)
@options.overwrite
@options.wait
@options.dry_run
@options.as_json_with("What became of each scene, on stdout.")
@options.verbosity
def batch(
    source: Path,
    folder: Path,
    max_references: int,
    reference_days: float,
    new_references: NewReferences,
    without_radar: WithoutRadar,
    max_failures: int | None,
    timeout_minutes: float,
    outputs_anywhere: bool,
    workers: int | None,
    scheduler: str | None,
    also: tuple[str, ...],
    dry_run: bool,
    as_json: bool,
    quiet: bool,
    verbose: bool,
    **common: Any,
) -> None:
    """Reconstruct the clouded pixels of many scenes.

    SOURCE is a folder, whose scenes are each given the radar that suits it best and the clearest of its other dates; or
    a CSV or JSON with the columns planet, sar, and any of udm2, mask, reference, output (several files of a cell with ;
    between them). A product that is there, whole, and of the same inputs, options and weights is skipped. results.csv
    and results.json in the folder say what became of each scene; exits with 1 if any failed.
    """
    log_to_stderr(quiet, verbose)
    if workers and scheduler:
        raise click.UsageError("--workers and --scheduler are both given; one says where scenes are made.")
    given = click.get_current_context().get_parameter_source("timeout_minutes")
    if scheduler and given != ParameterSource.DEFAULT:
        raise click.UsageError("--timeout is for processes here; those of a --scheduler end by its own rules.")
    started_s = time.monotonic()
    with progress_bar("starting", quiet, None, SCENES, source.name) as progress, heard_by(progress.stage):
        from cloudfree.batch import Settings, execute, make_plan

        beside = tuple(kind for kind in BESIDE if common.pop(kind.field) or kind.word in also)
        settings = Settings(
            {**common, "style": STYLE in also},
            beside,
            max_failures=max_failures,
            timeout_s=60 * timeout_minutes or None,
            without_radar=without_radar,
            new_references=new_references,
            outputs_anywhere=outputs_anywhere,
        )
        plan = make_plan(
            source,
            folder,
            settings,
            max_references=max_references,
            reference_days=reference_days,
            workers=scheduler or workers or 1,
        )
        if not dry_run:
            progress.expect(len(plan.jobs))
            progress.stage("making scenes")
            watched = _Watched(progress, tells=not as_json)
            outcomes = execute(plan, watched.done, watched.begun)
    if dry_run:
        _tell(plan, as_json)
        return
    if as_json:
        echo_json([outcome.as_json() for outcome in outcomes])
    else:
        progress_log.info("%s", closing.of_batch(outcomes, folder, time.monotonic() - started_s))
    missing = sum(outcome.status in ("failed", "not begun") for outcome in outcomes)
    if missing:
        raise click.ClickException(f"{missing} of {len(outcomes)} scenes have no product; see {folder / 'results.csv'}")


def _tell(plan: BatchPlan, as_json: bool) -> None:
    """Say what would be done, and what cannot be."""
    for job in plan.jobs:
        if job.fault:
            log.error("%s: %s", job.planet.name, job.fault)
    answer = {**plan.describe(), "option_sources": option_sources(click.get_current_context())}
    echo_plan(answer, closing.of_batch_plan(plan), as_json)


class _Watched:
    """Tells of each scene as it is begun, on the bar, and as it is done, in a line; with `tells` False of failures."""

    def __init__(self, progress: Progress, *, tells: bool) -> None:
        self._progress, self._tells = progress, tells
        self._under_way: dict[Job, str] = {}

    def begun(self, job: Job) -> None:
        self._under_way[job] = job.planet.stem
        self._show()

    def done(self, outcome: Outcome) -> None:
        name = outcome.job.planet.name
        if outcome.error:
            log.error("%s: %s", name, outcome.error)
        elif self._tells:
            progress_log.info("%s: %s", name, closing.of_scene(outcome))
        self._under_way.pop(outcome.job, None)
        self._progress(1)
        self._show()

    def _show(self) -> None:
        """The scene under way, and how many beside it."""
        names = list(self._under_way.values())
        more = f" and {len(names) - 1} more" if len(names) > 1 else ""
        if names:
            self._progress.stage(f"{shortened(names[0])}{more}")
