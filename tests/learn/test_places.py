"""Places from files and from nothing, and the samples cut from them."""

import numpy as np
import pytest
from support import write_pixels

from cloudfree.bands import TYPICAL_SAR_DB
from cloudfree.errors import InputError
from cloudfree.learn import augment
from cloudfree.learn.clouded_places import CloudedPlaces
from cloudfree.learn.places import Place, hold_out, procedural_places, read_places


@pytest.fixture
def folder(tmp_path):
    """Three dates of one place (one cloudy, one with nodata and two orbits), and one place without radar."""
    rng = np.random.default_rng(0)
    optical = rng.integers(1, 5000, (4, 48, 40)).astype(np.uint16)
    sar_db = rng.normal(-12, 2, (2, 48, 40)).astype(np.float32)
    write_pixels(tmp_path / "here_00_optical.tif", optical)
    write_pixels(tmp_path / "here_00_sar.tif", sar_db)
    write_pixels(tmp_path / "here_01_optical.tif", optical)
    write_pixels(tmp_path / "here_01_asc_sar.tif", sar_db)
    write_pixels(tmp_path / "here_01_cloudprob.tif", np.full((1, 48, 40), 90, np.uint8))
    optical[2, :20], sar_db[1, 30, 30] = 0, np.nan
    write_pixels(tmp_path / "here_02_optical.tif", optical)
    write_pixels(tmp_path / "here_02_asc_sar.tif", sar_db)
    write_pixels(tmp_path / "here_02_desc_sar.tif", sar_db - 1)
    write_pixels(tmp_path / "blind_optical.tif", optical)
    return tmp_path


def test_clear_pairs_are_read(folder):
    first, third = read_places(folder)
    assert (first.site, third.site) == ("here", "here")
    assert (len(first.sar_db), len(third.sar_db)) == (1, 2)
    assert first.reflectance.dtype == np.float32
    assert 0 < first.reflectance.max() <= 0.5
    assert first.valid.all()
    assert not third.valid[:20].any()
    assert not third.valid[30, 30]
    assert third.valid[20:].sum() == 28 * 40 - 1


def test_dates_of_one_place_help_each_other(folder):
    """The cloudy date is no other date, the one with nodata shows nothing there; places apart have nothing to say."""
    first, third = read_places(folder)
    (seen,) = first.others
    assert np.isnan(seen[:, :20]).all()
    np.testing.assert_array_equal(seen[:, 31:], third.reflectance[:, 31:])
    np.testing.assert_array_equal(third.others[0], first.reflectance)


def test_a_polarisation_that_is_missing_throughout_stands_at_what_is_typical(folder):
    sar_db = np.full((2, 48, 40), np.nan, np.float32)
    sar_db[0] = np.random.default_rng(2).normal(-9, 2, (48, 40))
    write_pixels(folder / "here_00_sar.tif", sar_db)
    first = read_places(folder)[0]
    assert first.valid.all()
    np.testing.assert_array_equal(first.sar_db[0][0], sar_db[0])
    assert (first.sar_db[0][1] == TYPICAL_SAR_DB[1]).all()


def test_radar_is_varied_as_scenes_have_it():
    rng, even = np.random.default_rng(0), np.full((2, 200, 200), -12, np.float32)
    power = 10 ** (augment.speckle(rng, even) / 10)
    looks = power.mean() ** 2 / power.var()
    assert 3.9 < looks < 31
    assert power.mean() == pytest.approx(10**-1.2, rel=0.02), "speckle keeps the mean power"
    alone = augment.without_vh(even)
    assert (alone[0] == -12).all()
    assert (alone[1] == TYPICAL_SAR_DB[1]).all()


def test_the_light_of_the_air_is_bluest_and_not_everywhere():
    rng, dark, sar_db = np.random.default_rng(0), np.full((4, 2, 2), 0.02, np.float32), np.zeros((2, 2, 2), np.float32)
    drawn = np.array([augment.colour_jitter(rng, dark, sar_db)[0][:, 0, 0] for _ in range(300)])
    hazy = drawn[:, 0] > 0.045
    assert 0.1 < hazy.mean() < 0.35
    blue, green, red, nir = drawn[hazy].mean(axis=0)
    assert blue > green > red > nir


def test_samples_hold_no_invalid_pixel(folder):
    place = read_places(folder)[1]
    spoilt = Place(place.site, np.where(place.valid, place.reflectance, np.nan), place.sar_db, place.valid, 10.0)
    samples = CloudedPlaces([spoilt], 8)
    rng = np.random.default_rng(1)
    for _ in range(200):
        sample = samples.draw(rng)
        assert np.isfinite(sample.cloudy).all()
        assert np.isfinite(sample.sar_db).all()


@pytest.mark.parametrize("fine", [True, False])
def test_samples_are_of_the_size_and_repeat_with_the_seed(fine):
    place = procedural_places(seed=3, count=1, side=64)[0]
    place = Place("x", place.reflectance, place.sar_db, place.valid, 3.0, fine)
    samples = CloudedPlaces([place], 32)
    one, other = (samples.draw(np.random.default_rng([5, 6])) for _ in range(2))
    shapes = {"cloudy": (4, 32, 32), "clear": (4, 32, 32), "sar_db": (2, 32, 32)}
    for name, shape in {**shapes, "mask": (32, 32), "known": (32, 32)}.items():
        image = getattr(one, name)
        assert image.shape == shape
        assert image.dtype == (bool if name in ("mask", "known") else np.float32)
        assert np.array_equal(image, getattr(other, name))
    assert 0 <= one.clear.min() <= one.clear.max() <= 1


def test_held_out_sites_are_unseen():
    places = [p for i in range(3) for p in procedural_places(seed=i, count=4, side=32)]
    training, held = hold_out(places)
    assert len(held) == 2
    assert not {p.site for p in training} & {p.site for p in held}


@pytest.mark.parametrize(("sites", "held"), [(1, 0), (2, 1), (4, 1), (5, 1), (10, 2)])
def test_something_is_held_out_wherever_something_is_left(sites, held):
    image = np.zeros((4, 2, 2), np.float32)
    places = [Place(str(site), image, (image[:2],), image[0] == 0, 10.0) for site in range(sites)]
    training, validation = hold_out(places)
    assert (len(training), len(validation)) == (sites - held, held)


def test_procedural_places_do_not_depend_on_their_number():
    assert np.array_equal(procedural_places(1, 3, 32)[1].sar_db[0], procedural_places(1, 2, 32)[1].sar_db[0])


def test_folder_without_pairs(tmp_path):
    with pytest.raises(InputError, match="no clear pair"):
        read_places(tmp_path)


def test_pair_of_unequal_sizes(folder):
    write_pixels(folder / "here_00_sar.tif", np.zeros((2, 10, 10), np.float32))
    with pytest.raises(InputError, match="different sizes"):
        read_places(folder)


def test_optical_image_of_too_few_bands(folder):
    write_pixels(folder / "here_00_optical.tif", np.ones((3, 48, 40), np.uint16))
    with pytest.raises(InputError, match="has 3 bands; 4 are needed"):
        read_places(folder)


def test_crop_larger_than_every_place(folder):
    with pytest.raises(InputError, match="no place has a valid square of 64"):
        CloudedPlaces(read_places(folder), 64)
