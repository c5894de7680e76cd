"""An option that is given twice is refused; the first would be lost without a word."""

from collections.abc import Callable

from click.testing import Result


def test_an_option_given_twice_is_refused(cli: Callable[..., Result]) -> None:
    result = cli("run", "--planet", "a.tif", "--planet", "b.tif", "--sar", "s.tif", "-o", "out.tif")
    assert result.exit_code == 2
    assert "--planet is given 2 times; one file is needed" in result.stderr
    again = cli("run", "--planet", "a.tif", "--sar", "s.tif", "-o", "out.tif", "-o", "other.tif")
    assert "--output is given 2 times" in again.stderr


def test_what_may_be_repeated_still_may(cli: Callable[..., Result]) -> None:
    result = cli("run", "--planet", "a.tif", "--sar", "s.tif", "--sar", "t.tif", "-o", "out.tif")
    assert "a.tif does not exist" in result.stderr
