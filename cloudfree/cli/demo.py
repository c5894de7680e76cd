"""`cloudfree demo`: the main job on the sample scene."""

from __future__ import annotations

from pathlib import Path

import click

from cloudfree.cli import options
from cloudfree.cli.screens import option
from cloudfree.cli.terminal import echo_lines, log_to_stderr
from cloudfree.cli.values import FILE


@click.command()
@option("-o", "--output", type=FILE, metavar="FOLDER", default="demo_output", show_default=True, help="Where files go.")
@options.weights
def demo(output: Path, weights: str) -> None:
    """Run on the sample scene, and compare with the truth.

    The sample comes with cloudfree: a scene, Sentinel-1, an earlier scene, and the ground without clouds.
    """
    log_to_stderr(quiet=False, verbose=True)
    from cloudfree.demo import demo as run_demo

    result, score = run_demo(output, weights=weights)
    click.echo(f"PSNR of all pixels:            cloudy {score.before_db:5.2f} dB, result {score.after_db:5.2f} dB")
    click.echo(
        f"PSNR of reconstructed pixels:  cloudy {score.before_reconstructed_db:5.2f} dB, "
        f"result {score.after_reconstructed_db:5.2f} dB"
    )
    click.echo(f"Took {sum(result.seconds.values()):.1f} s on {result.plan.device}.")
    echo_lines([f"See {output / 'quicklook.png'}: the cloudy scene, Sentinel-1, the result; files are in {output}."])
