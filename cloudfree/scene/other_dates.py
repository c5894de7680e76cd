"""Where images of other dates belong on a scene, and how sure that is.

What finds the offset of radar (`coregister`) finds theirs; but they show more than pixels of ten metres can tell. So
they are looked at in the scene's own pixels, of a large scene in a few places and after a first look on the survey. A
date is moved only where ground that was not fitted bears it out (`held_out`), so that nothing gets worse. A date of
which the scene shows too little is placed by another one that is in its place.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from cloudfree.arrays import Float64Array, Image, Mask, known_of
from cloudfree.geometry import Displacement, Grid
from cloudfree.inputs.area import Part
from cloudfree.inputs.files import Inputs
from cloudfree.inputs.optical.reference import Reference
from cloudfree.scene import coregister, sights
from cloudfree.scene.held_out import bears_out
from cloudfree.scene.offset import Offset, Vector
from cloudfree.scene.sights import Sight
from cloudfree.scene.survey import Survey

_WHOLE_PX = 1_000_000  # an image of no more pixels is looked at as a whole
_FINE = 2.0  # pixels of the survey: a coarser image shows nothing that the survey does not
_REST_PX = 2.0  # of the survey: what the first look may be off by
_GAP_PX = 16  # between parts, beyond the largest offset: as far as the filters see
_MOST_REACH_PX = 256  # searched in parts of a scene; more is for the survey alone
_FEWEST_SHARED_PX = 1000  # of the survey, of two dates


@dataclass(frozen=True)
class _Fixed:
    """What lies where it belongs: on the survey's grid (4, h, w), and of any part of the scene; NaN where hidden."""

    surveyed: Image
    read: sights.Read


@dataclass(frozen=True)
class _Found:
    """An offset in pixels of the survey, and whether windows agreed on it, moved or not."""

    offset: Offset
    agreed: bool


@dataclass(frozen=True)
class _View:
    """Parts of a grid, and what the fixed image shows there."""

    grid: Grid
    sight: Sight
    fixed: Image

    def of(self, reference: Reference, displacement: Displacement | None = None) -> Image:
        with replace(reference, displacement=displacement).open() as reader:
            return self.sight.image(lambda part: reader.on_grid(part.of(self.grid)))


