"""A network is believed as far as it restores clear ground that was hidden from it."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from affine import Affine
from support import ORIGIN, write_raster

from cloudfree.geometry import Displacement
from cloudfree.inputs.files import InputOptions, identify
from cloudfree.reconstruct import trust
from cloudfree.reconstruct.feather import Feather
from cloudfree.reconstruct.tile import Restoration, Tile
from cloudfree.reconstruct.trust import Evidence, measure, window_reader
from cloudfree.scene import survey
from cloudfree.scene.model import SceneModel, fit_fine, of_survey
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


class Oracle:
    """A network that brings whatever it is given nearer to the truth by a share; a negative one leads astray."""

    device = torch.device("cpu")

    def __init__(self, truth: np.ndarray, share: float) -> None:
        self.truth, self.share, self.shown = truth, np.float32(share), []

    def __call__(self, reflectance: torch.Tensor, sar_db: torch.Tensor) -> torch.Tensor:
        assert torch.isfinite(sar_db).all()
        (given,) = reflectance.numpy()
        self.shown.append(given)
        # Which window it is, the ground itself tells.
        corners = [(row, col) for row in {0, SIDE - given.shape[1]} for col in {0, SIDE - given.shape[2]}]
        parts = [self.truth[:, r : r + given.shape[1], c : c + given.shape[2]] for r, c in corners]
        truth = min(parts, key=lambda part: np.abs(part - given).mean())
        return torch.from_numpy(given + self.share * (truth - given))[None]


def evidence_of(network: Oracle, model: SceneModel, land, hidden: np.ndarray, largest_px: int = 512) -> Evidence:
    def read(rows: range, cols: range):
        window = np.s_[rows.start : rows.stop, cols.start : cols.stop]
        weight = hidden[window].astype(np.float32)
        ground, sar_db = np.clip(land.reflectance, 0, 1)[:, *window], land.sar_db[:, *window]
        return Tile(ground, np.ones_like(hidden[window]), sar_db, weight), ()

    restoration = Restoration.of(np.zeros(4, np.float32), np.zeros(2, np.float32), model, prefill=True)
    return measure(network, model, restoration, read, np.ones(model.coarse_shape, bool), largest_px)


@pytest.mark.parametrize(("share", "expected"), [(0.5, 1.0), (1.0, 1.0), (2.0, 0.5), (-0.5, 0.0)])
def test_trust_is_what_the_scene_bears_out(land, hidden, share, expected):
    ground = np.clip(land.reflectance, 0, 1)
    model = fit_fine(ground, land.sar_db, hidden, np.ones_like(hidden), 3.0)
    found = evidence_of(Oracle(ground - model.path_radiance[:, None, None], share), model, land, hidden)
    assert found.trust == pytest.approx(expected, abs=0.03)


def test_nothing_to_tell_by_is_no_trust(land):
    everything = np.ones((SIDE, SIDE), bool)
    model = fit_fine(land.reflectance, land.sar_db, everything, everything, 3.0)
    assert evidence_of(Oracle(land.reflectance, 1), model, land, everything).trust == trust.UNPROVEN
    assert Evidence().trust == trust.UNPROVEN


@pytest.mark.parametrize("largest_px", [64, 192, 256, 512])
def test_windows_are_no_larger_than_a_tile_and_test_as_many_pixels(land, hidden, largest_px):
    """After an out-of-memory error tiles are smaller; a larger window would fail again, fewer pixels prove nothing."""
    ground = np.clip(land.reflectance, 0, 1)
    model = fit_fine(ground, land.sar_db, hidden, np.ones_like(hidden), 3.0)
    whole, network = evidence_of(Oracle(ground, 0.0), model, land, hidden), Oracle(ground, 0.0)
    evidence = evidence_of(network, model, land, hidden, largest_px)
    assert max(max(given.shape[1:]) for given in network.shown) == min(largest_px, 256)
    assert evidence.pixels >= whole.pixels > 2000


def test_detail_of_another_date_is_shown_where_a_network_is_tried(land, hidden):
    """What the images show at full resolution is read with the window."""
    ground = np.clip(land.reflectance, 0, 1)
    other = np.float32(0.8) * ground + np.float32(0.03)
    everywhere = np.ones_like(hidden)
    model = fit_fine(ground, land.sar_db, hidden, everywhere, 3.0, (other,))
    network = Oracle(ground, 0.0)
    restoration = Restoration.of(np.zeros(4, np.float32), np.zeros(2, np.float32), model, prefill=True)

    def read(rows: range, cols: range):
        window = np.s_[rows.start : rows.stop, cols.start : cols.stop]
        tile = Tile(ground[:, *window], everywhere[window], land.sar_db[:, *window], hidden[window].astype(np.float32))
        return tile, (other[:, *window],)

    evidence = measure(network, model, restoration, read, np.ones(model.coarse_shape, bool), 256)
    detail = np.concatenate(evidence.missing, axis=1)
    assert np.sqrt(np.square(detail).mean()) < 0.1 * ground.std()


@pytest.mark.parametrize(("share", "expected"), [(1.0, 1.0), (-0.5, 0.0)])
def test_a_scene_is_judged_by_its_windows(land, hidden, share, expected, tmp_path: Path):
    dn = np.where(hidden, 9000, np.clip(1e4 * land.reflectance, 1, 8000)).astype(np.uint16)
    grid = Affine(3, 0, ORIGIN[0], 0, -3, ORIGIN[1])
    options = InputOptions(
        planet=write_raster(tmp_path / "scene.tif", dn, grid, nodata=0),
        sar=(write_raster(tmp_path / "s1.tif", land.sar_db, grid, descriptions=("VV", "VH")),),
        mask=write_raster(tmp_path / "mask.tif", hidden[None].astype(np.uint8), grid),
    )
    inputs = identify(options)
    with inputs.open() as reader:
        surveyed = survey.take(inputs.scene, reader)
        model = replace(of_survey(surveyed, inputs.scene), path_radiance=np.zeros(4, np.float32))
        restoration = Restoration.of(np.zeros(4, np.float32), surveyed.median_sar_db(), model, prefill=True)
        feather = Feather.of_pixel_size(3.0, 30.0)
        read = window_reader(inputs.scene, reader, Displacement(surveyed.grid), feather)
        network = Oracle(np.clip(land.reflectance, 1e-4, 0.8), share)
        judged = measure(network, model, restoration, read, surveyed.sar_valid, 512)
    assert len(network.shown) == 2, "windows of 256 in the corners of 300"
    assert judged.trust == pytest.approx(expected, abs=0.05)
    before, after = (
        u.deviation(model.whole(), range(SIDE), range(SIDE))
        for u in (model.uncertainty, judged.calibrated(model.uncertainty))
    )
    assert (after.mean() < 0.2 * before.mean()) == (share == 1.0), "what a network knows is sure"
    assert max(image.max() for image in network.shown) < 0.8, "its own clouds are never shown"
