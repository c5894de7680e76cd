"""Images of other dates beside a scene: which of them tell something of it."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from cloudfree.arrays import Image, Mask, as_image, known_of
from cloudfree.geometry import distance_m
from cloudfree.inputs.files import InputReader, Inputs
from cloudfree.inputs.optical.reference import Reference
from cloudfree.scene import cloud_edges, same_acquisition
from cloudfree.scene.model import PIXEL_M
from cloudfree.scene.survey import Survey

log = logging.getLogger(__name__)

_FEWEST_SHARED_PX = 30  # of the survey


def telling(others: Sequence[Image], clear: Mask, pixel_size_m: float) -> tuple[Image, ...]:
    """Those images of other dates (4, H, W) that a model can learn from where a scene is clear (H, W)."""
    return tuple(other for other in others if _tells(other, clear, pixel_size_m))


def clear_median(others: Sequence[Image]) -> Image:
    """The median (4, h, w) of images of other dates, of each pixel over those that show it; NaN where none does."""
    ordered = np.sort(np.stack(others), axis=0)  # NaN last
    shown = np.isfinite(ordered).sum(axis=0, keepdims=True)
    lower, upper = np.maximum(shown - 1, 0) // 2, np.minimum(shown // 2, len(others) - 1)
    middle = [np.take_along_axis(ordered, place, 0)[0] for place in (lower, upper)]
    return as_image((middle[0] + middle[1]) / 2)


def with_telling(inputs: Inputs, surveyed: Survey) -> tuple[Inputs, Survey]:
    """The inputs and the survey without references of no use: from here on they cost nothing.

    Those that share hardly any clear ground with the scene, of which nothing can be learned, are warned of. Those that
    show nothing where the ground is hidden add nothing to it: what stands there in their place is made of the others.
    """
    kept, hidden = [], _may_be_hidden(surveyed) if inputs.references and inputs.masked else surveyed.data
    for reference, other in zip(inputs.references, surveyed.others, strict=True):
        if not _tells(other, surveyed.clear, surveyed.grid.pixel_size_m):
            log.warning(
                "reference left out: %s shows hardly any ground that the scene shows clear", reference.path.name
            )
        elif not (known_of(other) & hidden).any():
            log.info("reference left out: %s shows nothing of the ground that clouds hide", reference.path.name)
        else:
            kept.append((reference, other))
    return _with(inputs, surveyed, kept)


def with_other_acquisitions(inputs: Inputs, surveyed: Survey, reader: InputReader) -> tuple[Inputs, Survey]:
    """The inputs and the survey without references of the scene's own acquisition: they would bring its clouds back."""
    kept, told = [], same_acquisition.told_by(inputs, surveyed, reader)
    for reference, other, why in zip(inputs.references, surveyed.others, told, strict=True):
        if why:
            name = reference.path.name
            log.warning("reference left out: %s %s, as another form of it does; take one of another day", name, why)
        else:
            kept.append((reference, other))
    return _with(inputs, surveyed, kept)


def _with(inputs: Inputs, surveyed: Survey, kept: Sequence[tuple[Reference, Image]]) -> tuple[Inputs, Survey]:
    references, others = tuple(reference for reference, _ in kept), tuple(other for _, other in kept)
    return replace(inputs, references=references), replace(surveyed, others=others)


def _may_be_hidden(surveyed: Survey) -> Mask:
    """Where a scene's ground (H, W) is hidden, or may turn out to be: clouds are followed beyond their mask."""
    away_m = distance_m(surveyed.cloudy, surveyed.grid.pixel_size_m, cloud_edges.LIMIT_M)
    return np.asarray(surveyed.data & (away_m <= cloud_edges.LIMIT_M))


def _tells(other: Image, clear: Mask, pixel_size_m: float) -> bool:
    """Whether enough of an image (4, H, W), NaN where it shows nothing, lies on ground that is clear (H, W)."""
    of_survey = min(1.0, pixel_size_m / PIXEL_M) ** 2
    return bool((known_of(other) & clear).sum() * of_survey >= _FEWEST_SHARED_PX)
