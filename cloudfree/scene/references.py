"""Images of other dates beside a scene: which of them tell something of it, and where they belong."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import replace

from cloudfree.arrays import Image, Mask, known_of
from cloudfree.inputs.files import Inputs
from cloudfree.scene import coregister
from cloudfree.scene.model import PIXEL_M
from cloudfree.scene.offset import Offset
from cloudfree.scene.survey import Survey

log = logging.getLogger(__name__)

_FEWEST_SHARED_PX = 30  # of the survey


def align(inputs: Inputs, surveyed: Survey, max_shift_m: float | None) -> tuple[Inputs, Survey, tuple[Offset, ...]]:
    """References that tell something of a surveyed scene, moved to where they belong, and by which offsets.

    The others are warned of and left out. An offset of up to `max_shift_m` is corrected where it can be had reliably;
    None leaves all images where they are, without an offset.
    """
    inputs, surveyed = _with_telling(inputs, surveyed)
    if max_shift_m is None:
        return inputs, surveyed, ()
    offsets = tuple(coregister.of_other_date(surveyed, inputs.scene, other, max_shift_m) for other in surveyed.others)
    inputs = inputs.displaced([offset.on(surveyed.grid) for offset in offsets])
    if any(offset.accepted for offset in offsets):
        with inputs.open() as reader:
            surveyed = replace(surveyed, others=reader.others(surveyed.grid, all_cores=True))
    return inputs, surveyed, offsets


def telling(others: Sequence[Image], clear: Mask, pixel_size_m: float) -> tuple[Image, ...]:
    """Those images of other dates (4, H, W) that a model can learn from where a scene is clear (H, W)."""
    return tuple(other for other in others if _tells(other, clear, pixel_size_m))


def _with_telling(inputs: Inputs, surveyed: Survey) -> tuple[Inputs, Survey]:
    kept = []
    for reference, other in zip(inputs.references, surveyed.others, strict=True):
        if _tells(other, surveyed.clear, surveyed.grid.pixel_size_m):
            kept.append((reference, other))
        else:
            log.warning(
                "reference left out: %s shows hardly any ground that the scene shows clear", reference.path.name
            )
    references, others = tuple(reference for reference, _ in kept), tuple(other for _, other in kept)
    return replace(inputs, references=references), replace(surveyed, others=others)


def _tells(other: Image, clear: Mask, pixel_size_m: float) -> bool:
    """Whether enough of an image (4, H, W), NaN where it shows nothing, lies on ground that is clear (H, W)."""
    of_survey = min(1.0, pixel_size_m / PIXEL_M) ** 2
    return bool((known_of(other) & clear).sum() * of_survey >= _FEWEST_SHARED_PX)
