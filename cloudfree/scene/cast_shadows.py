"""Shadows by geometry: the shapes of clouds, all moved one way, each as far as its height takes it.

The way is the direction in which clouds, moved over the image, cover more darkness than in any other; each piece of
cloud has the distance at which what it covers is darkest; and shadow is what is dark there. What is dark elsewhere is
water, forest or burnt ground. Where no direction stands out, or one that no sun would have, nothing is said.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import fft, ndimage

from cloudfree.arrays import Image, Mask, as_image
from cloudfree.geometry import coarse
from cloudfree.inputs.optical.sun import Sun

_PIXEL_M = 20.0
"""Clouds are matched with darkness on pixels of this size; what is dark is told on those of the image."""

_LOWEST_M, _HIGHEST_M = 200.0, 12_000.0  # clouds over the ground
_NEAREST_M, _FARTHEST_M = 100.0, 8_000.0  # shadows from clouds, where the sun is not known
_OUT_OF_SIGHT_M = 20_000.0  # under a low sun shadows of high clouds fall farther: they are not looked for
_FAR_STEP = 0.03  # of a distance, between two that are tried

_LEAST_NIR = 0.05  # reflectance: on ground of less no shadow is seen
_WET, _WETTER = 1.15, 1.5  # green of water, in the sun or not, over its near infrared, and over that of ground around
_BLACK = 0.03  # near infrared of water, in the sun or not: nothing would change by calling it shadow
_DARKEST, _BRIGHTEST = 0.5, -0.2  # more darkness than a shadow's is water's; neither end of it may outweigh the rest
_LEAST_SHARE, _LEAST_PX = 0.1, 30  # of cloud that must fall on free ground for a direction to count

_DIRECTIONS_DEG = np.arange(0.0, 360.0, 2.0)
_APART_DEG, _MOST_TRIED = 45.0, 3  # directions that say little of each other
_SUN_ERRS_DEG = 12.0  # rows that are not quite east, clouds that lean
_UNKNOWN_VIEW_DEG = 5.0

# Without the sun's angles: PlanetScope, Sentinel-2 and Landsat pass in the morning, when shadows fall to the west.
_OF_MORNING_DEG, _MORNING_WIDTH_DEG, _MORNING_WEIGHT = 275.0, 75.0, 1.2
_SUN_WEIGHT = 2.0

# What bears a direction out: darkness there more than that of the image, and more clearly than in any other direction.
_LEAST_DARKNESS, _STANDS_OUT, _FAR_CLEARER = 0.12, 1.1, 2.0
_LEAST_CLEARNESS = 40.0  # standard deviations, were pixels independent, times how many times as clear as any other
_LEAST_OF_PIECE = 0.08  # darkness under one piece of cloud

_BLOCK_M = 500.0  # of one cloud that has one height
_PRIOR_PX = 100.0  # free pixels whose word weighs as much as that of the whole cloud, and of all clouds
_BEYOND_M = 1000.0  # that a cloud at the border of the image may reach on
_MOST_SAMPLES = 40_000  # pixels of cloud that are moved to find distances

_NEAR_M, _REACH_M = 20.0, 180.0  # from where a cloud falls: shadow begins so near to it, and ends so far from it
_SMOOTH_M, _CLOSED_M, _GAP_M2 = 10.0, 15.0, 3_000.0  # what is bright within a shadow is in it
_DARK, _DARK_SHARE = 0.18, 0.45  # at least so dark, and at least this share of the darkness under the piece


@dataclass(frozen=True)
class _Sight:
    """The image on coarse pixels (h, w).

    evidence: darkness less its mean, where ground is `free` to be seen (1, else 0), and 0 elsewhere; `spread` is its
    standard deviation.
    """

    darkness: Image
    evidence: Image
    free: Image
    cloud: Mask
    spread: float
    pixel_size_m: float


@dataclass(frozen=True)
class _Fall:
    """How dark shadows are where clouds fall, on coarse pixels (h, w), and 0 elsewhere.

    `seen`: of cloud in the image. `reaching`: of that, and of cloud at its border as if it reached on beyond.
    """

    seen: Image
    reaching: Image


def cast(
    observed: Image, expected: Image, cloud: Mask, free: Mask, pixel_size_m: float, sun: Sun | None = None
) -> Mask:
    """Where clouds cast shadow (H, W), as far as darkness bears it out; nowhere without evidence.

    observed, expected (2, H, W): reflectance in green and near infrared, as the image shows it, and what its ground
    would have in the sun; finite where `free`. cloud (H, W): what casts. free (H, W): ground that is seen, shaded or
    not, without cloud. sun: with its azimuth clockwise from the top of the image (`Sun.on_grid`), if it is known.
    """
    darkness, water = darkness_of(observed, expected, free), _water(observed, expected)
    free = free & ~(water & (observed[1] < _BLACK))
    sight = _sight(darkness, cloud, free & ~water, pixel_size_m)
    fall = None if sight is None else _fall(sight, sun)
    return np.zeros(free.shape, bool) if fall is None else _dark_under(darkness, free, water, fall, pixel_size_m)


def darkness_of(observed: Image, expected: Image, free: Mask) -> Image:
    """The share (H, W) of near infrared that is missing, under 0 where there is more; 0 where none can be told."""
    told = free & (expected[1] > _LEAST_NIR)
    missing = 1 - np.divide(observed[1], expected[1], out=np.ones(free.shape, np.float32), where=told)
    return as_image(np.clip(missing, -1, 1))


def _water(observed: Image, expected: Image) -> Mask:
    """What may be dark in the sun too (H, W): it bears nothing out, and is shaded where other ground says so."""
    (green, nir), (green_expected, nir_expected) = observed, expected
    wetter = _WETTER * green_expected / np.maximum(nir_expected, _LEAST_NIR)
    return np.asarray(green > np.maximum(_WET, wetter) * nir)


def _sight(darkness: Image, cloud: Mask, free: Mask, pixel_size_m: float) -> _Sight | None:
    """The image on coarse pixels; None where there is no cloud or no ground."""
    height, width = (max(1, round(side * min(1.0, pixel_size_m / _PIXEL_M))) for side in free.shape)
    everywhere = np.ones(free.shape, bool)
    shares = coarse.averaged(as_image(np.stack([cloud, free])), everywhere, (height, width))
    seen, casts = shares[1] > 0.5, shares[0] > 0.5
    if min(casts.sum(), seen.sum()) < _LEAST_PX:
        return None
    dark = np.where(seen, coarse.averaged(darkness[None], free, (height, width))[0], 0)
    bounded = np.clip(dark, _BRIGHTEST, _DARKEST)
    evidence = np.where(seen, bounded - bounded[seen].mean(), 0)
    spread = max(float(bounded[seen].std()), 1e-3)
    return _Sight(
        as_image(dark), as_image(evidence), as_image(seen), casts, spread, pixel_size_m * free.shape[0] / height
    )


# --- the direction ---


@dataclass(frozen=True)
class _Direction:
    """How clearly shadows fall in a direction, whether the sun speaks for it, and how much darker it is there."""

    clearness: float
    by_sun: bool
    darkness: float
    fall: _Fall

    def is_borne_out(self, rival: float) -> bool:
        """Whether it is dark enough there, and clearer than by chance and than `rival`, the next best direction."""
        stands_out = min(self.clearness / max(rival, 1e-6), _FAR_CLEARER)
        clear = stands_out > _STANDS_OUT and self.clearness * stands_out > _LEAST_CLEARNESS
        return self.by_sun and clear and self.darkness > _LEAST_DARKNESS


def _fall(sight: _Sight, sun: Sun | None) -> _Fall | None:
    """Where clouds fall in the direction that darkness bears out; None where none does."""
    distances_px = _distances_m(sun) / sight.pixel_size_m
    distances_px = distances_px[distances_px < math.hypot(*sight.cloud.shape)]
    if not len(distances_px):
        return None
    scores, darkness = _by_direction(sight, distances_px)
    weights = _weights(sun)
    tried = list[_Direction]()
    for peak in _peaks(weights * scores):
        fall = _moved_by_piece(sight, float(_DIRECTIONS_DEG[peak]), distances_px)
        clearness = weights[peak] * math.sqrt(scores[peak] * max(_explained(sight, fall.seen), 0.0)) / sight.spread
        tried.append(_Direction(clearness, bool(weights[peak] > 1), float(darkness[peak]), fall))
    tried.sort(key=lambda direction: -direction.clearness)
    if not tried or not tried[0].is_borne_out(max((other.clearness for other in tried[1:]), default=0.0)):
        return None
    return tried[0].fall


def _weights(sun: Sun | None) -> NDArray[np.float64]:
    """How much less darkness a direction needs than others, for the sun speaks for it; 1 where nothing does."""
    towards, within, weight = _OF_MORNING_DEG, _MORNING_WIDTH_DEG, _MORNING_WEIGHT
    if sun is not None:
        towards, within, weight = sun.azimuth_deg + 180, _tolerance_deg(sun), _SUN_WEIGHT
    return np.where(_between_deg(_DIRECTIONS_DEG, towards) <= within, weight, 1.0)


def _peaks(scores: NDArray[np.float64]) -> list[int]:
    """The directions with the highest scores that are apart from each other; a few, the best first."""
    left, peaks = scores.copy(), list[int]()
    while len(peaks) < _MOST_TRIED and left.max() > 0:
        peaks.append(int(left.argmax()))
        left[_between_deg(_DIRECTIONS_DEG, _DIRECTIONS_DEG[peaks[-1]]) <= _APART_DEG] = 0
    return peaks


def _explained(sight: _Sight, fallen: Image) -> float:
    """The evidence that lies where clouds fall or beside it, for its extent: as a score of a direction is."""
    near = ndimage.binary_dilation(fallen > 0, iterations=2) & (sight.free > 0)
    return float(sight.evidence[near].sum() / math.sqrt(near.sum() + 1))


def _distances_m(sun: Sun | None) -> Image:
    """Distances of shadows from clouds that are tried, farther apart where they are far."""
    nearest, farthest = _NEAREST_M, _FARTHEST_M
    if sun is not None:
        sideways = math.tan(math.radians(90 - sun.elevation_deg))
        leaning = math.tan(math.radians(min(_view_deg(sun), 60.0)))
        nearest = max(_LOWEST_M * (sideways - leaning), _PIXEL_M)
        farthest = min(_HIGHEST_M * (sideways + leaning), _OUT_OF_SIGHT_M)
    steps_m = [nearest]
    while steps_m[-1] < farthest:
        steps_m.append(steps_m[-1] + max(_PIXEL_M, _FAR_STEP * steps_m[-1]))
    return as_image(steps_m)


def _view_deg(sun: Sun) -> float:
    return _UNKNOWN_VIEW_DEG if sun.view_deg is None else sun.view_deg


def _tolerance_deg(sun: Sun) -> float:
    """How far from opposite the sun shadows may fall: what is high is seen displaced, in whatever direction."""
    leaning = math.tan(math.radians(_view_deg(sun))) * math.tan(math.radians(min(sun.elevation_deg, 89.9)))
    return _SUN_ERRS_DEG + (180.0 if leaning >= 1 else math.degrees(math.asin(leaning)))


def _between_deg(one: Image | NDArray[np.float64], other: float) -> NDArray[np.float64]:
    """The angle (n,) between directions, 0..180."""
    return np.abs((one - other + 180) % 360 - 180)


def _by_direction(sight: _Sight, distances_px: Image) -> tuple[Image, Image]:
    """For each direction how clearly clouds, moved that way, cover darkness, and how dark that is (n,)."""
    reach = math.ceil(float(distances_px[-1]))
    shape = [fft.next_fast_len(side + min(reach, side), real=True) for side in sight.cloud.shape]
    moved = np.conj(fft.rfft2(as_image(sight.cloud), shape))
    dark, free = (fft.irfft2(moved * fft.rfft2(image, shape), shape) for image in (sight.evidence, sight.free))
    down, across = _steps_yx(_DIRECTIONS_DEG[:, None], distances_px)
    inside = (np.abs(down) < sight.cloud.shape[0]) & (np.abs(across) < sight.cloud.shape[1])
    dark, free = dark[down % shape[0], across % shape[1]], free[down % shape[0], across % shape[1]]
    enough = inside & (free > max(_LEAST_PX, _LEAST_SHARE * sight.cloud.sum()))
    score = np.where(enough, dark / np.sqrt(np.maximum(free, 1)), -np.inf)
    best = score.argmax(axis=1)[:, None]
    mean = np.take_along_axis(dark / np.maximum(free, 1), best, 1)
    return as_image(score.max(axis=1)), as_image(mean[:, 0])


def _steps_yx(
    direction_deg: float | NDArray[np.float64], distance_px: Image
) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Rows down and columns right over a distance."""
    direction = np.deg2rad(direction_deg)
    down, right = -np.cos(direction) * distance_px, np.sin(direction) * distance_px
    return np.rint(down).astype(np.intp), np.rint(right).astype(np.intp)


