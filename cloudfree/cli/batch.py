"""`cloudfree batch`: the main job for many scenes."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from cloudfree.cli import options, screens
from cloudfree.cli.config import option_sources
from cloudfree.cli.terminal import echo_json, log_to_stderr, progress_bar
from cloudfree.cli.values import FILE, Real, Whole
from cloudfree.product.kinds import BESIDE, STYLE

if TYPE_CHECKING:
    from cloudfree.batch.jobs import WithoutRadar
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
    if dry_run:
        for job in plan.jobs:
            if job.fault:
                log.error("%s: %s", job.planet.name, job.fault)
        echo_json({**plan.describe(), "option_sources": option_sources(click.get_current_context())})
        return
    with progress_bar(common["device"], quiet, len(plan.jobs), SCENES) as progress:

        def done(outcome: Outcome) -> None:
            if outcome.error:
                log.error("%s: %s", outcome.job.planet.name, outcome.error)
            progress(1)

        outcomes = execute(plan, done)
    if as_json:
        echo_json([outcome.as_json() for outcome in outcomes])
    missing = sum(outcome.status in ("failed", "not begun") for outcome in outcomes)
    if missing:
        raise click.ClickException(f"{missing} of {len(outcomes)} scenes have no product; see {folder / 'results.csv'}")
