"""Where a scene shows cloud, haze, shadow or snow instead of plain ground: reflectance in, classes out, on about 10 m.

`find` is the way in. `found` is what comes out, by the codes of `bands.SkyClass`; `detector` says what a detector is
shown and returns. `own` is the network that comes with the package;
`omnicloudmask` and `csmask` call others that a user has installed (`extras`); `names` knows each by its name.
"""

from cloudfree.detect.detector import Detector, DetectorInput
from cloudfree.detect.extras import versions
from cloudfree.detect.find import find_sky
from cloudfree.detect.found import FoundSky
from cloudfree.detect.names import DEFAULT, NAMES, load

__all__ = ["DEFAULT", "NAMES", "Detector", "DetectorInput", "FoundSky", "find_sky", "load", "versions"]
