"""The page of a batch: a table of its scenes with a thumbnail of each product, which any column sorts."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import rasterio
from rasterio.enums import Resampling
from rasterio.errors import RasterioError

from cloudfree.inputs.optical.scene import has_data
from cloudfree.inputs.raster.access import gdal_settings
from cloudfree.product import pictures
from cloudfree.report import facts
from cloudfree.report.embedding import Picture, display_shape, embedded, with_alpha
from cloudfree.report.rendering import rendered

MOST_THUMBNAILS = 1000
"""Pages of more scenes have no thumbnails: at 3 kB each browsers would be slow to open them."""

_THUMBNAIL_PX, _THUMBNAIL_BYTES = 96, 3000


@dataclass(frozen=True)
class Row:
    """A scene: its name, its outcome, and its files by paths relative to the page, None where they are missing.

    `share` (0..1) of the data is reconstructed, None where that is unknown.
    """

    name: str
    status: str
    seconds: float
    error: str = ""
    share: float | None = None
    product: Path | None = None
    page: Path | None = None


def written(rows: Sequence[Row], folder: Path) -> bytes:
    """Return the page of a batch, in UTF-8; paths in rows are relative to `folder`."""
    few = len(rows) <= MOST_THUMBNAILS
    with gdal_settings():
        thumbnails = [_thumbnail(folder / row.product) if row.product and few else None for row in rows]
    return rendered(
        "index.html",
        rows=list(zip(rows, thumbnails, strict=True)),
        thumbnails=few and bool(rows),
        most=MOST_THUMBNAILS,
        counts=Counter(row.status for row in rows),
        seconds=sum(row.seconds for row in rows),
        percent=facts.percent,
    )


def _thumbnail(product: Path) -> Picture | None:
    """Return a product in true colour, read from its overviews; None where it cannot be read."""
    try:
        with rasterio.open(product) as dataset:
            shape = display_shape(dataset.shape, _THUMBNAIL_PX, least_px=1)
            dn = dataset.read(out_shape=(4, *shape), resampling=Resampling.average)
    except RasterioError:
        return None
    colours = pictures.true_colour(dn)
    shown = with_alpha(pictures.with_contrast(colours, *pictures.contrast_limits(colours)), has_data(dn))
    return embedded(shown, _THUMBNAIL_BYTES)
