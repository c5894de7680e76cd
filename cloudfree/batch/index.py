"""`index.html` of a batch: a table of its scenes with links to their pages and products."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from cloudfree.batch.results import Outcome, replaced
from cloudfree.product.kinds import REPORT
from cloudfree.report import facts, index, page


def write_index(folder: Path, outcomes: Sequence[Outcome]) -> None:
    """Write the page of all scenes, replaced in one step. Raises OutputError."""
    content = index.written([_row(outcome, folder) for outcome in outcomes], folder)
    with replaced(folder / REPORT.listed_in) as file:
        file.write_bytes(content)


def _row(outcome: Outcome, folder: Path) -> index.Row:
    """Return the row of a scene, with its files only if this batch has made them or found them finished."""
    job = outcome.job
    names = {str(source): source.name for source in job.sources} | {str(job.output): job.output.name}
    row = index.Row(job.planet.name, outcome.status, outcome.seconds, facts.without_paths(outcome.error, names))
    if outcome.status not in ("made", "skipped"):
        return row
    product, own_page = job.output, REPORT.beside(job.output)
    pixels = outcome.details.get("pixels") or page.read_numbers(own_page).get("pixels")
    share = facts.reconstructed_share(pixels) if pixels else None
    return replace(row, share=share, product=_relative(folder, product), page=_relative(folder, own_page))


def _relative(folder: Path, path: Path) -> Path | None:
    return Path(os.path.relpath(path, folder)) if path.is_file() else None
