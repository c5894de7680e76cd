"""What a pixel of the sky is, by the codes of every mask that is written or read here."""

from __future__ import annotations

from enum import IntEnum


class SkyClass(IntEnum):
    """What stands between the satellite and the ground; snow is ground."""

    CLEAR = 0
    CLOUD = 1
    HAZE = 2
    SHADOW = 3
    SNOW = 4


NODATA = 255
"""Code of a pixel that the scene does not show."""

HIDDEN = (SkyClass.CLOUD, SkyClass.HAZE, SkyClass.SHADOW)
"""What hides or alters the ground."""
