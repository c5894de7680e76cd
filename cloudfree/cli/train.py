"""`cloudfree train`: weights from places, pairs of images, or a user's own scenes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from cloudfree.cli import options
from cloudfree.cli.progress import progress_log
from cloudfree.cli.screens import option
from cloudfree.cli.terminal import log_to_stderr
from cloudfree.cli.values import FILE, WEIGHTS, Real, Whole


@click.command()
@options.output("The safetensors file to write.")
@option(
    "--data",
    type=FILE,
    multiple=True,
    metavar="FOLDER|CSV",
    help="NAME_optical.tif and NAME_sar.tif; or cloudy and clear images as for evaluate; or a CSV of scenes: "
    "planet, sar, and udm2 or mask, and reference. Repeat for more.",
)
@option("--samples", type=FILE, metavar="FOLDER", help="What `cloudfree samples` made, for networks that see.")
@option("--clouds", type=FILE, metavar="FOLDER", help="Images whose clouds are laid over: NAME_cloudy.tif.")
@option(
    "--cloud-percent",
    type=FILE,
    metavar="FOLDER",
    help="What another network says of the images of --clouds, for a cloud_detector: STEM_cloud.tif.",
)
@option("--procedural", type=Whole(min=0), metavar="N", help="Places to make up.  [default: 40]")
@option("--preset", type=click.Choice(["published"]), help="The published recipe, but for what else is given.")
@option(
    "--architecture",
    type=click.Choice(["align_cr", "glf_cr", "dsen2_cr", "u_net", "cloud_detector"]),
    help="[default: align_cr; with --samples u_net]",
)
@option("--size", type=click.Choice(["small", "published"]), help="[default: small]")
@option("--loss", type=click.Choice(["charbonnier", "carl", "l1", "psnr"]), help="[default: charbonnier]")
@option("--schedule", type=click.Choice(["cosine", "halving"]), help="Of the learning rate.  [default: cosine]")
@option("--minutes", type=Real(min=0, min_open=True), help="End after this time.")
@option("--steps", type=Whole(min=1), help="End after so many steps.")
@option("--epochs", type=Whole(min=1), help="End after so many times as many samples as images.")
@option("--seed", type=Whole(min=0), help="[default: 0]")
@option("--crop", type=Whole(min=32, max=4096), help="Side of the samples in pixels.  [default: 96; with --samples 64]")
@option("--batch", type=Whole(min=1, max=65536), help="Of all processes together.  [default: 2; with --samples 16]")
@option("--learning-rate", type=Real(min=0, min_open=True), help="[default: 0.001; with --samples 0.002]")
@option(
    "--keep", type=click.Choice(["last", "best"]), help="Weights, by validation.  [default: last; with --samples best]"
)
@option("--weights", "start", type=WEIGHTS, help="Weights to start from.  [default: fresh ones]")
@options.device
@option("--threads", type=Whole(min=1, max=4096), help="CPU threads.  [default: all]")
@option("--workers", type=Whole(min=0, max=4096), help="Processes that draw samples.  [default: half of the cores]")
@options.overwrite
@options.verbosity
def train(overwrite: bool, quiet: bool, verbose: bool, preset: str | None, output: Path, **values: Any) -> None:
    """Train weights of a network.

    They learn from samples, clear places under clouds, pairs of images, or scenes of your own.

    Networks that see what shows through clouds, u_net and align_cr, learn from --samples (`cloudfree samples`). Without
    it networks as published learn, which are shown the plain image. A cloud_detector learns from folders of
    clear pairs and of aerial images, and from --clouds.

    A run that was killed goes on when the command is given again. On several GPUs, or machines, start it by torchrun:
    `torchrun --nproc-per-node 4 -m cloudfree train ...`.
    """
    log_to_stderr(quiet, verbose)
    from cloudfree.learn.train import train as run_training
    from cloudfree.learn.train_options import options_of
    from cloudfree.product.targets import check_targets

    given = {name: value for name, value in values.items() if value is not None}
    training = options_of(output, given, published=preset is not None)
    check_targets([output], [], overwrite or training.checkpoint.exists())
    run_training(training)
    progress_log.info("wrote %s", training.output)
