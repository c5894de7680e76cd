"""The command line: one file a command, which turns words into values, calls the library, and tells the outcome.

`options` has what several commands can be told, `terminal` how they speak. torch and rasterio are imported by the
command that needs them, so that --help is instant.
"""

from __future__ import annotations

import signal

import click

from cloudfree import process
from cloudfree.cli.adapt import adapt
from cloudfree.cli.align import align
from cloudfree.cli.demo import demo
from cloudfree.cli.evaluate import evaluate
from cloudfree.cli.info import info
from cloudfree.cli.run import run
from cloudfree.cli.terminal import terminate
from cloudfree.cli.train import train
from cloudfree.cli.weights import weights


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 120})
@click.version_option(package_name="cloudfree")
def main() -> None:
    """Remove clouds from PlanetScope scenes with the help of Sentinel-1."""
    signal.signal(signal.SIGTERM, terminate)
    process.tune()


for command in (run, align, demo, evaluate, adapt, info, weights, train):
    main.add_command(command)
