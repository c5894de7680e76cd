"""Measure methods and baselines on real clouds, and draw what they make of them.

    python benchmarks/quality/run.py [--data ../shared/data] [--output build/quality] [--weights NAME_OR_FILE]...

The last part runs the whole command on the PlanetScope scene with a mask that leaves 2 % of it clear, or nothing.

Writes `quality.md` and `quality.csv`, and a strip of pictures for each image and setting: the cloudy image, Sentinel-1
(red VV, green VH, blue VV - VH), every method, the truth. All data here is for measuring: nothing is trained on it.
"""

from __future__ import annotations

import argparse
import logging
import math
import sys
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import rasterio
from numpy.typing import NDArray

from cloudfree import pipeline
from cloudfree.arrays import Image
from cloudfree.evaluate import metrics, tables
from cloudfree.evaluate.methods import Method, network
from cloudfree.evaluate.score import ImageCallback, Protocol, Table, evaluate
from cloudfree.evaluate.triplets import Observation, Triplet, find
from cloudfree.network.weights import load_model
from cloudfree.product.pictures import write_png

HERE = Path(__file__).resolve().parent
_GAP_PX, _MIN_PANEL_PX = 6, 384
_WINDOW_PX = 128
_SAR_RANGES_DB = ((-22.0, -2.0), (-28.0, -8.0), (2.0, 14.0))


@dataclass(frozen=True)
class Setting:
    """One table: which images, and against which truth."""

    name: str
    title: str
    source: str
    protocol: Protocol = "true"
    keep_observed: bool = False


SETTINGS = (
    Setting("other-date", "SEN12MS-CR, truth of another date", "cloudy_clear"),
    Setting("other-date-kept", "The same, unmasked pixels as observed", "cloudy_clear", keep_observed=True),
    Setting("m3r-cr", "PlanetScope (M3R-CR), truth of another date", "planet/m3r-cr/train.csv"),
    Setting("m3r-cr-published", "PlanetScope, published protocol", "planet/m3r-cr/train.csv", protocol="published"),
)


def shuffled_radar(method: Method, seed: int = 0) -> Method:
    """The method with the pixels of its radar shuffled: what it loses is what it had from radar."""

    def restored(seen: Observation) -> Image:
        height, width = seen.valid.shape
        order = np.random.default_rng(seed).permutation(height * width).reshape(height, width)
        sar_db = seen.sar_db.reshape(2, -1)[:, order]
        return method(replace(seen, sar_db=sar_db))

    return restored


def methods_of(weights: list[str], device: str) -> dict[str, Method]:
    """The networks by name, each also with shuffled radar."""
    networks = {Path(name).stem: network(load_model(name), device) for name in weights}
    return networks | {f"{name}, radar shuffled": shuffled_radar(method) for name, method in networks.items()}


def scarce(data: Path, output: Path, weights: str, device: str) -> str:
    """The whole command on a scene with hardly a clear pixel: what it warns of, how well it does, and a picture."""
    files = find(data / "planet" / "m3r-cr" / "train.csv")[0]
    lines = ["| clear | PSNR of all pixels, dB | reflectance | warnings |", "| ---: | ---: | --- | --- |"]
    for clear_share in (0.02, 0.0):
        name = f"scarce_{100 * clear_share:.0f}"
        mask = output / f"{name}_mask.tif"
        with rasterio.open(files.cloudy) as scene:
            truth = rasterio.open(files.clear).read() * 1e-4
            flags = np.ones(scene.shape, np.uint8)
            side = round(math.sqrt(clear_share * flags.size))
            flags[:side, :side] = 0
            profile = {**scene.profile, "driver": "GTiff", "count": 1, "dtype": "uint8", "nodata": None}
            with rasterio.open(mask, "w", **profile) as target:
                target.write(flags, 1)
        warned = _Warnings()
        logging.getLogger("cloudfree").addHandler(warned)
        product = output / f"{name}.tif"
        options = {"mask": mask, "buffer_m": 0.0, "weights": weights, "device": device, "overwrite": True}
        pipeline.run(files.cloudy, files.sar, product, quicklook=output / f"{name}.png", **options)
        logging.getLogger("cloudfree").removeHandler(warned)
        with rasterio.open(product) as dataset:
            made = dataset.read() * 1e-4
        mean = ", ".join(f"{band.mean():.3f}" for band in made)
        lines.append(
            f"| {clear_share:.0%} | {metrics.psnr(made, truth):.2f} | mean {mean} | {'; '.join(warned.texts)} |"
        )
    return "\n".join(lines)


