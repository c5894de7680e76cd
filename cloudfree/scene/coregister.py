"""The residual offset of another image against an optical scene, from the structure that both share, and how sure it
is.

Brightness says little across radar and camera, or across seasons, edges much: each image becomes a stack of
oriented-gradient channels, blind to the sign of contrast, and the channels are matched by masked, normalised
cross-correlation in each window of a grid. A true offset shows in many windows at once, so the confidence is one minus
the chance that as many windows agree by accident. Where the windows' own offsets follow a smooth field significantly
better than a translation, the field is taken, provided that it is well determined all over the scene.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.fft import irfft2, next_fast_len, rfft2
from scipy.ndimage import binary_erosion, gaussian_filter, gaussian_filter1d
from scipy.special import bdtrc, fdtrc

from cloudfree import process
from cloudfree.arrays import Float64Array, Image, Mask, known_of
from cloudfree.geometry.displacement import basis
from cloudfree.inputs.optical.scene import Scene
from cloudfree.scene.offset import Offset, Vector
from cloudfree.scene.survey import Survey

ORIENTATIONS = 6
_MIN_WINDOW_PX, _MAX_WINDOW_PX = 32, 192
_MIN_VALID_SHARE = 0.15
_MIN_WINDOWS = 4
_AGREEMENT_PX = 1.5
_MIN_CONFIDENCE = 0.9995
_MARGIN_PX = 3  # searched beyond the largest shift allowed, so that a peak at the limit is seen to be one

_EDGE_PX = 1.5  # scale of the gradients
_CONTEXT_PX = 8.0  # over which the mean strength of edges is taken off
_HALO_PX = 32  # beyond a block, for what the filters see
_BLOCK_PX = 768  # windows are looked at in blocks of about this side, and few at once: bounds the memory
_BLOCKS_AT_ONCE = min(4, process.threads())

_FIT_PX = 2  # around a peak, for its position between pixels
_FIT_X, _FIT_Y = (axis.ravel() for axis in np.meshgrid(*2 * [np.arange(-_FIT_PX, _FIT_PX + 1.0)]))
_PARABOLOID = np.linalg.pinv(basis(_FIT_X, _FIT_Y, 6))  # from pixels to the terms of a paraboloid

_FIELD_TERMS = (3, 6, 10)  # linear, quadratic, cubic
_FIELD_CHANCE = 1e-4  # that a field with no truth in it fits so much better
_FIELD_ERROR_PX = 0.5  # largest standard error, anywhere on the scene, with which a field counts as determined


_Layers = Callable[[Image, Mask], list[Image]]
"""What of an image (C, H, W) is compared, where it is valid (H, W)."""


@dataclass(frozen=True)
class _Window:
    rows: slice
    cols: slice

    @property
    def centre(self) -> tuple[float, float]:
        return (self.rows.start + self.rows.stop) / 2, (self.cols.start + self.cols.stop) / 2

    def share(self, valid: Mask) -> float:
        inside = valid[self.rows, self.cols]
        return float(inside.mean()) if inside.size else 0.0


@dataclass(frozen=True)
class Pair:
    """A part of two optical images on one grid (4, h, w), NaN where they show nothing, with what lies around it.

    Compared is `core`, rows and columns of both, whose centre in the whole images is `centre_yx_px`.
    """

    fixed: Image
    moving: Image
    core: tuple[slice, slice]
    centre_yx_px: tuple[float, float]

    @property
    def cores(self) -> tuple[Image, Image]:
        """What is compared of both."""
        return self.fixed[:, *self.core], self.moving[:, *self.core]


def of_survey(surveyed: Survey, scene: Scene, max_shift_m: float) -> Offset:
    """The offset of Sentinel-1 as surveyed, in pixels of the survey's grid."""
    reach_px = max_shift_m / surveyed.grid.pixel_size_m
    reflectance = scene.reflectance(surveyed.dn)
    return estimate(reflectance, surveyed.clear, surveyed.sar_db, surveyed.sar_valid, reach_px)


