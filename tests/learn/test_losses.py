"""Losses against values worked by hand."""

import math

import pytest
import torch

from cloudfree.learn.losses import LOSSES


def two_pixels(clouded: tuple[bool, bool]) -> dict[str, torch.Tensor]:
    clear = torch.zeros(1, 4, 1, 2)
    known = torch.ones(1, 1, 2, dtype=torch.bool)
    return {"clear": clear, "cloudy": clear + 0.5, "mask": torch.tensor([[clouded]]), "known": known}


def test_published_losses_by_hand():
    restored = torch.zeros(1, 4, 1, 2)
    restored[..., 0] = 0.1
    cloud_first, cloud_last = two_pixels((True, False)), two_pixels((False, True))
    excess = (0.01 + 1e-6) ** 0.45 - 1e-6**0.45
    base = 3.5 * 1e-6**0.45
    charbonnier, carl, l1 = LOSSES["charbonnier"], LOSSES["carl"], LOSSES["l1"]
    assert charbonnier(restored, cloud_first).item() == pytest.approx(base + 3 * excess, rel=1e-4)
    assert charbonnier(restored, cloud_last).item() == pytest.approx(base + 0.5 * excess, rel=1e-4)
    # Under cloud against the truth (0), in the clear against the input (0.5); then all against the truth.
    assert carl(restored, cloud_first).item() == pytest.approx((0.1 + 0.5) / 2 + 0.05)
    assert carl(restored, cloud_last).item() == pytest.approx((0.4 + 0.0) / 2 + 0.05)
    assert l1(restored, cloud_first).item() == pytest.approx(0.05)


def test_psnr_as_a_loss():
    restored = torch.zeros(1, 4, 1, 2)
    restored[..., 0] = 0.1
    squared = {(True, True): 0.01 / 2, (True, False): 0.01 * 6 / 7, (False, True): 0.01 / 7}
    for clouded, expected in squared.items():
        value = LOSSES["psnr"](restored, two_pixels(clouded)).item()
        assert value == pytest.approx(math.log10(expected + 1e-5), abs=1e-5)


@pytest.mark.parametrize("loss", sorted(LOSSES))
def test_what_is_not_known_does_not_count(loss):
    batch = two_pixels((True, True))
    batch["known"] = torch.tensor([[[True, False]]])
    restored = torch.full((1, 4, 1, 2), 0.1)
    spoilt = restored.clone()
    spoilt[..., 1] = 0.9
    assert LOSSES[loss](spoilt, batch).item() == pytest.approx(LOSSES[loss](restored, batch).item())
    spoilt[..., 0] = 0.9
    assert LOSSES[loss](spoilt, batch).item() > LOSSES[loss](restored, batch).item()
