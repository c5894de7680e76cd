"""The median of other dates: of those that show a pixel, whatever the others lack."""

import numpy as np
import pytest

from cloudfree.scene.references import clear_median


@pytest.mark.parametrize("count", [1, 2, 3, 4, 5])
def test_it_is_numpys_where_all_show_and_where_some_do(count: int) -> None:
    rng = np.random.default_rng(count)
    images = rng.random((count, 4, 9, 7)).astype(np.float32)
    np.testing.assert_allclose(clear_median(list(images)), np.median(images, axis=0), rtol=1e-6)
    images[0, :, :3] = np.nan
    images[-1, :, 2:5] = np.nan
    shown = np.isfinite(images).any(axis=0)
    found = clear_median(list(images))
    assert found.dtype == np.float32
    np.testing.assert_array_equal(np.isfinite(found), shown)
    np.testing.assert_allclose(found[shown], np.nanmedian(images[:, shown], axis=0), rtol=1e-6)


def test_where_none_shows_a_pixel_it_says_nothing() -> None:
    assert np.isnan(clear_median([np.full((4, 2, 2), np.nan, np.float32)] * 3)).all()
