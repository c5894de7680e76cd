"""Labels of what is in the way of the ground: what is sure, by which witness, and what is left out."""

from pathlib import Path

import numpy as np
import pytest
from support import write_pixels

from cloudfree.arrays import Image, Mask
from cloudfree.bands import SkyClass
from cloudfree.errors import InputError
from cloudfree.learn.clouded_images import CloudedImage, cloud_share, read_clouded_images
from cloudfree.learn.detection import open_sky_sources
from cloudfree.learn.labelled_grounds import read_clear_images
from cloudfree.learn.sky_labels import UNLABELLED, Labels, cloudy_labels, labels_by_ground, labels_over
from cloudfree.learn.train_options import TrainOptions

SIDE = 60
FIELDS = np.array([0.06, 0.09, 0.1, 0.3], np.float32)[:, None, None]


def ground() -> Image:
    rng = np.random.default_rng(4)
    return (FIELDS * (1 + 0.05 * rng.standard_normal((1, SIDE, SIDE)))).astype(np.float32)


def square(row: int, col: int, side: int = 14) -> Mask:
    mask = np.zeros((SIDE, SIDE), bool)
    mask[row : row + side, col : col + side] = True
    return mask


CLOUD, HAZE, FAINT, SHADE = square(4, 4), square(4, 30), square(30, 4), square(30, 30)


def inside(mask: Mask) -> Mask:
    """A square without its rim, which medians reach over."""
    rows, cols = (np.flatnonzero(mask.any(axis=axis)) for axis in (1, 0))
    core = np.zeros_like(mask)
    core[rows[4] : rows[-4], cols[4] : cols[-4]] = True
    return core


def seen(lies: Image) -> Image:
    """The ground under a cloud, haze that people see, haze that they do not, and a shadow."""
    image = np.where(CLOUD, np.float32(0.6), lies)
    image = np.where(HAZE, image + np.float32(0.06), image)
    image = np.where(FAINT, image + np.float32(0.02), image)
    return np.where(SHADE, image * np.float32(0.5), image)


def only(labels: Labels, where: Mask) -> set[int]:
    return set(labels[where].tolist())


def test_what_is_over_known_ground_is_told_by_what_it_changes() -> None:
    lies = ground()
    opacity = np.where(CLOUD, np.float32(1), np.where(HAZE, np.float32(0.1), np.float32(0)))
    labels = labels_over(np.full((SIDE, SIDE), SkyClass.SNOW, np.uint8), lies, seen(lies), opacity)
    assert only(labels, CLOUD) == {SkyClass.CLOUD}
    assert only(labels, HAZE) == {SkyClass.HAZE}
    assert only(labels, SHADE) == {SkyClass.SHADOW}
    assert only(labels, FAINT) == {UNLABELLED}, "between what no one sees and what people call haze"
    assert only(labels, ~(CLOUD | HAZE | SHADE | FAINT)) == {SkyClass.SNOW}, "the ground's own label stays"


def test_opaque_cloud_over_ground_as_bright_is_cloud() -> None:
    """Over snow it changes nothing of the blue; thin cloud there is left out."""
    snow = np.full((4, SIDE, SIDE), 0.6, np.float32)
    opacity = np.where(CLOUD, np.float32(0.95), np.where(HAZE, np.float32(0.5), np.float32(0)))
    labels = labels_over(np.full((SIDE, SIDE), SkyClass.SNOW, np.uint8), snow, snow, opacity)
    assert only(labels, CLOUD) == {SkyClass.CLOUD}
    assert SkyClass.CLOUD not in only(labels, ~CLOUD)


def test_another_date_tells_cloud_haze_and_shadow() -> None:
    labels = labels_by_ground(seen(ground()), ground())
    assert only(labels, inside(CLOUD)) == {SkyClass.CLOUD}
    assert only(labels, inside(HAZE)) == {SkyClass.HAZE}
    assert only(labels, inside(SHADE)) == {SkyClass.SHADOW}
    assert only(labels, square(46, 46, 12)) == {SkyClass.CLEAR}


def test_another_season_casts_no_shadow() -> None:
    """Where far more ground is dark than cloud could shade, fields have changed."""
    lies = ground()
    image = np.where(CLOUD, np.float32(0.6), lies * np.float32(0.6))  # all but a cloud of 5 %
    labels = labels_by_ground(image, lies)
    assert SkyClass.SHADOW not in only(labels, np.ones((SIDE, SIDE), bool))
    assert only(labels, inside(CLOUD)) == {SkyClass.CLOUD}


def test_water_that_another_date_does_not_show_is_no_shadow() -> None:
    lake = np.array([0.05, 0.05, 0.03, 0.02], np.float32)[:, None, None]
    image = np.where(SHADE, lake, seen(ground()))
    assert only(labels_by_ground(image, ground()), inside(SHADE)) == {UNLABELLED}


def test_another_network_decides_what_is_thick_and_is_asked_about_clear_ground() -> None:
    lies = ground()
    image = np.where(HAZE, lies + np.float32(0.1), seen(lies))
    says = np.where(HAZE | square(46, 46, 12), np.float32(0.9), np.float32(0))
    labels = labels_by_ground(image, lies, says)
    assert only(labels, inside(HAZE)) == {SkyClass.CLOUD}
    assert only(labels, square(46, 46, 12)) == {UNLABELLED}


