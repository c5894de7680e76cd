"""Gaussians by rows and on coarser grids, against scipy's of the whole image."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage

from cloudfree.arrays import Image, as_image
from cloudfree.scene.features import DateTerm, OtherDate
from cloudfree.scene.smoothing import Smoothed


def speckle(*shape: int) -> Image:
    return as_image(np.random.default_rng(3).normal(size=shape))


@pytest.mark.parametrize("sigma_px", [0.7, 2.0, 4.0, 6.0, 10.7, 16.0])
@pytest.mark.parametrize(("detail_px", "tolerance"), [(0.0, 0.12), (5.0, 0.03)])
def test_a_wide_gaussian_by_a_coarser_grid_is_that_of_scipy(
    sigma_px: float, detail_px: float, tolerance: float
) -> None:
    image = ndimage.gaussian_filter(speckle(2, 303, 251), (0, detail_px, detail_px))
    found = Smoothed.of(image, sigma_px).rows(slice(0, 303))
    whole = ndimage.gaussian_filter(image, (0, sigma_px, sigma_px), mode="nearest", truncate=3.0)
    assert found.shape == image.shape
    inner = slice(60, -60), slice(60, -60)
    off = (found - whole)[:, *inner]
    assert np.sqrt(np.square(off).mean()) < tolerance * whole[:, *inner].std()


@pytest.mark.parametrize("sigma_px", [0.7, 2.0, 6.0, 16.0])
@pytest.mark.parametrize("shape", [(1, 1), (1, 40), (37, 3), (150, 161)])
def test_rows_are_those_of_the_whole_to_the_bit(sigma_px: float, shape: tuple[int, int]) -> None:
    smoothed = Smoothed.of(speckle(2, *shape), sigma_px)
    whole = smoothed.rows(slice(0, shape[0]))
    parts = [smoothed.rows(slice(start, min(start + 19, shape[0]))) for start in range(0, shape[0], 19)]
    np.testing.assert_array_equal(np.concatenate(parts, axis=1), whole)


def test_a_plain_image_stays_as_it_is_to_its_edges() -> None:
    plain = np.full((1, 50, 47), 0.25, np.float32)
    for sigma_px in (1.0, 8.0, 16.0):
        np.testing.assert_allclose(Smoothed.of(plain, sigma_px).rows(slice(0, 50)), plain, atol=1e-6)


def test_what_another_date_adds_to_a_window_is_what_it_adds_to_the_whole() -> None:
    rng = np.random.default_rng(5)
    image, everywhere = as_image(rng.uniform(0, 0.4, (4, 300, 211))), np.ones((300, 211), bool)
    term = DateTerm(OtherDate.of(image, everywhere, everywhere), rng.normal(size=(34, 4)))
    whole = term.reflectance(image)
    for rows, cols in [(slice(0, 1), slice(0, 211)), (slice(7, 290), slice(13, 14)), (slice(130, 163), slice(5, 200))]:
        np.testing.assert_array_equal(term.reflectance(image[:, rows, cols]), whole[:, rows, cols])
