"""Real clouds and shadows to train under, lifted off the ground of the images that they were seen in."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from scipy import ndimage

from cloudfree.arrays import Image, Mask, as_image
from cloudfree.detect import find_sky
from cloudfree.detect.detector import Detector
from cloudfree.errors import InputError
from cloudfree.learn.augment import pick
from cloudfree.learn.clouded_images import CLEAR_SUFFIX, CLOUDY_SUFFIX, CloudedImage, read_clouded_images
from cloudfree.learn.places import by_site
from cloudfree.reconstruct.lifted import LiftedClouds, lift
from cloudfree.scene.model import PIXEL_M, fit
from cloudfree.simulate.clouds import CloudLayer, Sky, add_clouds, cloud_layer

_FEWEST_CLEAR, _FEWEST_HIDDEN = 0.1, 0.05  # shares of an image
_BRIGHTEST_GROUND = 0.25  # median of blue: more is cloud that the detector missed
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
    """The clouds of the images of a folder (`clouded_images.read_clouded_images`) over the ground of another date.

    Raises InputError where no image can be used, or two have different sizes.
    """
    images = read_clouded_images(folder)
    layers = [layer for image in images if (layer := lifted_layer(image, detector))]
    if not layers:
        raise InputError(
            f"{folder} holds no clouds that can be lifted; NAME{CLOUDY_SUFFIX} with NAME{CLEAR_SUFFIX} of another "
            "date, partly clear, is needed: check --clouds"
        )
    return layers


def lifted_layer(image: CloudedImage, detector: Detector) -> RealLayer | None:
    """The clouds of an image; None where hardly any of it is clear or hidden."""
    under = ground_under(image, detector)
    return RealLayer(image.site, lift(image.filled, *under)) if under else None


def ground_under(image: CloudedImage, detector: Detector) -> tuple[Image, Mask] | None:
    """The ground (4, H, W) that the scene's model makes of the other date, and what hides it (H, W).

    That is what the detector finds, and what is much darker than expected beside it. None where hardly anything is
    clear, or hidden, or that ground is as bright as cloud.
    """
    cloudy, valid = image.filled, image.valid
    others: Sequence[Image] = () if image.other is None else (image.other,)
    no_radar = np.broadcast_to(np.float32(np.nan), (2, *valid.shape))
    mask = find_sky(cloudy, valid, PIXEL_M, detector).hidden
    for _ in range(2):
        if (valid & ~mask).mean() < _FEWEST_CLEAR or (valid & mask).mean() < _FEWEST_HIDDEN:
            return None
        ground = fit(cloudy, no_radar, mask, valid, others=others, by_holes=False).whole(others)
        found, mask = mask, mask | _shaded(cloudy, ground, valid)
        if np.array_equal(found, mask):
            break
    return (ground, mask) if np.median(ground[0]) < _BRIGHTEST_GROUND else None


def _shaded(cloudy: Image, ground: Image, valid: Mask) -> Mask:
    """Where (H, W) it is darker than the model's ground in near infrared and blue, over more than a few pixels."""
    ratio = ndimage.median_filter(cloudy[3] / np.maximum(ground[3], 0.02), 5)
    dark = (ratio < _SHADED_NIR) & (ndimage.median_filter(cloudy[0], 5) < ground[0]) & valid
    return np.asarray(ndimage.binary_dilation(ndimage.binary_opening(dark, iterations=2), iterations=3))


def clouds_drawer(
    layers: Sequence[RealLayer], simulated: float = _SIMULATED, simulate: DrawClouds | None = None
) -> DrawClouds:
    """Of real layers, each site as often, turned, enlarged, thinned; and simulated ones for a share of draws.

    Now and then two lie above each other. `simulate` draws the simulated ones, by default as over PlanetScope's scenes.
    """
    share = simulated if layers else 1.0
    draw_one = partial(_draw_one, by_site(layers), share, simulate or simulated_clouds)
    return partial(_one_or_two, draw_one)


def _one_or_two(draw_one: DrawClouds, rng: np.random.Generator, side: int, pixel_size_m: float) -> LiftedClouds:
    drawn = draw_one(rng, side, pixel_size_m)
    if rng.random() >= _TWO:
        return drawn
    above = draw_one(rng, side, pixel_size_m)
    return LiftedClouds(above.light + above.transmittance * drawn.light, above.transmittance * drawn.transmittance)


def _draw_one(
    sites: list[list[RealLayer]],
    simulated: float,
    simulate: DrawClouds,
    rng: np.random.Generator,
    side: int,
    pixel_size_m: float,
) -> LiftedClouds:
    if rng.random() < simulated:
        return simulate(rng, side, pixel_size_m)
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
