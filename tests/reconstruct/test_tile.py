"""What a network is shown: the scene's model for cloud, typical values for nodata; and how its answer is taken."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from support import pattern, sar_values_db, scene_dn

from cloudfree.reconstruct.tile import Restoration, Tile, blend, kept_share, network_input, restore
from cloudfree.scene.model import SceneModel
from cloudfree.scene.uncertainty import Uncertainty

H, W = 60, 80
TYPICAL, TYPICAL_DB = np.array([0.1, 0.2, 0.3, 0.4], np.float32), np.array([-11, -18], np.float32)
GROUND = 0.15


@pytest.fixture
def tile() -> Tile:
    """A bright cloud that the mask flags, a corner of nodata, and one of no radar."""
    reflectance, sar_db = scene_dn(H, W) * np.float32(1e-4), sar_values_db(H, W)
    weight, data = np.zeros((H, W), np.float32), np.ones((H, W), bool)
    weight[20:40, 20:50] = 1
    reflectance[:, 20:40, 20:50] = 0.9
    reflectance[:, :10, :10], data[:10, :10], sar_db[:, -10:, -10:] = 0, False, np.nan
    return Tile(reflectance, data, sar_db, weight)


def with_ground(tile: Tile) -> Tile:
    return replace(tile, ground=np.full((4, H, W), GROUND, np.float32))


def restoration(*, path_radiance: float = 0.0, prefill: bool = True, trust: float = 1.0) -> Restoration:
    unsure = Uncertainty.constantly(np.full(4, 0.05, np.float32), (H, W))
    air, variance = np.full(4, path_radiance, np.float32), np.full(4, 0.02**2, np.float32)
    coarse = np.full((4, H // 3, W // 3), GROUND, np.float32)
    model = SceneModel((H, W), coarse, (), 0.8, air, {}, unsure, variance, np.zeros((H // 3, W // 3), np.float32))
    of_scene = Restoration.of(TYPICAL, TYPICAL_DB, model, prefill=prefill)
    return Restoration(TYPICAL, TYPICAL_DB, prefill, trust, of_scene.path_radiance, of_scene.error_variance)


class Doubling:
    """A network that doubles whatever it is shown, and remembers that."""

    device = torch.device("cpu")

    def __init__(self) -> None:
        self.shown: list[torch.Tensor] = []

    def __call__(self, reflectance: torch.Tensor, sar_db: torch.Tensor) -> torch.Tensor:
        assert torch.isfinite(sar_db).all()
        self.shown.append(reflectance)
        return 2 * reflectance


def test_without_a_model_a_network_is_shown_the_scene_without_gaps(tile: Tile) -> None:
    plain = Restoration.of(TYPICAL, TYPICAL_DB, None, prefill=False)
    shown = network_input(tile, plain)
    np.testing.assert_allclose(shown.reflectance[:, :10, :10], np.broadcast_to(TYPICAL[:, None, None], (4, 10, 10)))
    np.testing.assert_array_equal(shown.reflectance[:, 10:], tile.reflectance[:, 10:])
    np.testing.assert_array_equal(shown.sar_db[:, -10:, -10:], np.broadcast_to(TYPICAL_DB[:, None, None], (2, 10, 10)))
    assert not shown.kept.any()
    assert not shown.seen_share.any()
    assert np.isnan(tile.sar_db).any(), "the tile itself stays as it was"


def test_under_cloud_it_is_shown_the_model_less_path_radiance_and_believed_by_trust(tile: Tile) -> None:
    network = Doubling()
    (restored,), _ = restore([with_ground(tile)], restoration(path_radiance=0.03, trust=0.25), network)
    (shown,) = network.shown
    np.testing.assert_allclose(shown[0, :, 22:38, 22:48], GROUND - 0.03, atol=1e-3)
    np.testing.assert_allclose(shown[0, :, 10:, 52:], tile.reflectance[:, 10:, 52:] - np.float32(0.03), atol=1e-6)
    expected = 0.25 * 2 * (GROUND - 0.03) + 0.75 * (GROUND - 0.03) + 0.03
    np.testing.assert_allclose(restored[:, 22:38, 22:48], expected, atol=0.01)
    clear = tile.reflectance[:, 45:, :50]
    np.testing.assert_allclose(restored[:, 45:, :50], 2 * (clear - np.float32(0.03)) + np.float32(0.03), atol=1e-6)


@pytest.mark.parametrize(("prefill", "elsewhere"), [(True, GROUND), (False, 0.9)])
def test_without_radar_the_model_is_all_whatever_the_network(tile: Tile, prefill: bool, elsewhere: float) -> None:
    tile.sar_db[:, 25:35, 25:45] = np.nan
    shown = network_input(with_ground(tile), restoration(prefill=prefill))
    np.testing.assert_allclose(shown.reflectance[:, 25:35, 25:45], GROUND, atol=1e-3)
    assert (shown.kept[0, 25:35, 25:45] > 0.99).all()
    np.testing.assert_allclose(shown.reflectance[:, 38, 30], elsewhere, atol=1e-3)
    assert (shown.kept[0, :24] < 0.05).all()


def test_a_network_that_is_shown_the_plain_image_keeps_its_path_radiance(tile: Tile) -> None:
    assert not restoration(path_radiance=0.03, prefill=False).path_radiance.any()


def test_the_share_that_shows_through_is_told(tile: Tile) -> None:
    """The cloud is opaque but for its west, where nothing is in the way; without a model nobody can tell."""
    tile.reflectance[:, :, :34] = 0.16
    clear = np.zeros((H, W), np.float32)
    clear[:, :30] = 1
    share = network_input(replace(with_ground(tile), unobstructed=clear), restoration()).seen_share[0]
    np.testing.assert_allclose(share[22:38, 20:25], 0.9)
    assert (share[24:36, 42:48] < 0.01).all()
    assert not share[tile.cloud_weight == 0].any()
    assert not network_input(tile, Restoration(TYPICAL, TYPICAL_DB)).seen_share.any()


def test_a_part_of_a_tile_is_that_of_the_whole(tile: Tile) -> None:
    whole = with_ground(tile)
    part = Tile(*(array[..., :70] for array in (whole.reflectance, whole.data, whole.sar_db, whole.cloud_weight)))
    part = Tile(part.reflectance, part.data, part.sar_db, part.cloud_weight, whole.ground[..., :70])
    pairs = zip(network_input(part, restoration(trust=0.5)), network_input(whole, restoration(trust=0.5)), strict=True)
    for some, every in pairs:
        np.testing.assert_array_equal(some[..., :50], every[..., :50])  # filters reach 15 pixels


def test_tiles_of_a_batch_are_each_as_by_itself(tile: Tile) -> None:
    """Also where one of them has no cloud, and so nothing that is kept."""
    tiles = [with_ground(tile), tile]
    together = restore(tiles, restoration(trust=0.5), Doubling())
    for number, one in enumerate(tiles):
        alone = restore([one], restoration(trust=0.5), Doubling())
        np.testing.assert_array_equal(together.reflectance[number], alone.reflectance[0])
        np.testing.assert_array_equal(together.seen_share[number], alone.seen_share[0].expand(1, H, W))


def wanting(tile: Tile, wanted: np.ndarray) -> Tile:
    return replace(with_ground(tile), wanted=wanted)


def test_a_network_that_is_not_believed_is_not_run(tile: Tile) -> None:
    """What is wanted of it stays with what it would have been shown."""
    network = Doubling()
    cloud = wanting(tile, tile.cloud_weight)
    (restored,), _ = restore([cloud], restoration(trust=0.0, path_radiance=0.03), network)
    assert not network.shown
    np.testing.assert_allclose(restored[:, 22:38, 22:48], GROUND, atol=1e-3)
    restore([cloud], restoration(trust=0.01), network)
    restore([wanting(tile, np.ones((H, W), np.float32))], restoration(trust=0.0), network)
    assert len(network.shown) == 2, "where it is believed a little, and where clear ground is wanted of it"


def test_a_tile_without_radar_needs_no_network_and_its_neighbour_does(tile: Tile) -> None:
    tile = replace(tile, sar_db=sar_values_db(H, W))
    blind = replace(tile, sar_db=np.full((2, H, W), np.nan, np.float32))
    tiles, network = [wanting(one, tile.cloud_weight) for one in (blind, tile)], Doubling()
    together = restore(tiles, restoration(), network)
    assert [len(shown) for shown in network.shown] == [1]
    for number, one in enumerate(tiles):
        alone = restore([one], restoration(), Doubling())
        np.testing.assert_array_equal(together.reflectance[number], alone.reflectance[0])


def test_along_a_feather_without_radar_the_model_is_all_in_any_tile(tile: Tile) -> None:
    """Also in one that another cloud needs the network for: neighbours that need none show no step."""
    weight, no_radar = tile.cloud_weight.copy(), np.zeros((H, W), bool)
    weight[40:45, 20:50], no_radar[15:50, :35] = 0.5, True
    tile.sar_db[:, no_radar] = np.nan
    tile = wanting(replace(tile, cloud_weight=weight), weight)
    network, blind = Doubling(), (weight > 0) & no_radar
    (restored,), _ = restore([tile], restoration(), network)
    assert network.shown
    np.testing.assert_array_equal(restored[:, blind], network_input(tile, restoration()).reflectance[:, blind])


def test_a_network_is_believed_where_the_model_stands_and_not_where_the_ground_is_seen() -> None:
    cloud_weight, share = np.array([[0, 1, 1, 0.5]], np.float32), np.array([[0, 0, 1, 0.5]], np.float32)
    kept = kept_share(torch.from_numpy(cloud_weight), torch.from_numpy(share), 0.6)
    np.testing.assert_allclose(kept, [[0, 0.4, 1, 0.35]], atol=1e-6)


def test_blending_keeps_the_observation_bit_for_bit() -> None:
    observed, made = (np.stack([pattern(H, W, seed + band) for band in range(4)]).astype(np.float32) for seed in (0, 9))
    weight = np.zeros((H, W), np.float32)
    weight[10:20], weight[20:30] = 1, 0.5
    blended = blend(*map(torch.from_numpy, (observed, made, weight))).numpy()
    np.testing.assert_array_equal(blended[:, weight == 0], observed[:, weight == 0])
    np.testing.assert_allclose(blended[:, 10:20], made[:, 10:20], atol=1e-6)
    np.testing.assert_allclose(blended[:, 20:30], (observed + made)[:, 20:30] / 2, atol=1e-6)
