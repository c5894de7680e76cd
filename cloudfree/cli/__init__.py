"""The command line: each command turns words into values, calls the library, and tells the outcome.

torch and rasterio are imported by the command that needs them, so that --help is instant.
"""

from __future__ import annotations

import json
import logging
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any, NoReturn

import click

from cloudfree import process

_FILE = click.Path(path_type=Path)


class _Numbers(click.ParamType[Any]):
    """One-based band numbers, comma-separated."""

    name = "N,N,..."

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[int, ...]:
        if isinstance(value, tuple):
            return value
        try:
            return tuple(int(part) for part in str(value).split(","))
        except ValueError:
            self.fail(f"{value!r} is not a list of band numbers like 1,2", param, ctx)


class _Batch(click.ParamType[Any]):
    """`auto` or a positive number."""

    name = "auto|N"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int | None:
        if value is None or value == "auto":
            return None
        return click.IntRange(min=1).convert(value, param, ctx)


def _together(*options: Callable[..., Any]) -> Callable[..., Any]:
    """Several options as one decorator, in the order of the help."""

    def apply(command: Callable[..., Any]) -> Callable[..., Any]:
        for option in reversed(options):
            command = option(command)
        return command

    return apply


# Options that several commands have.
_scene = _together(
    click.option("--planet", type=_FILE, required=True, help="PlanetScope scene: 4 or 8 bands, surface reflectance."),
    click.option(
        "--sar", type=_FILE, required=True, multiple=True, help="Sentinel-1 VV and VH: one file, or one each."
    ),
    click.option("--udm2", type=_FILE, help="Usable data mask of the scene.  [default: its sibling, if there]"),
    click.option("--mask", type=_FILE, help="Any single-band raster instead: non-zero is cloud or shadow."),
    click.option(
        "--max-shift",
        "max_shift_m",
        type=click.FloatRange(min=0),
        metavar="METRES",
        default=60.0,
        show_default=True,
        help="Largest offset to believe.",
    ),
    click.option(
        "--sar-units", type=click.Choice(["auto", "db", "power", "amplitude"]), default="auto", show_default=True
    ),
    click.option(
        "--sar-bands", type=_Numbers(), metavar="VV,VH", help="Band numbers; one of each file if there are two."
    ),
    click.option("--planet-bands", type=_Numbers(), metavar="B,G,R,NIR", help="Band numbers of the scene."),
)
_compress = click.option(
    "--compress", type=click.Choice(["deflate", "lzw", "zstd", "none"]), default="deflate", show_default=True
)
_device = click.option("--device", metavar="auto|cpu|cuda|cuda:N", default="auto", show_default=True)
_overwrite = click.option("--overwrite", is_flag=True, help="Replace outputs that exist.")
_verbosity = _together(
    click.option("-v", "--verbose", is_flag=True, help="Say what was taken for what, and why."),
    click.option("-q", "--quiet", is_flag=True, help="Only errors, and no progress bar."),
)


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 120})
@click.version_option(package_name="cloudfree")
def main() -> None:
    """Remove clouds from PlanetScope scenes with the help of Sentinel-1."""
    signal.signal(signal.SIGTERM, _terminate)
    process.settle()


