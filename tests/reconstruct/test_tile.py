"""What a network is shown of a window, and how its answer is taken."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from support import sar_values_db, scene_dn

from cloudfree.network.models import Seen
from cloudfree.reconstruct.tile import FULL, NO_TRUST, Restoration, Tile, Trust, restore, seen_of

H, W = 60, 80
TYPICAL, TYPICAL_DB = np.array([0.1, 0.2, 0.3, 0.4], np.float32), np.array([-11, -18], np.float32)
GROUND, DEVIATION = 0.15, 0.05
NODATA, CLOUD, NO_RADAR = np.s_[:10, :10], np.s_[20:40, 20:50], np.s_[-10:, -10:]


@pytest.fixture
def tile() -> Tile:
    """A bright cloud that the mask flags, a corner of nodata, and one of no radar."""
    reflectance, sar_db = scene_dn(H, W) * np.float32(1e-4), sar_values_db(H, W)
    weight, data = np.zeros((H, W), np.float32), np.ones((H, W), bool)
    weight[CLOUD] = 1
    reflectance[:, *CLOUD] = 0.9
    reflectance[:, *NODATA], data[NODATA], sar_db[:, *NO_RADAR] = 0, False, np.nan
    return Tile(reflectance, data, sar_db, weight, wanted=weight)


def with_ground(tile: Tile) -> Tile:
    ground, deviation = (np.full((4, H, W), value, np.float32) for value in (GROUND, DEVIATION))
    return replace(tile, ground=ground, deviation=deviation)


def restoration(*, path_radiance: float = 0.0, sees: bool = True, trust: Trust = FULL) -> Restoration:
    air, variance = np.full(4, path_radiance, np.float32), np.full(4, 0.02**2, np.float32)
    return Restoration(TYPICAL, TYPICAL_DB, sees, trust, air, variance)


class Plain:
    """A network as published that doubles whatever it is shown, and remembers that."""

    device = torch.device("cpu")

    def __init__(self) -> None:
        self.shown: list[torch.Tensor] = []

    def __call__(self, *images: torch.Tensor) -> torch.Tensor:
        reflectance, sar_db = images
        assert torch.isfinite(sar_db).all()
        self.shown.append(reflectance)
        return 2 * reflectance


class Seeing:
    """A network that sees, and adds a tenth to the model's ground."""

    device = torch.device("cpu")

    def __init__(self) -> None:
        self.shown: list[Seen] = []

    def __call__(self, *images: torch.Tensor) -> torch.Tensor:
        self.shown.append(Seen(*images))
        return self.shown[-1].ground + 0.1


def test_a_network_as_published_is_shown_the_scene_without_gaps(tile: Tile) -> None:
    network = Plain()
    plain = Restoration.of(TYPICAL, TYPICAL_DB, None, sees=False)
    (restored,), _ = restore([replace(tile, wanted=None)], plain, network)
    (shown,) = network.shown
    np.testing.assert_allclose(shown[0, :, *NODATA], np.broadcast_to(TYPICAL[:, None, None], (4, 10, 10)))
    np.testing.assert_array_equal(shown[0, :, 10:], tile.reflectance[:, 10:])
    np.testing.assert_array_equal(restored, 2 * shown[0])
    assert np.isnan(tile.sar_db).any(), "the tile itself stays as it was"


def test_the_model_stands_where_radar_shows_a_network_as_published_nothing(tile: Tile) -> None:
    tile.sar_db[:, 25:35, 25:45] = np.nan
    (restored,), _ = restore([with_ground(tile)], restoration(sees=False), Plain())
    np.testing.assert_allclose(restored[:, 25:35, 25:45], GROUND, atol=1e-3)
    np.testing.assert_allclose(restored[:, 38, 30], 1.8, atol=1e-6)


def test_a_network_that_sees_is_shown_the_cloud_and_all_that_is_known_beside_it(tile: Tile) -> None:
    network = Seeing()
    restore([with_ground(tile)], replace(restoration(), texture_variance=np.full(4, 0.12**2, np.float32)), network)
    (seen,) = network.shown
    np.testing.assert_allclose(seen.observed[0, :, *CLOUD], 0.9)
    np.testing.assert_allclose(seen.ground, GROUND)
    np.testing.assert_allclose(seen.deviation, 0.13, rtol=1e-5)
    np.testing.assert_array_equal(seen.hidden[0, 0], tile.cloud_weight)
    np.testing.assert_array_equal(np.isnan(seen.sar_db[0].numpy()), np.isnan(tile.sar_db))
    assert (seen.share[0, 0, 25:35, 25:45] < 0.01).all(), "flat cloud is opaque"
    np.testing.assert_allclose(seen.through[0, :, 25:35, 25:45], GROUND, atol=1e-3)


