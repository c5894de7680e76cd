"""Clouds taken out of real images: opaque where they are bright, absent where the ground is clear."""

from pathlib import Path

import numpy as np
import pytest
from scipy import ndimage
from support import write_pixels

from cloudfree.errors import InputError
from cloudfree.learn.cloud_layers import read_real_clouds, real_or_simulated_layers, simulated_layer
from cloudfree.simulate.clouds import add_clouds

SIDE = 96


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A bright disc with a soft edge over textured ground, a clear image, and a disc over another place."""
    rng = np.random.default_rng(0)
    y, x = np.mgrid[:SIDE, :SIDE] - SIDE / 2
    opacity = np.clip((30 - np.hypot(y, x)) / 10 + 0.5, 0, 1)
    ground = np.array([0.05, 0.07, 0.06, 0.25])[:, None, None] * rng.uniform(0.8, 1.2, (SIDE, SIDE))
    ground[:, 10, 10] = 0.6  # a roof
    cloudy = ground + opacity * (0.8 - ground)
    for name, image in {"a_p1": cloudy, "a_p2": ground, "b_p7": cloudy[:, ::-1]}.items():
        write_pixels(tmp_path / f"{name}_cloudy.tif", np.rint(1e4 * image).astype(np.uint16))
    return tmp_path


def test_clouds_are_taken_and_ground_is_left(folder):
    clouds = read_real_clouds(folder)
    assert [c.site for c in clouds] == ["a", "b"]  # the clear image is left out
    opacity, radiance = clouds[0].opacity, clouds[0].radiance
    y, x = np.mgrid[:SIDE, :SIDE] - SIDE / 2
    distance = np.hypot(y, x)
    assert (opacity[distance < 24] == 1).all()
    assert opacity[distance > 45].max() < 0.05
    assert opacity[10, 10] < 0.05, "a roof is no cloud"
    np.testing.assert_allclose(radiance[:, distance < 20], 0.8, atol=0.02)
    assert radiance.min() >= 0.2


def test_a_layer_of_real_clouds_lies_over_any_square(folder):
    clouds = read_real_clouds(folder)[0]
    for side in (32, 96, 250):
        layer = clouds.draw_layer(np.random.default_rng(side), side)
        assert layer.opacity.shape == layer.shadow.shape == (side, side)
        assert layer.radiance.shape == (4, side, side)
        assert 0 <= layer.opacity.min() <= layer.opacity.max() <= 1
        clear = (layer.opacity == 0) & (layer.shadow == 0)
        ground = np.full((4, side, side), 0.1, np.float32)
        np.testing.assert_array_equal(add_clouds(ground, layer)[:, clear], ground[:, clear])


def test_shares_of_real_and_simulated_layers(folder):
    clouds = read_real_clouds(folder)
    only_real = real_or_simulated_layers(clouds, share=1.0)
    layer, again = (only_real(np.random.default_rng(5), 64) for _ in range(2))
    np.testing.assert_array_equal(layer.opacity, again.opacity)
    opaque = layer.radiance[:, layer.opacity == 1]
    assert 0.4 < opaque.min() <= opaque.max() < 0.85
    simulated = simulated_layer(np.random.default_rng(6), 64)
    np.testing.assert_array_equal(real_or_simulated_layers([])(np.random.default_rng(6), 64).opacity, simulated.opacity)


def test_a_folder_without_clouds(tmp_path):
    with pytest.raises(InputError, match="holds no image with clouds"):
        read_real_clouds(tmp_path)
    write_pixels(tmp_path / "x_cloudy.tif", np.ones((3, 8, 8), np.uint16))
    with pytest.raises(InputError, match="has 3 bands"):
        read_real_clouds(tmp_path)


def test_real_images_give_bright_clouds_of_several_places(shared_data):
    clouds = read_real_clouds(shared_data / "clouds")
    assert len(clouds) > 15
    assert len({c.site for c in clouds}) > 3
    for cloud in clouds:
        firm = cloud.opacity > 0.9
        assert firm.mean() > 0.01
        brightest = ndimage.median_filter(cloud.radiance[0], 5)[firm]
        assert brightest.min() > 0.3
