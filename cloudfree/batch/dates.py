"""Which other scenes of a folder help a scene: the clearest and nearest ones, some before it and some after.

Each other scene, of another day, is rated by the share of the scene's outline that its UDM2 calls clear, halved for
every `_HALVED_DAYS` between them, as the gain by another date halves with its age (`benchmarks/quality`, "What another
date is worth"). Those without a UDM2, of which nobody knows how cloudy they are, come after all others. Half of the
places are for the best before, half for the best after; what one side leaves, the other may have.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import shapely
from numpy.typing import NDArray
from rasterio.windows import Window

from cloudfree.arrays import Float64Array, Mask
from cloudfree.bands import Udm2
from cloudfree.batch.images import Image
from cloudfree.errors import CloudfreeError
from cloudfree.geometry import WGS84, Geometry, Grid
from cloudfree.geometry.resample import positions
from cloudfree.inputs.location.source import Source
from cloudfree.inputs.optical import planet_product
from cloudfree.inputs.raster import access

log = logging.getLogger(__name__)

MOST_REFERENCES, REFERENCE_DAYS = 6, 60.0
"""How many other dates a scene is given, and from how many days around it, where nothing else is wanted."""

_HALVED_DAYS = 20.0
_LEAST_DAYS = 0.5  # nearer in time, across midnight too, the same clouds are over the ground
_LEAST_SHOWN = 0.05  # share of a scene that another must show to be used
_LATTICE, _UDM2_PX = 32, 256  # points along a scene's side that are looked at, and pixels read along a UDM2's


@dataclass(frozen=True)
class OtherDate:
    """Another scene of a scene's ground, taken `days` after it, or before where they are negative.

    `shown` (0..1): the share of the scene's outline that it shows clear, or, if not `is_known`, that it covers.
    """

    image: Image
    days: float
    shown: float
    is_known: bool

    @property
    def rank(self) -> tuple[bool, float, bool, str]:
        """The least is the best; of one item in two forms, surface reflectance."""
        worth = self.shown * 0.5 ** (abs(self.days) / _HALVED_DAYS)
        is_surface = "sr" in planet_product.words(self.image.path.stem)
        return not self.is_known, -worth, not is_surface, str(self.image.path)

    @property
    def why(self) -> str:
        """What speaks for it, in words."""
        how = f"shows {100 * self.shown:.0f} % of it clear"
        if not self.is_known:
            how = f"covers {100 * self.shown:.0f} % of it, with clouds that no UDM2 tells of"
        when = "after" if self.days > 0 else "before"
        return f"reference {self.image.path.name} {how}, {abs(self.days):.1f} days {when}"


class Dates:
    """The scenes of a folder as other dates of each other. The UDM2 of each is read once, coarsely, or not at all."""

    def __init__(self, scenes: Sequence[Image], most: int, within_days: float) -> None:
        self._scenes, self._most, self._within_days = scenes, most, within_days
        self._caps = _Caps.around([scene.geometry for scene in scenes])
        self._clear: dict[Source, _Clear | None] = {}

    @property
    def rule(self) -> str:
        """By what they are chosen, in words."""
        return f"the clearest and nearest, at most {self._most} within {self._within_days:g} days"

    def of(self, scene: Image) -> list[OtherDate]:
        """The other dates that help one of the scenes, in order of time."""
        if not self._most or not self._within_days:
            return []
        best: dict[object, OtherDate] = {}
        for other in sorted(self._candidates(scene), key=lambda other: other.rank):
            # Of one scene that is there in several forms, the best alone.
            best.setdefault(planet_product.scene_name(other.image.path.name) or other.image.path, other)
        ranked = list(best.values())
        half = self._most // 2
        before, after = ([other for other in ranked if (other.days > 0) == later][:half] for later in (False, True))
        rest = [other for other in ranked if other not in (*before, *after)]
        chosen = [*before, *after, *rest[: self._most - len(before) - len(after)]]
        return sorted(chosen, key=lambda other: (other.days, str(other.image.path)))

    def _candidates(self, scene: Image) -> Iterator[OtherDate]:
        for other in (self._scenes[number] for number in self._caps.touching(self._scenes.index(scene))):
            days, is_same_day = other.days_from(scene), other.acquired.day == scene.acquired.day
            if is_same_day or not _LEAST_DAYS <= days <= self._within_days:
                continue
            shown, is_known = self._shown(scene, other)
            if shown >= _LEAST_SHOWN:
                later = other.acquired.moment > scene.acquired.moment
                yield OtherDate(other, days if later else -days, shown, is_known)

    def _shown(self, scene: Image, other: Image) -> tuple[float, bool]:
        """The share (0..1) of a scene's outline that another scene shows clear by its UDM2, or else covers."""
        assert isinstance(scene.geometry, Grid)
        assert isinstance(other.geometry, Grid)
        lattice = scene.geometry.resized(_LATTICE, _LATTICE)
        covered = float(_inside(other.geometry, *positions(other.geometry, lattice, None)).mean())
        if not covered:
            return 0.0, False
        if other.path not in self._clear:
            self._clear[other.path] = _Clear.of(other)
        clear = self._clear[other.path]
        return (covered, False) if clear is None else (clear.share_of(lattice), True)


