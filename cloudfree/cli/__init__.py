"""The command line: a file for each command, which parses, calls the library, and prints.

`options`: options that several commands have, of the types in `values`; `screens`: their help; `config`: options from a
file and the environment. `terminal`: logs and JSON; `progress`: the bar; `closing`: the last line. torch and rasterio
are imported by the command that needs them, so that --help is instant.
"""

from __future__ import annotations

import signal
from typing import Any

import click

from cloudfree import process
from cloudfree.cli import config
from cloudfree.cli.adapt import adapt
from cloudfree.cli.align import align
from cloudfree.cli.batch import batch
from cloudfree.cli.demo import demo
from cloudfree.cli.doctor import doctor
from cloudfree.cli.evaluate import evaluate
from cloudfree.cli.info import info
from cloudfree.cli.qgis import qgis
from cloudfree.cli.run import run
from cloudfree.cli.samples import samples
from cloudfree.cli.terminal import (
    DATA_LEFT,
    echo_failure,
    require_whole_log,
    showable_messages,
    telling_of_stdout,
    terminate,
)
from cloudfree.cli.train import train
from cloudfree.cli.values import FILE
from cloudfree.cli.weights import weights


class Commands(click.Group):
    """Commands that refuse an option given twice, unless it may be repeated: Click would silently drop the first."""

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        name, command, rest = super().resolve_command(ctx, args)
        if command is not None and not ctx.resilient_parsing:
            own = click.Context(command, parent=ctx, info_name=name)
            _refuse_repeated(own, command.make_parser(own).parse_args(list(rest))[2])
        return name, command, rest

    def main(self, *arguments: Any, **options: Any) -> Any:
        """As Click's, with an answer that stdout does not take as a failure."""
        with telling_of_stdout():
            return super().main(*arguments, **options)

    def make_context(self, *arguments: Any, **extra: Any) -> click.Context:
        with showable_messages():
            return super().make_context(*arguments, **extra)

    def invoke(self, ctx: click.Context) -> Any:
        """Report failures as JSON too where --json or --log-format json was given; else in a line on stderr."""
        try:
            with showable_messages():
                result = super().invoke(ctx)
            require_whole_log()
            return result
        except click.ClickException as error:
            if echo_failure(ctx, error):
                ctx.exit(error.exit_code)
            raise


def _refuse_repeated(ctx: click.Context, given: list[click.Parameter]) -> None:
    for option in given:
        once = isinstance(option, click.Option) and not (option.multiple or option.is_flag or option.count)
        if once and given.count(option) > 1:
            joined = "one file is needed: a VRT joins tiles (gdalbuildvrt)"
            hint = joined if option.name == "planet" else "once is allowed: leave the others out"
            raise click.UsageError(f"{option.opts[-1]} is given {given.count(option)} times; {hint}.", ctx)


_SETTINGS: dict[str, Any] = {
    "help_option_names": ["-h", "--help"],
    "max_content_width": 120,
    "auto_envvar_prefix": "CLOUDFREE",
}


@click.group(cls=Commands, context_settings=_SETTINGS)
@click.option(
    "--config",
    type=FILE,
    is_eager=True,
    expose_value=False,
    callback=config.read,
    help="TOML file of options: for all commands, or in tables like [run].",
)
@click.version_option(package_name="cloudfree")
def main() -> None:
    """Remove clouds from PlanetScope scenes with the help of Sentinel-1.

    Every option may also come from the environment, as CLOUDFREE_RUN_BUFFER for --buffer of run, or from a file. What
    is typed wins over the environment, and that over the file.

    \b
    TAB completes commands, options, files, weights and presets after
      eval "$(_CLOUDFREE_COMPLETE=bash_source cloudfree)"
    in bash; zsh and fish have zsh_source and fish_source.
    """
    for ending in (signal.SIGTERM, *([signal.SIGHUP] if hasattr(signal, "SIGHUP") else [])):
        signal.signal(ending, terminate)
    process.tune()
    click.get_current_context().meta[DATA_LEFT] = process.leave_data_of_others()


for command in (run, batch, align, demo, evaluate, adapt, info, weights, samples, train, doctor, qgis):
    main.add_command(command)
    for option in command.params:
        if option.envvar is None and (words := max(option.opts, key=len)).startswith("--"):
            # As the option is called; Click would name it by its parameter, as CLOUDFREE_RUN_BUFFER_M.
            option.envvar = f"CLOUDFREE_{command.name}_{words[2:]}".replace("-", "_").upper()
