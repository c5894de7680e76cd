"""Places under lifted clouds, in the many ways in which a run may find them: what `make_samples` makes samples of."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np
from scipy import ndimage

from cloudfree.arrays import Image, as_image, known_of
from cloudfree.learn import augment
from cloudfree.learn.lifted_layers import DrawClouds
from cloudfree.learn.places import Place
from cloudfree.learn.seen_samples import Ground, SeenSample, obscured
from cloudfree.scene.model import PIXEL_M
from cloudfree.simulate.clouds import PLANETSCOPE_PIXEL_M

Series = Sequence[Place]
"""The dates of one place in order, of one size."""

_SIDE_PX, _FINE_SIDE_PX, _FEWEST_FINE_PX = 160, 256, 200  # of pixels of 10 m, and of 3 m
_FINE = 0.4  # share of samples that stand for PlanetScope's pixels
# Radar that is right, shifted by a pixel or two, VV alone, useless, or none.
_RADAR = {"right": 0.35, "shifted": 0.15, "vv": 0.1, "useless": 0.3, "none": 0.1}
_USELESS_DB, _USELESS_SPREAD_DB, _LOOKS = np.array([-10, -17], np.float32)[:, None, None], 2.0, 8.0
_FAINTEST_DB, _SPECKLED = -20.0, 0.5
_DATES = {"near": 1 / 3, "far": 1 / 3, "none": 1 / 3}
_MADE = 0.5  # of near dates, though real ones are known
_AS_SENTINEL_2 = 0.5  # of other dates beside fine pixels
_DARKEST = 1e-4  # reflectance


class ObscuredPlaces:
    """Makes samples of series in groups, which are drawn from equally often."""

    def __init__(self, groups: Sequence[Sequence[Series]], draw_clouds: DrawClouds) -> None:
        self._groups = groups
        series = [one for group in groups for one in group]
        self._dated = [one for one in series if len(one) > 1]
        self._dense = [one for one in series if len(one) > 2]
        self._draw_clouds = draw_clouds

    def make(self, rng: np.random.Generator) -> Iterator[SeenSample]:
        """Samples of one ground under one mask; now and then none. Equal generators give equal samples."""
        return obscured(rng, self._ground, self._draw_clouds)

    def _ground(self, rng: np.random.Generator) -> Ground:
        """A square of a place beside other dates that are near, far, or none."""
        kind = augment.choice(rng, _DATES)
        made = kind == "near" and (not self._dense or rng.random() < _MADE)
        dated = {"near": self._dense, "far": self._dated}.get(kind, []) if not made else []
        series = augment.pick(rng, dated or augment.pick(rng, self._groups))
        number = int(rng.integers(len(series)))
        place, others = series[number], _dates(rng, series, number, kind) if dated else ()
        fine = place.pixel_size_m < PIXEL_M or (rng.random() < _FINE and min(place.valid.shape) >= _FEWEST_FINE_PX)
        of_scene = bool(place.others) and len(series) == 1 and kind != "none"  # a window with its own references
        ground = _cut(rng, place, place.others if of_scene else others, fine=fine)
        if made and not of_scene:
            seen = ground.valid & ~ground.overcast  # the cloud over the place is not there on another day
            near = (np.where(seen, near_date(rng, ground.truth), np.nan) for _ in range(int(rng.integers(1, 3))))
            ground = replace(ground, others=tuple(map(as_image, near)))
        if fine and not of_scene:
            ground = replace(ground, others=tuple(_as_sentinel_2(rng, other) for other in ground.others))
        return _lit(rng, ground, place, fine=fine)


def _dates(rng: np.random.Generator, series: Series, number: int, kind: str) -> tuple[Image, ...]:
    """One or two other dates (4, H, W) than that of a number: the next ones, or any that are farther."""
    if kind == "near":
        at = [i for i in (number - 1, number + 1) if 0 <= i < len(series)]
    else:
        at = [i for i in range(len(series)) if abs(i - number) > (1 if len(series) > 3 else 0)]
    chosen = rng.permutation(at)[: int(rng.integers(1, 3))]
    return tuple(as_image(np.where(series[i].valid, series[i].reflectance, np.nan)) for i in chosen)


def _cut(rng: np.random.Generator, place: Place, others: Sequence[Image], *, fine: bool) -> Ground:
    """A turned square of a place, with radar of some kind and its other dates."""
    side = min(_FINE_SIDE_PX if fine else _SIDE_PX, *place.valid.shape)
    y, x = (int(rng.integers(length - side + 1)) for length in place.valid.shape)
    overcast = np.zeros_like(place.valid) if place.hidden is None else place.hidden
    flags = as_image(np.stack([place.valid, overcast]))
    images = place.reflectance, flags, _radar(rng, place), *others
    truth, flags, sar_db, *others = augment.random_d4(rng, *(image[:, y : y + side, x : x + side] for image in images))
    pixel_size_m = PLANETSCOPE_PIXEL_M if fine else PIXEL_M
    return Ground(truth, flags[0] > 0, sar_db, tuple(others), pixel_size_m, flags[1] > 0)


def _radar(rng: np.random.Generator, place: Place) -> Image:
    """Of a place (2, H, W), dB: its own, right or wrong, or none."""
    kind = augment.choice(rng, _RADAR)
    if kind == "none":
        return np.full((2, *place.valid.shape), np.nan, np.float32)
    if kind == "useless" or not place.sar_db:
        speckle = 10 * np.log10(rng.gamma(_LOOKS, 1 / _LOOKS, (2, *place.valid.shape)))
        return as_image(speckle + _USELESS_DB + rng.normal(0, _USELESS_SPREAD_DB, (2, 1, 1)))
    sar_db = augment.pick(rng, place.sar_db)
    if kind == "shifted":
        return np.roll(sar_db, rng.integers(-2, 3, 2), (1, 2))
    return augment.without_vh(sar_db) if kind == "vv" else sar_db


def _lit(rng: np.random.Generator, ground: Ground, place: Place, *, fine: bool) -> Ground:
    """In another light; radar as coarse as it comes beside fine pixels, or with speckle."""
    truth, sar_db = augment.colour_jitter(rng, ground.truth, ground.sar_db)
    if np.isfinite(sar_db).any():
        if fine and (place.fine_sar or not place.sar_db):
            sar_db = augment.coarse_sar(rng, np.nan_to_num(sar_db, nan=_FAINTEST_DB))
        elif not fine and rng.random() < _SPECKLED:
            sar_db = augment.speckle(rng, sar_db)
    return replace(ground, truth=as_image(np.clip(truth, _DARKEST, 1)), sar_db=as_image(sar_db))


def _as_sentinel_2(rng: np.random.Generator, other: Image) -> Image:
    """Another date (4, H, W) as sharp as it is, or as Sentinel-2 shows it beside pixels of 3 m."""
    if rng.random() >= _AS_SENTINEL_2:
        return other
    known = known_of(other)
    mostly = ndimage.uniform_filter(as_image(known), 3) > 0.5
    smooth = ndimage.gaussian_filter(np.where(known, other, 0), (0, 1.2, 1.2))
    share = ndimage.gaussian_filter(as_image(known), 1.2)
    return as_image(np.where(known & mostly, smooth / np.maximum(share, 0.1), np.nan))


def near_date(rng: np.random.Generator, truth: Image) -> Image:
    """What a place (4, H, W) could look like a few days off.

    It is moved by a part of a pixel, in another light that varies over it, and some of its fields have changed.
    """
    height, width = truth.shape[1:]
    moved = ndimage.shift(truth, (0, *rng.normal(0, 0.25, 2)), order=1, mode="nearest")
    light = [ndimage.zoom(rng.normal(0, 0.05, (4, 4)), (height / 4, width / 4), order=1) for _ in truth]
    gain = np.stack(light)[:, :height, :width] + rng.normal(0, 0.06, 4)[:, None, None] + _change(rng, truth)
    return as_image(np.clip(moved * np.exp(gain) + rng.normal(0, 0.002, truth.shape), _DARKEST, 1))


def _change(rng: np.random.Generator, truth: Image) -> Image:
    """Logarithm (4, H, W) of how fields changed, a quarter of them: pieces of like NIR within blocks of 24 pixels."""
    rows, cols = np.indices(truth.shape[1:])
    fields = (ndimage.gaussian_filter(truth[3], 2) * 40).astype(int) + rows // 24 * 100 + cols // 24 * 10000
    names, which = np.unique(fields, return_inverse=True)
    changed = rng.random((len(names), 1)) < 0.25
    grown = rng.normal(0, 1, (len(names), 4)) * changed * np.array([0.08, 0.1, 0.15, 0.15])
    change = grown[which.reshape(truth.shape[1:])].transpose(2, 0, 1)
    return np.stack([ndimage.gaussian_filter(band, 1) for band in change])
