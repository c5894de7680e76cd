"""Whether files need not be made again: they are there, whole, and say that they are of this identity."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import rasterio
from rasterio.errors import RasterioError
from rasterio.windows import Window

IDENTITY_TAG = "CLOUDFREE_IDENTITY"

RASTER_ENDINGS = (".tif", ".tiff")

PAGE_MARK = b'<meta name="generator" content="cloudfree">'
TEXT_MARKS = {".html": PAGE_MARK, ".json": b'"cloudfree:identity"'}
"""What every page and every STAC item of ours has in it, by ending."""

_ROWS = 512


def is_finished(targets: Sequence[Path], identity: str) -> bool:
    """Whether each of the targets is there and the identity is theirs; of rasters, that all pixels can be read.

    The first is the product; others than rasters are no older. Pictures have no identity.
    """
    return all(_is_whole(target, identity, targets[0]) for target in targets)


def is_product(path: Path) -> bool:
    """Whether a raster, page or STAC item is what cloudfree has made, whatever of, damaged or not."""
    if mark := TEXT_MARKS.get(path.suffix.lower()):
        return mark in path.read_bytes()
    try:
        with rasterio.open(path) as dataset:
            return IDENTITY_TAG in dataset.tags()
    except RasterioError:
        return False


def _is_whole(target: Path, identity: str, product: Path) -> bool:
    if not target.is_file() or not target.stat().st_size:
        return False
    if target.suffix.lower() not in RASTER_ENDINGS:
        no_older = target.stat().st_mtime_ns >= product.stat().st_mtime_ns
        return no_older and (target.suffix.lower() not in TEXT_MARKS or identity.encode() in target.read_bytes())
    try:
        with rasterio.open(target) as dataset:
            if dataset.tags().get(IDENTITY_TAG) != identity:
                return False
            for row in range(0, dataset.height, _ROWS):
                dataset.read(window=Window(0, row, dataset.width, min(_ROWS, dataset.height - row)))
    except RasterioError:
        return False
    return True
