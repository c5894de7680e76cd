"""What the ground under a cloud probably looks like, in closed form: the scene's clear pixels, read through the radar.

Four terms, each of which falls back on the one before it where there is less to learn from:

1. a global regression of reflectance on backscatter at several scales, shipped as a table (`global_prior.json`);
2. the scene's own: a ridge that pulls the coefficients towards the global ones. Thin cloud and shadow that the mask
   missed count little, being outliers to which all bands agree, and what remains of them is told from the ground by
   its decay with the distance from the mask;
3. the mean of what the regression leaves over at the clear pixels of like backscatter, for surfaces of their own kind;
4. a smooth field through what is still left over, so that a reconstruction agrees with its surroundings at the edge
   of the mask.

All of it lives on a coarse grid of about 10 m, where Sentinel-1's detail ends, and is sampled bilinearly from there.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage, sparse
from scipy.sparse.linalg import splu

from cloudfree.arrays import Float64Array, Image, Mask, as_image
from cloudfree.inputs.planet import Scene
from cloudfree.scene.survey import Survey

_Real = TypeVar("_Real", np.float32, np.float64)

PIXEL_M = 10.0
"""Sentinel-1's pixel, and the finest that a fit is worth."""

# The regression. Backscatter is smoothed by Gaussians of these standard deviations, and centred and scaled by what is
# typical of land, so that a coefficient is reflectance per typical deviation and means the same in every scene.
_SCALES_M = (10.0, 20.0, 40.0, 80.0, 160.0)
_TYPICAL_DB, _DEVIATION_DB = (-10.0, -17.0), 4.0
_MAX_SAMPLES = 100_000  # clear pixels to fit to, evenly spread; more take time and change nothing
# Pull towards the global coefficients: a share of the weight of all clear pixels, for neighbours are no independent
# witnesses, and a number of pixels, which counts where hardly anything is clear. The mean colour gives way sooner.
_RIDGE, _PULL_PX, _PULL_MEAN_PX = 0.03, 300.0, 1.0
# How thin cloud and shadow decay beyond a mask. Where all that is clear is near a mask they cannot be told from the
# ground's mean colour, and are pulled to nothing.
_HALO_M, _HALO_RIDGE, _PULL_HALO_PX = (30.0, 80.0), 0.003, 50.0
_FREEDOM, _REWEIGHTINGS = 9.0, 3  # of Student's t
_IN_COMMON = 2.0  # deviations that all bands share, at which a pixel counts half

# What the regression leaves over, by backscatter: cells of the range of VV and of VH, smoothed over this scale. More
# cells draw contours on the ground.
_CELLS, _CELL_SCALE_M, _CELL_SHRINKAGE_PX = 16, 20.0, 50.0

# The field: a membrane on springs, on a lattice of nodes. It follows the residuals at clear pixels, bridges the gaps
# without overshoot, and forgets them over the range.
_NODE_PX, _MAX_NODES = 4, 100_000
_STIFFNESS, _RANGE_M = 4.0, 2000.0

# Reflectance of dark ground in blue, green, red, NIR, and the most that may be taken for path radiance.
_DARK_GROUND, _MAX_PATH_RADIANCE = np.array([0.03, 0.04, 0.03, 0.10]), 0.12


@dataclass(frozen=True)
class ScenePrior:
    """The prior of one scene.

    `reflectance` (4, h, w) 0..1, everywhere, on the coarse grid; `shape` (H, W) of the scene that it covers.
    `clear_share` (0..1): share of the valid pixels that could be learned from. `path_radiance` (4,):
    reflectance that even the scene's darkest clear pixels have, beyond what dark ground has, as in top-of-atmosphere
    products. To a network it would look like haze, so it is taken off before and put back after.
    """

    reflectance: Image
    shape: tuple[int, int]
    clear_share: float
    path_radiance: Image

    @property
    def is_global(self) -> bool:
        """Whether the scene had nothing to say: the colours are then those of another season and soil."""
        return self.clear_share == 0

    def rows(self, start: int, stop: int) -> Image:
        """Reflectance (4, stop - start, W) of full-width rows of the scene, 0 <= start <= stop <= H."""
        return _bilinear(self.reflectance, self.shape, slice(start, stop))

    def whole(self) -> Image:
        """Reflectance (4, H, W) of the scene."""
        return self.rows(0, self.shape[0])


def of_survey(survey: Survey, scene: Scene) -> ScenePrior:
    """The prior of a scene as surveyed, its radar co-registered, from the pixels that its mask leaves clear."""
    reflectance = np.clip(scene.reflectance(survey.dn), 0, 1)
    return fit(reflectance, survey.sar_db, survey.cloudy, survey.data, survey.grid.pixel_size_m, scene.grid.shape)


