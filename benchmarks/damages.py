"""How `fuzz.py` damages a file: its bytes, or what a format says at its own places, by a generator that a seed made.

Bytes anywhere mostly break a file at once. What is edited here in its structure (directories of a TIFF, elements of
XML, values of JSON and TOML, the header of safetensors) mostly passes the reader of the format, and reaches us.
"""

from __future__ import annotations

import copy
import json
import re
import struct
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import rasterio
from affine import Affine
from rasterio.control import GroundControlPoint
from rasterio.crs import CRS
from rasterio.rpc import RPC

Rng = np.random.Generator

ODD_TEXTS = ["", "nan", "-1", "0", "1e999", "9" * 400, "9" * 5000, "\x00", "<", "&x;", "É", "VV", "1 2", "\n\x1b[31m"]
ODD_TEXTS += ["2024-13-45T99:99:99", "0000-00-00", "9999-12-31T23:59:60", "https://u:pw@host/x?sig=s", "../" * 9]
ODD_NUMBERS = [np.nan, np.inf, -np.inf, 0.0, -0.0, 1e300, -1e-300, 1e9, -1.0, 0.5]
ODD_SYSTEMS = [
    *("EPSG:4326", "EPSG:3857", "EPSG:32761", "EPSG:4978", "EPSG:2056", "EPSG:4326+5773", "EPSG:7415", "EPSG:5773"),
    'LOCAL_CS["x",UNIT["m",1]]',
    'ENGCRS["x",EDATUM["y"],CS[Cartesian,2],AXIS["a",east],AXIS["b",north],LENGTHUNIT["m",1]]',
    "+proj=tmerc +lat_0=0 +lon_0=15 +k=0.9996 +x_0=500000 +ellps=WGS84 +towgs84=1,2,3,4,5,6,7 +type=crs",
    "+proj=ob_tran +o_proj=longlat +o_lat_p=40 +o_lon_p=10 +lon_0=5 +to_meter=0.01745 +type=crs",
    "+proj=gnom +lat_0=90 +lon_0=0 +type=crs",
    "+proj=tmerc +lon_0=15 +k=1e-30 +type=crs",
]
ODD_TAGS = {
    "ABSOLUTE_ORBIT_NUMBER": ["9" * 5000, "-3", "nan"],
    "PLATFORM": ["S1A", "S1\x1bD", "É"],
    "ACQUISITION_DATE": ["0000-01-01", "9999-12-31", "2024-13-45", "2024-02-30T25:61:61"],
    "TIFFTAG_IMAGEDESCRIPTION": ["[" * 50_000, '{"properties":[]}', '{"a":' + "9" * 5000 + "}", "É" * 999, "null"],
    "TIFFTAG_DATETIME": ["9999:99:99 99:99:99", "2024:06:15"],
    "AREA_OR_POINT": ["Point", "Elsewhere"],
    "units": ["dB", "9" * 99, "\x07"],
    "RADIOMETRY": ["1e999", "sigma0"],
}


def one_of(choices: Any, rng: Rng) -> Any:
    return choices[int(rng.integers(len(choices)))]


# --- bytes ---


def damaged(content: bytes, rng: Rng) -> bytes:
    """Bytes with one to eight places of damage, half of them near the beginning, where headers are."""
    data = bytearray(content)
    for _ in range(int(rng.integers(1, 9))):
        reach = min(len(data), 1024) if rng.random() < 0.5 else len(data)
        at, size = int(rng.integers(max(reach, 1))), int(rng.integers(1, 17))
        match int(rng.integers(5)):
            case 0:
                data[at : at + 1] = bytes([data[at] ^ 1 << int(rng.integers(8))]) if data else b""
            case 1:
                data[at : at + size] = rng.bytes(size)
            case 2:
                del data[at : at + size]
            case 3:
                data[at:at] = data[at : at + size]
            case _:
                del data[max(at, 1) :]
    return bytes(data)


# --- TIFF ---

_TIFF_NUMBERS = [
    0,
    1,
    2,
    3,
    5,
    7,
    8,
    16,
    32,
    33,
    64,
    255,
    4096,
    32773,
    34925,
    50000,
    65535,
    2**31 - 1,
    2**31,
    2**32 - 1,
]