class _Warnings(logging.Handler):
    """The texts of warnings."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.texts: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.texts.append(record.getMessage())


def measure(setting: Setting, data: Path, methods: Mapping[str, Method], callback: ImageCallback) -> Table | None:
    """The table of a setting, or None and a word on stderr where its data is not there."""
    source = data / setting.source
    if not source.exists():
        print(f"skipped {setting.name}: {source} does not exist; give --data", file=sys.stderr)
        return None
    return evaluate(
        source,
        methods,
        protocol=setting.protocol,
        keep_observed=setting.keep_observed,
        callback=callback,
    )


# --- pictures ---


def strip(triplet: Triplet, restored: Mapping[str, Image]) -> NDArray[np.uint8]:
    """Panels (3, H, N * W) side by side; all optical ones share the stretch of the truth."""
    low, high = np.percentile(triplet.truth[:3, triplet.valid], (1, 99))
    optical = {name: _colour(image, low, high) for name, image in restored.items()}
    panels = [_colour(triplet.seen.reflectance, low, high), _radar(triplet.seen.sar_db)]
    panels += [image for name, image in optical.items() if name != "input" and "shuffled" not in name]
    panels.append(_colour(triplet.truth, low, high))
    factor = max(1, round(_MIN_PANEL_PX / triplet.valid.shape[0]))
    grown = [panel.repeat(factor, 1).repeat(factor, 2) for panel in panels]
    gap = np.full((3, grown[0].shape[1], _GAP_PX), 255, np.uint8)
    return np.concatenate([part for panel in grown for part in (panel, gap)][:-1], axis=2)


def _colour(reflectance: Image, low: float, high: float) -> NDArray[np.uint8]:
    unit = np.clip((reflectance[2::-1] - low) / (1.1 * (high - low)), 0, 1)
    return np.rint(255 * unit**0.8).astype(np.uint8)


def _radar(sar_db: Image) -> NDArray[np.uint8]:
    layers = np.stack([sar_db[0], sar_db[1], sar_db[0] - sar_db[1]])
    low, high = (np.array(bound)[:, None, None] for bound in zip(*_SAR_RANGES_DB, strict=True))
    return np.rint(255 * np.clip(np.nan_to_num((layers - low) / (high - low)), 0, 1)).astype(np.uint8)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, default=HERE.parents[2] / "shared" / "data")
    parser.add_argument("--output", type=Path, default=HERE.parents[1] / "build" / "quality")
    parser.add_argument("--weights", action="append", default=[], help="registered name or file; may be repeated")
    parser.add_argument("--device", default="cpu")
    arguments = parser.parse_args()
    arguments.output.mkdir(parents=True, exist_ok=True)
    methods = methods_of(arguments.weights, arguments.device)
    text, lines = ["# Quality on real clouds\n"], []
    for setting in SETTINGS:

        def draw(triplet: Triplet, restored: Mapping[str, Image], name: str = setting.name) -> None:
            write_png(arguments.output / f"{name}_{triplet.name}.png", strip(triplet, restored))

        table = measure(setting, arguments.data, methods, draw)
        if table:
            text.append(f"## {setting.title}\n\n{tables.as_markdown(table)}")
            header, *rows = tables.as_csv(table).splitlines()
            lines += [f"setting,{header}"] * (not lines) + [f"{setting.name},{row}" for row in rows]
    if arguments.weights and (arguments.data / "planet" / "m3r-cr" / "train.csv").exists():
        table_of_scarce = scarce(arguments.data, arguments.output, arguments.weights[0], arguments.device)
        text.append(f"## A scene that is nearly all cloud\n\n{table_of_scarce}\n")
    (arguments.output / "quality.md").write_text("\n".join(text), encoding="utf-8")
    (arguments.output / "quality.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    print(arguments.output / "quality.md")


if __name__ == "__main__":
    main()