def fit(
    reflectance: Image,
    sar_db: Image,
    hidden: Mask,
    valid: Mask,
    pixel_size_m: float = PIXEL_M,
    shape: tuple[int, int] | None = None,
) -> ScenePrior:
    """Fit to a scene on a coarse grid, such as that of a survey.

    reflectance (4, h, w) 0..1; sar_db (2, h, w) dB, VV and VH, NaN where invalid, co-registered; hidden (h, w): under
    cloud, shadow or their edge; valid (h, w): the scene has data. `shape` (H, W): the scene's at full resolution, if
    that is another. Equal arguments give equal pixels.
    """
    radar = Radar.of(sar_db, pixel_size_m)
    seen = valid & ~hidden
    clear = seen & radar.valid
    if clear.any():
        image = _fitted(reflectance, radar, _halo(hidden, pixel_size_m), clear, seen)
    else:
        image = radar.regression(global_coefficients())
    share = float(clear.sum() / max(1, valid.sum()))
    shape = shape or (hidden.shape[0], hidden.shape[1])
    return ScenePrior(np.clip(image, 0, 1).astype(np.float32), shape, share, _path_radiance(reflectance, clear))


def fit_fine(reflectance: Image, sar_db: Image, hidden: Mask, valid: Mask, pixel_size_m: float = PIXEL_M) -> ScenePrior:
    """`fit` for an image at full resolution that fits in memory: averaged to the coarse grid first.

    A coarse pixel is hidden where any part of it is.
    """
    shape = hidden.shape[0], hidden.shape[1]
    coarse = (max(1, round(shape[0] * pixel_size_m / PIXEL_M)), max(1, round(shape[1] * pixel_size_m / PIXEL_M)))
    if coarse >= shape:
        return fit(reflectance, sar_db, hidden, valid, pixel_size_m)
    down, across = _overlap(coarse[0], shape[0]), _overlap(coarse[1], shape[1]).T
    finite = np.isfinite(sar_db)
    dark = valid.astype(np.float32)
    return fit(
        _ratio(down @ (reflectance * dark) @ across, down @ dark @ across, 0.0),
        _ratio(down @ np.where(finite, sar_db, 0) @ across, down @ finite.astype(np.float32) @ across, np.nan),
        down @ hidden.astype(np.float32) @ across > 0,
        down @ dark @ across > 0,
        pixel_size_m * shape[1] / coarse[1],
        shape,
    )


def _path_radiance(reflectance: Image, clear: Mask) -> Image:
    if not clear.any():
        return np.zeros(4, np.float32)
    darkest = np.percentile(reflectance[:, clear], 1, axis=1)
    return as_image(np.clip(darkest - _DARK_GROUND, 0, _MAX_PATH_RADIANCE))


@cache
def global_coefficients() -> Float64Array:
    """(features + 1, 4) reflectance per feature, the last row the mean; `benchmarks/quality/fit_global_prior.py`."""
    table = json.loads(files("cloudfree.scene").joinpath("global_prior.json").read_text(encoding="utf-8"))
    return np.array(table["coefficients"])


@dataclass(frozen=True)
class Regression:
    """Coefficients of ground (features + 1, 4) and halo (decays, 4); scatter (4, 4) of the core of the residuals."""

    ground: Float64Array
    halo: Float64Array
    scatter: Float64Array


def regress(features: Float64Array, halo: Float64Array, reflectance: Float64Array, towards: Float64Array) -> Regression:
    """A ridge towards given coefficients (features + 1, 4), with each pixel's weight found from its own residuals.

    features (n, features + 1) ends in a column of ones; halo (n, decays); reflectance (n, 4).
    """
    slopes, decays = len(towards) - 1, halo.shape[1]
    design, target = np.hstack([features, halo]), np.vstack([towards, np.zeros((decays, 4))])
    relative = np.array([_RIDGE] * slopes + [0.0] + [_HALO_RIDGE] * decays)
    absolute = np.array([_PULL_PX] * slopes + [_PULL_MEAN_PX] + [_PULL_HALO_PX] * decays)
    weight = np.ones(len(design))
    for _ in range(1 + _REWEIGHTINGS):
        weighted, pull = design * weight[:, None], np.diag(relative * weight.sum() + absolute)
        found = np.linalg.solve(weighted.T @ design + pull, weighted.T @ reflectance + pull @ target)
        residual = reflectance - design @ found
        scatter = (residual * weight[:, None]).T @ residual / weight.sum() + 1e-6 * np.eye(4)
        weight = _ground_weight(residual.T, scatter)
    return Regression(found[: slopes + 1], found[slopes + 1 :], scatter)


