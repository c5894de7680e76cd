"""Images of other dates beside a scene: which help, and that what they show at full resolution is used."""

import numpy as np
import pytest
from support import pattern, sar_values_db

from cloudfree.arrays import as_image
from cloudfree.reconstruct.tile import prime
from cloudfree.reconstruct.trust import of_image
from cloudfree.scene.model import fit_fine
from cloudfree.scene.references import telling

SIDE, PIXEL_M = 150, 3.0


def place() -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Ground (4, H, W) with detail of which radar knows nothing, another date, radar, and what is hidden."""
    detail = as_image(0.05 * pattern(SIDE, SIDE, 5, 1.0))
    ground = as_image(np.stack([0.15 + 0.03 * band + detail for band in range(4)]))
    hidden = np.zeros((SIDE, SIDE), bool)
    hidden[50:90, 60:100] = True
    return ground, 0.8 * ground + np.float32(0.03), sar_values_db(SIDE, SIDE), hidden


@pytest.mark.parametrize(("pixel_size_m", "shared_px", "helps"), [(10, 30, True), (10, 29, False), (3, 100, False)])
def test_an_image_helps_where_it_shows_ground_that_is_clear(pixel_size_m: float, shared_px: int, helps: bool) -> None:
    other, clear = np.full((4, 20, 20), np.nan, np.float32), np.ones((20, 20), bool)
    other.reshape(4, -1)[:, :shared_px] = 0.1
    other[:, -5:], clear[-5:] = 0.1, False
    assert len(telling([other], clear, pixel_size_m)) == helps


def test_a_primed_image_has_the_detail_of_another_date() -> None:
    ground, other, sar_db, hidden = place()
    cloudy, everywhere = np.where(hidden, np.float32(0.8), ground), np.ones_like(hidden)
    alone, with_other = (
        prime(cloudy, sar_db, hidden, as_image(hidden), everywhere, PIXEL_M, others=others)[0]
        for others in ((), (other,))
    )
    errors = [np.sqrt(np.square(given - ground)[:, hidden].mean()) for given in (alone, with_other)]
    assert errors[1] < 0.1 * errors[0]


def test_where_nothing_is_clear_another_date_is_not_needed() -> None:
    ground, other, sar_db, hidden = place()
    inputs = ground, sar_db, np.ones_like(hidden), as_image(np.ones(hidden.shape)), np.ones_like(hidden), PIXEL_M
    np.testing.assert_array_equal(prime(*inputs)[0], prime(*inputs, others=(other,))[0])


def test_a_network_is_tried_on_the_detail_that_it_will_be_shown() -> None:
    ground, other, sar_db, hidden = place()
    everywhere = np.ones_like(hidden)
    model = fit_fine(ground, sar_db, hidden, everywhere, PIXEL_M, (other,))
    shown = []

    def network(given: np.ndarray, _: np.ndarray) -> np.ndarray:
        shown.append(given + model.path_radiance[:, None, None])
        return given

    of_image(network, ground, sar_db, hidden, everywhere, model, (other,))
    off = np.abs(shown[0] - ground)[:, ~hidden]
    assert off.max() > 0, "some clear ground was hidden"
    assert off.max() < 0.5 * np.abs(ground - ground.mean()).max()
    assert np.sqrt(np.square(off[:, off[0] > 0]).mean()) < 0.1 * ground.std()
