"""Where made-up land is drawn, and how people divide it: districts, cut along lines into blocks, these into cells."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import KDTree

from cloudfree.arrays import Float64Array, Image, as_image
from cloudfree.simulate.noise import fast_shape, fractal_noise

Index = NDArray[np.int32]
"""Which block, district or cell each pixel (H, W) belongs to."""


@dataclass(frozen=True)
class Canvas:
    """A random generator, and where each pixel (H, W) lies: metres below and right of the upper left corner."""

    rng: np.random.Generator
    shape: tuple[int, int]
    pixel_size_m: float
    y_m: Image
    x_m: Image

    @classmethod
    def blank(cls, rng: np.random.Generator, height: int, width: int, pixel_size_m: float) -> Canvas:
        """`height` x `width` pixels with no draw taken from the generator yet."""
        y, x = np.mgrid[:height, :width].astype(np.float32) * np.float32(pixel_size_m)
        return cls(rng, (height, width), pixel_size_m, y, x)

    @property
    def size_m(self) -> tuple[float, float]:
        """(height, width)."""
        return self.shape[0] * self.pixel_size_m, self.shape[1] * self.pixel_size_m

    def noise(self, slope: float, outer_m: float) -> Image:
        """Fractal noise (H, W) with features of up to `outer_m`: see `fractal_noise`."""
        field = fractal_noise(self.rng, fast_shape(*self.shape), slope=slope, outer_px=outer_m / self.pixel_size_m)
        return field[: self.shape[0], : self.shape[1]]


@dataclass(frozen=True)
class Blocks:
    """Land cut up along straight lines that follow a local direction.

    block (H, W): index. box (N, 4): extent of each block in metres along (u0, u1) and across (v0, v1) the direction.
    u_m, v_m (H, W): position in those coordinates. edge_m: distance to the block's border. lane_m: to an early cut.
    """

    block: Index
    box: Image
    u_m: Image
    v_m: Image
    edge_m: Image
    lane_m: Image

    def cells(self, width_m: Image, depth_m: Image) -> tuple[Index, Image, Image]:
        """Blocks cut into equal cells of about that size per block: a key per pixel, and position within, -0.5..0.5."""
        u0, u1, v0, v1 = self.box.T
        # A sliver of one pixel has no extent, and is one cell.
        length, breadth = np.maximum(u1 - u0, 1e-3), np.maximum(v1 - v0, 1e-3)
        across, down = np.maximum(np.round(length / width_m), 1), np.maximum(np.round(breadth / depth_m), 1)
        u = (self.u_m - u0[self.block]) / length[self.block] * across[self.block]
        v = (self.v_m - v0[self.block]) / breadth[self.block] * down[self.block]
        column, row = np.floor(u), np.floor(v)
        key = (self.block * 1009 + column * 31 + row).astype(np.int32)
        return key, as_image(u - column - 0.5), as_image(v - row - 0.5)


class _Piece(NamedTuple):
    """A piece of land: flat pixel indices, its box [[u0, u1], [v0, v1]] in metres, and how often it has been cut."""

    pixels: NDArray[np.intp]
    box: Image
    cuts: int

    def halved(self, rng: np.random.Generator, uv: Image) -> tuple[tuple[_Piece, _Piece], Image]:
        """Cut near the middle of the longer side; and each pixel's distance from the cut."""
        axis = int(np.ptp(self.box, 1).argmax())
        start, stop = self.box[axis]
        at = start + np.float32(rng.uniform(0.36, 0.64)) * (stop - start)
        offset = uv[axis, self.pixels] - at
        low, high = self.box.copy(), self.box.copy()
        low[axis, 1], high[axis, 0] = at, at
        halves = (
            _Piece(self.pixels[offset < 0], low, self.cuts + 1),
            _Piece(self.pixels[offset >= 0], high, self.cuts + 1),
        )
        return halves, np.abs(offset)


def districts(canvas: Canvas, spacing_m: float) -> tuple[Index, Image]:
    """Nearest of scattered seeds, in gently bent coordinates; and the distance in metres to the border of that area."""
    y, x = canvas.y_m + 50 * canvas.noise(3.0, 600), canvas.x_m + 50 * canvas.noise(3.0, 600)
    rows, columns = (math.ceil(size / spacing_m) + 2 for size in canvas.size_m)
    lattice = np.mgrid[-1 : rows - 1, -1 : columns - 1].reshape(2, -1).T
    seeds_m = (lattice + canvas.rng.uniform(0, 1, lattice.shape)) * spacing_m
    nearest_two = KDTree(seeds_m).query(np.stack([y, x], -1), k=2)
    (near_m, next_m), (owner, neighbour) = (np.moveaxis(np.asarray(two), -1, 0) for two in nearest_two)
    # From the bisector between two seeds: half the difference of the squared distances over the seeds' own distance.
    apart_m = np.linalg.norm(seeds_m[owner] - seeds_m[neighbour], axis=-1)
    return owner.astype(np.int32), as_image((next_m**2 - near_m**2) / (2 * apart_m))


def subdivide(canvas: Canvas, district: Index, angles: Float64Array, side_m: float, lane_cuts: int) -> Blocks:
    """Each district's land halved across its longer side, again and again, until the pieces are about `side_m` long."""
    bend = 12 * canvas.noise(2.6, 500)
    cos, sin = (f(angles).astype(np.float32)[district] for f in (np.cos, np.sin))
    uv = np.stack([canvas.x_m * cos + canvas.y_m * sin + bend, canvas.y_m * cos - canvas.x_m * sin + bend])
    uv = uv.reshape(2, -1)
    block = np.zeros(district.size, np.int32)
    edge, lane = np.full((2, district.size), 1e6, np.float32)
    boxes: list[Image] = []
    whole = [np.flatnonzero(district.ravel() == d) for d in np.unique(district)]
    pieces = [_Piece(pixels, np.stack([uv[:, pixels].min(1), uv[:, pixels].max(1)], 1), 0) for pixels in whole]
    while pieces:
        piece = pieces.pop()
        if np.ptp(piece.box, 1).max() < side_m * canvas.rng.uniform(0.9, 1.7):
            block[piece.pixels] = len(boxes)
            boxes.append(piece.box.ravel())
            continue
        halves, distance = piece.halved(canvas.rng, uv)
        pieces += [half for half in halves if half.pixels.size]
        edge[piece.pixels] = np.minimum(edge[piece.pixels], distance)
        if piece.cuts < lane_cuts:
            lane[piece.pixels] = np.minimum(lane[piece.pixels], distance)
    u, v, edge_m, lane_m = (as_image(plane.reshape(canvas.shape)) for plane in (uv[0], uv[1], edge, lane))
    return Blocks(block.reshape(canvas.shape), as_image(boxes), u, v, edge_m, lane_m)
