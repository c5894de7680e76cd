"""Images of other dates moved by hand: where they are put, and when they are left alone."""

from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from affine import Affine
from scipy.ndimage import shift as move
from support import ORIGIN, UTM33, pattern, sar_values_db, write_raster

from cloudfree.geometry import Grid
from cloudfree.inputs.files import InputOptions, identify
from cloudfree.scene import other_dates, sights, survey
from cloudfree.scene.held_out import bears_out
from cloudfree.scene.offset import Offset

SIDE, PIXEL_M, LIMIT_M = 240, 3.0, 30.0
GRID = Affine(PIXEL_M, 0, ORIGIN[0], 0, -PIXEL_M, ORIGIN[1])


def ground(seed: int = 0, side: int = SIDE) -> np.ndarray:
    """Fields with edges and texture, (4, side, side) reflectance."""
    fields = np.digitize(pattern(side, side, seed, smooth=6), np.linspace(-1.5, 1.5, 7))
    colours = np.random.default_rng(seed).uniform(0.03, 0.4, (4, 8))
    texture = [0.01 * pattern(side, side, seed + 10 + band, 1.5) for band in range(4)]
    return np.clip(colours[:, fields] + texture, 0.01, 0.6)


def clouds(share: float, seed: int = 3) -> np.ndarray:
    field = pattern(SIDE, SIDE, seed, smooth=16)
    return field > np.quantile(field, 1 - share)


def moved(image: np.ndarray, yx_px: tuple[float, float], seed: int = 0) -> np.ndarray:
    """Another date: in another light, with noise, its content moved."""
    rng = np.random.default_rng(seed)
    content = np.stack([move(band, yx_px, order=3, mode="nearest") for band in image])
    return np.clip(content * rng.uniform(0.7, 1.2, (4, 1, 1)) + 0.02 + rng.normal(0, 0.004, image.shape), 0.001, 1)


def dn(image: np.ndarray) -> np.ndarray:
    return np.rint(1e4 * image).astype(np.uint16)


Find = Callable[..., list[Offset]]


@pytest.fixture
def find(tmp_path: Path) -> Find:
    """Offsets of images (4, H, W) on the scene's grid, 0 where they show nothing."""

    def offsets(scene: np.ndarray, hidden: np.ndarray | None, *others: np.ndarray) -> list[Offset]:
        hidden = np.zeros(scene.shape[1:], bool) if hidden is None else hidden
        paths = [tmp_path / f"{name}.tif" for name in ("scene", "mask", "s1")]
        write_raster(paths[0], dn(np.where(hidden, 0.7, scene)), GRID, nodata=0)
        write_raster(paths[1], hidden[None].astype(np.uint8), GRID)
        write_raster(paths[2], sar_values_db(300, 300), Affine(10, 0, ORIGIN[0] - 500, 0, -10, ORIGIN[1] + 500))
        dates = [write_raster(tmp_path / f"{n}.tif", dn(one), GRID, nodata=0) for n, one in enumerate(others)]
        inputs = identify(InputOptions.of(paths[0], paths[2], mask=paths[1], mask_values="1", references=dates))
        with inputs.open() as reader:
            surveyed = survey.take(inputs.scene, reader)
        return list(other_dates.offsets(inputs, surveyed, LIMIT_M))

    return offsets


def px(offset: Offset, side: int = SIDE) -> np.ndarray:
    """Rows and columns in pixels of the scene, of an offset in pixels of its survey."""
    return np.array(offset.shift_yx_px) * side / round(side * PIXEL_M / 10)


@pytest.mark.parametrize("share", [0.0, 0.3, 0.65])
@pytest.mark.parametrize("yx_px", [(2.5, -1.25), (-4.0, 3.3)])
def test_the_offset_undoes_a_move_made_by_hand(find: Find, yx_px: tuple[float, float], share: float) -> None:
    (offset,) = find(ground(), clouds(share), moved(ground(), yx_px))
    assert offset.accepted, offset.reason
    assert "bears it out" in offset.reason
    np.testing.assert_allclose(px(offset), np.negative(yx_px), atol=0.25)


def test_gaps_of_the_other_date_are_left_out(find: Find) -> None:
    other = moved(ground(), (2.0, -3.0))
    other[:, clouds(0.4, seed=8)] = 0
    (offset,) = find(ground(), clouds(0.3), other)
    assert offset.accepted, offset.reason
    np.testing.assert_allclose(px(offset), (-2, 3), atol=0.25)


