"""`cloudfree doctor`: whether the main job would run here."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import click

from cloudfree.cli import options
from cloudfree.cli.screens import option
from cloudfree.cli.terminal import DATA_LEFT, echo_json, echo_lines
from cloudfree.cli.values import FILE


@click.command()
@option("-o", "--output", "folder", type=FILE, default=".", help="Where products would go.  [default: here]")
@options.as_json
def doctor(folder: Path, as_json: bool) -> None:
    """Look whether the main job would run here.

    Device, memory, GDAL, PROJ, weights, what a CUDA card makes of golden tensors, disk, clock and extras are looked at.
    Exits with 1 if it would not.
    """
    from cloudfree.doctor import examine

    findings = []
    for finding in examine(folder, click.get_current_context().meta.get(DATA_LEFT, ())):
        findings.append(finding)
        if not as_json:
            echo_lines([str(finding)])
    if as_json:
        echo_json([asdict(finding) for finding in findings])
    if wrong := [finding.matter for finding in findings if not finding.sound]:
        raise click.ClickException(f"the main job may not run here ({', '.join(wrong)}); see to what says NO")