# --- the distances ---


def _moved_by_piece(sight: _Sight, direction_deg: float, distances_px: Image) -> _Fall:
    """Where each piece of cloud falls, by the distance that bears it out best."""
    pieces, clouds_of = _pieces(sight.cloud, max(1, round(_BLOCK_M / sight.pixel_size_m)))
    down, across = _steps_yx(direction_deg, distances_px)
    margin = max(int(np.abs(down).max()), int(np.abs(across).max()))
    best, depth = _best_distances(sight, pieces, clouds_of, down, across, margin)
    beyond_px = min(margin, round(_BEYOND_M / sight.pixel_size_m))
    seen, reaching = (_laid(pieces, depth, down[best], across[best], beyond) for beyond in (0, beyond_px))
    return _Fall(seen, reaching)


def _best_distances(
    sight: _Sight,
    pieces: NDArray[np.intp],
    clouds_of: NDArray[np.intp],
    down: NDArray[np.intp],
    across: NDArray[np.intp],
    margin: int,
) -> tuple[NDArray[np.intp], Image]:
    """For each piece which step, of rows down and columns across, bears it out best; and how dark its shadow is, or 0.

    margin: rows and columns around the image that no step leads out of.
    """
    evidence, free, darkness = (
        np.ascontiguousarray(np.pad(image, margin)).ravel() for image in (sight.evidence, sight.free, sight.darkness)
    )
    steps = down * (sight.cloud.shape[1] + 2 * margin) + across
    at, piece, count = np.flatnonzero(np.pad(sight.cloud, margin)), pieces[sight.cloud], len(clouds_of)
    every = -(-len(at) // _MOST_SAMPLES)
    dark, seen = (
        np.array([np.bincount(piece[::every], image[at[::every] + step], count) for step in steps], float) * every
        for image in (evidence, free)
    )
    mean = _shrunk(dark, seen, clouds_of)
    best = mean.argmax(axis=0)
    under = darkness[at + steps[best][piece]]
    depth = np.bincount(piece, under * (under > _DARK)) / np.maximum(np.bincount(piece, under > _DARK), 1)
    return best, as_image(np.where(mean.max(axis=0) > _LEAST_OF_PIECE, np.maximum(depth, _DARK), 0))


def _laid(
    pieces: NDArray[np.intp], depth: Image, down: NDArray[np.intp], across: NDArray[np.intp], beyond_px: int
) -> Image:
    """The depth (h, w) of shadow of pieces (h, w), -1 off them, moved by each one's rows and columns (pieces,).

    beyond_px: how far cloud at the border of the image is taken to reach on, as it is there.
    """
    height, width = pieces.shape
    row, col = np.nonzero((reaching := np.pad(pieces, beyond_px, mode="edge")) >= 0)
    piece = reaching[row, col]
    row, col = row + down[piece] - beyond_px, col + across[piece] - beyond_px
    inside = (row >= 0) & (row < height) & (col >= 0) & (col < width)
    laid = np.zeros(pieces.shape, np.float32)
    laid[row[inside], col[inside]] = depth[piece[inside]]
    return laid


def _pieces(cloud: Mask, block_px: int) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Of which piece each pixel (h, w) of cloud is, -1 off it; and of which cloud, of those that touch, each piece."""
    labels, _ = ndimage.label(cloud, np.ones((3, 3), int))
    row, col = np.nonzero(cloud)
    cells = (row // block_px) * (-(-cloud.shape[1] // block_px)) + col // block_px
    names = (labels[cloud].astype(np.int64) - 1) * (cells.max() + 1) + cells
    unique, numbers = np.unique(names, return_inverse=True)
    pieces = np.full(cloud.shape, -1, np.intp)
    pieces[cloud] = numbers
    return pieces, (unique // (cells.max() + 1)).astype(np.intp)


def _shrunk(dark: NDArray[np.float64], seen: NDArray[np.float64], clouds_of: NDArray[np.intp]) -> NDArray[np.float64]:
    """Mean darkness (distances, pieces) of sums of darkness and of free pixels (distances, pieces).

    What a piece sees little of is told by its whole cloud, and that by all clouds.
    """
    count = int(clouds_of.max()) + 1
    by_cloud = [np.stack([np.bincount(clouds_of, of_distance, count) for of_distance in sums]) for sums in (dark, seen)]
    all_dark, all_seen = dark.sum(axis=1, keepdims=True), seen.sum(axis=1, keepdims=True)
    mean = all_dark / (all_seen + _PRIOR_PX)
    mean = (by_cloud[0] + _PRIOR_PX * mean) / (by_cloud[1] + _PRIOR_PX)
    return (dark + _PRIOR_PX * mean[:, clouds_of]) / (seen + _PRIOR_PX)


# --- what is dark there ---


def _dark_under(darkness: Image, free: Mask, water: Mask, fall: _Fall, pixel_size_m: float) -> Mask:
    """What of free ground is dark where clouds fall, and connected to it (H, W)."""
    size_m = pixel_size_m * free.shape[0] / fall.seen.shape[0]
    near, reach = (
        _at(ndimage.maximum_filter(fallen, 2 * round(distance_m / size_m) + 1), free.shape)
        for fallen, distance_m in ((fall.seen, _NEAR_M), (fall.reaching, _REACH_M))
    )
    smooth = ndimage.gaussian_filter(np.where(free, darkness, 0), _SMOOTH_M / pixel_size_m, truncate=2.5)
    dark = free & (np.where(water, near, reach) > 0) & (smooth > np.maximum(_DARK, _DARK_SHARE * reach))
    labels, count = ndimage.label(dark)
    kept = np.zeros(count + 1, bool)
    kept[labels[dark & (near > 0)]] = True
    beside = math.ceil(_CLOSED_M / pixel_size_m)  # or the border of the image would open what it closes
    closed = ndimage.binary_closing(np.pad(kept[labels], beside), _disk(_CLOSED_M / pixel_size_m))
    shaded = closed[beside:-beside, beside:-beside]
    return np.asarray(free & _without_gaps(shaded, round(_GAP_M2 / pixel_size_m**2)))


def _without_gaps(mask: Mask, most_px: int) -> Mask:
    """The mask (H, W) and the gaps in it of so few pixels."""
    if not mask.any():
        return mask
    labels, _ = ndimage.label(~mask)
    return np.asarray(np.bincount(labels.ravel())[labels] <= most_px) | mask


def _disk(radius_px: float) -> Mask:
    side = np.arange(-math.floor(radius_px), math.floor(radius_px) + 1)
    return np.asarray(side[:, None] ** 2 + side**2 <= radius_px**2)


def _at(image: Image, shape: tuple[int, ...]) -> Image:
    """The image (h, w) on pixels of another size (H, W), by the nearest."""
    rows, cols = (np.arange(full) * own // full for full, own in zip(shape, image.shape, strict=True))
    return image[rows][:, cols]
