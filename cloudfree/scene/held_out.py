"""Whether a move of another date is borne out by clear ground: what the image leaves over of ground not fitted."""

from __future__ import annotations

import numpy as np
from scipy.stats import wilcoxon

from cloudfree.arrays import Float64Array, Image, Mask, known_of

_BLOCK_PX = 16
_FEWEST_PX = 100  # to fit on, and to ask
_FEWEST_BLOCKS = 8
_MOST_CHANCE = 0.01  # that ground which gains nothing looks so much better
_MOST_LEFT = 0.99  # of what was left over, in the median block: less of a gain a chance fit may bring to all blocks


def bears_out(fixed: Image, before: Image, after: Image) -> bool | None:
    """Whether `after` says significantly more of `fixed` than `before`: images (4, H, W), NaN where they show nothing.

    Four bands are fitted to the fixed image's on every other block, as black is on a chessboard, and what they leave
    over is asked on the white ones; then the other way round. More blocks have to be better off, and by more, than
    chance would have it (Wilcoxon's signed-rank test, which a few blocks of left-over cloud do not decide), the median
    one by a hundredth at least. None where there is too little ground to say.
    """
    known = known_of(fixed) & known_of(before) & known_of(after)
    left = [_left_over(fixed, image, known) for image in (before, after)]
    if left[0] is None or left[1] is None or len(left[0]) < _FEWEST_BLOCKS:
        return None
    if np.median(left[1] / np.maximum(left[0], 1e-12)) > _MOST_LEFT:
        return False
    gain = left[0] - left[1]
    return bool(gain.any() and wilcoxon(gain, alternative="greater").pvalue < _MOST_CHANCE)


def _left_over(fixed: Image, other: Image, known: Mask) -> Float64Array | None:
    """Squared errors (blocks,), of the variance of each band, in blocks a quarter of which is known at least."""
    blocks = np.stack(np.nonzero(known)) // _BLOCK_PX
    number, black = blocks[0] * (known.shape[1] // _BLOCK_PX + 1) + blocks[1], blocks.sum(axis=0) % 2 == 0
    if min(black.sum(), (~black).sum()) < _FEWEST_PX:
        return None
    terms = np.concatenate([other[:, known], np.ones((1, len(number)), np.float32)]).T.astype(np.float64)
    truth = fixed[:, known].T.astype(np.float64)
    error = np.empty(len(number))
    for fitted in (black, ~black):
        weights = np.linalg.lstsq(terms[fitted], truth[fitted], rcond=None)[0]
        off = truth[~fitted] - terms[~fitted] @ weights
        error[~fitted] = (off**2 / np.maximum(truth[~fitted].var(axis=0), 1e-12)).mean(axis=1)
    counts = np.bincount(number)
    return np.asarray(np.bincount(number, weights=error)[counts >= _BLOCK_PX**2 / 4], np.float64)
