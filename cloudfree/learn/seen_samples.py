"""What a network that sees learns from: real ground under real clouds, with all that a run would show it there.

The scene's model is fitted as a run fits it, which takes seconds, so that samples are made once (`sample_files`) and
drawn from with crops and turns.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

import numpy as np
from scipy import ndimage

from cloudfree.arrays import Image, Mask, as_image, known_of
from cloudfree.learn import augment
from cloudfree.learn.lifted_layers import DrawClouds, noticed
from cloudfree.learn.places import Place
from cloudfree.reconstruct.lifted import LiftedClouds
from cloudfree.scene.model import PIXEL_M, fit_fine
from cloudfree.simulate.clouds import PLANETSCOPE_PIXEL_M, imperfect_mask

_SIDE_PX, _FINE_SIDE_PX = 160, 256  # of pixels of 10 m, and of 3 m
_FINE = 0.4  # share of samples that stand for PlanetScope's pixels
_VARIANTS = 3
_FEWEST_CLEAR, _FEWEST_HIDDEN = 0.1, 0.05  # shares of a sample
_MOST_DRAWS = 20
# Radar that is right, shifted by a pixel or two, VV alone, useless, or none.
_RADAR = {"right": 0.35, "shifted": 0.15, "vv": 0.1, "useless": 0.3, "none": 0.1}
_USELESS_DB, _LOOKS = np.array([-10, -17], np.float32), 8.0
_MASKS = {"good": 0.5, "stray": 0.25, "large": 0.2, "small": 0.05}
_DATES = {"near": 1 / 3, "far": 1 / 3, "none": 1 / 3}
_AS_SENTINEL_2 = 0.5  # of other dates beside fine pixels

T = TypeVar("T")


@dataclass(frozen=True)
class SeenSample:
    """Pixels under a mask as a network that sees is shown them (`network.models.Seen`), and the truth.

    observed, ground, through, deviation, truth (4, H, W); sar_db (2, H, W), NaN where there is none; share, hidden,
    known (H, W).
    """

    observed: Image
    ground: Image
    through: Image
    deviation: Image
    share: Image
    hidden: Mask
    sar_db: Image
    truth: Image
    known: Mask


@dataclass(frozen=True)
class _Draft:
    """Ground to lay clouds over: `others` are the same place on other dates (4, H, W)."""

    truth: Image
    valid: Mask
    sar_db: Image
    others: tuple[Image, ...]
    pixel_size_m: float


class ObscuredPlaces:
    """Draws samples from places in groups (folders), each site of which has its dates in order."""

    def __init__(self, groups: Sequence[Sequence[Place]], draw_clouds: DrawClouds) -> None:
        self._groups = [_by_site(group) for group in groups if group]
        sites = [site for group in self._groups for site in group]
        self._dated = [site for site in sites if len(site) > 1]
        self._dense = [site for site in sites if len(site) > 2]
        self._draw_clouds = draw_clouds

    def make(self, rng: np.random.Generator) -> Iterator[SeenSample]:
        """Samples of one ground under one mask, below clouds of several thicknesses."""
        for _ in range(_MOST_DRAWS):
            draft = self._ground(rng)
            side = draft.valid.shape[0]
            clouds = self._draw_clouds(rng, side, draft.pixel_size_m)
            hidden = _mask(rng, clouds) & draft.valid
            clear = (draft.valid & ~hidden).mean()
            wanted = max(_FEWEST_CLEAR, float(rng.uniform(-0.2, 0.8)))  # most skies are not overcast
            if clear > wanted and hidden.mean() > _FEWEST_HIDDEN:
                break
        else:
            return
        yield from _shown(rng, draft, clouds, hidden)

    def _ground(self, rng: np.random.Generator) -> _Draft:
        kind = _choice(rng, _DATES)
        made = kind == "near" and (not self._dense or rng.random() < 0.5)
        of_kind = {"near": self._dense, "far": self._dated}.get(kind, []) if not made else []
        site = _pick(rng, of_kind) if of_kind else _pick(rng, _pick(rng, self._groups))
        number = int(rng.integers(len(site)))
        place = site[number]
        others = _dates(rng, site, number, kind) if of_kind else ()
        fine = place.pixel_size_m < PIXEL_M or (rng.random() < _FINE and min(place.valid.shape) >= 200)
        draft = _cut(rng, place, others, _FINE_SIDE_PX if fine else _SIDE_PX)
        draft = replace(draft, pixel_size_m=PLANETSCOPE_PIXEL_M if fine else PIXEL_M)
        if made:
            near = tuple(near_date(rng, draft.truth) for _ in range(int(rng.integers(1, 3))))
            draft = replace(draft, others=near)
        if fine:
            draft = replace(draft, others=tuple(_as_sentinel_2(rng, other) for other in draft.others))
        return _varied(rng, draft, fine=fine)


def _shown(rng: np.random.Generator, draft: _Draft, clouds: LiftedClouds, hidden: Mask) -> Iterator[SeenSample]:
    """As a run shows it, below the clouds and variants of them."""
    from cloudfree.learn.lifted_layers import _varied as vary  # noqa: PLC0415

    size_m = draft.pixel_size_m
    first = None
    for number in range(_VARIANTS):
        over = clouds if number == 0 else vary(rng, clouds)
        noise = rng.normal(0, 0.0015, draft.truth.shape)
        observed = as_image(np.clip(over.over(draft.truth) + np.where(hidden, noise, 0), 1e-4, 1))
        if first is None:
            first = fit_fine(observed, draft.sar_db, hidden, draft.valid, size_m, draft.others)
        yield seen_sample(first, observed, draft, hidden)


def seen_sample(model, observed: Image, draft: _Draft, hidden: Mask) -> SeenSample:
    import torch

    from cloudfree.reconstruct.see_through import see_through

    rows, cols = map(range, hidden.shape)
    clear = draft.valid & ~hidden
    ground = model.window(rows, cols, draft.others)
    texture = _texture_variance(observed - ground, clear, model)
    path = model.path_radiance[:, None, None]
    if model.unobstructed.any() or True:
        unobstructed = model.unobstructed_window(rows, cols)
    tensors = (torch.from_numpy(np.ascontiguousarray(a, np.float32)) for a in (observed, ground, hidden, unobstructed))
    through, share = see_through(*tensors, torch.from_numpy(model.error_variance + texture))
    deviation = np.sqrt(model.uncertainty.deviation(ground, rows, cols) ** 2 + texture[:, None, None])
    return SeenSample(
        observed - path,
        ground - path,
        through.numpy() - path,
        as_image(deviation),
        share.numpy(),
        hidden,
        draft.sar_db,
        draft.truth - path,
        draft.valid,
    )


def _texture_variance(error: Image, known: Mask, model) -> Image:
    from cloudfree.reconstruct.trust import _texture

    texture = _texture(error, known, model)
    return np.square(texture).mean(axis=1) if texture.shape[1] > 50 else np.zeros(4, np.float32)


def _by_site(places: Sequence[Place]) -> list[list[Place]]:
    """The dates of each site in order; images of another size are another site's."""
    sites: dict[tuple[str, tuple[int, ...]], list[Place]] = {}
    for place in places:
        sites.setdefault((place.site, place.valid.shape), []).append(place)
    return list(sites.values())


