"""Values of options, the same for the command line and for Python callers: what is allowed, and one line for the rest.

What a field of options may hold is said by its type alone: `METRES` is a number within bounds. Numbers are finite.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass, fields
from functools import lru_cache
from numbers import Integral, Real
from pathlib import Path
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

from cloudfree.errors import InputError
from cloudfree.inputs.location.names import local_output, refuse_odd_name
from cloudfree.inputs.location.source import AnyPath, Source

_LONGEST_SHOWN = 60


@dataclass(frozen=True)
class Bounds:
    """What a number may be: from `least`, itself excluded where `open`, to `most`; `whole` ones alone or any."""

    least: float
    most: float
    whole: bool = False
    open: bool = False

    def of(self, name: str, value: Any) -> float:
        """The number as Python's own. Raises InputError."""
        kind = Integral if self.whole else Real  # those of numpy too
        number: Any = value if isinstance(value, kind) and value is not True and value is not False else None
        if number is not None and self.least <= number <= self.most and not (self.open and number == self.least):
            return int(number) if self.whole else float(number)
        what = f"a {'whole' if self.whole else 'finite'} number {'over' if self.open else 'from'} {self.least:g}"
        raise wrong(name, value, f"{what} to {self.most:g}")


REALS, WHOLES = Bounds(-1e12, 1e12), Bounds(-(2**31), 2**31 - 1, whole=True)
DISTANCES, TIMES, COUNTS = Bounds(0, 1e6), Bounds(0, 1e12), Bounds(1, 2**31 - 1, whole=True)

Metres = Annotated[float, DISTANCES]
Scale = Annotated[float, Bounds(0, 1e6, open=True)]
Time = Annotated[float, TIMES]
Count = Annotated[int, COUNTS]
Compress = Literal["deflate", "lzw", "zstd", "none"]

_BOUNDS = {float: REALS, int: WHOLES}


def wrong(name: str, value: Any, needed: str) -> InputError:
    """The error that an option has a value that it cannot have."""
    try:
        found = repr(value)
    except ValueError:  # Python writes no number of thousands of digits
        found = f"a number of {value.bit_length()} bits"
    found = found if len(found) <= _LONGEST_SHOWN else f"{found[:_LONGEST_SHOWN]}..."
    return InputError(f"{name} is {found}; {needed} is needed: give that, or leave it out")


def convert_fields(options: Any) -> None:
    """Make the fields of a frozen dataclass what their types say. Raises InputError where they cannot be."""
    kinds = _kinds(options.__class__)
    for field in fields(options):
        object.__setattr__(options, field.name, converted(field.name, kinds[field.name], getattr(options, field.name)))


@lru_cache
def _kinds(options: Any) -> dict[str, Any]:
    return get_type_hints(options, include_extras=True)


def converted(name: str, kind: Any, value: Any) -> Any:
    """A value as a type has it: files of texts and paths, tuples of lists. Raises InputError."""
    origin, inner = get_origin(kind), get_args(kind)
    if origin is Annotated:
        return inner[1].of(name, value)
    if origin is tuple:
        return _tuple(name, inner, value)
    if origin in (Union, UnionType):
        others = [one for one in inner if one is not NoneType]
        if value is None and len(others) < len(inner):
            return None
        return converted(name, Literal[tuple(others)] if len(others) > 1 else others[0], value)
    if origin is Literal:
        choices = [choice for one in inner for choice in (get_args(one) or (one,))]
        if isinstance(value, str) and value in choices:
            return value
        raise wrong(name, value, " or ".join(map(repr, choices)))
    return _simple(name, kind, value)


def _simple(name: str, kind: Any, value: Any) -> Any:
    if kind in _BOUNDS:
        return _BOUNDS[kind].of(name, value)
    if kind is bool and isinstance(value, bool):
        return value
    if kind is Source and isinstance(value, AnyPath):
        return Source.of(value)
    if kind in (str, Path) and isinstance(value, str | os.PathLike):
        refuse_odd_name(os.fspath(value))
        return local_output(value) if kind is Path else os.fspath(value)
    names = {Source: "a file or an address", Path: "a file", str: "a text", bool: "True or False"}
    raise wrong(name, value, names[kind])


def _tuple(name: str, inner: tuple[Any, ...], value: Any) -> tuple[Any, ...]:
    """Of several of a kind, of which one file may stand for itself; or of as many as the type has."""
    if inner[0] is Source and isinstance(value, AnyPath):
        value = (value,)
    several = not isinstance(value, str) and isinstance(value, Iterable)
    items = tuple(value) if several else ()
    kinds = (inner[0],) * len(items) if inner[-1] is Ellipsis else inner
    empty = not items and inner[0] is not Source
    if not several or empty or len(items) != len(kinds):
        raise wrong(name, value, "several" if inner[-1] is Ellipsis else f"{len(inner)} of them")
    return tuple(converted(name, kind, item) for kind, item in zip(kinds, items, strict=True))
