"""What a network that sees learns from: ground under clouds, with all that a run would show it there.

The scene's model is fitted as a run fits it, which takes seconds. So samples are made once, by `make_samples` or while
`adapt` goes on, and drawn from again and again with crops and turns.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np
from scipy import ndimage

from cloudfree.arrays import Image, Mask, as_image
from cloudfree.bands import TYPICAL_SAR_DB
from cloudfree.learn import augment
from cloudfree.learn.lifted_layers import DrawClouds, noticed, varied
from cloudfree.reconstruct.lifted import LiftedClouds
from cloudfree.reconstruct.see_through import BLOCK_PX
from cloudfree.reconstruct.texture import texture_of
from cloudfree.reconstruct.tile import Restoration, Tile, seen_of
from cloudfree.scene.model import SceneModel, fit_fine
from cloudfree.scene.references import telling
from cloudfree.simulate.clouds import imperfect_mask

SIDE_PX = 128
"""Side of a sample that is kept."""

_VARIANTS = 3  # of the clouds over one ground, under one mask
_FEWEST_CLEAR, _FEWEST_HIDDEN = 0.1, 0.05  # shares of a ground
_MOST_DRAWS = 20
_NOISE = 0.0015  # reflectance
_MASKS = {"good": 0.5, "stray": 0.25, "large": 0.2, "small": 0.05}
_EVERYTHING = 0.02  # share of draws that are masked wholly, as where nothing says where clouds are
_STRAY_OPACITY = 0.15  # from which on no mask misses a cloud
_DARKEST = 1e-4  # reflectance
_FEWEST_TEXTURE_PX = 50
_CROP_HIDDEN, _CROP_ATTEMPTS = 0.06, 12  # share of a sample that is hidden
_GAIN, _GAIN_OF_BAND, _OFFSET_DB = 0.15, 0.06, 1.0  # standard deviations; of gains, of their logarithm


@dataclass(frozen=True)
class Ground:
    """Ground to lay clouds over, as a scene would have it.

    truth (4, H, W): reflectance 0..1; valid (H, W): there are data; sar_db (2, H, W): dB, NaN where there is none;
    others: the place on other dates (4, H, W), NaN where an image shows nothing; overcast (H, W): under clouds and
    shadows of its own, where `truth` is none.
    """

    truth: Image
    valid: Mask
    sar_db: Image
    others: tuple[Image, ...]
    pixel_size_m: float
    overcast: Mask


DrawGround = Callable[[np.random.Generator], Ground]


@dataclass(frozen=True)
class SeenSample:
    """Pixels under a mask as a network that sees is shown them (`network.models.Seen`), and the truth.

    observed, ground, through, deviation, truth (4, H, W); sar_db (2, H, W), NaN where there is none; share, hidden,
    known (H, W): elsewhere `truth` is none.
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

    @property
    def counted(self) -> Mask:
        """Where (H, W) a network is judged."""
        return self.hidden & self.known

    def map(self, move: Callable[[Image], Image]) -> SeenSample:
        """Turned, cut or padded: whatever is done to images (bands, H, W), all of them alike."""
        moved: dict[str, Any] = {
            field.name: np.ascontiguousarray(_by_bands(move, getattr(self, field.name))) for field in fields(self)
        }
        return SeenSample(**moved)

    def window(self, y: int, x: int, side: int) -> SeenSample:
        """The square of `side` pixels from a row and a column on."""
        return self.map(lambda image: image[:, y : y + side, x : x + side])


def _by_bands(move: Callable[[Image], Image], plane: Image) -> Image:
    """The same done to one band (H, W)."""
    return move(plane) if plane.ndim == 3 else move(plane[None])[0]


# --- making ---


def obscured(rng: np.random.Generator, draw_ground: DrawGround, draw_clouds: DrawClouds) -> Iterator[SeenSample]:
    """Samples of one ground under one mask, below clouds of several thicknesses; none where it is never clear enough.

    Equal generators give equal samples.
    """
    for _ in range(_MOST_DRAWS):
        ground = draw_ground(rng)
        clouds = draw_clouds(rng, ground.valid.shape[0], ground.pixel_size_m)
        if rng.random() < _EVERYTHING and ground.valid.any():
            yield from _variants(rng, ground, clouds, ground.valid)
            return
        hidden = (_mask(rng, clouds) | ground.overcast) & ground.valid
        wanted = max(_FEWEST_CLEAR, float(rng.uniform(-0.2, 0.8)))  # most skies are not overcast
        if (ground.valid & ~hidden).mean() > wanted and (hidden & ~ground.overcast).mean() > _FEWEST_HIDDEN:
            yield from _variants(rng, ground, clouds, hidden)
            return