def _dates(rng: np.random.Generator, site: list[Place], number: int, kind: str) -> tuple[Image, ...]:
    """One or two other dates: the next ones, or any."""
    if kind == "near":
        at = [i for i in (number - 1, number + 1) if 0 <= i < len(site)]
    elif kind == "far":
        at = [i for i in range(len(site)) if abs(i - number) > (1 if len(site) > 3 else 0)]
    else:
        return ()
    chosen = rng.permutation(at)[: int(rng.integers(1, 3))]
    return tuple(as_image(np.where(site[i].valid, site[i].reflectance, np.nan)) for i in chosen)


def _cut(rng: np.random.Generator, place: Place, others: Sequence[Image], side: int) -> _Draft:
    """A turned square of a place, its radar as chosen and its other dates."""
    side = min(side, *place.valid.shape)
    y, x = (int(rng.integers(length - side + 1)) for length in place.valid.shape)
    kind = _choice(rng, _RADAR)
    has_radar = bool(place.sar_db)
    sar_db = place.sar_db[int(rng.integers(len(place.sar_db)))] if has_radar else None
    if kind == "none":
        sar_db = np.full((2, *place.valid.shape), np.nan, np.float32)
    elif kind == "useless" or sar_db is None:
        speckle = 10 * np.log10(rng.gamma(_LOOKS, 1 / _LOOKS, (2, *place.valid.shape)))
        sar_db = as_image(speckle + _USELESS_DB[:, None, None] + rng.normal(0, 2, (2, 1, 1)))
    elif kind == "shifted":
        sar_db = np.roll(sar_db, rng.integers(-2, 3, 2), (1, 2))
    elif kind == "vv":
        sar_db = augment.without_vh(sar_db)
    images = (place.reflectance, as_image(place.valid[None]), sar_db, *others)
    truth, valid, sar_db, *others = augment.random_d4(rng, *(image[:, y : y + side, x : x + side] for image in images))
    return _Draft(truth, valid[0] > 0, sar_db, tuple(others), place.pixel_size_m)


