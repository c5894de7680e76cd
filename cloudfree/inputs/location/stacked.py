"""Bands in rasters of their own as one raster: a virtual one of GDAL's (VRT), for which nothing is written."""

from __future__ import annotations

from collections.abc import Sequence
from xml.etree import ElementTree
from xml.etree.ElementTree import Element, SubElement

from rasterio import DatasetReader

from cloudfree.errors import InputError
from cloudfree.inputs import acquisition
from cloudfree.inputs.location.source import Source
from cloudfree.inputs.raster import access, dimensions

_MOST_NAMED = 6  # dates in a message
_ACQUIRED, _DAY = "ACQUISITION_DATETIME", len("2024-06-15")

_TYPES = {"uint8": "Byte", "int8": "Int8", "uint16": "UInt16", "int16": "Int16", "uint32": "UInt32", "int32": "Int32"}
_TYPES |= {"float32": "Float32", "float64": "Float64"}
"""GDAL's names of numpy's types."""


def stacked(
    container: Source,
    bands: Sequence[Source],
    date: str | None = None,
    scale: tuple[float, float] | None = None,
    mend: str = "",
) -> Source:
    """Each raster's band as the bands of one, named like its container, with names, scale and nodata.

    Of a raster of several dates, the band of `date`; `mend` says how to give it. `scale` and offset hold where the
    rasters state none. Raises InputError where they are not of one grid, or where it is not clear which band is meant.
    """
    root, first, moments = Element("VRTDataset"), None, set[str | None]()
    for number, source in enumerate(bands, 1):
        with access.opened(source) as dataset:
            grid = dataset.shape, dataset.crs, dataset.transform
            if first is None:
                first = grid
                _place(root, dataset)
            if grid != first or dataset.dtypes[0] not in _TYPES:
                raise InputError(
                    f"{container.name} has {source.inside or source.name} on another grid than "
                    f"{bands[0].inside or bands[0].name}, or of a type that holds no reflectance; bands of one grid "
                    "are needed: export it again"
                )
            index = _band_of(dataset, source, date, mend)
            moments.add(dimensions.date_of(dataset, index) or _named(dataset))
            _add(root, number, source, dataset, index, scale)
    dates = sorted(filter(None, moments))
    if len({date[:_DAY] for date in dates}) > 1:
        raise InputError(
            f"{container.name} has bands of different dates ({', '.join(dates)}); blue, green, red and NIR of one are "
            "needed: give a folder of these alone"
        )
    if dates and dates[-1][4:5] == "-":  # which is no number of unknown units
        SubElement(SubElement(root, "Metadata"), "MDI", key=_ACQUIRED).text = dates[-1]
    return container.made_of(ElementTree.tostring(root, encoding="unicode"))


def _band_of(dataset: DatasetReader, source: Source, date: str | None, mend: str) -> int:
    """The number of the band of a date, or of the only one."""
    if dataset.count == 1 and (not date or dimensions.date_of(dataset, 1) is None):
        return 1
    moments = [dimensions.in_words(dataset, index) for index in dataset.indexes]
    chosen = [index for index, moment in zip(dataset.indexes, moments, strict=True) if date and moment.startswith(date)]
    if len(chosen) == 1:
        return int(chosen[0])
    listed = ", ".join(moments[:_MOST_NAMED]) + (", ..." if len(moments) > _MOST_NAMED else "")
    if date:
        found = f"{len(chosen)} bands of {date}" if chosen else f"no band of {date}"
        raise InputError(
            f"{source} has {found} (it has {listed}); one is needed: give --planet-date as it stands there"
        )
    raise InputError(
        f"{source} has {dataset.count} dates or bands ({listed}); one date is needed: {mend}write it as a file of its "
        "own"
    )


def _named(dataset: DatasetReader) -> str | None:
    """When a raster was taken by its own tags or name (ISO 8601), without a time of day where that is not known."""
    acquired = acquisition.of(dataset)
    if not acquired.moment:
        return None
    return acquired.moment.isoformat() if acquired.timed else acquired.moment.date().isoformat()


def _place(root: Element, dataset: DatasetReader) -> None:
    root.attrib |= {"rasterXSize": str(dataset.width), "rasterYSize": str(dataset.height)}
    if dataset.crs:
        SubElement(root, "SRS").text = dataset.crs.to_wkt()
    if not dataset.transform.is_identity:
        SubElement(root, "GeoTransform").text = ", ".join(repr(float(number)) for number in dataset.transform.to_gdal())


def _add(
    root: Element,
    number: int,
    source: Source,
    dataset: DatasetReader,
    index: int,
    scale: tuple[float, float] | None,
) -> None:
    band = SubElement(root, "VRTRasterBand", dataType=_TYPES[dataset.dtypes[0]], band=str(number))
    SubElement(band, "Description").text = source.stem
    own = dataset.scales[index - 1], dataset.offsets[index - 1]
    one, shift = scale if scale and own == (1.0, 0.0) else own
    stated = {"NoDataValue": dataset.nodatavals[index - 1], "Scale": one, "Offset": shift}
    for key, value in stated.items():
        if value is not None:
            SubElement(band, key).text = repr(value)
    part = SubElement(band, "SimpleSource")
    SubElement(part, "SourceFilename", relativeToVRT="0").text = source.address
    SubElement(part, "SourceBand").text = str(index)
