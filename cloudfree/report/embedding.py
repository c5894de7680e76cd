"""Pictures inside a page: WebP, or PNG where GDAL has no WebP, in a data URI."""

from __future__ import annotations

import base64
import math
from dataclasses import dataclass

import numpy as np
import rasterio
from numpy.typing import NDArray

from cloudfree.arrays import Mask
from cloudfree.product.pictures import encoded

_QUALITIES = (80, 65, 50, 35, 20)  # of WebP, tried until a picture is small enough
_LOSSLESS = {"LOSSLESS": "YES", "EXACT": "1"}


@dataclass(frozen=True)
class Picture:
    """An image inside a page: its data URI and its size in pixels."""

    uri: str
    width: int
    height: int


def embedded(pixels: NDArray[np.uint8], at_most: float = math.inf, *, exact: bool = False) -> Picture:
    """Return pixels (3 or 4, H, W; the fourth band is alpha) as a picture of about `at_most` bytes.

    `exact` keeps every pixel as it is, for classes.
    """
    if "WEBP" not in _drivers():
        return _picture(pixels, "png", encoded(pixels, "PNG"))
    content = b""
    for quality in _QUALITIES:
        content = encoded(pixels, "WEBP", **(_LOSSLESS if exact else {"QUALITY": str(quality)}))
        if exact or len(content) <= at_most:
            break
    return _picture(pixels, "webp", content)


def with_alpha(rgb: NDArray[np.uint8], known: Mask) -> NDArray[np.uint8]:
    """Return colours (3, H, W) with alpha, transparent where not `known` (H, W); without alpha if all are known."""
    return rgb if known.all() else np.concatenate([rgb * known, 255 * known[None].astype(np.uint8)])


def display_shape(shape: tuple[int, int], most_px: int, least_px: int = 480) -> tuple[int, int]:
    """Return rows and columns to show an image of `shape` in: at most `most_px`, small ones enlarged to `least_px`."""
    longest = max(shape)
    if longest > most_px:
        return max(1, round(shape[0] * most_px / longest)), max(1, round(shape[1] * most_px / longest))
    zoom = max(1, least_px // longest)
    return shape[0] * zoom, shape[1] * zoom


def _drivers() -> dict[str, str]:
    with rasterio.Env() as environment:
        drivers: dict[str, str] = environment.drivers()
    return drivers


def _picture(pixels: NDArray[np.uint8], kind: str, content: bytes) -> Picture:
    uri = f"data:image/{kind};base64,{base64.b64encode(content).decode('ascii')}"
    return Picture(uri, pixels.shape[2], pixels.shape[1])
