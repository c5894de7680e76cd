"""Training a detector: samples are what they say, equal seeds give equal weights, a few steps learn something."""

import dataclasses

import numpy as np
import pytest
import torch
from support import write_pixels

from cloudfree.bands import SKY_HIDDEN, SkyClass
from cloudfree.errors import InputError
from cloudfree.learn.detection import Detection, open_sky_sources
from cloudfree.learn.labelled_grounds import UNLABELLED, clear_labels, cloudy_labels, read_grounds
from cloudfree.learn.learner import Learner, collate
from cloudfree.learn.sky_samples import CloudedGrounds
from cloudfree.learn.sources import SourceOptions
from cloudfree.learn.train import train
from cloudfree.learn.train_options import TrainOptions
from cloudfree.network.models import CloudDetector, CloudDetectorConfig
from cloudfree.network.weights import load_detector
from cloudfree.simulate.clouds import add_clouds, cloud_layer
from cloudfree.simulate.landscape import landscape

TINY = CloudDetectorConfig(widths=(8, 12, 16), dilations=(1,))


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """A clear pair, an aerial image of bytes, and an image with clouds beside a clear one."""
    root = tmp_path_factory.mktemp("skies")
    pairs, texture, clouds = (root / name for name in ("pairs", "texture", "clouds"))
    for folder in (pairs, texture, clouds):
        folder.mkdir()
    for number in range(2):
        rng = np.random.default_rng(number)
        land = landscape(rng, 96, 96, pixel_size_m=10.0)
        digital_numbers = np.clip(1e4 * land.reflectance, 1, None).astype(np.uint16)
        write_pixels(pairs / f"place{number}_00_optical.tif", digital_numbers)
        write_pixels(pairs / f"place{number}_00_sar.tif", land.sar_db)
        write_pixels(texture / f"town{number}_1.tif", rng.integers(0, 255, (4, 220, 240)).astype(np.uint8))
        layer = cloud_layer(rng, 96, 96, pixel_size_m=10.0, cover=0.5)
        cloudy = np.clip(1e4 * add_clouds(land.reflectance, layer), 1, 2e4).astype(np.uint16)
        write_pixels(clouds / f"sky{number}_p1_cloudy.tif", cloudy)
        write_pixels(clouds / f"sky{number}_p1_clear.tif", digital_numbers)
    return {"data": (pairs, texture), "clouds": clouds}


def test_samples_are_of_one_kind_and_repeat(folders):
    source = open_sky_sources(SourceOptions(**folders, procedural=1, crop=48)).training
    seen = set()
    for number in range(30):
        first, again = (source.draw(np.random.default_rng([3, number])) for _ in range(2))
        for field in dataclasses.fields(first):
            np.testing.assert_array_equal(getattr(first, field.name), getattr(again, field.name))
        assert first.reflectance.shape == first.other.shape == (4, 48, 48)
        assert first.reflectance.dtype == first.sar_db.dtype == first.other.dtype == np.float32
        assert np.isfinite(first.reflectance).all()
        assert (first.labels[~first.valid] == UNLABELLED).all()
        assert (first.reflectance[:, ~first.valid] == 0).all()
        seen |= set(np.unique(first.labels).tolist())
    assert seen == {*map(int, SkyClass), UNLABELLED}


def test_labels_are_true_of_the_pixels(folders):
    """What is called cloud is brighter than what is called clear, and shadow darker, over one and the same place."""
    source = CloudedGrounds(read_grounds((), None, 2, 0)[0], 96)
    blue: dict[int, list[float]] = {each: [] for each in SkyClass}
    for number in range(40):
        sample = source.draw(np.random.default_rng([9, number]))
        for each in SkyClass:
            if (sample.labels == each).sum() > 50:
                blue[each].append(float(np.median(sample.reflectance[3][sample.labels == each])))
    assert np.mean(blue[SkyClass.CLOUD]) > np.mean(blue[SkyClass.HAZE]) > np.mean(blue[SkyClass.SHADOW])
    assert np.mean(blue[SkyClass.CLEAR]) > 1.3 * np.mean(blue[SkyClass.SHADOW])


