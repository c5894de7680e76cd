"""An evaluation scores what a run makes: one function restores the tiles of both."""

from pathlib import Path

import numpy as np
import pytest
import rasterio
import torch
from support import TINY, pattern, sar_values_db, scene_dn, tiny_seeing, write_pixels

import cloudfree
from cloudfree.evaluate.methods import network
from cloudfree.evaluate.score import evaluate
from cloudfree.network.models import AlignCR
from cloudfree.network.weights import load_model, save_model
from cloudfree.reconstruct.feather import Feather
from cloudfree.reconstruct.tile import Trust

HEIGHT, WIDTH = 300, 280
PIXEL_M = 10.0


@pytest.fixture
def triplet(tmp_path: Path) -> Path:
    """A folder with one place at 10 m: opaque and thin clouds, a gap of radar under one of them, a corner of nodata."""
    clear, sar_db = scene_dn(HEIGHT, WIDTH), sar_values_db(HEIGHT, WIDTH)
    mask = np.zeros((HEIGHT, WIDTH), np.uint8)
    mask[40:120, 30:110], mask[180:240, 150:250] = 1, 1
    cloudy = np.where(mask, 0.3 * clear + 3000 + 500 * pattern(HEIGHT, WIDTH, 7), clear).astype(np.uint16)
    cloudy[:, 60:100, 50:90] = 8000
    sar_db[:, 70:110, 60:100] = np.nan
    cloudy[:, -20:, :30] = clear[:, -20:, :30] = 0
    pixels = {"cloudy": cloudy, "clear": clear, "sar": sar_db, "mask": mask[None]}
    for kind, values in pixels.items():
        write_pixels(tmp_path / f"place_{kind}.tif", values)
    return tmp_path


@pytest.mark.parametrize("sees", [True, False])
@pytest.mark.slow
def test_an_evaluation_gives_what_a_run_gives_radar_gaps_included(
    triplet: Path, sees: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    deserved = Trust(0.6, 0.6)  # random weights would deserve none
    monkeypatch.setattr("cloudfree.reconstruct.trust.Evidence.trust", deserved)
    torch.manual_seed(3)
    model = tiny_seeing(step=2) if sees else AlignCR(TINY)
    weights = save_model(model, tmp_path / "tiny.safetensors")
    images = {}
    evaluate(triplet, {"network": network(load_model(weights))}, callback=lambda _, restored: images.update(restored))
    result = cloudfree.run(
        triplet / "place_cloudy.tif",
        triplet / "place_sar.tif",
        tmp_path / "out.tif",
        mask=triplet / "place_mask.tif",
        weights=str(weights),
        coregister="off",
        edge_limit_m=0,
        device="cpu",
        precision="fp32",
    )
    assert result.plan.sees == sees
    with rasterio.open(tmp_path / "out.tif") as dataset, rasterio.open(triplet / "place_mask.tif") as mask:
        product, cloudy = dataset.read().astype(int), mask.read(1) == 1
    hidden = Feather.of_pixel_size(PIXEL_M).weight(cloudy) == 1
    expected = np.clip(np.rint(images["network"] * 1e4), 1, 10_000)
    gap = np.zeros_like(hidden)
    gap[75:105, 65:95] = True
    assert (gap & hidden).any()
    if sees:
        model_alone = images["scene model"] * 1e4
        assert np.abs(model_alone - expected)[:, hidden & ~gap].mean() > 20, "the network counts"
    np.testing.assert_allclose(product[:, hidden], expected[:, hidden], atol=1)
