"""Make the pictures of the sample: `scene.jpg`, `product.jpg`, `before_after.jpg`,
`quality.png` and `uncertainty.png`.

python docs/figures/sample.py
"""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
import rasterio
from numpy.typing import NDArray

import cloudfree
from cloudfree.demo import EARLIER, SAR, SCENE, sample_folder
from cloudfree.product import pictures
from cloudfree.product.captions import Panel, side_by_side
from cloudfree.product.profiles import QA_COLOURS

HERE = Path(__file__).resolve().parent
WORDS = (
    ("PlanetScope scene, 3 m", "cloud and shadow over nearly half of it"),
    ("What cloudfree makes of it", "with Sentinel-1 and a scene of nine days before"),
)


def dn_of(path: Path) -> NDArray[np.uint16]:
    with rasterio.open(path) as dataset:
        return np.asarray(dataset.read())


def class_colours(path: Path) -> NDArray[np.uint8]:
    """Red, green and blue (3, H, W) of the classes of a quality file."""
    with rasterio.open(path) as dataset:
        classes = dataset.read(1)
    table = np.zeros((256, 3), np.uint8)
    for value, colour in QA_COLOURS.items():
        table[value] = colour[:3]
    return np.moveaxis(table[classes], 2, 0)


def main() -> None:
    folder = sample_folder()
    with tempfile.TemporaryDirectory() as work:
        output, qa, uncertainty = (Path(work) / f"{name}.tif" for name in ("out", "qa", "uncertainty"))
        sar = [folder / name for name in SAR]
        cloudfree.run(folder / SCENE, sar, output, references=folder / EARLIER, qa=qa, uncertainty=uncertainty)
        before, after = (pictures.true_colour(dn_of(path)) for path in (folder / SCENE, output))
        limits = pictures.contrast_limits(after)
        shown = [pictures.with_contrast(image, *limits) for image in (before, after)]
        panels = [Panel(image, *words) for image, words in zip(shown, WORDS, strict=True)]
        for name, image in zip(("scene", "product", "before_after"), (*shown, side_by_side(panels)), strict=True):
            (HERE / f"{name}.jpg").write_bytes(pictures.encoded(image, "JPEG", QUALITY="88"))
        pictures.write_png(HERE / "quality.png", class_colours(qa))
        pictures.write_png(HERE / "uncertainty.png", pictures.deviation_colour(uncertainty, *after.shape[1:]))


if __name__ == "__main__":
    main()
