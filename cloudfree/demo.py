"""The main job on the sample scene, whose ground under the clouds is known because it is invented."""

from __future__ import annotations

import logging
import shlex
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Unpack

import numpy as np
import rasterio

from cloudfree import described
from cloudfree.arrays import Image
from cloudfree.bands import RECONSTRUCTED, REFLECTANCE_SCALE, Qa
from cloudfree.errors import InputError
from cloudfree.evaluate import metrics
from cloudfree.pipeline import Progress, Result, execute
from cloudfree.plan import Options, Plan, RunArguments
from cloudfree.planning import make_plan_of_one
from cloudfree.product import provenance
from cloudfree.product.kinds import OUTPUT

log = logging.getLogger(__name__)

SCENE = "20240615_101530_84_2481_3B_AnalyticMS_SR_clip.tif"
SAR = ("s1_VV.tif", "s1_VH.tif")
EARLIER = "20240606_102214_17_2473_3B_AnalyticMS_SR_clip.tif"
TRUTH = "truth.tif"


@dataclass(frozen=True)
class SampleScore:
    """PSNR in dB against the truth, before and after: over all data, and over the reconstructed pixels."""

    before_db: float
    after_db: float
    before_reconstructed_db: float
    after_reconstructed_db: float


def sample_folder() -> Path:
    """Return the folder of the sample: in an installed package, else in the checkout. Raises InputError."""
    package = Path(__file__).resolve().parent
    installed = package / "_sample_data"
    folder = installed if installed.is_dir() else package.parent / "sample_data"
    if not (folder / SCENE).is_file():
        raise InputError(f"the sample scene is not in {folder}; it comes with cloudfree: reinstall it")
    return folder


def demo(
    output: Path, progress: Callable[[Plan], Progress] | None = None, **options: Unpack[RunArguments]
) -> tuple[Result, SampleScore]:
    """Run on the sample scene with the earlier one; write product, qa.tif, quicklook.png and report.html into a folder.

    `progress` returns what is called with the megapixels of a plan as they are finished.
    """
    folder = sample_folder()
    output.mkdir(parents=True, exist_ok=True)
    product = output / "cloudfree.tif"
    options = {
        "references": [folder / EARLIER],
        "qa": output / "qa.tif",
        "quicklook": output / "quicklook.png",
        "report": output / "report.html",
        "overwrite": True,
        **options,
    }
    sar = [folder / name for name in SAR]
    planned = Options.of(folder / SCENE, sar, output=product, **options)
    provenance.refuse_others(planned.files)
    plan = make_plan_of_one(planned)
    for line in described.in_words(plan):
        log.info("%s", line)
    result = execute(plan, progress(plan) if progress else None)
    return result, _score(folder, product, output / "qa.tif")


def run_line(result: Result) -> str:
    """The command line of `cloudfree run` that does the same."""
    options = result.plan.options
    named = {"planet": [options.planet], "sar": options.sar, "reference": options.references}
    words = [word for name, paths in named.items() for path in paths for word in (f"--{name}", str(path))]
    words += [f"--{kind.field}={path}" for kind, path in options.files.items() if kind != OUTPUT]
    return shlex.join(["cloudfree", "run", *words, "-o", str(options.output), "--overwrite"])


def _score(folder: Path, product: Path, qa: Path) -> SampleScore:
    truth, before, after = (_reflectance(path) for path in (folder / TRUTH, folder / SCENE, product))
    with rasterio.open(qa) as dataset:
        classes = dataset.read(1)
    regions = classes != Qa.NODATA, np.isin(classes, RECONSTRUCTED)
    return SampleScore(*(metrics.psnr(image, truth, region) for region in regions for image in (before, after)))


def _reflectance(path: Path) -> Image:
    """Return reflectance (4, H, W), at most 1."""
    with rasterio.open(path) as dataset:
        return np.minimum(dataset.read() * np.float32(REFLECTANCE_SCALE), 1)
