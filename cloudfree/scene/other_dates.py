"""Where images of other dates belong on a scene, and how sure that is.

What finds the offset of radar (`coregister`) finds theirs; but they show more than the survey's pixels of ten metres
can tell, so they are looked at in the scene's own, and of a large scene in a few places. A date is moved only where
ground that was not fitted bears it out (`held_out`), so that nothing gets worse. A date of which the scene shows too
little is placed by another one that is in its place.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import ArrayLike

from cloudfree.arrays import Float64Array, Image, Mask, known_of
from cloudfree.bands import OPTICAL_BANDS
from cloudfree.geometry import Grid
from cloudfree.inputs.area import Part
from cloudfree.inputs.files import Inputs
from cloudfree.inputs.optical.reference import Reference
from cloudfree.inputs.optical.scene import has_data
from cloudfree.scene import coregister, sights
from cloudfree.scene.held_out import bears_out
from cloudfree.scene.offset import Offset, Vector
from cloudfree.scene.survey import Survey

_WHOLE_PX = 1_000_000  # an image of no more pixels is looked at as a whole
_FINE = 2.0  # pixels of the survey: a coarser image shows nothing that the survey does not
_MOST_REACH_PX = 64  # around a part of a scene in its own pixels; farther is searched on the survey
_LEAST_PX = 0.03  # of what is looked at: less is not worth another resampling
_FEWEST_SHARED_PX = 1000  # of the survey, of two dates


@dataclass(frozen=True)
class _Fixed:
    """What lies where it belongs: where the survey sees it (h, w), and parts (4, H, W) of the scene's or the survey's
    grid, NaN where it is hidden.
    """

    seen: Mask
    read: Callable[[Grid, Part], Image]


@dataclass(frozen=True)
class _Look:
    """Parts of a grid side by side, of what lies where it belongs and of another image as it is (4, H, W)."""

    grid: Grid
    parts: tuple[Part, ...]
    fixed: Image
    before: Image


@dataclass(frozen=True)
class _Found:
    """An offset in pixels of the survey, and whether windows agreed on it, moved or not."""

    offset: Offset
    agreed: bool


def offsets(inputs: Inputs, surveyed: Survey, max_shift_m: float) -> tuple[Offset, ...]:
    """The offset of each reference as surveyed, not displaced yet, in pixels of the survey's grid."""
    if not inputs.references:
        return ()
    search = _Search(inputs, surveyed, max_shift_m)
    with inputs.open() as reader:

        def read(grid: Grid, part: Part) -> Image:
            if grid is surveyed.grid:
                dn, hidden = surveyed.dn[:, part.rows, part.cols], surveyed.cloudy[part.rows, part.cols]
            else:
                dn = reader.scene.window(part.row, part.col, part.height, part.width)
                hidden = reader.cloudy(part.of(grid))
            return np.where(hidden | ~has_data(dn), np.float32(np.nan), inputs.scene.reflectance(dn))

        scene = _Fixed(surveyed.clear, read)
        found = [search.found(scene, *pair) for pair in zip(inputs.references, surveyed.others, strict=True)]
        return tuple(
            one.offset if one.agreed else search.by_another_date(scene, found, number)
            for number, one in enumerate(found)
        )


