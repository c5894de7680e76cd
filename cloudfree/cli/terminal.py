"""Output of commands: log on stderr, data on stdout, a progress bar on a terminal."""

from __future__ import annotations

import json
import logging
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from types import FrameType
from typing import Any, NoReturn

import click

from cloudfree import process
from cloudfree.errors import showable, without_secrets

MEGAPIXELS = "{n:.1f}/{total:.1f} Mpx"
MINUTES = "{n:.1f}/{total:.1f} min"


_PROGRESS_S = 60.0

progress_log = logging.getLogger("cloudfree.progress")


class OneLine(logging.Formatter):
    """Formats a record, but for a traceback, as one line without secrets."""

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 - as logging calls it
        return showable(super().formatMessage(record))


class JsonLines(logging.Formatter):
    """Formats a record as a JSON object on one line: time (UTC), level, logger, message."""

    def format(self, record: logging.LogRecord) -> str:
        when = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")
        message = without_secrets(record.getMessage())
        line = {"time": when, "level": record.levelname, "logger": record.name, "message": message}
        if record.exc_info:
            line["traceback"] = self.formatException(record.exc_info)
        return as_json(line)


def as_json(value: Any, indent: int | None = None) -> str:
    """Plain data as JSON; of names that are no UTF-8, what is not, as JSON escapes it."""
    return json.dumps(value, indent=indent, ensure_ascii=False).encode("utf-8", "backslashreplace").decode()


@contextmanager
def showable_messages() -> Iterator[None]:
    """Take secrets and line breaks out of what Click says is wrong: it repeats what was typed."""
    try:
        yield
    except MemoryError as error:
        raise click.ClickException(
            f"memory ran out ({error}); free some, raise what limits it (ulimit -v, a container), or write a part of "
            "the scene (--bbox)"
        ) from error
    except click.ClickException as error:
        error.message = showable(error.message)  # type: ignore[misc]
        raise


def remember(ctx: click.Context, parameter: click.Parameter, value: Any) -> Any:
    """Keep an option about logs or --json for the functions of this module."""
    ctx.meta[f"cloudfree.{parameter.name}"] = value
    return value


def remembered(ctx: click.Context, name: str) -> Any:
    """Return the value of an option that is kept, by the name of its parameter; None for other options."""
    return ctx.meta.get(f"cloudfree.{name}")


def log_to_stderr(quiet: bool, verbose: bool) -> None:
    """Log warnings and errors; all reasons with `verbose`, only errors with `quiet`; to --log-file too if given.

    Commands that compute do so first, so that what these cannot do without is looked at here.
    """
    process.refuse_little_address_space()
    level = logging.ERROR if quiet else logging.INFO if verbose else logging.WARNING
    ctx = click.get_current_context()
    plain = OneLine("%(levelname)s: %(message)s")
    formatter = JsonLines() if remembered(ctx, "log_format") == "json" else plain
    handlers: list[logging.Handler] = [logging.StreamHandler(sys.stderr)]
    if path := remembered(ctx, "log_file"):
        handlers.append(_appending(path))
        if not isinstance(formatter, JsonLines):
            handlers[-1].setFormatter(OneLine("%(asctime)s %(levelname)s: %(message)s"))
    for handler in handlers:
        handler.setLevel(logging.ERROR if quiet else logging.NOTSET)
        if handler.formatter is None:
            handler.setFormatter(formatter)
    logging.basicConfig(handlers=handlers, force=True)
    # Reports and --json collect warnings also where they are not shown.
    logging.getLogger("cloudfree").setLevel(min(level, logging.WARNING))
    progress_log.setLevel(level if quiet else logging.INFO)
    # Warnings of libraries about odd numbers and files are shown with `verbose` alone.
    logging.captureWarnings(capture=True)
    logging.getLogger("py.warnings").setLevel(logging.WARNING if verbose else logging.ERROR)


def _appending(path: Path) -> logging.Handler:
    try:
        return logging.FileHandler(path, encoding="utf-8")
    except OSError as error:
        raise click.ClickException(
            f"{path} cannot be written ({error.strerror}); --log-file needs a file in a folder that can be: choose "
            "another"
        ) from error


def echo_failure(ctx: click.Context, error: click.ClickException) -> bool:
    """Report a failure on stdout where --json was given, and in the log where that is JSON.

    Return whether it is in the log, so that stderr needs no other line.
    """
    if remembered(ctx, "as_json"):
        echo_json({"error": error.format_message(), "exit": error.exit_code})
    in_log = remembered(ctx, "log_format") == "json" and not isinstance(error, click.UsageError)
    if in_log:
        logging.getLogger("cloudfree").error("%s", error.format_message())
    return in_log


def echo_json(value: Any) -> None:
    """Print plain data on stdout: the one answer of a command, so that a later failure prints no second one."""
    click.echo(as_json(value, indent=2))
    click.get_current_context().meta["cloudfree.as_json"] = False


def echo_lines(lines: Iterable[str]) -> None:
    """Print lines on stdout, each of which stays one."""
    click.echo("\n".join(map(showable, lines)))


@contextmanager
def progress_bar(device: str, quiet: bool, total: float, count: str) -> Iterator[Callable[[float], None]]:
    """Show progress: a bar with the device on a terminal, elsewhere a line of the log a minute."""
    from tqdm import tqdm

    layout = "{desc} {percentage:3.0f}% {bar} " + count + " [{elapsed}<{remaining}]"
    off = quiet or not sys.stderr.isatty()
    finished, logged_at = 0.0, time.monotonic()
    with tqdm(total=total, desc=device, disable=off, file=sys.stderr, bar_format=layout) as bar:

        def advance(amount: float) -> None:
            nonlocal finished, logged_at
            bar.update(amount)
            finished += amount
            if off and time.monotonic() - logged_at >= _PROGRESS_S:
                logged_at = time.monotonic()
                progress_log.info("%s, %.0f %%", count.format(n=finished, total=total), 100 * finished / total)

        yield advance


def terminate(number: int, frame: FrameType | None) -> NoReturn:
    """End on SIGTERM and SIGHUP as on Ctrl-C, so that no unfinished file stays behind."""
    sys.exit(128 + number)
