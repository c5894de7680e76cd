"""The architectures by name. One file each; what they share is in `base` and `blocks`."""

from cloudfree.models.align_cr import SIZES, AlignCR, AlignCRConfig
from cloudfree.models.base import CloudRemovalModel, Normalization, WeightsInfo
from cloudfree.models.identity import Identity, IdentityConfig

ARCHITECTURES: dict[str, type[CloudRemovalModel]] = {model.architecture: model for model in (AlignCR, Identity)}

__all__ = [
    "ARCHITECTURES",
    "SIZES",
    "AlignCR",
    "AlignCRConfig",
    "CloudRemovalModel",
    "Identity",
    "IdentityConfig",
    "Normalization",
    "WeightsInfo",
]
