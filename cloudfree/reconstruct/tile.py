"""One window of a scene through the network: what the network is shown, and how far its answer is taken.

Cloud is replaced by the ground that the scene's model expects there, together with what shows through the cloud; the
network sees that, and its answer counts as far as it is trusted. `restore` does all of it, for a run, for `evaluate`
and for `trust`; `network_input` is its first half, which training samples are made by.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

import numpy as np
import torch
from torch import Tensor

from cloudfree.arrays import Image, Mask, known_of
from cloudfree.inputs.optical.scene import Scene
from cloudfree.reconstruct.see_through import see_through
from cloudfree.scene.model import SceneModel
from cloudfree.scene.survey import Survey


class Network(Protocol):
    """A network on its device, such as a `Predictor`."""

    @property
    def device(self) -> torch.device: ...

    def __call__(self, reflectance: Tensor, sar_db: Tensor) -> Tensor:
        """Reflectance (N, 4, H, W) from reflectance (N, 4, H, W) and backscatter (N, 2, H, W) in dB."""


@dataclass(frozen=True)
class Tile:
    """What is known of a window.

    reflectance: (4, H, W), not clipped; any value where there are no data.
    data: (H, W), where the scene has data.
    sar_db: (2, H, W), VV and VH in dB, NaN where invalid.
    cloud_weight: (H, W), 0..1, how much of each pixel the mask hides, its buffer and feather included.
    ground: (4, H, W), 0..1, the reflectance that the scene's model expects; None where nothing is to be replaced.
    unobstructed: (H, W), 0..1, the probability that nothing is in the way of it; None is 0.
    wanted: (H, W), 0..1, how much of each pixel comes from what is restored; None is all of every pixel.
    """

    reflectance: Image
    data: Mask
    sar_db: Image
    cloud_weight: Image
    ground: Image | None = None
    unobstructed: Image | None = None
    wanted: Image | None = None


@dataclass(frozen=True)
class Restoration:
    """How the tiles of one scene are restored.

    typical_reflectance: (4,), shown to the network where there are no data, for nodata is not black ground.
    typical_sar_db: (2,), the same for radar.
    prefill: whether the network is shown `ground` in place of all that the mask hides; otherwise it is shown the plain
        image, and `ground` stands only where radar has no valid pixel.
    trust: 0..1, how far the network is believed where `ground` stands and radar is valid.
    path_radiance: (4,) reflectance, subtracted before the network and added again after it.
    error_variance: (4,), of the errors of `ground`; None leaves out what shows through the cloud.
    """

    typical_reflectance: Image
    typical_sar_db: Image
    prefill: bool = False
    trust: float = 1.0
    path_radiance: Image = field(default_factory=lambda: np.zeros(4, np.float32))
    error_variance: Image | None = None

    @classmethod
    def of_scene(cls, scene: Scene, survey: Survey, model: SceneModel | None, *, prefill: bool) -> Restoration:
        """For a scene as surveyed."""
        reflectance = scene.reflectance(survey.median_dn()[:, None, None])[:, 0, 0]
        return cls.of(reflectance, survey.median_sar_db(), model, prefill=prefill)

    @classmethod
    def of(cls, reflectance: Image, sar_db: Image, model: SceneModel | None, *, prefill: bool) -> Restoration:
        """With what is typical of a scene, reflectance (4,) and sar_db (2,), and its model, if there is one."""
        if model is None:
            return cls(reflectance, sar_db)
        path_radiance = model.path_radiance if prefill else np.zeros(4, np.float32)
        variance = model.error_variance
        return cls(reflectance, sar_db, prefill, path_radiance=path_radiance, error_variance=variance)


class NetworkInput(NamedTuple):
    """A tile as the network is shown it, before path radiance is subtracted.

    reflectance (4, H, W); sar_db (2, H, W), without gaps; kept (1, H, W), 0..1: how far to stay with that reflectance
    whatever the network makes of it; seen_share (1, H, W), 0..1: of the variance of the model's errors under the mask,
    how much the observation takes away. The last two are (1, 1, 1) where they are zero everywhere.
    """

    reflectance: Tensor
    sar_db: Tensor
    kept: Tensor
    seen_share: Tensor


class Restored(NamedTuple):
    """Reflectance (N, 4, H, W) and `seen_share` (N, 1, H, W) of tiles, on the network's device."""

    reflectance: Tensor
    seen_share: Tensor


