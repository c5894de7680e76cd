"""Whether the main job would run on this machine: one line for each thing examined, with advice."""

from __future__ import annotations

import importlib.util
import math
import os
import platform
import shutil
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import rasterio
import torch
from rasterio.crs import CRS
from rasterio.errors import RasterioError
from rasterio.warp import transform

from cloudfree.errors import CloudfreeError
from cloudfree.inputs.raster import access
from cloudfree.network.device import bfloat16_instructions, resolve_device, resolve_precision
from cloudfree.network.weights import registry, verify
from cloudfree.process import available_memory_gb, led_to_data
from cloudfree.reconstruct import golden
from cloudfree.reconstruct.predictor import TileTooLargeError

_PACKAGES = "torch", "numpy", "scipy", "rasterio", "rio-cogeo", "pyproj", "shapely", "filelock", "click"
_EXTRAS = {"omnicloudmask": "omnicloudmask", "csmask": "ukis_csmask", "dask": "distributed"}
_DRIVERS = (*access.NEEDED_DRIVERS, "PNG")
_POINT, _POINT_M, _NEAR_M = (15.0, 45.0), (500_000.0, 4_982_950.4), 1.0
"""Of longitude and latitude in degrees, and where that is in zone 33 of UTM."""
_LEAST_MEMORY_GB, _LEAST_DISK_GB = 2.0, 2.0
_RELEASED = 1_735_689_600  # 2025-01-01: a clock before that is wrong, and so are the dates of products


@dataclass(frozen=True)
class Finding:
    """The state of a `matter` and whether the main job can run with it; if not, `advice` says what to do."""

    matter: str
    state: str
    sound: bool = True
    advice: str = ""

    def __str__(self) -> str:
        return f"{'ok' if self.sound else 'NO':3} {self.matter:10} {self.state}" + (
            f"; {self.advice}" * (not self.sound)
        )


def examine(folder: Path, data_left: Sequence[str] = ()) -> Iterator[Finding]:
    """Yield all findings; `folder` is where products would go, `data_left` what `leave_data_of_others` has told."""
    yield Finding("cloudfree", f"{version('cloudfree')} on Python {platform.python_version()}, {platform.platform()}")
    yield _packages()
    yield _device()
    yield _memory()
    yield _gdal()
    yield _proj()
    for line in data_left:
        yield Finding("data", line)
    for entry in registry():
        yield _weights(entry.name)
    yield from _card()
    yield _disk("disk", folder)
    yield _disk("temporary", Path(tempfile.gettempdir()))
    yield _clock()
    yield _extras()


def _packages() -> Finding:
    try:
        return Finding("packages", ", ".join(f"{name} {version(name)}" for name in _PACKAGES))
    except PackageNotFoundError as error:
        return Finding("packages", f"{error.name} is missing", sound=False, advice="pip install cloudfree")


def _device() -> Finding:
    try:
        device = resolve_device("auto")
    except CloudfreeError as error:
        return Finding("device", error.message, sound=False, advice="use --device cpu")
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else torch.backends.cpu.get_cpu_capability()
    precision = resolve_precision("auto", device)
    by = f" by {bfloat16_instructions()}" if (device.type, precision) == ("cpu", "bf16") else ""
    return Finding("device", f"{device} ({name}), {precision}{by}, {torch.get_num_threads()} threads")


def _memory() -> Finding:
    available = available_memory_gb()
    if available is None:
        return Finding("memory", "this system does not tell")
    advice = f"a scene of 10,000 pixels across needs {_LEAST_MEMORY_GB:.0f} GB: close something"
    return Finding("memory", f"{available:.1f} GB available", available >= _LEAST_MEMORY_GB, advice)


def _gdal() -> Finding:
    with rasterio.Env() as env:
        missing = [name for name in _DRIVERS if name not in env.drivers()]
    drivers = f"without {', '.join(missing)}" if missing else f"with {', '.join(_DRIVERS)}"
    state = f"{rasterio.__gdal_version__}, {drivers}"
    reinstall = "install rasterio's own wheel: pip install --force-reinstall rasterio"
    skipped = f"GDAL_SKIP is {os.environ['GDAL_SKIP']!r}: unset it" if os.environ.get("GDAL_SKIP") else ""
    return Finding("GDAL", state, not missing, skipped or reinstall)


def _proj() -> Finding:
    """Whether a point comes to lie where it must: PROJ may have the data of another program."""
    led = led_to_data()
    leads = f" ({led})" if led else ""
    mend = (
        "unset what leads to the data of another program"
        if led
        else "install rasterio's own wheel: pip install --force-reinstall rasterio"
    )
    try:
        (x,), (y,) = transform(CRS.from_epsg(4326), CRS.from_epsg(32633), *([degrees] for degrees in _POINT))[:2]
    except RasterioError as error:
        return Finding("PROJ", f"{' '.join(str(error).split())}{leads}", sound=False, advice=mend)
    away_m = math.hypot(x - _POINT_M[0], y - _POINT_M[1])
    state = f"{rasterio.__proj_version__}, a point of WGS 84 in UTM is {away_m:.1f} m from where it is{leads}"
    return Finding("PROJ", state, away_m < _NEAR_M, mend)


def _weights(name: str) -> Finding:
    try:
        return Finding("weights", f"{name}, sha256 {verify(name)[:12]}")
    except CloudfreeError as error:
        return Finding("weights", error.message, sound=False, advice="install cloudfree again")


def _card() -> Iterator[Finding]:
    """Golden tensors on the CUDA card, by each set of kernels. That one is slow is said, and stops no job."""
    if not torch.cuda.is_available():
        yield Finding("card", "none is here, so no golden tensors were computed on one")
        return
    for name in golden.golden_names():
        try:
            runs = golden.golden_runs(name, resolve_device("auto"))
        except (RuntimeError, OSError, TileTooLargeError, CloudfreeError) as error:
            reason = (str(error).strip() or type(error).__name__).splitlines()[0]
            yield Finding("card", f"{name}: {reason}", sound=False, advice="use --device cpu")
        else:
            yield _golden(name, runs)


def _golden(name: str, runs: Sequence[golden.GoldenRun]) -> Finding:
    """The reference is first; where that is sound, it can be chosen."""
    slower = golden.slower_than_it_should_be(runs)
    state = f"{name}: {', '.join(map(str, runs))}" + f" (slow: {', '.join(slower)})" * bool(slower)
    plain = "set CLOUDFREE_KERNELS=reference and use --precision fp32"
    return Finding("card", state, all(run.sound for run in runs), plain if runs[0].sound else "use --device cpu")


def _disk(matter: str, folder: Path) -> Finding:
    try:
        free = shutil.disk_usage(folder).free / 1e9
    except OSError as error:
        return Finding(matter, f"{folder}: {error.strerror}", sound=False, advice="name a folder that is there")
    if not os.access(folder, os.W_OK):
        return Finding(matter, f"{folder} cannot be written", sound=False, advice="choose another, or its permissions")
    advice = f"a large scene needs {_LEAST_DISK_GB:.0f} GB: make room"
    return Finding(matter, f"{free:.1f} GB free in {folder}", free >= _LEAST_DISK_GB, advice)


def _clock() -> Finding:
    now = time.time()
    text = time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime(now))
    return Finding("clock", text, now > _RELEASED, "set it: products and logs carry dates")


def _extras() -> Finding:
    there = [extra for extra, module in _EXTRAS.items() if importlib.util.find_spec(module)]
    absent = [extra for extra in _EXTRAS if extra not in there]
    return Finding("extras", f"installed: {', '.join(there) or 'none'}; not installed: {', '.join(absent) or 'none'}")
