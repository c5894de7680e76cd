"""What is logged during a call in another process: kept there, and logged here under the name of what it was about."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from logging.handlers import QueueHandler
from typing import Any, NamedTuple

_LOGGERS = ("", "cloudfree", "cloudfree.progress", "py.warnings")
"""Those whose levels commands set."""

_MOST_RECORDS = 1000  # of a call: a file may have as many warnings as pixels

Levels = Mapping[str, int]


class Told(NamedTuple):
    """What a call has returned, and what was logged meanwhile, fit to be sent."""

    value: Any
    records: tuple[logging.LogRecord, ...]

    def log(self, name: str) -> Any:
        """Log in this process, under a name, what was logged in the other, and return the value."""
        for record in self.records:
            record.msg = f"{name}: {record.getMessage()}"
            logging.getLogger(record.name).handle(record)
        return self.value


def levels() -> Levels:
    """The levels of logging in this process, for another."""
    return {name: logging.getLogger(name).level for name in _LOGGERS}


def call_and_tell(as_there: Levels, function: Callable[..., Any], *arguments: Any) -> Told:
    """Call a function, for a process whose `levels` are given."""
    with _kept(as_there) as records:
        value = function(*arguments)
    return Told(value, tuple(records))


@contextmanager
def _kept(as_there: Levels) -> Iterator[list[logging.LogRecord]]:
    """Keep what is logged, at these levels."""
    before, keeper = levels(), _Keeper()
    _set(as_there)
    logging.captureWarnings(capture=True)
    logging.getLogger().addHandler(keeper)
    try:
        yield keeper.records
    finally:
        logging.getLogger().removeHandler(keeper)
        logging.captureWarnings(capture=False)
        _set(before)


def _set(as_there: Levels) -> None:
    for name, level in as_there.items():
        logging.getLogger(name).setLevel(level)


class _Keeper(QueueHandler):
    """Prepares records as for a queue to another process, and keeps them."""

    def __init__(self) -> None:
        super().__init__(None)  # type: ignore[arg-type]
        self.records: list[logging.LogRecord] = []

    def enqueue(self, record: logging.LogRecord) -> None:
        if len(self.records) < _MOST_RECORDS:
            self.records.append(record)
