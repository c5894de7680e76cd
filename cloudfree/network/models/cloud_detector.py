"""A small U-Net that tells cloud, haze, shadow and snow from clear ground on pixels of about 10 m.

No layer normalises by the statistics of what it is shown, so that windows with a margin of `REACH_PX` give what the
whole image gives.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cloudfree.network.models.base import OPTICAL_BANDS, SAR_BANDS, Normalization, SavedNetwork

CLASSES = 5
"""Clear, cloud, haze, shadow, snow."""
REACH_PX = 192
"""No output pixel sees an input pixel farther away (with the sizes of the config's default; asserted in a test)."""

# Reflectance is read as a logarithm: a gain becomes a constant, and shadows are resolved as finely as clouds.
_LOG_FLOOR, _LOG_MEAN = 0.03, -2.0
_INPUTS = 2 * (OPTICAL_BANDS + 1) + SAR_BANDS + 1  # each image with a plane that says where it is known


@dataclass(frozen=True)
class CloudDetectorConfig:
    """Channels from the full resolution down, each level at half that of the one before; dilations of the deepest."""

    widths: tuple[int, ...] = (16, 32, 48, 64, 96)
    dilations: tuple[int, ...] = (1, 2)


class ResidualBlock(nn.Module):
    """Two 3x3 convolutions, added to what came in; the second starts small, as nothing else keeps the scale."""

    def __init__(self, width: int, dilation: int = 1) -> None:
        super().__init__()
        self.first = nn.Conv2d(width, width, 3, padding=dilation, dilation=dilation)
        self.second = nn.Conv2d(width, width, 3, padding=dilation, dilation=dilation)
        nn.init.kaiming_normal_(self.first.weight, nonlinearity="relu")
        nn.init.normal_(self.second.weight, std=1e-2 / width**0.5)

    def forward(self, features: Tensor) -> Tensor:
        hidden: Tensor = self.second(F.relu(self.first(features), inplace=True))
        hidden += features
        return F.relu(hidden, inplace=True)


class CloudDetector(SavedNetwork):
    """Reflectance and, where there are any, radar and an image of another date -> logits of the five classes."""

    architecture = "cloud_detector"
    config_type = CloudDetectorConfig

    def __init__(self, config: CloudDetectorConfig | None = None, normalization: Normalization | None = None) -> None:
        config = config or CloudDetectorConfig()
        super().__init__(CloudDetectorConfig(tuple(config.widths), tuple(config.dilations)), normalization)  # of JSON
        widths = self.config.widths
        self.stem = nn.Conv2d(_INPUTS, widths[0], 3, padding=1)
        self.encoder = nn.ModuleList(ResidualBlock(width) for width in widths[:-1])
        self.down = nn.ModuleList(nn.Conv2d(a, b, 2, stride=2) for a, b in itertools.pairwise(widths))
        self.deepest = nn.Sequential(*(ResidualBlock(widths[-1], dilation) for dilation in self.config.dilations))
        self.up = nn.ModuleList(nn.Conv2d(b, a, 1) for a, b in itertools.pairwise(widths))
        self.decoder = nn.ModuleList(ResidualBlock(width) for width in widths[:-1])
        self.head = nn.Conv2d(widths[0], CLASSES, 1)

    @property
    def side_multiple(self) -> int:
        """Windows that start at multiples of it are halved as the whole image is."""
        return int(2 ** (len(self.config.widths) - 1))

    def forward(self, reflectance: Tensor, valid: Tensor, sar_db: Tensor, other: Tensor) -> Tensor:
        """Logits (B, 5, H, W) of clear, cloud, haze, shadow, snow, for any H and W.

        Args:
            reflectance: (B, 4, H, W) blue, green, red, NIR as fractions, at the surface or the top of the atmosphere.
            valid: (B, H, W) bool, where the image has data.
            sar_db: (B, 2, H, W) VV, VH in dB; NaN where there is no radar, or none at all.
            other: (B, 4, H, W) reflectance on another date; NaN where there is none.
        """
        height, width = reflectance.shape[-2:]
        features = F.relu(self.stem(self._planes(reflectance, valid, sar_db, other)), inplace=True)
        levels = []
        for block, down in zip(self.encoder, self.down, strict=True):
            levels.append(block(features))
            features = F.relu(down(levels[-1]), inplace=True)
        features = self.deepest(features)
        for up, block in zip(self.up[::-1], self.decoder[::-1], strict=True):
            features = F.interpolate(up(features), scale_factor=2.0, mode="bilinear", align_corners=False)
            features += levels.pop()
            features = block(F.relu(features, inplace=True))
        logits: Tensor = self.head(features)
        return logits[..., :height, :width]

    def _planes(self, reflectance: Tensor, valid: Tensor, sar_db: Tensor, other: Tensor) -> Tensor:
        """What the first layer sees, with sides that can be halved."""
        planes = torch.cat([*self._read(reflectance, valid), *self._read_radar(sar_db), *self._read(other)], 1)
        bottom, right = (-side % self.side_multiple for side in planes.shape[-2:])
        return F.pad(planes, (0, right, 0, bottom)) if bottom or right else planes

    def _read(self, reflectance: Tensor, valid: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """The network's units, nothing where there is no data, and where there is."""
        known = torch.isfinite(reflectance).all(1, keepdim=True)
        known = known if valid is None else known & valid[:, None]
        logarithm = torch.log(torch.nan_to_num(reflectance).clamp(0, 2) + _LOG_FLOOR) - _LOG_MEAN
        return logarithm * known, known.to(logarithm.dtype)

    def _read_radar(self, sar_db: Tensor) -> tuple[Tensor, Tensor]:
        known = torch.isfinite(sar_db).all(1, keepdim=True)
        return (2 * self.normalization.sar(sar_db) - 1) * known, known.to(sar_db.dtype)