def restore(tiles: Sequence[Tile], restoration: Restoration, network: Network) -> Restored:
    """Restore tiles, of one size if they are several, in one batch; those that need no network without it."""
    inputs = [network_input(tile, restoration, network.device) for tile in tiles]
    needed = [i for i, given in enumerate(inputs) if (given.kept < 1).any()]
    shown, sar_db, kept, seen_share = (_stacked(images) for images in zip(*inputs, strict=True))
    path_radiance = _sent(restoration.path_radiance[:, None, None], network.device)
    has_path_radiance = restoration.path_radiance.any()
    shown = shown - path_radiance if has_path_radiance else shown
    reflectance = shown.clone()
    if needed:
        network_output = network(shown[needed], sar_db[needed])
        reflectance[needed] = torch.lerp(network_output, shown[needed], kept[needed])
    return Restored(reflectance + path_radiance if has_path_radiance else reflectance, seen_share)


def network_input(tile: Tile, restoration: Restoration, device: torch.device | str = "cpu") -> NetworkInput:
    """What the network is shown of a tile, on a device."""
    device = torch.device(device)
    reflectance, data = _sent(tile.reflectance, device), _sent(tile.data, device)
    reflectance = torch.where(data, reflectance, _sent(restoration.typical_reflectance, device)[:, None, None])
    sar_valid, sar_db = _sent(known_of(tile.sar_db), device), _sent(tile.sar_db, device)
    sar_db = torch.where(sar_db.isfinite(), sar_db, _sent(restoration.typical_sar_db, device)[:, None, None])
    kept = seen_share = torch.zeros(1, 1, 1, device=device)
    if tile.ground is not None:
        weight = _sent(tile.cloud_weight, device)
        weight = weight if restoration.prefill else torch.where(sar_valid, 0, weight)
        ground, share = _ground(tile, reflectance, weight, restoration)
        # Without radar a network has nothing to see but what is typical: there it adds nothing.
        kept = kept_share(weight, share, torch.where(sar_valid, restoration.trust, 0.0))[None]
        reflectance = blend(reflectance, ground, weight)
        if restoration.prefill:
            seen_share = (weight * share)[None]
    if tile.wanted is not None:  # where no more is wanted than is kept anyway, nothing is left to the network
        kept = torch.where(_sent(tile.wanted, device) > kept, kept, 1.0)
    return NetworkInput(reflectance, sar_db, kept, seen_share)


def _ground(tile: Tile, observed: Tensor, weight: Tensor, restoration: Restoration) -> tuple[Tensor, Tensor]:
    """The ground (4, H, W) where the mask hides it, by the model and what shows through; and the share of that."""
    assert tile.ground is not None
    ground, nothing = _sent(tile.ground, weight.device), torch.zeros_like(weight)
    if restoration.error_variance is None:
        return ground, nothing
    hidden = ((weight > 0) & _sent(tile.data, weight.device)).to(weight.dtype)
    unobstructed = nothing if tile.unobstructed is None else _sent(tile.unobstructed, weight.device)
    return see_through(observed, ground, hidden, unobstructed, _sent(restoration.error_variance, weight.device))


def kept_share(cloud_weight: Tensor, seen_share: Tensor, trust: float | Tensor) -> Tensor:
    """How far (H, W), 0..1, to stay with what the network was shown.

    The network is believed, by its trust, where the model stands. What was observed through the cloud, a share
    (H, W) 0..1 of each pixel, it can only spoil.
    """
    return cloud_weight * (1 - trust * (1 - seen_share))


def blend(observed: Tensor, made: Tensor, weight: Tensor) -> Tensor:
    """(4, H, W): `made` where `weight` (H, W) is 1, `observed` bit for bit where it is 0."""
    return torch.where(weight > 0, observed + (made - observed) * weight, observed)


def _stacked(images: Sequence[Tensor]) -> Tensor:
    """Images along a new first axis, each as large as the largest; one alone is not copied."""
    largest = max(images, key=Tensor.numel)
    return images[0][None] if len(images) == 1 else torch.stack([image.expand_as(largest) for image in images])


def _sent(array: Image | Mask, device: torch.device) -> Tensor:
    """The array on the device; to CUDA it travels while the processor goes on."""
    tensor = torch.from_numpy(np.ascontiguousarray(array))
    return tensor.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else tensor.to(device)
