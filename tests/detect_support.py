"""A landscape of 10 m pixels that does not exist, bare and under a sky: what tests of detection look at."""

from functools import cache

import numpy as np

from cloudfree.simulate.clouds import CloudLayer, Sky, add_clouds, cloud_layer
from cloudfree.simulate.landscape import Landscape, landscape

SIDE = 192


@cache
def land_at_10_m() -> Landscape:
    return landscape(np.random.default_rng(77), SIDE, SIDE, pixel_size_m=10.0)


@cache
def clouded() -> tuple[np.ndarray, CloudLayer]:
    """Reflectance (4, SIDE, SIDE) and the layer over it."""
    sky = Sky(cell_m=700, base_m=600, haze_share=0.2, haze_depth=0.8)
    layer = cloud_layer(np.random.default_rng(5), SIDE, SIDE, pixel_size_m=10.0, cover=0.35, sky=sky)
    return add_clouds(land_at_10_m().reflectance, layer), layer
