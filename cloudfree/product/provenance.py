"""What a product says of its own making: inputs and weights by name and hash, versions, options, offset."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

import rasterio

from cloudfree.inputs.location import remote
from cloudfree.inputs.location.source import Source

_TARGETS = ("output", "qa", "uncertainty", "write_mask", "quicklook", "report", "stac")

_UNTOLD = (*_TARGETS, "overwrite", "wait_s")
"""Options that leave nothing in a product."""

_MEANS = (*_UNTOLD, "device", "batch", "weights")
"""Options that decide how a product is made, not what it holds; and weights, whose hash tells more than their name."""


def tags(
    options: Mapping[str, Any], inputs: Sequence[Source], libraries: Sequence[str], **documents: Any
) -> dict[str, str]:
    """TIFF tags: how it was told, out of which files, by which versions; and each of the documents as JSON.

    Reads each input on disk once more, whole, for its hash; of one at an address there is what its server states.
    """
    told = {key: Path(value) if key == "weights" else value for key, value in options.items() if key not in _UNTOLD}
    files = [{"name": source.name, **_archive(source), **_content(source)} for source in inputs]
    versions = {name: version(name) for name in ("cloudfree", *libraries)} | {"gdal": rasterio.__gdal_version__}
    stated = {"inputs": files, "options": told, "versions": versions, **documents}
    texts = {name: json.dumps(value, default=_plain, ensure_ascii=False) for name, value in stated.items()}
    return {
        "TIFFTAG_SOFTWARE": f"cloudfree {version('cloudfree')}",
        **{f"CLOUDFREE_{name.upper()}": text for name, text in texts.items()},
    }


def identity(options: Mapping[str, Any], inputs: Sequence[Source], weights_sha256: str, **versions: str) -> str:
    """A hash of all that decides the pixels of a product: equal ones need not be made again.

    That is the options, what the inputs hold, the weights, this program's version and those of others that find clouds
    for it; not where files lie, nor the device, whose rounding may differ.
    """
    told = {key: value for key, value in options.items() if key not in _MEANS}
    files = [_content(source) for source in inputs]
    decided = {"options": told, "inputs": files, "weights": weights_sha256, "version": version("cloudfree"), **versions}
    return hashlib.sha256(json.dumps(decided, default=_plain, sort_keys=True).encode()).hexdigest()


def _content(source: Source) -> dict[str, str]:
    """What tells its content from another: the hash of what holds it on disk, or its address and version."""
    if source.file is None:
        return {"address": str(source), **remote.stated(source)}
    digest = {"sha256": sha256_of(source.file)}
    return {"inside": source.inside, **digest} if source.inside else digest


def _archive(source: Source) -> dict[str, str]:
    return {"archive": source.file.name} if source.file and source.is_archived else {}


def hash_files(sources: Iterable[Source]) -> None:
    """Find the hashes of those on disk, which are remembered: for a thread that does so beside other work."""
    for source in sources:
        if source.file is not None:
            sha256_of(source.file)


def sha256_of(path: Path) -> str:
    """The hash of a file on disk."""
    return _sha256(path, path.stat().st_mtime_ns)


@lru_cache(maxsize=1024)
def _sha256(path: Path, _changed_ns: int) -> str:
    """Once for all that is in an archive."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _plain(value: object) -> str:
    """Paths by name alone: where a user keeps files is nobody's business."""
    return value.name if isinstance(value, Path | Source) else str(value)
