"""Whether files need not be made again: they are there, whole, and have the identity of the run."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import rasterio
from rasterio.errors import RasterioError
from rasterio.windows import Window

from cloudfree.product.kinds import OUTPUT, Kind

IDENTITY_TAG = "CLOUDFREE_IDENTITY"

_ROWS = 512


def is_finished(files: Mapping[Kind, Path], identity: str) -> bool:
    """Return whether all files exist and have this identity, and all pixels of rasters can be read.

    What has no identity in it, a picture, is taken for finished if it is no older than the product.
    """
    return all(_is_whole(kind, path, identity, files[OUTPUT]) for kind, path in files.items())


def is_ours(kind: Kind, path: Path) -> bool:
    """Return whether cloudfree has made a file that `has_identity`, damaged or not, of whatever inputs."""
    if kind.mark:
        return kind.mark in path.read_bytes()
    try:
        with rasterio.open(path) as dataset:
            return IDENTITY_TAG in dataset.tags()
    except RasterioError:
        return False


def _is_whole(kind: Kind, path: Path, identity: str, product: Path) -> bool:
    if not path.is_file() or not path.stat().st_size:
        return False
    if kind.is_raster:
        return _is_whole_raster(path, identity)
    no_older = path.stat().st_mtime_ns >= product.stat().st_mtime_ns
    return no_older and (not kind.has_identity or identity.encode() in path.read_bytes())


def _is_whole_raster(path: Path, identity: str) -> bool:
    try:
        with rasterio.open(path) as dataset:
            if dataset.tags().get(IDENTITY_TAG) != identity:
                return False
            for row in range(0, dataset.height, _ROWS):
                dataset.read(window=Window(0, row, dataset.width, min(_ROWS, dataset.height - row)))
    except RasterioError:
        return False
    return True