def with_odd_directory(content: bytes, rng: Rng) -> bytes:
    """A classic TIFF of little bytes first with one to three entries of its directory changed: tag, type, count, value.

    Values are sizes, counts, bits, compressions, sample formats, and offsets of what does not stand in the entry.
    """
    data = bytearray(content)
    (directory,) = struct.unpack_from("<I", data, 4)
    if data[:4] != b"II*\0" or directory + 2 > len(data):
        return damaged(content, rng)
    (count,) = struct.unpack_from("<H", data, directory)
    for _ in range(int(rng.integers(1, 4))):
        entry = directory + 2 + 12 * int(rng.integers(count))
        part, size = one_of([("<H", 0), ("<H", 2), ("<I", 4), ("<I", 8), ("<H", 8), ("<I", 8)], rng), len(data)
        number = one_of([*_TIFF_NUMBERS, size - 1, size, directory], rng)
        struct.pack_into(part[0], data, entry + part[1], number % (1 << 8 * struct.calcsize(part[0])))
    if rng.random() < 0.1:
        struct.pack_into("<I", data, directory + 2 + 12 * count, directory)  # the next directory is the same
    return bytes(data)


def odd_raster(path: Path, rng: Rng) -> None:
    """The same pixels with an odd transform, CRS, name, nodata, scale, tag, or with points instead of a transform."""
    with rasterio.open(path) as source:
        profile, pixels, names = dict(source.profile), source.read(), source.descriptions
    change, describe = one_of(_CHANGES, rng), one_of(_DESCRIPTIONS, rng)
    if rng.random() < 0.6:
        profile, pixels = change(profile, pixels, rng)
    profile |= {"height": pixels.shape[1], "width": pixels.shape[2], "count": len(pixels)}
    with rasterio.open(path, "w", **profile) as target:
        target.write(pixels)
        target.descriptions = (names * 12)[: len(pixels)]
        if change is not _moved or rng.random() < 0.6:
            describe(target, rng)


def _moved(profile: Any, pixels: Any, rng: Rng) -> Any:
    values = list(profile["transform"])[:6]
    values[int(rng.integers(6))] = one_of(ODD_NUMBERS, rng)
    return {**profile, "transform": Affine(*values)}, pixels


def _elsewhere(profile: Any, pixels: Any, rng: Rng) -> Any:
    return {**profile, "crs": CRS.from_string(one_of(ODD_SYSTEMS, rng))}, pixels


def _without_data(profile: Any, pixels: Any, rng: Rng) -> Any:
    number = one_of(ODD_NUMBERS, rng)
    if pixels.dtype.kind == "u":
        return {**profile, "nodata": abs(min(number, 255)) if np.isfinite(number) else 0}, pixels
    pixels[:, rng.random(pixels.shape[1:]) < 0.5] = number
    return {**profile, "nodata": float(np.float32(number))}, pixels


def _tiny(profile: Any, pixels: Any, rng: Rng) -> Any:
    sizes = {**profile, "tiled": False}
    untiled = {key: value for key, value in sizes.items() if not key.startswith("block")}
    return untiled, pixels[:, : int(rng.integers(1, 4)), : int(rng.integers(1, 4))]


def _of_other_bands(profile: Any, pixels: Any, rng: Rng) -> Any:
    return profile, pixels[np.arange(int(rng.integers(1, 12))) % len(pixels)]


def _unplaced(profile: Any, pixels: Any, rng: Rng) -> Any:
    return {key: value for key, value in profile.items() if key != "transform"}, pixels


_CHANGES = _moved, _elsewhere, _without_data, _tiny, _of_other_bands, _unplaced


def _named(target: Any, rng: Rng) -> None:
    target.descriptions = tuple(one_of(["É\u202e" * 9, "VV\n", "9" * 999], rng) for _ in target.indexes)


def _scaled(target: Any, rng: Rng) -> None:
    target.scales, target.offsets = ((one_of(ODD_NUMBERS, rng),) * target.count for _ in range(2))


def _tagged(target: Any, rng: Rng) -> None:
    for key in map(str, rng.permutation(list(ODD_TAGS))[:3]):
        target.update_tags(**{key: one_of(ODD_TAGS[key], rng)})


def _coloured(target: Any, rng: Rng) -> None:
    if target.dtypes[0] == "uint8":
        target.write_colormap(1, {0: (0, 0, 0, 255), int(rng.integers(256)): (255, 0, 0, 0)})


