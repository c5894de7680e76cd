"""What a network is shown of a scene: the prior in place of cloud, typical values in place of nodata.

And how far its answer is taken where the prior stood: as far as the scene bears it out (`trust`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from scipy import ndimage

from cloudfree.arrays import Image, Mask, as_image
from cloudfree.inputs.planet import Scene, has_data
from cloudfree.inputs.strips import Strip
from cloudfree.scene.model import SceneModel, fit_fine
from cloudfree.scene.survey import Survey

# Mean excess over the prior in blue and green up to which a pixel is kept as seen, and from which it is all cloud; and
# what shadow leaves of the light, likewise.
_HAZE_EXCESS, _CLOUD_EXCESS = 0.04, 0.14
_LIT, _SHADED = 0.9, 0.7
_ROOF_PX, _EDGE_PX, _SOFT_PX = 3, 4, 1.5

HAZE_TOLERANCE = 0.3
"""How much haze is kept as seen: the share of the thresholds above; 0 keeps nothing that the mask flags."""


class NetworkInput(NamedTuple):
    """A tile as a network is shown it.

    reflectance (4, H, W), sar_db (2, H, W); kept (1, H, W), 0..1: how far to stay with that reflectance whatever the
    network makes of it; seen_through (1, H, W), 0..1: how much of what the mask hides it was shown all the same. Both
    are (1, 1, 1) where they are zero everywhere.
    """

    reflectance: Image
    sar_db: Image
    kept: Image
    seen_through: Image


class RestoredStrip(NamedTuple):
    """Rows of a scene after the network: reflectance (4, H, W), and seen_through (H, W) as in `NetworkInput`."""

    strip: Strip
    reflectance: Image
    seen_through: Image

    def rows(self, first: int, last: int) -> RestoredStrip:
        """Its rows from `first` up to `last`, counted from its own start."""
        some = slice(first, last)
        return RestoredStrip(self.strip.rows(first, last), self.reflectance[:, some], self.seen_through[some])


@dataclass(frozen=True)
class Priming:
    """Makes tiles of a scene fit for a network.

    Where there is no data the network sees `fill_reflectance` (4,) and `fill_sar_db` (2,). A `prior` stands where the
    mask hides the ground from camera and radar; if the network is `primed`, wherever the mask hides it. `trust` (0..1)
    is how far the network is then believed where radar sees.
    """

    scene: Scene
    fill_reflectance: Image
    fill_sar_db: Image
    prior: SceneModel | None = None
    primed: bool = False
    trust: float = 1.0

    @classmethod
    def of(cls, scene: Scene, survey: Survey, prior: SceneModel | None, primed: bool, trust: float) -> Priming:
        """With what is typical of the scene in place of nodata, which is not black ground."""
        fill = scene.reflectance(survey.median_dn()[:, None, None])[:, 0, 0]
        return cls(scene, fill, survey.median_sar_db(), prior, primed, trust)

    @property
    def path_radiance(self) -> Image:
        """(4, 1, 1), what is taken off before the network, and to be put back after."""
        if self.prior is None or not self.primed:
            return np.zeros((4, 1, 1), np.float32)
        return self.prior.path_radiance[:, None, None]

    def prior_of(self, strip: Strip) -> Image | None:
        """The prior's reflectance (4, H, W) of a strip, where it is needed."""
        if self.prior is None or (not self.primed and strip.sar_valid.all()):
            return None
        return self.prior.rows(strip.start, strip.stop, strip.others)

    def tile(self, strip: Strip, prior: Image | None, cols: slice) -> NetworkInput:
        """Some columns of a strip, whose prior is given."""
        dn, sar_db = strip.dn[..., cols], strip.sar_db[..., cols].copy()
        kept = seen_through = np.zeros((1, 1, 1), np.float32)
        reflectance = self.scene.reflectance(dn)
        np.copyto(reflectance, self.fill_reflectance[:, None, None], where=~has_data(dn))
        np.copyto(sar_db, self.fill_sar_db[:, None, None], where=~np.isfinite(sar_db))
        if prior is not None:
            prior, sar_valid, cloud_weight = prior[..., cols], strip.sar_valid[:, cols], strip.cloud_weight[:, cols]
            weight = prior_weight(reflectance, prior, cloud_weight)
            if self.primed:
                seen_through = (cloud_weight - weight)[None]
            else:
                weight = np.where(sar_valid, np.float32(0), weight)
            reflectance = blend(reflectance, prior, weight) - self.path_radiance
            # Without radar the network has nothing to see but what is typical: there the prior is all.
            kept = np.where(sar_valid, 1 - np.float32(self.trust), np.float32(1))[None] * weight
        return NetworkInput(reflectance, sar_db, kept, seen_through)


def prime(
    reflectance: Image,
    sar_db: Image,
    mask: Mask,
    cloud_weight: Image,
    valid: Mask,
    pixel_size_m: float,
    haze_tolerance: float = HAZE_TOLERANCE,
    others: Sequence[Image] = (),
) -> tuple[Image, SceneModel]:
    """An image (4, H, W) with the prior in place of what cloud hides, and the prior.

    The prior is fitted to all that the mask (H, W) leaves clear: thin edges that it missed count little there.
    cloud_weight (H, W) 0..1: how much of each pixel is to be reconstructed, the mask with its feather. others: the
    place on other dates (4, H, W), NaN where an image shows nothing.
    """
    prior = fit_fine(reflectance, sar_db, mask, valid, pixel_size_m, others, by_holes=False)
    whole = prior.whole(others)
    return blend(reflectance, whole, prior_weight(reflectance, whole, cloud_weight, haze_tolerance)), prior


def prior_weight(observed: Image, prior: Image, cloud_weight: Image, haze_tolerance: float = HAZE_TOLERANCE) -> Image:
    """How much of each pixel (H, W), 0..1, the prior stands in for when an image is primed.

    The thinnest haze and shadow keep their texture, and so do the clear pixels of the mask's feather: a network
    restores these better from what is seen than from what is guessed. How much brighter a pixel may be goes with
    `haze_tolerance`; at 0 the prior is in all of the mask. Reaches 11 pixels: within the margin that tiles throw away.
    """
    if haze_tolerance == 0:
        return cloud_weight
    excess = (observed[:2] - prior[:2]).mean(axis=0)  # in blue and green cloud stands out from any ground but snow
    bright = np.clip((excess / haze_tolerance - _HAZE_EXCESS) / (_CLOUD_EXCESS - _HAZE_EXCESS), 0, 1)
    light = observed.mean(axis=0) / np.maximum(prior.mean(axis=0), 0.01)
    t = np.maximum(bright, np.clip((_LIT - light) / (_LIT - _SHADED), 0, 1))
    # Roofs are as bright as cloud, but small; and cloud has an edge that is brighter than ground, but not by much.
    grown = ndimage.maximum_filter(ndimage.minimum_filter(t * t * (3 - 2 * t), _ROOF_PX), _ROOF_PX + 2 * _EDGE_PX)
    return as_image(cloud_weight * ndimage.gaussian_filter(grown, _SOFT_PX, truncate=3.0))


def blend(observed: Image, prior: Image, weight: Image) -> Image:
    """(4, H, W): `prior` where `weight` (H, W) is 1, `observed` bit for bit where it is 0."""
    return np.where(weight > 0, observed + (prior - observed) * weight, observed).astype(np.float32)
