"""Which files GDAL may open: those that hold their own pixels.

GDAL reads some 150 formats, and in many of them a few lines make it read any other file, or ask a server, with the
rights of whoever runs us: who sends such a file would choose what becomes a product. So the formats are those in which
scenes, radar and masks come. A virtual raster (VRT) is read here first, may be made of rasters below its own folder or
in its own archive alone, and GDAL is given what was read, not the file. HDF5, which netCDF-4 is, holds its variables
itself. `trusting` lifts all of that.
"""

from __future__ import annotations

import io
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple
from xml.etree import ElementTree
from xml.etree.ElementTree import Element

import numpy as np
from rasterio import DatasetReader

from cloudfree.errors import InputError
from cloudfree.inputs import limits
from cloudfree.inputs.location.names import FILE_SYSTEMS
from cloudfree.inputs.location.source import Source
from cloudfree.inputs.raster.beside import refuse_odd_neighbours
from cloudfree.inputs.raster.sound import read_attributes, refuse_damaged_netcdf

_FORMATS = ("GTiff", "ENVI", "EHdr", "HFA", "JP2OpenJPEG", "JP2ECW", "JP2KAK", "JP2MrSID", "PNG", "JPEG")
_RAW = "ENVI", "EHdr"
_NETCDF, _HDF5 = ("netCDF",), ("netCDF", "HDF5", "HDF5Image")
_VIRTUAL = ("VRT",)
_TRUST = "give --trust-inputs if you know who made it"

_HEADER_BYTES = 4096
_VIRTUAL_MARK, _NETCDF_MARK, _HDF5_MARK = b"<VRTDataset", b"CDF", b"\x89HDF\r\n\x1a\n"
# Of formats that no other driver of GDAL's takes for its own: parts of a virtual raster are opened by any.
_TIFF_MARKS = b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"
_PART_MARKS = (*_TIFF_MARKS, b"\x89PNG\r\n\x1a\n", b"\0\0\0\x0cjP  ", b"EHFA_HEADER_TAG\0")
_CHAIN = re.compile(r'(?:^|[{"=,])/((?:/*vsi(?:zip|tar|gzip)[/?])*/*vsi[a-z0-9_]+[/?])')  # one within another
_CRS = re.compile(r"\w+:\d+(\+\d+)?$|urn:ogc:def:crs:\w+:[\w.]*:\w+$|[A-Z_]+\[")
_MOST_LEVELS, _MOST_PARTS, _MOST_BYTES = 3, 10_000, 32 << 20  # of virtual rasters within each other, all together
_MOST_BANDS, _MOST_PIXELS, _MOST_BLOCK_BYTES = 1000, 2 * 10**10, 1 << 30
_MOST_OBJECTS = 10_000  # of an HDF5 file

_trusts: ContextVar[bool] = ContextVar("trusts_inputs", default=False)


@contextmanager
def trusting(trusts: bool) -> Iterator[None]:
    """Whether files of any kind are opened within the block, whatever they make GDAL read."""
    token = _trusts.set(trusts)
    try:
        yield
    finally:
        _trusts.reset(token)


class Admitted(NamedTuple):
    """What GDAL is to open, and by which of its drivers; None is any."""

    address: str
    drivers: tuple[str, ...] | None


def admit(source: Source) -> Admitted:
    """How a source may be opened. Raises InputError where it would have GDAL read what is not its own."""
    if _trusts.get():
        return Admitted(source.address, None)
    if source.is_stack:  # whose parts were opened before
        return Admitted(source.address, _VIRTUAL)
    _refuse_file_systems(source)
    whole = source.container
    if not (whole.plain or whole.is_archived):  # at an address, or where GDAL alone can read: /vsigzip/
        return Admitted(source.address, _FORMATS)
    header = _header(source)
    if _VIRTUAL_MARK in header and not source.address.startswith("/vsitar/"):  # which is read through for each part
        return Admitted(_Virtual().text_of(source), _VIRTUAL)
    return Admitted(source.address, _drivers(source, header))


def _refuse_file_systems(source: Source) -> None:
    """Raise InputError where an address is in a file system of GDAL's that no images are delivered in."""
    named = {name for chain in _CHAIN.findall(source.address) for name in re.findall(r"vsi(\w+)", chain)}
    if strange := sorted(named.difference(FILE_SYSTEMS)):
        raise InputError(
            f"{source} is in /vsi{strange[0]}/ of GDAL's; files, archives and servers are read "
            f"(/vsiNAME/ of {', '.join(FILE_SYSTEMS)}): save it as a file, or {_TRUST}"
        )


