"""Options that several commands have, and types of options that Click lacks."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import click

from cloudfree.bands import DETECTORS
from cloudfree.cli.terminal import remember
from cloudfree.inputs.location.names import local_file, local_output
from cloudfree.inputs.location.source import Source
from cloudfree.inputs.values import COUNTS, DISTANCES, REALS, WHOLES
from cloudfree.product.kinds import BESIDE, Kind


class FileType(click.Path):
    """A file or a folder on this machine, there or to be made."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        local_file(value)
        return local_file(Path(str(super().convert(value, param, ctx))))


FILE = FileType(path_type=Path)


class OutputType(FileType):
    """A file on this machine to be written."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        local_output(value)
        return super().convert(value, param, ctx)


OUTPUT_FILE = OutputType(path_type=Path)


class SourceType(click.ParamType[Any]):
    """A file, a folder, an archive or an address."""

    name = "FILE|FOLDER|ADDRESS"

    def split_envvar_value(self, rv: str) -> list[str]:
        """Split several values in the environment at semicolons, because paths may have spaces."""
        return [part.strip() for part in rv.split(";") if part.strip()]

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Source:
        return Source.of(value)


SOURCE = SourceType()


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


def together(*options: Callable[..., Any]) -> Callable[..., Any]:
    """Return one decorator that adds several options, in this order in the help."""

    def apply(command: Callable[..., Any]) -> Callable[..., Any]:
        for option in reversed(options):
            command = option(command)
        return command

    return apply


_number = partial(click.option, show_default=True)
_metres = partial(_number, type=Real(DISTANCES.least, DISTANCES.most), metavar="METRES")


def _choice(name: str, *values: str, help: str | None = None) -> Callable[..., Any]:  # noqa: A002 - as Click calls it
    """Return an option with one of some values, by default the first."""
    return click.option(name, type=click.Choice(values), default=values[0], show_default=True, help=help)


TRUST_INPUTS = "Also open files that lead to others: a VRT of files in other folders, WMS, HDF5 with links."

meaning = together(
    click.option("--mask-values", metavar="N,N|NAME", help="Values of --mask that are cloud or shadow, or a preset."),
    click.option("--mask-bits", metavar="N,N|NAME", help="Bits of --mask that are cloud or shadow, or a preset: udm1."),
    click.option("--mask-threshold", type=Real(), metavar="NUMBER", help="Number of --mask from which on it is cloud."),
    _choice("--mask-unknown", "cloud", "clear", help="What ground counts as of which the mask says nothing."),
    _metres("--max-shift", "max_shift_m", default=60.0, help="Largest offset to believe."),
    _choice("--sar-units", "auto", "db", "power", "amplitude"),
    click.option("--sar-scale", type=Real(), metavar="NUMBER", help="Stored values times this are in their units."),
    click.option("--sar-offset", type=Real(), metavar="NUMBER", help="What is added after that."),
    click.option(
        "--sar-bands", type=BAND_NUMBERS, metavar="VV,VH", help="Band numbers in each file; or of two files one each."
    ),
    click.option("--allow-hh-hv", is_flag=True, help="Take HH for VV and HV for VH, which networks have not learned."),
    click.option("--planet-bands", type=BAND_NUMBERS, metavar="B,G,R,NIR", help="Band numbers of the scene."),
    click.option(
        "--planet-quantity",
        type=click.Choice(["surface-reflectance", "toa-reflectance", "radiance"]),
        help="What the scene's numbers are.  [default: what the file states]",
    ),
    click.option("--planet-date", metavar="DATE", help="Date of the scene in a netCDF file of several (2024-06-15)."),
    click.option("--planet-scale", type=SCALES, metavar="S[,S,S,S]", help="Reflectance of one number of the scene."),
    click.option("--trust-inputs", is_flag=True, help=TRUST_INPUTS),
)
"""What the numbers in the files of a scene mean, where the files do not state it."""


def scene_inputs(sar_required: bool) -> Callable[..., Any]:
    """Return options for the fields of `InputOptions` but references."""
    optional = "" if sar_required else "; without it clouds are filled from other dates and the scene alone"
    return together(
        click.option(
            "--planet", type=SOURCE, required=True, help="PlanetScope scene: 4 or 8 bands, surface reflectance."
        ),
        click.option(
            "--sar",
            type=SOURCE,
            required=sar_required,
            multiple=True,
            help=f"Sentinel-1 VV and VH; as often as needed: frames, tiles, a file of each polarisation{optional}.",
        ),
        click.option("--udm2", type=SOURCE, help="Usable data mask of the scene.  [default: its sibling, if there]"),
        click.option("--mask", type=SOURCE, help="Any mask instead: non-zero is cloud or shadow; or polygons."),
        meaning,
    )


references = click.option(
    "--reference",
    "references",
    type=SOURCE,
    multiple=True,
    help="The place on another date, clouds allowed: PlanetScope, Sentinel-2, any four bands. May be repeated.",
)
part = together(
    click.option(
        "--bbox",
        type=BBOX,
        help="Part of the scene to write, in degrees; west > east crosses 180. Statistics stay of the whole.",
    ),
    click.option("--aoi", type=FILE, help="The same by a file of polygons (GeoJSON): all in the box around them."),
)
compress = _choice("--compress", "deflate", "lzw", "zstd", "none")
device = click.option("--device", metavar="auto|cpu|cuda|cuda:N|mps", default="auto", show_default=True)
seed = click.option("--seed", type=Whole(min=0), default=0, show_default=True)
overwrite = click.option("--overwrite", is_flag=True, help="Replace outputs that exist.")
wait = click.option(
    "--wait",
    "wait_s",
    type=Real(min=0),
    metavar="SECONDS",
    default=0.0,
    help="Wait so long for another run that is making the same file; without it, fail.",
)


def timeout(default_minutes: float, of: str) -> Callable[..., Any]:
    """Return the option `--timeout` in minutes, of something."""
    return click.option(
        "--timeout",
        "timeout_minutes",
        type=Real(min=0),
        metavar="MINUTES",
        default=default_minutes,
        show_default=True,
        help=f"{of} that takes longer is ended and fails; 0: never.",
    )


weights = click.option(
    "--weights", metavar="NAME|FILE", default="auto", show_default=True, help="Registered weights, or a file."
)

making = together(
    _choice(
        *("--fill", "auto", "clouds", "all"),
        help="What to reconstruct: clouds, or everything. auto: clouds, where anything says where they are.",
    ),
    _choice(
        *("--without-sar", "fill", "keep", "nodata"),
        help="Clouds where Sentinel-1 has no valid pixel: fill them from the scene alone, keep them, or nodata.",
    ),
    _choice(
        *("--find-clouds", "auto", "always", "never"),
        help="Find clouds and shadows in the scene itself: without a mask, beside a mask too, or never.",
    ),
    _choice(
        *("--find-clouds-with", *DETECTORS),
        help="The detector; others than our own are installed by cloudfree[NAME].",
    ),
    _metres(
        *("--edge-limit", "edge_limit_m"),
        default=300.0,
        help="How far beyond the mask clouds are followed to where they end; 0: not at all.",
    ),
    _metres(
        *("--buffer", "buffer_m"),
        default=30.0,
        help="Ground around the mask to rewrite too where something is in its way; with --edge-limit 0 all of it.",
    ),
    weights,
    click.option(
        "--adapt",
        "adapt_minutes",
        type=Real(min=0),
        metavar="MINUTES",
        default=0.0,
        help="Fine-tune the weights on the scene's clear pixels first, for so long at most.",
    ),
    device,
    _choice("--precision", "auto", "fp32", "bf16", "fp16"),
    _number("--tile", type=Whole(), metavar="PX", default=512, help="Window of the network, a multiple of 16."),
    _number("--overlap", type=Whole(), metavar="PX", default=64, help="Pixels that windows share."),
    click.option("--batch", type=Batch(), default="auto", show_default=True, help="Windows at once; auto: what fits."),
    _choice(
        *("--coregister", "auto", "off", "require"),
        help="Correct offsets: where they can be had reliably, never, or fail where that of Sentinel-1 cannot.",
    ),
    compress,
)
"""How products are made."""


def beside_product(in_batch: bool) -> Callable[..., Any]:
    """Return options for the files beside a product: with a path for one run, a flag for a batch."""
    return together(*(_beside_product(kind, in_batch) for kind in BESIDE))


def _beside_product(kind: Kind, in_batch: bool) -> Callable[..., Any]:
    name = f"--{kind.field.replace('_', '-')}"
    if in_batch:
        listed = f", and {kind.listed_in} of all" if kind.listed_in else ""
        return click.option(name, is_flag=True, help=f"{kind.title}: NAME{kind.suffix}{listed}.")
    metavar = kind.suffix.rpartition(".")[2].upper()
    return click.option(name, type=OUTPUT_FILE, metavar=metavar, help=f"{kind.title}.")


def as_json_with(help_text: str) -> Callable[..., Any]:
    """Return the option `--json`, with which failures are reported as an object too."""
    return click.option("--json", "as_json", is_flag=True, is_eager=True, callback=remember, help=help_text)


as_json = as_json_with("As JSON.")
verbosity = together(
    click.option(
        "--log-format",
        type=click.Choice(["text", "json"]),
        default="text",
        expose_value=False,
        callback=remember,
        help="Lines for people, or an object a line.",
    ),
    click.option(
        "--log-file", type=OUTPUT_FILE, expose_value=False, callback=remember, help="Append the log here too."
    ),
    click.option("-v", "--verbose", is_flag=True, help="Say what each file was taken for, and why."),
    click.option("-q", "--quiet", is_flag=True, help="Only errors, and no progress bar."),
)
