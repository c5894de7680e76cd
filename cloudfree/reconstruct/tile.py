"""What a network is shown of a scene: the prior in place of cloud, typical values in place of nodata.

And how far its answer is taken where the prior stood: as far as the scene bears it out (`trust`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from cloudfree.arrays import Image, Mask, as_image
from cloudfree.inputs.area import Part
from cloudfree.inputs.optical.scene import Scene, has_data
from cloudfree.reconstruct.strips import Strip
from cloudfree.scene.model import SceneModel, fit_fine
from cloudfree.scene.see_through import see_through
from cloudfree.scene.survey import Survey


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

    def columns(self, first: int, last: int) -> RestoredStrip:
        """Its columns from `first` up to `last`, counted from its own left."""
        some = slice(first, last)
        return RestoredStrip(self.strip.columns(first, last), self.reflectance[..., some], self.seen_through[..., some])

    def within(self, part: Part) -> RestoredStrip:
        """What of it lies in a part of the scene; it may have no rows."""
        top, height = self.strip.start, self.strip.dn.shape[1]
        first, last = (min(max(at - top, 0), height) for at in (part.rows.start, part.rows.stop))
        return self.rows(first, last).columns(part.cols.start, part.cols.stop)


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
        if self.prior is None or (not self.primed and not strip.cloud_weight[~strip.sar_valid].any()):
            return None
        cols = range(strip.left, strip.left + strip.dn.shape[2])
        return self.prior.window(range(strip.start, strip.stop), cols, strip.others)

    def tile(self, strip: Strip) -> NetworkInput:
        """Some columns of a strip, as a network is shown them."""
        dn, sar_db, sar_valid, prior = strip.dn, strip.sar_db, strip.sar_valid, self.prior_of(strip)
        kept = seen_through = np.zeros((1, 1, 1), np.float32)
        reflectance = self.scene.reflectance(dn)
        if not (data := has_data(dn)).all():
            np.copyto(reflectance, self.fill_reflectance[:, None, None], where=~data)
        if not sar_valid.all():
            sar_db = np.where(np.isfinite(sar_db), sar_db, self.fill_sar_db[:, None, None])
        if prior is not None:
            cloud_weight = strip.cloud_weight
            assert self.prior
            ground = see_through(reflectance, prior, self.prior.error_covariance)
            if self.primed:
                seen_through = (cloud_weight * ground.share)[None]
            else:
                cloud_weight = np.where(sar_valid, np.float32(0), cloud_weight)
            # Without radar the network has nothing to see but what is typical: there it adds nothing.
            trust = np.where(sar_valid, np.float32(self.trust), np.float32(0))
            kept = kept_share(cloud_weight, ground.share, trust)[None]
            reflectance = blend(reflectance, ground.reflectance, cloud_weight) - self.path_radiance
        return NetworkInput(reflectance, sar_db, kept, seen_through)


def prime(
    reflectance: Image,
    sar_db: Image,
    mask: Mask,
    cloud_weight: Image,
    valid: Mask,
    pixel_size_m: float,
    others: Sequence[Image] = (),
) -> tuple[Image, SceneModel]:
    """An image (4, H, W) with the prior in place of what cloud hides, and the prior.

    The prior is fitted to all that the mask (H, W) leaves clear: thin edges that it missed count little there.
    cloud_weight (H, W) 0..1: how much of each pixel is to be reconstructed, the mask with its feather. others: the
    place on other dates (4, H, W), NaN where an image shows nothing.
    """
    prior = fit_fine(reflectance, sar_db, mask, valid, pixel_size_m, others, by_holes=False)
    ground = see_through(reflectance, prior.whole(others), prior.error_covariance)
    return blend(reflectance, ground.reflectance, cloud_weight), prior


def kept_share(cloud_weight: Image, share: Image, trust: float | Image) -> Image:
    """How far (H, W), 0..1, to stay with what a network was shown, given how much of each pixel is reconstructed.

    The network is believed, by its trust, where the model stands; what is seen through cloud, `share` (H, W) 0..1 of
    each pixel, it only spoils: it is judged where nothing is seen.
    """
    return as_image(cloud_weight * (1 - trust * (1 - share)))


def blend(observed: Image, made: Image, weight: Image) -> Image:
    """(4, H, W): `made` where `weight` (H, W) is 1, `observed` bit for bit where it is 0."""
    return np.where(weight > 0, observed + (made - observed) * weight, observed).astype(np.float32)
