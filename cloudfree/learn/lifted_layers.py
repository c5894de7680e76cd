"""Real clouds and shadows to train under, lifted off the ground of the images that they were seen in."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from scipy import ndimage

from cloudfree.arrays import Image, Mask, as_image, known_of
from cloudfree.bands import OPTICAL_BANDS, REFLECTANCE_SCALE
from cloudfree.detect import find_sky
from cloudfree.detect.detector import Detector
from cloudfree.errors import InputError
from cloudfree.learn.augment import pick
from cloudfree.learn.places import by_site, read_bands, site_of
from cloudfree.reconstruct.lifted import LiftedClouds, lift
from cloudfree.scene.model import PIXEL_M, fit
from cloudfree.simulate.clouds import CloudLayer, Sky, add_clouds, cloud_layer

_CLOUDY_SUFFIX, _CLEAR_SUFFIX = "_cloudy.tif", "_clear.tif"
_FEWEST_CLEAR, _FEWEST_HIDDEN = 0.1, 0.05  # shares of an image
_SHADED_NIR = 0.7  # of what the model expects: in shadow, whatever the detector says
# How layers are varied: enlarged, thinned and thickened (exponents of transmittance), brightened, two at once.
_ZOOM, _THICKNESS, _BRIGHTNESS, _TINT, _TWO = (1.0, 1.8), 0.35, 0.12, 0.03, 0.3
_SIMULATED = 0.35
_SMALLEST_CUT_PX, _TINY = 16, 1e-3
_NOTICED_OPACITY, _NOTICED_LIGHT = 0.03, 0.004

DrawClouds = Callable[[np.random.Generator, int, float], LiftedClouds]
"""Draws clouds over a square of so many pixels of a size in metres."""


@dataclass(frozen=True)
class RealLayer:
    """The clouds and shadows of one image (H, W); `site` is shared by the images of one place."""

    site: str
    clouds: LiftedClouds


def read_lifted_layers(folder: Path, detector: Detector) -> list[RealLayer]:
    """The clouds of the images `NAME_cloudy.tif` of a folder that lie beside `NAME_clear.tif`, another date.

    Both are uint16 blue, green, red, NIR, reflectance * 10000, 0 nodata, on one grid of about 10 m. The ground under
    the clouds is what the scene's model makes of the other date. NAME tells places apart (`places.site_of`). Raises
    InputError where no image can be used, or two have different sizes.
    """
    layers = []
    for path in sorted(folder.glob(f"*{_CLOUDY_SUFFIX}")):
        name = path.name.removesuffix(_CLOUDY_SUFFIX)
        clear = path.with_name(f"{name}{_CLEAR_SUFFIX}")
        cloudy, others = _read(path), [_read(clear)] if clear.exists() else []
        if any(other.shape != cloudy.shape for other in others):
            raise InputError(f"{clear} and {path.name} have different sizes; they must share their pixels: warp one")
        if layer := lifted_layer(cloudy, others, site_of(name), detector):
            layers.append(layer)
    if not layers:
        raise InputError(
            f"{folder} holds no clouds that can be lifted; NAME{_CLOUDY_SUFFIX} with NAME{_CLEAR_SUFFIX} of another "
            "date, partly clear, is needed: check --clouds"
        )
    return layers


def lifted_layer(cloudy: Image, others: Sequence[Image], site: str, detector: Detector) -> RealLayer | None:
    """Of an image and the place on other dates (4, H, W), NaN where nothing; None where hardly any is clear or hidden.

    The mask is what the detector finds, and what is much darker than expected beside it.
    """
    valid = known_of(cloudy)
    cloudy = np.clip(np.nan_to_num(cloudy), 0, 1)
    mask = find_sky(cloudy, valid, PIXEL_M, detector).hidden
    for _ in range(2):
        if (valid & ~mask).mean() < _FEWEST_CLEAR or (valid & mask).mean() < _FEWEST_HIDDEN:
            return None
        ground = fit(cloudy, _no_radar(mask.shape), mask, valid, others=others, by_holes=False).whole(others)
        found, mask = mask, mask | _shaded(cloudy, ground, valid)
        if np.array_equal(found, mask):
            break
    return RealLayer(site, lift(cloudy, ground, mask))


def _shaded(cloudy: Image, ground: Image, valid: Mask) -> Mask:
    """Where (H, W) it is darker than the model's ground in near infrared and blue, over more than a few pixels."""
    ratio = ndimage.median_filter(cloudy[3] / np.maximum(ground[3], 0.02), 5)
    dark = (ratio < _SHADED_NIR) & (ndimage.median_filter(cloudy[0], 5) < ground[0]) & valid
    return np.asarray(ndimage.binary_dilation(ndimage.binary_opening(dark, iterations=2), iterations=3))