def between_dates(fixed: Image, moving: Image, max_shift_px: float) -> Offset:
    """Estimate the offset of one optical image (4, H, W) from another on its grid, in reflectance.

    Both are NaN where they show nothing; offsets of up to `max_shift_px` along either axis are searched and can be
    accepted.
    """
    images = np.nan_to_num(fixed), known_of(fixed), np.nan_to_num(moving), known_of(moving)
    return _estimate(*images, _optical_layers, max_shift_px)


def estimate(optical: Image, optical_valid: Mask, sar_db: Image, sar_valid: Mask, max_shift_px: float) -> Offset:
    """Estimate the offset between images on one grid.

    `optical` is (C, H, W) reflectance with its clear pixels in `optical_valid` (H, W); `sar_db` is (2, H, W) dB with
    `sar_valid` (H, W). Offsets of up to `max_shift_px` along either axis are searched and can be accepted.
    """
    return _estimate(optical, optical_valid, sar_db, sar_valid, _sar_layers, max_shift_px)


def _estimate(
    optical: Image, optical_valid: Mask, moving: Image, moving_valid: Mask, layers_of: _Layers, max_shift_px: float
) -> Offset:
    reach = int(np.ceil(max_shift_px)) + _MARGIN_PX
    both = optical_valid & moving_valid
    layout = _windows(both.shape)
    blocks = [[window for window in block if window.share(both) >= _MIN_VALID_SHARE] for block in layout]
    images = optical, optical_valid, moving, moving_valid, layers_of
    with ThreadPoolExecutor(_BLOCKS_AT_ONCE) as pool:  # scipy's filters and transforms let other threads run
        surfaces = [
            surface
            for surfaces_of_block in pool.map(lambda block: _surfaces(block, *images, reach), blocks)
            for surface in surfaces_of_block
        ]
    compared = [window for block in blocks for window in block]
    every = [window.centre for block in layout for window in block]
    if len(compared) < _MIN_WINDOWS:
        return _too_few(len(compared), len(every))
    weights = np.array([window.share(both) for window in compared], np.float32)
    places = _Places(both.shape, np.array([window.centre for window in compared]), np.array(every))
    return _judge(np.stack(surfaces) * weights[:, None, None], places, max_shift_px)


def _too_few(compared: int, windows: int) -> Offset:
    reason = f"only {compared} windows have enough clear ground under both images; {_MIN_WINDOWS} are needed"
    return Offset(((0.0, 0.0),), 0.0, accepted=False, reason=reason, windows=windows)


def between_parts(pairs: Sequence[Pair], shape: tuple[int, int], cells: Float64Array, max_shift_px: float) -> Offset:
    """The same of large images of `shape`, by a few parts of them, each a window with `margin_px` around it.

    `cells` (N, 2) are the rows and columns of all places that might have had a part.
    """
    reach = int(np.ceil(max_shift_px)) + _MARGIN_PX
    if len(pairs) < _MIN_WINDOWS:
        return _too_few(len(pairs), len(cells))
    surfaces = []
    for pair in pairs:
        valid, window = (known_of(pair.fixed), known_of(pair.moving)), _Window(*pair.core)
        images = np.nan_to_num(pair.fixed), valid[0], np.nan_to_num(pair.moving), valid[1]
        (surface,) = _surfaces([window], *images, _optical_layers, reach)
        surfaces.append(surface * np.float32(window.share(valid[0] & valid[1])))
    return _judge(
        np.stack(surfaces), _Places(shape, np.array([pair.centre_yx_px for pair in pairs]), cells), max_shift_px
    )


def margin_px(max_shift_px: float) -> int:
    """What is needed around a part: as far as it may lie off, and as far as the filters see."""
    return int(np.ceil(max_shift_px)) + _MARGIN_PX + _HALO_PX // 2  # two sigma of the widest filter


# --- what is compared ---


def _optical_layers(optical: Image, valid: Mask) -> list[Image]:
    """Log reflectance of the visible mean and of the near infrared: edges in ratio, like those of SAR in dB."""
    pair = optical[:3].mean(axis=0), optical[-1]
    return [_without_holes(np.log(np.maximum(layer, 0.01)), valid) for layer in pair]


