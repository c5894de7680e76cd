"""Where radar and the images of other dates belong on a surveyed scene."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

from cloudfree.errors import CoregistrationError
from cloudfree.geometry import Displacement
from cloudfree.inputs.files import InputReader, Inputs
from cloudfree.scene import coregister, other_dates, references
from cloudfree.scene.offset import Offset
from cloudfree.scene.survey import Survey

Coregister = Literal["auto", "off", "require"]
"""Whether offsets are corrected: where they can be had reliably, never, or else fail."""


@dataclass(frozen=True)
class Coregistered:
    """A scene's inputs in their places.

    inputs: references displaced; those that tell nothing of the scene are left out.
    survey: shows radar and references displaced.
    offset: of radar, None where it was not estimated; `displacement` is what is applied to it.
    reference_offsets: of each reference, empty where they were not estimated.
    """

    inputs: Inputs
    survey: Survey
    offset: Offset | None
    displacement: Displacement
    reference_offsets: tuple[Offset, ...]


def coregistered(
    inputs: Inputs, surveyed: Survey, reader: InputReader, mode: Coregister, max_shift_m: float
) -> Coregistered:
    """Estimate and apply offsets of up to `max_shift_m`. Raises CoregistrationError where one is required."""
    offset = _of_radar(inputs, surveyed, mode, max_shift_m)
    displacement = offset.on(surveyed.grid) if offset else Displacement(surveyed.grid)
    surveyed = replace(surveyed, sar_db=reader.sar.on_grid(surveyed.grid, displacement, all_cores=True))
    inputs, surveyed = references.with_telling(inputs, surveyed)
    if mode == "off":
        return Coregistered(inputs, surveyed, offset, displacement, ())
    offsets = other_dates.offsets(inputs, surveyed, max_shift_m)
    inputs = inputs.displaced([one.on(surveyed.grid) for one in offsets])
    if any(one.accepted for one in offsets):
        with inputs.open() as displaced:
            surveyed = replace(surveyed, others=displaced.others(surveyed.grid, all_cores=True))
    return Coregistered(inputs, surveyed, offset, displacement, offsets)


def _of_radar(inputs: Inputs, surveyed: Survey, mode: Coregister, max_shift_m: float) -> Offset | None:
    if mode == "off" or not inputs.has_radar:
        return None
    offset = coregister.of_survey(surveyed, inputs.scene, max_shift_m)
    if mode == "require" and not offset.accepted:
        raise CoregistrationError(
            f"no reliable offset between Sentinel-1 and the scene: {offset.reason}; --coregister require needs one: "
            "use a clearer scene or a nearer date, or --coregister auto to go on without"
        )
    return offset
