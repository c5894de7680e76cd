"""The tile loop: independence of batches, tiles and strips, and what happens when memory runs out."""

import weakref
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
import torch
from click.testing import Result
from rasterio.windows import Window
from support import TINY_ONE_BLOCK, scene_dn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from cloudfree.network.device import Precision
from cloudfree.network.models import GLFCR, AlignCR, CloudRemovalModel, DSen2CR, Identity, Seen, UNet
from cloudfree.network.weights import default_weights, load_model, save_model
from cloudfree.reconstruct.predictor import Predictor, TileTooLargeError
from cloudfree.reconstruct.sliding_window import one_behind
from cloudfree.reconstruct.tile import Restoration, Tile, seen_of
from cloudfree.scene.model import fit_fine
from cloudfree.simulate.clouds import add_clouds, cloud_layer
from cloudfree.simulate.landscape import landscape

CROP = Window(64, 64, 96, 96)
# Weights under a norm, of the shallow blocks, are rounded when they are composed.
ENDS = {
    AlignCR: {"SFE_conv", "SFE_module", "SFE_module_SAR", "UPNet"},
    GLFCR: {"SFENet1", "UPNet"},
    DSen2CR: {"body"},
    Identity: {"band_shift"},
    UNet: {"answer"},
}
MakeScene = Callable[..., Path]
Cli = Callable[..., Result]


@pytest.fixture
def tiny_weights(tmp_path: Path) -> Path:
    """A small Align-CR of random weights, loud enough to show every seam."""
    torch.manual_seed(0)
    return save_model(AlignCR(TINY_ONE_BLOCK), tmp_path / "tiny.safetensors")


def result_of(cli: Cli, planet: Path, sar: Path, out: Path, weights: Path, *options: object) -> np.ndarray:
    done = cli("run", "--planet", planet, "--sar", sar, "-o", out, "--weights", weights, "--overwrite", *options)
    assert done.exit_code == 0, done.output
    with rasterio.open(out) as dataset:
        return dataset.read().astype(int)


def test_the_result_does_not_depend_on_the_batch(
    cli: Cli, make_scene: MakeScene, make_sar: MakeScene, tiny_weights: Path, tmp_path: Path
) -> None:
    scene, sar = make_scene(200, 230), make_sar()
    one, four = (
        result_of(cli, scene, sar, tmp_path / f"{n}.tif", tiny_weights, "--tile", 64, "--overlap", 32, "--batch", n)
        for n in (1, 4)
    )
    assert np.abs(one - four).max() <= 1  # a rounding of the last digit, where convolutions sum in another order
    assert (one != four).mean() < 1e-3


@pytest.mark.slow
def test_skipped_tiles_do_not_change_reconstructed_pixels(
    cli: Cli, make_scene: MakeScene, make_sar: MakeScene, make_mask: MakeScene, tiny_weights: Path, tmp_path: Path
) -> None:
    scene, sar = make_scene(300, 300), make_sar()
    cloud = np.zeros((300, 300))
    cloud[60:110, 30:90] = 1
    options = ("--tile", 64, "--overlap", 32, "--buffer", 0, "--coregister", "off", "--mask", make_mask(cloud))
    few = result_of(cli, scene, sar, tmp_path / "few.tif", tiny_weights, *options)
    every = result_of(cli, scene, sar, tmp_path / "all.tif", tiny_weights, *options, "--fill", "all")
    np.testing.assert_array_equal(few[:, cloud == 1], every[:, cloud == 1])
    np.testing.assert_array_equal(few[:, 200:], scene_dn(300, 300)[:, 200:])


class Greedy(Identity):
    """Runs out of memory over `limit` pixels, as a device would."""

    limit = 0

    def forward(self, reflectance: torch.Tensor, sar_db: torch.Tensor) -> torch.Tensor:
        if reflectance[:, 0].numel() > self.limit:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return super().forward(reflectance, sar_db)


def predictor(limit: int, batch: int) -> Predictor:
    model: CloudRemovalModel = Greedy()
    model.limit = limit
    return Predictor(model, torch.device("cpu"), "fp32", batch)