def _drivers(source: Source, header: bytes) -> tuple[str, ...]:
    """Of a raster that is no virtual one, by its first bytes."""
    refuse_odd_neighbours(source, _TRUST)
    if header.startswith(_NETCDF_MARK):
        refuse_damaged_netcdf(source, header)
        return _NETCDF
    if header and _is_hdf5(source, header):
        _refuse_external(source)
        return _HDF5
    if source.is_variable:
        return _HDF5
    if header.startswith(_TIFF_MARKS):
        return ("GTiff",)
    # A header beside it would make numbers of any file's bytes, which a link called .tif may lead to.
    return tuple(name for name in _FORMATS if name not in _RAW or source.suffix not in (".tif", ".tiff"))


def refuse_parts_elsewhere(dataset: Any, source: Source) -> None:
    """Raise InputError where an open raster names another file as that of its overviews, or of its pixels."""
    if _trusts.get():
        return
    if any(map(_is_overview_file, dataset.tags(ns="OVERVIEWS"))):
        raise InputError(
            f"{source} names another file as that of its overviews; those in it or beside it are read: make them anew "
            f"(gdaladdo), or {_TRUST}"
        )
    if dataset.driver in _VIRTUAL:  # whose parts were looked at
        return
    if strays := [name for name in dataset.files if _is_elsewhere(name, source)]:
        raise InputError(
            f"{source} has its pixels in {strays[0]}, outside its folder; a raster is one file and those beside it: "
            f"make a GeoTIFF of it (gdal_translate), or {_TRUST}"
        )


def _is_overview_file(key: str) -> bool:
    """Whether a key of metadata names the file of overviews, for GDAL, to which case is nothing."""
    return key.upper() == "OVERVIEW_FILE"


def _is_elsewhere(name: str, source: Source) -> bool:
    """Whether a file of a raster lies outside of its folder, or of its archive; of others nothing is known."""
    if source.plain:
        return not _normal(name).is_relative_to(_normal(source.plain.parent))
    inside = name.startswith(source.address.removesuffix(source.inside))
    return source.is_archived and not source.is_variable and not inside


def _normal(path: Path | str) -> Path:
    """Absolute, without `..`; links, which may be a user's own, are not followed."""
    return Path(os.path.normpath(Path(path).absolute()))


def refuse_giants(dataset: Any, source: Source) -> None:
    """Raise InputError where an open raster is larger than any image, whoever made it: a few bytes can say so."""
    if not dataset.count:  # a container of several, which has no pixels itself
        return
    height, width = dataset.block_shapes[0]
    together = dataset.count if dataset.profile.get("interleave") == "pixel" else 1
    block_bytes = height * width * together * np.dtype(dataset.dtypes[0]).itemsize
    found = None
    if dataset.count > _MOST_BANDS:
        found = f"{dataset.count} bands; {_MOST_BANDS} are allowed"
    elif dataset.width * dataset.height > _MOST_PIXELS:
        found = f"{dataset.width} x {dataset.height} pixels; {_MOST_PIXELS:.0e} are allowed"
    elif block_bytes > _MOST_BLOCK_BYTES:
        found = f"blocks of {block_bytes / 2**20:.0f} MB; {_MOST_BLOCK_BYTES >> 20} are allowed"
    if found:
        raise InputError(f"{source} has {found}: cut it into parts, or write it anew in tiles (gdal_translate)")


def _header(source: Source) -> bytes:
    """The first bytes of the file that holds a source, or of its member of an archive; none of what is no file."""
    whole = source.container
    return whole.read_bytes(_HEADER_BYTES) if whole.exists else b""


# --- virtual rasters ---

_OPAQUE = frozenset(("Metadata", "Histograms", "GDALRasterAttributeTable", "ColorTable", "CategoryNames", "GCPList"))
"""Elements whose content is numbers and words alone."""

