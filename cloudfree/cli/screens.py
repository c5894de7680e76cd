"""Help in two screens: what most users need, in the order of use, and with --help-all everything, in the same groups.

The table `GROUPS` is the table of contents of both. A command shows of it the options that it has.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import click
from click.types import OptionHelpExtra

_TERM_WIDTH = 24  # of the column of options in all groups; longer ones stand on a line of their own

_GLUED = "[default:\N{NO-BREAK SPACE}"  # while lines are broken

_ALL = "cloudfree.help_all"
"""In a context: whether all options are to be shown."""


class Option(click.Option):
    """An option whose help is without bounds that nobody meets, and whose default is without a needless fraction."""

    def get_help_extra(self, ctx: click.Context) -> OptionHelpExtra:
        extra = super().get_help_extra(ctx)
        extra.pop("range", None)
        if "default" in extra:
            extra["default"] = extra["default"].removesuffix(".0")
        return extra


option = partial(click.option, cls=Option)
flag = partial(click.option, cls=Option, is_flag=True)


class Group(NamedTuple):
    """Options under a title: on the first screen, and those that follow them on the second."""

    title: str
    first: tuple[str, ...] = ()
    more: tuple[str, ...] = ()


GROUPS = (
    Group(
        "Inputs",
        ("--planet", "--sar", "--udm2", "--mask", "--reference", "--max-references", "--without-radar"),
        ("--reference-days", "--new-references"),
    ),
    Group("Area", ("--bbox", "--aoi")),
    Group(
        "Output",
        ("--output", "--also", "--overwrite"),
        ("--qa", "--uncertainty", "--write-mask", "--quicklook", "--report", "--stac", "--compress"),
    ),
    Group("Clouds", ("--fill", "--find-clouds", "--buffer"), ("--edge-limit", "--find-clouds-with", "--without-sar")),
    Group(
        "Run",
        ("--workers", "--device", "--dry-run", "--json", "--verbose", "--quiet", "--help", "--help-all"),
    ),
    Group(
        "What the files mean",
        more=(
            *("--planet-bands", "--planet-quantity", "--planet-scale", "--planet-date"),
            *("--sar-bands", "--sar-units", "--sar-scale", "--sar-offset", "--allow-hh-hv"),
            *("--mask-values", "--mask-bits", "--mask-threshold", "--mask-unknown"),
            *("--coregister", "--max-shift", "--trust-inputs"),
        ),
    ),
    Group("Network", more=("--weights", "--adapt", "--precision", "--tile", "--overlap", "--batch")),
    Group(
        "Operation",
        more=(
            *("--wait", "--timeout", "--max-failures", "--scheduler", "--outputs-anywhere"),
            *("--log-format", "--log-file"),
        ),
    ),
)


class TwoScreens(click.Command):
    """A command whose options are shown in `GROUPS`; one that is in none of them is shown in the last."""

    def get_params(self, ctx: click.Context) -> list[click.Parameter]:
        return [*super().get_params(ctx), _HELP_ALL]

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        for title, options in self.grouped(ctx, everything=bool(ctx.meta.get(_ALL))):
            records = [record for one in options if (record := one.get_help_record(ctx))]
            rows = [(f"{term:<{_TERM_WIDTH}}", text.replace("[default: ", _GLUED)) for term, text in records]
            with formatter.section(title):
                formatter.write_dl(rows, col_max=_TERM_WIDTH)
        formatter.buffer = [part.replace(_GLUED, "[default: ") for part in formatter.buffer]

    def grouped(self, ctx: click.Context, *, everything: bool) -> list[tuple[str, list[click.Option]]]:
        """Titles of groups that are not empty, with their options: of the first screen, or all."""
        left = {max(one.opts, key=len): one for one in self.get_params(ctx) if isinstance(one, click.Option)}
        groups = []
        for group in GROUPS:
            names = [*group.first, *(group.more if everything else ())]
            groups.append((group.title, [left.pop(name) for name in names if name in left]))
        if everything:
            groups[-1][1].extend(left.values())
        return [(title, options) for title, options in groups if options]


def _show_all(ctx: click.Context, parameter: click.Parameter, value: bool) -> None:
    if value and not ctx.resilient_parsing:
        ctx.meta[_ALL] = True
        click.echo(ctx.get_help(), color=ctx.color)
        ctx.exit()


_HELP_ALL = Option(
    ["--help-all"],
    is_flag=True,
    is_eager=True,
    expose_value=False,
    allow_from_autoenv=False,
    callback=_show_all,
    help="All options: what the files mean, network, operation.",
)


def command(example: str) -> Callable[[Callable[..., Any]], TwoScreens]:
    """`click.command` for a command of two screens, with an example at their end."""
    return click.command(cls=TwoScreens, epilog=f"\b\nExample:\n{example}")
