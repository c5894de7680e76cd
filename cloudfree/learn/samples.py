"""What a network learns from: a cloudy image, radar, the truth, and where each of them counts."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Generic, NamedTuple, Protocol, TypeVar

import numpy as np

from cloudfree.arrays import Image, Mask
from cloudfree.reconstruct.feather import Feather
from cloudfree.reconstruct.tile import Restoration, Tile, network_input
from cloudfree.scene.model import fit_fine
from cloudfree.scene.references import telling

LEAST_KNOWN = 0.3
"""Share of a sample whose truth must be known."""

_MOST_DRAWS, _CROP_ATTEMPTS = 8, 8


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


class Draft(NamedTuple):
    """A sample before it is cropped; to be prefilled by `mask` (H, W), if there is one.

    others: the place on other dates (4, H, W), NaN where an image shows nothing.
    """

    sample: Sample
    mask: Mask | None
    pixel_size_m: float
    others: Sequence[Image]


def sample_from(draw: Callable[[np.random.Generator], Draft], rng: np.random.Generator, side: int) -> Sample:
    """A drawn sample, prefilled and cropped; one to be prefilled whose mask leaves no clear ground is drawn again."""
    for _ in range(_MOST_DRAWS):
        draft = draw(rng)
        if draft.mask is None or (draft.sample.known & ~draft.mask).any():
            break
    return (draft.sample if draft.mask is None else _prefilled(draft, draft.mask)).crop(rng, side)


def _prefilled(draft: Draft, mask: Mask) -> Sample:
    """The sample as a run would show it to a network.

    The mask is feathered, the scene's model stands in place of what it hides, and path radiance is subtracted. What is
    not known is masked too, for a run would not show it either. As in a run, other dates that show hardly any clear
    ground of the sample are left out.
    """
    sample, pixel_size_m = draft.sample, draft.pixel_size_m
    hidden, everywhere = mask | ~sample.known, np.ones(mask.shape, bool)
    cloud_weight = Feather.of_pixel_size(pixel_size_m).weight(hidden)
    others = telling(draft.others, ~hidden, pixel_size_m)
    model = fit_fine(sample.cloudy, sample.sar_db, hidden, everywhere, pixel_size_m, others, by_holes=False)
    rows, cols = map(range, mask.shape)
    expected = model.window(rows, cols, others), model.unobstructed_window(rows, cols)
    tile = Tile(sample.cloudy, everywhere, sample.sar_db, cloud_weight, *expected)
    restoration = Restoration.of(
        np.zeros(4, np.float32), np.zeros(2, np.float32), model, prefill=True
    )  # a sample has no nodata
    shown = network_input(tile, restoration).reflectance.numpy()
    path_radiance = model.path_radiance[:, None, None]
    return replace(sample, cloudy=shown - path_radiance, clear=sample.clear - path_radiance, mask=cloud_weight > 0)
