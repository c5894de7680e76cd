"""What the output says of its own making: inputs and weights by name and hash, versions, options, offset."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path

import rasterio

from cloudfree.plan import Plan

_LIBRARIES = ("cloudfree", "torch", "numpy", "rasterio", "rio-cogeo")


def tags(plan: Plan) -> dict[str, str]:
    """TIFF tags for every product of a run. Reads each input once more, whole, for its hash."""
    described = plan.describe()
    masks = [plan.mask.path] if plan.mask else []
    inputs = [{"name": path.name, "sha256": _sha256(path)} for path in (plan.options.planet, *plan.options.sar, *masks)]
    options = {key: value for key, value in asdict(plan.options).items() if key not in ("output", "qa", "quicklook")}
    return {
        "TIFFTAG_SOFTWARE": f"cloudfree {version('cloudfree')}",
        "CLOUDFREE_INPUTS": json.dumps(inputs, ensure_ascii=False),
        "CLOUDFREE_WEIGHTS": json.dumps(described["weights"]),
        "CLOUDFREE_COREGISTRATION": json.dumps(described["coregistration"]),
        "CLOUDFREE_PROCESSING": json.dumps(
            {key: described[key] for key in ("fill", "device", "precision", "tile", "overlap")}
        ),
        "CLOUDFREE_OPTIONS": json.dumps(options, default=_plain, ensure_ascii=False),
        "CLOUDFREE_VERSIONS": json.dumps(
            {name: version(name) for name in _LIBRARIES} | {"gdal": rasterio.__gdal_version__}
        ),
    }


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _plain(value: object) -> str:
    """Paths by name alone: where a user keeps files is nobody's business."""
    return value.name if isinstance(value, Path) else str(value)
