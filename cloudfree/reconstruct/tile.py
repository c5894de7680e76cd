"""One window of a scene through the network: what the network is shown, and how far its answer is taken.

Where a mask hides the ground, the scene's model tells what is expected there, and `see_through` what shows through. A
network that sees is shown all of that (`models.Seen`), and moves it as far as it is trusted on the scene; its clear
ground stays as observed. A network as published is shown the plain image, and the scene's model stands only where radar
has no valid pixel. `restore` does all of it, for a run, for `evaluate` and for `trust`.
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
from cloudfree.network.models import Seen
from cloudfree.reconstruct.see_through import see_through
from cloudfree.scene.model import SceneModel
from cloudfree.scene.survey import Survey

_LEAST_DEVIATION = 1e-3  # reflectance: no model is surer
SHOWS = 0.3
"""`Seen.share` from which something is said to show through."""


class Network(Protocol):
    """A network on its device, such as a `Predictor`."""

    @property
    def device(self) -> torch.device: ...

    def __call__(self, *images: Tensor) -> Tensor:
        """Reflectance (N, 4, H, W) from reflectance (N, 4, H, W) and backscatter (N, 2, H, W) in dB, of a network as
        published; of one that sees, from the planes of `Seen`.
        """


class Believed(NamedTuple):
    """How far (0..1) a network that sees is believed in the visible bands and in the near infrared."""

    visible: float
    nir: float

    @property
    def of_bands(self) -> Image:
        """(4,), blue, green, red, NIR."""
        return np.array([self.visible] * 3 + [self.nir], np.float32)


class Trust(NamedTuple):
    """How far a network that sees is believed on a scene, where something shows through and where nothing does."""

    thin: Believed
    opaque: Believed

    @classmethod
    def alike(cls, share: float) -> Trust:
        """The same share (0..1) everywhere."""
        return cls(Believed(share, share), Believed(share, share))

    def as_json(self) -> dict[str, dict[str, float]]:
        """Plain data."""
        return {"thin": self.thin._asdict(), "opaque": self.opaque._asdict()}


FULL, NO_TRUST = Trust.alike(1.0), Trust.alike(0.0)


@dataclass(frozen=True)
class Tile:
    """What is known of a window.

    reflectance: (4, H, W), not clipped; any value where there are no data.
    data: (H, W), where the scene has data.
    sar_db: (2, H, W), VV and VH in dB, NaN where invalid.
    cloud_weight: (H, W), 0..1, how much of each pixel the mask hides, its buffer and feather included.
    ground: (4, H, W), 0..1, the reflectance that the scene's model expects; None where nothing is to be replaced.
    deviation: (4, H, W), one standard deviation of the errors of `ground`; needed by networks that see.
    unobstructed: (H, W), 0..1, the probability that nothing is in the way of it; None is 0.
    wanted: (H, W), 0..1, how much of each pixel comes from what is restored; None is all of every pixel.
    """

    reflectance: Image
    data: Mask
    sar_db: Image
    cloud_weight: Image
    ground: Image | None = None
    deviation: Image | None = None
    unobstructed: Image | None = None
    wanted: Image | None = None


@dataclass(frozen=True)
class Restoration:
    """How the tiles of one scene are restored.

    typical_reflectance: (4,), shown to the network where there are no data, for nodata is not black ground.
    typical_sar_db: (2,), the same for radar, shown to networks as published.
    sees: whether the network sees (`CloudRemovalModel.planes`).
    trust: how far one that sees is believed.
    path_radiance: (4,) reflectance, subtracted before a network that sees and added again after it.
    error_variance: (4,), of the errors of the model on its grid; None without a model.
    texture_variance: (4,), of the ground's detail finer than that grid.
    """

    typical_reflectance: Image
    typical_sar_db: Image
    sees: bool = False
    trust: Trust = FULL
    path_radiance: Image = field(default_factory=lambda: np.zeros(4, np.float32))
    error_variance: Image | None = None
    texture_variance: Image = field(default_factory=lambda: np.zeros(4, np.float32))

    @classmethod
    def of_scene(cls, scene: Scene, survey: Survey, model: SceneModel | None, *, sees: bool) -> Restoration:
        """For a scene as surveyed."""
        reflectance = scene.reflectance(survey.median_dn()[:, None, None])[:, 0, 0]
        return cls.of(reflectance, survey.median_sar_db(), model, sees=sees)

    @classmethod
    def of(cls, reflectance: Image, sar_db: Image, model: SceneModel | None, *, sees: bool) -> Restoration:
        """With what is typical of a scene, reflectance (4,) and sar_db (2,), and its model, if there is one."""
        if model is None:
            return cls(reflectance, sar_db, sees)
        path_radiance = model.path_radiance if sees else np.zeros(4, np.float32)
        return cls(reflectance, sar_db, sees, path_radiance=path_radiance, error_variance=model.error_variance)


class Restored(NamedTuple):
    """Reflectance (N, 4, H, W) and `seen_share` (N, 1, H, W) of tiles, on the network's device.

    seen_share, 0..1: of the variance of the model's errors under the mask, how much the observation takes away.
    """

    reflectance: Tensor
    seen_share: Tensor


def restore(tiles: Sequence[Tile], restoration: Restoration, network: Network) -> Restored:
    """Restore tiles, of one size if they are several, in one batch; those that need no network without it."""
    return (_restored_by_sight if restoration.sees else _restored_plainly)(tiles, restoration, network)


def seen_of(tile: Tile, restoration: Restoration, device: torch.device | str = "cpu") -> Seen:
    """What a network that sees is shown of a tile (1, channels, H, W), on a device, path radiance not subtracted.

    `hidden` is what the mask hides and all else that is wanted of the network; there are data there.
    """
    device = torch.device(device)
    assert tile.deviation is not None
    closed = _closed_form(tile, restoration, device)
    texture = _sent(restoration.texture_variance, device)[:, None, None]
    deviation = (_sent(tile.deviation, device).square() + texture).sqrt().clamp_min(_LEAST_DEVIATION)
    planes = closed.observed, closed.ground, closed.through, deviation, closed.share, closed.hidden
    return Seen(*(plane[None] for plane in (*planes, _sent(tile.sar_db, device))))


class _ClosedForm(NamedTuple):
    """observed, ground, through (4, H, W); share, hidden (1, H, W): as of `Seen`."""

    observed: Tensor
    ground: Tensor
    through: Tensor
    share: Tensor
    hidden: Tensor


def _closed_form(tile: Tile, restoration: Restoration, device: torch.device) -> _ClosedForm:
    """What shows through where the mask hides, or more is wanted."""
    assert tile.ground is not None
    assert restoration.error_variance is not None
    observed, ground = _observed(tile, restoration, device), _sent(tile.ground, device)
    hidden = _sent(_hidden(tile), device).to(ground.dtype)
    unobstructed = torch.zeros_like(hidden) if tile.unobstructed is None else _sent(tile.unobstructed, device)
    error_variance = _sent(restoration.error_variance + restoration.texture_variance, device)
    through, share = see_through(observed, ground, hidden, unobstructed, error_variance)
    return _ClosedForm(observed, ground, through, share[None], hidden[None])


def _hidden(tile: Tile) -> Mask:
    """(H, W), what the mask hides and all else that is wanted of the network, where there are data."""
    return tile.data if tile.wanted is None else tile.data & (np.maximum(tile.cloud_weight, tile.wanted) > 0)


def _observed(tile: Tile, restoration: Restoration, device: torch.device) -> Tensor:
    typical = _sent(restoration.typical_reflectance, device)[:, None, None]
    return torch.where(_sent(tile.data, device), _sent(tile.reflectance, device), typical)


def _restored_by_sight(tiles: Sequence[Tile], restoration: Restoration, network: Network) -> Restored:
    """The closed form, moved towards what the network makes of it as far as that is trusted; the rest as observed."""
    seen = Seen(*map(torch.cat, zip(*(seen_of(tile, restoration, network.device) for tile in tiles), strict=True)))
    through = seen.through
    if restoration.trust != NO_TRUST:
        needed = [i for i, tile in enumerate(tiles) if _hidden(tile).any()]
        if needed:
            air = _sent(restoration.path_radiance[:, None, None], network.device)
            asked = Seen(*(_some(plane, needed) for plane in seen))
            lit = {name: getattr(asked, name) - air for name in ("observed", "ground", "through")}
            step = (network(*asked._replace(**lit)) + air).clamp(0, 1) - asked.through
            thin, opaque = (_sent(believed.of_bands, network.device)[:, None, None] for believed in restoration.trust)
            through = through.clone()
            for i, moved in zip(needed, torch.where(asked.share > SHOWS, thin, opaque) * step, strict=True):
                through[i] += moved
    weight = torch.stack([_sent(tile.cloud_weight, network.device) for tile in tiles])[:, None]
    return Restored(torch.where(seen.hidden > 0, through, seen.observed), seen.share * weight)


def _restored_plainly(tiles: Sequence[Tile], restoration: Restoration, network: Network) -> Restored:
    """What a network makes of the plain images; where radar has no valid pixel under the mask, the scene's model."""
    inputs = [_plain_input(tile, restoration, network.device) for tile in tiles]
    needed = [i for i, tile in enumerate(tiles) if (_kept(tile) < 1).any()]
    images = [_stacked(images) for images in zip(*inputs, strict=True)]
    reflectance = images[0].clone()
    if needed:
        shown, sar_db, kept = (_some(batch, needed) for batch in images)
        for i, restored in zip(needed, torch.lerp(network(shown, sar_db), shown, kept), strict=True):
            reflectance[i] = restored
    return Restored(reflectance, torch.zeros(len(tiles), 1, *reflectance.shape[2:], device=network.device))


