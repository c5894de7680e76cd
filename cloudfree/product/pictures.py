"""Pictures for people: before, SAR and after, side by side."""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import TypeVar

import numpy as np
import rasterio
from numpy.typing import NDArray
from rasterio.enums import Resampling
from rasterio.errors import NotGeoreferencedWarning
from rasterio.windows import Window

from cloudfree.arrays import Image
from cloudfree.bands import REFLECTANCE_SCALE
from cloudfree.geometry.grid import Grid
from cloudfree.inputs.area import Part
from cloudfree.inputs.optical.scene import Scene, has_data
from cloudfree.product.cog import writing
from cloudfree.scene.offset import Vector
from cloudfree.scene.survey import Survey

Pixel = TypeVar("Pixel", bound=np.generic)

BRIGHTEST_DEVIATION = 0.06
"""Standard deviation of reflectance from which on colours are the brightest."""

_PANEL_PX = 900
_GAP_PX = 8
_CLOSEUP_PX, _SQUARES = 300, 8  # side of the checkerboards in pixels of the survey, and squares along it
_RAMP = ((0, 0, 0), (70, 20, 120), (190, 50, 100), (250, 140, 40), (255, 240, 120))  # even in lightness
_GREEN, _RED = (60, 255, 80), (255, 60, 60)
_VV_RANGE_DB, _VH_RANGE_DB, _RATIO_RANGE_DB = (-22.0, -2.0), (-28.0, -8.0), (2.0, 14.0)


def quicklook(
    target: Path, surveyed: Survey, scene: Scene, part: Part, result: Path, uncertainty: Path | None = None
) -> None:
    """Write a PNG of three panels: the cloudy scene, Sentinel-1 (red VV, green VH, blue VV/VH) and the result.

    Each shows the part of the scene that the result is of.

    Both optical panels share one stretch, taken from the result, so that they can be compared. Where there is one, the
    uncertainty is a fourth: black where observed, then from violet to yellow at a standard deviation of 0.06.
    """
    height, width = _panel_shape(part.shape)
    with scene.open() as reader, rasterio.open(result) as product:
        window = Window(part.col, part.row, part.width, part.height)
        before = true_colour(reader.averaged(height, width, window))
        after = true_colour(product.read(out_shape=(4, height, width), resampling=Resampling.average))
    low, high = stretch(after)
    sar = nearest(surveyed.sar_db[:, *on_survey(part, scene.grid, surveyed.grid)], height, width)
    panels = [stretched(before, low, high), sar_colour(sar), stretched(after, low, high)]
    if uncertainty:
        panels.append(deviation_colour(uncertainty, height, width))
    write_png(target, _side_by_side(panels))


def alignment(target: Path, before: Survey, after: Survey, vectors: Sequence[Vector]) -> None:
    """Write a PNG of three panels: what every window found, and a checkerboard of scene and VV before and after.

    The first shows the whole scene; a line leads from each window's dot the way its SAR has to go, drawn longer than it
    is, green where it bears the result out and red where not. The checkerboards show a part where windows agree.
    """
    part = _closeup(before.grid.shape, vectors)
    boards = [_checkerboard(surveyed, part) for surveyed in (before, after)]
    height, width = boards[0].shape[1:]
    dn = before.dn[2::-1].astype(np.float32)
    scene = stretched(np.where(before.data, dn, np.nan), *stretch(np.where(before.data, dn, np.nan)))
    scale = min(height / scene.shape[1], width / scene.shape[2])
    shape = max(1, round(scene.shape[1] * scale)), max(1, round(scene.shape[2] * scale))
    overview = np.full((3, height, shape[1]), 255, np.uint8)
    overview[:, : shape[0]] = nearest(scene, *shape)
    _draw_vectors(overview, vectors, scale)
    write_png(target, _side_by_side([overview, *boards]))


def write_png(target: Path, rgb: NDArray[np.uint8]) -> None:
    """Write (3, H, W) as a PNG, without the side files that GDAL likes to add. Raises OutputError."""
    with writing(target), rasterio.Env(GDAL_PAM_ENABLED="NO"), warnings.catch_warnings():
        warnings.simplefilter("ignore", NotGeoreferencedWarning)
        count, height, width = rgb.shape
        with rasterio.open(target, "w", driver="PNG", width=width, height=height, count=count, dtype="uint8") as image:
            image.write(rgb)


def _closeup(shape: tuple[int, int], vectors: Sequence[Vector]) -> tuple[slice, slice]:
    """A square around the used window that lies most in the midst of them, or around the middle."""
    side = min(_CLOSEUP_PX, *shape)
    used = np.array([vector.centre_yx_px for vector in vectors if vector.used] or [(shape[0] / 2, shape[1] / 2)])
    middle = used[np.hypot(*(used - used.mean(axis=0)).T).argmin()]
    corner = [int(np.clip(round(m - side / 2), 0, length - side)) for m, length in zip(middle, shape, strict=True)]
    return slice(corner[0], corner[0] + side), slice(corner[1], corner[1] + side)


