"""The networks: physical reflectance and backscatter in dB in, cloud-free reflectance out, on images of any size.

One file an architecture. `base` is what all of them share, `two_stream` what Align-CR and GLF-CR do, `blocks` their
layers. `ARCHITECTURES` has them by the name that a weights file gives. `cloud_detector` removes no cloud, but finds it.
"""

from cloudfree.network.models.align_cr import AlignCR, AlignCRConfig
from cloudfree.network.models.base import CloudRemovalModel, Normalization, WeightsInfo
from cloudfree.network.models.cloud_detector import CloudDetector, CloudDetectorConfig
from cloudfree.network.models.dsen2_cr import DSen2CR, DSen2CRConfig
from cloudfree.network.models.glf_cr import GLFCR, GLFCRConfig
from cloudfree.network.models.identity import Identity, IdentityConfig
from cloudfree.network.models.seen import Seen
from cloudfree.network.models.u_net import UNet, UNetConfig

ARCHITECTURES: dict[str, type[CloudRemovalModel]] = {
    model.architecture: model for model in (AlignCR, GLFCR, DSen2CR, UNet, Identity)
}

__all__ = [
    "ARCHITECTURES",
    "GLFCR",
    "AlignCR",
    "AlignCRConfig",
    "CloudDetector",
    "CloudDetectorConfig",
    "CloudRemovalModel",
    "DSen2CR",
    "DSen2CRConfig",
    "GLFCRConfig",
    "Identity",
    "IdentityConfig",
    "Normalization",
    "Seen",
    "UNet",
    "UNetConfig",
    "WeightsInfo",
]
