"""`cloudfree demo`: the main job on the sample scene."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING

import click

from cloudfree.cli import closing, options
from cloudfree.cli.progress import Progress, progress_bar, progress_log
from cloudfree.cli.screens import option
from cloudfree.cli.terminal import echo_lines, log_to_stderr
from cloudfree.cli.values import FILE
from cloudfree.stages import heard_by

if TYPE_CHECKING:
    from cloudfree.plan import Plan


@click.command()
@option("-o", "--output", type=FILE, metavar="FOLDER", default="demo_output", show_default=True, help="Where files go.")
@options.weights
def demo(output: Path, weights: str) -> None:
    """Run on the sample scene, and compare with the truth.

    The sample comes with cloudfree: a scene, Sentinel-1, an earlier scene, and the ground without clouds.
    """
    log_to_stderr(quiet=False, verbose=False)
    click.echo("Removing the clouds of the sample scene, 640 x 640 pixels; on two cores this takes half a minute.")
    with progress_bar("starting", quiet=False, total=None, name="sample") as progress, heard_by(progress.stage):
        from cloudfree.demo import demo as run_demo
        from cloudfree.demo import run_line

        logging.getLogger(run_demo.__module__).setLevel(logging.INFO)

        def expected(plan: Plan) -> Progress:
            progress.expect(plan.part.width * plan.part.height / 1e6)
            return progress

        result, score = run_demo(output, expected, weights=weights)
    progress_log.info("%s", closing.of_run(result))
    click.echo(f"PSNR of all pixels:            cloudy {score.before_db:5.2f} dB, result {score.after_db:5.2f} dB")
    click.echo(
        f"PSNR of reconstructed pixels:  cloudy {score.before_reconstructed_db:5.2f} dB, "
        f"result {score.after_reconstructed_db:5.2f} dB"
    )
    pages = f"{output / 'report.html'} (before and after under a slider) and {output / 'quicklook.png'}"
    echo_lines([f"Look at {pages}. The same by hand:", run_line(result)])