def _varied(rng: np.random.Generator, draft: _Draft, *, fine: bool) -> _Draft:
    """In another light; radar as coarse as it comes beside fine pixels, or with speckle."""
    truth, sar_db = augment.colour_jitter(rng, draft.truth, draft.sar_db)
    if np.isfinite(sar_db).any():
        sar_db = augment.coarse_sar(rng, np.nan_to_num(sar_db, nan=-20.0)) if fine else sar_db
        sar_db = augment.speckle(rng, sar_db) if not fine and rng.random() < 0.5 else sar_db
    return replace(draft, truth=as_image(np.clip(truth, 1e-4, 1)), sar_db=as_image(sar_db))


def _as_sentinel_2(rng: np.random.Generator, other: Image) -> Image:
    """Another date as sharp as it is, or as Sentinel-2 shows it beside pixels of 3 m."""
    if rng.random() >= _AS_SENTINEL_2:
        return other
    known = known_of(other)
    weight = ndimage.uniform_filter(as_image(known), 3)
    smooth = ndimage.gaussian_filter(np.where(known, other, 0), (0, 1.2, 1.2))
    share = ndimage.gaussian_filter(as_image(known), 1.2)
    return as_image(np.where(known & (weight > 0.5), smooth / np.maximum(share, 0.1), np.nan))


def _mask(rng: np.random.Generator, clouds: LiftedClouds) -> Mask:
    """As a run has it: good, straying, much too large, a little too small."""
    mask = noticed(clouds)
    kind = _choice(rng, _MASKS)
    if kind == "stray":
        mask = imperfect_mask(rng, mask) | (mask & (clouds.opacity > 0.15))
    elif kind == "large":
        mask = ndimage.binary_dilation(mask, iterations=int(rng.integers(5, 25)))
    elif kind == "small":
        return mask
    return np.asarray(ndimage.binary_dilation(mask, iterations=int(rng.integers(1, 4))))


def near_date(rng: np.random.Generator, truth: Image) -> Image:
    """What a place could look like a few days off: moved by a part of a pixel, in another light, some fields changed."""
    height, width = truth.shape[1:]
    other = ndimage.shift(truth, (0, *rng.normal(0, 0.25, 2)), order=1, mode="nearest")
    light = np.stack(
        [ndimage.zoom(rng.normal(0, 0.05, (4, 4)), (height / 4, width / 4), order=1)[:height, :width] for _ in range(4)]
    )
    rows, cols = np.mgrid[:height, :width]
    field = (ndimage.gaussian_filter(truth[3], 2) * 40).astype(int) + rows // 24 * 100 + cols // 24 * 10000
    names, which = np.unique(field, return_inverse=True)
    grown = rng.normal(0, 1, (len(names), 4)) * (rng.random((len(names), 1)) < 0.25) * np.array([0.08, 0.1, 0.15, 0.15])
    change = np.stack([ndimage.gaussian_filter(b, 1) for b in grown[which.reshape(height, width)].transpose(2, 0, 1)])
    scale = np.exp(light + rng.normal(0, 0.06, 4)[:, None, None] + change)
    return as_image(np.clip(other * scale + rng.normal(0, 0.002, other.shape), 1e-4, 1))


def _pick(rng: np.random.Generator, items: Sequence[T]) -> T:
    return items[int(rng.integers(len(items)))]


def _choice(rng: np.random.Generator, shares: dict[str, float]) -> str:
    return str(rng.choice(list(shares), p=np.array(list(shares.values())) / sum(shares.values())))