class _PlainInput(NamedTuple):
    """reflectance (4, H, W); sar_db (2, H, W), without gaps; kept: as of `_kept`."""

    reflectance: Tensor
    sar_db: Tensor
    kept: Tensor


def _plain_input(tile: Tile, restoration: Restoration, device: torch.device) -> _PlainInput:
    reflectance = _observed(tile, restoration, device)
    sar_db = _sent(tile.sar_db, device)
    sar_db = torch.where(sar_db.isfinite(), sar_db, _sent(restoration.typical_sar_db, device)[:, None, None])
    if tile.ground is not None:
        kept = _sent(_kept_without_sar(tile), device)
        through = _closed_form(tile, restoration, device).through
        reflectance = torch.where(kept > 0, torch.lerp(reflectance, through, kept), reflectance)
    return _PlainInput(reflectance, sar_db, _sent(_kept(tile), device))


def _kept(tile: Tile) -> Image:
    """How far (1, H, W), 0..1, to stay with the plain input whatever the network makes of it; (1, 1, 1) where that is
    zero everywhere. Where no more is wanted than is kept anyway, nothing is left to the network.
    """
    kept = np.zeros((1, 1, 1), np.float32) if tile.ground is None else _kept_without_sar(tile)
    return kept if tile.wanted is None else np.where(tile.wanted > kept, kept, np.float32(1))


def _kept_without_sar(tile: Tile) -> Image:
    """Without radar such a network has nothing to see but what is typical: there it adds nothing. (1, H, W)."""
    return np.where(known_of(tile.sar_db), np.float32(0), tile.cloud_weight)[None]


def _stacked(images: Sequence[Tensor]) -> Tensor:
    """Images along a new first axis, each as large as the largest; one alone is not copied."""
    largest = max(images, key=Tensor.numel)
    return images[0][None] if len(images) == 1 else torch.stack([image.expand_as(largest) for image in images])


def _some(images: Tensor, chosen: Sequence[int]) -> Tensor:
    """Those of a batch; all of them are no copy.

    Not `images[chosen]`: that sends indices to the device, and waits until it has done all that is queued. For the same
    reason nothing here decides by what is on the device.
    """
    return images if len(chosen) == len(images) else torch.stack([images[i] for i in chosen])


def _sent(array: Image | Mask, device: torch.device) -> Tensor:
    """The array on the device; to CUDA it travels while the processor goes on."""
    tensor = torch.from_numpy(np.ascontiguousarray(array))
    return tensor.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else tensor.to(device)
