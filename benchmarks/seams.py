"""What tiling costs: tiles of several sizes and overlaps against one pass over a whole simulated scene.

    python benchmarks/seams.py [--weights NAME|FILE] [--side 1024] [--pictures FOLDER]

Prints a table; --pictures writes each difference stretched tenfold (grey is none), where a tile border would show.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from affine import Affine
from numpy.typing import NDArray
from rasterio.crs import CRS

from cloudfree.arrays import Image, Mask
from cloudfree.geometry import Grid
from cloudfree.inputs.optical.scene import Scene
from cloudfree.network.models import CloudRemovalModel
from cloudfree.network.weights import default_weights, load_model
from cloudfree.product.pictures import write_png
from cloudfree.reconstruct.predictor import Predictor
from cloudfree.reconstruct.sliding_window import SlidingWindow
from cloudfree.reconstruct.strips import Fill, Strip
from cloudfree.reconstruct.tile import Restoration
from cloudfree.reconstruct.tiles import spans
from cloudfree.scene.model import fit_fine
from cloudfree.simulate.clouds import add_clouds, cloud_layer
from cloudfree.simulate.landscape import landscape

PLANS = ((256, 32), (256, 64), (256, 96), (512, 32), (512, 64))


class CloudyScene(NamedTuple):
    """dn (4, side, side), sar_db (2, side, side) in dB, and the mask (side, side)."""

    dn: NDArray[np.uint16]
    sar_db: Image
    mask: Mask


def cloudy_scene(side: int) -> CloudyScene:
    """A simulated place under 40 % cloud."""
    rng = np.random.default_rng(5)
    land = landscape(rng, side, side)
    layer = cloud_layer(rng, side, side, cover=0.4)
    cloudy = add_clouds(land.reflectance, layer)
    return CloudyScene(np.clip(np.rint(cloudy * 1e4), 1, 65535).astype(np.uint16), land.sar_db, layer.mask)


def restorer(model: CloudRemovalModel, seen: CloudyScene) -> Callable[[int, int], Image]:
    """A function of the tile and the overlap: reflectance of the whole scene by way of strips and tiles, as in a run.

    A network as published makes all of it anew, one that sees what the mask hides.
    """
    (dn, sar_db, mask), (height, width) = seen, seen.mask.shape
    grid = Grid(CRS.from_epsg(32633), Affine(3, 0, 4e5, 0, -3, 5e6), width, height)
    scene = Scene(Path("scene.tif"), grid, (1, 2, 3, 4), (1e-4,) * 4, "surface reflectance", ())
    sees, reflectance = bool(model.planes), scene.reflectance(dn)
    ground = fit_fine(np.clip(reflectance, 0, 1), sar_db, mask, np.ones_like(mask), 3.0) if sees else None
    typical = np.full(4, 0.1, np.float32), np.full(2, -12, np.float32)
    predictor = Predictor(model, torch.device("cpu"), "fp32", None)
    restoration = Restoration.of(*typical, ground, sees=sees)
    window = SlidingWindow(predictor, scene, ground, restoration, Fill("clouds" if sees else "all"))
    weight = mask.astype(np.float32) if sees else np.zeros((height, width), np.float32)

    def tiled(tile: int, overlap: int) -> Image:
        rows, cols = spans(height, tile, overlap), spans(width, tile, overlap)
        cuts = [slice(span.start, span.stop) for span in rows]
        strips = (Strip.of(cut.start, dn[:, cut], sar_db[:, cut], weight[cut]) for cut in cuts)
        restored = np.concatenate([done.reflectance for done in window.over(strips, rows, cols)], axis=1)
        return np.where(mask, restored, 0) if sees else restored

    return tiled


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--weights")
    parser.add_argument("--side", type=int, default=1024)
    parser.add_argument("--pictures", type=Path)
    arguments = parser.parse_args()
    model = load_model(arguments.weights or default_weights().name)
    tiled = restorer(model, cloudy_scene(arguments.side))
    whole = tiled(arguments.side, 0)
    print("| tile | overlap | seconds | median difference | 99.9th percentile | largest |")
    print("| --- | --- | --- | --- | --- | --- |")
    for tile, overlap in PLANS:
        started = time.perf_counter()
        change = tiled(tile, overlap) - whole
        size = np.abs(change)
        numbers = f"{np.median(size):.1e} | {np.percentile(size, 99.9):.1e} | {size.max():.1e}"
        print(f"| {tile} | {overlap} | {time.perf_counter() - started:.1f} | {numbers} |")
        if arguments.pictures:
            arguments.pictures.mkdir(parents=True, exist_ok=True)
            stretched = np.clip(128 + 255 * 10 * change[2::-1], 0, 255).astype(np.uint8)
            write_png(arguments.pictures / f"tile{tile}_overlap{overlap}.png", stretched)


if __name__ == "__main__":
    main()
