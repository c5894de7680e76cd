"""Output of commands: log on stderr, data on stdout; the progress bar is of `progress`."""

from __future__ import annotations

import json
import logging
import os
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, redirect_stdout, suppress
from datetime import UTC, datetime
from pathlib import Path
from types import FrameType
from typing import Any, NoReturn, TextIO, cast

import click

from cloudfree import process
from cloudfree.cli.progress import bars_aside, progress_bar, progress_log  # noqa: F401 - known from here too
from cloudfree.errors import showable, without_secrets
from cloudfree.inputs.location.source import Source

DATA_LEFT = "cloudfree.data_left"
"""In a context: which data of other programs was left out, in lines (`process.leave_data_of_others`)."""

_HEADER_BYTES = 4096


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
    except OSError as error:
        if error.filename is None:
            raise
        raise click.ClickException(
            showable(f"{error.filename} cannot be read or written ({error.strerror}); see to it, and run again")
        ) from error
    except Exception as error:
        if type(error).__name__ != "CRSError" or not (led := process.led_to_data()):
            raise
        raise click.ClickException(
            showable(f"PROJ does not work here ({error}); {led}, which may lead to another program's data: unset it")
        ) from error


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
    handlers: list[logging.Handler] = [_Stderr(sys.stderr)]
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
    for line in ctx.meta.get(DATA_LEFT, ()):
        logging.getLogger("cloudfree").warning("%s", line)


def _appending(path: Path) -> logging.Handler:
    if flaw := _flaw_of_log(path):
        raise click.ClickException(f"{path} {flaw}; --log-file needs a text file of its own: choose another")
    try:
        return _LogFile(path, encoding="utf-8")
    except OSError as error:
        raise click.ClickException(
            f"{path} cannot be written ({error.strerror}); --log-file needs a file in a folder that can be: choose "
            "another"
        ) from error


def _flaw_of_log(path: Path) -> str:
    """Why lines are not appended to a file, if so: nothing that a user has is written into."""
    if path.is_symlink() and not path.exists():
        return "is a link to nothing"
    if not path.exists():
        return "is an output too" if path.resolve() in _files_given() else ""
    if not path.is_file():
        return "is a folder, a device or a pipe"
    if path.resolve() in _files_given():
        return "is an input or an output too"
    with suppress(OSError), path.open("rb") as file:
        return "is no text" if b"\0" in file.read(_HEADER_BYTES) else ""
    return ""


def _files_given() -> set[Path]:
    """All files among the values of the command's parameters."""
    values = click.get_current_context().params.values()
    each = [one for value in values for one in (value if isinstance(value, tuple) else (value,))]
    files = [one.file if isinstance(one, Source) else one for one in each]
    return {file.resolve() for file in files if isinstance(file, Path)}


class _LogFile(logging.FileHandler):
    """A log in a file. A line that cannot be written stops nothing, and is a failure of the command at its end."""

    failure = ""

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 - as logging calls it
        self.failure = self.failure or str(sys.exc_info()[1])

    def close(self) -> None:
        """Also of a file that takes no more of what is left."""
        with suppress(OSError):
            super().close()


class _Stderr(logging.StreamHandler[Any]):
    """The log on stderr, above a progress bar. Where that is full or closed there is nowhere to tell it."""

    def emit(self, record: logging.LogRecord) -> None:
        with bars_aside(self.stream):
            super().emit(record)

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 - as logging calls it
        pass


def require_whole_log() -> None:
    """Raise ClickException where lines of --log-file are missing."""
    for handler in logging.getLogger().handlers:
        if isinstance(handler, _LogFile) and handler.failure:
            raise click.ClickException(
                f"{handler.baseFilename} lacks lines of this log ({handler.failure}); all else was done: make room"
            )


class _Answers:
    """Stdout, of which a failure is known: what was asked for was not told."""

    def __init__(self, stream: Any) -> None:
        self._stream = stream
        self._failure = "it is closed" if stream is None else ""

    def write(self, text: str) -> Any:
        return self._tried("write", text)

    def flush(self) -> Any:
        """Of one that is closed there is nothing: what flushes, as a new process does, asks for no answer."""
        return self._tried("flush") if self._stream is not None else None

    def isatty(self) -> bool:
        return self._stream is not None and self._stream.isatty()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def _tried(self, name: str, *arguments: str) -> Any:
        if not self._failure:
            try:
                return getattr(self._stream, name)(*arguments)
            except OSError as error:
                self._failure = error.strerror or str(error)
                self._give_up()
        raise click.ClickException(
            f"stdout cannot be written ({self._failure}), and the answer was not told; give it a file or a pipe that "
            "takes all of it"
        )

    def _give_up(self) -> None:
        """Have what is left go nowhere, so that Python does not try again at its end."""
        with suppress(OSError, ValueError), Path(os.devnull).open("w") as nowhere:
            os.dup2(nowhere.fileno(), self._stream.fileno())


def _hold_descriptors() -> None:
    """Open those of stdin, stdout and stderr where they are closed: a product would get one, and a library's words."""
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)


@contextmanager
def telling_of_stdout() -> Iterator[None]:
    """Make a failure to write to stdout within the block one of the command, in a line."""
    _hold_descriptors()
    with redirect_stdout(cast(TextIO, _Answers(sys.stdout))):
        yield


def echo_failure(ctx: click.Context, error: click.ClickException) -> bool:
    """Report a failure on stdout where --json was given, and in the log where that is JSON.

    Return whether it is in the log, so that stderr needs no other line.
    """
    if remembered(ctx, "as_json"):
        with suppress(click.ClickException):  # of stdout, after another failure
            echo_json({"error": error.format_message(), "exit": error.exit_code})
    in_log = remembered(ctx, "log_format") == "json" and not isinstance(error, click.UsageError)
    if in_log:
        logging.getLogger("cloudfree").error("%s", error.format_message())
    return in_log


def echo_json(value: Any) -> None:
    """Print plain data on stdout: the one answer of a command, so that a later failure prints no second one."""
    click.echo(as_json(value, indent=2))
    click.get_current_context().meta["cloudfree.as_json"] = False


def echo_plan(plan: Any, lines: Iterable[str], as_json: bool) -> None:
    """Print what would be done: in words for people at a terminal, as plain data with --json and for programs."""
    if as_json or not sys.stdout.isatty():
        echo_json(plan)
    else:
        echo_lines(lines)


def echo_lines(lines: Iterable[str]) -> None:
    """Print lines on stdout, each of which stays one."""
    click.echo("\n".join(map(showable, lines)))


def terminate(number: int, frame: FrameType | None) -> NoReturn:
    """End on SIGTERM and SIGHUP as on Ctrl-C, so that no unfinished file stays behind."""
    sys.exit(128 + number)
