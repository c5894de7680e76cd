from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from affine import Affine
from support import ORIGIN, UTM33

from cloudfree.bands import Udm2
from cloudfree.errors import GridError, InputError
from cloudfree.grid import Grid
from cloudfree.inputs.cloudmask import Feather, identify_mask, identify_udm2

SCENE = Grid(UTM33, Affine(3, 0, ORIGIN[0], 0, -3, ORIGIN[1]), 96, 96)
MakeMask = Callable[..., Path]


def test_udm2_counts_cloud_haze_and_shadow_but_not_snow_or_confidence(make_mask: MakeMask) -> None:
    bands = np.zeros((8, 96, 96))
    for band in Udm2:
        bands[band - 1, 10 * band : 10 * band + 5] = 1
    with identify_udm2(make_mask(bands), SCENE).open() as reader:
        cloudy = reader.on_grid(SCENE)
    for band in Udm2:
        expected = band.name in ("CLOUD", "SHADOW", "LIGHT_HAZE", "HEAVY_HAZE")
        assert (cloudy[10 * band : 10 * band + 5] == expected).all(), band.name


def test_a_mask_on_another_grid_is_taken_by_the_nearest_pixel(make_mask: MakeMask) -> None:
    coarse = np.zeros((32, 32))
    coarse[4:8, 10:20] = 255
    path = make_mask(coarse, transform=Affine(9, 0, ORIGIN[0], 0, -9, ORIGIN[1]))
    with identify_mask(path, SCENE).open() as reader:
        np.testing.assert_array_equal(reader.on_grid(SCENE), np.kron(coarse, np.ones((3, 3))) > 0)


def test_the_share_is_one_in_the_buffer_and_falls_over_the_feather() -> None:
    cloudy = np.zeros((1, 60), bool)
    cloudy[0, 0] = True
    share = Feather(buffer_px=10, feather_px=10).weight(cloudy)[0]
    assert (share[:11] == 1).all()
    assert (np.diff(share[10:21]) < 0).all()
    assert (share[20:] == 0).all()


def test_strips_with_a_halo_equal_the_whole() -> None:
    cloudy = np.random.default_rng(0).random((200, 100)) > 0.999
    feather = Feather.on(SCENE)
    whole = feather.weight(cloudy)
    for start in range(0, 200, 40):
        first, last = max(0, start - feather.reach_px), min(200, start + 40 + feather.reach_px)
        strip = feather.weight(cloudy[first:last])[start - first : start - first + 40]
        np.testing.assert_array_equal(strip, whole[start : start + 40])


def test_what_is_no_mask_is_refused(make_mask: MakeMask) -> None:
    one = make_mask(np.zeros((96, 96)))
    with pytest.raises(InputError, match="UDM2 has 8"):
        identify_udm2(one, SCENE)
    with pytest.raises(InputError, match="a mask has one"):
        identify_mask(make_mask(np.zeros((3, 96, 96)), name="three.tif"), SCENE)
    far = make_mask(np.zeros((96, 96)), name="far.tif", transform=Affine(3, 0, ORIGIN[0] + 9e4, 0, -3, ORIGIN[1]))
    with pytest.raises(GridError, match="does not overlap"):
        identify_mask(far, SCENE)
