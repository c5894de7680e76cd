from pathlib import Path

import numpy as np
import pytest
import rasterio
from affine import Affine
from scipy.ndimage import map_coordinates
from scipy.ndimage import shift as move
from support import UTM33, pattern

from cloudfree.described import offset_in_words
from cloudfree.geometry import Grid
from cloudfree.geometry.displacement import basis
from cloudfree.scene.coregister import estimate
from cloudfree.scene.offset import Offset


def pair(seed: int = 0, size: int = 256) -> tuple[np.ndarray, np.ndarray]:
    """An optical image and a SAR image of the same fields, alike in nothing but edges, with speckle."""
    rng = np.random.default_rng(seed)
    fields = np.digitize(pattern(size, size, seed, smooth=6), np.linspace(-1.5, 1.5, 7))
    optical = rng.uniform(0.03, 0.4, (4, 8))[:, fields]
    sar = rng.uniform(-18, -6, 8)[fields] + 10 * np.log10(rng.gamma(4.4, 1 / 4.4, (size, size)))
    return optical.astype(np.float32), np.stack([sar, sar - 7]).astype(np.float32)


def everywhere(image: np.ndarray) -> np.ndarray:
    return np.ones(image.shape[1:], bool)


@pytest.mark.parametrize("moved", [(0.0, 0.0), (2.5, -1.25), (-4.0, 3.0)])
def test_the_offset_undoes_a_move_made_by_hand(moved: tuple[float, float]) -> None:
    optical, sar = pair()
    sar = np.stack([move(band, moved, order=1, mode="nearest") for band in sar])
    offset = estimate(optical, everywhere(optical), sar, everywhere(sar), max_shift_px=6)
    assert offset.accepted, offset.reason
    np.testing.assert_allclose(offset.shift_yx_px, np.negative(moved), atol=0.4)


def test_clouds_are_left_out() -> None:
    optical, sar = pair()
    sar = np.stack([move(band, (2, -3), order=1, mode="nearest") for band in sar])
    cloudy = pattern(256, 256, seed=9, smooth=20) > 0.5
    optical[:, cloudy] = 0.8 + 0.05 * pattern(256, 256, seed=8)[cloudy]
    offset = estimate(optical, ~cloudy, sar, everywhere(sar), max_shift_px=6)
    assert offset.accepted, offset.reason
    np.testing.assert_allclose(offset.shift_yx_px, (-2, 3), atol=0.4)


def test_unrelated_and_structureless_pairs_are_refused() -> None:
    accepted = 0
    for seed in range(20):
        optical, _ = pair(seed)
        _, sar = pair(seed + 100)
        accepted += estimate(optical, everywhere(optical), sar, everywhere(sar), max_shift_px=6).accepted
    assert accepted == 0
    optical, sar = pair()
    flat = np.full_like(optical, 0.2)
    assert not estimate(flat, everywhere(optical), sar, everywhere(sar), max_shift_px=6).accepted


def test_too_little_ground_and_too_far_are_refused_in_words() -> None:
    optical, sar = pair()
    few = np.zeros((256, 256), bool)
    few[:60, :60] = True
    assert "windows" in estimate(optical, few, sar, everywhere(sar), max_shift_px=6).reason
    far = np.stack([move(band, (7, 0), order=1, mode="nearest") for band in sar])
    offset = estimate(optical, everywhere(optical), far, everywhere(sar), max_shift_px=5)
    assert not offset.accepted
    assert "beyond" in offset.reason


def bent(sar: np.ndarray, coefficients: np.ndarray) -> np.ndarray:
    """The image as it is delivered if that displacement is what has to be applied to it."""
    side = sar.shape[1]
    rows, cols = np.mgrid[:side, :side].astype(float)
    u, v = (2 * (axis + 0.5) / side - 1 for axis in (cols, rows))
    dy, dx = np.moveaxis(basis(u, v, len(coefficients)) @ coefficients, -1, 0)
    return np.stack([map_coordinates(band, [rows + dy, cols + dx], order=1, mode="nearest") for band in sar])


LINEAR = np.array([(1.0, -2.0), (0.0, 1.2), (0.8, 0.0)])


def test_a_displacement_that_changes_across_the_scene_is_followed() -> None:
    optical, sar = pair(size=640)
    offset = estimate(optical, everywhere(optical), bent(sar, LINEAR), everywhere(sar), max_shift_px=6)
    assert offset.accepted
    assert "changes across the scene" in offset.reason
    np.testing.assert_allclose(offset.coefficients_yx_px, LINEAR, atol=0.25)
    np.testing.assert_allclose(offset.shift_yx_px, LINEAR[0], atol=0.25)


def test_no_field_is_invented() -> None:
    for seed in range(5):
        optical, sar = pair(seed, size=320)
        offset = estimate(optical, everywhere(optical), sar, everywhere(sar), max_shift_px=6)
        assert len(offset.coefficients_yx_px) == 1


def test_no_field_reaches_over_ground_that_no_window_sees() -> None:
    optical, sar = pair(size=640)
    clear = everywhere(optical)
    clear[:, 180:] = False
    offset = estimate(optical, clear, bent(sar, LINEAR), everywhere(sar), max_shift_px=6)
    assert len(offset.coefficients_yx_px) == 1


def test_metres_follow_the_grid() -> None:
    grid = Grid(UTM33, Affine(10, 0, 5e5, 0, -10, 5e6), 100, 80)
    offset = Offset(((1.0, 2.0), (0.0, 0.5), (0.1, 0.0)), 0.99995, accepted=True, reason="so it is", spread_px=0.2)
    told = offset.describe(grid)
    assert told["shift_m"] == {"east": 20.0, "north": -10.0}
    assert told["residual_spread_m"] == 2.0
    assert told["field_m"] == {"east": [20.0, 5.0, 0.0], "north": [-10.0, 0.0, -1.0]}
    assert "+20.0 m east, -10.0 m north" in offset_in_words(offset.describe(grid))
    refused = Offset(((1.0, 2.0),), 0.5, accepted=False, reason="it is not so")
    assert refused.describe(grid)["shift_m"] == {"east": 0, "north": 0}
    assert "left where it is: it is not so" in offset_in_words(refused.describe(grid))


@pytest.mark.parametrize("size", [1, 7, 33])
def test_tiny_images_are_no_bug(size: int) -> None:
    optical, sar = pair(size=size)
    assert not estimate(optical, everywhere(optical), sar, everywhere(sar), max_shift_px=6).accepted


def test_real_pairs_moved_by_known_offsets(shared_data: Path) -> None:
    """The displacement is the difference to the estimate on the unmoved pair, whose own offset is unknown."""
    errors_px = []
    for path in sorted((shared_data / "pairs").glob("terramind_*_optical.tif")):
        with rasterio.open(path) as optical_file, rasterio.open(str(path).replace("_optical", "_sar")) as sar_file:
            optical, sar = optical_file.read() * np.float32(1e-4), sar_file.read()
        still = estimate(optical, optical.any(axis=0), sar, np.isfinite(sar).all(axis=0), 6)
        moved = np.stack([move(band, (1.7, -2.4), order=1, mode="nearest") for band in sar])
        found = estimate(optical, optical.any(axis=0), moved, np.isfinite(moved).all(axis=0), 6)
        if still.accepted and found.accepted:
            errors_px.append(np.subtract(still.shift_yx_px, found.shift_yx_px) - (1.7, -2.4))
    assert len(errors_px) >= 3
    assert np.median(np.hypot(*np.transpose(errors_px))) < 0.3
