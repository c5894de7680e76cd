"""No tile border may be seen: tiles against one pass over the whole, with the weights that are shipped."""

import runpy
from pathlib import Path

import numpy as np
import pytest

from cloudfree.network.weights import default_weights, load_model

BENCHMARK = Path(__file__).resolve().parents[2] / "benchmarks" / "seams.py"


@pytest.mark.slow
def test_tiles_differ_from_one_pass_by_less_than_a_thousandth() -> None:
    seams = runpy.run_path(str(BENCHMARK))
    model = load_model(default_weights().name)
    tiled = seams["restorer"](model, seams["cloudy_scene"](448))
    whole = tiled(448, 0)
    for tile in (192, 256):
        difference = np.abs(tiled(tile, 64) - whole)
        assert difference.any(), "the network counts"
        assert np.percentile(difference, 99.9) < 1e-3, tile
