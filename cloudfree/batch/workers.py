"""Jobs in processes of their own, several at once where that is wanted."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress

from cloudfree.batch.apart import Call, Lost, calls_apart
from cloudfree.batch.jobs import Job
from cloudfree.batch.results import Outcome
from cloudfree.batch.runner import Settings, enough_failed, not_begun, run_job
from cloudfree.errors import OutputError
from cloudfree.product.locks import claimed


def run_jobs_apart(
    jobs: Sequence[Job],
    settings: Settings,
    workers: int,
    done: Callable[[Outcome], None],
    begun: Callable[[Job], None] = lambda _: None,
) -> list[Outcome]:
    """Do all jobs, so many at once, and return their outcomes in the order of the jobs.

    `begun` is called with each job as it is begun, `done` with each outcome as it comes. What is logged of a scene is
    logged here once it is done.
    """
    outcomes: dict[int, Outcome] = {}

    def keep(number: int, outcome: Outcome) -> None:
        outcomes[number] = outcome
        done(outcome)

    calls = [Call(job.planet.name, run_job, (job, settings)) for job in jobs]
    try:
        for number, answer in calls_apart(
            calls,
            workers,
            settings.timeout_s,
            goes_on=lambda: not enough_failed(outcomes.values(), settings),
            begun=lambda number: begun(jobs[number]),
        ):
            lost = isinstance(answer, Lost)
            keep(number, _lost(jobs[number], answer, settings) if lost else answer)
    finally:
        _sweep((job for number, job in enumerate(jobs) if number not in outcomes), settings)
    for number, job in enumerate(jobs):
        if number not in outcomes:
            keep(number, not_begun(job, settings))
    return [outcomes[number] for number in range(len(jobs))]


def _lost(job: Job, lost: Lost, settings: Settings) -> Outcome:
    _sweep([job], settings)
    mend = "give it more time with --timeout MINUTES" if lost.timed_out else "look at the scene with cloudfree info"
    return Outcome(job, "failed", lost.seconds, f"{job.planet.name}: {lost.why}; {mend}, or leave it out")


def _sweep(jobs: Iterable[Job], settings: Settings) -> None:
    """Remove what processes that are gone have left where the products of jobs would be, unless others have it now."""
    for job in {job.output.parent: job for job in jobs}.values():
        with suppress(OutputError, OSError), claimed(settings.options(job).targets):
            pass
