"""What an observation still tells of the ground through thin cloud and in shadow, without a table of their colours.

Pixels under a mask that are near each other, and equally darkened or brightened against the scene's model, have the
same thing in the way. Among them the ratio of mean observation to mean model is the gain of each band: the light that
is left. How an observation differs from its neighbours' mean, divided by the gain, is what the model does not know of
the ground, plus noise. It is believed as far as variances tell: that of the model's errors, as the gain lets them
show, over what is really left over there. Behind restless or opaque cloud that share goes to nothing, and the model
stands. So detail is observed; the level among neighbours is the model's. Where nothing is in the way at all
(`scene.unobstructed`) the observation is the ground.

Neighbours are found on a bilateral grid (Chen, Paris and Durand 2007): squares of pixels by steps of darkness.
"""

from __future__ import annotations

import functools
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

BLOCK_PX = 8
"""Side of the grid's squares; tiles that start on multiples of it see the same squares as the whole image."""

_SQUARES, _SQUARES_REACH = 0.9, 2  # standard deviation of the Gaussian that neighbours count by, and where it ends
_STEP, _MOST = 0.2, 2.0  # of darkness, the logarithm of observed over expected brightness in the visible bands
_STEPS, _STEPS_REACH = 1.0, 2  # the Gaussian over darkness, in steps
_DARKNESS_PX, _DARKNESS_REACH_PX = 1.0, 2  # by which images are smoothed before darkness is taken
_LEAST_GAIN, _MOST_GAIN = 0.1, 1.2
_DARKEST, _LEAST_VARIANCE, _TINY = 0.005, 1e-9, 1e-6
_AIRLIGHT = 0.45  # reflectance of thin cloud where it becomes opaque
_OFFSET = 0.01  # reflectance that keeps the logarithm of black ground finite

# Of the variance of a model's errors, how much is finer than the neighbourhoods, which detail can take away; and how
# much of it an observation with nothing in the way takes at most, for that is never sure.
_DETAIL, _MOST_SHARE = 0.45, 0.9


class SeenThrough(NamedTuple):
    """Ground of a window: reflectance (4, H, W); `share` (H, W), 0..1: of the variance of the model's errors, how much
    the observation takes away.
    """

    reflectance: Tensor
    share: Tensor


def see_through(
    observed: Tensor, ground: Tensor, hidden: Tensor, unobstructed: Tensor, error_variance: Tensor
) -> SeenThrough:
    """The ground behind what is observed, given what a model expects there; the model where nothing is hidden.

    observed, ground (4, H, W): reflectance, blue, green, red, NIR. hidden (H, W): 1 where the mask hides the ground,
    else 0. unobstructed (H, W), 0..1: the probability that nothing is in the way. error_variance (4,): of the model's
    errors. All on one device. Windows on multiples of BLOCK_PX agree but for their outermost 32 pixels.
    """
    darkness = _darkness(observed, ground)
    of_observed, of_ground, constant = torch.split(
        _on_pixels(_grid(observed, ground, hidden, darkness), darkness, error_variance), 4
    )
    added = (of_observed * observed - of_ground * ground + constant) * hidden
    known = hidden * unobstructed
    reflectance = torch.lerp((ground + added).clamp(0, 1), observed, known)
    of_detail = _DETAIL * hidden * of_ground.mean(0)
    return SeenThrough(reflectance, torch.lerp(of_detail, known.new_full((), _MOST_SHARE), known))


def _darkness(observed: Tensor, ground: Tensor) -> Tensor:
    """How much brighter than expected a pixel is in the visible bands (H, W), in steps from the darkest."""
    visible = torch.stack([observed[:3].mean(0), ground[:3].mean(0)])
    kernel = _gaussian(_DARKNESS_PX, _DARKNESS_REACH_PX, visible.device)
    smooth = F.pad(visible[:, None], [_DARKNESS_REACH_PX] * 4, mode="replicate")
    smooth = F.conv2d(smooth, torch.outer(kernel, kernel)[None, None])[:, 0].clamp_min(0) + _OFFSET
    return (smooth[0] / smooth[1]).log_().clamp_(-_MOST, _MOST).add_(_MOST).div_(_STEP)


