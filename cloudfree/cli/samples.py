"""`cloudfree samples`: what networks that see learn from."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from cloudfree.cli import options
from cloudfree.cli.progress import progress_bar, progress_log
from cloudfree.cli.screens import option
from cloudfree.cli.terminal import log_to_stderr
from cloudfree.cli.values import FILE, Whole


@click.command()
@option("-o", "--output", type=FILE, required=True, metavar="FOLDER", help="Where the samples go.")
@option(
    "--data",
    type=FILE,
    multiple=True,
    metavar="FOLDER|CSV",
    help="Ground: NAME_optical.tif and NAME_sar.tif, clear; or a CSV of scenes: planet, sar, and udm2 or mask, and "
    "reference. Repeat for more.",
)
@option(
    "--clouds",
    type=FILE,
    metavar="FOLDER",
    help="NAME_cloudy.tif, whose clouds are laid over the ground, and NAME_clear.tif, another date; clear ones are "
    "ground too.  [default: simulated clouds alone]",
)
@option(
    "--texture",
    type=FILE,
    multiple=True,
    metavar="FOLDER",
    help="Aerial images of four bands of bytes, TOWN_NAME.tif or TOWN_YEAR_NAME.tif, as ground without radar. May be "
    "repeated.",
)
@option("--count", type=Whole(min=1), required=True, help="To train on; beside a tenth to validate on.")
@options.seed
@option("--workers", type=Whole(min=0, max=4096), help="Processes that make samples.  [default: half of the cores]")
@options.verbosity
def samples(output: Path, count: int, quiet: bool, verbose: bool, **values: Any) -> None:
    """Make samples for `cloudfree train --samples`.

    A sample is ground under clouds, with all that a run would show of it. Of every kind of ground, and of clouds, every
    fifth site is held out to validate on. Equal seeds make equal samples. Given again, the command goes on where it was
    ended, and adds samples where --count is larger.
    """
    log_to_stderr(quiet, verbose)
    from cloudfree.learn.make_samples import SamplesOptions, make_samples

    making = SamplesOptions(folder=output, count=count, **values)
    with progress_bar("samples", quiet, sum(making.counts.values()), "{n:.0f}/{total:.0f}") as progress:
        make_samples(making, progress)
    progress_log.info("made %d samples in %s", sum(making.counts.values()), output)