def test_bright_ground_that_another_network_calls_clear_is_left_out() -> None:
    image = seen(ground())
    alone, both = cloudy_labels(image), cloudy_labels(image, np.zeros((SIDE, SIDE), np.float32))
    assert only(alone, inside(CLOUD)) == {SkyClass.CLOUD}
    assert only(both, inside(CLOUD)) == {UNLABELLED}
    assert only(both, square(46, 46, 12)) == {SkyClass.CLEAR}


def test_percent_lies_beside_images_or_not_at_all(tmp_path: Path) -> None:
    write_pixels(tmp_path / "a_p1_cloudy_cloud.tif", np.full((1, 4, 5), 50, np.uint8))
    share = cloud_share(tmp_path, "a_p1_cloudy", (4, 5))
    assert share is not None
    assert share.shape == (4, 5)
    np.testing.assert_allclose(share, 0.5)
    assert cloud_share(tmp_path, "b_p1_cloudy", (4, 5)) is None
    assert cloud_share(None, "a_p1_cloudy", (4, 5)) is None


@pytest.mark.parametrize(
    ("percent", "said"),
    [
        (np.full((1, 2, 2), 50, np.uint8), "different sizes"),
        (np.full((1, 4, 5), 255, np.uint8), "no percent of cloud"),
        (np.full((1, 4, 5), np.nan, np.float32), "no percent of cloud"),
    ],
)
def test_percent_that_cannot_be_is_one_line(tmp_path: Path, percent: np.ndarray, said: str) -> None:
    write_pixels(tmp_path / "a_cloud.tif", percent)
    with pytest.raises(InputError, match=said):
        cloud_share(tmp_path, "a", (4, 5))


def test_percent_of_nothing_or_for_nothing_is_one_line(tmp_path: Path) -> None:
    given = {"output": tmp_path / "d.safetensors", "steps": 1, "cloud_percent": tmp_path}
    with pytest.raises(InputError, match="a cloud_detector alone"):
        TrainOptions(**given, architecture="align_cr", clouds=tmp_path)
    with pytest.raises(InputError, match="give --clouds"):
        TrainOptions(**given, architecture="cloud_detector")
    options = TrainOptions(**given, architecture="cloud_detector", clouds=tmp_path)
    with pytest.raises(InputError, match="check --cloud-percent"):
        open_sky_sources(options)


def test_white_in_a_clear_image_and_what_another_network_calls_cloud_are_not_labelled(tmp_path: Path) -> None:
    image = np.where(CLOUD, np.float32(0.7), ground())
    write_pixels(tmp_path / "a_p1_clear.tif", np.rint(1e4 * image).astype(np.uint16))
    write_pixels(tmp_path / "a_p1_clear_cloud.tif", np.where(HAZE, 90, 0).astype(np.uint8)[None])
    (labelled,) = read_clear_images(tmp_path, tmp_path)
    assert only(labelled.labels, HAZE) == {UNLABELLED}
    assert SkyClass.SNOW not in only(labelled.labels, CLOUD)
    assert only(labelled.labels, SHADE) == {SkyClass.CLEAR}


def test_white_of_a_clear_image_is_snow_where_another_network_sees_no_cloud_in_it(tmp_path: Path) -> None:
    image = np.where(CLOUD | SHADE, np.float32(0.7), ground())
    write_pixels(tmp_path / "a_p1_clear.tif", np.rint(1e4 * image).astype(np.uint16))
    write_pixels(tmp_path / "a_p1_clear_cloud.tif", np.zeros((1, *CLOUD.shape), np.uint8))
    (labelled,) = read_clear_images(tmp_path, tmp_path)
    assert only(labelled.labels, CLOUD) == {SkyClass.SNOW}
    assert labelled.snowy
    (without_its_word,) = read_clear_images(tmp_path)
    assert only(without_its_word.labels, CLOUD) == {UNLABELLED}


def test_an_image_knows_where_it_says_nothing(tmp_path: Path) -> None:
    image = np.rint(1e4 * ground()).astype(np.uint16)
    image[0, :5] = 0
    write_pixels(tmp_path / "place_p1_cloudy.tif", image)
    (read,) = read_clouded_images(tmp_path)
    assert (read.name, read.site, read.other) == ("place_p1_cloudy", "place", None)
    assert not read.valid[:5].any()
    assert read.valid[5:].all()
    assert np.isfinite(read.filled).all()


def test_another_date_is_shown_in_the_light_of_the_image_and_never_in_that_of_cloud() -> None:
    lies = ground()
    brighter = CloudedImage("a", "a", lies * np.float32(1.2), lies)
    shown = brighter.other_in_its_light()
    assert shown is not None
    np.testing.assert_allclose(shown, brighter.reflectance, rtol=1e-3)
    overcast = CloudedImage("a", "a", np.full_like(lies, 0.7), lies).other_in_its_light()
    assert overcast is not None
    np.testing.assert_allclose(overcast, 1.25 * lies, rtol=1e-3)
    assert CloudedImage("a", "a", lies, None).other_in_its_light() is None


def test_another_date_that_shows_nothing_is_no_light() -> None:
    nothing = np.full((4, SIDE, SIDE), np.nan, np.float32)
    shown = CloudedImage("a", "a", ground(), nothing).other_in_its_light()
    assert shown is not None
    assert not shown.any()


@pytest.mark.parametrize("side", [1, 3])
def test_a_tiny_image_has_labels(side: int) -> None:
    image = np.full((4, side, side), 0.1, np.float32)
    assert labels_by_ground(image, image).shape == (side, side)
    assert cloudy_labels(image).shape == (side, side)
