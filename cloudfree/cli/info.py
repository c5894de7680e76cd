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
    """Say what each file would be taken for, and why.

    A file that cannot be read is told of, and the others go on; exits with 1 then.
    """
    from cloudfree.inputs.inspection import Unusable, inspect_each

    inspections = []
    for inspection in inspect_each(list(files), trust_inputs):
        inspections.append(inspection)
        if not as_json and not isinstance(inspection, Unusable):
            echo_lines(inspection.lines())
    failures = [one for one in inspections if isinstance(one, Unusable)]
    if as_json and (len(inspections) > 1 or not failures):  # one alone is told as failures of all commands are
        echo_json([inspection.as_json() for inspection in inspections])
    for failure in failures[:-1]:
        click.echo(f"Error: {failure.error.message}", err=True)
    if failures:
        raise failures[-1].error