def _checkerboard(surveyed: Survey, part: tuple[slice, slice]) -> NDArray[np.uint8]:
    """Squares in turn of the scene in colour and of VV in grey, enlarged."""
    scene = np.where(surveyed.data, surveyed.dn[2::-1].astype(np.float32), np.nan)[:, *part]
    vv = surveyed.sar_db[:1, *part]
    colour, grey = stretched(scene, *stretch(scene)), np.repeat(stretched(vv, *stretch(vv)), 3, axis=0)
    squares = np.indices(scene.shape[1:]) // max(1, scene.shape[1] // _SQUARES)
    board = np.where(squares.sum(axis=0) % 2, grey, colour)
    zoom = max(1, _PANEL_PX // scene.shape[1])
    return board.repeat(zoom, axis=1).repeat(zoom, axis=2)


def _draw_vectors(image: NDArray[np.uint8], vectors: Sequence[Vector], scale: float) -> None:
    """Paint onto (3, H, W), which shows the survey at `scale`."""
    if not vectors:
        return
    spacing = np.sqrt(image.shape[1] * image.shape[2] / len(vectors))
    longest = max(float(np.hypot(*vector.shift_yx_px)) for vector in vectors)
    stretch = 0.5 * spacing / max(longest, 1e-6)
    for vector in vectors:
        start, way = np.array(vector.centre_yx_px) * scale, np.array(vector.shift_yx_px) * stretch
        colour = np.array(_GREEN if vector.used else _RED, np.uint8)[:, None, None]
        for share in np.linspace(0, 1, 1 + math.ceil(float(np.abs(way).max()))):
            row, col = (int(v) for v in np.rint(start + share * way))
            reach = 4 if share == 0 else 1
            image[:, max(0, row - reach) : row + reach + 1, max(0, col - reach) : col + reach + 1] = colour


def _panel_shape(shape: tuple[int, int]) -> tuple[int, int]:
    scale = min(1.0, _PANEL_PX / max(shape))
    return max(1, round(shape[0] * scale)), max(1, round(shape[1] * scale))


def on_survey(part: Part, scene: Grid, survey: Grid) -> tuple[slice, slice]:
    """The pixels of a survey that show a part of its scene."""
    found = []
    for some, length, surveyed in zip((part.rows, part.cols), scene.shape, survey.shape, strict=True):
        found.append(slice(some.start * surveyed // length, -(-some.stop * surveyed // length)))
    return found[0], found[1]


def true_colour(dn: NDArray[np.uint16]) -> Image:
    """Red, green, blue (3, H, W) of digital numbers (4, H, W), NaN without data."""
    return np.where(has_data(dn), dn[2::-1].astype(np.float32), np.nan)


def stretch(image: Image) -> tuple[float, float]:
    """What becomes black and white: the first and the last hundredth of the values, NaN left out."""
    values = image[np.isfinite(image)]
    low, high = np.percentile(values, (1, 99)) if values.size else (0.0, 1.0)
    return float(low), float(max(high, low + 1))


def stretched(image: Image, low: float, high: float) -> NDArray[np.uint8]:
    """0..255 with a gamma that opens the shadows; black without data."""
    unit = np.clip((np.nan_to_num(image, nan=low) - low) / (high - low), 0, 1)
    return np.rint(255 * unit**0.8).astype(np.uint8)


def sar_colour(sar_db: Image) -> NDArray[np.uint8]:
    """VV and VH in dB (2, H, W) as red VV, green VH and blue VV/VH (3, H, W); black without data."""
    layers = (sar_db[0], sar_db[1], sar_db[0] - sar_db[1])
    ranges = (_VV_RANGE_DB, _VH_RANGE_DB, _RATIO_RANGE_DB)
    return np.stack([stretched(layer, *bounds) for layer, bounds in zip(layers, ranges, strict=True)])


def deviation_colour(path: Path, height: int, width: int) -> NDArray[np.uint8]:
    """The mean of the bands' standard deviations as colour (3, height, width)."""
    with rasterio.open(path) as dataset:
        deviation = dataset.read(out_shape=(dataset.count, height, width), masked=True) * np.float32(REFLECTANCE_SCALE)
    return ramp(np.clip(deviation.mean(axis=0).filled(0) / BRIGHTEST_DEVIATION, 0, 1))


def ramp(unit: Image) -> NDArray[np.uint8]:
    """Colours (3, H, W) of values 0..1 (H, W): black, violet, red, orange, yellow."""
    position = unit * (len(_RAMP) - 1)
    channels = [np.interp(position, range(len(_RAMP)), channel) for channel in zip(*_RAMP, strict=True)]
    return np.rint(channels).astype(np.uint8)


def nearest(image: NDArray[Pixel], height: int, width: int) -> NDArray[Pixel]:
    """Bands (B, H, W) at another size, each pixel that of the nearest."""
    rows = (np.arange(height) * image.shape[1]) // height
    cols = (np.arange(width) * image.shape[2]) // width
    return image[:, rows[:, None], cols]


def _side_by_side(panels: list[NDArray[np.uint8]]) -> NDArray[np.uint8]:
    gap = np.full((3, panels[0].shape[1], _GAP_PX), 255, np.uint8)
    return np.concatenate([part for panel in panels for part in (gap, panel)][1:], axis=2)
