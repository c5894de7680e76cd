"""Windows of one scene under clouds, as a network that sees is shown them, while `adapt` learns from them."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence

import numpy as np

from cloudfree.errors import InputError
from cloudfree.learn import augment
from cloudfree.learn.cloud_layers import DrawCloudLayer
from cloudfree.learn.lifted_layers import of_layer
from cloudfree.learn.places import Place
from cloudfree.learn.seen_samples import Ground, SeenSample, hidden_corner, kept_part, obscured, turned
from cloudfree.reconstruct.lifted import LiftedClouds

_NEW = 1 / 8  # share of draws that lay clouds over a window anew: a model takes as long as several steps
_MOST_WINDOWS, _KEPT = 10, 60  # samples to draw from meanwhile, 100 MB
_LEAST_HIDDEN, _ATTEMPTS = 0.05, 8  # share of a crop


class ObscuredWindows:
    """Random crops of windows under clouds, turned; equal generators draw equal ones from a new source."""

    def __init__(self, windows: Sequence[Place], draw_layer: DrawCloudLayer, crop: int) -> None:
        self._windows = windows
        self._draw_layer = draw_layer
        self._crop = crop
        self._kept: deque[SeenSample] = deque(maxlen=_KEPT)

    def __len__(self) -> int:
        return len(self._windows)

    def draw(self, rng: np.random.Generator) -> SeenSample:
        """A crop of `crop` pixels of a sample, new or kept."""
        if not self._kept or rng.random() < _NEW:
            self._obscure(rng)
        sample = augment.pick(rng, self._kept)
        corner = hidden_corner(rng, sample.counted, self._crop, _LEAST_HIDDEN, _ATTEMPTS) or (0, 0)
        return turned(rng, sample.window(*corner, self._crop))

    def _obscure(self, rng: np.random.Generator) -> None:
        """Keep samples of a window more. Raises InputError where there are none at all."""
        for _ in range(_MOST_WINDOWS):
            made = obscured(rng, self._ground, self._clouds)
            self._kept += [part for sample in made if (part := kept_part(rng, sample))]
            if self._kept:
                return
        raise InputError(
            "no window of the scene keeps clear ground under more clouds; adaptation needs some: run without it"
        )

    def _ground(self, rng: np.random.Generator) -> Ground:
        """A window as it is, beside all of its references, for so will the scene be."""
        window = augment.pick(rng, self._windows)
        assert window.hidden is not None
        (sar_db,) = window.sar_db
        return Ground(window.reflectance, window.valid, sar_db, window.others, window.pixel_size_m, window.hidden)

    def _clouds(self, rng: np.random.Generator, side: int, _: float) -> LiftedClouds:
        layer = self._draw_layer(rng, side)
        return of_layer(layer)
