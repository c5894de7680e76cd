"""Cloudy and clear images of the same places, as data sets of cloud removal hold them, to learn from."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import numpy as np

from cloudfree.arrays import as_image
from cloudfree.errors import InputError
from cloudfree.evaluate.triplets import Triplet, TripletFiles, paste_clouds, read
from cloudfree.learn.augment import random_d4
from cloudfree.learn.samples import Sample

_CACHED_IMAGES = 256  # an M3R-CR patch takes 4 MB


class Pairs:
    """Random crops of pairs, turned and mirrored; equal generators give equal samples.

    `same_date`: the clouds are laid over the clear image, and nothing else differs. `stretched_sar`: radar is stretched
    over the image as the published code does it, instead of lying where it belongs.
    """

    def __init__(
        self,
        files: Sequence[TripletFiles],
        crop: int,
        *,
        same_date: bool = False,
        stretched_sar: bool = False,
    ) -> None:
        self._files = files
        self._crop = crop
        self._same_date = same_date
        self._read = lru_cache(_CACHED_IMAGES)(lambda one: read(one, georeferenced=not stretched_sar))

    def __len__(self) -> int:
        return len(self._files)

    def draw(self, rng: np.random.Generator) -> Sample:
        """A sample. Raises InputError where an image is smaller than the crop."""
        triplet = self._read(self._files[int(rng.integers(len(self._files)))])
        if min(triplet.valid.shape) < self._crop:
            raise InputError(
                f"{triplet.name} has {triplet.valid.shape[0]} x {triplet.valid.shape[1]} pixels, less than the crop of "
                f"{self._crop}: give a smaller --crop"
            )
        return _turned(rng, paste_clouds(triplet) if self._same_date else triplet).crop(rng, self._crop)


def _turned(rng: np.random.Generator, triplet: Triplet) -> Sample:
    """The whole triplet within 0..1, with the median backscatter where there is none, turned."""
    seen = triplet.seen
    flags = as_image(np.stack([seen.hidden, triplet.valid]))
    images = np.clip(seen.reflectance, 0, 1), seen.sar_without_gaps(), np.clip(triplet.truth, 0, 1), flags
    cloudy, sar_db, clear, flags = random_d4(rng, *images)
    return Sample(cloudy, sar_db, clear, flags[0] > 0, flags[1] > 0)