@dataclass(frozen=True)
class _Clear:
    """Where a scene is clear by its UDM2, on a coarse grid (h, w)."""

    grid: Grid
    clear: Mask

    @classmethod
    def of(cls, scene: Image) -> _Clear | None:
        """None where the scene has no UDM2 that can be read."""
        beside = planet_product.find(scene.path, planet_product.UDM2)
        if beside is None:
            return None
        try:
            with access.gdal_settings(), access.opened(beside) as dataset:
                shape = min(dataset.height, _UDM2_PX), min(dataset.width, _UDM2_PX)
                clear = access.read(dataset, [Udm2.CLEAR], Window(0, 0, dataset.width, dataset.height), shape)
                return cls(Grid.of(dataset).resized(*shape), clear[0] == 1)
        except CloudfreeError:
            return None
        except Exception:  # a bug with one file must not stop the others
            log.exception("%s cannot be looked at, by a bug", beside)
            return None

    def share_of(self, lattice: Grid) -> float:
        """The share (0..1) of another grid's pixel centres that are clear."""
        row, col = positions(self.grid, lattice, None)
        inside = _inside(self.grid, row, col)
        rows, cols = (np.rint(axis[inside]).astype(np.intp) for axis in (row, col))
        return float(self.clear[rows, cols].sum() / inside.size)


def _inside(grid: Grid, row: Float64Array, col: Float64Array) -> Mask:
    """Which positions are on a grid, whose pixel centres are whole numbers; NaN is not."""
    return np.asarray((row > -0.5) & (row < grid.height - 0.5) & (col > -0.5) & (col < grid.width - 0.5))


@dataclass(frozen=True)
class _Caps:
    """A cap of the globe around each outline: unit vectors to its middle (N, 3), and its radius as a chord (N,)."""

    middle: Float64Array
    radius: Float64Array

    @classmethod
    def around(cls, geometries: Sequence[Geometry]) -> _Caps:
        outlines = [_unit_vectors(shapely.get_coordinates(one.footprint(WGS84))) for one in geometries]
        middles = [outline.mean(axis=0) / np.linalg.norm(outline.mean(axis=0)) for outline in outlines]
        pairs = zip(outlines, middles, strict=True)
        radii = [np.linalg.norm(outline - middle, axis=1).max() for outline, middle in pairs]
        return cls(np.array(middles), np.array(radii))

    def touching(self, number: int) -> NDArray[np.intp]:
        """The numbers of those that meet one of them: a quick answer before an exact one."""
        away = np.linalg.norm(self.middle - self.middle[number], axis=1)
        return np.flatnonzero(away <= self.radius + self.radius[number])


def _unit_vectors(lon_lat: Float64Array) -> Float64Array:
    """(N, 3) of degrees (N, 2)."""
    lon, lat = np.radians(lon_lat).T
    return np.stack([np.cos(lat) * np.cos(lon), np.cos(lat) * np.sin(lon), np.sin(lat)], axis=1)
