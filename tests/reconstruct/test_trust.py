"""A network that sees is believed as far as it restores clear ground under the scene's own clouds."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from support import pattern

from cloudfree.arrays import Image
from cloudfree.network.models import Seen
from cloudfree.reconstruct.lifted import lift
from cloudfree.reconstruct.tile import FULL, NO_TRUST, Restoration, Tile, Trust
from cloudfree.reconstruct.trust import EXPECTED, Evidence, measure
from cloudfree.scene.model import fit_fine
from cloudfree.simulate.landscape import landscape

SIDE, PIXEL_M = 300, 3.0


class Scene:
    """Land, opaque and thin cloud in its corner, and what a run knows of it."""

    def __init__(self, *others: Image, opaque: bool = True) -> None:
        land = landscape(np.random.default_rng(4), SIDE, SIDE)
        self.truth, self.sar_db, self.others = np.clip(land.reflectance, 0, 1), land.sar_db, others
        self.hidden = np.zeros((SIDE, SIDE), bool)
        self.hidden[:140, :150] = True
        haze = 0.3 + 0.05 * pattern(SIDE, SIDE, 3, smooth=20).astype(np.float32)
        self.seen = np.where(self.hidden, 0.7 * self.truth + 0.3 * haze, self.truth).astype(np.float32)
        if opaque:
            self.seen[:, :90, :90] = 0.8
        everywhere = np.ones_like(self.hidden)
        self.model = fit_fine(self.seen, self.sar_db, self.hidden, everywhere, PIXEL_M, others)

    @property
    def restoration(self) -> Restoration:
        return Restoration.of(np.zeros(4, np.float32), np.zeros(2, np.float32), self.model, sees=True)

    def read(self, rows: range, cols: range) -> tuple[Tile, tuple[Image, ...]]:
        window = np.s_[rows.start : rows.stop, cols.start : cols.stop]
        weight, data = self.hidden[window].astype(np.float32), np.ones_like(self.hidden[window])
        where = np.indices((SIDE, SIDE), np.float32)[:, *window]  # in place of radar, to tell the oracle
        tile = Tile(self.seen[:, *window], data, where, weight)
        return tile, tuple(other[:, *window] for other in self.others)

    def evidence(self, network: Callable[..., torch.Tensor], largest_px: int = 512) -> Evidence:
        return measure(network, self.model, self.restoration, self.read, largest_px)


@pytest.fixture(scope="module")
def scene() -> Scene:
    return Scene()


class Oracle:
    """A network that brings the closed form nearer to the truth by a share; a negative one leads astray."""

    device = torch.device("cpu")

    def __init__(self, scene: Scene, share: float) -> None:
        self.truth = scene.truth - scene.model.path_radiance[:, None, None]
        self.share, self.shown = share, list[Seen]()

    def __call__(self, *images: torch.Tensor) -> torch.Tensor:
        seen = Seen(*images)
        self.shown.append(seen)
        (row, col), (height, width) = (int(i) for i in seen.sar_db[0, :, 0, 0]), seen.ground.shape[2:]
        truth = torch.from_numpy(self.truth[:, row : row + height, col : col + width])
        return seen.through + self.share * (truth - seen.through)


@pytest.mark.parametrize(("share", "expected"), [(0.5, 1.0), (1.0, 1.0), (2.0, 0.5), (-0.5, 0.0)])
def test_trust_is_what_the_scene_bears_out(scene: Scene, share: float, expected: float) -> None:
    trust = scene.evidence(Oracle(scene, share)).trust
    for believed in trust:
        assert believed == pytest.approx((expected, expected), abs=0.2)


def test_clouds_are_tried_over_clear_ground_that_the_model_did_not_see(scene: Scene) -> None:
    network = Oracle(scene, 0.0)
    evidence = scene.evidence(network)
    assert evidence.trials
    for seen, trial in zip(network.shown[-len(evidence.trials) :], evidence.trials, strict=True):
        hidden = seen.hidden[0, 0].numpy() > 0
        brightness = seen.observed[0, 0].numpy()[hidden]
        assert (brightness > 0.6).any(), "its opaque cloud"
        assert len(trial.share) < hidden.sum(), "its own cloud, whose ground nobody knows, is not tested"
    missing = np.concatenate([trial.missing for trial in evidence.trials], axis=1)
    model_error = scene.model.whole(scene.others) - scene.truth
    assert np.sqrt(np.square(missing).mean()) < 1.5 * model_error[:, scene.hidden].std()


def test_nothing_to_tell_by_is_what_is_expected_of_any_scene(scene: Scene) -> None:
    everything = np.ones((SIDE, SIDE), bool)
    scene = Scene()
    scene.hidden = everything
    scene.model = fit_fine(scene.seen, scene.sar_db, everything, everything, PIXEL_M)
    assert scene.evidence(Oracle(scene, 1.0)).trust == Trust.alike(EXPECTED)
    assert Evidence().trust == Trust.alike(EXPECTED)


@pytest.mark.parametrize("largest_px", [64, 192, 512])
def test_windows_are_no_larger_than_a_tile_and_test_as_many_pixels(scene: Scene, largest_px: int) -> None:
    """After an out-of-memory error tiles are smaller; a larger window would fail again, fewer pixels prove nothing."""
    network, tested = Oracle(scene, 0.0), lambda e: sum(len(trial.share) for trial in e.trials)
    whole, evidence = scene.evidence(Oracle(scene, 0.0)), scene.evidence(network, largest_px)
    assert max(max(seen.ground.shape[2:]) for seen in network.shown) == min(largest_px, 256)
    assert tested(evidence) > 0.7 * tested(whole) > 2000


def test_detail_of_another_date_is_shown_where_a_network_is_tried() -> None:
    """What the images show at full resolution is read with the window."""
    truth = Scene().truth
    scene = Scene(np.float32(0.8) * truth + np.float32(0.03))
    missing = np.concatenate([trial.missing for trial in scene.evidence(Oracle(scene, 0.0)).trials], axis=1)
    assert np.sqrt(np.square(missing).mean()) < 0.1 * scene.truth.std()


def test_errors_that_are_left_calibrate_the_uncertainty(scene: Scene) -> None:
    evidence, span = scene.evidence(Oracle(scene, 1.0)), range(SIDE)
    ground = scene.model.whole()
    sure, unsure = (evidence.calibrated(scene.model.uncertainty, trust) for trust in (FULL, NO_TRUST))
    assert sure.deviation(ground, span, span).mean() < 0.3 * unsure.deviation(ground, span, span).mean()
    assert sure.seen_factor < 0.3 * unsure.seen_factor


def test_what_is_lifted_and_laid_back_is_what_was_seen(scene: Scene) -> None:
    clouds = lift(scene.seen, scene.truth, scene.hidden)
    np.testing.assert_allclose(clouds.over(scene.truth)[:, 10:80, 10:80], scene.seen[:, 10:80, 10:80], atol=0.02)
    far = np.s_[:, 160:, 170:]
    np.testing.assert_array_equal(clouds.over(scene.truth)[far], np.maximum(scene.truth, 1e-4)[far])
    assert np.median(clouds.transmittance[:, 100:130, 100:130]) == pytest.approx(0.7, abs=0.15)
    assert clouds.opacity[40, 40] == 1
