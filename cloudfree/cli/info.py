"""`cloudfree info`: what a file would be taken for."""

from __future__ import annotations

import click

from cloudfree.cli import options
from cloudfree.cli.screens import option
from cloudfree.cli.terminal import echo_json, echo_lines
from cloudfree.cli.values import SOURCE
from cloudfree.inputs.location.source import Source


@click.command()
@click.argument("files", nargs=-1, required=True, type=SOURCE)
@option("--trust-inputs", is_flag=True, help=options.TRUST_INPUTS)
@options.as_json
def info(files: tuple[Source, ...], trust_inputs: bool, as_json: bool) -> None:
    """Say what each file would be taken for, and why."""
    from cloudfree.inputs.inspection import inspect

    inspections = inspect(list(files), trust_inputs)
    if as_json:
        echo_json([inspection.as_json() for inspection in inspections])
    else:
        echo_lines(line for inspection in inspections for line in inspection.lines())
