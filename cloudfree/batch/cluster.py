"""The same jobs on many processes or machines: Dask's `distributed`, which a user installs by `cloudfree[dask]`.

Each job is a task, and locks its targets, so that two workers never make the same product. The scene of a worker that
dies is given to another worker, and fails if that one dies too. A worker keeps its network from scene to scene. Where
there are several CUDA cards, each worker of a local cluster has one.
"""

from __future__ import annotations

import importlib
import os
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from types import ModuleType
from typing import Any

import torch

from cloudfree import process
from cloudfree.batch.jobs import Job
from cloudfree.batch.results import Outcome
from cloudfree.batch.runner import Settings, run_job
from cloudfree.errors import CloudfreeError

_HOST = "127.0.0.1"
"""Loopback: no other machine may reach it."""

_DEATHS_ALLOWED = 1
_CONNECT_S = 30


@dataclass(frozen=True)
class Cluster:
    """The address of a scheduler and, where it is ours, the certificate that it asks for."""

    address: str
    security: Any = None


@contextmanager
def local_cluster(workers: int) -> Iterator[Cluster]:
    """Start worker processes that share the cores and cards of this machine.

    They and their scheduler speak TLS by a certificate of this batch alone: other users of the machine, who may reach
    loopback too, cannot send them code.
    """
    distributed = _distributed()
    security = _certificate(distributed)
    dask_config = importlib.import_module("dask").config
    threads = max(1, (os.cpu_count() or 1) // workers)
    # By default nannies start workers with one thread, with a malloc trim that undoes `process.tune`, and with a limit
    # of memory that counts what the kernel would free, and at which they pause.
    environment = {"OMP_NUM_THREADS": str(threads), "MKL_NUM_THREADS": str(threads)}
    settings = {
        "distributed.nanny.pre-spawn-environ": environment,
        "distributed.scheduler.allowed-failures": _DEATHS_ALLOWED,
        "distributed.worker.daemon": True,
    }
    with dask_config.set(settings):
        common = {"host": _HOST, "protocol": "tls", "security": security, "dashboard": False}
        scheduler = {"cls": distributed.Scheduler, "options": {**common, "port": 0}}
        specification = {
            number: {"cls": distributed.Nanny, "options": {**common, **_worker(number, environment)}}
            for number in range(workers)
        }
        with distributed.SpecCluster(
            workers=specification, scheduler=scheduler, security=security, silence_logs=True
        ) as cluster:
            yield Cluster(str(cluster.scheduler_address), security)


def _certificate(distributed: ModuleType) -> Any:
    try:
        return distributed.Security.temporary()
    except ImportError as error:
        raise _not_installed(error) from error


def _worker(number: int, environment: dict[str, str]) -> dict[str, Any]:
    cards = torch.cuda.device_count()
    card = {"CUDA_VISIBLE_DEVICES": str(number % cards)} if cards > 1 else {}
    return {"nthreads": 1, "memory_limit": 0, "env": {**environment, **card}}


def run_jobs_on(
    cluster: Cluster, jobs: Sequence[Job], settings: Settings, done: Callable[[Outcome], None]
) -> list[Outcome]:
    """Do all jobs on the workers of a scheduler and return their outcomes, in the order of the jobs.

    `done` is called with each outcome as it comes. Raises CloudfreeError where no scheduler answers.
    """
    distributed = _distributed()
    with _client(distributed, cluster) as client:
        run = uuid.uuid4().hex[:8]  # tasks of another batch may have the same number
        futures = [
            client.submit(_task, job, settings, key=f"cloudfree-{run}-{number}", pure=False)
            for number, job in enumerate(jobs)
        ]
        numbers = {future.key: number for number, future in enumerate(futures)}
        outcomes: dict[int, Outcome] = {}
        for future in distributed.as_completed(futures):
            number = numbers[future.key]
            outcomes[number] = _outcome(future, jobs[number])
            done(outcomes[number])
            failures = sum(outcome.status == "failed" for outcome in outcomes.values())
            if settings.max_failures is not None and failures > settings.max_failures:
                # Jobs that workers have begun go on, so that their outcomes are known.
                begun = {key for keys in client.processing().values() for key in keys}
                pending = [future for future in futures if numbers[future.key] not in outcomes]
                client.cancel([future for future in pending if future.key not in begun])
    return [outcomes[number] for number in range(len(jobs))]


def _task(job: Job, settings: Settings) -> Outcome:
    process.tune()
    return run_job(job, settings)


def _outcome(future: Any, job: Job) -> Outcome:
    if future.status == "finished":
        outcome: Outcome = future.result()
        return outcome
    if future.cancelled():
        return Outcome(job, "not begun", error="too many had failed before")
    error = future.exception()
    died = type(error).__name__ == "KilledWorker"
    what = f"its worker died more than {_DEATHS_ALLOWED} time(s) over it" if died else "its worker could not begin it"
    return Outcome(job, "failed", error=f"{what} ({type(error).__name__}: {error})")


def _client(distributed: ModuleType, cluster: Cluster) -> Any:
    try:
        return distributed.Client(cluster.address, timeout=_CONNECT_S, security=cluster.security)
    except (OSError, ValueError) as error:
        raise CloudfreeError(
            f"no Dask scheduler answers at {cluster.address} ({error}); an address like tcp://host:8786 is needed: "
            "start one with dask scheduler, or use --workers"
        ) from error


def _distributed() -> ModuleType:
    try:
        return importlib.import_module("distributed")
    except ImportError as error:
        raise _not_installed(error) from error


def _not_installed(error: ImportError) -> CloudfreeError:
    return CloudfreeError(
        f"Dask is not installed ({error}); --workers and --scheduler need it: pip install cloudfree[dask]"
    )