def _sar_layers(sar_db: Image, valid: Mask) -> list[Image]:
    """Both polarisations, smoothed against speckle, which in dB is equally strong everywhere."""
    return [gaussian_filter(_without_holes(np.clip(layer, -35, 5), valid), 1.0) for layer in sar_db]


def _without_holes(layer: Image, valid: Mask) -> Image:
    """Invalid pixels as their valid surroundings are on average, so that a hole has no edge of its own."""
    if valid.all():
        return layer
    known = gaussian_filter(np.where(valid, layer, 0), 3.0)
    weight = gaussian_filter(valid.astype(np.float32), 3.0)
    elsewhere = layer[valid].mean() if valid.any() else 0.0
    around = np.where(weight > 1e-3, known / np.maximum(weight, 1e-3), elsewhere)
    return np.asarray(np.where(valid, layer, around), np.float32)


def _structure(layers: list[Image], valid: Mask) -> tuple[Image, Image]:
    """Oriented-gradient channels (ORIENTATIONS, H, W) without their local mean, and the weight (H, W) of pixels."""
    inside = binary_erosion(valid, border_value=1)
    channels = np.zeros((ORIENTATIONS, *valid.shape), np.float32)
    for layer in layers:
        dy = gaussian_filter1d(gaussian_filter1d(layer, _EDGE_PX, axis=0, order=1), _EDGE_PX, axis=1)
        dx = gaussian_filter1d(gaussian_filter1d(layer, _EDGE_PX, axis=1, order=1), _EDGE_PX, axis=0)
        for k in range(ORIENTATIONS):
            angle = np.pi * k / ORIENTATIONS
            channels[k] += np.abs(np.float32(np.cos(angle)) * dx + np.float32(np.sin(angle)) * dy)
    energy = np.sqrt((channels**2).sum(axis=0))
    typical = np.median(energy[inside]) if inside.any() else 1.0
    # A soft saturation keeps a few bright edges (ships, towers, clouds left over) from deciding alone.
    channels *= inside / (energy + typical + np.float32(1e-6))
    weight = inside.astype(np.float32)
    known = np.maximum(gaussian_filter(weight, _CONTEXT_PX), 1e-3)
    for k in range(ORIENTATIONS):
        channels[k] -= gaussian_filter(channels[k], _CONTEXT_PX) / known
    return channels * weight, weight


# --- window by window ---


