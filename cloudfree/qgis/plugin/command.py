"""The command of cloudfree as a process of its own: what it says goes to QGIS's log, and QGIS may cancel it."""

from __future__ import annotations

import json
import os
import re
import subprocess
import threading
from collections.abc import Sequence
from pathlib import Path
from queue import Empty, Queue
from typing import IO, Any

from qgis.core import QgsProcessingException

_PERCENT = re.compile(r"(\d{1,3}) %")
_ASKED_EVERY_S, _ENDS_IN_S = 0.2, 30.0
# Paths of QGIS's own Python and data, which would lead the command's Python and GDAL astray.
_OF_QGIS = ("PYTHONPATH", "PYTHONHOME", "GDAL_DATA", "GDAL_DRIVER_PATH", "PROJ_LIB", "PROJ_DATA", "LD_LIBRARY_PATH")


def run(arguments: Sequence[str], feedback: Any) -> None:
    """Run the command to its end. Raises QgsProcessingException with its own line if it fails, or is cancelled."""
    command = [*_command(), *arguments]
    feedback.pushCommandInfo(subprocess.list2cmdline(command))
    environment = {name: value for name, value in os.environ.items() if name not in _OF_QGIS}
    with subprocess.Popen(
        command, env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    ) as process:
        last = _follow(process, feedback)
    if process.returncode:
        raise QgsProcessingException(last or f"cloudfree ended with exit code {process.returncode}")


def _follow(process: subprocess.Popen[bytes], feedback: Any) -> str:
    """Pass on what it says until it ends; the last line."""
    assert process.stdout
    said, last = _lines_of(process.stdout), ""
    while (line := _next(said)) is not None:
        if feedback.isCanceled():
            _end(process)
            raise QgsProcessingException("cancelled; no file was written")
        if line:
            last = line
            _pass_on(line, feedback)
    return last


def _command() -> list[str]:
    """What starts cloudfree, as `cloudfree qgis install` wrote it down."""
    stated = json.loads(Path(__file__).with_name("command.json").read_text(encoding="utf-8"))
    if not Path(stated[0]).exists():
        raise QgsProcessingException(
            f"{stated[0]} is not there any more, where cloudfree was installed: run 'cloudfree qgis install' again"
        )
    return [str(word) for word in stated]


def _lines_of(stream: IO[bytes]) -> Queue[str | None]:
    """Its lines as they come, then None; read beside, so that cancelling does not wait for one."""
    lines: Queue[str | None] = Queue()

    def read() -> None:
        for line in stream:
            lines.put(line.decode("utf-8", "replace").rstrip())
        lines.put(None)

    threading.Thread(target=read, daemon=True).start()
    return lines


def _next(lines: Queue[str | None]) -> str | None:
    """The next line, "" if there is none yet, None after the last."""
    try:
        return lines.get(timeout=_ASKED_EVERY_S)
    except Empty:
        return ""


def _pass_on(line: str, feedback: Any) -> None:
    if line.startswith(("WARNING", "ERROR", "Error")):
        feedback.pushWarning(line)
    else:
        feedback.pushInfo(line)
    if "Mpx" in line and (percent := _PERCENT.search(line)):
        feedback.setProgress(min(100, int(percent[1])))


def _end(process: subprocess.Popen[bytes]) -> None:
    """As Ctrl-C does, so that nothing unfinished stays; by force where that takes too long."""
    process.terminate()
    try:
        process.wait(_ENDS_IN_S)
    except subprocess.TimeoutExpired:
        process.kill()
