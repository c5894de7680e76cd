"""OmniCloudMask (Wright et al. 2025, MIT licence), where a user has installed it: thick and thin cloud, and shadow."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Self

import numpy as np

from cloudfree.arrays import Image, as_image
from cloudfree.bands import REFLECTANCE_SCALE, SkyClass
from cloudfree.detect.detector import DetectorInput
from cloudfree.detect.extras import imported
from cloudfree.errors import CloudfreeError

# The order of its classes as documented: 0 clear, 1 thick cloud, 2 thin cloud, 3 cloud shadow; and of its bands.
_CLASSES = (SkyClass.CLEAR, SkyClass.CLOUD, SkyClass.HAZE, SkyClass.SHADOW)
_RED_GREEN_NIR = [2, 1, 3]


@dataclass(frozen=True)
class OmniCloudMask:
    """Its `predict_from_array`, shown red, green and NIR at 10 m as digital numbers of reflectance x 10000."""

    predict: Callable[..., Any]
    name: str = "omnicloudmask"
    pixel_size_m: float = 10.0

    @classmethod
    def load(cls) -> Self:
        """Raises CloudfreeError where it is not installed. It fetches its weights itself at the first call."""
        return cls(imported("omnicloudmask", "omnicloudmask").predict_from_array)

    def probability(self, scene: DetectorInput) -> Image:
        """See `Detector`; it knows no snow. Raises CloudfreeError where it answers otherwise than documented."""
        shown = scene.reflectance[_RED_GREEN_NIR] / np.float32(REFLECTANCE_SCALE)
        numbers = as_image(np.where(scene.valid, np.maximum(shown, 1), 0))  # it takes 0 for nodata
        answer = np.asarray(self.predict(numbers, export_confidence=True, softmax_output=True))
        if answer.shape != (len(_CLASSES), *scene.valid.shape):
            raise CloudfreeError(
                f"omnicloudmask returned an array of {answer.shape}; confidences of {len(_CLASSES)} classes over "
                f"{scene.valid.shape} pixels are needed: install a release that has export_confidence"
            )
        probability = np.zeros((len(SkyClass), *scene.valid.shape), np.float32)
        probability[list(_CLASSES)] = np.maximum(answer, 0)
        probability[SkyClass.CLEAR] += probability.sum(0) <= 0
        return probability / probability.sum(0)
