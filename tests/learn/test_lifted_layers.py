"""Clouds and shadows of real images, lifted off their ground and laid over other ground."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from support import pattern, write_pixels

from cloudfree import detect
from cloudfree.arrays import Image
from cloudfree.errors import InputError
from cloudfree.learn import lifted_layers
from cloudfree.learn.lifted_layers import clouds_drawer, noticed, of_layer, read_lifted_layers, varied
from cloudfree.simulate.clouds import add_clouds, cloud_layer

SIDE = 120
DISC = np.hypot(*(np.mgrid[:SIDE, :SIDE] - SIDE / 3)) < 25
SHADE = np.hypot(*(np.mgrid[:SIDE, :SIDE] - 2 * SIDE / 3)) < 20


class Found:
    """As `detect.find_sky` returns it, the disc alone: a detector that misses shadows."""

    hidden = DISC


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A bright disc and a shadow over textured ground, and the ground on another date, of two places."""
    monkeypatch.setattr(lifted_layers, "find_sky", lambda *_: Found)
    for site, seed in (("a", 1), ("b", 2)):
        texture = pattern(SIDE, SIDE, seed, 2.0)
        ground = np.array([0.06, 0.08, 0.08, 0.3])[:, None, None] * (1 + 0.15 * texture)
        cloudy = np.where(DISC, 0.7, np.where(SHADE, 0.4 * ground, ground))
        for kind, image in (("cloudy", cloudy), ("clear", 0.9 * ground)):
            write_pixels(tmp_path / f"{site}_p1_{kind}.tif", np.rint(1e4 * image).astype(np.uint16))
    return tmp_path


def detector(*_: object) -> Sequence[Image]:
    raise AssertionError("the finding is replaced")


def test_clouds_and_shadows_are_lifted_off_the_ground(folder: Path) -> None:
    layers = read_lifted_layers(folder, detector)
    assert [layer.site for layer in layers] == ["a", "b"]
    clouds = layers[0].clouds
    inner, shade = np.hypot(*(np.mgrid[:SIDE, :SIDE] - SIDE / 3)) < 20, DISC < 0
    shade[75:85, 75:85] = True
    assert clouds.transmittance[:, inner].max() < 0.05
    np.testing.assert_allclose(clouds.light[:, inner], 0.7, atol=0.03)
    np.testing.assert_allclose(clouds.transmittance[:, shade], 0.4, atol=0.1)
    far = np.s_[:, :15, 100:]
    np.testing.assert_allclose(clouds.transmittance[far], 1, atol=0.02)
    np.testing.assert_allclose(clouds.light[far], 0, atol=0.01)


def test_a_folder_without_clouds_that_can_be_lifted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(InputError, match="holds no clouds that can be lifted"):
        read_lifted_layers(tmp_path, detector)


def test_images_named_by_one_word_are_of_places_apart(folder: Path) -> None:
    """Or all of them were one site, of which nothing can be held out."""
    for path in list(folder.iterdir()):
        path.rename(folder / path.name.replace("_p1", ""))
    assert [layer.site for layer in read_lifted_layers(folder, detector)] == ["a", "b"]


def test_another_date_of_another_size_is_refused(folder: Path) -> None:
    write_pixels(folder / "b_p1_clear.tif", np.ones((4, SIDE, SIDE - 20), np.uint16))
    with pytest.raises(InputError, match=r"b_p1_clear\.tif and b_p1_cloudy\.tif have different sizes; .* warp one"):
        read_lifted_layers(folder, detector)


def test_drawn_clouds_lie_over_squares_of_any_size(folder: Path) -> None:
    draw = clouds_drawer(read_lifted_layers(folder, detector), simulated=0.0)
    for seed, (side, pixel_size_m) in enumerate([(32, 10.0), (120, 10.0), (200, 10.0), (150, 3.0)]):
        clouds, again = (draw(np.random.default_rng(seed), side, pixel_size_m) for _ in range(2))
        assert clouds.light.shape == clouds.transmittance.shape == (4, side, side)
        assert 0 <= clouds.transmittance.min() <= clouds.transmittance.max() <= 1
        np.testing.assert_array_equal(clouds.light, again.light)


def test_simulated_layers_look_the_same_when_lifted() -> None:
    layer = cloud_layer(np.random.default_rng(3), SIDE, SIDE, cover=0.4)
    ground = np.random.default_rng(0).uniform(0.05, 0.3, (4, SIDE, SIDE)).astype(np.float32)
    np.testing.assert_allclose(of_layer(layer).over(ground), np.clip(add_clouds(ground, layer), 1e-4, 1), atol=1e-5)


def test_variants_are_thinner_or_thicker_and_clear_where_it_was_clear() -> None:
    clouds = of_layer(cloud_layer(np.random.default_rng(3), SIDE, SIDE, cover=0.4))
    variants = [varied(np.random.default_rng(seed), clouds) for seed in range(6)]
    opacity = [float(variant.opacity.mean()) for variant in variants]
    assert min(opacity) < clouds.opacity.mean() < max(opacity)
    clear = ~noticed(clouds) & (clouds.opacity == 0)
    assert clear.any()
    for variant in variants:
        assert (variant.opacity[clear] == 0).all()
        assert 0 <= variant.transmittance.min() <= variant.transmittance.max() <= 1


def test_real_clouds_and_shadows_are_lifted(shared_data: Path, tmp_path: Path) -> None:
    for path in (shared_data / "clouds").glob("ROIs1158_spring_26_p100_c*.tif"):
        (tmp_path / path.name).symlink_to(path)
    (layer,) = read_lifted_layers(tmp_path, detect.load())
    assert layer.site == "ROIs1158_spring_26"
    assert 0.05 < noticed(layer.clouds).mean() < 0.95
    opaque = layer.clouds.opacity > 0.9
    assert opaque.mean() > 0.01
    assert np.median(layer.clouds.light[0][opaque]) > 0.25
