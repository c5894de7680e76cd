"""`cloudfree run`: the main job."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from cloudfree.bands import DETECTORS
from cloudfree.cli import options
from cloudfree.cli.options import FILE, Batch
from cloudfree.cli.terminal import MEGAPIXELS, echo_json, log_to_stderr, progress_bar


@click.command()
@options.scene_inputs
@options.references
@options.part
@click.option("-o", "--output", type=FILE, required=True, help="The cloud-free COG to write.")
@click.option(
    "--fill",
    type=click.Choice(["auto", "clouds", "all"]),
    default="auto",
    show_default=True,
    help="What to reconstruct: clouds, or everything. auto: clouds, where anything says where they are.",
)
@click.option(
    "--without-sar",
    type=click.Choice(["fill", "keep", "nodata"]),
    default="fill",
    show_default=True,
    help="Clouds where Sentinel-1 has no valid pixel: fill them from the scene alone, keep them, or nodata.",
)
@click.option(
    "--find-clouds",
    type=click.Choice(["auto", "always", "never"]),
    default="auto",
    show_default=True,
    help="Find clouds and shadows in the scene itself: without a mask, beside a mask too, or never.",
)
@click.option(
    "--find-clouds-with",
    metavar="|".join(DETECTORS),
    type=click.Choice(DETECTORS),
    default=DETECTORS[0],
    show_default=True,
    help="The detector; others than our own are installed by cloudfree[NAME].",
)
@click.option(
    "--edge-limit",
    "edge_limit_m",
    type=click.FloatRange(min=0),
    metavar="METRES",
    default=300.0,
    show_default=True,
    help="How far beyond the mask clouds are followed to where they end; 0: not at all.",
)
@click.option(
    "--buffer",
    "buffer_m",
    type=click.FloatRange(min=0),
    metavar="METRES",
    default=30.0,
    show_default=True,
    help="Ground around the mask to take for cloudy too.",
)
@options.weights
@click.option(
    "--adapt",
    "adapt_minutes",
    type=click.FloatRange(min=0),
    metavar="MINUTES",
    default=0.0,
    help="Fine-tune the weights on the scene's clear pixels first, for so long at most.",
)
@options.device
@click.option("--precision", type=click.Choice(["auto", "fp32", "bf16", "fp16"]), default="auto", show_default=True)
@click.option(
    "--tile", type=int, metavar="PX", default=512, show_default=True, help="Window of the network, a multiple of 16."
)
@click.option("--overlap", type=int, metavar="PX", default=64, show_default=True, help="Pixels that windows share.")
@click.option("--batch", type=Batch(), default="auto", show_default=True, help="Windows at once; auto: what fits.")
@click.option(
    "--coregister",
    type=click.Choice(["auto", "off", "require"]),
    default="auto",
    show_default=True,
    help="Correct the offset of Sentinel-1: if it can be had reliably, never, or else fail.",
)
@options.compress
@click.option("--quicklook", type=FILE, metavar="PNG", help="Picture of before, SAR, after.")
@click.option("--qa", type=FILE, help="COG of what was observed and what reconstructed.")
@click.option("--uncertainty", type=FILE, help="COG of one standard deviation of each band's reflectance.")
@click.option("--write-mask", type=FILE, help="COG of the mask that was used: cloud, haze, shadow, snow.")
@options.overwrite
@click.option("--dry-run", is_flag=True, help="Look at the inputs and say what would be done.")
@click.option("--json", "as_json", is_flag=True, help="Facts and figures of the run on stdout.")
@options.verbosity
def run(dry_run: bool, as_json: bool, quiet: bool, verbose: bool, sar: tuple[Path, ...], **told: Any) -> None:
    """Reconstruct the clouded pixels of a scene.

    Observed pixels are kept as they are; --qa says which is which.
    """
    log_to_stderr(quiet, verbose)
    from cloudfree.pipeline import execute
    from cloudfree.plan import Options, make_plan

    plan = make_plan(Options(sar=sar, **told))
    if dry_run:
        echo_json(plan.describe())
        return
    megapixels = plan.part.width * plan.part.height / 1e6
    with progress_bar(plan.device, quiet, megapixels, MEGAPIXELS) as progress:
        result = execute(plan, progress)
    if as_json:
        echo_json(result.as_json())
