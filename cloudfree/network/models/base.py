"""What every cloud removal network shares: normalisation inside the model, any size of image, optical plus residual."""

from __future__ import annotations

import copy
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from itertools import count
from typing import Any, ClassVar, Self

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.modules.module import register_module_parameter_registration_hook

from cloudfree.network.models.seen import Seen, answered, shown

OPTICAL_BANDS = 4
"""Blue, green, red, near infrared."""
SAR_BANDS = 2
"""VV, VH."""


@dataclass(frozen=True)
class Normalization:
    """How physical values become network inputs in 0..1: clip to the range, then stretch it linearly."""

    reflectance_range: tuple[float, float] = (0.0, 1.0)
    vv_range_db: tuple[float, float] = (-25.0, 0.0)
    vh_range_db: tuple[float, float] = (-32.5, 0.0)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        return cls(**{name: (float(low), float(high)) for name, (low, high) in values.items()})

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)

    def clip_reflectance(self, reflectance: Tensor) -> Tensor:
        """Reflectance clipped to its range, NaN at the lower end; the network reads and corrects it in these units."""
        return _clipped(reflectance, *self.reflectance_range)

    def sar(self, sar_db: Tensor) -> Tensor:
        """Backscatter (B, 2, H, W) in dB, VV and VH -> 0..1; NaN and -inf (no return) become 0."""
        scaled = [
            _clipped(band, low, high).sub_(low).div_(high - low)
            for band, (low, high) in zip(sar_db.unbind(1), (self.vv_range_db, self.vh_range_db), strict=True)
        ]
        return torch.stack(scaled, dim=1)


def _clipped(image: Tensor, low: float, high: float) -> Tensor:
    """A clipped copy, NaN at the lower end."""
    return torch.nan_to_num(image, nan=low, posinf=high, neginf=low).clamp_(low, high)


@dataclass(frozen=True)
class WeightsInfo:
    """Which weights a model runs: what a product's tags and STAC item say of them."""

    name: str
    sha256: str
    architecture: str
    config: Mapping[str, Any] = field(default_factory=dict)
    provenance: Mapping[str, Any] = field(default_factory=dict)


class SavedNetwork(nn.Module):
    """A network that a weights file can hold: it names its architecture and its frozen config dataclass."""

    architecture: ClassVar[str]
    config_type: ClassVar[type[Any]]

    def __init__(self, config: Any, normalization: Normalization | None = None) -> None:
        super().__init__()
        self.config = config
        self.normalization = normalization or Normalization()
        self.weights_info: WeightsInfo | None = None

    @property
    def info(self) -> WeightsInfo:
        """What the weights file says; of a network that was loaded."""
        assert self.weights_info is not None, "the network was not loaded from a file"
        return self.weights_info

    def prepare_for_inference(self) -> Self:
        """Evaluation mode, no gradients, and channels_last, in which convolutions run up to twice as fast."""
        self.eval().requires_grad_(requires_grad=False)
        return self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def config_dict(self) -> dict[str, Any]:
        return asdict(self.config)


# Of a file; registered while building, by the tensors that remain; of all tensors together.
_MOST_TENSORS, _MOST_REGISTERED, _MOST_VALUES = 10_000, 4, 500_000_000


def refuse_giants(build: Callable[[], nn.Module], tensors: int) -> None:
    """Raise ValueError where a config leads to a network of more tensors than its file has, or of absurd ones.

    Builds it without memory for its tensors, as far as need be.
    """
    if tensors > _MOST_TENSORS:
        raise ValueError(f"it has {tensors} tensors; {_MOST_TENSORS} are allowed")
    ours, parameters = threading.get_ident(), count(1)

    def counted(module: nn.Module, name: str, parameter: nn.Parameter | None) -> None:
        if threading.get_ident() == ours and parameter is not None and next(parameters) > _MOST_REGISTERED * tensors:
            raise ValueError(f"its config leads to many more tensors than the {tensors} that are there")

    hook = register_module_parameter_registration_hook(counted)
    try:
        with torch.device("meta"):
            network = build()
    finally:
        hook.remove()
    if sum(tensor.numel() for tensor in (*network.parameters(), *network.buffers())) > _MOST_VALUES:
        raise ValueError(f"its config leads to tensors of more than {_MOST_VALUES:.0e} numbers")