def _ground_weight(residual: NDArray[_Real], scatter: Float64Array) -> NDArray[_Real]:
    """How far residuals (4, ...) are ground rather than cloud or shadow, 0..1.

    The weight of Student's t, times less where all bands are brighter or all are darker: ground changes colour.
    """
    whitening = np.linalg.inv(np.linalg.cholesky(scatter)).astype(residual.dtype)
    squared_distance = np.square(np.tensordot(whitening, residual, 1)).sum(0)
    deviations = (residual.T / np.sqrt(np.diag(scatter)).astype(residual.dtype)).T
    in_common = np.maximum(0, np.maximum(deviations.min(0), -deviations.max(0)))
    weight: NDArray[_Real] = _FREEDOM / (_FREEDOM + squared_distance) / (1 + (in_common / _IN_COMMON) ** 2)
    return weight


def _fitted(reflectance: Image, radar: Radar, halo: Image, clear: Mask, seen: Mask) -> Image:
    """The scene's regression on what is clear under radar, plus its field through all that is seen (4, h, w)."""
    sample = _spread(clear)
    decay, observed = (image.reshape(len(image), -1)[:, sample].T.astype(np.float64) for image in (halo, reflectance))
    found = regress(radar.features_at(sample), decay, observed, global_coefficients())
    image = radar.regression(found.ground)
    residual = reflectance - image
    residual -= np.tensordot(found.halo.T.astype(np.float32), halo, 1)
    alike = _mean_of_alike(residual, _ground_weight(residual, found.scatter), radar, clear)
    image += alike
    residual -= alike
    weight = np.where(seen, _ground_weight(residual, found.scatter), np.float32(0))
    image += _field(residual, weight, radar.pixel_size_m)
    return image


def _mean_of_alike(residual: Image, weight: Image, radar: Radar, clear: Mask) -> Image:
    """Mean residual (4, h, w) over the clear pixels of like backscatter, in cells of VV and VH, shrunk where few are.

    A regression that is smooth in backscatter cannot follow a surface of its own kind, such as a river among fields.
    """
    vv, vh = (_on_scale(band, clear) for band in radar.smoothed(_CELL_SCALE_M))
    edges = np.arange(_CELLS + 1) - 0.5
    share = weight[clear]

    def summed(values: Image) -> Float64Array:
        table = np.histogram2d(vv[clear], vh[clear], bins=[edges, edges], weights=values)[0]
        smooth: Float64Array = ndimage.gaussian_filter(table, 1.0, mode="constant")
        return smooth

    total = summed(share) + _CELL_SHRINKAGE_PX
    tables = [summed(band[clear] * share) / total for band in residual]
    return np.stack([ndimage.map_coordinates(table, (vv, vh), np.float32, order=1) for table in tables])


def _on_scale(band: Image, clear: Mask) -> Image:
    """A band (h, w) on the scale of the cells' centres, 0 to _CELLS - 1 between the extremes of its clear pixels."""
    low, high = np.percentile(band[clear], (0.5, 99.5))
    return as_image(np.clip((band - low) * ((_CELLS - 1) / max(high - low, 1e-6)), 0, _CELLS - 1))


@dataclass(frozen=True)
class Radar:
    """Backscatter, centred and scaled (2, h, w), 0 where it is not `valid` (h, w); what is typical stands in there."""

    centred: Image
    valid: Mask
    pixel_size_m: float

    @classmethod
    def of(cls, sar_db: Image, pixel_size_m: float) -> Radar:
        valid: Mask = np.asarray(np.isfinite(sar_db).all(axis=0))
        typical = np.array(_TYPICAL_DB, np.float32)[:, None, None]
        return cls(np.where(valid, (sar_db - typical) / np.float32(_DEVIATION_DB), 0), valid, pixel_size_m)

    def features(self) -> Iterator[Image]:
        """The maps (h, w) one by one, for together they may not fit: each scale of VV and of VH, and its square."""
        for scale_m in _SCALES_M:
            for smooth in self.smoothed(scale_m):
                yield smooth
                yield smooth * smooth

    def smoothed(self, scale_m: float) -> Iterator[Image]:
        """VV, then VH (h, w), at a scale, valid pixels alone taking part."""
        sigma_px = scale_m / self.pixel_size_m
        reach = np.maximum(_smooth(self.valid.astype(np.float32), sigma_px), 0.05)
        for band in self.centred:
            yield as_image(_smooth(band, sigma_px) / reach)

    def features_at(self, sample: NDArray[np.intp]) -> Float64Array:
        """(n, features + 1) at flat indexes (n,), the last column ones."""
        return np.stack([*(each.ravel()[sample] for each in self.features()), np.ones(len(sample))], axis=1)

    def regression(self, coefficients: Float64Array) -> Image:
        """Reflectance (4, h, w) by coefficients (features + 1, 4)."""
        image = np.broadcast_to(coefficients[-1].astype(np.float32)[:, None, None], (4, *self.valid.shape)).copy()
        for feature, row in zip(self.features(), coefficients[:-1].astype(np.float32), strict=True):
            image += row[:, None, None] * feature
        return image


