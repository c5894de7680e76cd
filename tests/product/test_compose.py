"""What becomes of each pixel, one by one."""

from pathlib import Path

import numpy as np
import pytest
from affine import Affine
from support import UTM33

from cloudfree.bands import Qa
from cloudfree.grid import Grid
from cloudfree.inputs.planet import Scene
from cloudfree.inputs.strips import Fill, Strip
from cloudfree.product.compose import compose

SCENE = Scene(
    Path("scene.tif"), Grid(UTM33, Affine.scale(3, -3), 6, 1), (1, 2, 3, 4), (1e-4,) * 4, 0, "surface reflectance", ()
)
# Pixels: nodata under cloud, clear and saturated, cloud, cloud without radar, the feather, hardly any of it.
DN = np.array([0, 12_000, 9000, 9000, 1000, 1000], np.uint16)
WEIGHT = np.array([[1, 0, 1, 1, 0.25, 0.001]], np.float32)
SAR_DB = np.array([-10, -10, -10, np.nan, -10, -10], np.float32)
STRIP = Strip(0, np.broadcast_to(DN, (4, 1, 6)), np.broadcast_to(SAR_DB, (2, 1, 6)), WEIGHT)


@pytest.mark.parametrize(
    ("restored", "expected"),
    [
        (0.3, [0, 12_000, 3000, 3000, 1500, 1002]),
        (-0.2, [0, 12_000, 1, 1, 250, 997]),  # never 0, which is nodata
        (1.7, [0, 12_000, 10_000, 10_000, 5000, 1016]),
    ],
)
def test_under_a_mask_what_it_hides_is_reconstructed(restored: float, expected: list[int]) -> None:
    dn, quality = compose(SCENE, STRIP, np.full((4, 1, 6), restored, np.float32), Fill("clouds"))
    np.testing.assert_array_equal(dn, np.broadcast_to(np.array(expected, np.uint16), (4, 1, 6)))
    made, alone = Qa.RECONSTRUCTED, Qa.RECONSTRUCTED_WITHOUT_SAR
    assert quality[0, 0].tolist() == [Qa.NODATA, Qa.OBSERVED, made, alone, made, made]
    assert quality[1, 0].tolist() == [0, 0, 100, 100, 25, 1]


@pytest.mark.parametrize(("without_sar", "dn", "qa"), [("keep", 9000, Qa.NOT_RECONSTRUCTED), ("nodata", 0, Qa.NODATA)])
def test_a_cloud_without_radar_is_kept_or_left_out(without_sar: str, dn: int, qa: Qa) -> None:
    found, quality = compose(SCENE, STRIP, np.full((4, 1, 6), 0.3, np.float32), Fill("clouds", without_sar))
    assert found[0, 0].tolist() == [0, 12_000, 3000, dn, 1500, 1002]
    assert quality[0, 0, 3] == qa
    assert quality[1, 0].tolist() == [0, 0, 100, 0, 25, 1]


def test_everything_is_reconstructed_where_there_is_data() -> None:
    dn, quality = compose(SCENE, STRIP, np.full((4, 1, 6), 0.3, np.float32), Fill("all"))
    assert dn[0, 0].tolist() == [0, 3000, 3000, 3000, 3000, 3000]
    assert quality[1, 0].tolist() == [0, 100, 100, 100, 100, 100]
