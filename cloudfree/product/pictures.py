"""Pictures for people: before, radar and after, side by side."""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TypeVar

import numpy as np
import rasterio
from numpy.typing import NDArray
from rasterio.enums import Resampling
from rasterio.errors import NotGeoreferencedWarning
from rasterio.io import MemoryFile
from rasterio.windows import Window

from cloudfree.arrays import Image, Mask
from cloudfree.bands import REFLECTANCE_SCALE
from cloudfree.geometry import Grid
from cloudfree.inputs.area import Part
from cloudfree.inputs.optical.scene import Scene, has_data
from cloudfree.product.captions import Panel, side_by_side
from cloudfree.product.cog import writing
from cloudfree.product.kinds import OUTPUT, QUICKLOOK, UNCERTAINTY, Kind
from cloudfree.scene.offset import Vector
from cloudfree.scene.survey import Survey

Pixel = TypeVar("Pixel", bound=np.generic)

BRIGHTEST_DEVIATION = 0.06
"""Standard deviation of reflectance from which on colours are the brightest."""

_PANEL_PX = 900
_CLOSEUP_PX, _SQUARES = 300, 8  # side of the checkerboards in pixels of the survey, and squares along it
_RAMP = ((0, 0, 0), (70, 20, 120), (190, 50, 100), (250, 140, 40), (255, 240, 120))  # even in lightness
_GREEN, _RED, _NODATA = (60, 255, 80), (255, 60, 60), (190, 190, 190)
_VV_RANGE_DB, _VH_RANGE_DB, _RATIO_RANGE_DB = (-22.0, -2.0), (-28.0, -8.0), (2.0, 14.0)


def quicklook(files: Mapping[Kind, Path], surveyed: Survey, scene: Scene, part: Part) -> None:
    """Write a PNG of three panels: the cloudy scene, Sentinel-1 (red VV, green VH, blue VV/VH) and the product.

    Without radar there is no panel of it. Each shows the part of the scene that is in the product. Both optical panels
    have the contrast of the product, so that they can be compared. With a file of uncertainty there is one more panel:
    black where observed, then from violet to yellow at a standard deviation of `BRIGHTEST_DEVIATION`, grey without
    data. Panels that are wide enough have a title and what their colours mean.
    """
    height, width = _panel_shape(part.shape)
    with scene.open() as reader, rasterio.open(files[OUTPUT]) as product:
        window = Window(part.col, part.row, part.width, part.height)
        before = true_colour(reader.averaged(height, width, window))
        after = true_colour(product.read(out_shape=(4, height, width), resampling=Resampling.average))
    limits = contrast_limits(after)
    panels = [
        Panel(with_contrast(before, *limits), "Scene", "as taken, with the contrast of the result"),
        Panel(with_contrast(after, *limits), "Result", "clouds reconstructed, true colour"),
    ]
    if surveyed.sar_valid.any():
        sar = nearest(surveyed.sar_db[:, *on_survey(part, scene.grid, surveyed.grid)], height, width)
        panels.insert(1, Panel(sar_colour(sar), "Sentinel-1", "red VV, green VH, blue VV/VH"))
    if UNCERTAINTY in files:
        panels.append(_uncertainty_panel(files[UNCERTAINTY], height, width))
    write_png(files[QUICKLOOK], side_by_side(panels))


def _uncertainty_panel(path: Path, height: int, width: int) -> Panel:
    """The mean of the bands' standard deviations, with its scale of colours; grey where there are no data."""
    colours, known = deviation_colour(path, height, width), has_deviation(path, height, width)
    return Panel(
        np.where(known, colours, np.array(_NODATA, np.uint8)[:, None, None]),
        "Standard deviation of reflectance",
        f"{BRIGHTEST_DEVIATION:g}+  black observed, grey no data",
        scale=ramp(np.linspace(0, 1, 256, dtype=np.float32)[None])[:, 0],
        scale_from="0",
    )


