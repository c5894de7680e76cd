"""A network is believed as far as it restores clear ground that was hidden from it."""

from pathlib import Path

import numpy as np
import pytest
from affine import Affine
from support import ORIGIN, write_raster

from cloudfree.geometry.displacement import Displacement
from cloudfree.inputs.files import InputOptions, identify
from cloudfree.reconstruct import trust
from cloudfree.reconstruct.trust import Evidence, of_image, of_scene
from cloudfree.scene import survey
from cloudfree.scene.model import fit_fine, of_survey
from cloudfree.simulate.landscape import landscape

SIDE = 300


@pytest.fixture(scope="module")
def land():
    return landscape(np.random.default_rng(4), SIDE, SIDE)


@pytest.fixture(scope="module")
def hidden() -> np.ndarray:
    mask = np.zeros((SIDE, SIDE), bool)
    mask[:100, :120] = True
    return mask


def oracle(truth, share: float):
    """A network that brings whatever it is given nearer to the truth by a share; a negative one leads astray."""
    return lambda given, _: given + np.float32(share) * (truth - given)


@pytest.mark.parametrize(("share", "expected"), [(0.5, 1.0), (1.0, 1.0), (2.0, 0.5), (-0.5, 0.0)])
def test_trust_is_what_the_scene_bears_out(land, hidden, share, expected):
    everywhere = np.ones_like(hidden)
    ground = np.clip(land.reflectance, 0, 1)
    model = fit_fine(ground, land.sar_db, hidden, everywhere, 3.0)
    found = of_image(oracle(ground, share), ground, land.sar_db, hidden, everywhere, model)
    assert found == pytest.approx(expected, abs=0.03)


def test_nothing_to_tell_by_is_half_a_trust(land):
    everything = np.ones((SIDE, SIDE), bool)
    model = fit_fine(land.reflectance, land.sar_db, everything, everything, 3.0)
    found = of_image(oracle(land.reflectance, 1), land.reflectance, land.sar_db, everything, everything, model)
    assert found == trust.UNPROVEN
    assert Evidence().trust == trust.UNPROVEN


@pytest.mark.parametrize(("share", "expected"), [(1.0, 1.0), (-0.5, 0.0)])
def test_a_scene_is_judged_by_its_windows(land, hidden, share, expected, tmp_path: Path):
    dn = np.where(hidden, 9000, np.clip(1e4 * land.reflectance, 1, 8000)).astype(np.uint16)
    grid = Affine(3, 0, ORIGIN[0], 0, -3, ORIGIN[1])
    told = InputOptions(
        planet=write_raster(tmp_path / "scene.tif", dn, grid, nodata=0),
        sar=(write_raster(tmp_path / "s1.tif", land.sar_db, grid, descriptions=("VV", "VH")),),
        mask=write_raster(tmp_path / "mask.tif", hidden[None].astype(np.uint8), grid),
    )
    found = identify(told)
    seen = []

    def network(given, sar_db):
        assert np.isfinite(sar_db).all()
        seen.append(given)
        row = col = 0 if len(seen) == 1 else SIDE - 256
        return given + np.float32(share) * (dn[:, row : row + 256, col : col + 256] / np.float32(1e4) - given)

    with found.open() as reader:
        surveyed = survey.take(found.scene, reader)
        model = of_survey(surveyed, found.scene)
        judged = of_scene(found.scene, reader, surveyed, Displacement(surveyed.grid), 30.0, model, network)
    assert len(seen) == 2, "windows of 256 in the corners of 300"
    assert judged.trust == pytest.approx(expected, abs=0.05)
    before, after = (
        u.deviation(model.whole(), range(SIDE), range(SIDE))
        for u in (model.uncertainty, judged.calibrated(model.uncertainty))
    )
    assert (after.mean() < 0.2 * before.mean()) == (share == 1.0), "what a network knows is sure"
    assert max(image.max() for image in seen) < 0.8, "its own clouds are never shown"
