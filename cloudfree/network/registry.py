"""Where the weights that come with the package lie, and what they are called, without importing torch."""

from __future__ import annotations

import json
from pathlib import Path

REGISTRY = "registry.json"


def weights_folder() -> Path:
    """Inside the package where it was installed from a wheel, else at the top of the checkout."""
    package = Path(__file__).resolve().parents[1]
    installed = package / "_weights"
    return installed if installed.is_dir() else package.parent / "weights"


def registered_names() -> list[str]:
    """The names of the weights that come with the package; none where the registry cannot be read."""
    try:
        document = json.loads((weights_folder() / REGISTRY).read_text(encoding="utf-8"))
        return [str(entry["name"]) for entry in document["weights"]]
    except (OSError, ValueError, KeyError, TypeError):
        return []