def _windows(shape: tuple[int, ...]) -> list[list[_Window]]:
    """Windows side by side (independent of each other), in blocks of neighbours."""
    size = int(np.clip(min(shape) // 4, _MIN_WINDOW_PX, _MAX_WINDOW_PX))
    per_block = max(1, _BLOCK_PX // size)
    rows, cols = (
        [slice(int(s), int(s) + size) for s in np.linspace(0, max(0, n - size), max(1, n // size))] for n in shape
    )
    return [
        [_Window(r, c) for r in rows[i : i + per_block] for c in cols[j : j + per_block]]
        for i in range(0, len(rows), per_block)
        for j in range(0, len(cols), per_block)
    ]


def _surfaces(
    windows: list[_Window],
    optical: Image,
    optical_valid: Mask,
    moving_image: Image,
    moving_valid: Mask,
    layers_of: _Layers,
    reach: int,
) -> list[Image]:
    """The correlation surface of each window of one block."""
    if not windows:
        return []
    top, left = (max(0, min(s.start for s in spans) - reach - _HALO_PX) for spans in _spans(windows))
    bottom, right = (max(s.stop for s in spans) + reach + _HALO_PX for spans in _spans(windows))
    part = np.s_[..., top:bottom, left:right]

    def structure(layers_of: _Layers, image: Image, valid: Mask) -> tuple[Image, Image]:
        return _structure(layers_of(image[part], valid[part]), valid[part])

    with ThreadPoolExecutor(2) as pool:  # for a scene of a few kilometres is a single block
        both = (_optical_layers, layers_of), (optical, moving_image), (optical_valid, moving_valid)
        (fixed, fixed_weight), (moving, moving_weight) = pool.map(structure, *both)
    surfaces = []
    for window in windows:
        r0, r1 = window.rows.start - top, window.rows.stop - top
        c0, c1 = window.cols.start - left, window.cols.stop - left
        # The moving image may come from beyond the window; the optical one only from within.
        around = np.s_[..., max(0, r0 - reach) : r1 + reach, max(0, c0 - reach) : c1 + reach]
        core = np.zeros_like(fixed_weight)
        core[r0:r1, c0:c1] = fixed_weight[r0:r1, c0:c1]
        chosen = core[around]
        surfaces.append(_correlation(fixed[around] * chosen, chosen, moving[around], moving_weight[around], reach))
    return surfaces


def _spans(windows: list[_Window]) -> tuple[list[slice], list[slice]]:
    return [window.rows for window in windows], [window.cols for window in windows]


def _correlation(fixed: Image, fixed_weight: Image, moving: Image, moving_weight: Image, reach: int) -> Image:
    """Masked normalised correlation (2 reach + 1, 2 reach + 1) of two windows over shifts of -reach..reach."""
    height, width = fixed_weight.shape
    shape = (next_fast_len(height + reach, real=True), next_fast_len(width + reach, real=True))

    def spectrum(values: Image) -> NDArray[np.complex64]:
        return np.asarray(rfft2(values, shape))

    def correlate(a: Image, b: Image) -> Image:
        product = spectrum(a) * spectrum(b).conj()
        full = irfft2(product.sum(axis=0) if product.ndim == 3 else product, shape)
        index = np.arange(-reach, reach + 1)
        return np.asarray(full[np.ix_(index, index)], np.float32)

    shared = correlate(fixed, moving)
    fixed_energy = correlate((fixed**2).sum(axis=0), moving_weight)
    moving_energy = correlate(fixed_weight, (moving**2).sum(axis=0))
    floor = 1e-6 * max(float(fixed_energy.max(initial=0)), float(moving_energy.max(initial=0)), 1e-12)
    return shared / np.sqrt(np.maximum(fixed_energy, floor) * np.maximum(moving_energy, floor))


# --- what all windows say ---


@dataclass(frozen=True)
class _Places:
    """Centres (N, 2) in rows and columns, of the windows compared and of every window, in images of `shape`."""

    shape: tuple[int, ...]
    compared: Float64Array
    every: Float64Array

    def terms(self, centres_yx: Float64Array, count: int) -> Float64Array:
        """The first terms of the polynomials (N, count) at those centres."""
        v, u = 2 * centres_yx.T / np.array(self.shape)[:, None] - 1
        return basis(u, v, count)


def _judge(surfaces: Image, places: _Places, max_shift_px: float) -> Offset:
    """The peak of all windows together, and how far they agree, each judged by the others without it."""
    total = surfaces.sum(axis=0)
    agreeing = sum(bool(np.hypot(*(_peak(surface) - _peak(total - surface))) <= _AGREEMENT_PX) for surface in surfaces)
    chance = min(1.0, np.pi * _AGREEMENT_PX**2 / total.size)
    confidence = 1.0 - float(bdtrc(agreeing - 1, len(surfaces), chance))
    counts = f"{agreeing} of {len(surfaces)} windows agree"
    coefficients = np.array([_subpixel_peak(total)])
    peaks = np.array([_subpixel_peak(surface) for surface in surfaces])
    if np.abs(coefficients).max() > max_shift_px:
        accepted, reason = False, f"the best match lies beyond the largest shift allowed ({counts})"
    elif confidence < _MIN_CONFIDENCE:
        accepted, reason = False, f"{counts}, which chance could explain"
    else:
        accepted, reason = True, counts
        coefficients = _with_field(coefficients, peaks, places)
        if len(coefficients) > 1:
            reason += ", on a displacement that changes across the scene"
    away = _distances(coefficients, peaks, places)
    used = away <= _AGREEMENT_PX
    return Offset(
        tuple((float(dy), float(dx)) for dy, dx in coefficients),
        confidence,
        accepted,
        reason,
        len(places.every),
        tuple(
            Vector((float(c[0]), float(c[1])), (float(p[0]), float(p[1])), bool(u))
            for c, p, u in zip(places.compared, peaks, used, strict=True)
        ),
        float(np.sqrt((away[used] ** 2).mean())) if used.any() else 0.0,
    )


def _distances(coefficients: Float64Array, peaks: Float64Array, places: _Places) -> Float64Array:
    """How far (N,) the windows' own peaks lie from a displacement, in pixels."""
    fit = places.terms(places.compared, len(coefficients)) @ coefficients
    return np.asarray(np.hypot(*(peaks - fit).T))


def _with_field(translation: Float64Array, peaks: Float64Array, places: _Places) -> Float64Array:
    """Coefficients (terms, 2) of the richest field that is both significant and determined, or the translation."""
    best = translation
    for terms in _FIELD_TERMS:
        candidate, used = _grown(best, terms, peaks, places)
        if candidate is not None and _is_supported(candidate, len(best), peaks, places, used):
            best = candidate
    return best


def _grown(start: Float64Array, terms: int, peaks: Float64Array, places: _Places) -> tuple[Float64Array | None, Mask]:
    """A least-squares field through the windows near it, fitted again until it has gathered all of them."""
    design = places.terms(places.compared, terms)
    used = np.asarray(_distances(start, peaks, places) <= _AGREEMENT_PX)
    fitted: Float64Array | None = None
    for _ in range(10):
        if used.sum() < 3 * terms:
            return None, used
        fitted = np.asarray(np.linalg.lstsq(design[used], peaks[used], rcond=None)[0], np.float64)
        near = _distances(fitted, peaks, places) <= _AGREEMENT_PX
        if (near == used).all():
            break
        used = near
    return fitted, used


def _is_supported(candidate: Float64Array, terms_before: int, peaks: Float64Array, places: _Places, used: Mask) -> bool:
    """Whether the windows follow the field better than one of fewer terms (F-test), and fix it all over the scene."""
    terms = len(candidate)
    design = places.terms(places.compared[used], terms)
    simpler = np.linalg.lstsq(design[:, :terms_before], peaks[used], rcond=None)[0]
    before = float(((peaks[used] - design[:, :terms_before] @ simpler) ** 2).sum())
    after = float(((peaks[used] - design @ candidate) ** 2).sum())
    freedom = 2 * (len(design) - terms)
    ratio = (before - after) / (2 * (terms - terms_before)) / max(after / freedom, 1e-9)
    if fdtrc(2 * (terms - terms_before), freedom, ratio) > _FIELD_CHANCE:
        return False
    everywhere = places.terms(places.every, terms)
    variance = np.einsum("nt,tk,nk->n", everywhere, np.linalg.pinv(design.T @ design), everywhere).max()
    return bool(np.sqrt(variance * after / freedom) <= _FIELD_ERROR_PX)


def _peak(surface: Image) -> NDArray[np.intp]:
    """(row, column) of the highest value."""
    return np.array(np.unravel_index(int(surface.argmax()), surface.shape))


def _subpixel_peak(surface: Image) -> tuple[float, float]:
    """Shift (dy, dx) of the peak from the centre, where the paraboloid through the pixels around it culminates."""
    row, col = (int(v) for v in _peak(surface))
    reach = surface.shape[0] // 2
    whole = float(row - reach), float(col - reach)
    around = surface[max(0, row - _FIT_PX) : row + _FIT_PX + 1, max(0, col - _FIT_PX) : col + _FIT_PX + 1]
    if around.size < (2 * _FIT_PX + 1) ** 2:
        return whole
    _, right, down, right2, both, down2 = _PARABOLOID @ around.ravel()
    curvature = np.array([[2 * down2, both], [both, 2 * right2]])
    if down2 >= 0 or np.linalg.det(curvature) <= 0:
        return whole
    dy, dx = np.linalg.solve(curvature, [-down, -right])
    return whole if max(abs(dy), abs(dx)) > _FIT_PX else (whole[0] + float(dy), whole[1] + float(dx))
