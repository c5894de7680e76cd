"""The whole command on real clouds over a clear image of the same day, beside the baselines: nothing may be lost on
the way from a method to the file.

    python benchmarks/quality/command.py [--data ../shared/data/cloudy_clear] [--output FOLDER] [-- OPTIONS OF RUN]

For each image with a mask of 5 to 95 %: its clouds are laid over the clear image with soft edges (mask dilated by two
pixels, then a Gaussian of two), written as a scene with its mask and Sentinel-1, and `cloudfree run` restores it with
the default options or those given. Prints PSNR (dB) of masked pixels, the means at the end; and of the uncertainty the
share of masked pixels within one and two standard deviations, their root mean square beside that of the errors, and
how far these go together from image to image. --output keeps the files and a picture of each run.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import rasterio
from click.testing import CliRunner
from scipy import ndimage

from cloudfree.arrays import Image, Mask, as_image
from cloudfree.cli import main as cloudfree
from cloudfree.evaluate import metrics
from cloudfree.evaluate.baselines import BASELINES
from cloudfree.evaluate.triplets import Observation, Triplet, TripletFiles, find, read
from cloudfree.learn.cloud_layers import lift_clouds
from cloudfree.simulate.clouds import CloudLayer, add_clouds

_DILATION_PX, _SOFT_PX = 2, 2.0
_LEAST_MASK, _MOST_MASK = 0.05, 0.95
_LEAST_OPACITY = 0.05


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    data = Path(__file__).resolve().parents[3] / "shared" / "data" / "cloudy_clear"
    parser.add_argument("--data", type=Path, default=data)
    parser.add_argument("--output", type=Path)
    parser.add_argument("--lifted", action="store_true", help="clouds without the ground under them")
    parser.add_argument("options", nargs="*", help="of `cloudfree run`, behind --")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = arguments.output or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        names = [*BASELINES, f"cloudfree run {' '.join(arguments.options)}", "within 1 sd", "2 sd", "sd", "error"]
        print(f"| image | {' | '.join(names)} |")
        print("| --- |" + " ---: |" * len(names))
        rows = []
        for files in find(arguments.data):
            triplet = read(files)
            hidden = triplet.seen.hidden & triplet.valid
            if _LEAST_MASK <= hidden.mean() <= _MOST_MASK:
                clouded, hidden = (
                    with_lifted_clouds(triplet) if arguments.lifted else (with_soft_clouds(triplet), hidden)
                )
                if hidden.any():
                    rows.append(scores(files, clouded, hidden, folder, arguments.options))
                    print(as_row(files.name, rows[-1]), flush=True)
        print(as_row("mean", np.mean(rows, axis=0)))
        *_, deviation, error = np.transpose(rows)
        print(f"\nCorrelation of sd and error over images: {np.corrcoef(deviation, error)[0, 1]:.2f}")


def as_row(name: str, scores: Sequence[float]) -> str:
    """A line of the table: all but the last two in two digits, those in three."""
    digits = [2] * (len(scores) - 2) + [3, 3]
    return f"| {name} | {' | '.join(f'{score:.{n}f}' for score, n in zip(scores, digits, strict=True))} |"


def with_soft_clouds(triplet: Triplet) -> Triplet:
    """The clouds of the cloudy image over the clear one, which is the truth."""
    seen = triplet.seen
    share = soft_share(seen.hidden)
    mixed = as_image(triplet.truth + (seen.reflectance - triplet.truth) * share)
    pasted = Observation(mixed, seen.sar_db, triplet.valid, seen.mask, seen.pixel_size_m)
    return Triplet(triplet.name, pasted, triplet.truth, triplet.valid)


def with_lifted_clouds(triplet: Triplet) -> tuple[Triplet, Mask]:
    """The clouds of the cloudy image, without its ground, over the clear one; and where they and the mask are."""
    seen, clouds = triplet.seen, lift_clouds(triplet.seen.reflectance, triplet.name)
    if clouds is None:
        return triplet, np.zeros_like(triplet.valid)
    sunlit = np.zeros_like(clouds.opacity)
    nowhere = np.zeros_like(triplet.valid)
    layer = CloudLayer(clouds.opacity, clouds.radiance, sunlit, nowhere, nowhere, nowhere)
    laid = Observation(add_clouds(triplet.truth, layer), seen.sar_db, triplet.valid, seen.mask, seen.pixel_size_m)
    hidden = seen.hidden & triplet.valid & (clouds.opacity > _LEAST_OPACITY)
    return Triplet(triplet.name, laid, triplet.truth, triplet.valid), hidden


def soft_share(mask: Mask) -> Image:
    """How much of each pixel is cloud (H, W), 0..1: the mask dilated by two pixels, then a Gaussian of two."""
    grown = ndimage.binary_dilation(mask, iterations=_DILATION_PX)
    return as_image(ndimage.gaussian_filter(as_image(grown), _SOFT_PX))


def scores(files: TripletFiles, triplet: Triplet, hidden: Mask, folder: Path, options: list[str]) -> list[float]:
    """PSNR of hidden pixels by each baseline, and by the command; then how its uncertainty bears out."""
    restored = [method(triplet.seen) for method in BASELINES.values()]
    product, deviation = run(files, triplet, folder, options)
    error, deviation = np.abs(product - triplet.truth)[:, hidden], deviation[:, hidden]
    within = [float((error <= count * deviation).mean()) for count in (1, 2)]
    sizes = [float(np.sqrt(np.square(image).mean())) for image in (deviation, error)]
    return [*(metrics.psnr(image, triplet.truth, hidden) for image in (*restored, product)), *within, *sizes]


def run(files: TripletFiles, triplet: Triplet, folder: Path, options: list[str]) -> tuple[Image, Image]:
    """Reflectance (4, H, W) of the product of `cloudfree run`, and its standard deviation."""
    scene, mask, out, unsure = (folder / f"{files.name}_{what}.tif" for what in ("scene", "mask", "out", "uncertainty"))
    with rasterio.open(files.cloudy) as source:
        profile = {k: source.profile[k] for k in ("crs", "transform", "width", "height")} | {"driver": "GTiff"}
    with rasterio.open(scene, "w", count=4, dtype="uint16", nodata=0, **profile) as target:
        target.write(np.where(triplet.valid, np.clip(np.rint(1e4 * triplet.seen.reflectance), 1, 65535), 0))
    with rasterio.open(mask, "w", count=1, dtype="uint8", **profile) as target:
        target.write(triplet.seen.hidden.astype(np.uint8), 1)
    words = ["run", "--planet", scene, "--sar", files.sar, "--mask", mask, "-o", out, "--overwrite"]
    words += ["--quicklook", out.with_suffix(".png"), "--uncertainty", unsure, *options]
    done = CliRunner().invoke(cloudfree, [str(word) for word in words], catch_exceptions=False)
    if done.exit_code:
        raise SystemExit(done.output)
    with rasterio.open(out) as product, rasterio.open(unsure) as deviation:
        return as_image(product.read() * 1e-4), as_image(deviation.read() * 1e-4)


if __name__ == "__main__":
    main()
