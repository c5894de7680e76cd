"""Where pixels lie on the ground: no file is known here.

`grid` is the pixel grid as a value, `geolocation_grid` that of a radar image before its terrain correction;
`resample` brings an image from either onto a grid, moved over the ground by a `displacement`; `coarse`
averages an image to a coarser grid and interpolates it back, and `distance` is how far pixels are from a mask.
"""

from cloudfree.geometry.coarse import neighbours, overlaps, upsampled, without_gaps
from cloudfree.geometry.displacement import Displacement
from cloudfree.geometry.distance import distance_m, squared_distance_px
from cloudfree.geometry.geolocation_grid import GeolocationGrid, Geometry
from cloudfree.geometry.grid import WGS84, Grid, transformer
from cloudfree.geometry.resample import PixelSource

# fmt: off
__all__ = [
    "WGS84", "Displacement", "GeolocationGrid", "Geometry", "Grid", "PixelSource", "distance_m", "neighbours",
    "overlaps", "squared_distance_px", "transformer", "upsampled", "without_gaps",
]
# fmt: on
