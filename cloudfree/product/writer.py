"""Restored strips to files: the product and, where they are wanted, its quality and uncertainty; and the mask."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from cloudfree.bands import OPTICAL_BANDS, RECONSTRUCTED, REFLECTANCE_SCALE, SKY_HIDDEN, SKY_NODATA, Qa, SkyClass
from cloudfree.geometry import Grid
from cloudfree.geometry.grid import strips
from cloudfree.inputs.area import Part
from cloudfree.inputs.files import InputReader
from cloudfree.inputs.optical.scene import Scene, has_data
from cloudfree.product import profiles
from cloudfree.product.cog import BLOCK_PX, WORK_ROWS, CogWriter
from cloudfree.product.compose import Composed, compose, deviation_dn
from cloudfree.product.kinds import OUTPUT, QA, UNCERTAINTY, Kind
from cloudfree.reconstruct.strips import Fill, RestoredStrip
from cloudfree.scene.uncertainty import Uncertainty


@dataclass(frozen=True)
class Counts:
    """Pixels by class of `Qa` (6,), and the sums (4,) of their standard deviations of reflectance, in some rows."""

    pixels: NDArray[np.intp]
    deviation: NDArray[np.float64]

    @classmethod
    def none(cls) -> Counts:
        return cls(np.zeros(len(Qa), np.intp), np.zeros(len(OPTICAL_BANDS)))

    def __add__(self, other: Counts) -> Counts:
        return Counts(self.pixels + other.pixels, self.deviation + other.deviation)

    def by_class(self) -> dict[str, int]:
        """Return the number of pixels by the name of their class."""
        return {qa.name.lower(): int(count) for qa, count in zip(Qa, self.pixels, strict=True)}

    def mean_deviation(self) -> dict[str, float]:
        """Return the mean standard deviation of reflectance of reconstructed pixels, by band."""
        count = max(self.pixels[list(RECONSTRUCTED)].sum(), 1)
        return {band: round(float(total / count), 4) for band, total in zip(OPTICAL_BANDS, self.deviation, strict=True)}


@dataclass(frozen=True)
class ProductWriter:
    """Writes restored strips of a scene from top to bottom; `uncertainty` is needed for the file of that name."""

    scene: Scene
    fill: Fill
    uncertainty: Uncertainty | None
    files: Mapping[Kind, CogWriter]

    def write(self, restored: RestoredStrip) -> Counts:
        """Compose a strip and write it, in few rows at a time that stay in the processor's cache."""
        total = Counts.none()
        for row in range(0, restored.strip.dn.shape[1], WORK_ROWS):
            total += self._write_rows(restored.rows(row, row + WORK_ROWS))
        return total

    def _write_rows(self, restored: RestoredStrip) -> Counts:
        composed = compose(self.scene, restored, self.fill)
        self.files[OUTPUT].write(composed.dn)
        if QA in self.files:
            self.files[QA].write(composed.quality)
        pixels = np.array([np.count_nonzero(composed.classes == qa) for qa in Qa])  # several times as fast as bincount
        return Counts(pixels, self._write_deviation(composed, restored))

    def _write_deviation(self, composed: Composed, restored: RestoredStrip) -> NDArray[np.float64]:
        """Write the uncertainty if it is wanted, and return the sums (4,) of it, zero otherwise."""
        if UNCERTAINTY not in self.files:
            return np.zeros(len(OPTICAL_BANDS))
        assert self.uncertainty is not None
        deviation = deviation_dn(composed, restored, self.uncertainty)
        self.files[UNCERTAINTY].write(deviation)
        known = np.where(deviation == profiles.NO_DEVIATION, 0, deviation)
        return np.asarray(REFLECTANCE_SCALE * known.sum(axis=(1, 2), dtype=np.float64))

    def finish(self, tags: dict[str, str]) -> None:
        """Tag the files and turn them into COGs. Raises OutputError."""
        for file in self.files.values():
            file.finish(tags)


@contextmanager
def open_writer(
    scene: Scene, fill: Fill, uncertainty: Uncertainty | None, files: Mapping[Kind, Path], compress: str
) -> Iterator[ProductWriter]:
    """Yield a writer of the product and, where `files` have them, its quality and uncertainty, on the scene's grid."""
    bands = {OUTPUT: profiles.optical(scene.scale), QA: profiles.QUALITY, UNCERTAINTY: profiles.UNCERTAINTY}
    with ExitStack() as stack:
        writers = {
            kind: stack.enter_context(CogWriter(files[kind], scene.grid, profile, compress))
            for kind, profile in bands.items()
            if kind in files
        }
        yield ProductWriter(scene, fill, uncertainty, writers)


def write_mask(path: Path, reader: InputReader, part: Part, compress: str, tags: dict[str, str]) -> None:
    """Write the classes of `SkyClass` and the probability (percent) of cloud, haze or shadow for a part of the scene.

    Pixels that only the given mask hides are cloud at 100 percent, for it does not state their class. The buffer is not
    in the file. Raises OutputError.
    """
    grid = part.of(reader.grid)
    with CogWriter(path, grid, profiles.SKY, compress) as file:
        for start, stop in strips(grid.height, BLOCK_PX):
            data = has_data(reader.scene.window(part.row + start, part.col, stop - start, grid.width))
            file.write(np.where(data, _mask_rows(reader, grid.rows(start, stop)), SKY_NODATA))
        file.finish(tags)


def _mask_rows(reader: InputReader, grid: Grid) -> NDArray[np.uint8]:
    """Return class and percent (2, H, W)."""
    given = reader.mask.on_grid(grid) if reader.mask else np.zeros(grid.shape, bool)
    classes, percent = np.zeros((2, *grid.shape), np.uint8)
    if reader.found:
        classes, percent = reader.found.classes_on(grid), reader.found.percent_on(grid)
    known = np.isin(classes, SKY_HIDDEN)
    return np.stack([np.where(given & ~known, SkyClass.CLOUD, classes), np.where(given, 100, percent)]).astype(np.uint8)
