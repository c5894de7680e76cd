"""Ways to remove clouds, as one call each: what an evaluation compares."""

from __future__ import annotations

from collections.abc import Callable

import torch

from cloudfree.arrays import Image
from cloudfree.evaluate.triplets import Observation
from cloudfree.inputs.masks.mask import BUFFER_M
from cloudfree.network.models import CloudRemovalModel
from cloudfree.reconstruct import trust
from cloudfree.reconstruct.feather import FEATHER_M, Feather
from cloudfree.reconstruct.predictor import Predictor
from cloudfree.reconstruct.tile import blend, kept_share
from cloudfree.scene.model import SceneModel, fit_fine
from cloudfree.scene.see_through import SeenThrough, see_through

Method = Callable[[Observation], Image]
"""Reflectance (4, H, W) of the ground everywhere, from what is seen."""


def network(model: CloudRemovalModel, device: str = "cpu") -> Method:
    """A network as a method, run on the whole image at once; primed and tempered if its weights expect that."""
    predictor = Predictor(model, torch.device(device), "fp32", batch=1)

    def restored(seen: Observation) -> Image:
        if model.expects_primed and seen.mask is not None:
            return _primed(predictor, seen)
        return predictor.image(seen.reflectance, seen.sar_without_gaps())

    return restored


def model_of(seen: Observation) -> tuple[SceneModel, SeenThrough]:
    """The scene's own model of what is hidden, with all that other dates tell, and the ground that it makes of it."""
    others = seen.telling_others
    fitted = fit_fine(seen.reflectance, seen.sar_db, seen.hidden, seen.valid, seen.pixel_size_m, others)
    return fitted, see_through(seen.reflectance, fitted.whole(others), fitted.error_covariance)


def _primed(predictor: Predictor, seen: Observation) -> Image:
    """What a run does with a masked scene, on one image."""
    assert seen.mask is not None
    sar_db, pixel_size_m = seen.sar_without_gaps(), seen.pixel_size_m
    cloud_weight = Feather(BUFFER_M / pixel_size_m, max(1.0, FEATHER_M / pixel_size_m)).weight(seen.mask)
    fitted, ground = model_of(seen)
    given, path_radiance = (
        blend(seen.reflectance, ground.reflectance, cloud_weight),
        fitted.path_radiance[:, None, None],
    )
    near_cloud, others = cloud_weight > 0, seen.telling_others
    belief = trust.of_image(predictor.image, seen.reflectance, sar_db, near_cloud, seen.valid, fitted, others)
    restored = path_radiance + predictor.image(given - path_radiance, sar_db)
    return blend(restored, given, kept_share(cloud_weight, ground.share, belief))
