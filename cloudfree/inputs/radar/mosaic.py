"""Several images of one ground as one: where they overlap, the seam runs midway between their edges.

On either side of the seam the image whose edge is farther away is shown alone, so that speckle and date stay one
image's own; along it, over `FEATHER_M`, both are blended in linear power, so that a step of a few tenths of a dB does
not become a line that a network takes for the edge of a field. Edges are where an image ends and another goes on: of
images that cover the same, the first is shown. What one image lacks, another fills. Where the edges are is decided
once, for a scene; then pixel by pixel, so that strips equal the whole; nothing is written between.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from rasterio.windows import Window
from scipy.ndimage import binary_fill_holes, distance_transform_edt, map_coordinates

from cloudfree.arrays import Float64Array, Image, Mask
from cloudfree.geometry import Displacement, Geometry, Grid, PixelSource
from cloudfree.geometry.resample import block_means, positions

FEATHER_M = 300.0
"""Difference of the distances to the edges over which two images are blended: 300 m across, 30 pixels of radar."""

_LATTICE_PX = 512  # a side, on which edges are looked for
_NO_EDGE_M = 1e7  # the distance to its edge of an image that has none
_RANK_M = 1e5  # by which the first of several such is ahead of the next
_NOWHERE = -1e9


@dataclass(frozen=True)
class Coverage:
    """Where an image has data: `known` (h, w) thins a `window` of its pixels; `bands` are its own of the mosaic's."""

    grid: Geometry
    window: Window
    known: Mask
    bands: frozenset[int]

    def on(self, lattice: Grid) -> Mask:
        """Where the image has data on another grid (H, W), by the nearest pixel, with holes filled.

        Holes are no edges: other images fill them, and a seam need not keep away from them.
        """
        row, col = positions(self.grid, lattice, None)
        height, width = self.known.shape
        down = np.floor((row - self.window.row_off + 0.5) * height / self.window.height)
        across = np.floor((col - self.window.col_off + 0.5) * width / self.window.width)
        inside = (down >= 0) & (down < height) & (across >= 0) & (across < width)
        known = np.zeros(lattice.shape, bool)
        known[inside] = self.known[down[inside].astype(np.intp), across[inside].astype(np.intp)]
        return np.asarray(binary_fill_holes(known))


@dataclass(frozen=True)
class EdgeDistance:
    """Distance in metres (h, w) of the pixels of a coarse grid from where an image ends and another goes on."""

    grid: Grid
    metres: Image

    def at(self, row: Float64Array, col: Float64Array) -> Float64Array:
        """The distance in metres at rows and columns of the coarse grid, bilinear."""
        where = [np.nan_to_num(row), np.nan_to_num(col)]
        return np.asarray(map_coordinates(self.metres, where, np.float64, order=1, mode="nearest"))


def edge_distances(area: Grid, coverages: Sequence[Coverage]) -> list[EdgeDistance]:
    """Distances of the ground of `area` from the edge of each image of a mosaic."""
    lattice = area.resized(min(area.height, _LATTICE_PX), min(area.width, _LATTICE_PX))
    known = [coverage.on(lattice) for coverage in coverages]
    distances = []
    for rank, (coverage, own) in enumerate(zip(coverages, known, strict=True)):
        rivals = [mask for other, mask in zip(coverages, known, strict=True) if other.bands & coverage.bands]
        beyond = np.any(rivals, axis=0) & ~own
        metres = np.full(lattice.shape, _NO_EDGE_M - rank * _RANK_M, np.float32)
        if beyond.any():  # a pixel off, for the edge may run anywhere through one
            metres = (np.maximum(distance_transform_edt(~beyond) - 1, 0) * lattice.pixel_size_m).astype(np.float32)
        distances.append(EdgeDistance(lattice, metres))
    return distances


@dataclass(frozen=True)
class Piece:
    """An image of a mosaic: its bands are those of the mosaic with these (zero-based) numbers."""

    source: PixelSource
    bands: tuple[int, ...]
    edge: EdgeDistance | None = field(default=None, compare=False)


