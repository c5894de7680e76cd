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
"""From here on, cloud, haze and shadow together, a pixel is taken for hidden.

It is what suited images best that training left out: `benchmarks/quality/README.md`.
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
    def hidden(self) -> Mask:
        """(h, w) under cloud, haze or shadow, without specks and small gaps; what is close to it is not added."""
        likely = self.valid & (self.obstructed > HIDDEN_PROBABILITY)
        without_specks = _without_specks(likely, round(_LEAST_CLOUD_M2 / self.pixel_size_m**2))
        if not without_specks.any():  # a scene smaller than a gap is none
            return without_specks
        return self.valid & ~_without_specks(~without_specks, round(_LEAST_GAP_M2 / self.pixel_size_m**2))

    @property
    def obstructed(self) -> Image:
        """(h, w) the probability of cloud, haze or shadow, 0..1."""
        return as_image(self.probability[list(SKY_HIDDEN)].sum(axis=0))

    @cached_property
    def classes(self) -> NDArray[np.uint8]:
        """(h, w) of `SkyClass`: of what is hidden the likeliest of cloud, haze and shadow, else clear or snow."""
        hidden = np.array(SKY_HIDDEN, np.uint8)[self.probability[list(SKY_HIDDEN)].argmax(0)]
        ground = np.where(
            self.probability[SkyClass.SNOW] > self.probability[SkyClass.CLEAR], SkyClass.SNOW, SkyClass.CLEAR
        )
        return np.where(self.valid, np.where(self.hidden, hidden, ground), SKY_NODATA).astype(np.uint8)


def _without_specks(mask: Mask, least_px: int) -> Mask:
    """The mask (h, w) less its connected parts, by edges and corners, of fewer pixels."""
    if least_px <= 1 or not mask.any():
        return mask
    labels, _ = ndimage.label(mask, np.ones((3, 3), int))
    kept = np.bincount(labels.ravel()) >= least_px
    kept[0] = False
    return np.asarray(kept[labels])
