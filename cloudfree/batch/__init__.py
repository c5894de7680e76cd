"""The main job for many scenes.

    outcomes = batch.run("scenes.csv", "products", batch.Settings({"buffer_m": 60.0}, beside=(kinds.QA,)))

- `api`: `run`, or `make_plan` and `execute`, which `cloudfree batch` calls.
- `jobs`: a scene and its files, and lists of them; `pairing`: jobs of a folder (`inbox`), whose `images` are recognised
  by name, with radar and other `dates` for each.
- `needs`: names, disk and memory.
- `runner`: one job, and one after the other, without the files that are not `sound`; `workers`: in processes of their
  own; `cluster`: on Dask's. `apart`: calls in another process; `told`: what is logged there.
- `results`: the outcome of each job; `index`: a page of all; `collection`: a STAC collection of all.
"""

from cloudfree.batch.api import BatchPlan, execute, make_plan, run
from cloudfree.batch.jobs import Job
from cloudfree.batch.results import Outcome
from cloudfree.batch.runner import Settings

__all__ = ["BatchPlan", "Job", "Outcome", "Settings", "execute", "make_plan", "run"]
