"""Cloud-free PlanetScope scenes with the help of Sentinel-1.

    result = cloudfree.run("scene.tif", "s1.tif", "out.tif", qa="qa.tif")

- `run`: the whole job, files in and files out; what it did is a `Result`.
- `make_plan`: what `run` would do with some `Options`, found and decided without running the network or writing a file.
- `load_model`: the network alone, reflectance and backscatter in, reflectance out.
- `Grid`: the pixel grid as a value: coordinate reference system, transform, size.
- `CloudfreeError`: every failure that a user can mend, in one line.

All are imported when first used, for torch takes a second.
"""

from __future__ import annotations

from importlib import import_module
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from cloudfree.errors import CloudfreeError
    from cloudfree.geometry import Grid
    from cloudfree.network.weights import load_model
    from cloudfree.pipeline import Result, run
    from cloudfree.plan import Options
    from cloudfree.planning import make_plan

__version__ = version("cloudfree")
__all__ = ["CloudfreeError", "Grid", "Options", "Result", "__version__", "load_model", "make_plan", "run"]

_MODULES = {
    "CloudfreeError": "cloudfree.errors",
    "Grid": "cloudfree.geometry",
    "Options": "cloudfree.plan",
    "Result": "cloudfree.pipeline",
    "load_model": "cloudfree.network.weights",
    "make_plan": "cloudfree.planning",
    "run": "cloudfree.pipeline",
}


def __getattr__(name: str) -> Any:
    if name in _MODULES:
        return getattr(import_module(_MODULES[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return __all__
