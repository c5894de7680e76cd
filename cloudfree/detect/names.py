"""The detectors by name. What they need is imported when one is loaded."""

from __future__ import annotations

from typing import Literal

from cloudfree.bands import DETECTORS
from cloudfree.detect.detector import Detector
from cloudfree.errors import CloudfreeError

NAMES = DETECTORS
"""What `load` knows."""

DEFAULT = NAMES[0]


def load(name: str = DEFAULT, precision: Literal["fp32", "bf16", "fp16"] = "fp32") -> Detector:
    """A detector, ready to be shown scenes; `precision` is that of our own, others choose theirs.

    Raises CloudfreeError for a name that is not known, and where the package that a detector needs is not installed.
    """
    if name == "omnicloudmask":
        from cloudfree.detect.omnicloudmask import OmniCloudMask  # noqa: PLC0415 - loads what few have

        return OmniCloudMask.load()
    if name == "csmask":
        from cloudfree.detect.csmask import CSMask  # noqa: PLC0415 - likewise

        return CSMask.load()
    if name == DEFAULT:
        from cloudfree.detect.own import OwnDetector  # noqa: PLC0415 - torch is slow to import

        return OwnDetector.load(precision=precision)
    raise CloudfreeError(f"there is no detector of clouds {name!r}; known are {', '.join(NAMES)}: name one of these")
