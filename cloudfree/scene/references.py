"""Images of other dates beside a scene: which of them tell something of it."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import replace

from cloudfree.arrays import Image, Mask, known_of
from cloudfree.inputs.files import Inputs
from cloudfree.scene.model import PIXEL_M
from cloudfree.scene.survey import Survey

log = logging.getLogger(__name__)

_FEWEST_SHARED_PX = 30  # of the survey


def telling(others: Sequence[Image], clear: Mask, pixel_size_m: float) -> tuple[Image, ...]:
    """Those images of other dates (4, H, W) that a model can learn from where a scene is clear (H, W)."""
    return tuple(other for other in others if _tells(other, clear, pixel_size_m))


def with_telling(inputs: Inputs, surveyed: Survey) -> tuple[Inputs, Survey]:
    """The inputs and the survey without references that tell hardly anything of the scene, which are warned of."""
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
