"""Holes decide: clear ground is hidden under the scene's cloud shapes, and candidates mixed as they find it again."""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cloudfree.arrays import Float64Array, Mask

_PATTERNS, _DRAWS = 3, 8
_HIDE = (0.1, 0.4)  # share of the clear ground to hide: as much as clouds do, within these bounds
# How far weights are drawn to the expected ones, as a share of what the best candidate gets wrong: holes may tell of
# other ground than that under the clouds.
_SHRINKAGE = 1.0


@dataclass(frozen=True)
class Move:
    """How a mask of a scene is moved over it: turned over along an axis or both, then rolled by a share (0..1) of it.

    So it is the same move on grids of any resolution. `flips` and `rolls` are of rows and columns.
    """

    flips: tuple[bool, bool]
    rolls: tuple[float, float]

    @classmethod
    def drawn(cls, rng: np.random.Generator, shape: tuple[int, ...]) -> Move:
        """By whole pixels of a grid (h, w)."""
        flips = bool(rng.choice((-1, 1)) < 0), bool(rng.choice((-1, 1)) < 0)
        down, across = (int(rng.integers(length)) / length for length in shape)
        return cls(flips, (down, across))

    def of(self, mask: Mask) -> Mask:
        """The mask (h, w), moved."""
        places = [self._sources(np.arange(length), axis, length) for axis, length in enumerate(mask.shape)]
        return mask[np.ix_(*places)]

    def pieces(self, axis: int, span: range, length: int) -> list[tuple[range, range]]:
        """Parts of a span of an axis of some pixels, each with where it comes from; backwards where that is turned."""
        at = self._sources(np.asarray(span), axis, length)
        step = -1 if self.flips[axis] else 1
        cuts = [0, *(np.flatnonzero(np.diff(at) != step) + 1), len(span)]
        return [
            (span[start:stop], range(int(at[start]), int(at[stop - 1]) + step, step))
            for start, stop in itertools.pairwise(cuts)
        ]

    def _sources(self, places: NDArray[np.intp], axis: int, length: int) -> NDArray[np.intp]:
        """Where the pixels (n,) at some places of an axis come from."""
        came = (places - round(self.rolls[axis] * length)) % length
        return length - 1 - came if self.flips[axis] else came


@dataclass(frozen=True)
class Hole:
    """Clear ground to hide: `mask` (h, w), and the moves of the scene's own mask that make it, the first on top."""

    mask: Mask
    moves: tuple[Move, ...]


def holes(hidden: Mask, clear: Mask) -> list[Hole]:
    """A few holes in the clear ground (h, w), shaped like clouds: the mask itself, turned over and moved about.

    Where it hides little, several are laid over each other. Equal arguments give equal holes.
    """
    if not hidden.any() or not clear.any():
        return []
    rng = np.random.default_rng(0)
    wanted = float(np.clip(hidden.sum() / (hidden.sum() + clear.sum()), *_HIDE))
    return [_hole(hidden, clear, wanted, rng) for _ in range(_PATTERNS)]


def _hole(hidden: Mask, clear: Mask, wanted: float, rng: np.random.Generator) -> Hole:
    """Of some draws, and unions of them, what hides a share of the clear ground nearest to the one that is wanted."""
    best, best_share = Hole(np.zeros_like(clear), ()), 0.0
    for _ in range(_DRAWS):
        move = Move.drawn(rng, hidden.shape)
        drawn = move.of(hidden) & clear
        for candidate in (Hole(drawn, (move,)), Hole(drawn | best.mask, (move, *best.moves))):
            share = candidate.mask.sum() / clear.sum()
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