def _placed_by_points(target: Any, rng: Rng) -> None:
    number = one_of(ODD_NUMBERS, rng)
    if rng.random() < 0.5:
        points = [GroundControlPoint(row, col, number, 5e6 + row) for row in (0, 9) for col in (0, 9)]
        target.gcps = points, CRS.from_epsg(32633)
    else:
        line = [number] * 20
        target.rpcs = RPC(0, number, 12, 1, line, line, 0, 1, 0, number, line, line, 0, 1, None, None)


_DESCRIPTIONS = _named, _scaled, _tagged, _coloured, _placed_by_points


def with_side_file(path: Path, rng: Rng) -> None:
    """The raster with odd words about it beside it (.aux.xml)."""
    number, text = one_of(ODD_NUMBERS, rng), one_of(ODD_TEXTS, rng).replace("&", "&amp;").replace("<", "&lt;")
    system = one_of(ODD_SYSTEMS, rng).replace('"', "&quot;")
    inner = [
        f"<SRS>{system}</SRS>",
        f"<GeoTransform>{number},3,0,5e6,0,{one_of(ODD_NUMBERS, rng)}</GeoTransform>",
        f'<Metadata><MDI key="{one_of(list(ODD_TAGS), rng)}">{text}</MDI></Metadata>',
        f'<PAMRasterBand band="{one_of([0, 1, -1, 99], rng)}"><NoDataValue>{number}</NoDataValue></PAMRasterBand>',
        f'<PAMRasterBand band="1"><Description>{text}</Description><Scale>{number}</Scale></PAMRasterBand>',
    ]
    body = "".join(part for part in inner if rng.random() < 0.4)
    path.with_name(f"{path.name}.aux.xml").write_bytes(f"<PAMDataset>{body}</PAMDataset>".encode())


# --- XML ---


def reworded(text: str, rng: Rng) -> str:
    """XML with some of its numbers and words replaced, or elements lost."""
    for _ in range(int(rng.integers(1, 4))):
        matches = list(re.finditer(r">([^<>]+)<|<(\w[^<>]*)>", text))
        match = one_of(matches, rng)
        text = text[: match.start() + 1] + one_of(ODD_TEXTS, rng) + text[match.end() - 1 :]
    return text


def with_odd_elements(text: str, rng: Rng) -> str:
    """XML that stays well-formed, with elements lost, repeated, renamed, emptied, swapped or nested deeply."""
    root = ElementTree.fromstring(text)
    for _ in range(int(rng.integers(1, 4))):
        parents = [element for element in root.iter() if len(element)]
        leaves = [element for element in root.iter() if not len(element)]
        if not parents:
            break
        parent, leaf = one_of(parents, rng), one_of(leaves, rng)
        match int(rng.integers(7)):
            case 0:
                parent.remove(parent[int(rng.integers(len(parent)))])
            case 1:
                parent.extend([parent[int(rng.integers(len(parent)))]] * one_of([1, 3, 50], rng))
            case 2:
                number = one_of(["nan", "-5", "1e300", "x", "9" * 5000], rng)
                leaf.text = re.sub(r"[-+.\w]+", number, leaf.text or "", count=1)
            case 3:
                leaf.text = " ".join((leaf.text or "").split()[:: one_of([-1, 2], rng)])
            case 4:
                leaf.tag = one_of(["x", "{urn:other}" + leaf.tag.rpartition("}")[2]], rng)
            case 5:
                parent[:] = list(parent)[::-1]
            case _:
                for _ in range(one_of([10, 2000], rng)):
                    leaf = ElementTree.SubElement(leaf, "deep")
    return _as_text(root)


def _as_text(root: ElementTree.Element) -> str:
    """As ElementTree writes it, without recursion: it may be deep."""
    parts: list[str] = []
    todo: list[ElementTree.Element | str] = [root]
    while todo:
        now = todo.pop()
        if isinstance(now, str):
            parts.append(now)
            continue
        space, _, name = now.tag.rpartition("}")
        declared = f' xmlns="{space[1:]}"' if space else ""
        text = (now.text or "").replace("&", "&amp;").replace("<", "&lt;")
        parts.append(f"<{name}{declared}>{text}")
        todo += [f"</{name}>", *list(now)[::-1]]
    return "".join(parts)


