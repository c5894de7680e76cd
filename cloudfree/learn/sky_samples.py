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
from cloudfree.learn.cloud_layers import RealClouds
from cloudfree.learn.labelled_grounds import UNLABELLED, LabelledGround, Labels
from cloudfree.learn.places import by_site
from cloudfree.simulate.clouds import CloudLayer, Sky, add_clouds, cloud_layer, layer_with_shadow
from cloudfree.simulate.noise import fast_shape, fractal_noise

# Shares of samples.
_CLOUDLESS, _REAL_SKIES, _SNOWED, _SCALED = 0.33, 0.35, 0.2, 0.6
_HAZY, _HAZED_OVER, _DIM = 0.35, 0.4, 0.3  # of simulated skies, of hazy ones, of all
_WITH_RADAR, _WITH_OTHER, _WITH_EDGE, _BLURRED, _SATURATED = 0.55, 0.45, 0.15, 0.3, 0.25
# Pixels that clouds are made for (m), how often ground is enlarged, real clouds enlarged.
_CLOUD_PIXEL_M, _GROUND_SCALE, _CLOUD_SCALE = (8.0, 20.0), (0.6, 1.5), (0.8, 1.8)
# Between these opacities, and shares of light lost, good masks differ: nothing is to be learned.
_DOUBTFUL_HAZE, _DOUBTFUL_SHADOW = (0.05, 0.13), (0.07, 0.2)
_INVISIBLE = 0.006  # change of reflectance that a cloud or shadow makes at least
_AIR = np.array([0.10, 0.06, 0.04, 0.015], np.float32)  # reflectance of hazy air
_DARKEST = 0.01


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

    def __init__(self, groups: Sequence[Sequence[LabelledGround]], crop: int, skies: Sequence[RealClouds] = ()) -> None:
        """skies: real clouds for a share of the layers. Raises InputError without any ground."""
        self._crop = crop
        self._groups = [by_site(group) for group in groups if group]
        self._skies = by_site(skies)
        if not self._groups:
            raise InputError("there is no ground to lay clouds over; give more --data")

    def __len__(self) -> int:
        return sum(len(site) for group in self._groups for site in group)

    def draw(self, rng: np.random.Generator) -> SkySample:
        ground = _cut(rng, augment.pick(rng, augment.pick(rng, augment.pick(rng, self._groups))), self._crop)
        earlier = ground.reflectance
        if ground.is_clear and not ground.snowy and rng.random() < _SNOWED:
            ground = _snowed(rng, ground)
        if ground.is_clear and rng.random() >= _CLOUDLESS:
            ground = _clouded(ground, self._draw_layer(rng))
        other = _other_date(rng, ground, earlier)
        return _seen(rng, ground, other)

    def _draw_layer(self, rng: np.random.Generator) -> CloudLayer:
        pixel_m, side = float(rng.uniform(*_CLOUD_PIXEL_M)), self._crop
        if self._skies and rng.random() < _REAL_SKIES:
            layer = _real_layer(rng, augment.pick(rng, augment.pick(rng, self._skies)), side, pixel_m)
        else:
            sky, cover = _sky(rng)
            layer = cloud_layer(rng, side, side, pixel_size_m=pixel_m, cover=cover, sky=sky)
        brightness = np.float32(rng.uniform(0.55, 1.1)) if rng.random() < _DIM else np.float32(1)
        return replace(layer, radiance=layer.radiance * brightness)


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
    """The ground after a fall of snow: it lies on what is bright, fields and roofs, and hardly on woods and water."""
    side = ground.labels.shape[0]
    red = ndimage.gaussian_filter(ground.reflectance[2], 0.7)
    rank = np.searchsorted(np.sort(red, axis=None), red) / red.size
    cover = as_image(np.clip((rank - rng.uniform(-0.2, 0.8)) / rng.uniform(0.05, 0.3) + 0.5, 0, 1))
    drifts = fractal_noise(rng, fast_shape(side, side), slope=1.8, outer_px=40)[:side, :side]
    white = rng.uniform(0.35, 1.3) * (1 + np.float32(rng.uniform(0, 0.12)) * drifts) + np.float32(0.3) * (
        red - red.mean()
    )
    colour = np.array([1, 0.99, 0.97, rng.uniform(0.75, 1.0)], np.float32)[:, None, None]
    bare = ground.reflectance * np.float32(rng.uniform(0.5, 1))
    reflectance = np.clip(bare * (1 - cover) + colour * white * cover, 0, 1)
    labels = ground.labels.copy()
    labels[(cover > 0.15) & (labels == SkyClass.CLEAR)] = UNLABELLED
    labels[(cover > 0.5) & (ground.labels == SkyClass.CLEAR)] = SkyClass.SNOW
    return replace(ground, reflectance=as_image(reflectance), labels=labels)


