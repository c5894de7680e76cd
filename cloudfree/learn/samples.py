"""What a network learns from: a cloudy image, radar, the truth, and where each of them counts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np

from cloudfree.arrays import Image, Mask
from cloudfree.inputs.cloudmask import BUFFER_M, FEATHER_M, Rim
from cloudfree.scene.prior import prime

LEAST_KNOWN = 0.3
"""Share of a sample whose truth must be known."""

# Of primed samples: all that the mask flags is replaced, as often as this; else haze is kept with any lenience.
_WHOLLY_PRIMED = 0.4
_TRIES = 8


@dataclass(frozen=True)
class Sample:
    """cloudy, clear (4, H, W) reflectance; sar_db (2, H, W); mask (H, W): what is to be reconstructed.

    That is where cloud, haze or shadow is; if the sample is primed, where the scene's prior stands in `cloudy`. known
    (H, W): where `clear` is the truth; elsewhere nothing is to be learned.
    """

    cloudy: Image
    sar_db: Image
    clear: Image
    mask: Mask
    known: Mask

    def crop(self, rng: np.random.Generator, side: int) -> Sample:
        """A random square of it, with enough of the truth if that can be found."""
        for _ in range(_TRIES):
            y, x = (int(rng.integers(length - side + 1)) for length in self.mask.shape)
            window = slice(y, y + side), slice(x, x + side)
            if self.known[window].mean() >= LEAST_KNOWN:
                break
        cloudy, sar_db, clear = (
            np.ascontiguousarray(image[:, *window]) for image in (self.cloudy, self.sar_db, self.clear)
        )
        return Sample(cloudy, sar_db, clear, self.mask[window], self.known[window])


class Source(Protocol):
    """Where samples come from; equal generators give equal samples."""

    def __len__(self) -> int:
        """Images: as many samples are an epoch."""

    def draw(self, rng: np.random.Generator) -> Sample: ...


@dataclass(frozen=True)
class Mixture:
    """Several sources, each drawn from equally often, whatever its size."""

    sources: Sequence[Source]

    def __len__(self) -> int:
        return sum(map(len, self.sources))

    def draw(self, rng: np.random.Generator) -> Sample:
        return self.sources[int(rng.integers(len(self.sources)))].draw(rng)


def primed(rng: np.random.Generator, sample: Sample, mask: Mask, pixel_size_m: float) -> Sample:
    """The sample as a run would prime it by a mask (H, W): with its rim, filled by a prior, unveiled.

    What is not known is masked too, for a run would not show it either.
    """
    rim = Rim(BUFFER_M / pixel_size_m, FEATHER_M / pixel_size_m)
    hidden = mask | ~sample.known
    share = rim.share(hidden)
    lenience = 0.0 if rng.random() < _WHOLLY_PRIMED else float(rng.uniform(0.1, 1))
    filled, prior = prime(
        sample.cloudy, sample.sar_db, hidden, share, np.ones(share.shape, bool), pixel_size_m, lenience
    )
    veil = prior.veil[:, None, None]
    return replace(sample, cloudy=filled - veil, clear=sample.clear - veil, mask=share > 0)


def turned(rng: np.random.Generator, *images: Image) -> list[Image]:
    """One of the eight symmetries of the square, the same for all."""
    turns, flip = int(rng.integers(4)), rng.random() < 0.5
    rotated = [np.rot90(image, turns, (1, 2)) for image in images]
    return [image[..., ::-1] if flip else image for image in rotated]
