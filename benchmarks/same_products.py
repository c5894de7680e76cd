"""Do two checkouts make the same products? For changes that must not change what is computed.

    python benchmarks/same_products.py BEFORE AFTER [--data ../shared/data] [--only NAME]...

Runs the same commands with the code of either checkout, in processes of their own, and compares every raster band by
band, and what is printed. The sample scene: default, without mask, another tiling twice, identity, aligned; if there is
real data, the M3R-CR quartet: without mask, with its own, and two tilings. Exits with 1 if anything differs.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import rasterio

SCENE, SAR = "20240615_101530_84_2481_3B_AnalyticMS_SR_clip.tif", ("s1_VV.tif", "s1_VH.tif")
UDM2 = "20240615_101530_84_2481_3B_udm2_clip.tif"
Commands = dict[str, list[str | Path]]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("before", type=Path)
    parser.add_argument("after", type=Path)
    parser.add_argument("--data", type=Path, default=Path(__file__).resolve().parents[2] / "shared" / "data")
    parser.add_argument("--only", action="append", help="a row of the output")
    arguments = parser.parse_args()
    differing = 0
    with tempfile.TemporaryDirectory() as folder:
        inputs, *outputs = (Path(folder) / name for name in ("inputs", "before", "after"))
        commands = sample_commands(inputs, arguments.before.resolve()) | quartet_commands(
            inputs, arguments.data.resolve()
        )
        commands = {name: words for name, words in commands.items() if not arguments.only or name in arguments.only}
        for name, words in commands.items():
            printed = [
                run(checkout.resolve(), output / name, words)
                for checkout, output in zip((arguments.before, arguments.after), outputs, strict=True)
            ]
            verdict, same = compared(*(output / name for output in outputs), *printed)
            print(f"{name:34} {verdict}", flush=True)
            differing += not same
    print(f"{len(commands) - differing} of {len(commands)} the same")
    return int(differing > 0)


def sample_commands(inputs: Path, checkout: Path) -> Commands:
    """Of the sample scene; without its UDM2 it is another folder's."""
    source, alone = inputs / "sample", inputs / "alone"
    for folder, names in ((source, (SCENE, UDM2, *SAR)), (alone, (SCENE,))):
        folder.mkdir(parents=True)
        for name in names:
            shutil.copy(checkout / "sample_data" / name, folder)
    sar: list[str | Path] = [word for name in SAR for word in ("--sar", source / name)]
    run = ["run", "--planet", source / SCENE, *sar, "-o", "out.tif", "--qa", "qa.tif"]
    return {
        "demo": ["demo", "-o", "."],
        "sample, tile 256, overlap 64": [*run, "--tile", "256"],
        "sample, tile 128, overlap 32": [*run, "--tile", "128", "--overlap", "32"],
        "sample, identity": [*run, "--weights", "identity"],
        "sample, no buffer, off": [*run, "--buffer", "0", "--coregister", "off"],
        "sample, without mask": ["run", "--planet", alone / SCENE, *sar, "-o", "out.tif", "--qa", "qa.tif"],
        "sample, align": ["align", "--planet", source / SCENE, *sar, "-o", "out.tif"],
    }


def quartet_commands(inputs: Path, data: Path) -> Commands:
    folder = data / "planet" / "m3r-cr" / "train"
    if not folder.is_dir():
        return {}
    cloudy, sar, mask = (next(folder.rglob(f"{kind}_*_p_*")) for kind in ("planet_cloudy", "S1", "cloudmask"))
    with rasterio.open(cloudy) as dataset:
        profile = {"crs": dataset.crs, "transform": dataset.transform, "width": dataset.width, "height": dataset.height}
    with rasterio.open(inputs / "mask.tif", "w", driver="GTiff", count=1, dtype="uint8", **profile) as dataset:
        dataset.write((np.load(mask) != 0).astype(np.uint8), 1)
    run = ["run", "--planet", cloudy, "--sar", sar, "-o", "out.tif", "--qa", "qa.tif"]
    masked = [*run, "--mask", inputs / "mask.tif"]
    return {
        "M3R-CR, without mask": run,
        "M3R-CR, its mask": masked,
        "M3R-CR, its mask, tile 128": [*masked, "--tile", "128", "--overlap", "48"],
        "M3R-CR, without mask, tile 192": [*run, "--tile", "192"],
    }


def run(checkout: Path, output: Path, words: list[str | Path]) -> str:
    """Run a command with a checkout's code in a folder of its own; what it prints, without times."""
    output.mkdir(parents=True)
    environment = os.environ | {"PYTHONPATH": str(checkout)}
    command = [sys.executable, "-m", "cloudfree", *map(str, words)]
    done = subprocess.run(command, cwd=output, env=environment, capture_output=True, text=True, check=True)
    return re.sub(r"Took .*", "", done.stdout)


def compared(before: Path, after: Path, printed: str, printed_after: str) -> tuple[str, bool]:
    """What is the same of two folders of products, in words and as a whole."""
    names = sorted(path.name for path in before.iterdir())
    if names != sorted(path.name for path in after.iterdir()):
        return "other files", False
    rasters = [name for name in names if name.endswith((".tif", ".png"))]
    changed = {name: share for name in rasters if (share := changed_share(before / name, after / name))}
    words = [f"{name}: {100 * share:.4f} % of pixels differ" for name, share in changed.items()]
    if printed != printed_after:
        words.append(f"printed {printed!r}, then {printed_after!r}")
    psnr = " ".join(printed.split())
    return "; ".join(words) or f"equal pixels and georeferencing in {', '.join(rasters)}. {psnr}".strip(), not words


def changed_share(before: Path, after: Path) -> float:
    with rasterio.open(before) as a, rasterio.open(after) as b:
        if (a.crs, a.transform, a.shape, a.dtypes) != (b.crs, b.transform, b.shape, b.dtypes):
            return 1.0
        one, other = a.read(), b.read()
    equal = (one == other) | (np.isnan(one) & np.isnan(other)) if one.dtype.kind == "f" else one == other
    return float(1 - equal.all(axis=0).mean())


if __name__ == "__main__":
    sys.exit(main())
