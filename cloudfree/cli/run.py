"""`cloudfree run`: the main job."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import click

from cloudfree import process
from cloudfree.cli import closing, options, screens
from cloudfree.cli.config import option_sources
from cloudfree.cli.progress import MEGAPIXELS, progress_bar, progress_log
from cloudfree.cli.terminal import echo_json, echo_plan, log_to_stderr
from cloudfree.product.kinds import STYLE
from cloudfree.stages import heard_by

_EXAMPLE = "  cloudfree run --planet scene.tif --sar s1.tif -o clear.tif --also qa,report"


@screens.command(_EXAMPLE)
@options.scene_inputs(sar_required=False)
@options.references
@options.part
@options.output("The cloud-free GeoTIFF (COG) to write.")
@options.making
@options.beside_product(in_batch=False)
@options.overwrite
@options.wait
@options.timeout(0.0, "A run")
@options.dry_run
@options.as_json_with("Facts and figures of the run on stdout.")
@options.verbosity
def run(
    also: tuple[str, ...],
    timeout_minutes: float,
    dry_run: bool,
    as_json: bool,
    quiet: bool,
    verbose: bool,
    **values: Any,
) -> None:
    """Reconstruct the clouded pixels of a scene.

    Observed pixels are kept as they are; --also qa says which is which. A FILE to read may be a folder, an archive or
    an address too.
    """
    values |= options.files_beside(values["output"], also, values) | {"style": STYLE in also}
    click.get_current_context().params |= values  # a log is no output
    log_to_stderr(quiet, verbose)
    why = f"{values['planet'].name} took more than {timeout_minutes:g} minutes and was ended"
    with process.ending_after(60 * timeout_minutes, f"{why}; give it more with --timeout, or make a part (--bbox)"):
        _run(values, dry_run, as_json, quiet)


def _run(values: Mapping[str, Any], dry_run: bool, as_json: bool, quiet: bool) -> None:
    name = values["planet"].stem
    with progress_bar("starting", quiet, None, MEGAPIXELS, name) as progress, heard_by(progress.stage):
        from cloudfree import described
        from cloudfree.pipeline import execute
        from cloudfree.plan import Options
        from cloudfree.planning import make_plan_of_one

        plan = make_plan_of_one(Options(**values))
        if not dry_run:
            progress.expect(plan.part.width * plan.part.height / 1e6)
            result = execute(plan, progress)
    if dry_run:
        sources = option_sources(click.get_current_context())
        answer = {**described.as_json(plan), "trust": None, "option_sources": sources}
        echo_plan(answer, [*described.in_words(plan), closing.of_run_plan(plan)], as_json)
        return
    progress_log.info("%s", closing.of_run(result))
    if as_json:
        echo_json(result.as_json())
