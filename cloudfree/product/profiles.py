"""The bands of each raster that is written."""

from __future__ import annotations

import numpy as np
from rasterio.enums import ColorInterp

from cloudfree.bands import (
    OPTICAL_BANDS,
    REFLECTANCE_SCALE,
    SAR_BANDS,
    SKY_DESCRIPTION,
    SKY_NODATA,
    Qa,
    SkyClass,
    description_of,
)
from cloudfree.product.cog import CogProfile

NO_DEVIATION = 65535
"""Nodata of the uncertainty; 0 is an observed pixel."""

NO_SHARE = 255
"""Nodata of the quality: of its second band, for a GeoTIFF has one nodata value, and class 0 says so itself."""

Colours = dict[int, tuple[int, int, int, int]]
"""Red, green, blue, alpha (0..255) of each class."""

QA_COLOURS: Colours = {
    Qa.NODATA: (0, 0, 0, 0),
    Qa.OBSERVED: (190, 200, 180, 255),
    Qa.RECONSTRUCTED: (60, 120, 190, 255),
    Qa.NOT_RECONSTRUCTED: (215, 60, 60, 255),
    Qa.RECONSTRUCTED_WITHOUT_SAR: (150, 90, 190, 255),
    Qa.SEEN_THROUGH: (120, 190, 215, 255),
}
SKY_COLOURS: Colours = {
    SkyClass.CLEAR: (190, 200, 180, 255),
    SkyClass.CLOUD: (250, 250, 250, 255),
    SkyClass.HAZE: (200, 180, 130, 255),
    SkyClass.SHADOW: (70, 70, 110, 255),
    SkyClass.SNOW: (150, 220, 240, 255),
    SKY_NODATA: (0, 0, 0, 0),
}


def optical(scale: tuple[float, ...]) -> CogProfile:
    """Digital numbers of blue, green, red and NIR; `scale` of each band times a number is reflectance."""
    colours = (ColorInterp.blue, ColorInterp.green, ColorInterp.red, ColorInterp.nir)
    return CogProfile("uint16", OPTICAL_BANDS, colours, scale, "average")


def _classed(description: str, percentage: str, colours: Colours, nodata: int) -> CogProfile:
    """A class and a percentage, overviews by nearest neighbour: classes have no mean.

    Both are of one scale, 1, for many readers take that of the first band for all.
    """
    kinds = (ColorInterp.palette, ColorInterp.undefined)
    return CogProfile("uint8", (description, percentage), kinds, (1.0, 1.0), "nearest", (), nodata, colours)


QUALITY = _classed(description_of(Qa), "share of reconstruction in percent", QA_COLOURS, NO_SHARE)
SKY = _classed(SKY_DESCRIPTION, "probability of cloud, haze or shadow in percent", SKY_COLOURS, SKY_NODATA)

_GREY = (ColorInterp.gray, *[ColorInterp.undefined] * 3)
_DEVIATIONS = tuple(f"standard deviation of {band}" for band in OPTICAL_BANDS)
UNCERTAINTY = CogProfile("uint16", _DEVIATIONS, _GREY, (REFLECTANCE_SCALE,) * 4, "average", nodata=NO_DEVIATION)
"""Standard deviation of the reflectance of each optical band x 10000, 0 where observed."""

BACKSCATTER = CogProfile("float32", SAR_BANDS, _GREY[:2], (1.0, 1.0), "average", ("dB", "dB"), np.nan)
"""VV and VH in dB, NaN where there is no ground."""