# --- the sky ---


def _sky(rng: np.random.Generator) -> tuple[Sky, float]:
    """Weather as drawn for PlanetScope, with decks and fronts as large as a scene of 10 m pixels shows them.

    And how much of the sky it covers (0..1): haze now and then nearly all.
    """
    cell_m, base_m = (math.exp(rng.uniform(math.log(150), math.log(highest))) for highest in (4000, 2500))
    sky = replace(Sky.draw(rng), cell_m=cell_m, base_m=base_m)
    cover = float(rng.uniform(0.02, 1.0))
    if rng.random() < _HAZY:
        sky = replace(sky, haze_share=rng.uniform(0.5, 1), haze_depth=rng.uniform(0.2, 1.5))
        cover = float(rng.uniform(0.85, 1)) if rng.random() < _HAZED_OVER else cover
    return sky, cover


def _real_layer(rng: np.random.Generator, clouds: RealClouds, side: int, pixel_m: float) -> CloudLayer:
    """A random part of real clouds, turned and scaled, with shadows of some sun."""
    taken = min(round(side / rng.uniform(*_CLOUD_SCALE)), *clouds.opacity.shape)
    y, x = (int(rng.integers(length - taken + 1)) for length in clouds.opacity.shape)
    part = np.concatenate([clouds.opacity[None], clouds.radiance])[:, y : y + taken, x : x + taken]
    (part,) = augment.random_d4(rng, part)
    opacity, *radiance = _scaled(part, (np.arange(side) + 0.5) * taken / side - 0.5)
    return layer_with_shadow(opacity, as_image(radiance), _sky(rng)[0], pixel_m)


def _clouded(ground: LabelledGround, layer: CloudLayer) -> LabelledGround:
    """The ground under the layer; the light of the air in front of it is neither shaded nor hidden by its shadow."""
    air = np.maximum(np.percentile(ground.reflectance, 1, axis=(1, 2)) - _DARKEST, 0)[:, None, None] * np.float32(0.8)
    shaded = as_image(air * (1 - layer.opacity))
    reflectance = add_clouds(as_image(ground.reflectance - air), layer) + shaded
    change = np.abs(reflectance - ground.reflectance).max(0)
    labels = ground.labels.copy()
    bare = ~layer.cloud & ~layer.haze
    labels[layer.shade] = SkyClass.SHADOW
    labels[_between(layer.shadow, _DOUBTFUL_SHADOW) & bare] = UNLABELLED
    labels[layer.haze] = SkyClass.HAZE
    labels[_between(layer.opacity, _DOUBTFUL_HAZE)] = UNLABELLED
    labels[layer.mask & (change < _INVISIBLE)] = UNLABELLED
    labels[layer.cloud] = SkyClass.CLOUD
    return replace(ground, reflectance=as_image(reflectance), labels=labels)


def _between(values: Image, bounds: tuple[float, float]) -> Mask:
    return np.asarray((values > bounds[0]) & (values < bounds[1]))


# --- the sensors ---


def _other_date(rng: np.random.Generator, ground: LabelledGround, earlier: Image) -> Image:
    """The place on another date, or the ground before clouds and snow with fields that changed; NaN where nothing."""
    if rng.random() >= _WITH_OTHER or not (ground.others or ground.is_clear):
        return np.full_like(earlier, np.nan)
    side = earlier.shape[-1]
    if ground.others:
        other = ground.others[0]
    else:
        changes = fractal_noise(rng, fast_shape(side, side), slope=2.0, outer_px=30)[:side, :side]
        other = earlier * np.exp(np.float32(rng.uniform(0, 0.3)) * changes)
    other = as_image(other * _gain(rng) + _air(rng, other))
    return _with_edge(rng, other)


def _seen(rng: np.random.Generator, ground: LabelledGround, other: Image) -> SkySample:
    """The ground as some sensor shows it, at the surface or above the air, to some edge, with radar or without."""
    reflectance = ground.reflectance * _gain(rng) + _air(rng, ground.reflectance)
    if rng.random() < _BLURRED:
        sigma = rng.uniform(0.4, 1.0)
        reflectance = ndimage.gaussian_filter(reflectance, (0, sigma, sigma))
    reflectance = reflectance + rng.normal(0, 0.003, reflectance.shape) * rng.random()
    brightest = rng.uniform(0.7, 1.1) if rng.random() < _SATURATED else 2.0
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
        darkest = np.maximum(np.percentile(reflectance, 1, axis=(1, 2)) - _DARKEST, 0)
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
