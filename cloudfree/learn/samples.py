"""What a network as published learns from: a cloudy image, radar, the truth, and where each of them counts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

import numpy as np

from cloudfree.arrays import Image, Mask

LEAST_KNOWN = 0.3
"""Share of a sample whose truth must be known."""

_CROP_ATTEMPTS = 8


@dataclass(frozen=True)
class Sample:
    """cloudy, clear (4, H, W) reflectance; sar_db (2, H, W); mask (H, W): where cloud, haze or shadow is.

    known (H, W): where `clear` is the truth; elsewhere nothing is to be learned.
    """

    cloudy: Image
    sar_db: Image
    clear: Image
    mask: Mask
    known: Mask

    def crop(self, rng: np.random.Generator, side: int) -> Sample:
        """A random square of it, with enough of the truth if that can be found."""
        for _ in range(_CROP_ATTEMPTS):
            y, x = (int(rng.integers(length - side + 1)) for length in self.mask.shape)
            window = slice(y, y + side), slice(x, x + side)
            if self.known[window].mean() >= LEAST_KNOWN:
                break
        cloudy, sar_db, clear = (
            np.ascontiguousarray(image[:, *window]) for image in (self.cloudy, self.sar_db, self.clear)
        )
        return Sample(cloudy, sar_db, clear, self.mask[window], self.known[window])


S_co = TypeVar("S_co", covariant=True)


class SampleSource(Protocol[S_co]):
    """Where samples come from; equal generators give equal samples."""

    def __len__(self) -> int:
        """Images: as many samples are an epoch."""

    def draw(self, rng: np.random.Generator) -> S_co: ...


@dataclass(frozen=True)
class Mixture(Generic[S_co]):
    """Several sources, each drawn from equally often, whatever its size."""

    sources: Sequence[SampleSource[S_co]]

    def __len__(self) -> int:
        return sum(map(len, self.sources))

    def draw(self, rng: np.random.Generator) -> S_co:
        return self.sources[int(rng.integers(len(self.sources)))].draw(rng)
