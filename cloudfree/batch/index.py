"""`index.html` of a batch: a table of its scenes with thumbnails and links, which any column sorts."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rasterio.enums import Resampling
from rasterio.errors import RasterioError

from cloudfree.batch.results import Outcome, replaced
from cloudfree.errors import CloudfreeError
from cloudfree.inputs.optical.scene import has_data
from cloudfree.inputs.raster import access
from cloudfree.product import pictures
from cloudfree.product.kinds import REPORT
from cloudfree.report import facts, page
from cloudfree.report.embedding import Picture, display_shape, embedded, with_alpha
from cloudfree.report.rendering import rendered

MOST_THUMBNAILS = 1000
"""Pages of more scenes have no thumbnails: at 3 kB each browsers would be slow to open them."""

_THUMBNAIL_PX, _THUMBNAIL_BYTES = 96, 3000


def write_index(folder: Path, outcomes: Sequence[Outcome]) -> None:
    """Write the page of all scenes, replaced in one step. Raises OutputError."""
    thumbnails = 0 < len(outcomes) <= MOST_THUMBNAILS
    with access.gdal_settings():
        rows = [_row(outcome, folder, thumbnails) for outcome in outcomes]
    content = rendered(
        "index.html",
        rows=rows,
        thumbnails=thumbnails,
        most=MOST_THUMBNAILS,
        counts=Counter(outcome.status for outcome in outcomes),
        seconds=sum(outcome.seconds for outcome in outcomes),
        percent=facts.percent,
    )
    with replaced(folder / REPORT.listed_in) as file:
        file.write_bytes(content)


def _row(outcome: Outcome, folder: Path, thumbnails: bool) -> dict[str, Any]:
    """Return what the page shows of a scene; its files only if this batch has made them or found them finished."""
    job, product, own_page = outcome.job, outcome.job.output, REPORT.beside(outcome.job.output)
    names = {str(source): source.name for source in job.sources} | {str(product): product.name}
    error = facts.without_paths(outcome.error, names)
    row = {"name": job.planet.name, "status": outcome.status, "seconds": outcome.seconds, "error": error}
    if outcome.status not in ("made", "skipped"):
        return {**row, "share": None, "product": None, "page": None, "thumbnail": None}
    pixels = outcome.details.get("pixels") or page.read_numbers(own_page).get("pixels")
    return {
        **row,
        "share": facts.reconstructed_share(pixels) if pixels else None,
        "product": _relative(folder, product),
        "page": _relative(folder, own_page),
        "thumbnail": _thumbnail(product) if thumbnails else None,
    }


def _relative(folder: Path, path: Path) -> Path | None:
    return Path(os.path.relpath(path, folder)) if path.is_file() else None


def _thumbnail(product: Path) -> Picture | None:
    """Return a product in true colour, read from its overviews; None where it cannot be read."""
    try:
        with access.opened(product) as dataset:
            shape = display_shape(dataset.shape, _THUMBNAIL_PX, least_px=1)
            dn = dataset.read(out_shape=(4, *shape), resampling=Resampling.average)
    except (CloudfreeError, RasterioError):
        return None
    colours = pictures.true_colour(dn)
    shown = with_alpha(pictures.with_contrast(colours, *pictures.contrast_limits(colours)), has_data(dn))
    return embedded(shown, _THUMBNAIL_BYTES)
