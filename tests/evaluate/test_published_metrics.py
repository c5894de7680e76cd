"""The published definitions against values worked by hand and against torch."""

import math

import numpy as np
import pytest
import torch

from cloudfree.evaluate import published_metrics as published


def test_published_angles_are_floored():
    dark = np.full((4, 3, 3), 0.01, np.float32)
    squared_norm = 4 * 0.01**2
    expected = math.degrees(math.acos(squared_norm / 9.77e-4))
    assert published.angle_map(dark, dark) == pytest.approx(np.full((3, 3), expected), rel=1e-4)
    assert published.angle_map(60 * dark, 60 * dark) == pytest.approx(np.zeros((3, 3)), abs=1e-3)


def test_published_window_is_off_centre():
    """A bright pixel is felt further on one side than on the other; torch's convolution with such taps agrees."""
    rng = np.random.default_rng(0)
    a, b = rng.random((2, 4, 20, 24)).astype(np.float32)
    taps = torch.tensor([math.exp(-((x - 5.5) ** 2) / 4.5) for x in range(11)], dtype=torch.float64)
    taps /= taps.sum()
    window = (taps[:, None] * taps[None]).expand(4, 1, 11, 11)

    def local_mean(image):
        return torch.nn.functional.conv2d(image[None], window, padding=5, groups=4)

    x, y = torch.from_numpy(a).double(), torch.from_numpy(b).double()
    mx, my = local_mean(x), local_mean(y)
    sx, sy, sxy = local_mean(x * x) - mx**2, local_mean(y * y) - my**2, local_mean(x * y) - mx * my
    expected = (2 * mx * my + 1e-4) * (2 * sxy + 9e-4) / ((mx**2 + my**2 + 1e-4) * (sx + sy + 9e-4))
    inside = np.s_[5:-5, 5:-5]  # the convolution meets zeros at the edge
    np.testing.assert_allclose(published.similarity_map(a, b)[inside], expected[0].mean(0)[inside], atol=1e-10)
