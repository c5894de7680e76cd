"""What becomes of each pixel: kept as observed, reconstructed, blended, or nodata."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from cloudfree.arrays import Image
from cloudfree.bands import DN_MIN, Qa
from cloudfree.inputs.planet import Scene, has_data
from cloudfree.inputs.strips import Fill, Strip


def compose(scene: Scene, strip: Strip, reflectance: Image, fill: Fill) -> tuple[NDArray[np.uint16], NDArray[np.uint8]]:
    """Digital numbers (4, H, W) and quality (2, H, W) of a strip, given the network's reflectance (4, H, W).

    Observed pixels are the input's, bit for bit. What is reconstructed, wholly or in part, lies between 1 and a
    reflectance of one: 1..10000 for surface reflectance.
    """
    weight = strip.blend_weight(fill)
    blended = weight * scene.digital_numbers(reflectance) + (1 - weight) * strip.dn
    made = np.clip(np.rint(blended), DN_MIN, scene.dn_of_one[:, None, None]).astype(np.uint16)
    dn = np.where(weight > 0, made, strip.dn)
    if fill.without_sar == "nodata":
        dn[:, (strip.cloud_weight == 1) & ~strip.sar_valid] = 0
    return dn, _quality(strip, dn, weight)


def _quality(strip: Strip, dn: NDArray[np.uint16], weight: Image) -> NDArray[np.uint8]:
    made, cloudy = weight > 0, strip.cloud_weight > 0
    cases = {
        Qa.NODATA: ~has_data(dn),
        Qa.RECONSTRUCTED: made & strip.sar_valid,
        Qa.RECONSTRUCTED_WITHOUT_SAR: made,
        Qa.NOT_RECONSTRUCTED: cloudy,
    }
    classes = np.select(list(cases.values()), list(cases), Qa.OBSERVED)
    # A trace of reconstruction is one percent, never none: the bands must agree on what was observed.
    percent = np.where(made, np.maximum(np.rint(100 * weight), 1), 0)
    return np.stack([classes, percent]).astype(np.uint8)
