"""`cloudfree evaluate`: weights against the truth and against baselines."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from cloudfree.cli import options
from cloudfree.cli.screens import option
from cloudfree.cli.terminal import echo_lines, log_to_stderr
from cloudfree.cli.values import FILE, WEIGHTS


@click.command()
@click.argument("source", type=FILE, metavar="FOLDER|CSV")
@option("--root", type=FILE, metavar="FOLDER", help="What the paths of a CSV are relative to.")
@option("--weights", type=WEIGHTS, multiple=True, help="Weights to score; repeat for more.  [default: auto]")
@option(
    "--protocol",
    type=click.Choice(["true", "published"]),
    default="true",
    show_default=True,
    help="How scores are computed: as they are defined, or as the published code does.",
)
@option("--same-date", is_flag=True, help="Lay the real clouds over the clear image, and score against that.")
@option("--keep-observed", is_flag=True, help="Put unmasked pixels back as they were seen.")
@option(
    "--format",
    "layout",
    type=click.Choice(["markdown", "csv", "json"]),
    default="markdown",
    show_default=True,
    help="Of the table on stdout.",
)
@options.device
def evaluate(source: Path, root: Path | None, weights: tuple[str, ...], layout: str, device: str, **how: Any) -> None:
    """Score weights on cloudy and clear images.

    Beside them, what they must beat. The images are of the same places: the M3R-CR data set by its CSV, or a folder of
    NAME_cloudy.tif, NAME_clear.tif, NAME_sar.tif, and NAME_mask.tif, NAME_landcover.tif and images of other dates,
    NAME_reference*.tif, if there are any. PSNR, SSIM, SAM and MAE over all, clouded and clear pixels and by land cover.
    """
    log_to_stderr(quiet=False, verbose=False)
    from cloudfree.evaluate import score, tables
    from cloudfree.evaluate.methods import network
    from cloudfree.network.device import resolve_device
    from cloudfree.network.weights import load_model

    models, where = [load_model(name) for name in weights or ("auto",)], str(resolve_device(device))
    methods = {Path(model.info.name).stem: network(model, where) for model in models}
    table = score.evaluate(source, methods, root=root, **how)
    writer = {"markdown": tables.as_markdown, "csv": tables.as_csv, "json": tables.as_json}[layout]
    echo_lines(writer(table).rstrip("\n").split("\n"))
