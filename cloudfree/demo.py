"""The main job on the sample scene, scored against the truth that only a made-up scene has."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Unpack

import numpy as np
import rasterio

from cloudfree.arrays import Image
from cloudfree.bands import RECONSTRUCTED, REFLECTANCE_SCALE, Qa
from cloudfree.errors import InputError
from cloudfree.evaluate import metrics
from cloudfree.pipeline import Result, run
from cloudfree.plan import RunArguments

SCENE = "20240615_101530_84_2481_3B_AnalyticMS_SR_clip.tif"
SAR = ("s1_VV.tif", "s1_VH.tif")
EARLIER = "20240606_102214_17_2473_3B_AnalyticMS_SR_clip.tif"
TRUTH = "truth.tif"


@dataclass(frozen=True)
class Score:
    """PSNR in dB against the truth, before and after: over all data, and over the reconstructed pixels."""

    before_db: float
    after_db: float
    before_reconstructed_db: float
    after_reconstructed_db: float


def sample_folder() -> Path:
    """Inside the package where it was installed from a wheel, else at the top of the checkout."""
    package = Path(__file__).resolve().parent
    installed = package / "_sample_data"
    folder = installed if installed.is_dir() else package.parent / "sample_data"
    if not (folder / SCENE).is_file():
        raise InputError(f"the sample scene is not in {folder}; it comes with cloudfree: reinstall it")
    return folder


def demo(output: Path, **options: Unpack[RunArguments]) -> tuple[Result, Score]:
    """Run on the sample scene, with the earlier one, into a folder: cloudfree.tif, qa.tif and quicklook.png."""
    folder = sample_folder()
    output.mkdir(parents=True, exist_ok=True)
    product = output / "cloudfree.tif"
    options = {
        "references": [folder / EARLIER],
        "qa": output / "qa.tif",
        "quicklook": output / "quicklook.png",
        "overwrite": True,
        **options,
    }
    result = run(folder / SCENE, [folder / name for name in SAR], product, **options)
    return result, _score(folder, product, output / "qa.tif")


def _score(folder: Path, product: Path, qa: Path) -> Score:
    truth, before, after = (_reflectance(path) for path in (folder / TRUTH, folder / SCENE, product))
    with rasterio.open(qa) as dataset:
        classes = dataset.read(1)
    data, made = classes != Qa.NODATA, np.isin(classes, RECONSTRUCTED)
    return Score(*(metrics.psnr(image, truth, where) for where in (data, made) for image in (before, after)))


def _reflectance(path: Path) -> Image:
    """Reflectance (4, H, W), saturated clouds cut at one."""
    with rasterio.open(path) as dataset:
        return np.minimum(dataset.read() * np.float32(REFLECTANCE_SCALE), 1)
