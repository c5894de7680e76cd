"""Shadows are found where clouds cast them, and nowhere else."""

from dataclasses import replace

import numpy as np
import pytest
from scipy import ndimage

from cloudfree.arrays import Image, Mask, as_image
from cloudfree.inputs.optical.sun import Sun
from cloudfree.scene.cast_shadows import cast
from cloudfree.simulate.clouds import Sky, add_clouds, cloud_layer
from cloudfree.simulate.landscape import landscape

SIDE, PIXEL_M = 256, 10.0
SKY = Sky(cell_m=500, base_m=700, haze_share=0, sun_azimuth_deg=140, sun_zenith_deg=40)
SUN = Sun(SKY.sun_azimuth_deg, 90 - SKY.sun_zenith_deg, 0.0)
GREEN_NIR = [1, 3]


def land(seed: int = 7) -> Image:
    return np.clip(landscape(np.random.default_rng(seed), SIDE, SIDE, pixel_size_m=PIXEL_M).reflectance, 0.02, 1)


def plain() -> Image:
    """Ground of grass with noise (2, h, w)."""
    noise = np.random.default_rng(3).normal(1, 0.08, (2, SIDE, SIDE))
    return as_image(noise * np.array([0.08, 0.3])[:, None, None])


def disc(row: float, col: float, radius: float) -> Mask:
    y, x = np.mgrid[:SIDE, :SIDE]
    return np.hypot(y - row, x - col) <= radius


def fallen(cloud: Mask, distance_px: float, sun: Sun = SUN) -> Mask:
    towards = np.deg2rad(sun.azimuth_deg + 180)
    moved = ndimage.shift(cloud.astype(float), (-distance_px * np.cos(towards), distance_px * np.sin(towards)), order=0)
    return (moved > 0.5) & ~cloud


def shaded(ground: Image, shadow: Mask, loss: float = 0.5) -> Image:
    return as_image(np.where(shadow, (1 - loss) * ground, ground))


@pytest.mark.parametrize("sun", [None, SUN])
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_shadows_of_simulated_clouds_are_found(seed: int, sun: Sun | None) -> None:
    ground, layer = (
        land(seed),
        cloud_layer(np.random.default_rng(seed), SIDE, SIDE, pixel_size_m=10, cover=0.2, sky=SKY),
    )
    seen = add_clouds(ground, layer)
    free = layer.opacity < 0.1
    found = cast(seen[GREEN_NIR], ground[GREEN_NIR], layer.cloud, free, PIXEL_M, sun)
    deep = free & (layer.shadow > 0.3)
    assert (found & deep).sum() > 0.75 * deep.sum()
    assert (found & (layer.shadow < 0.05)).sum() < 0.1 * found.sum()
    assert not (found & ~free).any()


def test_pieces_of_different_heights_have_their_own_distances() -> None:
    clouds, ground = [disc(80, 190, 16), disc(190, 200, 22), disc(210, 110, 14)], plain()
    shadows = [fallen(cloud, distance) for cloud, distance in zip(clouds, (40, 90, 60), strict=True)]
    cloud, shadow = np.logical_or.reduce(clouds), np.logical_or.reduce(shadows)
    found = cast(shaded(ground, shadow), ground, cloud, ~cloud, PIXEL_M)
    for each in shadows:
        assert (found & each).sum() > 0.85 * each.sum()
    assert (found & ~ndimage.binary_dilation(shadow, iterations=2)).sum() < 0.02 * shadow.sum()


@pytest.mark.parametrize("azimuth_deg", [40, 90, 160, 250])
def test_the_direction_is_that_of_the_sun(azimuth_deg: float) -> None:
    """Which is told, or in the morning found; another sun is not believed against the image."""
    sun, cloud, ground = Sun(azimuth_deg, 50, 2.0), disc(128, 128, 20) | disc(90, 180, 12), plain()
    shadow = fallen(cloud, 50, sun)
    seen = shaded(ground, shadow)

    def share(told: Sun | None) -> float:
        return float((cast(seen, ground, cloud, ~cloud, PIXEL_M, told) & shadow).sum() / shadow.sum())

    assert share(sun) > 0.85
    assert share(replace(sun, azimuth_deg=azimuth_deg + 8)) > 0.85
    assert share(replace(sun, azimuth_deg=(azimuth_deg + 90) % 360)) == 0
    assert share(None) > 0.85 if azimuth_deg < 200 else share(None) == 0


