"""What a product says of its own making: inputs and weights by name and hash, versions, options, offset.

And whether files need not be made again: they are there, whole, and have the identity of the run.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from importlib.metadata import version
from pathlib import Path
from typing import Any
from uuid import uuid4

import rasterio
from rasterio import DatasetReader
from rasterio.errors import RasterioError
from rasterio.windows import Window

from cloudfree.errors import InputError, OutputError
from cloudfree.geometry.grid import strips
from cloudfree.inputs.location import remote
from cloudfree.inputs.location.source import Source
from cloudfree.product.kinds import KINDS, OUTPUT, STYLES, Kind

_PREFIX = "CLOUDFREE_"
IDENTITY_TAG = f"{_PREFIX}IDENTITY"
SETTLED_TAG = f"{_PREFIX}IDENTITY_BUT_REFERENCES"
"""The identity without references, of a product whose references a batch has chosen."""

_ROWS = 512  # of a raster, read at once
_MOST_BYTES = 256 << 20  # of a page or an item

_NOT_IN_TAGS = (*(kind.field for kind in KINDS), "style", "overwrite", "wait_s")
"""Options that leave nothing in a product."""

_NOT_IN_IDENTITY = (*_NOT_IN_TAGS, "device", "batch", "weights")
"""Options that decide how a product is made, not what it holds; and weights, whose hash tells more than their name."""


def tags(
    options: Mapping[str, Any], inputs: Sequence[Source], libraries: Sequence[str], **documents: Any
) -> dict[str, str]:
    """Return TIFF tags: inputs, options, versions of libraries, and each of the documents, as JSON.

    Reads each input on disk once more, whole, for its hash; of one at an address there is what its server states.
    """
    shown = {n: Path(value) if n == "weights" else value for n, value in options.items() if n not in _NOT_IN_TAGS}
    files = [{"name": source.name, **_archive(source), **_address(source), **_content(source)} for source in inputs]
    versions = {name: version(name) for name in ("cloudfree", *libraries)} | {"gdal": rasterio.__gdal_version__}
    documents = {"inputs": files, "options": shown, "versions": versions, **documents}
    texts = {name: json.dumps(value, default=_plain, ensure_ascii=False) for name, value in documents.items()}
    return {
        "TIFFTAG_SOFTWARE": f"cloudfree {version('cloudfree')}",
        **{f"{_PREFIX}{name.upper()}": text for name, text in texts.items()},
    }


def stated(product: Path) -> dict[str, Any]:
    """Return what the tags of a product state: the documents of `tags` by their names, and its identity."""
    with _opened(product) as dataset:
        tags = dataset.tags()
    ours = {name.removeprefix(_PREFIX).lower(): text for name, text in tags.items() if name.startswith(_PREFIX)}
    return {name: text if name.startswith("identity") else json.loads(text) for name, text in ours.items()}


def identity(options: Mapping[str, Any], inputs: Sequence[Source], weights_sha256: str, **versions: str) -> str:
    """Return a hash (SHA-256, hexadecimal) of all that decides the pixels of a product: equal ones are equal products.

    That is the options, what the inputs hold, the weights, the version of cloudfree and `versions` of cloud detectors
    of others; not where files lie, nor the device, whose rounding may differ. Where nothing says what an input at an
    address holds, no two are equal.
    """
    content = {
        "options": {name: value for name, value in options.items() if name not in _NOT_IN_IDENTITY},
        "inputs": [_content(source) or {"unknown": uuid4().hex} for source in inputs],
        "weights": weights_sha256,
        "version": version("cloudfree"),
        **versions,
    }
    return hashlib.sha256(json.dumps(content, default=_plain, sort_keys=True).encode()).hexdigest()


def identity_by(product: Path, settled: str) -> str | None:
    """Return the identity of a product that is this one but for references; None where it is another, or damaged."""
    try:
        with _opened(product) as dataset:
            tags = dataset.tags()
    except RasterioError:
        return None
    return tags.get(IDENTITY_TAG) if tags.get(SETTLED_TAG) == settled else None


def _opened(product: Path) -> DatasetReader:
    """A product to read; what has taken its place is read by no other of GDAL's drivers, which read other files."""
    return rasterio.open(product, driver="GTiff")


