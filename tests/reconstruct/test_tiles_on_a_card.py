"""What a card would be asked to do, seen without one: where results are waited for, and what travels when."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from fake_cuda import fake_cuda
from support import sar_values_db, scene_dn
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

from cloudfree.reconstruct import sliding_window
from cloudfree.reconstruct.see_through import _gaussian_weights, see_through
from cloudfree.reconstruct.sliding_window import SlidingWindow
from cloudfree.reconstruct.strips import Fill, Strip
from cloudfree.reconstruct.tile import Restoration, Tile, restore
from cloudfree.reconstruct.tiles import spans

H, W = 64, 96
CARD = torch.device("cuda:1")
TYPICAL, TYPICAL_DB = np.full(4, 0.2, np.float32), np.array([-11, -18], np.float32)


@pytest.fixture(autouse=True)
def _kernels_of_gaussians() -> None:
    """They are made once a process, from real numbers."""
    image, plane = torch.zeros(4, 8, 8), torch.zeros(8, 8)
    see_through(image, image, plane, plane, torch.zeros(4))
    assert _gaussian_weights.cache_info().currsize > 0


class Network:
    """On a card; remembers how many tiles it was shown at once."""

    device = CARD

    def __init__(self) -> None:
        self.batches: list[int] = []

    def __call__(self, *images: Tensor) -> Tensor:
        assert {image.device for image in images} == {CARD}
        self.batches.append(len(images[0]))
        return images[0] * 2

    def batch_for(self, tile: int) -> int:
        return 2


def tile(*, cloudy: bool = True, ground: bool = True) -> Tile:
    plane, image = np.ones((H, W), np.float32), np.full((4, H, W), 0.2, np.float32)
    weight = plane * np.float32(cloudy)
    expected = {"ground": image, "deviation": image, "unobstructed": 0 * plane} if ground else {}
    return Tile(image, plane > 0, sar_values_db(H, W), weight, wanted=weight, **expected)


def restoration(*, sees: bool) -> Restoration:
    return Restoration(TYPICAL, TYPICAL_DB, sees, error_variance=np.full(4, 4e-4, np.float32))


@pytest.mark.parametrize(("sees", "ground"), [(True, True), (False, True), (False, False)])
@pytest.mark.parametrize("cloudy", [(True,), (True, False, True), (False,)])
def test_tiles_are_restored_without_waiting_for_the_card(sees: bool, ground: bool, cloudy: tuple[bool, ...]) -> None:
    """Nothing is decided by values on the card, where fake tensors have none."""
    network, tiles = Network(), [tile(cloudy=each, ground=ground) for each in cloudy]
    with fake_cuda() as fake, fake, Uploads(network) as uploads, PlainIndices():
        restored = restore(tiles, restoration(sees=sees), network)
    assert uploads.before == uploads.after == 0, "nor is it waited for with what is sent"
    assert {image.device for image in restored} == {CARD}
    assert restored.reflectance.shape == (len(tiles), 4, H, W)
    assert network.batches == [sum(cloudy)] * any(cloudy), "tiles with nothing to restore are not shown"


class PlainIndices(TorchFunctionMode):
    """Lists and arrays as indices would be sent, and waited for."""

    def __torch_function__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if function in (Tensor.__getitem__, Tensor.__setitem__):
            items = args[1] if isinstance(args[1], tuple) else (args[1],)
            assert all(item is None or isinstance(item, int | slice | type(...)) for item in items)
        return function(*args, **(kwargs or {}))


class Uploads(TorchDispatchMode):
    """Copies to a card that wait for it, counted from the first answer of a network."""

    def __init__(self, network: Network) -> None:
        super().__init__()
        self.network = network
        self.before, self.after = 0, 0

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        to_card = torch.device(kwargs.get("device") or "cpu").type == "cuda" and args and isinstance(args[0], Tensor)
        if to_card and args[0].device.type == "cpu" and not kwargs.get("non_blocking"):
            self.before += not self.network.batches
            self.after += bool(self.network.batches)
        return function(*args, **kwargs)


def strips(rows: Any) -> list[Strip]:
    dn, sar_db, weight = scene_dn(96, W), sar_values_db(96, W), np.ones((96, W), np.float32)
    return [
        Strip.of(row.start, *(image[..., row.start : row.stop, :] for image in (dn, sar_db, weight))) for row in rows
    ]


class Scene:
    """As much of one as a sliding window asks for."""

    class grid:  # noqa: N801
        width = W

    reflectance = staticmethod(lambda dn: dn * np.float32(1e-4))


def test_what_blends_tiles_is_on_the_card_before_the_network_is(monkeypatch: pytest.MonkeyPatch) -> None:
    network, rows, cols = Network(), spans(96, 64, 16), spans(W, 64, 16)
    assert len(rows) == len(cols) == 2
    window = SlidingWindow(network, Scene, None, restoration(sees=False), Fill("all"))  # type: ignore[arg-type]
    monkeypatch.setattr(sliding_window, "_fetched", lambda result: result)
    with fake_cuda() as fake, fake, Uploads(network) as uploads:
        results = [result for _, result in window._blended(strips(rows), rows, cols)]
    assert [result.device for result in results] == [CARD] * 2
    assert network.batches == [2, 2]
    assert uploads.before == len(rows) + len(cols)
    assert uploads.after == 0


class Event:
    """Remembers on which stream, under which device, and after which copies it was recorded."""

    def __init__(self) -> None:
        log.append(("event", tuple(current)))

    def record(self, stream: object = None) -> None:
        log.append(("record", stream))

    def synchronize(self) -> None:
        log.append(("wait", None))


class CurrentDevice:
    def __init__(self, device: torch.device) -> None:
        self.device = device

    def __enter__(self) -> None:
        current.append(self.device)

    def __exit__(self, *error: object) -> None:
        current.pop()


log: list[tuple[str, object]] = []
current: list[torch.device] = []


def test_a_strip_is_waited_for_on_the_stream_of_its_own_card(monkeypatch: pytest.MonkeyPatch) -> None:
    """Another card's may have nothing to wait for, and the strip would be read before it is there."""
    log.clear()
    with fake_cuda() as fake, fake:
        monkeypatch.setattr("torch.cuda.device", CurrentDevice)
        monkeypatch.setattr("torch.cuda.Event", Event)
        monkeypatch.setattr("torch.cuda.current_stream", lambda device: f"stream of {device}")
        result = torch.zeros(4, 8, 8, device=CARD)
        monkeypatch.setattr(Tensor, "copy_", lambda *args, **how: log.append(("copy", (tuple(current), how))))
        fetch = sliding_window._fetched(result)
    assert log == [
        ("copy", ((CARD,), {"non_blocking": True})),
        ("event", (CARD,)),
        ("record", "stream of cuda:1"),
    ]
    with pytest.raises(RuntimeError, match="numpy"):  # a fake has no values
        fetch()
    assert log[-1] == ("wait", None)


def test_a_strip_on_a_processor_is_read_as_it_is() -> None:
    result = torch.rand(4, 8, 8)
    np.testing.assert_array_equal(sliding_window._fetched(result)(), result)