def alignment(target: Path, before: Survey, after: Survey, vectors: Sequence[Vector]) -> None:
    """Write a PNG of three panels: the offset of each window, and checkerboards of scene and VV before and after.

    The first panel shows the whole scene with a dot for each window and a line in the direction in which its SAR has to
    move, longer than the offset is; green where the window was used, red where it was rejected. The checkerboards show
    a square around a window that was used.
    """
    part = _closeup(before.grid.shape, vectors)
    boards = [_checkerboard(surveyed, part) for surveyed in (before, after)]
    height, width = boards[0].shape[1:]
    dn = np.where(before.data, before.dn[2::-1].astype(np.float32), np.nan)
    scene = with_contrast(dn, *contrast_limits(dn))
    scale = min(height / scene.shape[1], width / scene.shape[2])
    shape = max(1, round(scene.shape[1] * scale)), max(1, round(scene.shape[2] * scale))
    overview = np.full((3, height, shape[1]), 255, np.uint8)
    overview[:, : shape[0]] = nearest(scene, *shape)
    _draw_vectors(overview, vectors, scale)
    square = "squares of the scene, and of VV in grey"
    panels = [Panel(overview, "Offset of each window", "green used, red rejected")]
    panels += [Panel(one, f"{when} the move", square) for one, when in zip(boards, ("Before", "After"), strict=True)]
    write_png(target, side_by_side(panels))


def write_png(target: Path, rgb: NDArray[np.uint8]) -> None:
    """Write (3, H, W) as a PNG. Raises OutputError."""
    with writing(target):
        target.write_bytes(encoded(rgb, "PNG"))


def encoded(pixels: NDArray[np.uint8], driver: str, **options: str) -> bytes:
    """Return pixels (bands, H, W) as a file of a GDAL driver, written with its `options`."""
    count, height, width = pixels.shape
    profile = {"driver": driver, "count": count, "height": height, "width": width, "dtype": "uint8", **options}
    with rasterio.Env(GDAL_PAM_ENABLED="NO"), warnings.catch_warnings(), MemoryFile() as memory:
        warnings.simplefilter("ignore", NotGeoreferencedWarning)
        with memory.open(**profile) as image:
            image.write(pixels)
        return bytes(memory.read())


def _closeup(shape: tuple[int, int], vectors: Sequence[Vector]) -> tuple[slice, slice]:
    """Return rows and columns of a square around the most central used window, or around the centre."""
    side = min(_CLOSEUP_PX, *shape)
    used = np.array([vector.centre_yx_px for vector in vectors if vector.used] or [(shape[0] / 2, shape[1] / 2)])
    middle = used[np.hypot(*(used - used.mean(axis=0)).T).argmin()]
    corner = [int(np.clip(round(m - side / 2), 0, length - side)) for m, length in zip(middle, shape, strict=True)]
    return slice(corner[0], corner[0] + side), slice(corner[1], corner[1] + side)


