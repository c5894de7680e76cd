"""What a detector is: something that is shown a scene and says how likely each class is at every pixel."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np

from cloudfree.arrays import Image, Mask
from cloudfree.bands import SkyClass


@dataclass(frozen=True)
class DetectorInput:
    """What a detector is shown, all on one grid.

    reflectance: (4, h, w), blue, green, red, NIR, finite where `valid`.
    valid: (h, w), where the scene has data.
    pixel_size_m: not finer than what the detector wants.
    other: (4, h, w), reflectance on other dates, such as their median where they are clear; NaN where there is nothing,
        None without any. It tells what is always bright or dark; only our own detector looks at it.
    """

    reflectance: Image
    valid: Mask
    pixel_size_m: float
    other: Image | None = None


class Detector(Protocol):
    """A way to find clouds. It must be pure: equal inputs give equal probabilities."""

    @property
    def name(self) -> str: ...

    @property
    def pixel_size_m(self) -> float:
        """The resolution that it was made for; finer images are averaged to it first."""

    def probability(self, scene: DetectorInput) -> Image:
        """(5, h, w) float32, of the classes of `SkyClass`, summing to one. Raises CloudfreeError."""


def one_hot(labels: Image, classes: tuple[SkyClass, ...]) -> Image:
    """Probability (5, h, w) of a map of labels (h, w): label i is the i-th of the classes, for certain."""
    probability = np.zeros((len(SkyClass), *labels.shape), np.float32)
    for label, sky in enumerate(classes):
        probability[sky] = labels == label
    probability[SkyClass.CLEAR] += probability.sum(0) == 0
    return probability
