"""Cloud-free PlanetScope scenes with the help of Sentinel-1.

`run` is the whole job, files in and file out; `load_model` gives the network alone. Both import torch when first used.
"""

from __future__ import annotations

from importlib import import_module
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from cloudfree.network.weights import load_model
    from cloudfree.pipeline import run

__version__ = version("cloudfree")
__all__ = ["__version__", "load_model", "run"]

_HOMES = {"run": "cloudfree.pipeline", "load_model": "cloudfree.network.weights"}


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(import_module(_HOMES[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
