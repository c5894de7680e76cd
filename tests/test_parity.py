"""Align-CR equals the published network: the same keys and shapes, and the same output to rounding."""

from pathlib import Path

import numpy as np
import parity_recipe
import pytest
import torch

from cloudfree.models import AlignCR, AlignCRConfig, CloudRemovalModel
from cloudfree.weights import load_model

GOLDEN = Path(__file__).parent / "golden"
DERIVED = ("relative_position_index", "attn_mask")


def published_shapes() -> dict[str, tuple[int, ...]]:
    """Key -> shape of the published state dict, the buffers that follow from the crop size among them."""
    rows = (line.split() for line in (GOLDEN / "align_cr.keys.txt").read_text().splitlines())
    return {key: tuple(map(int, shape.split("x"))) for key, shape, _ in rows}


@pytest.fixture(scope="module")
def published_model(tmp_path_factory: pytest.TempPathFactory) -> CloudRemovalModel:
    """The network loaded from a checkpoint as published: DataParallel's prefix, derived buffers, optimizer state."""
    shapes = published_shapes()
    state = {key: torch.zeros(shape) for key, shape in shapes.items() if not key.endswith(DERIVED)}
    parity_recipe.fill(state)
    buffers = {key: torch.zeros(shape) for key, shape in shapes.items() if key.endswith(DERIVED)}
    checkpoint = {
        "network": {f"module.{key}": tensor for key, tensor in {**state, **buffers}.items()},
        "optimizer": {"state": {0: {"step": torch.tensor(3.0)}}, "param_groups": [{"lr": 1e-4, "betas": (0.9, 0.999)}]},
        "epoch": 30,
    }
    path = tmp_path_factory.mktemp("published") / "align_cr.pth"
    torch.save(checkpoint, path)
    model = load_model(path)
    path.unlink()
    return model


def restored(model: CloudRemovalModel, seed: int, height: int, width: int, dtype: torch.dtype) -> np.ndarray:
    optical, sar = (torch.from_numpy(image)[None].to(dtype) for image in parity_recipe.inputs(seed, height, width))
    span_db = torch.tensor([25.0, 32.5], dtype=dtype)[:, None, None]
    with torch.inference_mode():
        return model.to(dtype)(optical, sar * span_db - span_db)[0].numpy()


def test_keys_and_shapes_are_the_published_ones():
    expected = {key: shape for key, shape in published_shapes().items() if not key.endswith(DERIVED)}
    assert {key: tuple(tensor.shape) for key, tensor in AlignCR().state_dict().items()} == expected


def test_config_is_read_from_the_shapes(published_model):
    assert published_model.config == AlignCRConfig()
    assert sum(p.numel() for p in published_model.parameters()) == pytest.approx(45.5e6, rel=0.002)


@pytest.mark.parametrize(("seed", "height", "width"), [(1, 64, 64), (3, 48, 80)])
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-5), (torch.float64, 1e-12)])
def test_output_is_the_published_one(published_model, seed, height, width, dtype, tolerance):
    golden = np.load(GOLDEN / f"align_cr_{height}x{width}.npz")["output"]
    output = restored(published_model, seed, height, width, dtype)
    assert output.dtype == np.dtype(str(dtype).removeprefix("torch."))
    np.testing.assert_allclose(output, golden, rtol=0, atol=tolerance)