@main.command()
@_scene
@click.option("-o", "--output", type=_FILE, required=True, help="The cloud-free COG to write.")
@click.option(
    "--fill",
    type=click.Choice(["auto", "clouds", "all"]),
    default="auto",
    show_default=True,
    help="What to reconstruct: what the mask hides, or everything. auto: clouds with a mask, all without.",
)
@click.option(
    "--buffer",
    "buffer_m",
    type=click.FloatRange(min=0),
    metavar="METRES",
    default=30.0,
    show_default=True,
    help="Ground around the mask to take for cloudy too.",
)
@click.option(
    "--weights", metavar="NAME|FILE", default="auto", show_default=True, help="Registered weights, or a file."
)
@click.option(
    "--adapt",
    "adapt_minutes",
    type=click.FloatRange(min=0),
    metavar="MINUTES",
    default=0.0,
    help="Fine-tune the weights on the scene's clear pixels first, for so long at most.",
)
@_device
@click.option("--precision", type=click.Choice(["auto", "fp32", "bf16", "fp16"]), default="auto", show_default=True)
@click.option(
    "--tile", type=int, metavar="PX", default=512, show_default=True, help="Window of the network, a multiple of 16."
)
@click.option("--overlap", type=int, metavar="PX", default=64, show_default=True, help="Pixels that windows share.")
@click.option("--batch", type=_Batch(), default="auto", show_default=True, help="Windows at once; auto: what fits.")
@click.option(
    "--coregister",
    type=click.Choice(["auto", "off", "require"]),
    default="auto",
    show_default=True,
    help="Correct the offset of Sentinel-1: if it can be had reliably, never, or else fail.",
)
@_compress
@click.option("--quicklook", type=_FILE, metavar="PNG", help="Picture of before, SAR, after.")
@click.option("--qa", type=_FILE, help="COG of what was observed and what reconstructed.")
@_overwrite
@click.option("--dry-run", is_flag=True, help="Look at the inputs and say what would be done.")
@click.option("--json", "as_json", is_flag=True, help="Facts and figures of the run on stdout.")
@_verbosity
def run(dry_run: bool, as_json: bool, quiet: bool, verbose: bool, sar: tuple[Path, ...], **options: Any) -> None:
    """Reconstruct the clouded pixels of a scene.

    Observed pixels are kept as they are; --qa says which is which.
    """
    _log_to_stderr(quiet, verbose)
    from cloudfree.pipeline import execute
    from cloudfree.plan import Options, make_plan

    plan = make_plan(Options(sar=sar, **options))
    if dry_run:
        click.echo(json.dumps(plan.describe(), indent=2, ensure_ascii=False))
        return
    megapixels = plan.grid.width * plan.grid.height / 1e6
    with _bar(plan.device, quiet, megapixels, "{n:.1f}/{total:.1f} Mpx") as progress:
        result = execute(plan, progress)
    if as_json:
        click.echo(json.dumps(result.as_json(), indent=2, ensure_ascii=False))


@main.command()
@_scene
@click.option("-o", "--output", type=_FILE, required=True, help="The COG to write: VV and VH in dB.")
@_compress
@click.option("--quicklook", type=_FILE, metavar="PNG", help="Picture of the windows' offsets, before and after.")
@_overwrite
@click.option("--json", "as_json", is_flag=True, help="The offset and how sure it is, on stdout.")
@_verbosity
def align(as_json: bool, quiet: bool, verbose: bool, **options: Any) -> None:
    """Bring Sentinel-1 onto a scene's grid, moved to where it belongs.

    Where no offset can be had reliably it stays where it is, and a warning says why.
    """
    _log_to_stderr(quiet, verbose)
    from cloudfree.align import AlignOptions, find, write

    found = find(AlignOptions(**options))
    megapixels = found.scene.grid.width * found.scene.grid.height / 1e6
    with _bar("cpu", quiet, megapixels, "{n:.1f}/{total:.1f} Mpx") as progress:
        write(found, progress)
    if as_json:
        click.echo(json.dumps(found.describe(), indent=2, ensure_ascii=False))


@main.command()
@click.option("-o", "--output", type=_FILE, metavar="FOLDER", default="demo_output", show_default=True)
@click.option(
    "--weights", metavar="NAME|FILE", default="auto", show_default=True, help="Registered weights, or a file."
)
def demo(output: Path, weights: str) -> None:
    """Run on the sample scene that comes with cloudfree, and compare with the truth."""
    _log_to_stderr(quiet=False, verbose=True)
    from cloudfree.demo import demo as run_demo

    result, score = run_demo(output, weights=weights)
    click.echo(f"PSNR of all pixels:            cloudy {score.before_db:5.2f} dB, result {score.after_db:5.2f} dB")
    click.echo(
        f"PSNR of reconstructed pixels:  cloudy {score.before_reconstructed_db:5.2f} dB, "
        f"result {score.after_reconstructed_db:5.2f} dB"
    )
    click.echo(f"Took {sum(result.seconds.values()):.1f} s on {result.plan.device}.")
    click.echo(f"See {output / 'quicklook.png'}: the cloudy scene, Sentinel-1, the result; files are in {output}.")


