"""Masks that are polygons in a file of vectors, GeoJSON for one, burnt into a scene's pixels."""

from __future__ import annotations

import json
from dataclasses import dataclass

import numpy as np
import shapely
from numpy.typing import NDArray
from rasterio.features import rasterize
from shapely.geometry.base import BaseGeometry

from cloudfree.errors import UNPARSABLE, GridError, InputError
from cloudfree.geometry import Grid, transformer
from cloudfree.geometry.grid import at_turns
from cloudfree.inputs.area import read_polygons, shortened
from cloudfree.inputs.location.source import Source

ENDINGS = (".geojson", ".json", ".shp", ".gpkg", ".fgb", ".kml", ".kmz", ".gml", ".gpx")
"""Of files of vectors."""

_DESCRIPTIONS = ("stac_version", "assets", "_links")
"""Keys of documents that describe a scene by its outline."""

_BEYOND = 0.05  # of the scene's extent around it, so that none of its edges is an edge of a polygon
_SEGMENTS = 400  # along the scene's outline: straight lines of one CRS are curves in another


@dataclass(frozen=True)
class Burnt:
    """Polygons near a scene in the CRS of its grid; `count` of them are in the file."""

    shape: BaseGeometry
    count: int

    def on_grid(self, grid: Grid) -> NDArray[np.uint8]:
        """1 where a pixel's centre lies in a polygon, else 0 (H, W), on a part of the scene's grid or a coarser one."""
        if self.shape.is_empty:
            return np.zeros(grid.shape, np.uint8)
        return np.asarray(rasterize([self.shape], out_shape=grid.shape, transform=grid.transform, dtype="uint8"))


def are_in(source: Source) -> bool:
    """Whether a file is one of vectors, by its ending."""
    return source.suffix in ENDINGS


def read(source: Source, area: Grid) -> Burnt:
    """The polygons of a file of vectors around the pixels of an `area`. Raises InputError or GridError."""
    if source.plain is None:
        raise InputError(
            f"{source} is a file of vectors in an archive or at an address; one on this machine is read: unpack or "
            "download it, and give its path"
        )
    _refuse_description(source)
    shape, crs = read_polygons(source.plain, "--mask")
    outline = area.footprint(crs)
    near = outline.buffer(_BEYOND * max(outline.bounds[2] - outline.bounds[0], outline.bounds[3] - outline.bounds[1]))
    common = shapely.union_all([near.intersection(turned) for turned in at_turns(shape, near, crs)])
    if not common.intersects(outline):
        raise GridError(
            f"{source.name} has no polygon over the scene; a mask of the same ground is needed: compare it with the "
            "scene's corners (cloudfree info)"
        )
    count = len(shape.geoms) if isinstance(shape, shapely.MultiPolygon) else 1
    if crs == area.crs:
        return Burnt(common, count)
    to_grid = transformer(crs, area.crs)
    fine = shapely.segmentize(common, max(outline.length / _SEGMENTS, 1e-9))
    moved = shapely.transform(fine, lambda xy: np.column_stack(to_grid.transform(xy[:, 0], xy[:, 1])))
    return Burnt(shapely.make_valid(moved), count)


def _refuse_description(source: Source) -> None:
    """Raise InputError for a document that describes a scene, whose polygon is the scene's outline."""
    if source.suffix not in (".json", ".geojson") or not source.exists:
        return
    try:
        document = json.loads(source.read_bytes())
    except UNPARSABLE as error:
        raise InputError(
            f"{source.name} is no GeoJSON that can be read ({shortened(error)}); --mask is a raster, or GeoJSON of "
            "polygons around clouds: export it again"
        ) from error
    properties = document.get("properties") if isinstance(document, dict) else None
    is_item = isinstance(properties, dict) and {"acquired", "datetime"} & properties.keys()
    if isinstance(document, dict) and (is_item or any(key in document for key in _DESCRIPTIONS)):
        raise InputError(
            f"{source.name} describes a scene, and its polygon is the scene's outline; --mask is a raster, or polygons "
            "around clouds: give the scene's UDM2 (--udm2), or another file"
        )
