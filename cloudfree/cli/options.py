"""Options that several commands have."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import click

from cloudfree.bands import DETECTORS
from cloudfree.cli.screens import flag, option
from cloudfree.cli.terminal import remember
from cloudfree.cli.values import (
    AFTER_PRODUCT,
    BAND_NUMBERS,
    BBOX,
    BESIDE_FILE,
    DEVICE,
    FILE,
    MASK_BITS,
    MASK_VALUES,
    OUTPUT_FILE,
    SCALES,
    SOURCE,
    WEIGHTS,
    Also,
    Batch,
    Real,
    Whole,
)
from cloudfree.inputs.values import DISTANCES
from cloudfree.product.kinds import ALSO, BESIDE, Kind

Decorator = Callable[..., Any]


def together(*options: Decorator) -> Decorator:
    """Return one decorator that adds several options, in this order in the help."""

    def apply(command: Callable[..., Any]) -> Callable[..., Any]:
        for one in reversed(options):
            command = one(command)
        return command

    return apply


_number = partial(option, show_default=True)
_metres = partial(_number, type=Real(DISTANCES.least, DISTANCES.most), metavar="METRES")
_source = partial(option, type=SOURCE, metavar="FILE")


def _choice(name: str, *values: str, help: str) -> Decorator:  # noqa: A002 - as Click calls it
    """Return an option with one of some values, by default the first."""
    return option(name, type=click.Choice(values), default=values[0], show_default=True, help=help)


# --- inputs ---

TRUST_INPUTS = "Also open files that lead to others: a VRT of files in other folders, WMS, HDF5 with links."

_meaning_of_masks = together(
    option("--mask-values", type=MASK_VALUES, help="Values of --mask that are cloud or shadow, or a preset: scl."),
    option("--mask-bits", type=MASK_BITS, help="Bits of --mask that are cloud or shadow, or a preset: udm1."),
    option("--mask-threshold", type=Real(), metavar="NUMBER", help="Number of --mask from which on it is cloud."),
    _choice("--mask-unknown", "cloud", "clear", help="What ground counts as of which the mask says nothing."),
)
_meaning_of_radar = together(
    _metres("--max-shift", "max_shift_m", default=60.0, help="Largest offset of an input to believe."),
    _choice("--sar-units", "auto", "db", "power", "amplitude", help="Units of --sar; auto: by their values."),
    option("--sar-scale", type=Real(), metavar="NUMBER", help="Stored values of --sar times this are in their units."),
    option("--sar-offset", type=Real(), metavar="NUMBER", help="What is added to --sar after --sar-scale."),
    option("--sar-bands", type=BAND_NUMBERS, metavar="VV,VH", help="Band numbers of --sar; or of two files one each."),
    flag("--allow-hh-hv", help="Take HH for VV and HV for VH, which networks have not learned."),
)
_meaning_of_scenes = together(
    option("--planet-bands", type=BAND_NUMBERS, metavar="B,G,R,NIR", help="Band numbers of the scene."),
    option(
        "--planet-quantity",
        type=click.Choice(["surface-reflectance", "toa-reflectance", "radiance"]),
        help="What the scene's numbers are.  [default: what the file states]",
    ),
    option("--planet-date", metavar="DATE", help="Date of the scene in a netCDF file of several (2024-06-15)."),
    option("--planet-scale", type=SCALES, metavar="S[,S,S,S]", help="Reflectance of one number of the scene."),
)
meaning = together(_meaning_of_masks, _meaning_of_radar, _meaning_of_scenes, flag("--trust-inputs", help=TRUST_INPUTS))
"""What the numbers in the files of a scene mean, where the files do not state it."""


def scene_inputs(sar_required: bool) -> Decorator:
    """Return options for the fields of `InputOptions` but references."""
    without = "" if sar_required else " Without it clouds are filled from other dates and the scene itself."
    return together(
        _source("--planet", required=True, help="PlanetScope scene of 4 or 8 bands, surface reflectance."),
        _source(
            "--sar",
            required=sar_required,
            multiple=True,
            help=f"Sentinel-1 VV and VH, terrain-corrected; repeat it for tiles, or where each has its file.{without}",
        ),
        _source("--udm2", help="Planet's usable data mask.  [default: the one beside the scene]"),
        _source("--mask", help="Any other mask instead (0 is clear), or polygons of clouds and shadows."),
        meaning,
    )


references = _source(
    "--reference",
    "references",
    multiple=True,
    help="The place on another date, clouds allowed: PlanetScope, Sentinel-2, any four bands. May be repeated.",
)
part = together(
    option(
        "--bbox",
        type=BBOX,
        metavar="W,S,E,N",
        help="Write only this part, in degrees; west > east crosses 180. All of the scene is looked at still.",
    ),
    option("--aoi", type=FILE, metavar="FILE", help="Write only the box around these polygons (GeoJSON)."),
)

# --- outputs ---

overwrite = flag("--overwrite", help="Replace outputs that exist.")
compress = _choice("--compress", "deflate", "lzw", "zstd", "none", help="Compression of the rasters.")
also = option(
    "--also",
    type=Also(),
    default=(),
    help=f"Other files to write, named after the product: any of {', '.join(ALSO)}.",
)


def output(help_text: str) -> Decorator:
    """Return the option `-o` for a file."""
    return option("-o", "--output", type=OUTPUT_FILE, metavar="FILE", required=True, help=help_text)


def beside_product(in_batch: bool) -> Decorator:
    """Return options for files beside a product: `--also`, and of each kind a path for one run, a flag in a batch."""
    return together(also, *(_beside_product(kind, in_batch) for kind in BESIDE))


def _beside_product(kind: Kind, in_batch: bool) -> Decorator:
    name = f"--{kind.field.replace('_', '-')}"
    if in_batch:
        listed = f", and {kind.listed_in} of all" if kind.listed_in else ""
        return flag(name, help=f"{kind.title}: NAME{kind.suffix}{listed}. As --also {kind.word}.")
    metavar = kind.suffix.rpartition(".")[2].upper()
    return option(name, type=BESIDE_FILE, metavar=metavar, help=f"{kind.title}, at a path of its own.")


def files_beside(product: Path, words: Sequence[str], given: Mapping[str, Any]) -> dict[str, Path | None]:
    """Where each kind of file beside the product of one run goes, by the field of its kind; None: nowhere.

    `words` are those of `--also`; `given` holds the values of the options for each kind, whose paths win.
    """
    wanted = {kind.field for kind in BESIDE if kind.word in words or given[kind.field] is AFTER_PRODUCT}
    return {
        kind.field: path
        if isinstance(path := given[kind.field], Path)
        else (kind.beside(product) if kind.field in wanted else None)
        for kind in BESIDE
    }


# --- how products are made ---

device = option(
    "--device",
    type=DEVICE,
    metavar="DEVICE",
    default="auto",
    show_default=True,
    help="Where the network runs: auto, cpu, cuda, cuda:N or mps.",
)
seed = option("--seed", type=Whole(min=0), default=0, show_default=True, help="Of random numbers.")
weights = option("--weights", type=WEIGHTS, default="auto", show_default=True, help="Registered weights, or a file.")

_clouds = together(
    _choice(
        *("--fill", "auto", "clouds", "all"),
        help="Reconstruct clouds, or everything. auto: clouds, where anything says where they are.",
    ),
    _choice(
        *("--without-sar", "fill", "keep", "nodata"),
        help="Clouds where Sentinel-1 has no valid pixel: fill them from the scene alone, keep them, or nodata.",
    ),
    _choice(
        *("--find-clouds", "auto", "always", "never"),
        help="Find clouds and shadows in the scene itself. auto: where no mask is given.",
    ),
    _choice(
        *("--find-clouds-with", *DETECTORS),
        help="What finds them; others than our own are installed by cloudfree[NAME].",
    ),
    _metres(
        *("--edge-limit", "edge_limit_m"),
        default=300.0,
        help="How far beyond the mask clouds are followed to where they end; 0: not at all, and all of --buffer is "
        "rewritten.",
    ),
    _metres(
        *("--buffer", "buffer_m"),
        default=30.0,
        help="Margin around clouds to rewrite too, where something is in the way of its ground.",
    ),
)
_network = together(
    weights,
    option(
        "--adapt",
        "adapt_minutes",
        type=Real(min=0),
        metavar="MINUTES",
        default=0.0,
        help="Fine-tune the weights on the scene's clear pixels first, for so long at most.",
    ),
    device,
    _choice("--precision", "auto", "fp32", "bf16", "fp16", help="Numbers of the network; auto: the fastest there."),
    _number("--tile", type=Whole(), metavar="PX", default=512, help="Window of the network, a multiple of 16."),
    _number("--overlap", type=Whole(), metavar="PX", default=64, help="Pixels that windows share."),
    option("--batch", type=Batch(), default="auto", show_default=True, help="Windows at once; auto: what fits."),
)
making = together(
    _clouds,
    _network,
    _choice(
        *("--coregister", "auto", "off", "require"),
        help="Correct offsets of inputs: where they can be had reliably, never, or fail where that of Sentinel-1 "
        "cannot.",
    ),
    compress,
)
"""How products are made."""

# --- how a command runs ---

wait = option(
    "--wait",
    "wait_s",
    type=Real(min=0),
    metavar="SECONDS",
    default=0.0,
    help="Wait so long for another run that is making the same file; without it, fail.",
)
dry_run = flag(
    "--dry-run",
    help="Look at the inputs and say what would be done: on a terminal in words, elsewhere and with --json as JSON.",
)


def timeout(default_minutes: float, of: str) -> Decorator:
    """Return the option `--timeout` in minutes, of something."""
    return option(
        "--timeout",
        "timeout_minutes",
        type=Real(min=0),
        metavar="MINUTES",
        default=default_minutes,
        show_default=True,
        help=f"{of} that takes longer is ended and fails; 0: never.",
    )


def as_json_with(help_text: str) -> Decorator:
    """Return the option `--json`, with which failures are reported as an object too."""
    return flag("--json", "as_json", is_eager=True, callback=remember, help=help_text)


as_json = as_json_with("As JSON.")
verbosity = together(
    option(
        "--log-format",
        type=click.Choice(["text", "json"]),
        default="text",
        show_default=True,
        expose_value=False,
        callback=remember,
        help="The log on stderr as lines for people, or as an object a line.",
    ),
    option(
        "--log-file",
        type=OUTPUT_FILE,
        metavar="FILE",
        expose_value=False,
        callback=remember,
        help="Append the log here too.",
    ),
    flag("-v", "--verbose", help="Say what each file was taken for, and why."),
    flag("-q", "--quiet", help="Only errors, and no progress bar."),
)