# --- JSON, TOML, safetensors ---

_ODD_VALUES: list[Any] = [None, True, -1, 0, 2**31, 2**63, 10**30, np.nan, np.inf, 1e300, "", "x", [], {}, [[]]]
_ODD_VALUES += ["x" * 999, "\ud800", "a\x00b", {"a": [{}]}]
_DIGITS = "9" * 5000


def with_odd_value(document: Any, rng: Rng) -> Any:
    """A document of plain data with one to three of its values, on any level, replaced or lost."""
    document = json.loads(json.dumps(document))
    for _ in range(int(rng.integers(1, 4))):
        places = list(_places(document))
        if places:
            holder, key = one_of(places, rng)
            if rng.random() < 0.15:
                del holder[key]
            else:
                holder[key] = copy.deepcopy(one_of(_ODD_VALUES, rng))
    return document


def _places(document: Any) -> Iterator[tuple[Any, Any]]:
    keys = document if isinstance(document, dict) else range(len(document)) if isinstance(document, list) else ()
    for key in keys:
        yield document, key
        yield from _places(document[key])


def with_odd_json(text: str, rng: Rng) -> str:
    """JSON with odd values, thousands of digits, or depths beyond any stack."""
    if rng.random() < 0.1:
        return "[" * 100_000 if rng.random() < 0.5 else text.replace(":", ':{"x":' * 3000, 1)
    if rng.random() < 0.1:
        return re.sub(r"\d+", _DIGITS, text, count=1)
    return json.dumps(with_odd_value(json.loads(text), rng))


def with_odd_toml(text: str, rng: Rng) -> str:
    """TOML of `key = value` with some values replaced."""
    values = ["nan", "-inf", "1e400", _DIGITS, "0x" + "f" * 5000, "[" * 5000, "true", '""', '"a\\u0000b"', "1979-05-27"]
    values += ["[[[1]]]", "{a = 1}", '"nan"', f'"{_DIGITS}"', "1e9", "-1", '"\\u001b[31m"', '"sftp://u:pw@host/x"']
    lines = text.splitlines()
    at = int(rng.integers(len(lines)))
    lines[at] = f"{lines[at].partition('=')[0]}= {one_of(values, rng)}"
    return "\n".join(lines)


def with_odd_header(content: bytes, rng: Rng) -> bytes:
    """A safetensors file with odd values in its header, or in our own document there; its length is right."""
    (length,) = struct.unpack_from("<Q", content)
    header, tensors = json.loads(content[8 : 8 + length]), content[8 + length :]
    if rng.random() < 0.6:
        header["__metadata__"]["cloudfree"] = with_odd_json(header["__metadata__"]["cloudfree"], rng)
        text = json.dumps(header)
    else:
        text = with_odd_json(json.dumps(header), rng)
    odd = text.encode()
    stated = one_of([len(odd)] * 9 + [2**63, 0, 10**12], rng)
    return struct.pack("<Q", stated) + odd + tensors


# --- by kind of file ---

_STRUCTURES: dict[str, tuple[Callable[[str, Rng], str], ...]] = {
    ".xml": (reworded, with_odd_elements),
    ".geojson": (with_odd_json,),
    ".toml": (with_odd_toml,),
}


def damage_file(path: Path, rng: Rng) -> None:
    """Damage one file, in its structure more often than in its bytes."""
    content, chance = path.read_bytes(), rng.random()
    if path.suffix == ".tif" and chance < 0.35:
        odd_raster(path, rng)
    elif path.suffix == ".tif" and chance < 0.65:
        path.write_bytes(with_odd_directory(content, rng))
    elif path.suffix == ".tif" and chance < 0.75:
        with_side_file(path, rng)
    elif path.suffix == ".tif" and chance < 0.8:
        path.write_bytes(content.replace(b"VV", b"V\xff").replace(b"cloud", b"clo\xe9d"))
    elif path.suffix == ".safetensors" and chance < 0.7:
        path.write_bytes(with_odd_header(content, rng))
    elif path.suffix in _STRUCTURES and chance < 0.8:
        text = one_of(_STRUCTURES[path.suffix], rng)(content.decode(), rng)
        path.write_text(text, encoding="utf-8", errors="surrogateescape")
    else:
        path.write_bytes(damaged(content, rng))
