"""Images of other dates beside a scene: which of them help."""

import numpy as np
import pytest

from cloudfree.scene.references import telling


@pytest.mark.parametrize(("pixel_size_m", "shared_px", "helps"), [(10, 30, True), (10, 29, False), (3, 100, False)])
def test_an_image_helps_where_it_shows_ground_that_is_clear(pixel_size_m: float, shared_px: int, helps: bool) -> None:
    other, clear = np.full((4, 20, 20), np.nan, np.float32), np.ones((20, 20), bool)
    other.reshape(4, -1)[:, :shared_px] = 0.1
    other[:, -5:], clear[-5:] = 0.1, False
    assert len(telling([other], clear, pixel_size_m)) == helps
