"""`cloudfree align`: Sentinel-1 on a scene's grid."""

from __future__ import annotations

import time
from typing import Any

import click

from cloudfree.cli import closing, options
from cloudfree.cli.progress import MEGAPIXELS, progress_bar, progress_log
from cloudfree.cli.screens import option
from cloudfree.cli.terminal import echo_json, log_to_stderr
from cloudfree.cli.values import OUTPUT_FILE


@click.command()
@options.scene_inputs(sar_required=True)
@options.output("The COG to write: VV and VH in dB.")
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
    from cloudfree.described import offset_in_words

    started_s = time.monotonic()
    with progress_bar("aligning Sentinel-1", quiet, None, MEGAPIXELS, values["planet"].stem) as progress:
        alignment = find(AlignOptions(**values))
        grid = alignment.inputs.scene.grid
        progress.expect(grid.width * grid.height / 1e6)
        write(alignment, progress)
    placed = offset_in_words(alignment.offset.describe(alignment.survey.grid))
    took = closing.seconds(time.monotonic() - started_s)
    progress_log.info("done in %s; %s: %s", took, alignment.options.output, placed)
    if as_json:
        echo_json(alignment.describe())