@dataclass(frozen=True)
class _Search:
    inputs: Inputs
    surveyed: Survey
    max_shift_m: float

    def found(self, fixed: _Fixed, reference: Reference, other: Image) -> _Found:
        """The offset of a reference that the survey shows as `other` (4, h, w)."""
        look, offset = self._looked(fixed, reference, other)
        small = len(offset.coefficients_yx_px) == 1 and np.hypot(*offset.shift_yx_px) < _LEAST_PX
        offset = _scaled(offset, np.divide(self.surveyed.grid.shape, look.grid.shape))
        if offset.accepted and small:
            offset = replace(offset, accepted=False, reason=f"{offset.reason} that it is in its place")
            return _Found(offset, agreed=True)
        return self._borne_out(offset, look, reference) if offset.accepted else _Found(offset, agreed=False)

    def _looked(self, fixed: _Fixed, reference: Reference, other: Image) -> tuple[_Look, Offset]:
        """What is looked at, and the offset in its pixels."""
        grid = self._grid(reference)
        most_px = self.max_shift_m / grid.pixel_size_m
        with reference.open() as reader:
            if _is_small(grid):
                whole = Part.whole(grid)
                look = _Look(grid, (whole,), fixed.read(grid, whole), reader.on_grid(grid))
                return look, coregister.between_dates(look.fixed, look.before, most_px)
            few = sights.clearest(grid, fixed.seen & known_of(other))
            pairs = []
            for part in few.parts:
                wide = sights.around(part, coregister.margin_px(most_px), grid)
                images = fixed.read(grid, wide), reader.on_grid(wide.of(grid))
                pairs.append(coregister.Pair(*images, part.within(wide), part.centre))
        offset = coregister.between_parts(pairs, grid.shape, few.cells, most_px)
        return _Look(grid, few.parts, *(_beside([pair.cores[n] for pair in pairs]) for n in (0, 1))), offset

    def _grid(self, reference: Reference) -> Grid:
        """The scene's, or the survey's where that shows all there is, or a large scene would take too long."""
        scene, surveyed = self.inputs.scene.grid, self.surveyed.grid
        is_fine = scene.shape != surveyed.shape and reference.grid.pixel_size_m < _FINE * surveyed.pixel_size_m
        in_reach = self.max_shift_m <= _MOST_REACH_PX * scene.pixel_size_m
        return scene if is_fine and (in_reach or _is_small(scene)) else surveyed

    def _borne_out(self, offset: Offset, look: _Look, reference: Reference) -> _Found:
        """An accepted offset, refused where ground that was not fitted does not gain by it."""
        moved = offset.on(self.surveyed.grid)
        gains = bears_out(look.fixed, look.before, _seen(replace(reference, displacement=moved), look))
        if gains:
            reason = f"{offset.reason}, and ground that was not fitted bears it out"
            return _Found(replace(offset, reason=reason), agreed=True)
        east, north = moved.mean_m
        why = (
            "too little ground is left to bear it out" if gains is None else "ground that was not fitted does not gain"
        )
        reason = f"{offset.reason} on {east:+.1f} m east, {north:+.1f} m north, but {why}"
        return _Found(replace(offset, accepted=False, reason=reason), agreed=gains is not None)

    def by_another_date(self, scene: _Fixed, found: Sequence[_Found], number: int) -> Offset:
        """The offset of the reference of that number against the one in its place that shares most ground with it.

        Its own where none bears another out, or where the scene speaks against it.
        """
        others, own = self.surveyed.others, found[number].offset
        shared = {
            n: (known_of(others[n]) & known_of(others[number])).sum() for n, one in enumerate(found) if one.agreed
        }
        best = max(shared, key=lambda n: shared[n], default=None)
        if best is None or shared[best] < _FEWEST_SHARED_PX:
            return own
        placed = replace(self.inputs.references[best], displacement=found[best].offset.on(self.surveyed.grid))
        reference = self.inputs.references[number]
        with placed.open() as reader:
            fixed = _Fixed(known_of(others[best]), lambda grid, part: reader.on_grid(part.of(grid)))
            offset = self.found(fixed, reference, others[number]).offset
        if not offset.accepted or self._speaks_against(scene, reference, others[number], offset):
            return own
        return replace(offset, reason=f"{offset.reason}, by {placed.path.name}, which is in its place")

    def _speaks_against(self, scene: _Fixed, reference: Reference, other: Image, offset: Offset) -> bool:
        """Whether what the scene shows of a reference was better before it is moved."""
        grid = self.surveyed.grid
        parts = (Part.whole(grid),) if _is_small(grid) else sights.clearest(grid, scene.seen & known_of(other)).parts
        before = _beside([other[:, part.rows, part.cols] for part in parts])
        look = _Look(grid, parts, _beside([scene.read(grid, part) for part in parts]), before)
        moved = _seen(replace(reference, displacement=offset.on(grid)), look)
        return bool(bears_out(look.fixed, before=moved, after=before))


def _is_small(grid: Grid) -> bool:
    return grid.width * grid.height <= _WHOLE_PX


def _seen(reference: Reference, look: _Look) -> Image:
    """What a displaced reference shows where that is looked at (4, H, W)."""
    with reference.open() as reader:
        return _beside([reader.on_grid(part.of(look.grid)) for part in look.parts])


def _beside(images: Sequence[Image]) -> Image:
    return np.concatenate(images, axis=1) if images else np.empty((len(OPTICAL_BANDS), 0, 0), np.float32)


def _scaled(offset: Offset, yx: Float64Array) -> Offset:
    """The same in pixels of another grid of the same outline, of which `yx` are to a pixel (rows, columns)."""
    coefficients = np.array(offset.coefficients_yx_px) * yx
    vectors = (Vector(_pair(yx * v.centre_yx_px), _pair(yx * v.shift_yx_px), v.used) for v in offset.vectors)
    return replace(
        offset,
        coefficients_yx_px=tuple(map(_pair, coefficients)),
        vectors=tuple(vectors),
        spread_px=offset.spread_px * float(np.sqrt(yx.prod())),
    )


def _pair(yx: ArrayLike) -> tuple[float, float]:
    y, x = np.asarray(yx, np.float64)
    return float(y), float(x)
