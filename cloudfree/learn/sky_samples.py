"""Samples for a detector: labelled ground under clouds, haze and shadow, as sensors, seasons and orbits show it.

Most of what is done to a sample is there to be ignored: gains, the light of the air, snow, radar that is missing, an
image of another date that is or is not there.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from cloudfree.arrays import Image, Mask, as_image, known_of
from cloudfree.bands import SkyClass
from cloudfree.errors import InputError
from cloudfree.learn import augment
from cloudfree.learn.labelled_grounds import LabelledGround
from cloudfree.learn.lifted_layers import DrawClouds, of_layer
from cloudfree.learn.places import by_site
from cloudfree.learn.sky_labels import UNLABELLED, Labels, labels_over
from cloudfree.reconstruct.lifted import LiftedClouds
from cloudfree.simulate.clouds import Sky, cloud_layer
from cloudfree.simulate.noise import fast_shape, fractal_noise

# Shares of samples.
_CLOUDLESS, _SNOWED, _RELIT, _DARK_FIELDS, _SCALED = 0.3, 0.15, 0.35, 0.15, 0.6
_DIM, _WITH_RADAR, _WITH_OTHER, _WITH_EDGE, _BLURRED = 0.3, 0.2, 0.4, 0.15, 0.3
_SATURATED = (0.1, 0.4)  # without snow, and with
_HAZY, _HAZED_OVER = 0.35, 0.4  # of simulated skies, of hazy ones
# Pixels that clouds are made for (m), how often ground is enlarged.
_CLOUD_PIXEL_M, _GROUND_SCALE = (8.0, 16.0), (0.45, 1.5)
_DARK_OR_BRIGHT, _BRIGHTEST, _SAND = (-0.7, 0.9), 0.5, np.array([0.8, 0.92, 1.1, 1.15], np.float32)
_AIR = np.array([0.10, 0.06, 0.04, 0.015], np.float32)  # reflectance of hazy air
_DARKEST = 0.01
_FROZEN, _WATER_NIR = 0.4, 0.05  # share of ground without snow, up to which water has ice; reflectance
_LEAST_CELL_PX, _DRIFTS_PX = 25, (4.0, 40.0)
_CLOUD_LIGHT = 0.01  # reflectance, mean of the visible bands: more is cloud's, not shadow's


@dataclass(frozen=True)
class SkySample:
    """What a detector sees (`CloudDetector.forward`) and what it should say.

    reflectance (4, H, W); valid (H, W); sar_db (2, H, W), other (4, H, W), NaN where there is nothing; labels (H, W):
    `SkyClass` or `UNLABELLED`.
    """

    reflectance: Image
    valid: Mask
    sar_db: Image
    other: Image
    labels: Labels


class CloudedGrounds:
    """Random crops of grounds, clouded over where they are clear; equal generators give equal samples.

    Each group of grounds is drawn from equally often, and so is each site of a group.
    """

    def __init__(
        self, groups: Sequence[Sequence[LabelledGround]], crop: int, draw_clouds: DrawClouds | None = None
    ) -> None:
        """draw_clouds: what is laid over clear ground, by default simulated clouds. Raises InputError without any."""
        self._crop = crop
        self._groups = [by_site(group) for group in groups if group]
        self._draw_clouds = draw_clouds or simulated_sky
        if not self._groups:
            raise InputError("there is no ground to lay clouds over; give more --data")

    def __len__(self) -> int:
        return sum(len(site) for group in self._groups for site in group)

    def draw(self, rng: np.random.Generator) -> SkySample:
        ground = _cut(rng, augment.pick(rng, augment.pick(rng, augment.pick(rng, self._groups))), self._crop)
        under_clouds = rng.random() >= _CLOUDLESS
        if not ground.is_clear:
            return _seen(rng, ground, _other_date(rng, ground, ground.reflectance))
        ground = _varied(rng, ground)
        earlier = ground.reflectance
        if not ground.snowy and rng.random() < _SNOWED:
            ground = _snowed(rng, ground)
        if under_clouds:
            clouds = self._draw_clouds(rng, self._crop, float(rng.uniform(*_CLOUD_PIXEL_M)))
            ground = _clouded(ground, _dimmed(rng, clouds))
        return _seen(rng, ground, _other_date(rng, ground, earlier))


# --- the ground ---


def _cut(rng: np.random.Generator, ground: LabelledGround, side: int) -> LabelledGround:
    """A turned and scaled square, one radar image of it and one other date at most; mirrored where it is too small."""
    scale = float(rng.uniform(*_GROUND_SCALE)) if rng.random() < _SCALED else 1.0
    taken = max(16, round(side / scale))
    sar_db = (augment.pick(rng, ground.sar_db),) if ground.sar_db else ()
    others = (augment.pick(rng, ground.others),) if ground.others else ()
    images = [ground.reflectance, as_image(ground.labels[None]), *sar_db, *others]
    pads = [(0, max(0, taken - length)) for length in ground.labels.shape]
    y, x = (
        int(rng.integers(length + pad - taken + 1)) for length, (_, pad) in zip(ground.labels.shape, pads, strict=True)
    )
    images = [np.pad(image, [(0, 0), *pads], "symmetric")[:, y : y + taken, x : x + taken] for image in images]
    reflectance, labels, *rest = augment.random_d4(rng, *images)
    where = (np.arange(side) + 0.5) * taken / side - 0.5
    nearest = np.clip(np.round(where), 0, taken - 1).astype(np.intp)
    rest = [_scaled(image, where) for image in rest]
    return replace(
        ground,
        reflectance=_scaled(reflectance, where),
        labels=labels[0][nearest[:, None], nearest].astype(np.uint8),
        sar_db=tuple(rest[: len(sar_db)]),
        others=tuple(rest[len(sar_db) :]),
    )


def _scaled(image: Image, where: NDArray[np.float64]) -> Image:
    """Bilinear along both axes, averaged before where pixels are left out; NaN spreads to its neighbours."""
    if len(where) == image.shape[-1]:
        return image
    if (step := image.shape[-1] / len(where)) > 1.2:
        image = ndimage.uniform_filter1d(ndimage.uniform_filter1d(image, round(step), 1), round(step), 2)
    low = np.clip(np.floor(where), 0, image.shape[-1] - 2).astype(np.intp)
    share = as_image(np.clip(where - low, 0, 1))
    rows = image[:, low] * (1 - share[:, None]) + image[:, low + 1] * share[:, None]
    return as_image(rows[..., low] * (1 - share) + rows[..., low + 1] * share)


def _snowed(rng: np.random.Generator, ground: LabelledGround) -> LabelledGround:
    """The ground after a fall of snow: it lies on what is bright, fields and roofs, and hardly on woods and water.

    Where most of the ground is white, water is frozen.
    """
    side = ground.labels.shape[0]
    red = ndimage.gaussian_filter(ground.reflectance[2], 0.7)
    rank = np.searchsorted(np.sort(red, axis=None), red) / red.size
    bare_share = rng.uniform(-0.2, 0.8)
    cover = as_image(np.clip((rank - bare_share) / rng.uniform(0.05, 0.3) + 0.5, 0, 1))
    if bare_share < _FROZEN:
        cover[ndimage.gaussian_filter(ground.reflectance[3], 1.0) < _WATER_NIR] = 1
    drifts = fractal_noise(rng, fast_shape(side, side), slope=1.8, outer_px=rng.uniform(*_DRIFTS_PX))[:side, :side]
    white = rng.uniform(0.35, 1.3) * (1 + np.float32(rng.uniform(0, 0.2)) * drifts) + np.float32(0.3) * (
        red - red.mean()
    )
    green = rng.uniform(0.75, 1.0)
    red_or_nir = green * rng.uniform(0.92, 1.05, 2) * np.array([1, rng.uniform(0.8, 1.05)])
    colour = np.array([1, green, *red_or_nir], np.float32)[:, None, None]
    bare = ground.reflectance * np.float32(rng.uniform(0.5, 1))
    reflectance = np.clip(bare * (1 - cover) + colour * white * cover, 0, 1)
    labels = ground.labels.copy()
    labels[(cover > 0.15) & (labels == SkyClass.CLEAR)] = UNLABELLED
    labels[(cover > 0.5) & (ground.labels == SkyClass.CLEAR)] = SkyClass.SNOW
    return replace(ground, reflectance=as_image(reflectance), labels=labels)


def _with_dark_fields(rng: np.random.Generator, ground: LabelledGround) -> LabelledGround:
    """Ground with strips and fields that are dark in the sun, wet, burnt or planted: their edges are straight."""
    side = ground.labels.shape[0]
    y, x = np.mgrid[:side, :side] - rng.uniform(0, side, 2)[:, None, None]
    angle = rng.uniform(0, math.pi)
    along, across = x * math.cos(angle) + y * math.sin(angle), y * math.cos(angle) - x * math.sin(angle)
    cells_px = np.exp(rng.uniform(np.log(8), np.log(80), 2))
    cells = np.floor(along / cells_px[0]).astype(np.intp) * 7919 + np.floor(across / cells_px[1]).astype(np.intp)
    _, numbers = np.unique(cells, return_inverse=True)
    dark = (rng.random(numbers.max() + 1) < rng.uniform(0.05, 0.4))[numbers].reshape(cells.shape)
    left = as_image(rng.uniform((0.5, 0.5, 0.5, 0.25), (1.0, 1.0, 1.0, 0.8)))[:, None, None]
    return replace(ground, reflectance=as_image(np.where(dark, ground.reflectance * left, ground.reflectance)))


def _varied(rng: np.random.Generator, ground: LabelledGround) -> LabelledGround:
    """A share of the grounds darker, as forests and lava are, or brighter and of the colour of sand."""
    if not ground.snowy and rng.random() < _RELIT:
        strength = rng.uniform(*_DARK_OR_BRIGHT)
        tint = _SAND ** np.float32(max(strength, 0) * rng.uniform(0, 1.5))
        gain = (np.float32(math.exp(strength)) * tint)[:, None, None]
        gain = gain / max(1.0, float(np.percentile(gain[0] * ground.reflectance[0], 95)) / _BRIGHTEST)
        others = tuple(as_image(other * gain) for other in ground.others)
        ground = replace(ground, reflectance=as_image(np.clip(ground.reflectance * gain, 0, 1)), others=others)
    return _with_dark_fields(rng, ground) if rng.random() < _DARK_FIELDS else ground


# --- the sky ---


def simulated_sky(rng: np.random.Generator, side: int, pixel_size_m: float) -> LiftedClouds:
    """Weather as drawn for PlanetScope, with decks and fronts as large as a scene of 10 m pixels shows them.

    It covers any share of the sky: haze now and then nearly all.
    """
    cell_m, base_m = (math.exp(rng.uniform(math.log(150), math.log(highest))) for highest in (4000, 2500))
    sky = replace(Sky.draw(rng), cell_m=max(cell_m, _LEAST_CELL_PX * pixel_size_m), base_m=base_m)
    cover = float(rng.uniform(0.02, 1.0))
    if rng.random() < _HAZY:
        sky = replace(sky, haze_share=rng.uniform(0.5, 1), haze_depth=rng.uniform(0.2, 1.5))
        cover = float(rng.uniform(0.85, 1)) if rng.random() < _HAZED_OVER else cover
    return of_layer(cloud_layer(rng, side, side, pixel_size_m=pixel_size_m, cover=cover, sky=sky))


def _dimmed(rng: np.random.Generator, clouds: LiftedClouds) -> LiftedClouds:
    """A share of them under a low sun, or in the shadow of others."""
    if rng.random() >= _DIM:
        return clouds
    return LiftedClouds(clouds.light * np.float32(rng.uniform(0.55, 1.1)), clouds.transmittance)


def _clouded(ground: LabelledGround, clouds: LiftedClouds) -> LabelledGround:
    """The ground under them; the light of the air in front of it is neither shaded nor hidden by their shadow."""
    air = np.maximum(np.percentile(ground.reflectance, 1, axis=(1, 2)) - _DARKEST, 0)[:, None, None] * np.float32(0.8)
    in_shadow = clouds.light[:3].mean(axis=0) < _CLOUD_LIGHT
    opacity = as_image(np.where(in_shadow, 0, clouds.opacity))
    seen = as_image(clouds.over(ground.reflectance - air) + air * (1 - opacity))
    return replace(ground, reflectance=seen, labels=labels_over(ground.labels, ground.reflectance, seen, opacity))


# --- the sensors ---


def _other_date(rng: np.random.Generator, ground: LabelledGround, earlier: Image) -> Image:
    """The place on another date, or the ground before clouds and snow with fields that changed; NaN where nothing."""
    if rng.random() >= _WITH_OTHER or not (ground.others or ground.is_clear):
        return np.full_like(earlier, np.nan)
    side = earlier.shape[-1]
    if ground.others:
        other = ground.others[0]
    else:
        visible, nir = (fractal_noise(rng, fast_shape(side, side), slope=2.0, outer_px=30)[:side, :side] for _ in "vn")
        changes = np.stack([visible, visible, visible, nir]) + rng.normal(0, 0.5, 4).astype(np.float32)[:, None, None]
        other = earlier * np.exp(np.float32(rng.uniform(0, 0.5)) * changes)
    other = np.roll(as_image(other * _gain(rng) + _air(rng, other)), rng.integers(-1, 2, 2), (1, 2))  # misplaced
    return _with_edge(rng, other)


def _seen(rng: np.random.Generator, ground: LabelledGround, other: Image) -> SkySample:
    """The ground as some sensor shows it, at the surface or above the air, to some edge, with radar or without."""
    reflectance = ground.reflectance * _gain(rng) + _air(rng, ground.reflectance)
    if rng.random() < _BLURRED:
        sigma = rng.uniform(0.4, 1.0)
        reflectance = ndimage.gaussian_filter(reflectance, (0, sigma, sigma))
    reflectance = reflectance + rng.normal(0, 0.003, reflectance.shape) * rng.random()
    saturated = _SATURATED[bool((ground.labels == SkyClass.SNOW).any())]
    brightest = rng.uniform(0.7, 1.1) if rng.random() < saturated else 2.0
    edged = _with_edge(rng, as_image(np.clip(reflectance, 0, brightest)))
    valid = known_of(edged)
    labels = np.where(valid, ground.labels, UNLABELLED).astype(np.uint8)
    return SkySample(np.nan_to_num(edged), valid, _radar(rng, ground), other, labels)


def _radar(rng: np.random.Generator, ground: LabelledGround) -> Image:
    """Displaced by two pixels at most; NaN where there is none."""
    if not ground.sar_db or rng.random() >= _WITH_RADAR:
        return np.full((2, *ground.labels.shape), np.nan, np.float32)
    sar_db = np.roll(ground.sar_db[0], rng.integers(-2, 3, 2), (1, 2)) + rng.normal(0, 0.8)
    sar_db = augment.speckle(rng, as_image(sar_db)) if rng.random() < 0.3 else as_image(sar_db)
    return _with_edge(rng, augment.without_vh(sar_db) if rng.random() < 0.1 else sar_db)


def _gain(rng: np.random.Generator) -> Image:
    return as_image(np.exp(rng.normal(0, 0.15) + rng.normal(0, 0.04, 4)))[:, None, None]


def _air(rng: np.random.Generator, reflectance: Image) -> Image:
    """Light of the air (4, 1, 1) to add, in some cases to take off, never more than the darkest pixels have."""
    case = rng.random()
    if case < 0.4:
        return (np.float32(rng.uniform(0, 1)) * _AIR)[:, None, None]
    if case < 0.65 and np.isfinite(reflectance).all():
        darkest = np.clip(np.percentile(reflectance, 1, axis=(1, 2)) - _DARKEST, 0, _AIR)
        return as_image(-rng.uniform(0, 1) * darkest)[:, None, None]
    return np.zeros((4, 1, 1), np.float32)


def _with_edge(rng: np.random.Generator, image: Image) -> Image:
    """A share of the images (bands, H, W) end at a slanted line, NaN beyond."""
    if rng.random() >= _WITH_EDGE:
        return image
    height, width = image.shape[1:]
    angle, distance = rng.uniform(0, 2 * math.pi), rng.uniform(0, 0.5) * min(height, width)
    y, x = np.mgrid[:height, :width]
    beyond = (y - height / 2) * math.sin(angle) + (x - width / 2) * math.cos(angle) > distance
    return np.where(beyond, np.float32(np.nan), image)
