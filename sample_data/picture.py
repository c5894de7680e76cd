"""Make `demo.png`: the sample scene, the earlier one, and the result without and with it.

python sample_data/picture.py
"""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
import rasterio

import cloudfree
from cloudfree.arrays import Image
from cloudfree.demo import EARLIER, SAR, SCENE
from cloudfree.product.pictures import write_png

HERE = Path(__file__).resolve().parent
_WEST_PX = 20  # that the earlier scene lacks
_HIGH, _GAMMA, _GAP_PX = 0.22, 0.8, 8


def true_colour(path: Path) -> Image:
    """Red, green and blue (3, H, W), 0..255."""
    with rasterio.open(path) as dataset:
        reflectance = dataset.read([3, 2, 1]).astype(np.float32) / 1e4
    return 255 * np.clip(reflectance / _HIGH, 0, 1) ** _GAMMA


def restored(folder: Path, *references: Path) -> Image:
    output = folder / f"{len(references)}.tif"
    cloudfree.run(HERE / SCENE, [HERE / name for name in SAR], output, references=references)
    return true_colour(output)


def main() -> None:
    earlier = np.pad(true_colour(HERE / EARLIER), ((0, 0), (0, 0), (_WEST_PX, 0)))
    with tempfile.TemporaryDirectory() as folder:
        results = restored(Path(folder)), restored(Path(folder), HERE / EARLIER)
    panels = [true_colour(HERE / SCENE), results[0], earlier, results[1]]
    gap = np.full((3, panels[0].shape[1], _GAP_PX), 255, np.float32)
    strip = np.concatenate([part for panel in panels for part in (panel, gap)][:-1], axis=2)
    height, width = strip.shape[1] // 2, strip.shape[2] // 2
    halved = strip[:, : 2 * height, : 2 * width].reshape(3, height, 2, width, 2).mean(axis=(2, 4))
    write_png(HERE / "demo.png", np.rint(halved).astype(np.uint8))


if __name__ == "__main__":
    main()
