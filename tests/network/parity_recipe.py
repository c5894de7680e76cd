"""Deterministic weights and inputs, by which two implementations hold equal weights without shipping them.

The golden outputs in `golden/` are those of the published network under these weights, computed in float64.
"""

import math
import zlib

import numpy as np
import torch


def fill(state_dict: dict[str, torch.Tensor]) -> None:
    """Overwrite every tensor, float32 as published, in place from its published key and its shape."""
    with torch.no_grad():
        for key, tensor in state_dict.items():
            tensor.copy_(torch.from_numpy(_values(key, tuple(tensor.shape))))


def inputs(seed: int, height: int, width: int) -> tuple[np.ndarray, np.ndarray]:
    """Normalised cloudy image (4, H, W) and SAR image (2, H, W), float32 in 0..1."""
    rng = np.random.default_rng(seed)
    return _smooth(rng, 4, height, width), _smooth(rng, 2, height, width)


def _smooth(rng: np.random.Generator, channels: int, height: int, width: int) -> np.ndarray:
    octaves = (
        np.kron(rng.random((channels, -(-height // step), -(-width // step))), np.ones((step, step)))
        for step in (32, 8, 1)
    )
    return (sum(octave[:, :height, :width] for octave in octaves) / 3).astype(np.float32)


def _values(key: str, shape: tuple[int, ...]) -> np.ndarray:
    rng = np.random.default_rng(zlib.crc32(key.encode()))
    noise = rng.standard_normal(shape)
    if key.endswith("weight_g"):
        return 0.8 + 0.1 * noise
    if key.endswith("relative_position_bias_table"):
        return 0.2 * noise
    if key.endswith("bias"):
        return 0.02 * noise
    if len(shape) == 1:  # the scale of a LayerNorm
        return 1 + 0.1 * noise
    # Offsets of a few pixels, so that the deformable sampling is exercised, and an alignment branch that matters.
    gain = 3.0 if "conv_offset" in key else 1.3 if key.startswith("SFAlign") else 0.5
    return gain * noise / math.sqrt(math.prod(shape[1:]))