_KNOWN = _OPAQUE.union(
    ("VRTDataset", "VRTRasterBand", "SRS", "GeoTransform", "OverviewList", "BlockXSize", "BlockYSize", "MaskBand"),
    ("Overview", "NoDataValue", "HideNoDataValue", "ColorInterp", "Offset", "Scale", "UnitType", "Description"),
    ("SimpleSource", "ComplexSource", "AveragedSource", "SourceFilename", "SourceBand", "SourceProperties", "SrcRect"),
    ("DstRect", "NODATA", "ScaleOffset", "ScaleRatio", "ColorTableComponent", "Exponent", "SrcMin", "SrcMax"),
    ("DstMin", "DstMax", "LUT", "UseMaskBand", "GDALWarpOptions", "WarpMemoryLimit", "ResampleAlg"),
    ("WorkingDataType", "SourceDataset", "BandList", "BandMapping", "Option", "Options", "SrcNoDataReal"),
    ("SrcNoDataImag", "DstNoDataReal", "DstNoDataImag", "SrcAlphaBand", "DstAlphaBand", "Transformer"),
    ("ApproxTransformer", "MaxError", "BaseTransformer", "GenImgProjTransformer", "SrcGeoTransform"),
    ("SrcInvGeoTransform", "DstGeoTransform", "DstInvGeoTransform", "ReprojectTransformer"),
    ("ReprojectionTransformer", "SourceSRS", "TargetSRS"),
)
_FILES, _SYSTEMS = ("SourceFilename", "SourceDataset"), ("SRS", "SourceSRS", "TargetSRS")
_SPELLED = "subClass", "relativeToVRT", "name", "key"
_LOWER = frozenset(name.lower() for name in _SPELLED)
"""Attributes that decide something: GDAL takes them in any case, so they must be written in theirs."""
_CLASSES = (None, "VRTSourcedRasterBand", "VRTWarpedDataset", "VRTWarpedRasterBand")
_WARP_OPTIONS = frozenset(
    ("INIT_DEST", "NUM_THREADS", "UNIFIED_SRC_NODATA", "SOURCE_EXTRA", "SAMPLE_GRID", "SAMPLE_STEPS", "SKIP_NOSOURCE"),
).union(
    ("ERROR_OUT_IF_EMPTY_SOURCE_WINDOW", "ERROR_THRESHOLD", "OPTIMIZE_SIZE", "SRC_ALPHA_MAX", "DST_ALPHA_MAX"),
    ("SRC_COORD_PRECISION", "XSCALE", "YSCALE", "STREAMABLE_OUTPUT", "WRITE_FLUSH", "MULT_FACTOR_VERTICAL_SHIFT"),
)


@dataclass
class _Virtual:
    """Reads virtual rasters, and those that they are made of, within bounds of all of them together."""

    parts: int = 0
    size: int = 0
    _above: list[Source] = field(default_factory=list)

    def text_of(self, source: Source) -> str:
        """Its XML, with the addresses of its parts. Raises InputError."""
        content = source.read_bytes(_MOST_BYTES + 1)
        self.size += len(content)
        if self.size > _MOST_BYTES or len(self._above) == _MOST_LEVELS:
            raise InputError(
                f"{source} is a virtual raster of more than {_MOST_BYTES >> 20} MB or {_MOST_LEVELS} levels; make a "
                f"GeoTIFF of it (gdal_translate), or {_TRUST}"
            )
        self._above.append(source)
        root = _parsed(source, content)
        self._check(root, source)
        self._above.pop()
        return ElementTree.tostring(root, encoding="unicode")

    def _check(self, element: Element, source: Source) -> None:
        if odd := [name for name in element.attrib if name not in _SPELLED and name.lower() in _LOWER]:
            raise _refused(source, f"has {_shown(odd[0])} in another spelling")
        if element.tag not in _KNOWN or element.get("subClass") not in _CLASSES:
            what = element.tag if element.tag not in _KNOWN else element.get("subClass")
            raise _refused(source, f"has {_shown(str(what))}, which can be anything")
        text = (element.text or "").strip()
        if element.tag in _SYSTEMS and text and not states_crs(text):
            raise _refused(source, f"has a coordinate reference system that is neither EPSG nor WKT ({_shown(text)})")
        if element.tag == "Option" and element.get("name") not in _WARP_OPTIONS:
            raise _refused(source, f"has the option {_shown(element.get('name', ''))}")
        if element.tag in _FILES:
            element.text, element.attrib = self._part(element, source), {"relativeToVRT": "0"}
        values = (value for item in element.iter() for value in item.attrib.values())
        if element.tag == "Metadata" and any(map(_is_overview_file, values)):
            raise _refused(source, "names another file as that of its overviews")
        if element.tag not in _OPAQUE:
            for child in element:
                self._check(child, source)

    def _part(self, element: Element, source: Source) -> str:
        """What GDAL is to open for one of its parts."""
        self.parts += 1
        if self.parts > _MOST_PARTS:
            raise _refused(source, f"has more than {_MOST_PARTS} parts")
        name = (element.text or "").strip()
        part = _below(source, name, relative=element.get("relativeToVRT", "0") != "0")
        if part is None:
            raise _refused(source, f"is made of {_shown(name)}, which is no file below its folder")
        header = _header(part)
        if _VIRTUAL_MARK in header:
            return self.text_of(part)
        if not header.startswith(_PART_MARKS):
            raise _refused(source, f"is made of {part.name}, which is no GeoTIFF, JPEG 2000, PNG, Erdas image or VRT")
        refuse_odd_neighbours(part, _TRUST)
        with DatasetReader(part.address, driver=list(_FORMATS)) as dataset:
            refuse_parts_elsewhere(dataset, part)
        return part.address


