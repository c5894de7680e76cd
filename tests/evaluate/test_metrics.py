"""The measures against hand-worked values and against scikit-image."""

import math

import numpy as np
import pytest
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from cloudfree.evaluate import metrics


@pytest.fixture
def pair() -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    truth = rng.random((4, 32, 40), dtype=np.float32)
    return truth + rng.normal(0, 0.1, truth.shape).astype(np.float32), truth


def mean_angle(restored: np.ndarray, truth: np.ndarray, mask: np.ndarray | None = None) -> float:
    return metrics.mean(metrics.angle_map(restored, truth), mask)


def test_hand_worked_values():
    truth = np.full((4, 2, 2), 0.5, np.float32)
    assert metrics.psnr(truth + 0.1, truth) == pytest.approx(20)
    assert mean_angle(2 * truth, truth) == pytest.approx(0, abs=1e-4)
    right_angle = np.zeros_like(truth)
    right_angle[0] = 1
    assert mean_angle(right_angle, np.roll(right_angle, 1, axis=0)) == pytest.approx(90)


def test_equals_scikit_image(pair):
    restored, truth = pair
    assert metrics.psnr(restored, truth) == pytest.approx(peak_signal_noise_ratio(truth, restored, data_range=1.0))
    options = {"channel_axis": 0, "data_range": 1.0, "gaussian_weights": True, "use_sample_covariance": False}
    expected = structural_similarity(restored.astype(float), truth.astype(float), **options)
    inner = np.zeros(truth.shape[1:], bool)
    inner[5:-5, 5:-5] = True  # scikit-image averages the windows that lie wholly inside
    assert metrics.mean(metrics.similarity_map(restored, truth), inner) == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize("measure", [metrics.psnr, mean_angle])
def test_a_mask_counts_its_pixels_alone(measure, pair):
    restored, truth = pair
    mask = np.zeros(truth.shape[1:], bool)
    mask[3:9, 4:20] = True
    assert measure(restored, truth, mask) == pytest.approx(measure(restored[:, 3:9, 4:20], truth[:, 3:9, 4:20]))
    assert math.isnan(measure(restored, truth, np.zeros_like(mask)))


def test_equal_images(pair):
    truth = pair[1]
    assert metrics.psnr(truth, truth) == math.inf
    assert metrics.mean(metrics.similarity_map(truth, truth)) == pytest.approx(1)


def test_black_pixels_have_no_angle():
    image = np.zeros((4, 1, 2), np.float32)
    image[:, 0, 1] = 1
    assert mean_angle(image, np.ones_like(image)) == pytest.approx(0, abs=1e-4)
