"""What a network learns from: a cloudy image, radar, the truth, and where each of them counts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Generic, Protocol, TypeVar

import numpy as np

from cloudfree.arrays import Image, Mask
from cloudfree.inputs.masks.mask import BUFFER_M
from cloudfree.reconstruct.feather import FEATHER_M, Feather
from cloudfree.reconstruct.tile import Restoration, Tile, network_input
from cloudfree.scene.model import fit_fine
from cloudfree.scene.references import telling

LEAST_KNOWN = 0.3
"""Share of a sample whose truth must be known."""

MOST_DRAWS = 8
"""How often a sample without clear ground is drawn again."""

_CROP_ATTEMPTS = 8


@dataclass(frozen=True)
class Sample:
    """cloudy, clear (4, H, W) reflectance; sar_db (2, H, W); mask (H, W): what is to be reconstructed.

    That is where cloud, haze or shadow is; of a prefilled sample, where the scene's model stands in `cloudy`. known
    (H, W): where `clear` is the truth; elsewhere nothing is to be learned.
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


def has_clear_ground(sample: Sample, mask: Mask) -> bool:
    """Whether a mask (H, W) leaves anything of a sample for the scene's model to learn from."""
    return bool((sample.known & ~mask).any())


def prefilled(sample: Sample, mask: Mask, pixel_size_m: float, others: Sequence[Image] = ()) -> Sample:
    """The sample as a run would show it to a network, by a mask (H, W).

    The mask is feathered, the scene's model stands in place of what it hides, and path radiance is subtracted. What is
    not known is masked too, for a run would not show it either. others: the place on other dates (4, H, W), NaN where
    an image shows nothing; as in a run, those that show hardly any clear ground of the sample are left out.
    """
    hidden, everywhere = mask | ~sample.known, np.ones(mask.shape, bool)
    cloud_weight = Feather(BUFFER_M / pixel_size_m, FEATHER_M / pixel_size_m).weight(hidden)
    others = telling(others, ~hidden, pixel_size_m)
    model = fit_fine(sample.cloudy, sample.sar_db, hidden, everywhere, pixel_size_m, others, by_holes=False)
    tile = Tile(sample.cloudy, everywhere, sample.sar_db, cloud_weight, model.whole(others))
    restoration = Restoration.of(
        np.zeros(4, np.float32), np.zeros(2, np.float32), model, prefill=True
    )  # a sample has no nodata
    shown = network_input(tile, restoration).reflectance
    path_radiance = model.path_radiance[:, None, None]
    return replace(sample, cloudy=shown - path_radiance, clear=sample.clear - path_radiance, mask=cloud_weight > 0)