def offsets(inputs: Inputs, surveyed: Survey, max_shift_m: float) -> tuple[Offset, ...]:
    """The offset of each reference as surveyed, not displaced yet, in pixels of the survey's grid."""
    search = _Search(inputs, surveyed, max_shift_m)
    with inputs.open() as reader:

        def read(part: Part) -> Image:
            dn = reader.scene.window(part.row, part.col, part.height, part.width)
            hidden = reader.cloudy(part.of(reader.grid)) | ~dn.any(axis=0)
            return np.where(hidden, np.float32(np.nan), inputs.scene.reflectance(dn))

        clear = np.where(surveyed.clear, inputs.scene.reflectance(surveyed.dn), np.float32(np.nan))
        scene = _Fixed(clear, read)
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
        grid, coarse = self.inputs.scene.grid, self.surveyed.grid
        fine = grid.shape != coarse.shape and reference.grid.pixel_size_m < _FINE * coarse.pixel_size_m
        if fine and _pixels(grid) <= _WHOLE_PX:
            view = _View(grid, Sight((Part.whole(grid),)), fixed.read(Part.whole(grid)))
            offset = self._in_own_pixels(view, reference, self.max_shift_m)
            return self._borne_out(offset, view, reference)
        offset = coregister.between_dates(fixed.surveyed, other, self.max_shift_m / coarse.pixel_size_m)
        reach_m = _REST_PX * coarse.pixel_size_m if offset.accepted else self.max_shift_m
        seen = known_of(fixed.surveyed) & known_of(other)
        parts = self._few_parts(fixed, seen, reach_m) if fine else None
        if parts:
            offset = _together(offset, self._in_own_pixels(parts, reference, reach_m, offset.on(coarse)))
        return self._borne_out(offset, parts or self._of_survey(fixed, seen), reference)

    def _few_parts(self, fixed: _Fixed, seen: Mask, reach_m: float) -> _View | None:
        """Parts of the scene in its own pixels; None where hardly any are `seen` (h, w), or they are too small."""
        grid = self.inputs.scene.grid
        reach_px = math.ceil(reach_m / grid.pixel_size_m)
        sight = sights.clearest(grid, seen, reach_px + _GAP_PX) if reach_px <= _MOST_REACH_PX else None
        return _View(grid, sight, sight.image(fixed.read)) if sight else None

    def _of_survey(self, fixed: _Fixed, seen: Mask) -> _View | None:
        """The survey or parts of it; None where hardly any are `seen` (h, w)."""
        grid = self.surveyed.grid
        small = _pixels(grid) <= _WHOLE_PX
        sight = Sight((Part.whole(grid),)) if small else sights.clearest(grid, seen, _GAP_PX)
        return _View(grid, sight, sight.image(lambda part: fixed.surveyed[:, part.rows, part.cols])) if sight else None

    def _in_own_pixels(
        self, view: _View, reference: Reference, reach_m: float, displacement: Displacement | None = None
    ) -> Offset:
        """The offset, in pixels of the survey, that a displaced reference still has."""
        offset = coregister.between_dates(
            view.fixed, view.of(reference, displacement), reach_m / view.grid.pixel_size_m
        )
        coarser = np.divide(self.surveyed.grid.shape, view.grid.shape)
        dy, dx = coarser * offset.shift_yx_px
        vectors = tuple(
            Vector(
                _pair(coarser * view.sight.place(vector.centre_yx_px)), _pair(coarser * vector.shift_yx_px), vector.used
            )
            for vector in offset.vectors
        )
        spread = float(offset.spread_px * np.sqrt(coarser.prod()))
        return replace(offset, coefficients_yx_px=((float(dy), float(dx)),), vectors=vectors, spread_px=spread)

    def _borne_out(self, offset: Offset, view: _View | None, reference: Reference) -> _Found:
        """The offset, refused where ground that was not fitted does not gain by it."""
        if not offset.accepted:
            return _Found(offset, agreed=False)
        moved = offset.on(self.surveyed.grid)
        gains = view and bears_out(view.fixed, view.of(reference), view.of(reference, moved))
        if gains:
            reason = f"{offset.reason}, and ground that was not fitted bears it out"
            return _Found(replace(offset, reason=reason), agreed=True)
        east, north = moved.mean_m
        found = f"{offset.reason} on {east:+.1f} m east, {north:+.1f} m north"
        why = (
            "too little ground is left to bear it out"
            if gains is None
            else "ground that was not fitted is no better for it"
        )
        return _Found(replace(offset, accepted=False, reason=f"{found}, but {why}"), agreed=gains is not None)

    def by_another_date(self, scene: _Fixed, found: Sequence[_Found], number: int) -> Offset:
        """The offset of the reference of that number against the one in its place that shares most ground with it.

        Its own where none bears another out, or where the scene speaks against it.
        """
        grid, others, own = self.surveyed.grid, self.surveyed.others, found[number].offset
        shared = {
            n: (known_of(others[n]) & known_of(others[number])).sum() for n, one in enumerate(found) if one.agreed
        }
        best = max(shared, key=lambda n: shared[n], default=None)
        if best is None or shared[best] < _FEWEST_SHARED_PX:
            return own
        displaced = replace(self.inputs.references[best], displacement=found[best].offset.on(grid))
        reference = self.inputs.references[number]
        with displaced.open() as reader:
            fixed = _Fixed(reader.on_grid(grid), lambda part: reader.on_grid(part.of(self.inputs.scene.grid)))
            offset = self.found(fixed, reference, others[number]).offset
        view = self._of_survey(scene, known_of(scene.surveyed) & known_of(others[number]))
        moved = offset.on(grid)
        if not offset.accepted or (view and bears_out(view.fixed, view.of(reference, moved), view.of(reference))):
            return own
        return replace(offset, reason=f"{offset.reason}, by {displaced.path.name}, which is in its place")


def _together(first: Offset, rest: Offset) -> Offset:
    """What the survey tells and what is still to be added to it, where both are sure; else the one that is."""
    if not (first.accepted and rest.accepted):
        return first if first.accepted else rest
    (dy, dx), *slopes = first.coefficients_yx_px
    down, right = rest.shift_yx_px
    reason = f"{first.reason}, in its own pixels {rest.reason}"
    return replace(first, coefficients_yx_px=((dy + down, dx + right), *slopes), reason=reason)


def _pixels(grid: Grid) -> int:
    return grid.width * grid.height


def _pair(yx: Float64Array) -> tuple[float, float]:
    return float(yx[0]), float(yx[1])
