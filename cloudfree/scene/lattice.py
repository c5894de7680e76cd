"""A smooth field over the coarse grid: values at the nodes of a lattice, bilinear in between."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from cloudfree.arrays import Float64Array, Image, as_image
from cloudfree.geometry import neighbours, upsampled
from cloudfree.scene.threads import over_rows

_FINEST_PX, _MOST_NODES = 4, 6_000
_RANGE_M = 2000.0  # over which a field forgets what it is tied to


@dataclass(frozen=True)
class Lattice:
    """Nodes at the centres of squares of `pitch_px` over an image of `shape` (h, w)."""

    shape: tuple[int, int]
    pixel_size_m: float

    @cached_property
    def pitch_px(self) -> int:
        return max(_FINEST_PX, math.ceil(math.sqrt(self.shape[0] * self.shape[1] / _MOST_NODES)))

    @property
    def nodes_yx(self) -> tuple[int, int]:
        """Rows and columns of nodes, two of each at least."""
        return max(2, -(-self.shape[0] // self.pitch_px)), max(2, -(-self.shape[1] // self.pitch_px))

    def at(self, sample: NDArray[np.intp]) -> Any:
        """The sparse matrix (n, nodes) that interpolates at flat indexes (n,) of the image."""
        rows, cols = self.nodes_yx
        (above, below, down), (left, right, across) = (
            tuple(part[place] for part in neighbours(count, count * self.pitch_px, slice(0, length)))
            for count, length, place in zip((rows, cols), self.shape, np.divmod(sample, self.shape[1]), strict=True)
        )
        corners = [(above, left), (above, right), (below, left), (below, right)]
        shares = [(1 - down) * (1 - across), (1 - down) * across, down * (1 - across), down * across]
        index = np.stack([y * cols + x for y, x in corners], axis=1)
        ends = np.arange(0, index.size + 1, 4)
        return sparse.csr_array(
            (np.stack(shares, axis=1).ravel().astype(np.float64), index.ravel(), ends), (len(sample), rows * cols)
        )

    def precision(self) -> Any:
        """Of the nodes (nodes, nodes), but for the variance: a membrane on springs.

        What it costs to bend does not depend on the pitch, so that a variance means the same on every lattice.
        """
        (rows, cols), spring = self.nodes_yx, (self.pitch_px * self.pixel_size_m / _RANGE_M) ** 2
        bent = sparse.kron(_line(rows), sparse.eye_array(cols)) + sparse.kron(sparse.eye_array(rows), _line(cols))
        return (bent + spring * sparse.eye_array(rows * cols)).tocsc()

    def add(self, nodes: Float64Array, image: Image) -> None:
        """Add the field of nodes (nodes, C) to an image (C, h, w), without a copy of all of it."""
        rows, cols = self.nodes_yx
        field, whole = as_image(nodes.T).reshape(-1, rows, cols), (rows * self.pitch_px, cols * self.pitch_px)

        def add(strip: slice) -> None:
            image[:, strip] += upsampled(field, whole, strip, slice(0, self.shape[1]))

        over_rows(add, self.shape[0])


def _line(count: int) -> Any:
    """The sparse second difference of a line, free at its ends."""
    steps = sparse.eye_array(count - 1, count, k=1) - sparse.eye_array(count - 1, count)
    return steps.T @ steps
