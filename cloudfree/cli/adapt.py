"""`cloudfree adapt`: weights fine-tuned to a scene."""

from __future__ import annotations

from typing import Any

import click

from cloudfree.cli import options
from cloudfree.cli.progress import MINUTES, progress_bar, progress_log
from cloudfree.cli.screens import option
from cloudfree.cli.terminal import log_to_stderr
from cloudfree.cli.values import WEIGHTS, Real


@click.command()
@options.scene_inputs(sar_required=True)
@options.references
@options.output("The safetensors file to write.")
@option("--weights", type=WEIGHTS, default="auto", show_default=True, help="Weights to start from.")
@option("--minutes", type=Real(min=0, min_open=True), default=5.0, show_default=True, help="End after this time.")
@options.seed
@options.device
@options.overwrite
@options.verbosity
def adapt(minutes: float, seed: int, quiet: bool, verbose: bool, **values: Any) -> None:
    """Fine-tune weights on the clear pixels of a scene.

    Clouds are laid over them; a network that sees is shown the scene's own model beneath, references included, as in a
    run. Ends when held-out clear windows are no longer restored better; if they never are, the weights stay as they
    were.
    """
    log_to_stderr(quiet, verbose)
    from cloudfree.inputs.raster.access import gdal_settings
    from cloudfree.learn.adapt import adapt as fine_tune
    from cloudfree.network.weights import save_model
    from cloudfree.plan import Options
    from cloudfree.planning import make_plan

    plan = make_plan(Options(**values))
    with progress_bar(plan.device, quiet, minutes, MINUTES) as progress, gdal_settings(plan.options.trust_inputs):
        model = fine_tune(
            plan.network,
            plan.inputs,
            plan.displacement,
            plan.options.buffer_m,
            minutes,
            device=plan.device,
            seed=seed,
            progress=lambda share: progress(share * minutes),
        )
    save_model(model, plan.options.output, model.info.provenance)
    better = "are as they were, for none did better" if model is plan.network else "are fine-tuned to the scene"
    progress_log.info("wrote %s: weights of %s, which %s", plan.options.output, plan.network.info.name, better)
