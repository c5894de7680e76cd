"""What options may be, for Python callers as for the command line: converted, or refused in one line."""

from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cloudfree.cli.options import Real, Whole
from cloudfree.errors import InputError
from cloudfree.inputs.location.source import Source
from cloudfree.inputs.values import DISTANCES, REALS, WHOLES
from cloudfree.plan import Options

ODD: list[Any] = [
    *(float("nan"), float("inf"), -1, 1e400, 10**30, 10**400, 10**5000, np.float32("nan"), np.inf, 1j, True, object()),
    *(b"x", {}, [[]], ("a",) * 9, np.array([1.0, 2.0]), "\ud800", "a\0b", "x" * 5000, [1] * 100_000, {"a": [1]}, ...),
]


def options(**values: Any) -> Options:
    return Options(**{"planet": "scene.tif", "output": "out.tif", **values})


def value_or_message(name: str, value: Any) -> Any:
    try:
        return getattr(options(**{name: value}), name)
    except InputError as refused:
        return refused


@pytest.mark.attack(10)
@pytest.mark.parametrize("name", [field.name for field in fields(Options)])
def test_odd_values_are_refused_in_one_line_or_are_what_the_field_holds(name: str) -> None:
    usual = getattr(options(), name)
    for value in ODD:
        got = value_or_message(name, value)
        if isinstance(got, InputError):
            assert len(got.message) < 400
            assert got.message.isprintable()
        else:
            assert isinstance(got, bool | int | float | str | tuple | Path | Source)
            assert not isinstance(usual, int | float) or np.isfinite(got)


@pytest.mark.attack(10)
@pytest.mark.parametrize(
    ("values", "found"),
    [
        ({"tile": 10**5000}, "tile is a number of 16610 bits"),
        ({"tile": 512.5}, "tile is 512.5; a whole number"),
        ({"buffer_m": float("nan")}, "buffer_m is nan; a finite number from 0 to 1e+06"),
        ({"buffer_m": -1}, "buffer_m is -1"),
        ({"batch": 0}, "batch is 0"),
        ({"fill": "sometimes"}, "'auto' or 'clouds' or 'all'"),
        ({"precision": "fp64"}, "'fp32' or"),
        ({"planet_quantity": "counts"}, "'radiance'"),
        ({"compress": "jpeg"}, "'deflate'"),
        ({"overwrite": "no"}, "True or False"),
        ({"bbox": (1, 2, 3)}, "4 of them"),
        ({"bbox": (1, 2, float("nan"), 4)}, "bbox is nan"),
        ({"sar_bands": ()}, "sar_bands is ()"),
        ({"planet_bands": (1, "2")}, "planet_bands is '2'"),
        ({"output": "https://host/out.tif"}, "a file on this machine"),
        ({"mask": 3}, "a file or an address"),
    ],
)
def test_what_is_wrong_is_named(values: dict[str, Any], found: str) -> None:
    with pytest.raises(InputError) as refused:
        options(**values)
    assert found in refused.value.message


def test_numbers_of_numpy_and_lists_are_taken() -> None:
    made = options(
        tile=np.int64(256), buffer_m=np.float32(7.5), planet_bands=[1, 2, 3, 4], sar="s1.tif", weights=Path("w")
    )
    assert (made.tile, made.buffer_m, made.planet_bands) == (256, 7.5, (1, 2, 3, 4))
    assert (made.sar, made.weights) == ((Source.of("s1.tif"),), "w")
    assert type(made.tile) is int
    assert type(options(max_shift_m=60).max_shift_m) is float


def test_bounds_are_those_of_the_command_line() -> None:
    assert (Real().min, Real().max) == (REALS.least, REALS.most)
    assert (Whole().min, Whole().max) == (WHOLES.least, WHOLES.most)
    with pytest.raises(InputError):
        options(buffer_m=DISTANCES.most * 1.001)