@main.command()
@click.argument("source", type=_FILE, metavar="FOLDER|CSV")
@click.option("--root", type=_FILE, metavar="FOLDER", help="What the paths of a CSV are relative to.")
@click.option(
    "--weights", multiple=True, metavar="NAME|FILE", help="Weights to score; repeat for more.  [default: auto]"
)
@click.option("--protocol", type=click.Choice(["true", "published"]), default="true", show_default=True)
@click.option("--same-date", is_flag=True, help="Lay the real clouds over the clear image, and score against that.")
@click.option("--keep-observed", is_flag=True, help="Put unmasked pixels back as they were seen.")
@click.option(
    "--format", "layout", type=click.Choice(["markdown", "csv", "json"]), default="markdown", show_default=True
)
@_device
def evaluate(source: Path, root: Path | None, weights: tuple[str, ...], layout: str, device: str, **how: Any) -> None:
    """Score weights, and what they must beat, on cloudy and clear images of the same places.

    The M3R-CR data set by its CSV, or a folder of NAME_cloudy.tif, NAME_clear.tif, NAME_sar.tif, and NAME_mask.tif and
    NAME_landcover.tif if there are any. PSNR, SSIM, SAM and MAE over all, clouded and clear pixels and by land cover.
    """
    from cloudfree.evaluate import score as scoring
    from cloudfree.network.predict import resolve_device
    from cloudfree.network.weights import default_weights, load_model

    names = weights or (default_weights().name,)
    where = str(resolve_device(device))
    methods = {Path(name).stem: scoring.network(load_model(name), where) for name in names}
    table = scoring.evaluate(source, methods, root=root, **how)
    writer = {"markdown": scoring.as_markdown, "csv": scoring.as_csv, "json": scoring.as_json}[layout]
    click.echo(writer(table).rstrip("\n"))


@main.command()
@_scene
@click.option("-o", "--output", type=_FILE, required=True, help="The safetensors file to write.")
@click.option("--weights", metavar="NAME|FILE", default="auto", show_default=True, help="Weights to start from.")
@click.option("--minutes", type=click.FloatRange(min=0, min_open=True), default=5.0, show_default=True)
@click.option("--seed", type=int, default=0, show_default=True)
@_device
@_overwrite
@_verbosity
def adapt(sar: tuple[Path, ...], minutes: float, seed: int, quiet: bool, verbose: bool, **options: Any) -> None:
    """Fine-tune weights on the clear pixels of a scene.

    Ends when held-out clear windows are no longer restored better; if they never are, the weights stay as they were.
    """
    _log_to_stderr(quiet, verbose)
    from cloudfree.learn.adapt import adapt as fine_tune
    from cloudfree.network.weights import save_model
    from cloudfree.plan import Options, make_plan

    plan = make_plan(Options(sar=sar, **options))
    with _bar(plan.device, quiet, minutes, "{n:.1f}/{total:.1f} min") as progress:
        model = fine_tune(plan, minutes, seed, lambda share: progress(share * minutes))
    assert model.weights_info is not None
    save_model(model, plan.options.output, model.weights_info.provenance)


@main.command()
@click.argument("files", nargs=-1, required=True, type=_FILE)
@click.option("--json", "as_json", is_flag=True, help="As JSON.")
def info(files: tuple[Path, ...], as_json: bool) -> None:
    """Say what each file would be taken for, and why."""
    from cloudfree.inputs.inspection import inspect

    found = inspect(list(files))
    if as_json:
        click.echo(json.dumps([item.as_json() for item in found], indent=2, ensure_ascii=False))
    else:
        click.echo("\n".join(line for item in found for line in item.lines()))


@main.group()
def weights() -> None:
    """List, verify and convert weights."""


@weights.command("list")
@click.option("--json", "as_json", is_flag=True, help="As JSON.")
def weights_list(as_json: bool) -> None:
    """The weights that come with cloudfree."""
    from dataclasses import asdict

    from cloudfree.network.weights import registry

    entries = registry()
    if as_json:
        click.echo(json.dumps([asdict(entry) for entry in entries], indent=2, ensure_ascii=False))
        return
    for entry in entries:
        mark = " (default)" if entry.default else ""
        click.echo(f"{entry.name}{mark}: {entry.architecture}, {entry.size_bytes / 1e6:.1f} MB, {entry.licence}")
        click.echo(f"  trained on {entry.trained_on}")


@weights.command("verify")
@click.argument("names", nargs=-1, metavar="[NAME|FILE]...")
def weights_verify(names: tuple[str, ...]) -> None:
    """Compare weights with their recorded hashes, load them, and compare what they give with their golden output."""
    from cloudfree.network.weights import load_model, registry, verify, verify_output

    for name in names or tuple(entry.name for entry in registry()):
        digest = verify(name)
        load_model(name)
        difference = verify_output(name)
        golden = "" if difference is None else f", golden output to {difference:.0e}"
        click.echo(f"{name}: ok, sha256 {digest}{golden}")