def test_of_a_large_scene_a_few_parts_are_enough(find: Find, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(other_dates, "_WHOLE_PX", 10_000)
    monkeypatch.setattr(sights, "_SIDE_PX", 48)
    (offset,) = find(ground(), clouds(0.3), moved(ground(), (-3.0, 2.5)))
    assert offset.accepted, offset.reason
    assert offset.windows == 25
    np.testing.assert_allclose(px(offset), (3, -2.5), atol=0.25)


def test_a_date_in_its_place_is_left_there(find: Find) -> None:
    (offset,) = find(ground(), None, moved(ground(), (0.0, 0.0)))
    assert not offset.accepted
    assert "in its place" in offset.reason


def test_what_windows_agree_on_is_not_believed_where_ground_does_not_gain(
    find: Find, monkeypatch: pytest.MonkeyPatch
) -> None:
    false = Offset(((2.0, -1.0),), 1.0, accepted=True, reason="16 of 16 windows agree")
    monkeypatch.setattr(other_dates.coregister, "between_dates", lambda *_: false)
    (offset,) = find(ground(), None, moved(ground(), (0.0, 0.0)))
    assert not offset.accepted
    assert "-3.0 m east, -6.0 m north, but ground that was not fitted does not gain" in offset.reason


def test_other_ground_is_left_where_it_is(find: Find) -> None:
    found = find(ground(), clouds(0.3), *(moved(ground(seed), (0.0, 0.0)) for seed in range(1, 6)))
    assert not [offset.reason for offset in found if offset.accepted]


def test_too_far_and_too_little_are_refused_in_words(find: Find) -> None:
    (far,) = find(ground(), None, moved(ground(), (12.0, 0.0)))  # 36 m
    assert not far.accepted
    assert "beyond" in far.reason
    hidden = np.ones((SIDE, SIDE), bool)
    hidden[:60, :60] = False
    (little,) = find(ground(), hidden, moved(ground(), (2.0, 0.0)))
    assert not little.accepted
    assert "windows" in little.reason


@pytest.mark.parametrize("side", [2, 7, 33])
def test_tiny_images_are_no_bug(find: Find, side: int) -> None:
    small = ground()[:, :side, :side]
    (offset,) = find(small, None, small + 0.01 * pattern(side, side, 2, 0.5))
    assert not offset.accepted


def test_a_date_that_the_scene_hardly_shows_is_placed_by_another(find: Find) -> None:
    """The scene shows its left side, the first date everything, the second one little more than the right side."""
    hidden = np.zeros((SIDE, SIDE), bool)
    hidden[:, 120:] = True
    second = moved(ground(), (-2.0, -3.5), seed=1)
    second[:, :, :117] = 0
    offsets = find(ground(), hidden, moved(ground(), (3.0, 1.5)), second)
    assert all(offset.accepted for offset in offsets), [offset.reason for offset in offsets]
    np.testing.assert_allclose([px(offset) for offset in offsets], [(-3, -1.5), (2, 3.5)], atol=0.3)
    assert "by 0.tif, which is in its place" in offsets[1].reason
    (alone,) = find(ground(), hidden, second)
    assert not alone.accepted


# --- what is borne out ---


def test_ground_that_was_not_fitted_tells_better_from_worse() -> None:
    scene = ground().astype(np.float32)
    near, far = (moved(scene, (0.0, away)).astype(np.float32) for away in (0.3, 1.5))
    assert bears_out(scene, before=far, after=near)
    assert bears_out(scene, before=near, after=far) is False
    assert bears_out(scene, before=near, after=near) is False


def test_noise_bears_nothing_out() -> None:
    rng = np.random.default_rng(0)
    scene = ground(side=128).astype(np.float32)
    noise = rng.normal(0.2, 0.05, (16, *scene.shape)).astype(np.float32)
    borne = [bears_out(scene, before, after) for before, after in pairwise(noise)]
    assert sum(map(bool, borne)) <= 1


def test_too_little_ground_says_nothing() -> None:
    scene = ground().astype(np.float32)
    hidden = np.full_like(scene, np.nan)
    hidden[:, :9, :9] = scene[:, :9, :9]
    assert bears_out(hidden, scene, scene) is None
    assert bears_out(np.full_like(scene, np.nan), scene, scene) is None


# --- parts ---


def test_parts_lie_where_it_is_clear_and_do_not_overlap() -> None:
    seen = pattern(300, 200, 5, 20) > 0.5
    grid = Grid(UTM33, GRID, 2000, 3000)
    found = sights.clearest(grid, seen)
    assert len(found.cells) == 25
    assert 4 < len(found.parts) <= 25
    count = np.zeros(grid.shape, int)
    for part in found.parts:
        count[part.rows, part.cols] += 1
        assert part.shape == (128, 128)
    assert count.max() == 1
    fine = seen.repeat(10, 0).repeat(10, 1)
    assert min(fine[part.rows, part.cols].mean() for part in found.parts) > 0.1
    assert sights.clearest(grid, np.zeros_like(seen)).parts == ()
    narrow = sights.clearest(Grid(UTM33, GRID, 100, 20_000), np.ones((2000, 10), bool))
    assert {part.shape for part in narrow.parts} == {(128, 100)}