@dataclass(frozen=True)
class Mosaic:
    """Images as one image of `bands` bands."""

    pieces: Sequence[Piece]
    bands: int

    def on_grid(self, grid: Grid, displacement: Displacement | None) -> Image:
        """The bands (bands, H, W) in dB on `grid`, NaN where no image is valid; averaged where `grid` is coarser."""
        parts = max(piece.source.parts_of(grid) for piece in self.pieces)
        if parts == 1:
            return self._joined(grid, displacement, linear=False)
        fine = grid.resized(grid.height * parts, grid.width * parts)
        # Joined before they are averaged: at a corner of four tiles each has but a quarter of a coarse pixel.
        mean = block_means(self._joined(fine, displacement, linear=True), parts)
        return self.pieces[0].source.from_linear(mean)

    def _joined(self, grid: Grid, displacement: Displacement | None, linear: bool) -> Image:
        """The bands (bands, H, W) on `grid`, blended, in dB or in linear power."""
        images = [(piece, piece.source.interpolated(grid, displacement, linear)) for piece in self.pieces]
        valid = [(piece, values) for piece, values in images if np.isfinite(values).any()]
        distances_m = _distances([piece for piece, _ in valid], grid, displacement)
        out = np.full((self.bands, *grid.shape), np.nan, np.float32)
        for bands, numbers in self._by_images([piece for piece, _ in valid]):
            layers = [
                values[[piece.bands.index(band) for band in bands]] for piece, values in (valid[n] for n in numbers)
            ]
            away_m = [distances_m[n] for n in numbers]
            out[bands] = layers[0] if len(layers) == 1 else self._blended(np.stack(layers), np.stack(away_m), linear)
        return out

    def _by_images(self, pieces: Sequence[Piece]) -> list[tuple[list[int], tuple[int, ...]]]:
        """Bands that the same images have, and the numbers of these images: their pixels are valid in all bands."""
        bands_of: dict[tuple[int, ...], list[int]] = {}
        for band in range(self.bands):
            numbers = tuple(n for n, piece in enumerate(pieces) if band in piece.bands)
            bands_of.setdefault(numbers, []).append(band)
        return [(bands, numbers) for numbers, bands in bands_of.items() if numbers]

    def _blended(self, values: Image, distance_m: Float64Array, linear: bool) -> Image:
        """Bands (B, H, W) of images (N, B, H, W), blended in linear power, by their distances (N, H, W) in metres."""
        source = self.pieces[0].source
        weights = blend_weights(np.isfinite(values[:, 0]), distance_m).astype(np.float32)
        shown = np.take_along_axis(values, weights.argmax(axis=0)[None, None], axis=0)[0]
        mixed = (weights > 0).sum(axis=0) > 1
        if mixed.any():
            power = np.nan_to_num(values if linear else source.to_linear(values))
            mean = np.einsum("nhw,nbhw->bhw", weights, power)
            shown = np.where(mixed, mean if linear else source.from_linear(mean), shown)
        return np.asarray(shown)


def _distances(pieces: Sequence[Piece], grid: Grid, displacement: Displacement | None) -> list[Float64Array]:
    """Distances in metres (H, W) of the pixels of `grid` from the edge of each image; of one alone, far."""
    edges = [piece.edge for piece in pieces if piece.edge]
    if len(pieces) < 2 or len(edges) < len(pieces):
        return [np.full(grid.shape, _NO_EDGE_M - rank * _RANK_M) for rank in range(len(pieces))]
    at = positions(edges[0].grid, grid, displacement)  # all are on one
    return [edge.at(*at) for edge in edges]


def blend_weights(valid: Mask, distance_m: Float64Array) -> Float64Array:
    """Shares (N, H, W) of N images, 0..1, by the distance (N, H, W) of a pixel from their edges, in metres.

    They sum to one where any image is `valid` (N, H, W), and are zero elsewhere.
    """
    inside = np.where(valid, np.maximum(distance_m, 0), _NOWHERE)
    farthest = inside.max(axis=0)
    # A feather wider than an overlap would end in a step at its rim.
    feather = np.clip(farthest, 1e-3, FEATHER_M)
    weights = np.where(valid, np.clip(1 - (farthest - inside) / feather, 0, 1), 0)
    return np.asarray(weights / np.maximum(weights.sum(axis=0), 1e-9))
