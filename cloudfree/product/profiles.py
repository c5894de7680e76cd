"""The bands of each raster that is written."""

from __future__ import annotations

import numpy as np
from rasterio.enums import ColorInterp

from cloudfree.bands import OPTICAL_BANDS, REFLECTANCE_SCALE, SAR_BANDS, SKY_NODATA, Qa, SkyClass
from cloudfree.product.cog import CogProfile

NO_DEVIATION = 65535
"""Nodata of the uncertainty; 0 is an observed pixel."""

QA_COLOURS: dict[int, tuple[int, int, int, int]] = {
    Qa.NODATA: (0, 0, 0, 0),
    Qa.OBSERVED: (190, 200, 180, 255),
    Qa.RECONSTRUCTED: (60, 120, 190, 255),
    Qa.NOT_RECONSTRUCTED: (215, 60, 60, 255),
    Qa.RECONSTRUCTED_WITHOUT_SAR: (150, 90, 190, 255),
    Qa.SEEN_THROUGH: (120, 190, 215, 255),
}
"""Red, green, blue, alpha of each class."""

_SKY_COLOURS: dict[int, tuple[int, int, int, int]] = {
    SkyClass.CLEAR: (190, 200, 180, 255),
    SkyClass.CLOUD: (250, 250, 250, 255),
    SkyClass.HAZE: (200, 180, 130, 255),
    SkyClass.SHADOW: (70, 70, 110, 255),
    SkyClass.SNOW: (150, 220, 240, 255),
    SKY_NODATA: (0, 0, 0, 0),
}


def optical(scale: tuple[float, ...], compress: str) -> CogProfile:
    """Digital numbers of blue, green, red and NIR; `scale` of each band times a number is reflectance."""
    colours = (ColorInterp.blue, ColorInterp.green, ColorInterp.red, ColorInterp.nir)
    return CogProfile("uint16", OPTICAL_BANDS, colours, scale, overviews="average", compress=compress)


def quality(compress: str) -> CogProfile:
    """Class of `Qa` and share of reconstruction in percent, overviews by nearest neighbour: classes have no mean."""
    classes = ", ".join(f"{qa.value} {qa.name.lower().replace('_', ' ')}" for qa in Qa)
    names = f"class: {classes}", "share of reconstruction in percent"
    colours = (ColorInterp.palette, ColorInterp.undefined)
    return CogProfile("uint8", names, colours, (1.0, 0.01), "nearest", compress, colormap=QA_COLOURS)


def sky(compress: str) -> CogProfile:
    """Class of `SkyClass` and probability of cloud, haze or shadow in percent."""
    classes = ", ".join(f"{sky.value} {sky.name.lower()}" for sky in SkyClass)
    names = f"class: {classes}", "probability of cloud, haze or shadow in percent"
    colours = (ColorInterp.palette, ColorInterp.undefined)
    return CogProfile(
        "uint8", names, colours, (1.0, 0.01), "nearest", compress, nodata=SKY_NODATA, colormap=_SKY_COLOURS
    )


def uncertainty(compress: str) -> CogProfile:
    """Standard deviation of the reflectance of each optical band x 10000, 0 where observed."""
    names = tuple(f"standard deviation of {band}" for band in OPTICAL_BANDS)
    colours, scales = (ColorInterp.gray, *[ColorInterp.undefined] * 3), (REFLECTANCE_SCALE,) * 4
    return CogProfile("uint16", names, colours, scales, "average", compress, nodata=NO_DEVIATION)


def backscatter(compress: str) -> CogProfile:
    """VV and VH in dB, NaN where there is no ground."""
    return CogProfile(
        dtype="float32",
        descriptions=SAR_BANDS,
        colorinterp=(ColorInterp.gray, ColorInterp.undefined),
        scales=(1.0, 1.0),
        overviews="average",
        compress=compress,
        units=("dB", "dB"),
        nodata=np.nan,
    )
