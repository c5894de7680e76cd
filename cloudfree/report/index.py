"""The page of a batch: a table of its scenes, with a thumbnail of each product, to sort by any column."""

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
"""Of more scenes a page has none: at some 3 kB each it would grow to what browsers are slow to open."""

_THUMBNAIL_PX, _THUMBNAIL_BYTES = 96, 3000


@dataclass(frozen=True)
class Row:
    """A scene: its name, what became of it, and its files by paths relative to the page, as far as they are there.

    `share` (0..1) of the data is reconstructed, None where that is not known.
    """

    name: str
    status: str
    seconds: float
    error: str = ""
    share: float | None = None
    product: Path | None = None
    page: Path | None = None


def written(rows: Sequence[Row], folder: Path) -> bytes:
    """The page of a batch that lies in `folder`, in UTF-8."""
    with gdal_settings():
        shown = [(row, _thumbnail(folder / row.product)) if row.product else (row, None) for row in _few(rows)]
    return rendered(
        "index.html",
        rows=shown or [(row, None) for row in rows],
        thumbnails=bool(shown),
        most=MOST_THUMBNAILS,
        counts=Counter(row.status for row in rows),
        seconds=sum(row.seconds for row in rows),
        percent=facts.percent,
    )


def _few(rows: Sequence[Row]) -> Sequence[Row]:
    return rows if len(rows) <= MOST_THUMBNAILS else ()


def _thumbnail(product: Path) -> Picture | None:
    """A product in true colour, by its overviews; none of a file that cannot be read."""
    try:
        with rasterio.open(product) as dataset:
            shape = display_shape(dataset.shape, _THUMBNAIL_PX, least_px=1)
            dn = dataset.read(out_shape=(4, *shape), resampling=Resampling.average)
    except RasterioError:
        return None
    colours = pictures.true_colour(dn)
    shown = with_alpha(pictures.stretched(colours, *pictures.stretch(colours)), has_data(dn))
    return embedded(shown, _THUMBNAIL_BYTES)
