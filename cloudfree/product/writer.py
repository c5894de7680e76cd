"""Strips to files: the product and, if it is wanted, its quality raster, written side by side."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from cloudfree.arrays import Image
from cloudfree.bands import Qa
from cloudfree.inputs.planet import Scene
from cloudfree.inputs.strips import Fill, Strip
from cloudfree.product import profiles
from cloudfree.product.cog import WORK_ROWS, CogWriter
from cloudfree.product.compose import compose


class ProductWriter:
    """Writes strips of a scene from top to bottom."""

    def __init__(self, scene: Scene, fill: Fill, optical: CogWriter, quality: CogWriter | None) -> None:
        self._scene = scene
        self._fill = fill
        self._optical = optical
        self._quality = quality

    def write(self, finished: tuple[Strip, Image]) -> NDArray[np.intp]:
        """Compose a strip and its reconstruction (4, H, W) and write them; how many pixels are of each class of `Qa`.

        In few rows at a time, on which arithmetic stays in the processor's cache.
        """
        strip, reflectance = finished
        counts = np.zeros(len(Qa), np.intp)
        for row in range(0, strip.dn.shape[1], WORK_ROWS):
            last = row + WORK_ROWS
            dn, quality = compose(self._scene, strip.rows(row, last), reflectance[:, row:last], self._fill)
            self._optical.write(dn)
            if self._quality:
                self._quality.write(quality)
            counts += np.bincount(quality[0].ravel(), minlength=len(Qa))
        return counts

    def finish(self, tags: dict[str, str]) -> None:
        """Tag the files and turn them into COGs. Raises OutputError."""
        self._optical.finish(tags)
        if self._quality:
            self._quality.finish(tags)


@contextmanager
def open_writer(scene: Scene, fill: Fill, output: Path, qa: Path | None, compress: str) -> Iterator[ProductWriter]:
    """A writer of the files `output` and, if it is named, `qa`, on the scene's grid."""
    with ExitStack() as stack:
        optical = stack.enter_context(CogWriter(output, scene.grid, profiles.optical(scene.scale, compress)))
        quality = stack.enter_context(CogWriter(qa, scene.grid, profiles.quality(compress))) if qa else None
        yield ProductWriter(scene, fill, optical, quality)