def is_finished(files: Mapping[Kind, Path], expected: str) -> bool:
    """Return whether all files exist and have the expected identity, and all pixels of rasters can be read.

    What has no identity in it, a picture, is taken for finished if it is no older than the product.
    """
    return all(_is_whole(kind, path, expected, files[OUTPUT]) for kind, path in files.items())


def is_ours(kind: Kind, path: Path) -> bool:
    """Return whether cloudfree has made a file that `has_identity`, damaged or not, of whatever inputs."""
    if kind.mark:
        return _holds(path, kind.mark)
    try:
        with _opened(path) as dataset:
            return IDENTITY_TAG in dataset.tags()
    except RasterioError:
        return False


def refuse_others(files: Mapping[Kind, Path]) -> None:
    """Raise OutputError where a file that cloudfree has not made would be replaced.

    A picture, which states nothing, is taken for ours where its product is.
    """
    for kind, path in files.items():
        checked = (kind, path) if kind.has_identity else (OUTPUT, files[OUTPUT])
        if path.exists() and not is_ours(*checked):
            raise OutputError(f"{path} is no product of cloudfree and is kept; give --overwrite, or another folder")


def _address(source: Source) -> dict[str, str]:
    return {} if source.file else {"address": str(source)}


def _content(source: Source) -> dict[str, str]:
    """Return the hash of the file on disk that holds it, or its address and the version that its server states.

    Nothing where that states none.
    """
    if source.file is None:
        version = remote.stated(source)
        return version and {**_address(source), **version}
    digest = {"sha256": sha256_of(source.file)}
    return {"inside": source.inside, **digest} if source.inside else digest


def _archive(source: Source) -> dict[str, str]:
    return {"archive": source.file.name} if source.file and source.is_archived else {}


def hash_files(sources: Iterable[Source]) -> None:
    """Hash those on disk and remember it: for a thread beside other work."""
    for source in sources:
        if source.file is not None:
            sha256_of(source.file)


def sha256_of(path: Path) -> str:
    """Return the hash (hexadecimal) of a file on disk. Raises InputError where it cannot be read."""
    try:
        return _sha256(path, path.stat().st_mtime_ns)
    except OSError as error:
        raise InputError(
            f"{path} cannot be read ({error.strerror}), and belongs to what decides the product: see to its "
            "permissions, or move it away"
        ) from error


@lru_cache(maxsize=1024)
def _sha256(path: Path, _changed_ns: int) -> str:
    """Hash it once, however many inputs an archive holds."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _plain(value: object) -> str:
    """Return paths by name alone: where a user keeps files is private."""
    return value.name if isinstance(value, Path | Source) else str(value)


def _is_whole(kind: Kind, path: Path, expected: str, product: Path) -> bool:
    if not path.is_file() or not path.stat().st_size:
        return False
    if kind.is_raster:
        return _is_whole_raster(path, expected)
    if kind in STYLES.values():  # a user may have saved another
        return True
    no_older = path.stat().st_mtime_ns >= product.stat().st_mtime_ns
    return no_older and (not kind.has_identity or _holds(path, expected.encode()))


def _holds(path: Path, words: bytes) -> bool:
    """Whether words stand in a page or an item, which are never large."""
    return path.stat().st_size <= _MOST_BYTES and words in path.read_bytes()


def _is_whole_raster(path: Path, expected: str) -> bool:
    try:
        with _opened(path) as dataset:
            if dataset.tags().get(IDENTITY_TAG) != expected:
                return False
            for start, stop in strips(dataset.height, _ROWS):
                dataset.read(window=Window(0, start, dataset.width, stop - start))
    except RasterioError:
        return False
    return True
