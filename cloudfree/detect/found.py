"""What was found in the sky over a scene, and how probabilities become classes."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from cloudfree.arrays import Image, Mask, as_image
from cloudfree.bands import SKY_HIDDEN, SKY_NODATA, SkyClass

HIDDEN_PROBABILITY = 0.7
"""From here on, cloud, haze and shadow together, a pixel is taken for hidden."""

GROWTH_M = 20.0
"""What is found is taken to reach so much farther: what thins out below notice alters the ground all the same.

It and the probability are what suited images best that training left out: `benchmarks/quality/README.md`.
"""

# Specks of less area are roofs and boats more often than clouds; gaps of less within cloud are not worth keeping.
_LEAST_CLOUD_M2, _LEAST_GAP_M2 = 3000.0, 3000.0


@dataclass(frozen=True)
class FoundSky:
    """Probability (5, h, w) float32 of clear, cloud, haze, shadow and snow, summing to one at every pixel.

    valid (h, w): where the scene has data; elsewhere probability is that of clear and the class `SKY_NODATA`.
    """

    probability: Image
    valid: Mask
    pixel_size_m: float

    @cached_property
    def core(self) -> Mask:
        """(h, w) cloud, haze or shadow, without specks and small gaps."""
        likely = self.valid & (self.obstructed > HIDDEN_PROBABILITY)
        without_specks = _without_specks(likely, round(_LEAST_CLOUD_M2 / self.pixel_size_m**2))
        if not without_specks.any():  # a scene smaller than a gap is none
            return without_specks
        return self.valid & ~_without_specks(~without_specks, round(_LEAST_GAP_M2 / self.pixel_size_m**2))

    @cached_property
    def hidden(self) -> Mask:
        """(h, w) under cloud, haze or shadow, and close to it."""
        return self.valid & _grown(self.core, GROWTH_M / self.pixel_size_m)

    @property
    def obstructed(self) -> Image:
        """(h, w) the probability of cloud, haze or shadow, 0..1."""
        return as_image(self.probability[list(SKY_HIDDEN)].sum(axis=0))

    @property
    def classes(self) -> NDArray[np.uint8]:
        """(h, w) of `SkyClass`: of what is hidden the likeliest of cloud, haze and shadow, else clear or snow."""
        return self._classes(self.hidden)

    @property
    def core_classes(self) -> NDArray[np.uint8]:
        """(h, w) of `SkyClass` as `classes`, without what is close to it: for whom follows edges, or adds a buffer."""
        return self._classes(self.core)

    def _classes(self, hidden: Mask) -> NDArray[np.uint8]:
        likeliest = np.array(SKY_HIDDEN, np.uint8)[self.probability[list(SKY_HIDDEN)].argmax(0)]
        ground = np.where(
            self.probability[SkyClass.SNOW] > self.probability[SkyClass.CLEAR], SkyClass.SNOW, SkyClass.CLEAR
        )
        return np.where(self.valid, np.where(hidden, likeliest, ground), SKY_NODATA).astype(np.uint8)


def _grown(mask: Mask, by_px: float) -> Mask:
    """The mask (h, w) and all within a distance of it; a hundredth more, that whole pixels be not lost by rounding."""
    if not mask.any() or by_px < 1:
        return mask
    return np.asarray(ndimage.distance_transform_edt(~mask) <= 1.01 * by_px)


def _without_specks(mask: Mask, least_px: int) -> Mask:
    """The mask (h, w) less its connected parts, by edges and corners, of fewer pixels."""
    if least_px <= 1 or not mask.any():
        return mask
    labels, _ = ndimage.label(mask, np.ones((3, 3), int))
    kept = np.bincount(labels.ravel()) >= least_px
    kept[0] = False
    return np.asarray(kept[labels])
