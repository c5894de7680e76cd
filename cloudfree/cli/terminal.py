"""What a person or a scheduler sees of a command: words on stderr, data on stdout, a bar on a terminal."""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any, NoReturn

import click

MEGAPIXELS = "{n:.1f}/{total:.1f} Mpx"
MINUTES = "{n:.1f}/{total:.1f} min"


def log_to_stderr(quiet: bool, verbose: bool) -> None:
    """Warnings and errors; every reason with `verbose`, only errors with `quiet`."""
    level = logging.ERROR if quiet else logging.INFO if verbose else logging.WARNING
    logging.basicConfig(stream=sys.stderr, format="%(levelname)s: %(message)s", force=True)
    logging.getLogger("cloudfree").setLevel(level)
    # What libraries mutter of odd numbers and files is no line of ours.
    logging.captureWarnings(capture=True)
    logging.getLogger("py.warnings").setLevel(logging.WARNING if verbose else logging.ERROR)


def echo_json(value: Any) -> None:
    """Plain data on stdout."""
    click.echo(json.dumps(value, indent=2, ensure_ascii=False))


@contextmanager
def progress_bar(device: str, quiet: bool, total: float, count: str) -> Iterator[Callable[[float], None]]:
    """A progress bar that names the device, on a terminal only; yields what advances it."""
    from tqdm import tqdm

    layout = "{desc} {percentage:3.0f}% {bar} " + count + " [{elapsed}<{remaining}]"
    off = quiet or not sys.stderr.isatty()
    with tqdm(total=total, desc=device, disable=off, file=sys.stderr, bar_format=layout) as bar:

        def advance(amount: float) -> None:
            bar.update(amount)

        yield advance


def terminate(number: int, frame: FrameType | None) -> NoReturn:
    """A scheduler's SIGTERM unwinds like Ctrl-C, so that nothing half made stays behind."""
    sys.exit(128 + number)