def _smooth(image: Image, sigma_px: float) -> Image:
    smooth: Image = ndimage.gaussian_filter(image, sigma_px, mode="nearest", truncate=3.0)
    return smooth


def _halo(hidden: Mask, pixel_size_m: float) -> Image:
    """How near the mask is (decays, h, w): 1 at its edge, falling off as exp(-distance / length)."""
    if not hidden.any():
        return np.zeros((len(_HALO_M), *hidden.shape), np.float32)
    distance_m = pixel_size_m * ndimage.distance_transform_edt(~hidden)
    return np.stack([np.exp(-distance_m / length) for length in _HALO_M]).astype(np.float32)


def _spread(clear: Mask) -> NDArray[np.intp]:
    """Flat indexes of at most _MAX_SAMPLES clear pixels, in scan order at equal intervals."""
    indexes = np.flatnonzero(clear)
    chosen: NDArray[np.intp] = indexes[:: math.ceil(len(indexes) / _MAX_SAMPLES)]
    return chosen


def _field(residual: Image, weight: Image, pixel_size_m: float) -> Image:
    """The membrane (4, h, w) through residuals (4, h, w) that count by weight (h, w)."""
    height, width = weight.shape
    pitch = max(_NODE_PX, math.ceil(math.sqrt(height * width / _MAX_NODES)))
    rows, cols = -(-height // pitch), -(-width // pitch)

    def binned(image: Image) -> Float64Array:
        padded = np.pad(image, ((0, rows * pitch - height), (0, cols * pitch - width)))
        return padded.reshape(rows, pitch, cols, pitch).sum(axis=(1, 3), dtype=np.float64).ravel() / _NODE_PX**2

    spring = (pitch * pixel_size_m / _RANGE_M) ** 2
    tension = _STIFFNESS * (_laplacian(rows, cols) + spring * sparse.eye_array(rows * cols))
    system = (tension + sparse.diags_array(binned(weight))).tocsc()
    load = np.stack([binned(weight * band) for band in residual], axis=1)
    solve = splu(system, permc_spec="MMD_AT_PLUS_A", options={"SymmetricMode": True}).solve
    nodes = solve(load).T.reshape(4, rows, cols).astype(np.float32)
    return _bilinear(nodes, (rows * pitch, cols * pitch), slice(0, height))[..., :width]


def _laplacian(rows: int, cols: int) -> Any:
    """The sparse Laplacian (rows * cols, rows * cols) of a lattice, free at its edges."""

    def line(count: int) -> Any:
        steps = sparse.eye_array(count - 1, count, k=1) - sparse.eye_array(count - 1, count)
        return steps.T @ steps

    return sparse.kron(line(rows), sparse.eye_array(cols)) + sparse.kron(sparse.eye_array(rows), line(cols))


def _bilinear(image: Image, shape: tuple[int, int], rows: slice) -> Image:
    """Some rows (C, rows, W) of an image (C, h, w) stretched over `shape` (H, W), constant beyond the outer centres.

    Every value depends on its own position alone, so that strips equal the whole.
    """
    (above, below, down), (left, right, across) = (
        _neighbours(length, stretched, chosen)
        for length, stretched, chosen in zip(image.shape[1:], shape, (rows, slice(0, shape[1])), strict=True)
    )
    band = image[:, above] + (image[:, below] - image[:, above]) * down[:, None]
    return band[..., left] + (band[..., right] - band[..., left]) * across


def _neighbours(length: int, stretched: int, chosen: slice) -> tuple[NDArray[np.intp], NDArray[np.intp], Image]:
    """For pixels of a stretched axis: the source pixels before and after their centres, and the share of the latter."""
    position = np.clip((np.arange(stretched)[chosen] + 0.5) * length / stretched - 0.5, 0, length - 1)
    before = np.minimum(position.astype(np.intp), max(0, length - 2))
    return before, np.minimum(before + 1, length - 1), (position - before).astype(np.float32)


def _overlap(coarse: int, fine: int) -> Image:
    """(coarse, fine): the share of each coarse pixel of an axis that lies in each fine one; rows sum to one."""
    edges = np.arange(coarse + 1)[:, None] * (fine / coarse)
    covered = np.clip(edges - np.arange(fine), 0, 1)
    return (np.diff(covered, axis=0) * -1 * (coarse / fine)).astype(np.float32)


def _ratio(total: NDArray[np.floating], weight: NDArray[np.floating], otherwise: float) -> Image:
    return np.where(weight > 0, total / np.maximum(weight, 1e-6), otherwise).astype(np.float32)
