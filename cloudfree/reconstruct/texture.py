"""What ground has of detail finer than the grid that a scene's model lives on."""

from __future__ import annotations

from cloudfree.arrays import Image, Mask


def texture_of(error: Image, known: Mask, side_px: int) -> Image:
    """The detail (4, n) of a model's errors (4, H, W) within squares of `side_px` that are known (H, W) throughout."""
    height, width = (length // side_px * side_px for length in known.shape)
    squares = error[:, :height, :width].reshape(len(error), height // side_px, side_px, -1, side_px)
    whole = known[:height, :width].reshape(height // side_px, side_px, -1, side_px).all(axis=(1, 3))
    within = squares - squares.mean(axis=(2, 4), keepdims=True)
    return within.transpose(0, 1, 3, 2, 4)[:, whole].reshape(len(error), -1)
