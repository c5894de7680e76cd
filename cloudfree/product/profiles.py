"""What the rasters that come out hold, band by band."""

from __future__ import annotations

import numpy as np
from rasterio.enums import ColorInterp

from cloudfree.bands import OPTICAL_BANDS, SAR_BANDS
from cloudfree.product.cog import CogProfile

QA_BANDS = (
    "class: 0 nodata, 1 observed, 2 reconstructed, 3 cloudy and not reconstructed, 4 reconstructed without radar",
    "share of reconstruction in percent",
)


def optical(scale: tuple[float, ...], compress: str) -> CogProfile:
    """Blue, green, red, NIR digital numbers; `scale` turns each into reflectance."""
    colours = (ColorInterp.blue, ColorInterp.green, ColorInterp.red, ColorInterp.nir)
    return CogProfile("uint16", OPTICAL_BANDS, colours, scale, overviews="average", compress=compress)


def quality(compress: str) -> CogProfile:
    """Class and share of reconstruction. A class has no average; of the share, a value that some pixel has will do."""
    colours = (ColorInterp.gray, ColorInterp.undefined)
    return CogProfile("uint8", QA_BANDS, colours, (1.0, 0.01), overviews="nearest", compress=compress)


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