def _no_radar(shape: tuple[int, ...]) -> Image:
    return np.broadcast_to(np.float32(np.nan), (2, *shape))


def _read(path: Path) -> Image:
    """Reflectance (4, H, W), NaN where any band is 0."""
    image = read_bands(path, *OPTICAL_BANDS) * np.float32(REFLECTANCE_SCALE)
    return as_image(np.where((image > 0).all(axis=0), image, np.nan))


def clouds_drawer(layers: Sequence[RealLayer], simulated: float = _SIMULATED) -> DrawClouds:
    """Of real layers, each site as often, turned, enlarged, thinned; and simulated ones for a share of draws.

    Now and then two lie above each other.
    """
    draw_one = partial(_draw_one, by_site(layers), simulated if layers else 1.0)
    return partial(_one_or_two, draw_one)


def _one_or_two(draw_one: DrawClouds, rng: np.random.Generator, side: int, pixel_size_m: float) -> LiftedClouds:
    drawn = draw_one(rng, side, pixel_size_m)
    if rng.random() >= _TWO:
        return drawn
    above = draw_one(rng, side, pixel_size_m)
    return LiftedClouds(above.light + above.transmittance * drawn.light, above.transmittance * drawn.transmittance)


def _draw_one(
    sites: list[list[RealLayer]], simulated: float, rng: np.random.Generator, side: int, pixel_size_m: float
) -> LiftedClouds:
    if rng.random() < simulated:
        return simulated_clouds(rng, side, pixel_size_m)
    layer = pick(rng, pick(rng, sites))
    return varied(rng, _cut(rng, layer.clouds, side, pixel_size_m))


def simulated_clouds(rng: np.random.Generator, side: int, pixel_size_m: float) -> LiftedClouds:
    """Simulated clouds and their shadows, from a few to a nearly overcast sky, over a square."""
    layer = cloud_layer(
        rng, side, side, pixel_size_m=pixel_size_m, cover=float(rng.uniform(0.1, 0.9)), sky=Sky.draw(rng)
    )
    return of_layer(layer)


def of_layer(layer: CloudLayer) -> LiftedClouds:
    """What a simulated layer leaves of the ground, and adds: by how black and white ground look under it."""
    black, white = (add_clouds(np.full_like(layer.radiance, value), layer) for value in (0.0, 1.0))
    return LiftedClouds(black, white - black)


def _cut(rng: np.random.Generator, clouds: LiftedClouds, side: int, pixel_size_m: float) -> LiftedClouds:
    """A square, turned, and enlarged a little; mirrored beyond the image where that is smaller."""
    zoom = float(rng.uniform(*_ZOOM)) * float(rng.choice([1.0, PIXEL_M / pixel_size_m]))
    taken = max(_SMALLEST_CUT_PX, round(side / zoom))
    pads = [(0, max(0, taken - length)) for length in clouds.light.shape[1:]]
    sides = [length + pad for length, (_, pad) in zip(clouds.light.shape[1:], pads, strict=True)]
    y, x = (int(rng.integers(length - taken + 1)) for length in sides)
    turns, flip = int(rng.integers(4)), rng.random() < 0.5
    position = np.linspace(0, taken - 1, side)
    grid = np.meshgrid(position, position, indexing="ij")

    def cut(image: Image) -> Image:
        padded = np.pad(image, [(0, 0), *pads], "symmetric")[:, y : y + taken, x : x + taken]
        turned = np.rot90(padded, turns, (1, 2))[..., :: -1 if flip else 1]
        if taken == side:
            return turned
        return as_image([ndimage.map_coordinates(band, grid, np.float32, order=1) for band in turned])

    return clouds.map(cut)


def varied(rng: np.random.Generator, clouds: LiftedClouds) -> LiftedClouds:
    """Thinner or thicker, brighter or darker, of another tint."""
    exponent = float(np.exp(rng.normal(0, _THICKNESS)))
    through = clouds.transmittance**exponent
    was, now = 1 - clouds.transmittance.mean(axis=0), 1 - through.mean(axis=0)
    scale = np.where(was > _TINY, now / np.maximum(was, _TINY), exponent)
    colour = np.exp(rng.normal(0, _BRIGHTNESS) + rng.normal(0, _TINT, 4))[:, None, None]
    return LiftedClouds(as_image(clouds.light * scale * colour), as_image(through))


def noticed(clouds: LiftedClouds) -> Mask:
    """Where (H, W) clouds change what is seen, so that a good mask has it."""
    changed = (clouds.opacity > _NOTICED_OPACITY) | (clouds.light.mean(axis=0) > _NOTICED_LIGHT)
    return np.asarray(ndimage.binary_opening(changed))
