"""Options from a TOML file: for all commands at its top, for one command in a table of its name."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

import click
from click.core import ParameterSource

from cloudfree.cli.terminal import remembered
from cloudfree.cli.values import BesideType
from cloudfree.errors import UNPARSABLE, showable

_FROM_ELSEWHERE = {ParameterSource.ENVIRONMENT: "environment", ParameterSource.DEFAULT_MAP: "config"}


def read(ctx: click.Context, parameter: click.Parameter, path: Path | None) -> None:
    """Make the values in a file the defaults of all commands. Raises UsageError for unknown commands and options."""
    if path is None:
        return
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8-sig"))
        str(content)  # fails for numbers of thousands of digits, which Python reads in other than decimal
    except (OSError, *UNPARSABLE) as error:
        raise click.UsageError(f"{path} cannot be read as TOML ({type(error).__name__}: {error}).", ctx) from error
    assert isinstance(ctx.command, click.Group)
    parameters = {
        name: {key: parameter for parameter in command.params for key in _keys(parameter)}
        for name, command in ctx.command.commands.items()
    }
    options = {key for known in parameters.values() for key in known}
    for key, value in content.items():
        if key in parameters and not isinstance(value, dict) and key not in options:
            raise click.UsageError(f"{path} has {key} as {value!r}; a table of options is allowed: [{key}].", ctx)
        if key not in parameters and (isinstance(value, dict) or key.replace("-", "_") not in options):
            raise click.UsageError(f"{path} has {key!r}, which is no option or command; see cloudfree --help.", ctx)
    _refuse_yes(ctx, str(path), content, [one for known in parameters.values() for one in known.values()])
    ctx.default_map = {name: _of_command(ctx, name, known, content, path) for name, known in parameters.items()}


def _of_command(
    ctx: click.Context, name: str, parameters: dict[str, click.Parameter], content: dict[str, Any], path: Path
) -> dict[str, Any]:
    """Return the defaults of one command, by the names of its parameters."""
    table = content.get(name, {})
    table = table if isinstance(table, dict) else {}  # `weights` is both a command and an option
    if unknown := [key for key in table if key.replace("-", "_") not in parameters]:
        raise click.UsageError(f"{path} has {unknown[0]!r} in [{name}], which is no option of it.", ctx)
    _refuse_yes(ctx, str(path), table, list(parameters.values()))
    common = {key: value for key, value in content.items() if not isinstance(value, dict)}
    given = {key.replace("-", "_"): value for key, value in {**common, **table}.items()}
    known = [(parameters[key], value) for key, value in given.items() if key in parameters]
    return {str(one.name): _as_typed(one, value) for one, value in known if _may_be(one, value)}


def _refuse_yes(ctx: click.Context, where: str, values: dict[str, Any], parameters: list[click.Parameter]) -> None:
    """Raise UsageError for true or false where none of the parameters of that name is a flag: "True" is no value."""
    for key, value in values.items():
        named = [one for one in parameters if key.replace("-", "_") in _keys(one)]
        if isinstance(value, bool) and named and not any(_may_be(one, value) for one in named):
            raise click.UsageError(f"{where} has {key} as {str(value).lower()}; a value is needed: give one", ctx)


def _may_be(parameter: click.Parameter, value: Any) -> bool:
    """Whether a parameter may be a TOML value: true and false are for flags, and for files named after the product."""
    is_flag = isinstance(parameter, click.Option) and parameter.is_flag
    return not isinstance(value, bool) or is_flag or isinstance(parameter.type, BesideType)


def _as_typed(parameter: click.Parameter, value: Any) -> Any:
    """Return a TOML value as words of a command line; a list as several, or joined by commas for one value."""
    if isinstance(value, bool) and isinstance(parameter.type, BesideType):
        return value
    words = [str(item) for item in (value if isinstance(value, list) else [value])]
    several = parameter.nargs != 1 or (isinstance(parameter, click.Option) and parameter.multiple)
    return words if several else ",".join(words)


def _keys(parameter: click.Parameter) -> list[str]:
    """Return the names of an option, without dashes in front and with underscores between words."""
    names = [name for name in parameter.opts if name.startswith("--") or not name.startswith("-")]
    return [name.lstrip("-").replace("-", "_") for name in names]


def option_sources(ctx: click.Context) -> dict[str, dict[str, str]]:
    """Return options from the environment or a file, each with its value and where it is from, as JSON has them."""
    sources = {}
    for parameter in ctx.command.params:
        source = ctx.get_parameter_source(parameter.name or "")
        if source in _FROM_ELSEWHERE:
            value = ctx.params.get(parameter.name or "", remembered(ctx, parameter.name or ""))
            text = ",".join(map(str, value)) if isinstance(value, tuple) else str(value)
            sources[max(parameter.opts, key=len)] = {"value": showable(text), "from": _FROM_ELSEWHERE[source]}
    return sources