def test_out_of_memory_halves_the_batch_for_good() -> None:
    optical, sar = torch.rand(8, 4, 16, 16), torch.zeros(8, 2, 16, 16)
    run = predictor(limit=2 * 256, batch=8)
    torch.testing.assert_close(run(optical, sar), optical)
    assert run.batch_for(16) == 2
    with pytest.raises(TileTooLargeError):
        predictor(limit=255, batch=1)(optical, sar)


@pytest.mark.parametrize("count", [0, 1, 3])
def test_one_behind(count: int) -> None:
    drawn = []

    def source() -> Iterator[int]:
        for i in range(count):
            drawn.append(i)
            yield i

    seen = [(item, len(drawn)) for item in one_behind(source())]
    assert seen == [(i, min(i + 2, count)) for i in range(count)]


class Live(TorchDispatchMode):
    """Bytes of the tensors made within, at their most."""

    def __init__(self) -> None:
        super().__init__()
        self._sizes: dict[int, int] = {}
        self.peak = 0

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        made = function(*args, **(kwargs or {}))
        for tensor in filter(torch.is_tensor, tree_leaves(made)):
            storage = tensor.untyped_storage()
            if storage._cdata not in self._sizes:
                self._sizes[storage._cdata] = storage.nbytes()
                weakref.finalize(storage, self._sizes.pop, storage._cdata)
                self.peak = max(self.peak, sum(self._sizes.values()))
        return made


@pytest.mark.slow
def test_the_published_size_fits_a_card_of_8_gb() -> None:
    """A default tile in float32, by the plain kernels: on tensors without data, that need no card."""
    with torch.device("meta"):
        model = AlignCR().prepare_for_inference()
        optical, sar = torch.empty(1, 4, 512, 512), torch.empty(1, 2, 512, 512)
    weights = sum(4 * parameter.numel() for parameter in model.parameters())
    with torch.inference_mode(), Live() as live:
        model(optical, sar)
    assert live.peak > 2 * 336 * 256 * 256 * 4  # what a dense block holds of both streams: the count is real
    assert weights + live.peak < 2 * 2**30


