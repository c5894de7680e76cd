"""What is logged of a job in another process: kept there, and logged here under the name of its scene."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from logging.handlers import QueueHandler
from typing import NamedTuple

from cloudfree.batch.jobs import Job
from cloudfree.batch.results import Outcome
from cloudfree.batch.runner import Settings, run_job

_LOGGERS = ("", "cloudfree", "cloudfree.progress", "py.warnings")
"""Those whose levels commands set."""


class Told(NamedTuple):
    """An outcome, and what was logged on the way to it, fit to be sent."""

    outcome: Outcome
    records: tuple[logging.LogRecord, ...]

    def log(self) -> Outcome:
        """Log in this process what was logged in the other, and return the outcome."""
        for record in self.records:
            record.msg = f"{self.outcome.job.planet.name}: {record.getMessage()}"
            logging.getLogger(record.name).handle(record)
        return self.outcome


Levels = Mapping[str, int]


def levels() -> Levels:
    """The levels of logging in this process, for another."""
    return {name: logging.getLogger(name).level for name in _LOGGERS}


def run_and_tell(job: Job, settings: Settings, as_here: Levels) -> Told:
    """Do a job in another process than that whose `levels` are given."""
    with _kept(as_here) as records:
        outcome = run_job(job, settings)
    return Told(outcome, tuple(records))


@contextmanager
def _kept(as_here: Levels) -> Iterator[list[logging.LogRecord]]:
    """Keep what is logged, at these levels."""
    before, records, keeper = levels(), list[logging.LogRecord](), _Keeper()
    keeper.records = records
    for name, level in as_here.items():
        logging.getLogger(name).setLevel(level)
    logging.captureWarnings(capture=True)
    logging.getLogger().addHandler(keeper)
    try:
        yield records
    finally:
        logging.getLogger().removeHandler(keeper)
        logging.captureWarnings(capture=False)
        for name, level in before.items():
            logging.getLogger(name).setLevel(level)


class _Keeper(QueueHandler):
    """Prepares records as for a queue to another process, and keeps them."""

    records: list[logging.LogRecord]

    def __init__(self) -> None:
        super().__init__(None)  # type: ignore[arg-type]

    def enqueue(self, record: logging.LogRecord) -> None:
        self.records.append(record)