@pytest.mark.parametrize("seed", range(6))
def test_clouds_without_shadow_cast_none(seed: int) -> None:
    """Over land with dark fields and woods, which the surroundings do not expect."""
    ground = land(seed)
    cloud = cloud_layer(np.random.default_rng(seed), SIDE, SIDE, pixel_size_m=10, cover=0.2, sky=SKY).cloud
    around = as_image([ndimage.gaussian_filter(band, 40) for band in ground])
    found = cast(ground[GREEN_NIR], around[GREEN_NIR], cloud, ~cloud, PIXEL_M)
    assert found.mean() < 0.01


def test_what_is_dark_elsewhere_stays() -> None:
    """A lake, and a burnt field as dark as a shadow."""
    cloud, ground = disc(150, 150, 20), plain()
    shadow, lake, burnt = fallen(cloud, 60), disc(60, 60, 30), disc(220, 60, 18)
    seen = shaded(ground, shadow | burnt)
    seen[:, lake] = np.array([0.06, 0.02])[:, None]
    found = cast(seen, ground, cloud, ~cloud, PIXEL_M)
    assert (found & shadow).sum() > 0.85 * shadow.sum()
    assert not (found & (lake | burnt)).any()


def test_a_cloud_that_reaches_beyond_the_image_shades_from_there() -> None:
    """Its part that is seen says how far, and what lies beyond is taken to be as wide as it is at the border."""
    y, x = np.mgrid[: 2 * SIDE, :SIDE]
    whole, sun, ground = np.hypot(y - 270, x - 128) <= 60, Sun(180, 50), plain()
    cloud = whole[:SIDE]
    shadow = np.roll(whole, -90, 0)[:SIDE] & ~cloud
    found = cast(shaded(ground, shadow), ground, cloud, ~cloud, PIXEL_M, sun)
    assert (found & shadow).sum() > 0.9 * shadow.sum()
    assert (found & ~ndimage.binary_dilation(shadow, iterations=3)).sum() < 0.02 * shadow.sum()


@pytest.mark.parametrize("shape", [(1, 1), (1, 60), (60, 1), (2, 3), (7, 40), (33, 31), (100, 64)])
@pytest.mark.parametrize("covered", ["nothing", "half", "everything", "no ground"])
@pytest.mark.parametrize("pixel_size_m", [0.5, 10, 45])
def test_any_size_and_any_cover(shape: tuple[int, int], covered: str, pixel_size_m: float) -> None:
    cloud = np.zeros(shape, bool)
    cloud[:, : shape[1] // 2] = covered == "half"
    cloud |= covered == "everything"
    free = ~cloud & (covered != "no ground")
    ground = np.full((2, *shape), 0.3, np.float32)
    for sun in (None, SUN, Sun(0, 0.5), Sun(180, 90, 89.0)):
        found = cast(0.5 * ground, ground, cloud, free, pixel_size_m, sun)
        assert found.shape == shape
        assert not (found & ~free).any()


def test_equal_arguments_give_equal_pixels_and_are_left_alone() -> None:
    cloud, ground = disc(128, 150, 20), plain()
    seen = shaded(ground, fallen(cloud, 50))
    before = seen.copy(), ground.copy(), cloud.copy()
    once, again = (cast(seen, ground, cloud, ~cloud, PIXEL_M) for _ in range(2))
    assert once.any()
    np.testing.assert_array_equal(once, again)
    for now, then in zip((seen, ground, cloud), before, strict=True):
        np.testing.assert_array_equal(now, then)


def test_what_is_not_free_may_hold_anything() -> None:
    cloud, ground = disc(128, 150, 20), plain()
    seen, free = shaded(ground, fallen(cloud, 50)), ~cloud
    free[:40] = False
    odd = seen.copy()
    odd[:, ~free] = np.nan
    with np.errstate(invalid="ignore"):
        found = cast(odd, ground, cloud, free, PIXEL_M)
    np.testing.assert_array_equal(found, cast(seen, ground, cloud, free, PIXEL_M))
