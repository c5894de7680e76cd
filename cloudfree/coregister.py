"""The residual offset of Sentinel-1 against an optical scene, from the structure that both share, and how sure it is.

Brightness says little across the two sensors, edges much: each image becomes a stack of oriented-gradient channels,
blind to the sign of contrast, and the channels are matched by masked, normalised cross-correlation in each window of a
grid. A true offset shows in many windows at once, so the confidence is one minus the chance that as many windows agree
by accident.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.fft import irfft2, next_fast_len, rfft2
from scipy.ndimage import binary_erosion, gaussian_filter, gaussian_filter1d
from scipy.stats import binom

ORIENTATIONS = 6
_MIN_WINDOW_PX, _MAX_WINDOW_PX = 32, 192
_MIN_VALID_SHARE = 0.4
_MIN_WINDOWS = 4
_AGREEMENT_PX = 1.5
_MIN_CONFIDENCE = 0.999
_MARGIN_PX = 3  # searched beyond the largest shift allowed, so that a peak at the limit is seen to be one

Array = NDArray[np.float32]
Mask = NDArray[np.bool_]


@dataclass(frozen=True)
class Offset:
    """A translation of the Sentinel-1 image over the ground.

    `shift_yx_px` is what must be *added* to positions in the SAR image to match the optical one (rows down, columns
    right, in pixels of the images compared); `confidence` is 0..1; `reason` says in words why it was accepted or not.
    """

    shift_yx_px: tuple[float, float]
    confidence: float
    accepted: bool
    reason: str
    windows_used: int = 0
    windows_agreeing: int = 0


def estimate(optical: Array, optical_valid: Mask, sar_db: Array, sar_valid: Mask, max_shift_px: float) -> Offset:
    """Estimate the offset between images on one grid.

    `optical` is (C, H, W) reflectance with its clear pixels in `optical_valid` (H, W); `sar_db` is (2, H, W) dB with
    `sar_valid` (H, W). Offsets of up to `max_shift_px` along either axis are searched and can be accepted.
    """
    reach = int(np.ceil(max_shift_px)) + _MARGIN_PX
    size = int(np.clip(min(optical_valid.shape) // 4, _MIN_WINDOW_PX, _MAX_WINDOW_PX))
    fixed, fixed_weight = _structure(_optical_layers(optical), optical_valid)
    moving, moving_weight = _structure(_sar_layers(sar_db), sar_valid)
    surfaces = [
        _correlation(
            fixed[:, rows, cols], fixed_weight[rows, cols], moving[:, rows, cols], moving_weight[rows, cols], reach
        )
        for rows, cols in _windows(optical_valid & sar_valid, size)
    ]
    if len(surfaces) < _MIN_WINDOWS:
        reason = f"only {len(surfaces)} windows have enough clear ground under both images; {_MIN_WINDOWS} are needed"
        return Offset((0.0, 0.0), 0.0, accepted=False, reason=reason, windows_used=len(surfaces))
    return _judge(np.stack(surfaces), max_shift_px)


def _optical_layers(optical: Array) -> Array:
    """Log reflectance of the visible mean and of the near infrared: edges in ratio, like those of SAR in dB."""
    visible, infrared = optical[:3].mean(axis=0), optical[-1]
    return np.log(np.maximum(np.stack([visible, infrared]), 0.01))


def _sar_layers(sar_db: Array) -> Array:
    """Both polarisations, smoothed against speckle on the scale that the gradients look at."""
    filled = np.nan_to_num(np.clip(sar_db, -35, 5), nan=-15.0)
    return np.stack([gaussian_filter(layer, 1.0) for layer in filled])


def _structure(layers: Array, valid: Mask) -> tuple[Array, Array]:
    """Oriented-gradient channels (ORIENTATIONS, H, W) without their local mean, and the weight (H, W) of pixels."""
    inside = binary_erosion(valid, iterations=3, border_value=1)
    channels = np.zeros((ORIENTATIONS, *valid.shape), np.float32)
    for layer in layers:
        dy = gaussian_filter1d(gaussian_filter1d(layer, 1.5, axis=0, order=1), 1.5, axis=1)
        dx = gaussian_filter1d(gaussian_filter1d(layer, 1.5, axis=1, order=1), 1.5, axis=0)
        for k in range(ORIENTATIONS):
            angle = np.pi * k / ORIENTATIONS
            channels[k] += np.abs(np.cos(angle) * dx + np.sin(angle) * dy)
    energy = np.sqrt((channels**2).sum(axis=0))
    typical = np.median(energy[inside]) if inside.any() else 1.0
    # A soft saturation keeps a few bright edges (ships, towers, clouds left over) from deciding alone.
    channels *= inside / (energy + typical + 1e-6)
    weight = inside.astype(np.float32)
    blur = np.stack([gaussian_filter(c, 8.0) for c in channels]) / np.maximum(gaussian_filter(weight, 8.0), 1e-3)
    return ((channels - blur) * weight).astype(np.float32), weight


def _windows(valid: Mask, size: int) -> list[tuple[slice, slice]]:
    """Windows side by side (independent of each other) that hold enough ground valid in both."""
    height, width = valid.shape
    rows = [slice(int(r), int(r) + size) for r in np.linspace(0, max(0, height - size), max(1, height // size))]
    cols = [slice(int(c), int(c) + size) for c in np.linspace(0, max(0, width - size), max(1, width // size))]
    return [(r, c) for r in rows for c in cols if valid[r, c].size and valid[r, c].mean() >= _MIN_VALID_SHARE]


def _correlation(fixed: Array, fixed_weight: Array, moving: Array, moving_weight: Array, reach: int) -> Array:
    """Masked normalised correlation (2 reach + 1, 2 reach + 1) of two windows over shifts of -reach..reach."""
    height, width = fixed_weight.shape
    shape = (next_fast_len(height + reach, real=True), next_fast_len(width + reach, real=True))

    def spectrum(values: Array) -> NDArray[np.complex64]:
        return np.asarray(rfft2(values, shape))

    def correlate(a: Array, b: Array) -> Array:
        full = irfft2((spectrum(a) * spectrum(b).conj()), shape)
        summed = full.sum(axis=0) if full.ndim == 3 else full
        index = np.arange(-reach, reach + 1)
        return np.asarray(summed[np.ix_(index, index)], np.float32)

    shared = correlate(fixed, moving)
    fixed_energy = correlate((fixed**2).sum(axis=0), moving_weight)
    moving_energy = correlate(fixed_weight, (moving**2).sum(axis=0))
    floor = 1e-6 * max(float(fixed_energy.max(initial=0)), float(moving_energy.max(initial=0)), 1e-12)
    return shared / np.sqrt(np.maximum(fixed_energy, floor) * np.maximum(moving_energy, floor))


def _judge(surfaces: Array, max_shift_px: float) -> Offset:
    """The peak of all windows together, and how far they agree, each judged by the others without it."""
    total = surfaces.sum(axis=0)
    agreeing = sum(bool(np.hypot(*(_peak(surface) - _peak(total - surface))) <= _AGREEMENT_PX) for surface in surfaces)
    chance = min(1.0, np.pi * _AGREEMENT_PX**2 / total.size)
    confidence = 1.0 - float(binom.sf(agreeing - 1, len(surfaces), chance))
    dy, dx = _subpixel_peak(total)
    counts = f"{agreeing} of {len(surfaces)} windows agree"
    if max(abs(dy), abs(dx)) > max_shift_px:
        accepted, reason = False, f"the best match lies beyond the largest shift allowed ({counts})"
    elif confidence < _MIN_CONFIDENCE:
        accepted, reason = False, f"{counts}, which chance could explain"
    else:
        accepted, reason = True, counts
    return Offset((dy, dx), confidence, accepted, reason, len(surfaces), agreeing)


def _peak(surface: Array) -> NDArray[np.intp]:
    """(row, column) of the highest value."""
    return np.array(np.unravel_index(int(surface.argmax()), surface.shape))


def _subpixel_peak(surface: Array) -> tuple[float, float]:
    """Shift (dy, dx) of the peak from the centre, refined by a parabola through its neighbours on each axis."""
    row, col = (int(v) for v in _peak(surface))
    reach = surface.shape[0] // 2
    return row - reach + _vertex(surface[:, col], row), col - reach + _vertex(surface[row], col)


def _vertex(values: Array, at: int) -> float:
    if not 0 < at < len(values) - 1:
        return 0.0
    before, here, after = (float(v) for v in values[at - 1 : at + 2])
    curvature = before - 2 * here + after
    return 0.0 if curvature >= 0 else float(np.clip(0.5 * (before - after) / curvature, -0.5, 0.5))
