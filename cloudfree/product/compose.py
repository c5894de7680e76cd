"""What becomes of each pixel: kept as observed, reconstructed, blended, or nodata."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cloudfree.arrays import Image
from cloudfree.bands import DN_MIN, REFLECTANCE_SCALE, Qa
from cloudfree.inputs.optical.scene import Scene, has_data
from cloudfree.product.profiles import NO_DEVIATION, NO_SHARE
from cloudfree.reconstruct.strips import Fill, RestoredStrip, Strip
from cloudfree.reconstruct.tile import SHOWS
from cloudfree.scene.uncertainty import Uncertainty

_CACHED_COLUMNS = 512  # composed at once: with a few rows they fit into the processor's cache


@dataclass(frozen=True)
class Composed:
    """Rows of the products.

    `dn` (4, H, W): digital numbers. `weight` (H, W): share (0..1) of each pixel that is reconstructed. `classes`
    (H, W): classes of `Qa`.
    """

    dn: NDArray[np.uint16]
    weight: Image
    classes: NDArray[np.uint8]

    @property
    def quality(self) -> NDArray[np.uint8]:
        """Class of `Qa` and share of reconstruction in percent (2, H, W), NO_SHARE without data."""
        # At least one percent where anything is reconstructed: both bands must agree on what was observed.
        percent = np.where(self.weight > 0, np.maximum(np.rint(100 * self.weight), 1), 0)
        percent = np.where(self.classes == Qa.NODATA, NO_SHARE, percent)
        return np.stack([self.classes, percent.astype(np.uint8)])


def compose(scene: Scene, restored: RestoredStrip, fill: Fill) -> Composed:
    """Return the rows of the products from restored rows.

    Observed pixels are the input's, bit for bit. Pixels that are reconstructed, wholly or in part, are between 1 and
    the digital number of reflectance 1 (10000 for surface reflectance).
    """
    width = restored.strip.dn.shape[2]
    parts = [
        _composed(scene, restored.columns(col, col + _CACHED_COLUMNS), fill) for col in range(0, width, _CACHED_COLUMNS)
    ]
    return Composed(*(np.concatenate(arrays, axis=-1) for arrays in zip(*parts, strict=True)))


def _composed(scene: Scene, restored: RestoredStrip, fill: Fill) -> tuple[NDArray[np.uint16], Image, NDArray[np.uint8]]:
    """Return the three arrays of `Composed` for some columns."""
    strip = restored.strip
    weight, dn = strip.blend_weight(fill), strip.dn
    if weight.any():
        blended = scene.digital_numbers(restored.reflectance)
        blended *= weight
        blended += (1 - weight) * dn
        np.clip(np.rint(blended, out=blended), DN_MIN, scene.dn_of_one[:, None, None], out=blended)
        dn = np.where(weight > 0, blended.astype(np.uint16), dn)
    if fill.without_sar == "nodata":
        dn = np.where((strip.cloud_weight == 1) & ~strip.sar_valid, np.uint16(0), dn)
    return dn, weight, _classes(strip, dn, weight, restored.seen_share)


def deviation_dn(composed: Composed, restored: RestoredStrip, uncertainty: Uncertainty) -> NDArray[np.uint16]:
    """Return the standard deviation (4, H, W) of reflectance x 10000: 0 where observed, NO_DEVIATION outside the data.

    In the feather it is multiplied by the reconstructed share. Of what was observed through thin cloud or shadow it is
    smaller, by the share of the variance that the observation takes away.
    """
    strip = restored.strip
    rows, cols = range(strip.start, strip.stop), range(strip.left, strip.left + strip.dn.shape[2])
    share = restored.seen_share / np.maximum(strip.cloud_weight, restored.seen_share + np.float32(1e-6))
    deviation = uncertainty.deviation(np.clip(restored.reflectance, 0, 1), rows, cols)
    deviation *= composed.weight * np.sqrt(1 - share) * np.where(share > SHOWS, np.float32(uncertainty.seen_factor), 1)
    # At least one unit where anything is reconstructed: both files must agree on what was observed.
    least = (composed.weight > 0).astype(np.float32)
    units = np.clip(np.rint(deviation / REFLECTANCE_SCALE), least, NO_DEVIATION - 1)
    return np.where(has_data(composed.dn), units, NO_DEVIATION).astype(np.uint16)


def _classes(strip: Strip, dn: NDArray[np.uint16], weight: Image, seen_share: Image) -> NDArray[np.uint8]:
    reconstructed, cloudy, data = weight > 0, strip.cloud_weight > 0, has_data(dn)
    classes = np.where(data, np.uint8(Qa.OBSERVED), np.uint8(Qa.NODATA))
    if not cloudy.any() and not reconstructed.any():
        return classes
    cases = {
        Qa.NODATA: ~data,
        Qa.SEEN_THROUGH: reconstructed & strip.sar_valid & cloudy & (seen_share > SHOWS * strip.cloud_weight),
        Qa.RECONSTRUCTED: reconstructed & strip.sar_valid,
        Qa.RECONSTRUCTED_WITHOUT_SAR: reconstructed,
        Qa.NOT_RECONSTRUCTED: cloudy,
    }
    for qa, where in reversed(cases.items()):
        np.putmask(classes, where, qa)
    return classes