def _checkerboard(surveyed: Survey, part: tuple[slice, slice]) -> NDArray[np.uint8]:
    """Return a checkerboard (3, H, W) of the scene in colour and VV in grey, enlarged."""
    scene = np.where(surveyed.data, surveyed.dn[2::-1].astype(np.float32), np.nan)[:, *part]
    vv = surveyed.sar_db[:1, *part]
    colour, grey = (with_contrast(image, *contrast_limits(image)) for image in (scene, vv))
    squares = np.indices(scene.shape[1:]) // max(1, scene.shape[1] // _SQUARES)
    board = np.where(squares.sum(axis=0) % 2, np.repeat(grey, 3, axis=0), colour)
    zoom = max(1, _PANEL_PX // scene.shape[1])
    return board.repeat(zoom, axis=1).repeat(zoom, axis=2)


def _draw_vectors(image: NDArray[np.uint8], vectors: Sequence[Vector], scale: float) -> None:
    """Draw onto an image (3, H, W) that shows the survey at `scale`."""
    if not vectors:
        return
    spacing = np.sqrt(image.shape[1] * image.shape[2] / len(vectors))
    longest = max(float(np.hypot(*vector.shift_yx_px)) for vector in vectors)
    lengthening = 0.5 * spacing / max(longest, 1e-6)
    for vector in vectors:
        start, way = np.array(vector.centre_yx_px) * scale, np.array(vector.shift_yx_px) * lengthening
        colour = np.array(_GREEN if vector.used else _RED, np.uint8)[:, None, None]
        for share in np.linspace(0, 1, 1 + math.ceil(float(np.abs(way).max()))):
            row, col = (int(v) for v in np.rint(start + share * way))
            reach = 4 if share == 0 else 1
            image[:, max(0, row - reach) : row + reach + 1, max(0, col - reach) : col + reach + 1] = colour


def _panel_shape(shape: tuple[int, int]) -> tuple[int, int]:
    scale = min(1.0, _PANEL_PX / max(shape))
    return max(1, round(shape[0] * scale)), max(1, round(shape[1] * scale))


def on_survey(part: Part, scene: Grid, survey: Grid) -> tuple[slice, slice]:
    """Return rows and columns of the pixels of a survey that show a part of its scene."""
    rows, cols = (
        slice(span.start * surveyed // length, -(-span.stop * surveyed // length))
        for span, length, surveyed in zip((part.rows, part.cols), scene.shape, survey.shape, strict=True)
    )
    return rows, cols


def true_colour(dn: NDArray[np.uint16]) -> Image:
    """Return red, green, blue (3, H, W) of digital numbers (4, H, W), NaN without data."""
    return np.where(has_data(dn), dn[2::-1].astype(np.float32), np.nan)


def contrast_limits(image: Image) -> tuple[float, float]:
    """Return the values to show as black and as white: the percentiles 1 and 99, NaN left out."""
    values = image[np.isfinite(image)]
    low, high = np.percentile(values, (1, 99)) if values.size else (0.0, 1.0)
    return float(low), float(max(high, low + 1))


def with_contrast(image: Image, low: float, high: float) -> NDArray[np.uint8]:
    """Return values as 0 (`low` or less) to 255 (`high` or more), with a gamma of 0.8; 0 for NaN."""
    unit = np.clip((np.nan_to_num(image, nan=low) - low) / (high - low), 0, 1)
    return np.rint(255 * unit**0.8).astype(np.uint8)


def sar_colour(sar_db: Image) -> NDArray[np.uint8]:
    """Return VV and VH in dB (2, H, W) as red VV, green VH, blue VV/VH (3, H, W); black without data."""
    layers = (sar_db[0], sar_db[1], sar_db[0] - sar_db[1])
    ranges = (_VV_RANGE_DB, _VH_RANGE_DB, _RATIO_RANGE_DB)
    return np.stack([with_contrast(layer, *limits) for layer, limits in zip(layers, ranges, strict=True)])


def deviation_colour(path: Path, height: int, width: int) -> NDArray[np.uint8]:
    """Return the mean of the bands of a file of uncertainty as colours (3, height, width)."""
    with rasterio.open(path) as dataset:
        deviation = dataset.read(out_shape=(dataset.count, height, width), masked=True) * np.float32(REFLECTANCE_SCALE)
    return ramp(np.clip(deviation.mean(axis=0).filled(0) / BRIGHTEST_DEVIATION, 0, 1))


def has_deviation(path: Path, height: int, width: int) -> Mask:
    """Return where a file of uncertainty has data, at a size (height, width): zero where observed, not nodata."""
    with rasterio.open(path) as dataset:
        return dataset.read_masks(1, out_shape=(height, width)) > 0


def ramp(unit: Image) -> NDArray[np.uint8]:
    """Return colours (3, H, W) of values 0..1 (H, W): black, violet, red, orange, yellow."""
    position = unit * (len(_RAMP) - 1)
    channels = [np.interp(position, range(len(_RAMP)), channel) for channel in zip(*_RAMP, strict=True)]
    return np.rint(channels).astype(np.uint8)


def nearest(image: NDArray[Pixel], height: int, width: int) -> NDArray[Pixel]:
    """Return bands (B, H, W) at another size, by nearest neighbour."""
    rows = (np.arange(height) * image.shape[1]) // height
    cols = (np.arange(width) * image.shape[2]) // width
    return image[:, rows[:, None], cols]
