"""`cloudfree align`: Sentinel-1 on a scene's grid."""

from __future__ import annotations

from typing import Any

import click

from cloudfree.cli import options
from cloudfree.cli.screens import option
from cloudfree.cli.terminal import MEGAPIXELS, echo_json, log_to_stderr, progress_bar
from cloudfree.cli.values import OUTPUT_FILE


@click.command()
@options.scene_inputs(sar_required=True)
@option("-o", "--output", type=OUTPUT_FILE, required=True, help="The COG to write: VV and VH in dB.")
@options.compress
@option("--quicklook", type=OUTPUT_FILE, metavar="PNG", help="Picture of the windows' offsets, before and after.")
@options.overwrite
@options.as_json_with("The offset and how sure it is, on stdout.")
@options.verbosity
def align(as_json: bool, quiet: bool, verbose: bool, **values: Any) -> None:
    """Bring Sentinel-1 onto a scene's grid, moved to where it belongs.

    Where no offset can be had reliably it stays where it is, and a warning says why.
    """
    log_to_stderr(quiet, verbose)
    from cloudfree.align import AlignOptions, find, write

    alignment = find(AlignOptions(**values))
    grid = alignment.inputs.scene.grid
    with progress_bar("cpu", quiet, grid.width * grid.height / 1e6, MEGAPIXELS) as progress:
        write(alignment, progress)
    if as_json:
        echo_json(alignment.describe())