def _parsed(source: Source, content: bytes) -> Element:
    if b"<!DOCTYPE" in content or b"<!ENTITY" in content:
        raise _refused(source, "has a document type of its own")
    try:
        return ElementTree.fromstring(content)
    except (ElementTree.ParseError, ValueError, LookupError) as error:
        raise InputError(f"{source} is a damaged virtual raster ({error}); make it anew (gdalbuildvrt)") from error


def _below(source: Source, name: str, *, relative: bool) -> Source | None:
    """The file of a name, in or below the folder of a virtual raster, or in its archive; None if it is elsewhere."""
    if not name or "\0" in name:
        return None
    if source.is_archived:
        inside = os.path.normpath(PurePosixPath(source.inside).parent / name)
        member = Source.member(source.file, inside) if source.file else source
        return member if relative and not inside.startswith(("..", "/")) and member.exists else None
    assert source.file
    folder = source.file.resolve().parent
    path = ((folder if relative else Path.cwd()) / name).resolve()
    return Source.of(path) if path.is_relative_to(folder) and path.is_file() else None


def states_crs(text: str) -> bool:
    """Whether a text is a CRS by authority and code (EPSG:32633, urn:ogc:def:crs:OGC:1.3:CRS84) or WKT.

    PROJ also takes addresses, which it asks, and names of files.
    """
    return _CRS.match(text) is not None


def _shown(text: str) -> str:
    """The start of what stands in a file, as a word of a message."""
    return repr(" ".join(text.split())[:60])


def _refused(source: Source, why: str) -> InputError:
    return InputError(
        f"{source} is a virtual raster that {why}; one of plain rasters below its own folder is read: make a GeoTIFF "
        f"of it (gdal_translate), or {_TRUST}"
    )


# --- HDF5 ---


def _is_hdf5(source: Source, header: bytes) -> bool:
    """Whether the mark stands at the start, or after a block of the user's own, whose size is a power of two.

    GDAL is not to read HDF5 elsewhere but where it is asked for a variable.
    """
    return source.is_variable or any(header[at:].startswith(_HDF5_MARK) for at in (0, 512, 1024, 2048))


def _refuse_external(source: Source) -> None:
    """Raise InputError for links, groups that hold themselves, and variables that lie in other files."""
    import h5py  # noqa: PLC0415 - it takes a while, and few files are HDF5

    whole = source.container
    try:
        with h5py.File(whole.plain or _in_memory(whole), "r") as file:
            why = _external(h5py, file)
    except (OSError, ValueError, KeyError, RuntimeError) as error:
        raise InputError(
            f"{source} cannot be read ({' '.join(str(error).split())[:120]}); a whole file is needed: fetch it again"
        ) from error
    if why:
        raise InputError(
            f"{source} {why}; a file that holds its variables itself is read: copy it (nccopy, h5repack), or {_TRUST}"
        )


def _in_memory(member: Source) -> io.BytesIO:
    """A file of an archive, in which looking for something would unpack it again and again."""
    content = member.read_bytes(limits.UNPACKED_BYTES + 1)
    if len(content) > limits.UNPACKED_BYTES:
        raise InputError(
            f"{member} has more than {limits.UNPACKED_BYTES >> 20} MB, too many to look through in an archive: take it "
            f"out, or {_TRUST}"
        )
    return io.BytesIO(content)


def _external(h5py: Any, file: Any) -> str | None:
    """Why an open file is not read, if so."""
    seen, groups = set(), [file]
    while groups:
        group = groups.pop()
        read_attributes(group)
        for name in group:
            if not isinstance(group.get(name, getlink=True), h5py.HardLink):
                return f"has a link ({name})"
            item = group[name]
            place = h5py.h5o.get_info(item.id).addr
            if isinstance(item, h5py.Group):
                if place in seen or place == h5py.h5o.get_info(file.id).addr:
                    return f"has a group that is in several places ({name})"
                groups.append(item)
            elif isinstance(item, h5py.Dataset):
                read_attributes(item)
                if item.external or item.is_virtual:
                    return f"has a variable that lies in another file ({name})"
            seen.add(place)
            if len(seen) > _MOST_OBJECTS:
                return f"has more than {_MOST_OBJECTS} variables"
    return None