def _grid(observed: Tensor, ground: Tensor, hidden: Tensor, darkness: Tensor) -> Tensor:
    """Weighted means over neighbours in squares and darkness: (21, steps, h, w), the first their total weight.

    Then observed, expected, their product and their squares, four bands each.
    """
    moments = torch.cat(
        [torch.ones_like(hidden)[None], observed, ground, observed * ground, observed.square(), ground.square()]
    )
    squares, belongs = _squares(moments), _squares(darkness)
    steps = torch.arange(round(2 * _MOST / _STEP) + 1, device=hidden.device)
    weight = (1 - (belongs[..., None] - steps).abs()).clamp_min_(0) * _squares(hidden)[..., None]
    sums = torch.einsum("hwps,chwp->cshw", weight, squares)
    for axis, (deviation, reach) in enumerate([(_STEPS, _STEPS_REACH), *2 * [(_SQUARES, _SQUARES_REACH)]], start=1):
        sums = _blurred(sums, axis, deviation, reach)
    sums[1:] /= sums[:1] + _TINY
    return sums


def _on_pixels(grid: Tensor, darkness: Tensor, error_variance: Tensor) -> Tensor:
    """What each pixel takes (12, H, W): factors of the observation and of the model (4 each), and a constant (4)."""
    observed, expected, product, observed_squared, expected_squared = torch.split(grid[1:], 4)
    gain = torch.minimum(observed / expected.clamp_min(_DARKEST), _transmittance(observed, expected))
    gain = gain.clamp_(0, _MOST_GAIN)
    covariance = product - observed * expected
    expected_variance = (expected_squared - expected.square()).clamp_min_(0)
    left_over = observed_squared - observed.square() - 2 * gain * covariance + gain.square() * expected_variance
    of_ground = gain.square() * error_variance[:, None, None, None]
    share = of_ground / torch.maximum(left_over.clamp_min_(_LEAST_VARIANCE), of_ground).clamp_min(_LEAST_VARIANCE)
    share = torch.where(gain > _LEAST_GAIN, share, 0)
    of_observed = share / gain.clamp_min(_LEAST_GAIN)
    volume = torch.cat([of_observed, share, share * expected - of_observed * observed])
    height, width = darkness.shape
    places = [(torch.arange(side, device=grid.device) + 0.5) / BLOCK_PX for side in (height, width)]
    down, across = (2 * place / count - 1 for place, count in zip(places, grid.shape[2:], strict=True))
    depth = (2 * darkness + 1) / grid.shape[1] - 1
    where = torch.stack([across.expand(height, width), down[:, None].expand(height, width), depth], dim=-1)
    taken = F.grid_sample(volume[None], where[None, None], padding_mode="border", align_corners=False)
    return taken[0, :, 0]


def _transmittance(observed: Tensor, expected: Tensor) -> Tensor:
    """Of haze, by how much brighter than expected the visible bands are (1, ...): over 1 where they are darker."""
    observed, expected = observed[:3].mean(0, keepdim=True), expected[:3].mean(0, keepdim=True)
    return 1 - (observed - expected) / (_AIRLIGHT - expected).clamp_min(_LEAST_GAIN)


def _squares(image: Tensor) -> Tensor:
    """An image (..., H, W) by squares (..., h, w, pixels), padded with zeros."""
    *rest, height, width = image.shape
    padded = F.pad(image, [0, -width % BLOCK_PX, 0, -height % BLOCK_PX])
    h, w = (side // BLOCK_PX for side in padded.shape[-2:])
    return padded.reshape(*rest, h, BLOCK_PX, w, BLOCK_PX).transpose(-3, -2).reshape(*rest, h, w, BLOCK_PX**2)


def _blurred(image: Tensor, axis: int, deviation: float, reach: int) -> Tensor:
    """Under a Gaussian along one axis, beyond whose ends there is nothing."""
    kernel, length = _gaussian_weights(deviation, reach), image.shape[axis]
    total = image * kernel[reach]
    for step in range(1, min(reach, length - 1) + 1):
        near, far = (image.narrow(axis, start, length - step) for start in (0, step))
        total.narrow(axis, step, length - step).add_(near, alpha=kernel[reach + step])
        total.narrow(axis, 0, length - step).add_(far, alpha=kernel[reach + step])
    return total


@functools.cache
def _gaussian_weights(deviation: float, reach: int) -> tuple[float, ...]:
    """Made on the processor: to read them from a card would wait for all that is queued there."""
    return tuple(_gaussian(deviation, reach, torch.device("cpu")).tolist())


def _gaussian(deviation: float, reach: int, device: torch.device) -> Tensor:
    kernel = torch.exp(-0.5 * (torch.arange(-reach, reach + 1, device=device) / deviation) ** 2)
    return kernel / kernel.sum()
