"""Band orders, mask bands, value ranges and class codes of the products that arrive and leave: data, no behaviour."""

from __future__ import annotations

from enum import IntEnum

OPTICAL_BANDS = ("blue", "green", "red", "nir")
"""Order of the optical channels everywhere in cloudfree."""

SAR_BANDS = ("VV", "VH")
"""Order of the polarisations everywhere in cloudfree."""

PLANET_BANDS = {4: (1, 2, 3, 4), 8: (2, 4, 6, 8)}
"""One-based blue, green, red, NIR of a PlanetScope scene, by its number of bands (4: analytic, 8: SuperDove)."""

REFLECTANCE_SCALE = 1e-4
"""Reflectance of one digital number of a surface-reflectance product."""

DN_MIN = 1
"""Smallest reconstructed digital number: 0 is nodata."""

TYPICAL_SAR_DB = (-10.0, -17.0)
"""VV and VH of land in general; stands in where an image lacks a polarisation."""

SAR_NOISE_DB = -50.0
"""Backscatter under this is border noise of the Sentinel-1 processor, no ground."""


CLOUD_COLOUR = (1.0, 0.99, 1.03, 1.11)
"""Reflectance of cloud in blue, green, red, NIR, relative to blue: nearly white."""

HAZE_DEPTH = (1.09, 1.0, 0.906, 0.774)
"""Optical depth of thin cloud in blue, green, red, NIR (490, 565, 665, 865 nm), relative to green.

As wavelength**-0.6, between the Angstrom exponent of water droplets (0) and that of fine aerosol (about 1.3).
"""

SHADOW_DEPTH = (0.84, 0.94, 1.02, 1.1)
"""Share of light that a shadow takes in each band, relative to their mean: skylight is blue."""


class Udm2(IntEnum):
    """One-based bands of Planet's usable data mask 2 (developers.planet.com)."""

    CLEAR = 1
    SNOW = 2
    SHADOW = 3
    LIGHT_HAZE = 4  # all haze since UDM2.1 (2023-11-29)
    HEAVY_HAZE = 5  # always 0 since UDM2.1
    CLOUD = 6
    CONFIDENCE = 7
    UDM1 = 8


UDM2_BAND_COUNT = 8
UDM2_CLASSES = (Udm2.CLEAR, Udm2.SNOW, Udm2.SHADOW, Udm2.LIGHT_HAZE, Udm2.HEAVY_HAZE, Udm2.CLOUD)
"""Of which one is set wherever a scene is classified."""

UDM2_OBSCURED = (Udm2.SHADOW, Udm2.LIGHT_HAZE, Udm2.HEAVY_HAZE, Udm2.CLOUD)
"""What hides or alters the ground. Snow is ground."""


def description_of(classes: type[IntEnum]) -> str:
    """What a band of classes is called in a file: their numbers and names."""
    return "class: " + ", ".join(f"{one.value} {one.name.lower().replace('_', ' ')}" for one in classes)


class SkyClass(IntEnum):
    """What stands between the satellite and the ground, in masks that are found and written; snow is ground."""

    CLEAR = 0
    CLOUD = 1
    HAZE = 2
    SHADOW = 3
    SNOW = 4


SKY_NODATA = 255
"""Code of a pixel that the scene does not show."""

SKY_DESCRIPTION = description_of(SkyClass)
"""What the band of these classes is called in a file; by it such a file is known."""

SKY_HIDDEN = (SkyClass.CLOUD, SkyClass.HAZE, SkyClass.SHADOW)
"""What hides or alters the ground."""


DETECTORS = ("own", "omnicloudmask", "csmask")
"""What finds clouds, by the names that commands know; the first comes with the package."""


class Qa(IntEnum):
    """Classes of the quality raster."""

    NODATA = 0
    OBSERVED = 1
    RECONSTRUCTED = 2
    NOT_RECONSTRUCTED = 3  # cloudy, without SAR, and kept as observed
    RECONSTRUCTED_WITHOUT_SAR = 4
    SEEN_THROUGH = 5  # reconstructed from what shows through thin cloud or shadow


QA_MEANINGS = {
    Qa.NODATA: "outside the scene, or left out",
    Qa.OBSERVED: "as the scene has it, bit for bit",
    Qa.RECONSTRUCTED: "reconstructed with radar, surroundings and images of other dates",
    Qa.NOT_RECONSTRUCTED: "clouded, without radar, and left as observed",
    Qa.RECONSTRUCTED_WITHOUT_SAR: "reconstructed without radar, from surroundings and images of other dates",
    Qa.SEEN_THROUGH: "reconstructed from what shows through thin cloud or shadow",
}
"""What the classes mean, for people and catalogues."""

RECONSTRUCTED = (Qa.RECONSTRUCTED, Qa.RECONSTRUCTED_WITHOUT_SAR, Qa.SEEN_THROUGH)
"""The classes that are no observation, wholly or in part."""
