"""What becomes of each pixel, one by one."""

from pathlib import Path

import numpy as np
import pytest
from affine import Affine
from support import UTM33

from cloudfree.bands import Qa
from cloudfree.geometry import Grid
from cloudfree.inputs.optical.scene import Scene
from cloudfree.product.compose import Composed, compose, deviation_dn
from cloudfree.product.profiles import NO_DEVIATION
from cloudfree.reconstruct.strips import Fill, RestoredStrip, Strip
from cloudfree.scene.uncertainty import Uncertainty

SCENE = Scene(
    Path("scene.tif"), Grid(UTM33, Affine.scale(3, -3), 6, 1), (1, 2, 3, 4), (1e-4,) * 4, "surface reflectance", ()
)
# Pixels: nodata under cloud, clear and saturated, cloud, cloud without radar, the feather, hardly any of it.
DN = np.array([0, 12_000, 9000, 9000, 1000, 1000], np.uint16)
WEIGHT = np.array([[1, 0, 1, 1, 0.25, 0.001]], np.float32)
SAR_DB = np.array([-10, -10, -10, np.nan, -10, -10], np.float32)
STRIP = Strip.of(0, np.broadcast_to(DN, (4, 1, 6)), np.broadcast_to(SAR_DB, (2, 1, 6)), WEIGHT)
NOTHING = np.zeros((1, 6), np.float32)


def composed(reflectance: float, fill: Fill, seen_through: np.ndarray = NOTHING) -> Composed:
    return compose(SCENE, RestoredStrip(STRIP, np.full((4, 1, 6), reflectance, np.float32), seen_through), fill)


@pytest.mark.parametrize(
    ("restored", "expected"),
    [
        (0.3, [0, 12_000, 3000, 3000, 1500, 1002]),
        (-0.2, [0, 12_000, 1, 1, 250, 997]),  # never 0, which is nodata
        (1.7, [0, 12_000, 10_000, 10_000, 5000, 1016]),
    ],
)
def test_under_a_mask_what_it_hides_is_reconstructed(restored: float, expected: list[int]) -> None:
    rows = composed(restored, Fill("clouds"))
    np.testing.assert_array_equal(rows.dn, np.broadcast_to(np.array(expected, np.uint16), (4, 1, 6)))
    made, alone = Qa.RECONSTRUCTED, Qa.RECONSTRUCTED_WITHOUT_SAR
    assert rows.quality[0, 0].tolist() == [Qa.NODATA, Qa.OBSERVED, made, alone, made, made]
    assert rows.quality[1, 0].tolist() == [255, 0, 100, 100, 25, 1]


@pytest.mark.parametrize(("without_sar", "dn", "qa"), [("keep", 9000, Qa.NOT_RECONSTRUCTED), ("nodata", 0, Qa.NODATA)])
def test_a_cloud_without_radar_is_kept_or_left_out(without_sar: str, dn: int, qa: Qa) -> None:
    rows = composed(0.3, Fill("clouds", without_sar))
    assert rows.dn[0, 0].tolist() == [0, 12_000, 3000, dn, 1500, 1002]
    assert rows.quality[0, 0, 3] == qa
    assert rows.quality[1, 0].tolist() == [255, 0, 100, 255 if qa == Qa.NODATA else 0, 25, 1]


def test_everything_is_reconstructed_where_there_is_data() -> None:
    rows = composed(0.3, Fill("all"))
    assert rows.dn[0, 0].tolist() == [0, 3000, 3000, 3000, 3000, 3000]
    assert rows.quality[1, 0].tolist() == [255, 100, 100, 100, 100, 100]


def test_what_shows_through_is_a_class_of_its_own_where_radar_bears_it_out() -> None:
    rows = composed(0.3, Fill("clouds"), WEIGHT * np.float32(0.6))
    through, alone = Qa.SEEN_THROUGH, Qa.RECONSTRUCTED_WITHOUT_SAR
    assert rows.quality[0, 0].tolist() == [Qa.NODATA, Qa.OBSERVED, through, alone, through, through]
    mostly_hidden = composed(0.3, Fill("clouds"), WEIGHT * np.float32(0.25))
    assert Qa.SEEN_THROUGH not in mostly_hidden.quality[0]


def test_a_deviation_is_that_of_the_reconstructed_share() -> None:
    """None where observed, one unit at least where anything is made, a value of its own outside the data."""
    restored = RestoredStrip(STRIP, np.full((4, 1, 6), 0.3, np.float32), NOTHING)
    unsure = Uncertainty.constantly(np.array([0.02, 0.04, 0.06, 9.0], np.float32), (1, 6))
    for fill, without_sar in (
        (Fill("clouds"), 200),
        (Fill("clouds", "keep"), 0),
        (Fill("clouds", "nodata"), NO_DEVIATION),
    ):
        units = deviation_dn(compose(SCENE, restored, fill), restored, unsure)
        assert units.dtype == np.uint16
        assert units[0, 0].tolist() == [NO_DEVIATION, 0, 200, without_sar, 50, 1]
        assert units[3, 0, 2] == NO_DEVIATION - 1, "the largest number that is not nodata"
