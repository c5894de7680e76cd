"""What a person or a scheduler sees of a command: words on stderr, data on stdout, a bar on a terminal."""

from __future__ import annotations

import json
import logging
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from types import FrameType
from typing import Any, NoReturn

import click

MEGAPIXELS = "{n:.1f}/{total:.1f} Mpx"
MINUTES = "{n:.1f}/{total:.1f} min"


_LOG, _JSON = "cloudfree.cli.log", "cloudfree.cli.json"
_PROGRESS_S = 60.0

progress_log = logging.getLogger("cloudfree.progress")


class JsonLines(logging.Formatter):
    """A record as an object on a line of its own: time (UTC), level, logger, message."""

    def format(self, record: logging.LogRecord) -> str:
        when = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")
        told = {"time": when, "level": record.levelname, "logger": record.name, "message": record.getMessage()}
        if record.exc_info:
            told["traceback"] = self.formatException(record.exc_info)
        return json.dumps(told, ensure_ascii=False)


def remember_log(ctx: click.Context, parameter: click.Parameter, value: Any) -> None:
    """Keep what an option says of logs for `log_to_stderr`."""
    ctx.meta[f"{_LOG}.{parameter.name}"] = value


def remembered_of_log(ctx: click.Context, parameter: click.Parameter) -> Any:
    """What an option says of logs; None of other options."""
    return ctx.meta.get(f"{_LOG}.{parameter.name}")


def log_to_stderr(quiet: bool, verbose: bool) -> None:
    """Warnings and errors; every reason with `verbose`, only errors with `quiet`; to a file too if one is named."""
    level = logging.ERROR if quiet else logging.INFO if verbose else logging.WARNING
    told = click.get_current_context().meta
    plain = logging.Formatter("%(levelname)s: %(message)s")
    formatter = JsonLines() if told.get(f"{_LOG}.log_format") == "json" else plain
    handlers: list[logging.Handler] = [logging.StreamHandler(sys.stderr)]
    if path := told.get(f"{_LOG}.log_file"):
        handlers.append(_appending(path))
        if not isinstance(formatter, JsonLines):
            handlers[-1].setFormatter(logging.Formatter("%(asctime)s %(levelname)s: %(message)s"))
    for handler in handlers:
        handler.setLevel(logging.ERROR if quiet else logging.NOTSET)
        if handler.formatter is None:
            handler.setFormatter(formatter)
    logging.basicConfig(handlers=handlers, force=True)
    # Warnings are heard by a report and by --json all the same.
    logging.getLogger("cloudfree").setLevel(min(level, logging.WARNING))
    progress_log.setLevel(level if quiet else logging.INFO)
    # What libraries mutter of odd numbers and files is no line of ours.
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


def remember_json(ctx: click.Context, parameter: click.Parameter, value: bool) -> bool:
    """Keep that a command is to answer in JSON, for `echo_failure`."""
    ctx.meta[_JSON] = value
    return value


def echo_failure(ctx: click.Context, error: click.ClickException) -> bool:
    """Say on stdout too that a command failed, where it was to answer in JSON; and in the log, where that is JSON.

    Whether stderr has been told so.
    """
    if ctx.meta.get(_JSON):
        echo_json({"error": error.format_message(), "exit": error.exit_code})
    in_log = ctx.meta.get(f"{_LOG}.log_format") == "json" and not isinstance(error, click.UsageError)
    if in_log:
        logging.getLogger("cloudfree").error("%s", error.format_message())
    return in_log


def echo_json(value: Any) -> None:
    """Plain data on stdout: the one answer of a command, which a failure after it does not repeat."""
    click.echo(json.dumps(value, indent=2, ensure_ascii=False))
    click.get_current_context().meta[_JSON] = False


@contextmanager
def progress_bar(device: str, quiet: bool, total: float, count: str) -> Iterator[Callable[[float], None]]:
    """How far a command is: a bar that names the device on a terminal, elsewhere a line of the log a minute."""
    from tqdm import tqdm

    layout = "{desc} {percentage:3.0f}% {bar} " + count + " [{elapsed}<{remaining}]"
    off = quiet or not sys.stderr.isatty()
    finished, told_at = 0.0, time.monotonic()
    with tqdm(total=total, desc=device, disable=off, file=sys.stderr, bar_format=layout) as bar:

        def advance(amount: float) -> None:
            nonlocal finished, told_at
            bar.update(amount)
            finished += amount
            if off and time.monotonic() - told_at >= _PROGRESS_S:
                told_at = time.monotonic()
                progress_log.info("%s, %.0f %%", count.format(n=finished, total=total), 100 * finished / total)

        yield advance


def terminate(number: int, frame: FrameType | None) -> NoReturn:
    """A scheduler's SIGTERM unwinds like Ctrl-C, so that nothing half made stays behind."""
    sys.exit(128 + number)
