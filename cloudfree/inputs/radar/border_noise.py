"""Border noise: strips at the edges of old Sentinel-1 products that are the instrument's noise, and no ground."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy import ndimage

from cloudfree.arrays import Image, Mask, known_of

MARGIN_PX = 3
"""Pixels around a window whose values decide whether pixels in it are noise."""
LIMIT_DB = -30.0
"""Earth Engine's guide to Sentinel-1 masks edges by this limit."""

_NOISE_PX = 2 * MARGIN_PX + 1
_BAND_SHARE = 0.5  # of the scene's height or width, that a strip of border noise spans


def noisy(db: Image) -> Mask:
    """Where most of 7 x 7 pixels of an image (bands, H, W) are as low as noise in all bands."""
    with np.errstate(invalid="ignore"):
        low = (db < LIMIT_DB).all(axis=0).astype(np.float32)
    return np.asarray(ndimage.uniform_filter(low, _NOISE_PX, mode="nearest") > 0.5)


def share_of(db: Sequence[Image]) -> float:
    """Share (0..1) of a sample, bands (H, W) in dB, in strips of noise at its edges or those of its valid pixels.

    A strip spans at least half of the sample's height or width, which a calm lake does not.
    """
    if len({band.shape for band in db}) > 1:
        return 0.0
    image = np.stack(db)
    low = noisy(image) & known_of(image)
    outside = ndimage.binary_dilation(np.pad(~known_of(image), 1, constant_values=True), iterations=_NOISE_PX)
    parts, _ = ndimage.label(low)
    share = 0.0
    for number, place in enumerate(ndimage.find_objects(parts), 1):
        part = parts == number
        spans = max((s.stop - s.start) / length for s, length in zip(place, part.shape, strict=True))
        if spans >= _BAND_SHARE and (part & outside[1:-1, 1:-1]).any():
            share += float(part.mean())
    return share