@weights.command("convert")
@click.argument("source", type=_FILE)
@click.option("-o", "--output", type=_FILE, required=True, help="The safetensors file to write.")
@_overwrite
def weights_convert(source: Path, output: Path, overwrite: bool) -> None:
    """Turn a published checkpoint into a safetensors file."""
    from cloudfree.network.weights import convert
    from cloudfree.product.cog import check_targets

    check_targets([output], [source], overwrite)
    convert(source, output)


@main.command()
@click.option("-o", "--output", type=_FILE, required=True, help="The safetensors file to write.")
@click.option(
    "--data",
    type=_FILE,
    multiple=True,
    metavar="FOLDER|CSV",
    help="NAME_optical.tif and NAME_sar.tif; or cloudy and clear images as for evaluate; or a CSV of scenes: "
    "planet, sar, and udm2 or mask. Repeat for more.",
)
@click.option("--clouds", type=_FILE, metavar="FOLDER", help="Images whose clouds are laid over: NAME_cloudy.tif.")
@click.option("--procedural", type=click.IntRange(min=0), metavar="N", help="Places to make up.  [default: 40]")
@click.option("--preset", type=click.Choice(["published"]), help="The published recipe, but for what else is given.")
@click.option("--architecture", type=click.Choice(["align_cr", "glf_cr", "dsen2_cr"]), help="[default: align_cr]")
@click.option("--size", type=click.Choice(["small", "published"]), help="[default: small]")
@click.option("--loss", type=click.Choice(["charbonnier", "carl", "l1", "psnr"]), help="[default: charbonnier]")
@click.option("--schedule", type=click.Choice(["cosine", "halving"]), help="Of the learning rate.  [default: cosine]")
@click.option("--minutes", type=click.FloatRange(min=0, min_open=True), help="End after this time.")
@click.option("--steps", type=click.IntRange(min=1), help="End after so many steps.")
@click.option("--epochs", type=click.IntRange(min=1), help="End after so many times as many samples as images.")
@click.option("--seed", type=int, help="[default: 0]")
@click.option("--crop", type=click.IntRange(min=32), help="Side of the samples in pixels.  [default: 96]")
@click.option("--batch", type=click.IntRange(min=1), help="Of all processes together.  [default: 2]")
@click.option("--learning-rate", type=click.FloatRange(min=0, min_open=True), help="[default: 0.001]")
@click.option(
    "--primed",
    type=click.FloatRange(0, 1),
    help="Share of samples with the scene's prior in place of the clouds.  [default: 0]",
)
@click.option("--weights", "start", metavar="NAME|FILE", help="Weights to start from.  [default: fresh ones]")
@_device
@click.option("--threads", type=click.IntRange(min=1), help="CPU threads.  [default: all]")
@_overwrite
@_verbosity
def train(overwrite: bool, quiet: bool, verbose: bool, preset: str | None, output: Path, **options: Any) -> None:
    """Train weights: on clear places under clouds, on pairs of images, on scenes of your own.

    A run that was killed goes on when the command is given again. On several GPUs, or machines, start it by torchrun:
    `torchrun --nproc-per-node 4 -m cloudfree train ...`.
    """
    _log_to_stderr(quiet, verbose)
    from cloudfree.learn.train import PUBLISHED, TrainOptions
    from cloudfree.learn.train import train as run_training
    from cloudfree.product.cog import check_targets

    given = {name: value for name, value in options.items() if value is not None}
    told = TrainOptions(output=output, **{**(PUBLISHED if preset else {}), **given})
    check_targets([output], [], overwrite or told.checkpoint.exists())
    run_training(told)


def _log_to_stderr(quiet: bool, verbose: bool) -> None:
    level = logging.ERROR if quiet else logging.INFO if verbose else logging.WARNING
    logging.basicConfig(stream=sys.stderr, format="%(levelname)s: %(message)s", force=True)
    logging.getLogger("cloudfree").setLevel(level)


@contextmanager
def _bar(device: str, quiet: bool, total: float, count: str) -> Iterator[Callable[[float], None]]:
    """A progress bar that names the device, on a terminal only; yields what advances it."""
    from tqdm import tqdm

    layout = "{desc} {percentage:3.0f}% {bar} " + count + " [{elapsed}<{remaining}]"
    off = quiet or not sys.stderr.isatty()
    with tqdm(total=total, desc=device, disable=off, file=sys.stderr, bar_format=layout) as bar:

        def advance(amount: float) -> None:
            bar.update(amount)

        yield advance


def _terminate(number: int, frame: FrameType | None) -> NoReturn:
    """A scheduler's SIGTERM unwinds like Ctrl-C, so that nothing half made stays behind."""
    sys.exit(128 + number)
