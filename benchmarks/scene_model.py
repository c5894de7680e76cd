"""The model of a whole scene with images of other dates: what it takes to read them, to fit it, and how much memory.

    python benchmarks/scene_model.py [--side 10000] [--references 1] [--output FOLDER]

Makes a scene a third under cloud, its Sentinel-1, its mask, and images of the same ground in another light with clouds
of their own; then plans a run, in a process of its own. Prints seconds by stage and the peak memory.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import rasterio
from rasterio.windows import Window
from scene import STRIP, place, write_clouds, write_sar, write_scene


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--side", type=int, default=10_000)
    parser.add_argument("--references", type=int, default=1)
    parser.add_argument("--output", type=Path)
    parser.add_argument("--plan", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = arguments.output or Path(temporary)
        if arguments.plan:
            plan(folder)
            return
        write(folder, arguments.side, arguments.references)
        subprocess.run([sys.executable, __file__, "--plan", "--output", str(folder)], check=True)


def write(folder: Path, side: int, references: int) -> None:
    """All files of a run."""
    write_scene(folder / "scene.tif", side)
    write_sar(folder / "s1.tif", side)
    write_clouds(folder / "mask.tif", side, 0)
    for number in range(references):
        write_clouds(folder / f"clouds_{number}.tif", side, number + 1)
        _write_reference(folder, side, number)


def plan(folder: Path) -> None:
    """Plan a run and tell how long its stages took."""
    from cloudfree import planning  # noqa: PLC0415
    from cloudfree.plan import Options  # noqa: PLC0415
    from cloudfree.planning import make_plan  # noqa: PLC0415
    from cloudfree.process import peak_memory_mb  # noqa: PLC0415
    from cloudfree.scene.model import of_survey  # noqa: PLC0415

    seconds: list[float] = []

    def timed(*arguments: object) -> object:
        began = time.perf_counter()
        model = of_survey(*arguments)  # type: ignore[arg-type]
        seconds.append(time.perf_counter() - began)
        return model

    planning.of_survey = timed  # type: ignore[assignment]
    references = sorted(folder.glob("reference_*.tif"))
    options = Options.of(
        folder / "scene.tif",
        folder / "s1.tif",
        mask=folder / "mask.tif",
        references=references,
        output=folder / "out.tif",
    )
    began = time.perf_counter()
    planned = make_plan(options)
    whole = time.perf_counter() - began
    print(f"{planned.grid.width * planned.grid.height / 1e6:.0f} megapixels, {len(references)} reference(s)")
    print(f"model and holes {seconds[0]:.1f} s of {whole:.1f} s to plan; peak memory {peak_memory_mb():.0f} MB")
    print(planned.scene_model.weights if planned.scene_model else "no model")


def _write_reference(folder: Path, side: int, number: int) -> None:
    """The scene in another light, nodata under clouds of its own."""
    profile = {"dtype": "uint16", "count": 4, "nodata": 0, **place(side)}
    with (
        rasterio.open(folder / "scene.tif") as scene,
        rasterio.open(folder / f"clouds_{number}.tif") as clouds,
        rasterio.open(folder / f"reference_{number}.tif", "w", **profile) as reference,
    ):
        for row in range(0, side, STRIP):
            window = Window(0, row, side, min(STRIP, side - row))
            dn, hidden = scene.read(window=window), clouds.read(1, window=window) > 0
            reference.write(np.where(hidden | (dn == 0), 0, 0.8 * dn + 300).astype(np.uint16), window=window)


if __name__ == "__main__":
    main()
