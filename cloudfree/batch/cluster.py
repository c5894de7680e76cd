"""The same jobs on the workers of a Dask scheduler, which a user runs and installs by `cloudfree[dask]`.

Each job is a task, and locks its targets, so that two workers never make the same product. A worker keeps its network
from scene to scene. Where workers die, the scenes that they had are tried again one by one, so that only one that ends
a worker by itself fails.
"""

from __future__ import annotations

import importlib
import uuid
from collections.abc import Callable, Sequence
from types import ModuleType
from typing import Any

from cloudfree import process
from cloudfree.batch.jobs import Job
from cloudfree.batch.results import Outcome
from cloudfree.batch.runner import Settings, enough_failed, not_begun, run_job
from cloudfree.batch.told import Levels, Told, call_and_tell, levels
from cloudfree.errors import CloudfreeError

_CONNECT_S = 30


def run_jobs_on(
    address: str, jobs: Sequence[Job], settings: Settings, done: Callable[[Outcome], None]
) -> list[Outcome]:
    """Do all jobs on the workers of the scheduler at an address and return their outcomes, in the order of the jobs.

    `done` is called with each outcome as it comes. Raises CloudfreeError where no scheduler answers.
    """
    distributed = _distributed()
    outcomes: dict[int, Outcome] = {}

    def keep(number: int, outcome: Outcome) -> None:
        outcomes[number] = outcome
        done(outcome)

    with _client(distributed, address) as client:
        run = uuid.uuid4().hex[:8]  # tasks of another batch may have the same number

        def submit(number: int, attempt: int) -> Any:
            key = f"cloudfree-{run}-{number}-{attempt}"
            return client.submit(_task, jobs[number], settings, levels(), key=key, pure=False)

        futures = {submit(number, 1): number for number in range(len(jobs))}
        killed = []
        for future in distributed.as_completed(list(futures)):
            number = futures[future]
            if _is_killed(future):
                killed.append(number)
                continue
            keep(number, _outcome(future, jobs[number], settings))
            if enough_failed(outcomes.values(), settings):
                # Jobs that workers have begun go on, so that their outcomes are known.
                begun = {key for keys in client.processing().values() for key in keys}
                client.cancel([one for one, n in futures.items() if n not in outcomes and one.key not in begun])
        for number in sorted(killed):
            if enough_failed(outcomes.values(), settings):
                keep(number, not_begun(jobs[number], settings))
            else:
                keep(number, _outcome(submit(number, 2), jobs[number], settings))
    return [outcomes[number] for number in range(len(jobs))]


def _task(job: Job, settings: Settings, as_there: Levels) -> Told:
    process.tune()
    return call_and_tell(as_there, run_job, job, settings)


def _is_killed(future: Any) -> bool:
    return future.status == "error" and type(future.exception()).__name__ == "KilledWorker"


def _outcome(future: Any, job: Job, settings: Settings) -> Outcome:
    """What became of a job, which is waited for."""
    error = None if future.cancelled() else future.exception()
    if future.cancelled():
        return not_begun(job, settings)
    if error is None:
        told: Told = future.result()
        outcome: Outcome = told.log(job.planet.name)
        return outcome
    what = "workers died over it" if _is_killed(future) else "its worker could not begin it"
    return Outcome(job, "failed", error=f"{job.planet.name}: {what} ({type(error).__name__}: {error})")


def _client(distributed: ModuleType, address: str) -> Any:
    try:
        return distributed.Client(address, timeout=_CONNECT_S)
    except (OSError, ValueError) as error:
        raise CloudfreeError(
            f"no Dask scheduler answers at {address} ({error}); an address like tcp://host:8786 is needed: "
            "start one with dask scheduler, or use --workers"
        ) from error


def _distributed() -> ModuleType:
    try:
        return importlib.import_module("distributed")
    except ImportError as error:
        raise CloudfreeError(
            f"Dask is not installed ({error}); --scheduler needs it: pip install cloudfree[dask]"
        ) from error
