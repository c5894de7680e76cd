"""Holes decide: clear ground is hidden under the scene's cloud shapes, and candidates mixed as they find it again."""

from __future__ import annotations

import numpy as np

from cloudfree.arrays import Float64Array, Mask

_PATTERNS, _DRAWS = 3, 8
_HIDE = (0.1, 0.4)  # share of the clear ground to hide: as much as clouds do, within these bounds
# How far weights are drawn to the expected ones, as a share of what the best candidate gets wrong: holes may tell of
# other ground than that under the clouds.
_SHRINKAGE = 1.0


def holes(hidden: Mask, clear: Mask) -> list[Mask]:
    """A few masks (h, w) of clear ground, shaped like clouds: the mask itself, turned over and moved about.

    Where it hides little, several are laid over each other. Equal arguments give equal holes.
    """
    if not hidden.any() or not clear.any():
        return []
    rng = np.random.default_rng(0)
    wanted = float(np.clip(hidden.sum() / (hidden.sum() + clear.sum()), *_HIDE))
    return [_hole(hidden, clear, wanted, rng) for _ in range(_PATTERNS)]


def _hole(hidden: Mask, clear: Mask, wanted: float, rng: np.random.Generator) -> Mask:
    """Of some draws, and unions of them, what hides a share of the clear ground nearest to the one that is wanted."""
    total, best, best_share = clear.sum(), np.zeros_like(clear), 0.0
    for _ in range(_DRAWS):
        flipped = hidden[:: rng.choice((-1, 1)), :: rng.choice((-1, 1))]
        drawn = np.roll(flipped, [int(rng.integers(length)) for length in hidden.shape], (0, 1)) & clear
        for candidate in (drawn, drawn | best):
            share = candidate.sum() / total
            if abs(share - wanted) < abs(best_share - wanted):
                best, best_share = candidate, share
    return best


def mixture(predicted: list[Float64Array], truth: list[Float64Array], expected: Float64Array) -> Float64Array:
    """Weights (k,) of candidates, none negative, that sum to one and leave the least squared error.

    predicted: what each of k candidates says in each hole (k, n, C); truth (n, C): what is there. Every hole counts as
    much. Weights are drawn to the `expected` ones (k,), which they are without a hole.
    """
    from scipy.optimize import nnls  # noqa: PLC0415 - slow to import, and no part of a run without clouds

    off = [(p - t).reshape(len(p), -1) / np.sqrt(t.size) for p, t in zip(predicted, truth, strict=True)]
    if not off:
        return expected
    errors = np.concatenate(off, axis=1).T
    count = len(expected)
    pull = _SHRINKAGE * np.sqrt(np.square(errors).sum(axis=0).min()) + 1e-9
    scale = 1e3 * (np.abs(errors).max() + pull)  # makes the sum come out as one
    system = np.vstack([errors, pull * np.eye(count), np.full((1, count), scale)])
    wanted = np.concatenate([np.zeros(len(errors)), pull * expected, [scale]])
    weights, _ = nnls(system, wanted)
    return np.asarray(weights / weights.sum())


def shares(weights: Float64Array, expected: Float64Array) -> Float64Array:
    """Weights (k,) of some candidates, scaled to sum to one; the `expected` ones where they are all zero."""
    total = weights.sum()
    return weights / total if total > 0 else expected
