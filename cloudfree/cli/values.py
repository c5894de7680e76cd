"""Types of options that Click lacks: they convert what was typed, refuse it in one line, and complete it with TAB.

What completes a word imports neither torch nor rasterio, so that a key press is answered at once.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import click
from click.shell_completion import CompletionItem

from cloudfree.inputs.location.names import local_file, local_output
from cloudfree.inputs.location.source import Source
from cloudfree.inputs.values import COUNTS, REALS, WHOLES
from cloudfree.product.kinds import ALSO

AFTER_PRODUCT = True
"""The value of an option for a file beside the product that is to be named after it, as `qa = true` in TOML."""


def _beginning(incomplete: str, words: Iterable[str]) -> list[CompletionItem]:
    return [CompletionItem(word) for word in words if word.startswith(incomplete)]


def _file(incomplete: str) -> CompletionItem:
    """What has the shell complete names of files and folders."""
    return CompletionItem(incomplete, type="file")


class FileType(click.Path):
    """A file or a folder on this machine, there or to be made."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if value == "":
            self.fail("is empty; the name of a file or a folder is needed", param, ctx)
        local_file(value)
        return local_file(Path(str(super().convert(value, param, ctx))))


FILE = FileType(path_type=Path)


class OutputType(FileType):
    """A file on this machine to be written."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if value:
            local_output(value)
        return super().convert(value, param, ctx)


OUTPUT_FILE = OutputType(path_type=Path)


class BesideType(OutputType):
    """A file beside the product by its path; also true (`AFTER_PRODUCT`) or false, as TOML and the environment say."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if str(value).lower() in ("true", "false"):
            value = str(value).lower() == "true"
        if isinstance(value, bool):
            return AFTER_PRODUCT if value else None
        return super().convert(value, param, ctx)


BESIDE_FILE = BesideType(path_type=Path)


class SourceType(click.ParamType[Any]):
    """A file, a folder, an archive or an address."""

    name = "FILE"

    def split_envvar_value(self, rv: str) -> list[str]:
        """Split several values in the environment at semicolons, because paths may have spaces."""
        return [part.strip() for part in rv.split(";") if part.strip()]

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Source:
        if value == "":
            self.fail("is empty; a file, a folder or an address is needed", param, ctx)
        return Source.of(value)

    def shell_complete(self, ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
        return [_file(incomplete)]


SOURCE = SourceType()


class Word(click.ParamType[Any]):
    """One of some words, or something else that the library understands, as text. `words` are for completion alone.

    `files`: whether names of files are completed where no word begins so.
    """

    def __init__(self, name: str, words: Callable[[], Iterable[str]], *, files: bool = False) -> None:
        self.name, self._words, self._files = name, words, files

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        return str(value)

    def shell_complete(self, ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
        found = _beginning(incomplete, self._words())
        return found or ([_file(incomplete)] if self._files else [])


def _weights() -> Iterable[str]:
    from cloudfree.network.registry import registered_names

    return ("auto", *registered_names())


def _value_presets() -> Iterable[str]:
    from cloudfree.inputs.masks.codes import VALUE_PRESETS

    return VALUE_PRESETS


def _bit_presets() -> Iterable[str]:
    from cloudfree.inputs.masks.codes import BIT_PRESETS

    return BIT_PRESETS


WEIGHTS = Word("NAME|FILE", _weights, files=True)
DEVICE = Word("auto|cpu|cuda|cuda:N|mps", lambda: ("auto", "cpu", "cuda", "mps"))
MASK_VALUES = Word("N,N|NAME", _value_presets)
MASK_BITS = Word("N,N|NAME", _bit_presets)


class Also(click.ParamType[Any]):
    """Comma-separated kinds of files beside the product, by the words of `kinds.ALSO`, each once, in their order."""

    name = "KIND,KIND"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[str, ...]:
        words = [word.strip().lower() for word in (value if isinstance(value, tuple) else str(value).split(","))]
        if unknown := [word for word in words if word not in ALSO]:
            self.fail(f"{unknown[0]!r} is no kind of file; give any of {','.join(ALSO)}", param, ctx)
        return tuple(word for word in ALSO if word in words)

    def shell_complete(self, ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
        *typed, last = incomplete.split(",")
        left = [word for word in ALSO if word not in typed and word.startswith(last)]
        return [CompletionItem(",".join([*typed, word])) for word in left]


class Numbers(click.ParamType[Any]):
    """Comma-separated numbers, as many as `counts` allows, or any number of them. `description` is for messages."""

    def __init__(self, name: str, kind: Callable[[str], float], description: str, counts: tuple[int, ...] = ()) -> None:
        self.name, self._kind, self._description, self._counts = name, kind, description, counts

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[Any, ...]:
        if isinstance(value, tuple):
            return value
        try:
            numbers = tuple(map(self._kind, str(value).split(",")))
        except ValueError:
            numbers = ()
        if not numbers or (self._counts and len(numbers) not in self._counts):
            self.fail(f"{value!r} is not {self._description}", param, ctx)
        return numbers


def band_number(text: str) -> int:
    """Return a number of a band, from 1 on. Raises ValueError."""
    if not (text.strip().isdecimal() and len(text) < 6 and int(text)):
        raise ValueError(text)
    return int(text)


def positive(text: str) -> float:
    """Return a finite number over 0. Raises ValueError."""
    number = float(text)
    if not 0 < number < float("inf"):
        raise ValueError(text)
    return number


BAND_NUMBERS = Numbers("N,N,...", band_number, "a list of band numbers like 1,2")
SCALES = Numbers("SCALE", positive, "one positive number, or four like 1.9e-5,2e-5,2.3e-5,3.5e-5", (1, 4))
BBOX = Numbers(
    "WEST,SOUTH,EAST,NORTH",
    float,
    "four numbers in degrees, WEST,SOUTH,EAST,NORTH, like 12.1,48.2,12.3,48.4",
    (4,),
)


class Real(click.FloatRange):
    """A finite number within bounds: NaN passes the comparisons of a range."""

    def __init__(self, min: float = REALS.least, max: float = REALS.most, min_open: bool = False) -> None:  # noqa: A002 - Click's
        super().__init__(min, max, min_open)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        number = float(super().convert(value, param, ctx))
        if not math.isfinite(number):
            self.fail(f"{value!r} is not a finite number; give one in the range {self._describe_range()}", param, ctx)
        return number


class Whole(click.IntRange):
    """A whole number within bounds, 2**31 at most."""

    def __init__(self, min: float = WHOLES.least, max: float = WHOLES.most) -> None:  # noqa: A002 - Click's
        super().__init__(int(min), int(max))


class Batch(click.ParamType[Any]):
    """`auto` or a positive number."""

    name = "auto|N"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int | None:
        if value is None or value == "auto":
            return None
        return Whole(COUNTS.least).convert(value, param, ctx)
