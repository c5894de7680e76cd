"""ukis-csmask (DLR, Apache-2.0; Wieland et al. 2019), where a user has installed it: cloud and shadow at about 30 m."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Self

import numpy as np

from cloudfree.arrays import Image, as_image
from cloudfree.bands import OPTICAL_BANDS, SkyClass
from cloudfree.detect.detector import DetectorInput, one_hot
from cloudfree.detect.extras import imported

_CLASSES = (SkyClass.CLEAR, SkyClass.CLOUD, SkyClass.SHADOW)  # in the order of its own


@dataclass(frozen=True)
class CSMask:
    """Its `CSmask`, shown four bands of reflectance by the weights for the surface ("l2a") or above the air ("l1c")."""

    segment: Callable[..., Any]
    product_level: str = "l1c"
    name: str = "csmask"
    pixel_size_m: float = 30.0

    @classmethod
    def load(cls) -> Self:
        """Raises CloudfreeError where it is not installed, or the runtime of its weights is not."""
        return cls(imported("ukis_csmask.mask", "csmask").CSmask)

    def probability(self, scene: DetectorInput) -> Image:
        """See `Detector`; it is sure of one class everywhere, and knows neither haze nor snow."""
        image = np.ascontiguousarray(np.moveaxis(np.where(scene.valid, scene.reflectance, np.float32(0)), 0, -1))
        with warnings.catch_warnings(action="ignore", category=UserWarning):  # of images under 256 pixels
            answer = self.segment(as_image(image), band_order=list(OPTICAL_BANDS), product_level=self.product_level)
        return one_hot(answer.csm[..., 0], _CLASSES)
