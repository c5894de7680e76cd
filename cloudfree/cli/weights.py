"""`cloudfree weights`: list, verify and convert."""

from __future__ import annotations

from pathlib import Path

import click

from cloudfree.cli import options
from cloudfree.cli.terminal import echo_json, echo_lines
from cloudfree.cli.values import FILE, WEIGHTS
from cloudfree.errors import showable


@click.group()
def weights() -> None:
    """List, verify and convert weights."""


@weights.command("list")
@options.as_json
def weights_list(as_json: bool) -> None:
    """The weights that come with cloudfree."""
    from dataclasses import asdict

    from cloudfree.network.weights import registry

    entries = registry()
    if as_json:
        echo_json([asdict(entry) for entry in entries])
        return
    for entry in entries:
        mark = " (default)" if entry.default else ""
        click.echo(f"{entry.name}{mark}: {entry.architecture}, {entry.size_bytes / 1e6:.1f} MB, {entry.licence}")
        click.echo(f"  trained on {entry.trained_on}")


@weights.command("verify")
@click.argument("names", nargs=-1, type=WEIGHTS, metavar="[NAME|FILE]...")
def weights_verify(names: tuple[str, ...]) -> None:
    """Compare weights with their recorded hashes, load them, and compare what they give with their golden output."""
    from cloudfree.network.weights import load_network, registry, verify, verify_output

    for name in names or tuple(entry.name for entry in registry()):
        digest = verify(name)
        load_network(name)
        difference = verify_output(name)
        golden = "" if difference is None else f", golden output to {difference:.0e}"
        echo_lines([f"{name}: ok, sha256 {digest}{golden}"])


@weights.command("convert")
@click.argument("source", type=FILE)
@options.output("The safetensors file to write.")
@options.overwrite
def weights_convert(source: Path, output: Path, overwrite: bool) -> None:
    """Turn a published checkpoint into a safetensors file."""
    from cloudfree.network.weights import convert
    from cloudfree.product.targets import check_targets

    check_targets([output], [source], overwrite)
    convert(source, output)
    click.echo(f"wrote {showable(str(output))}", err=True)