def test_out_of_memory_then_halves_the_tile_then_says_so(
    cli: Cli, make_scene: MakeScene, make_sar: MakeScene, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scene, sar, out = make_scene(300, 300), make_sar(), tmp_path / "out.tif"
    monkeypatch.setattr("cloudfree.planning.load_model", lambda name: identity_like(Greedy))
    monkeypatch.setattr(Greedy, "limit", 128 * 128)
    done = cli("run", "--planet", scene, "--sar", sar, "-o", out, "--json", "--weights", "identity", "--fill", "all")
    assert done.exit_code == 0
    assert "starting again with tiles of 128" in done.stderr
    assert '"tile": 128' in done.stdout
    with rasterio.open(out) as dataset:
        np.testing.assert_array_equal(dataset.read(), scene_dn(300, 300))
    monkeypatch.setattr(Greedy, "limit", 100)
    done = cli(
        "run", "--planet", scene, "--sar", sar, "-o", out, "--overwrite", "--weights", "identity", "--fill", "all"
    )
    assert done.exit_code == 1
    assert "too little free memory" in done.stderr


def identity_like(kind: type[Identity]) -> CloudRemovalModel:
    model = load_model("identity")
    model.__class__ = kind
    return model


def seen_by(reflectance: np.ndarray, sar_db: np.ndarray, hidden: np.ndarray, pixel_size_m: float) -> Seen:
    """What a network that sees is shown of an image (4, H, W) whose mask is `hidden` (H, W)."""
    model = fit_fine(reflectance, sar_db, hidden, np.ones_like(hidden), pixel_size_m, by_holes=False)
    rows, cols = map(range, hidden.shape)
    weight, everywhere = hidden.astype(np.float32), np.ones_like(hidden)
    tile = Tile(reflectance, everywhere, sar_db, weight, *model.expected(rows, cols), wanted=weight)
    nothing = np.zeros(4, np.float32), np.zeros(2, np.float32)
    return seen_of(tile, Restoration.of(*nothing, model, sees=True))


def cloudy_place(side: int) -> Seen:
    """Of a simulated place under 40 % of cloud."""
    rng = np.random.default_rng(5)
    land = landscape(rng, side, side)
    layer = cloud_layer(rng, side, side, cover=0.4)
    return seen_by(np.clip(add_clouds(land.reflectance, layer), 0, 1), land.sar_db, layer.mask, 3.0)


def on_cpu(precision: Precision) -> Predictor:
    """The shipped weights."""
    return Predictor(load_model(default_weights().name), torch.device("cpu"), precision, 1)


def change_of(exact: torch.Tensor, restored: torch.Tensor, seen: Seen) -> np.ndarray:
    """Of reflectance where it is hidden."""
    hidden = seen.hidden.expand_as(exact) > 0
    change: np.ndarray = (exact - restored).abs()[hidden].numpy()
    return change


def assert_close_to_float32(change: np.ndarray) -> None:
    assert 0 < np.percentile(change, 99.9) < 2.5e-3
    assert change.max() < 1e-2


@pytest.mark.parametrize(("precision", "side"), [("bf16", 256), ("fp16", 128)])  # fp16 is slow on processors
@pytest.mark.slow
def test_half_precision_keeps_the_reflectance(precision: Precision, side: int) -> None:
    seen = cloudy_place(side)
    exact, fast = (on_cpu(kind)(*seen) for kind in ("fp32", precision))
    assert_close_to_float32(change_of(exact, fast, seen))


@pytest.mark.parametrize(("dtype", "side"), [(torch.bfloat16, 256), (torch.float16, 128)])
@pytest.mark.slow
def test_autocast_keeps_the_reflectance(dtype: torch.dtype, side: int) -> None:
    """As training on CUDA has it; the processor's autocast rounds the same layers."""
    seen, predict = cloudy_place(side), on_cpu("fp32")
    exact = predict(*seen)
    with torch.autocast("cpu", dtype):
        assert_close_to_float32(change_of(exact, predict(*seen), seen))


@pytest.mark.slow
def test_bfloat16_keeps_the_reflectance_of_real_images(shared_data: Path) -> None:
    exact, fast, changes = on_cpu("fp32"), on_cpu("bf16"), []
    for cloudy in sorted((shared_data / "cloudy_clear").glob("*_cloudy.tif")):
        with rasterio.open(cloudy) as optical, rasterio.open(str(cloudy).replace("_cloudy", "_sar")) as sar:
            image, sar_db = np.clip(optical.read(window=CROP).astype(np.float32) / 1e4, 0, 1), sar.read(window=CROP)
        seen = seen_by(image, sar_db, image[0] > np.percentile(image[0], 60), 10.0)
        changes.append(change_of(exact(*seen), fast(*seen), seen))
    assert len(changes) > 5
    assert_close_to_float32(np.concatenate(changes))


def test_bfloat16_does_not_depend_on_the_batch() -> None:
    predict, seen = on_cpu("bf16"), cloudy_place(64)
    three = [torch.cat([plane, plane.flip(2), plane.flip(3)]) for plane in seen]
    one_by_one = [predict(*(plane[[i]] for plane in three)) for i in range(3)]
    torch.testing.assert_close(predict(*three), torch.cat(one_by_one), rtol=0, atol=1e-6)


@pytest.mark.parametrize("architecture", list(ENDS))
def test_a_model_in_half_keeps_its_ends_in_float32(architecture: type[CloudRemovalModel]) -> None:
    model = architecture(getattr(architecture, "small", None))
    half = model.in_half(torch.bfloat16)
    assert {each.dtype for each in model.parameters()} == {torch.float32}, "the model itself stays"
    kept = {name.split(".")[0] for name, each in half.named_parameters() if each.dtype == torch.float32}
    assert kept == ENDS[architecture]
    if half.planes:
        channels = (4, 4, 4, 4, 1, 1, 2)
        out = half(*(torch.rand(1, count, 32, 48) for count in channels))
    else:
        out = half(torch.rand(1, 4, 32, 48), torch.zeros(1, 2, 32, 48))
    assert out.dtype == torch.float32
    assert not out.requires_grad
