"""The main job for many scenes.

    outcomes = batch.run("scenes.csv", "products", batch.Settings({"buffer_m": 60.0}, beside=(kinds.QA,)))

- `api`: `run`, or `make_plan` and `execute`; `cloudfree batch` calls them.
- `jobs`: a scene and its files, and lists of them; `pairing`: jobs of a folder, each scene with the radar and the
  references that suit it best.
- `needs`: room on the disk and memory; `runner`: one job after the other; `cluster`: many at once on Dask's workers.
- `results`: what became of each job; `index`: a page of all; `collection`: a STAC collection of all.

Names are imported when first used, for torch takes a second.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from cloudfree.batch.api import BatchPlan, execute, make_plan, run
    from cloudfree.batch.jobs import Job
    from cloudfree.batch.results import Outcome
    from cloudfree.batch.runner import Settings

__all__ = ["BatchPlan", "Job", "Outcome", "Settings", "execute", "make_plan", "run"]

_MODULES = {"Job": "jobs", "Outcome": "results", "Settings": "runner"}


def __getattr__(name: str) -> Any:
    if name in __all__:
        return getattr(import_module(f"{__name__}.{_MODULES.get(name, 'api')}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