def _variants(rng: np.random.Generator, ground: Ground, clouds: LiftedClouds, hidden: Mask) -> Iterator[SeenSample]:
    """As a run shows it below the clouds and thinner or thicker ones, by the model under the first."""
    ground = replace(ground, others=telling(ground.others, ground.valid & ~hidden, ground.pixel_size_m))
    model = None
    for number in range(_VARIANTS):
        over = clouds if number == 0 else varied(rng, clouds)
        noise = rng.normal(0, _NOISE, ground.truth.shape)
        observed = as_image(np.clip(over.over(ground.truth) + np.where(hidden, noise, 0), _DARKEST, 1))
        model = model or fit_fine(observed, ground.sar_db, hidden, ground.valid, ground.pixel_size_m, ground.others)
        yield seen_sample(model, observed, ground, hidden)


def seen_sample(model: SceneModel, observed: Image, ground: Ground, hidden: Mask) -> SeenSample:
    """What a run would show of a ground that is `observed` (4, H, W) under clouds, and masked where it is `hidden`."""
    rows, cols = map(range, hidden.shape)
    expected, clear, weight = model.expected(rows, cols, ground.others), ground.valid & ~hidden, as_image(hidden)
    typical = as_image(np.median(observed[:, clear if clear.any() else ground.valid], axis=1))
    texture = _texture_variance(observed - expected.ground, clear, model)
    of_scene = Restoration.of(typical, as_image(TYPICAL_SAR_DB), model, sees=True)
    tile = Tile(observed, ground.valid, ground.sar_db, weight, *expected, wanted=weight)
    seen = seen_of(tile, replace(of_scene, texture_variance=texture))
    air = of_scene.path_radiance[:, None, None]
    return SeenSample(
        observed=seen.observed[0].numpy() - air,
        ground=seen.ground[0].numpy() - air,
        through=seen.through[0].numpy() - air,
        deviation=seen.deviation[0].numpy(),
        share=seen.share[0, 0].numpy(),
        hidden=hidden,
        sar_db=ground.sar_db,
        truth=ground.truth - air,
        known=ground.valid & ~ground.overcast,
    )


def _texture_variance(error: Image, known: Mask, model: SceneModel) -> Image:
    """Of reflectance (4,), by a model's errors (4, H, W) where they are known (H, W); 0 where hardly any are."""
    texture = texture_of(error, known, model.side_px)
    return np.square(texture).mean(axis=1) if texture.shape[1] > _FEWEST_TEXTURE_PX else np.zeros(4, np.float32)


def _mask(rng: np.random.Generator, clouds: LiftedClouds) -> Mask:
    """As a run has it (H, W): good, straying, much too large, a little too small."""
    mask, kind = noticed(clouds), augment.choice(rng, _MASKS)
    if kind == "small":
        return mask
    if kind == "stray":
        mask = imperfect_mask(rng, mask) | (mask & (clouds.opacity > _STRAY_OPACITY))
    elif kind == "large":
        mask = np.asarray(ndimage.binary_dilation(mask, iterations=int(rng.integers(5, 25))))
    return np.asarray(ndimage.binary_dilation(mask, iterations=int(rng.integers(1, 4))))


def kept_part(rng: np.random.Generator, sample: SeenSample) -> SeenSample | None:
    """A square of `SIDE_PX`, or as much as there is of it, enough of which is hidden; None where none was found."""
    side = min(SIDE_PX, *(length // BLOCK_PX * BLOCK_PX for length in sample.hidden.shape))
    corner = hidden_corner(rng, sample.counted, side, _CROP_HIDDEN, _CROP_ATTEMPTS)
    return sample.window(*corner, side) if corner else None


# --- drawing from what was made ---


def hidden_corner(
    rng: np.random.Generator, counted: Mask, side: int, least_share: float, attempts: int
) -> tuple[int, int] | None:
    """Row and column of a square of `side` pixels of which more than a share (0..1) counts; None where none was found.

    They are multiples of BLOCK_PX, as those of a run's tiles.
    """
    for _ in range(attempts):
        y, x = (int(rng.integers((length - side) // BLOCK_PX + 1)) * BLOCK_PX for length in counted.shape)
        if counted[y : y + side, x : x + side].mean() > least_share:
            return y, x
    return None


def turned(rng: np.random.Generator, sample: SeenSample) -> SeenSample:
    """One of the eight symmetries of the square."""
    return sample.map(augment.draw_d4(rng))


def in_other_light(rng: np.random.Generator, sample: SeenSample) -> SeenSample:
    """Brighter or darker, of another tint, in all that is reflectance alike; its radar of another level."""
    gain = np.exp(rng.normal(0, _GAIN) + rng.normal(0, _GAIN_OF_BAND, 4)).astype(np.float32)[:, None, None]
    lit = {name: getattr(sample, name) * gain for name in ("observed", "ground", "through", "deviation", "truth")}
    return replace(sample, **lit, sar_db=sample.sar_db + np.float32(rng.normal(0, _OFFSET_DB)))