def test_snow_is_told_by_colour_and_a_few_white_roofs_are_none():
    image = np.full((4, 40, 40), 0.08, np.float32)
    image[:, :2, :2] = 0.5
    assert (clear_labels(image, np.ones((40, 40), bool)) == SkyClass.CLEAR).all()
    image[:, :20] = np.array([0.8, 0.8, 0.78, 0.7], np.float32)[:, None, None]
    labels = clear_labels(image, np.ones((40, 40), bool))
    assert (labels[:20] == SkyClass.SNOW).all()
    assert (labels[20:] == SkyClass.CLEAR).all()


def test_a_real_clouds_core_is_cloud_and_dark_ground_beside_it_is_left_out():
    image = np.full((4, 80, 80), 0.1, np.float32)
    image[3] = 0.3
    image[:, 20:50, 20:50] = 0.7
    image[3, 55:75, 20:50] = 0.08
    labels = cloudy_labels(image)
    assert (labels[30:40, 30:40] == SkyClass.CLOUD).all()
    assert (labels[60:70, 30:40] == UNLABELLED).all()
    assert (labels[:10, :10] == SkyClass.CLEAR).all()


def test_a_few_steps_lower_the_loss():
    torch.manual_seed(0)
    source = CloudedGrounds(read_grounds((), None, 2, 0)[0], 48)
    batch = collate([source.draw(np.random.default_rng([1, i])) for i in range(4)], torch.device("cpu"))
    learner, goal = Learner.of(CloudDetector(TINY), 3e-3, torch.device("cpu")), Detection()
    losses = [learner.training_step(batch, goal.loss, 1.0) for _ in range(25)]
    assert losses[-1] < 0.7 * losses[0]


def test_scores_of_a_perfect_and_of_a_blind_model():
    sample = CloudedGrounds(read_grounds((), None, 1, 0)[0], 48).draw(np.random.default_rng(4))
    truth = torch.from_numpy(np.where(sample.labels == UNLABELLED, 0, sample.labels).astype(np.int64))
    assert np.isin(sample.labels, SKY_HIDDEN).any()

    class Perfect(torch.nn.Module):
        def forward(self, *images):
            return 20 * torch.nn.functional.one_hot(truth, 5).movedim(-1, 0)[None].float()

    class Blind(torch.nn.Module):
        def forward(self, *images):
            return torch.tensor([9.0, 0, 0, 0, 0])[None, :, None, None].expand(1, 5, *truth.shape)

    cpu = torch.device("cpu")
    assert Detection().validate(Perfect(), [sample], cpu) == {"hidden_iou": 1, "clear_kept": 1, "accuracy": 1}
    blind = Detection().validate(Blind(), [sample], cpu)
    assert (blind["hidden_iou"], blind["clear_kept"]) == (0, 1)


@pytest.mark.slow
def test_the_command_of_the_networks_trains_it_and_repeats(folders, tmp_path):
    options = {"architecture": "cloud_detector", **folders, "procedural": 1, "crop": 32, "steps": 2, "seed": 5}
    paths = [train(TrainOptions(output=tmp_path / f"{name}.safetensors", **options)) for name in "ab"]
    first, second = (load_detector(path) for path in paths)
    assert all(torch.equal(a, b) for a, b in zip(first.parameters(), second.parameters(), strict=True))
    provenance = first.weights_info.provenance
    assert provenance["steps"] == 2
    assert "--architecture cloud_detector" in provenance["recipe"]
    assert set(provenance["scores"]) == {"hidden_iou", "clear_kept", "accuracy"}


def test_nothing_to_learn_from_is_one_line(tmp_path):
    with pytest.raises(InputError, match="nothing to train on"):
        read_grounds((), None, 0, 0)
    with pytest.raises(InputError, match="is no folder"):
        read_grounds((tmp_path / "absent",), None, 1, 0)
    with pytest.raises(InputError, match="holds no images"):
        read_grounds((tmp_path,), None, 1, 0)
