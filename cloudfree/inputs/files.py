"""The files of one place, each known for what it is: scene, radar, and mask if there is one."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, NamedTuple

from cloudfree.inputs import cloudmask, planet, sentinel1
from cloudfree.inputs.cloudmask import CloudMask, MaskReader
from cloudfree.inputs.planet import Scene, SceneReader
from cloudfree.inputs.sentinel1 import SarReader, Sentinel1, Units


class Readers(NamedTuple):
    """All inputs, open."""

    pixels: SceneReader
    radar: SarReader
    masked: MaskReader | None


@dataclass(frozen=True)
class Inputs:
    """What a command was given, identified."""

    scene: Scene
    sar: Sentinel1
    mask: CloudMask | None

    @property
    def mask_paths(self) -> list[Path]:
        return [self.mask.path] if self.mask else []

    @contextmanager
    def open(self) -> Iterator[Readers]:
        """Readers of all of them, closed together."""
        with ExitStack() as stack:
            masked = stack.enter_context(self.mask.open()) if self.mask else None
            yield Readers(stack.enter_context(self.scene.open()), stack.enter_context(self.sar.open()), masked)


def identify(
    scene: Path,
    sar: Sequence[Path],
    *,
    udm2: Path | None = None,
    mask: Path | None = None,
    planet_bands: tuple[int, ...] | None = None,
    sar_bands: tuple[int, ...] | None = None,
    sar_units: Units | Literal["auto"] = "auto",
) -> Inputs:
    """Identify a scene, one or two radar files, and a mask: one that is given, or the scene's own.

    Bands are one-based numbers. Raises InputError or GridError where they do not fit.
    """
    found = planet.identify(scene, planet_bands)
    radar = sentinel1.identify(list(sar), found.grid, sar_units, sar_bands)
    return Inputs(found, radar, cloudmask.identify(found, udm2, mask))
