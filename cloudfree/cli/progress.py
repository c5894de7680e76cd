"""How far a command is: a bar on a terminal, with the name of the scene and the stage; elsewhere a line a minute."""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import Event, Thread
from typing import Any

MEGAPIXELS = "{n:.1f}/{total:.1f} Mpx"
MINUTES = "{n:.1f}/{total:.1f} min"

progress_log = logging.getLogger("cloudfree.progress")

_LOG_S, _TICK_S = 60.0, 1.0
_FEW = 0.02
"""Of the whole: from a smaller share no time that is left is foretold."""
LONGEST_NAME = 18  # letters of a scene on the bar: Planet's date and time


class Progress:
    """A job of so many units: called with the units just finished, and told of each stage as it begins.

    total: None where it is not known yet. `shown(text, n, total)` draws it; without it lines go to the log.
    """

    def __init__(self, name: str, total: float | None, count: str, shown: Callable[..., None] | None) -> None:
        self._name, self._total, self._count, self._shown = name, total, count, shown
        self._stage, self._finished = "", 0.0
        self._since_s = self._latest_s = self._logged_s = time.monotonic()

    def __call__(self, amount: float) -> None:
        self._finished += amount
        self._latest_s = time.monotonic()
        if self._shown:
            self._draw()
        elif self._is_due() and self._total:
            counted = self._count.format(n=self._finished, total=self._total)
            progress_log.info("%s%s, %.0f %%", self._of, counted, 100 * self._finished / self._total)

    def stage(self, words: str) -> None:
        """Say what is begun. Time that is left is reckoned from the last stage before anything was finished."""
        self._stage = words
        if not self._finished:
            self._since_s = time.monotonic()
        if self._shown:
            self._draw()
        elif self._is_due():
            progress_log.info("%s%s", self._of, words)

    def expect(self, total: float) -> None:
        """Say how many units there are."""
        self._total = total

    @property
    def is_finished(self) -> bool:
        return self._total is not None and self._finished >= 0.999 * self._total

    def left(self) -> str:
        """The time that is left, as "<01:30"; empty where too little was done to tell."""
        if not self._total or not _FEW <= self._finished / self._total < 1:
            return ""
        at_latest_s = (self._latest_s - self._since_s) * (self._total / self._finished - 1)
        left_s = max(0.0, at_latest_s - (time.monotonic() - self._latest_s))
        minutes, seconds = divmod(round(left_s), 60)
        hours, minutes = divmod(minutes, 60)
        return f"<{hours}:{minutes:02d}:{seconds:02d}" if hours else f"<{minutes:02d}:{seconds:02d}"

    @property
    def _of(self) -> str:
        return f"{self._name}: " if self._name else ""

    def _draw(self) -> None:
        assert self._shown
        self._shown(self._of + self._stage, self._finished, self._total)

    def _is_due(self) -> bool:
        """Whether it is a minute since the last line of the log."""
        if time.monotonic() - self._logged_s < _LOG_S:
            return False
        self._logged_s = time.monotonic()
        return True


@contextmanager
def progress_bar(
    device: str, quiet: bool, total: float | None, count: str = MEGAPIXELS, name: str = ""
) -> Iterator[Progress]:
    """Show progress of a job: a bar on a terminal from the first second on, elsewhere a line of the log a minute.

    `device` is the first stage. The bar stays where all was finished, and goes where it was not.
    """
    off = quiet or sys.stderr is None or not sys.stderr.isatty()
    name = shortened(name)
    if off:
        yield _begun(Progress(name, total, count, None), device)
        return
    bar = _bar(count, f"{name}: {device}" if name else device)

    def show(text: str, finished: float, expected: float | None) -> None:
        bar.desc, bar.n, bar.total = text, finished, expected
        bar.refresh()

    progress = Progress(name, total, count, show)
    bar.progress = progress
    try:
        with _ticking(bar.refresh):
            yield _begun(progress, device)
    finally:
        bar.leave = progress.is_finished
        bar.close()


def _begun(progress: Progress, stage: str) -> Progress:
    progress.stage(stage)
    return progress


def shortened(name: str) -> str:
    """A name of a scene as far as there is room for it."""
    return name[:LONGEST_NAME].rstrip("_-. ")


def _bar(count: str, text: str) -> Any:
    """A bar that is drawn in words until the whole is known, and by its `progress` says how much time is left."""
    from tqdm import tqdm

    class Bar(tqdm):  # type: ignore[type-arg]
        progress: Progress | None = None

        @property
        def format_dict(self) -> Any:
            """As tqdm's, with the layout and the time that is left."""
            known = super().format_dict
            layout = "{desc} {percentage:3.0f}% {bar} " + count + " [{elapsed}{left}]"
            known["bar_format"] = layout if known["total"] else "{desc} [{elapsed}]"
            return {**known, "left": self.progress.left() if self.progress else ""}

    return Bar(desc=text, file=sys.stderr, dynamic_ncols=True)


@contextmanager
def _ticking(refresh: Callable[[], Any]) -> Iterator[None]:
    """Refresh a bar each second, so that its clock goes on in long stages."""
    ended = Event()

    def tick() -> None:
        while not ended.wait(_TICK_S):
            refresh()

    thread = Thread(target=tick, name="progress", daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join(_TICK_S)  # an interrupt while the bar was drawn may have left it locked


@contextmanager
def bars_aside(stream: Any) -> Iterator[None]:
    """Take bars off a stream while a line is written to it."""
    if "tqdm" not in sys.modules:
        yield
        return
    from tqdm import tqdm

    with tqdm.external_write_mode(file=stream):
        yield