def test_its_clear_ground_stays_bit_for_bit_and_its_cloud_is_believed_by_trust(tile: Tile) -> None:
    network = Seeing()
    trusting = restoration(path_radiance=0.03, trust=Trust(thin=1.0, opaque=0.25))
    (restored,), _ = restore([with_ground(tile)], trusting, network)
    np.testing.assert_allclose(network.shown[0].ground, GROUND - 0.03, atol=1e-6)
    np.testing.assert_allclose(restored[:, 22:38, 22:48], GROUND + 0.25 * 0.1, atol=2e-3)
    clear = (tile.cloud_weight == 0) & tile.data
    np.testing.assert_array_equal(restored[:, clear], tile.reflectance[:, clear])


def test_thin_and_opaque_are_believed_apart_and_the_share_that_shows_is_told(tile: Tile) -> None:
    """The cloud is opaque but for its west, where nothing is in the way."""
    tile.reflectance[:, :, :34] = 0.16
    clear = np.zeros((H, W), np.float32)
    clear[:, :30] = 1
    half = replace(with_ground(tile), unobstructed=clear)
    (restored,), (share,) = restore([half], restoration(trust=Trust(thin=1.0, opaque=0.0)), Seeing())
    np.testing.assert_allclose(share[0, 22:38, 20:25], 0.9)
    np.testing.assert_allclose(restored[:, 22:38, 20:25], GROUND + 0.1, atol=1e-6)
    assert (share[0, 24:36, 42:48] < 0.01).all()
    np.testing.assert_allclose(restored[:, 24:36, 42:48], GROUND, atol=1e-3)
    assert not share[0][tile.cloud_weight == 0].any()


def test_a_network_that_sees_needs_no_radar(tile: Tile) -> None:
    blind = replace(with_ground(tile), sar_db=np.full((2, H, W), np.nan, np.float32))
    (restored,), _ = restore([blind], restoration(), Seeing())
    np.testing.assert_allclose(restored[:, 22:38, 22:48], GROUND + 0.1, atol=1e-6)


def test_a_network_that_is_not_believed_is_not_run(tile: Tile) -> None:
    network = Seeing()
    (restored,), _ = restore([with_ground(tile)], restoration(trust=NO_TRUST), network)
    assert not network.shown
    np.testing.assert_allclose(restored[:, 22:38, 22:48], GROUND, atol=1e-3)
    free = replace(with_ground(tile), cloud_weight=np.zeros((H, W), np.float32), wanted=np.zeros((H, W), np.float32))
    restore([free, with_ground(tile)], restoration(), network)
    assert [len(seen.ground) for seen in network.shown] == [1], "of two tiles the one with a cloud"


def test_where_everything_is_wanted_all_data_are_hidden(tile: Tile) -> None:
    (restored,), _ = restore([replace(with_ground(tile), wanted=None)], restoration(), Seeing())
    np.testing.assert_allclose(restored[:, 10:], GROUND + 0.1, atol=1e-6)
    np.testing.assert_array_equal(restored[:, *NODATA], np.broadcast_to(TYPICAL[:, None, None], (4, 10, 10)))


@pytest.mark.parametrize("sees", [True, False])
def test_tiles_of_a_batch_are_each_as_by_itself(tile: Tile, sees: bool) -> None:
    cloudless = replace(tile, cloud_weight=np.zeros((H, W), np.float32), wanted=np.zeros((H, W), np.float32))
    tiles, network = [with_ground(tile), with_ground(cloudless)], Seeing() if sees else Plain()
    together = restore(tiles, restoration(sees=sees), network)
    for number, one in enumerate(tiles):
        alone = restore([one], restoration(sees=sees), network)
        np.testing.assert_array_equal(together.reflectance[number], alone.reflectance[0])
        np.testing.assert_array_equal(together.seen_share[number], alone.seen_share[0])


def test_a_part_of_a_tile_is_that_of_the_whole(tile: Tile) -> None:
    whole = with_ground(tile)
    cut = {name: array[..., :70] for name, array in vars(whole).items() if array is not None}
    for some, every in zip(seen_of(Tile(**cut), restoration()), seen_of(whole, restoration()), strict=True):
        np.testing.assert_array_equal(some[..., :50], every[..., :50])  # filters reach 15 pixels