class CloudRemovalModel(SavedNetwork, ABC):
    """Cloudy reflectance and backscatter on one grid -> cloud-free reflectance.

    Of two kinds: networks as published are shown the image (`cleared`); those whose config names `planes` see what lies
    under a mask, and all that a run knows of it (`restored`). A subclass computes `residual` on inputs whose sides are
    multiples of `side_multiple`, at least `minimum_side`.
    """

    small: ClassVar[Any]
    """A config for two CPU cores; that of `config_type()` is the published one."""
    signature_key: ClassVar[str]
    """A state-dict key that no other architecture has, by which a published checkpoint is recognised."""
    side_multiple: ClassVar[int] = 1
    minimum_side: ClassVar[int] = 1

    @classmethod
    @abstractmethod
    def infer_config(cls, state: Mapping[str, Tensor]) -> Any:
        """The config that a state dict of this architecture was made with, from its shapes; KeyError if not of it."""

    @abstractmethod
    def residual(self, optical: Tensor, sar: Tensor) -> Tensor:
        """What to add to the clipped reflectance, from inputs (B, 4, H, W) and (B, 2, H, W) in 0..1.

        Of a network that sees, its answer (B, 8, H, W), from its planes and radar (`seen.answered`).
        """

    @property
    def planes(self) -> tuple[str, ...]:
        """What a network that sees is shown (`seen.ALL_PLANES`); none for one that is shown the plain image."""
        return getattr(self.config, "planes", ())

    def start_as_identity(self) -> None:
        """Before training: the last convolution at zero, so that the network changes nothing and learns from there."""
        last = [module for module in self.modules() if isinstance(module, nn.Conv2d)][-1]
        for parameter in last.parameters():
            nn.init.zeros_(parameter)

    def forward(self, *images: Tensor) -> Tensor:
        """Cloud-free reflectance (B, 4, H, W), not clamped.

        Args:
            images: reflectance and backscatter as of `cleared`, or for a network that sees the planes of `Seen`.
        """
        return self.restored(Seen(*images)) if self.planes else self.cleared(*images)

    def cleared(self, reflectance: Tensor, sar_db: Tensor) -> Tensor:
        """What a network as published makes of an image.

        Args:
            reflectance: (B, 4, H, W) blue, green, red, NIR as fractions; clipped to 0..1.
            sar_db: (B, 2, H, W) VV, VH in dB on the optical grid. Pixels that are not finite are read as no
                backscatter, so that they spoil only their surroundings: fill them, or mask the result there.
        """
        optical = self.normalization.clip_reflectance(reflectance)
        sar = self.normalization.sar(sar_db)
        residual = self.residual(self._padded(optical), self._padded(sar))
        height, width = optical.shape[-2:]
        return optical + residual[..., :height, :width].to(optical.dtype)

    def restored(self, seen: Seen) -> Tensor:
        """What a network that sees makes of the ground under a mask."""
        optical, sar = shown(seen, self.planes), self.normalization.sar(seen.sar_db)
        answer = self.residual(self._padded(optical), self._padded(sar))
        height, width = optical.shape[-2:]
        return answered(seen, answer[..., :height, :width].to(optical.dtype))

    def in_half(self, dtype: torch.dtype) -> Self:
        """A copy for inference whose weights and features are of a half type, but for layers that `keeps_float32`.

        Autocast would round the weights, and features that two layers read, again and again.
        """
        half = copy.deepcopy(self).prepare_for_inference()
        _halve(half, dtype)
        return half

    def _padded(self, image: Tensor) -> Tensor:
        return pad_bottom_right(image, self.side_multiple, self.minimum_side)


def _halve(module: nn.Module, dtype: torch.dtype) -> None:
    if getattr(module, "keeps_float32", False):
        return
    for parameter in module.parameters(recurse=False):
        parameter.data = parameter.data.to(dtype)
    for child in module.children():
        _halve(child, dtype)


def pad_bottom_right(image: Tensor, multiple: int, minimum: int) -> Tensor:
    """(B, C, H, W) with sides raised to a multiple and a minimum: by reflection if long enough, else replication."""
    for axis in (-2, -1):
        side = image.shape[axis]
        pad = max(-(-side // multiple) * multiple, minimum) - side
        if pad:
            mode = "reflect" if pad < side else "replicate"
            image = F.pad(image, [0, 0, 0, pad] if axis == -2 else [0, pad, 0, 0], mode=mode)
    return image
