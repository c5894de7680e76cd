"""Feature alignment of Align-CR: SAR features are warped onto the optical ones by cascaded deformable convolutions.

Two feature pyramids (full, half and quarter size of the feature map) feed the pyramid-cascading-deformable alignment of
EDVR (Wang et al., 2019), coarse to fine. Attribute names are the published state-dict keys.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cloudfree.network.kernels import DeformConv2dArgs, deform_conv2d
from cloudfree.network.models.blocks import conv, leaky_relu

Pyramid = tuple[Tensor, Tensor, Tensor]
"""Levels l1 (the feature map's own size), l2 (a half), l3 (a quarter), all of one width."""


def upsample(x: Tensor) -> Tensor:
    return F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=False)


class DeformablePack(nn.Module):
    """A modulated deformable 3x3 convolution whose offsets and masks are predicted from features of their own."""

    TAPS = 9

    def __init__(self, width: int, groups: int) -> None:
        super().__init__()
        self.groups = groups
        start = conv(width, width, 3)
        self.weight = nn.Parameter(start.weight.detach().clone())
        self.bias = nn.Parameter(torch.zeros(width))
        self.conv_offset = conv(width, 3 * groups * self.TAPS, 3)
        # Zero offsets, even masks: training starts from a plain convolution.
        for parameter in self.conv_offset.parameters():
            nn.init.zeros_(parameter)

    def forward(self, x: Tensor, offset_features: Tensor) -> Tensor:
        predicted = self.conv_offset(offset_features)
        offset, mask = predicted.split([2 * self.groups * self.TAPS, self.groups * self.TAPS], dim=1)
        return deform_conv2d(DeformConv2dArgs(x, offset, mask.sigmoid(), self.weight, self.bias, self.groups))


class PyramidDeformableAlign(nn.Module):
    """Source features warped onto the reference: each level refines the coarser one's offsets, a cascade ends it."""

    def __init__(self, width: int, groups: int) -> None:
        super().__init__()
        self.offset_conv1 = nn.ModuleDict({level: conv(2 * width, width, 3) for level in ("l3", "l2", "l1")})
        self.offset_conv2 = nn.ModuleDict(
            {"l3": conv(width, width, 3), "l2": conv(2 * width, width, 3), "l1": conv(2 * width, width, 3)}
        )
        self.offset_conv3 = nn.ModuleDict({level: conv(width, width, 3) for level in ("l2", "l1")})
        self.dcn_pack = nn.ModuleDict({level: DeformablePack(width, groups) for level in ("l3", "l2", "l1")})
        self.feat_conv = nn.ModuleDict({level: conv(2 * width, width, 3) for level in ("l2", "l1")})
        self.cas_offset_conv1 = conv(2 * width, width, 3)
        self.cas_offset_conv2 = conv(width, width, 3)
        self.cas_dcnpack = DeformablePack(width, groups)

    def forward(self, source: Pyramid, reference: Pyramid) -> Tensor:
        offset = leaky_relu(self.offset_conv1["l3"](torch.cat((source[2], reference[2]), 1)))
        offset = leaky_relu(self.offset_conv2["l3"](offset))
        features = leaky_relu(self.dcn_pack["l3"](source[2], offset))
        offset, features = self._refine("l2", source[1], reference[1], offset, features)
        offset, features = self._refine("l1", source[0], reference[0], offset, leaky_relu(features))
        offset = leaky_relu(self.cas_offset_conv1(torch.cat((features, reference[0]), 1)))
        offset = leaky_relu(self.cas_offset_conv2(offset))
        return leaky_relu(self.cas_dcnpack(features, offset))

    def _refine(
        self, level: str, source: Tensor, reference: Tensor, coarse_offset: Tensor, coarse_features: Tensor
    ) -> tuple[Tensor, Tensor]:
        """One level finer: its offset features (activated) and its aligned features (not activated)."""
        offset = leaky_relu(self.offset_conv1[level](torch.cat((source, reference), 1)))
        # The pixels of a finer level are half as large, so the same displacement counts twice as many.
        offset = leaky_relu(self.offset_conv2[level](torch.cat((offset, 2 * upsample(coarse_offset)), 1)))
        offset = leaky_relu(self.offset_conv3[level](offset))
        features = self.dcn_pack[level](source, offset)
        return offset, self.feat_conv[level](torch.cat((features, upsample(coarse_features)), 1))


class FeatureAlign(nn.Module):
    """SAR features aligned to the optical features of the same size (B, width, H, W), H and W multiples of 4."""

    def __init__(self, width: int, groups: int) -> None:
        super().__init__()
        for side in ("src", "ref"):
            self.add_module(f"{side}_L2_conv1", conv(width, 2 * width, 3, stride=2))
            self.add_module(f"{side}_L3_conv1", conv(2 * width, 4 * width, 3, stride=2))
            self.add_module(f"{side}_toplayer", conv(4 * width, width, 1))
            self.add_module(f"{side}_latlayer1", conv(2 * width, width, 1))
            self.add_module(f"{side}_latlayer2", conv(width, width, 1))
            self.add_module(f"{side}_smooth1", conv(width, width, 3))
            self.add_module(f"{side}_smooth2", conv(width, width, 3))
        self.pcd_align = PyramidDeformableAlign(width, groups)

    def forward(self, source: Tensor, reference: Tensor) -> Tensor:
        aligned: Tensor = self.pcd_align(self._pyramid("src", source), self._pyramid("ref", reference))
        return aligned

    def _pyramid(self, side: str, features: Tensor) -> Pyramid:
        """Down by strided convolutions, then up again, each level adding a lateral projection of what came down."""

        def layer(name: str, x: Tensor) -> Tensor:
            out: Tensor = self.get_submodule(f"{side}_{name}")(x)
            return out

        half = F.relu(layer("L2_conv1", features))
        quarter = F.relu(layer("toplayer", F.relu(layer("L3_conv1", half))))
        half = layer("smooth1", upsample(quarter) + layer("latlayer1", half))
        full = layer("smooth2", upsample(half) + layer("latlayer2", features))
        return full, half, quarter
