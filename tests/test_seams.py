"""No tile border may be seen: tiles against one pass over the whole, with the weights that are shipped."""

from pathlib import Path

import numpy as np
import pytest
import torch

from cloudfree.fill import Strip
from cloudfree.landscape import landscape
from cloudfree.models import CloudRemovalModel
from cloudfree.planet import Scene
from cloudfree.predict import Filler, Predictor, reconstruct
from cloudfree.simulate import add_clouds, cloud_layer
from cloudfree.tiles import spans
from cloudfree.weights import default_weights, load_model

SIDE, OVERLAP = 1024, 64


def tiled(model: CloudRemovalModel, dn: np.ndarray, sar_db: np.ndarray, tile: int) -> np.ndarray:
    """Reflectance of the whole scene by way of strips and tiles, as `run` does it."""
    rows, cols = (spans(SIDE, tile, OVERLAP) for _ in range(2))
    clear = np.zeros((SIDE, SIDE), np.float32)
    strips = (
        Strip(r.start, dn[:, r.start : r.stop], sar_db[:, r.start : r.stop], clear[r.start : r.stop]) for r in rows
    )
    scene = Scene(Path("scene.tif"), None, (1, 2, 3, 4), (1e-4,) * 4, 0, "surface reflectance", ())  # type: ignore[arg-type]
    predictor = Predictor(model, torch.device("cpu"), "fp32", None)
    filler = Filler(np.full(4, 0.1, np.float32), np.full(2, -12, np.float32))
    blocks = [block for _, block in reconstruct(strips, rows, cols, predictor, scene, filler, "all")]
    return np.concatenate(blocks, axis=1)


@pytest.mark.slow
def test_tiles_differ_from_one_pass_by_less_than_a_thousandth() -> None:
    rng = np.random.default_rng(5)
    land = landscape(rng, SIDE, SIDE)
    cloudy = add_clouds(land.reflectance, cloud_layer(rng, SIDE, SIDE, cover=0.4))
    dn = np.clip(np.rint(cloudy * 1e4), 1, 65535).astype(np.uint16)
    model = load_model(default_weights().name)
    whole = tiled(model, dn, land.sar_db, SIDE)
    for tile in (256, 512):
        difference = np.abs(tiled(model, dn, land.sar_db, tile) - whole)
        assert np.percentile(difference, 99.9) < 1e-3, tile
