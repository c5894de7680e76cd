"""What the output says of its own making: inputs and weights by name and hash, versions, options, offset."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import rasterio

if TYPE_CHECKING:
    from cloudfree.plan import Plan

_LIBRARIES = ("cloudfree", "torch", "numpy", "rasterio", "rio-cogeo")


def tags(plan: Plan) -> dict[str, str]:
    """TIFF tags for every product of a run. Reads each input once more, whole, for its hash."""
    described = plan.describe()
    files = [plan.options.planet, *plan.options.sar, *plan.inputs.mask_paths]
    return {
        **common_tags(asdict(plan.options), files, _LIBRARIES),
        "CLOUDFREE_WEIGHTS": json.dumps(described["weights"]),
        "CLOUDFREE_COREGISTRATION": json.dumps(described["coregistration"]),
        "CLOUDFREE_PROCESSING": json.dumps(
            {key: described[key] for key in ("fill", "primed", "trust", "device", "precision", "tile", "overlap")}
        ),
    }


def common_tags(options: dict[str, Any], inputs: Sequence[Path], libraries: Sequence[str]) -> dict[str, str]:
    """Tags of any product: what made it, how told, and out of which files by name and hash."""
    told = {key: value for key, value in options.items() if key not in ("output", "qa", "quicklook")}
    files = [{"name": path.name, "sha256": _sha256(path)} for path in inputs]
    versions = {name: version(name) for name in libraries} | {"gdal": rasterio.__gdal_version__}
    return {
        "TIFFTAG_SOFTWARE": f"cloudfree {version('cloudfree')}",
        "CLOUDFREE_INPUTS": json.dumps(files, ensure_ascii=False),
        "CLOUDFREE_OPTIONS": json.dumps(told, default=_plain, ensure_ascii=False),
        "CLOUDFREE_VERSIONS": json.dumps(versions),
    }


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _plain(value: object) -> str:
    """Paths by name alone: where a user keeps files is nobody's business."""
    return value.name if isinstance(value, Path) else str(value)
