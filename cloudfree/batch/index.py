"""`index.html` of a batch: its scenes in a table, each with its page and its product."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from cloudfree.batch.jobs import Job
from cloudfree.batch.results import Outcome, replaced
from cloudfree.batch.runner import Settings
from cloudfree.errors import OutputError
from cloudfree.product.finished import is_ours
from cloudfree.product.kinds import REPORT
from cloudfree.report import facts, index, page


def check_index(folder: Path, jobs: Sequence[Job], settings: Settings) -> None:
    """Raise OutputError where an index is wanted that would be the page of a scene, or replace a file not ours."""
    if REPORT not in settings.beside:
        return
    target = folder / REPORT.listed_in
    if any(REPORT.beside(job.output).resolve() == target.resolve() for job in jobs):
        raise OutputError(
            f"{target} would be the index and the page of a scene; each needs a name of its own: give that scene "
            "another output"
        )
    if target.is_file() and not settings.overwrite and not is_ours(REPORT, target):
        raise OutputError(f"{target} is no page of cloudfree and is kept; give --overwrite, or another folder")


def write_index(folder: Path, outcomes: Sequence[Outcome]) -> None:
    """The page of all scenes, replaced in one step. Raises OutputError."""
    content = index.written([_row(outcome, folder) for outcome in outcomes], folder)
    with replaced(folder / REPORT.listed_in) as file:
        file.write_bytes(content)


def _row(outcome: Outcome, folder: Path) -> index.Row:
    """With what its product and its page tell, unless what stands there is of another run."""
    job = outcome.job
    names = {str(each): each.name for each in job.sources} | {str(job.output): job.output.name}
    name, told = job.planet.name, (outcome.status, outcome.seconds, facts.without_paths(outcome.error, names))
    if outcome.status not in ("made", "skipped"):
        return index.Row(name, *told)
    product, own_page = job.output, REPORT.beside(job.output)
    pixels = outcome.details.get("pixels") or page.read_numbers(own_page).get("pixels")
    share = facts.reconstructed_share(pixels) if pixels else None
    return index.Row(name, *told, share, _seen_from(folder, product), _seen_from(folder, own_page))


def _seen_from(folder: Path, path: Path) -> Path | None:
    return Path(os.path.relpath(path, folder)) if path.is_file() else None
