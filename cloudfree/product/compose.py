"""What becomes of each pixel: kept as observed, reconstructed, blended, or beyond recovery."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from cloudfree.arrays import Image
from cloudfree.bands import DN_MIN, Qa
from cloudfree.inputs.planet import Scene, has_data

Mode = Literal["clouds", "all"]
QA_BANDS = (
    "class: 0 nodata, 1 observed, 2 reconstructed, 3 cloudy and not reconstructable",
    "share of reconstruction in percent",
)


@dataclass(frozen=True)
class Strip:
    """Full-width rows of a scene and what is known of them.

    `dn` (4, H, W) uint16, all zero without data; `sar_db` (2, H, W) float32, NaN where invalid; `cloudy` (H, W) share
    of reconstruction that the mask asks for, 0..1, its rim included.
    """

    start: int
    dn: NDArray[np.uint16]
    sar_db: Image
    cloudy: Image

    @property
    def stop(self) -> int:
        return self.start + self.dn.shape[1]

    def head(self, rows: int) -> Strip:
        """Its first rows."""
        return replace(self, dn=self.dn[:, :rows], sar_db=self.sar_db[:, :rows], cloudy=self.cloudy[:rows])

    def wanted(self, mode: Mode) -> Image:
        """Share of reconstruction (H, W), 0..1: none without data, and none without SAR."""
        possible = has_data(self.dn) & np.isfinite(self.sar_db).all(axis=0)
        share = np.float32(1) if mode == "all" else self.cloudy
        return np.where(possible, share, np.float32(0))


def compose(scene: Scene, strip: Strip, reflectance: Image, mode: Mode) -> tuple[NDArray[np.uint16], NDArray[np.uint8]]:
    """Digital numbers (4, H, W) and quality (2, H, W) of a strip, given the network's reflectance (4, H, W).

    Observed pixels are the input's, bit for bit. What is reconstructed, wholly or in part, lies between 1 and a
    reflectance of one: 1..10000 for surface reflectance.
    """
    share = strip.wanted(mode)
    blended = share * scene.digital_numbers(reflectance) + (1 - share) * strip.dn
    made = np.clip(np.rint(blended), DN_MIN, scene.dn_of_one[:, None, None]).astype(np.uint16)
    return np.where(share > 0, made, strip.dn), _quality(strip, share)


def _quality(strip: Strip, share: Image) -> NDArray[np.uint8]:
    data = has_data(strip.dn)
    cases = [~data, share > 0, strip.cloudy > 0]
    classes = np.select(cases, [Qa.NODATA, Qa.RECONSTRUCTED, Qa.UNRECOVERABLE], Qa.OBSERVED)
    # A trace of reconstruction is one percent, never none: the bands must agree on what was observed.
    percent = np.where(share > 0, np.maximum(np.rint(100 * share), 1), 0)
    return np.stack([classes, percent]).astype(np.uint8)
