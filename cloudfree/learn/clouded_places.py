"""Samples of clear places, with clouds laid on top."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from cloudfree.arrays import Image, as_image
from cloudfree.errors import InputError
from cloudfree.learn import augment
from cloudfree.learn.cloud_layers import DrawCloudLayer, simulated_layer
from cloudfree.learn.places import Place
from cloudfree.learn.samples import LEAST_KNOWN, Sample
from cloudfree.simulate.clouds import add_clouds

# This share of samples of a place with fine radar keeps its pixels as what they are; in others they stand for
# PlanetScope's, beside which radar is coarser.
_FINE_SAR_SHARE = 0.4
_SPECKLE_SHARE = 0.5
_VV_ALONE_SHARE = 0.15
# What co-registration may leave between radar and camera; the network is there to align it.
_MAX_SHIFT_PX = 2


class CloudedPlaces:
    """Random crops of places, augmented and clouded over; equal generators give equal samples.

    Without `colour_jitter` colours and backscatter stay as they are.
    """

    def __init__(
        self,
        places: Sequence[Place],
        crop: int,
        draw_layer: DrawCloudLayer = simulated_layer,
        *,
        colour_jitter: bool = True,
    ) -> None:
        """Raises InputError where no place has a valid square of `crop` pixels, with room to displace the radar."""
        self._crop = crop
        self._draw_layer = draw_layer
        self._colour_jitter = colour_jitter
        self._squares = [squares for place in places if (squares := valid_squares(place, crop))]
        if not self._squares:
            raise InputError(
                f"no place has a valid square of {crop} pixels and a rim; give larger images or a smaller crop"
            )

    def __len__(self) -> int:
        return len(self._squares)

    def draw(self, rng: np.random.Generator) -> Sample:
        return self._clouded(rng).crop(rng, self._crop)

    def _clouded(self, rng: np.random.Generator) -> Sample:
        """A square of a place under clouds."""
        squares = self._squares[rng.integers(len(self._squares))]
        place = squares.place
        clear, sar_db, hidden = augment.random_d4(rng, *squares.cut(rng))
        if place.fine_sar and rng.random() >= _FINE_SAR_SHARE:
            sar_db = augment.coarse_sar(rng, sar_db)
        elif place.fine_sar and rng.random() < _SPECKLE_SHARE:
            sar_db = augment.speckle(rng, sar_db)
        if self._colour_jitter:
            clear, sar_db = augment.colour_jitter(rng, clear, sar_db)
            sar_db = augment.without_vh(sar_db) if rng.random() < _VV_ALONE_SHARE else sar_db
        layer = self._draw_layer(rng, squares.side)
        return Sample(add_clouds(clear, layer), sar_db, clear, layer.mask, ~hidden[0].astype(bool))


class _Squares(NamedTuple):
    """The squares of a place that samples are made of: of `side` pixels, with their upper left corners (N, 2).

    Around each there is a valid rim, to displace the radar.
    """

    place: Place
    side: int
    corners: NDArray[np.intp]

    def cut(self, rng: np.random.Generator) -> list[Image]:
        """A square of one place: reflectance, one radar image displaced by a pixel or two, and what is hidden.

        (4, side, side), (2, side, side), and (1, side, side) that is 1 under clouds of the image's own.
        """
        place, side, corner = self.place, self.side, self.corners[rng.integers(len(self.corners))]
        sar_db = place.sar_db[rng.integers(len(place.sar_db))]
        hides = np.zeros_like(place.valid) if place.hidden is None else place.hidden
        (y, x), (down, right) = corner + _MAX_SHIFT_PX, corner + rng.integers(0, 2 * _MAX_SHIFT_PX + 1, 2)
        optical = place.reflectance, as_image(hides[None])
        reflectance, hidden = (image[:, y : y + side, x : x + side] for image in optical)
        return [reflectance, sar_db[:, down : down + side, right : right + side], hidden]


def valid_squares(place: Place, crop: int) -> _Squares | None:
    """The largest of up to three crops a side; None where there is none."""
    for side in (3 * crop, 2 * crop, crop):
        fitting = min(side, min(place.valid.shape) - 2 * _MAX_SHIFT_PX)
        if fitting >= crop and len(corners := _corners(place, fitting)):
            return _Squares(place, fitting, corners)
    return None


def _corners(place: Place, side: int) -> NDArray[np.intp]:
    """(N, 2) rows and columns of the corners of squares that are valid with their rim, and clear enough."""
    with_rim, valid = side + 2 * _MAX_SHIFT_PX, place.valid
    if min(valid.shape) < with_rim:
        return np.empty((0, 2), np.intp)
    usable = ndimage.minimum_filter(valid, with_rim, origin=-(with_rim // 2))  # its corner is the pixel itself
    if place.hidden is not None:
        hidden_share = ndimage.uniform_filter(place.hidden.astype(np.float32), with_rim, origin=-(with_rim // 2))
        usable &= hidden_share < 1 - LEAST_KNOWN
    return np.argwhere(usable[: valid.shape[0] - with_rim + 1, : valid.shape[1] - with_rim + 1])
