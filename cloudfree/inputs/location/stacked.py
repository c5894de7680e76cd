"""Bands in rasters of their own as one raster: a virtual one of GDAL's (VRT), for which nothing is written."""

from __future__ import annotations

from collections.abc import Sequence
from xml.etree import ElementTree
from xml.etree.ElementTree import Element, SubElement

from rasterio import DatasetReader

from cloudfree.errors import InputError
from cloudfree.inputs.location.source import Source
from cloudfree.inputs.raster import access

_TYPES = {"uint8": "Byte", "int8": "Int8", "uint16": "UInt16", "int16": "Int16", "uint32": "UInt32", "int32": "Int32"}
_TYPES |= {"float32": "Float32", "float64": "Float64"}
"""GDAL's names of numpy's types."""


def stacked(container: Source, bands: Sequence[Source]) -> Source:
    """The first band of each raster as the bands of one, named like its container, with names, scale and nodata.

    Raises InputError where they are not of one grid.
    """
    root, first = Element("VRTDataset"), None
    for number, source in enumerate(bands, 1):
        with access.opened(source) as dataset:
            grid = dataset.shape, dataset.crs, dataset.transform
            if first is None:
                first = grid
                _place(root, dataset)
            if grid != first or dataset.dtypes[0] not in _TYPES:
                raise InputError(
                    f"{container.name} has {source.inside} on another grid than {bands[0].inside}, or of a type that "
                    "holds no reflectance; bands of one grid are needed: export it again"
                )
            _add(root, number, source, dataset)
    return container.made_of(ElementTree.tostring(root, encoding="unicode"))


def _place(root: Element, dataset: DatasetReader) -> None:
    root.attrib |= {"rasterXSize": str(dataset.width), "rasterYSize": str(dataset.height)}
    if dataset.crs:
        SubElement(root, "SRS").text = dataset.crs.to_wkt()
    if not dataset.transform.is_identity:
        SubElement(root, "GeoTransform").text = ", ".join(repr(float(number)) for number in dataset.transform.to_gdal())


def _add(root: Element, number: int, source: Source, dataset: DatasetReader) -> None:
    band = SubElement(root, "VRTRasterBand", dataType=_TYPES[dataset.dtypes[0]], band=str(number))
    SubElement(band, "Description").text = source.stem
    stated = {"NoDataValue": dataset.nodatavals[0], "Scale": dataset.scales[0], "Offset": dataset.offsets[0]}
    for key, value in stated.items():
        if value is not None:
            SubElement(band, key).text = repr(value)
    part = SubElement(band, "SimpleSource")
    SubElement(part, "SourceFilename", relativeToVRT="0").text = source.address
    SubElement(part, "SourceBand").text = "1"
