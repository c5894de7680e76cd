"""Each network equals the published one: the same keys and shapes, and the same output to rounding."""

from pathlib import Path

import numpy as np
import parity_recipe
import pytest
import torch

from cloudfree.network.models import ARCHITECTURES, CloudRemovalModel
from cloudfree.network.weights import load_model

GOLDEN = Path(__file__).parent / "golden"
DERIVED = ("relative_position_index", "attn_mask")
MILLION_PARAMETERS = {"align_cr": 45.5, "glf_cr": 14.7, "dsen2_cr": 18.9}
SQUARE, OBLONG = (1, 64, 64), (3, 48, 80)
"""Seed, height and width of an image; the golden outputs are named by the size."""
IMAGES = {"align_cr": (SQUARE, OBLONG), "glf_cr": (SQUARE, OBLONG), "dsen2_cr": (SQUARE,)}


def published_shapes(architecture: str) -> dict[str, tuple[int, ...]]:
    """Key -> shape of the published state dict, the buffers that follow from the crop size among them."""
    rows = (line.split() for line in (GOLDEN / f"{architecture}.keys.txt").read_text().splitlines())
    return {key: tuple(map(int, shape.split("x"))) for key, shape, _ in rows}


@pytest.fixture(scope="module", params=IMAGES)
def published_model(request, tmp_path_factory: pytest.TempPathFactory) -> CloudRemovalModel:
    """The network loaded from a checkpoint as published: DataParallel's prefix, derived buffers, optimizer state."""
    shapes = published_shapes(request.param)
    state = {key: torch.zeros(shape) for key, shape in shapes.items() if not key.endswith(DERIVED)}
    parity_recipe.fill(state)
    buffers = {key: torch.zeros(shape) for key, shape in shapes.items() if key.endswith(DERIVED)}
    checkpoint = {
        "network": {f"module.{key}": tensor for key, tensor in {**state, **buffers}.items()},
        "optimizer": {"state": {0: {"step": torch.tensor(3.0)}}, "param_groups": [{"lr": 1e-4, "betas": (0.9, 0.999)}]},
        "epoch": 30,
    }
    path = tmp_path_factory.mktemp("published") / f"{request.param}.pth"
    torch.save(checkpoint, path)
    model = load_model(path)
    path.unlink()
    return model


def restored(model: CloudRemovalModel, seed: int, height: int, width: int, dtype: torch.dtype) -> np.ndarray:
    optical, sar = (torch.from_numpy(image)[None].to(dtype) for image in parity_recipe.inputs(seed, height, width))
    span_db = torch.tensor([25.0, 32.5], dtype=dtype)[:, None, None]
    with torch.inference_mode():
        return model.to(dtype)(optical, sar * span_db - span_db)[0].numpy()


@pytest.mark.parametrize("architecture", IMAGES)
def test_keys_and_shapes_are_the_published_ones(architecture):
    published = published_shapes(architecture)
    expected = {key: shape for key, shape in published.items() if not key.endswith(DERIVED)}
    with torch.device("meta"):
        state = ARCHITECTURES[architecture]().state_dict()
    assert {key: tuple(tensor.shape) for key, tensor in state.items()} == expected


def test_config_is_read_from_the_shapes(published_model):
    assert published_model.config == published_model.config_type()
    millions = sum(p.numel() for p in published_model.parameters()) / 1e6
    assert millions == pytest.approx(MILLION_PARAMETERS[published_model.architecture], abs=0.05)


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-5), (torch.float64, 1e-12)])
@pytest.mark.slow
def test_output_is_the_published_one(published_model, dtype, tolerance):
    for seed, height, width in IMAGES[published_model.architecture]:
        golden = np.load(GOLDEN / f"{published_model.architecture}_{height}x{width}.npz")["output"]
        output = restored(published_model, seed, height, width, dtype)
        assert output.dtype == np.dtype(str(dtype).removeprefix("torch."))
        np.testing.assert_allclose(output, golden, rtol=0, atol=tolerance, err_msg=f"{height} x {width}")
