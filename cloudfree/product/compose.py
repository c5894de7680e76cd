"""What becomes of each pixel: kept as observed, reconstructed, blended, or beyond recovery."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from cloudfree.arrays import Image
from cloudfree.bands import DN_MIN, Qa
from cloudfree.inputs.planet import Scene, has_data
from cloudfree.inputs.strips import Mode, Strip


def compose(scene: Scene, strip: Strip, reflectance: Image, mode: Mode) -> tuple[NDArray[np.uint16], NDArray[np.uint8]]:
    """Digital numbers (4, H, W) and quality (2, H, W) of a strip, given the network's reflectance (4, H, W).

    Observed pixels are the input's, bit for bit. What is reconstructed, wholly or in part, lies between 1 and a
    reflectance of one: 1..10000 for surface reflectance.
    """
    weight = strip.blend_weight(mode)
    blended = weight * scene.digital_numbers(reflectance) + (1 - weight) * strip.dn
    made = np.clip(np.rint(blended), DN_MIN, scene.dn_of_one[:, None, None]).astype(np.uint16)
    return np.where(weight > 0, made, strip.dn), _quality(strip, weight)


def _quality(strip: Strip, weight: Image) -> NDArray[np.uint8]:
    data = has_data(strip.dn)
    cases = [~data, weight > 0, strip.cloud_weight > 0]
    classes = np.select(cases, [Qa.NODATA, Qa.RECONSTRUCTED, Qa.UNRECOVERABLE], Qa.OBSERVED)
    # A trace of reconstruction is one percent, never none: the bands must agree on what was observed.
    percent = np.where(weight > 0, np.maximum(np.rint(100 * weight), 1), 0)
    return np.stack([classes, percent]).astype(np.uint8)
