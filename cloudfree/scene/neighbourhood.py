"""What trees are shown of a pixel, the pixels about it on other dates and radar, and what they say of hidden ground.

Trees live on the coarse grid, and say nothing of what lies within its pixels. So what they differ by from the linear
models is added to the ground of these: the detail of an image of another date stays.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from cloudfree.arrays import Image, Mask
from cloudfree.geometry import distance_m
from cloudfree.inputs.masks.mask import BUFFER_M
from cloudfree.scene.features import DateTerm, OtherDate, Radar, shown_at
from cloudfree.scene.threads import over_rows
from cloudfree.scene.trees import Trees

FEWEST_TREES = 10
"""What has to do in a hole, and on much hidden ground."""

_MOST_TREES, _MOST_DESCENTS = 30, 12_000_000  # of a pixel through a tree
_AROUND = (-1, 0, 1)
_CHUNK_PX = 1 << 12


def trees_for(hidden_px: int) -> int:
    """How many trees there is time for, on so many pixels."""
    return int(np.clip(_MOST_DESCENTS // max(1, hidden_px), FEWEST_TREES, _MOST_TREES))


@dataclass(frozen=True)
class Neighbourhood:
    """Images of other dates, one at least, and radar, None where there is none."""

    dates: tuple[OtherDate, ...]
    radar: Radar | None

    def features(self, where: NDArray[np.intp]) -> Image:
        """Features (n, f) of the pixels at flat indexes (n,)."""
        return self._features(where, shown_at(where, self._shape, self.radar.detail) if self.radar else None)

    def mix_in(
        self, ground: Image, terms: tuple[DateTerm, ...], trees: Trees, weight: float, hidden: Mask, pixel_size_m: float
    ) -> None:
        """Give trees a weight (0..1) beside the ground (4, h, w), to which `terms` add, in place: where it is hidden.

        Around what is hidden (h, w) they fade out beyond the buffer of a mask, where hardly a product is rewritten.
        """
        share = np.clip(2 - distance_m(hidden, pixel_size_m, 2 * BUFFER_M) / np.float32(BUFFER_M), 0, 1)
        share *= np.float32(weight)
        width, flat = ground.shape[2], ground.reshape(len(ground), -1)

        def mix(rows: slice) -> None:
            inside = np.flatnonzero(share[rows])
            radar = self.radar.detail(rows) if self.radar and len(inside) else None
            for start in range(0, len(inside), _CHUNK_PX):
                chunk = inside[start : start + _CHUNK_PX]
                where, of_radar = chunk + rows.start * width, None if radar is None else _at(radar, chunk)
                linear = flat[:, where]
                for term, seen in zip(terms, self._flat, strict=True):
                    term.add_to(linear, seen[:, where])
                off = trees.predicted(self._features(where, of_radar)).T - linear
                flat[:, where] += share.ravel()[where] * off

        over_rows(mix, len(share))

    def _features(self, where: NDArray[np.intp], radar: Image | None) -> Image:
        """Of pixels (n,), where radar's detail (k, n) is that; beyond the edges of an image are its nearest pixels."""
        height, width = self._shape
        row, col = np.divmod(where, width)
        rows = [np.clip(row + down, 0, height - 1) * width for down in _AROUND]
        cols = [np.clip(col + right, 0, width - 1) for right in _AROUND]
        layers = [image[:, down + right] for image in self._flat for down in rows for right in cols]
        return np.ascontiguousarray(np.concatenate(layers if radar is None else [*layers, radar]).T)

    @property
    def _shape(self) -> tuple[int, ...]:
        return self.dates[0].known.shape

    @cached_property
    def _flat(self) -> list[Image]:
        """The images (4, h * w)."""
        return [np.ascontiguousarray(date.reflectance).reshape(len(date.reflectance), -1) for date in self.dates]


def _at(image: Image, inside: NDArray[np.intp]) -> Image:
    """The pixels (C, n) at flat indexes (n,) of an image (C, h, w)."""
    return image.reshape(len(image), -1)[:, inside]
