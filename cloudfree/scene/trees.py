"""Extremely randomized trees (Geurts, Ernst and Wehenkel 2006), a level of many trees at a time.

Every tree has all samples. At a node half of the features are drawn, with one threshold each at random between the
least and the most that the node's samples show, and of these the one is taken that leaves the least squared error, all
bands together. Trees know thresholds, which a line cannot follow; the mean of many is smooth again.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

from cloudfree import process
from cloudfree.arrays import Image, Mask, as_image

_LEAST_IN_LEAF = 5
_TOGETHER = 5  # trees grown at a time, on a thread
_CACHED_PX = 1 << 12
_LEVELS_BETWEEN = 4  # in which pixels go down together before those that have arrived are left behind

Indexes = NDArray[np.intp]


@dataclass(frozen=True)
class Trees:
    """Trees as flat arrays of their nodes (n,); `roots` are the indexes of the first ones.

    A sample goes to `child` where its `feature` is at most the `threshold`, else to the node behind that; a leaf is its
    own child. `value` (n, C) is the mean of the samples of a node.
    """

    roots: Indexes
    feature: Indexes
    threshold: Image
    child: Indexes
    value: Image

    @classmethod
    def grown(cls, features: Image, target: Image, count: int) -> Trees:
        """So many, from samples: features (n, f) and target (n, C), finite. Equal arguments give equal trees."""
        grow = lambda seed: _grown(features, target, min(_TOGETHER, count - seed), seed)  # noqa: E731
        with ThreadPoolExecutor(process.threads()) as pool:
            parts = list(pool.map(grow, range(0, count, _TOGETHER)))
        firsts = np.cumsum([0, *(len(part.feature) for part in parts[:-1])])
        return _joined([part._numbered_from(first) for part, first in zip(parts, firsts, strict=True)])

    def predicted(self, features: Image) -> Image:
        """The mean (n, C) of what the trees say of features (n, f); each row's is its own: parts equal the whole."""
        total = np.zeros((len(features), self.value.shape[1]), np.float32)
        for start in range(0, len(features), _CACHED_PX):
            chunk = slice(start, start + _CACHED_PX)
            for root in self.roots:
                total[chunk] += self.value.take(self._leaves(features[chunk], root), axis=0)
        total /= np.float32(len(self.roots))
        return total

    def _numbered_from(self, first: int) -> Trees:
        return replace(self, roots=self.roots + np.int32(first), child=self.child + np.int32(first))

    def _leaves(self, features: Image, root: np.intp) -> Indexes:
        """The leaf (n,) of one tree that each row of features (n, f) comes to."""
        values, going = features.ravel(), np.arange(len(features))
        first, leaves = going * features.shape[1], np.full(len(features), root)
        node = leaves
        while len(going):
            for _ in range(_LEVELS_BETWEEN):
                shown = _take(values, first + _take(self.feature, node))
                node = _take(self.child, node) + (shown > _take(self.threshold, node))
            leaves[going] = node
            left = _take(self.child, node) != node
            going, first, node = going[left], first[left], node[left]
        return leaves


def _take(values: Any, where: Indexes) -> Any:
    """Of a flat array, at indexes within it: to wrap them is quicker than to check."""
    return values.take(where, mode="wrap")


@dataclass(frozen=True)
class _Level:
    """Nodes at one depth: their samples (s,), node after node, and the size of each node (a,)."""

    samples: Indexes
    sizes: NDArray[np.intp]

    @cached_property
    def starts(self) -> NDArray[np.intp]:
        """Where each node's samples begin (a,)."""
        return np.cumsum(self.sizes) - self.sizes

    @cached_property
    def node_of(self) -> NDArray[np.intp]:
        """The node (s,) of each sample."""
        return np.repeat(np.arange(len(self.sizes)), self.sizes)

    def sums(self, chosen: Image, target: Image) -> Image:
        """The sums (a, C) of the target (n, C) over each node's samples, each times `chosen` (s,)."""
        ends = np.append(self.starts, len(self.samples))
        return np.asarray(csr_array((chosen, self.samples, ends), shape=(len(self.sizes), len(target))) @ target)

    def some(self, nodes: Mask) -> _Level:
        """Some of the nodes (a,)."""
        return _Level(self.samples[nodes[self.node_of]], self.sizes[nodes])

    def divided(self, right: Mask) -> _Level:
        """The two children of each node, side by side: the samples that do not go right (s,), and those that do."""
        half = 2 * self.node_of + right
        return _Level(self.samples[np.argsort(half, kind="stable")], np.bincount(half, minlength=2 * len(self.sizes)))


@dataclass(frozen=True)
class _Splits:
    """A feature and a threshold for each node (a,), and the squares (a,) that they explain; none may be: -inf."""

    feature: Indexes
    threshold: Image
    explained: Image

    def or_better(self, other: _Splits) -> _Splits:
        better = other.explained > self.explained
        pairs = ((other.feature, self.feature), (other.threshold, self.threshold), (other.explained, self.explained))
        return _Splits(*(np.where(better, theirs, own) for theirs, own in pairs))


def _grown(features: Image, target: Image, count: int, seed: int) -> Trees:
    """Some trees from one seed."""
    rng, size, middle = np.random.default_rng(seed), len(features), target.mean(axis=0)
    columns = np.ascontiguousarray(features.T)
    counted = np.concatenate([target - middle, np.ones((size, 1), np.float32)], axis=1)
    level = _Level(np.tile(np.arange(size), count), np.full(count, size))
    levels, first = [], 0
    while len(level.sizes):
        sums = level.sums(np.ones(len(level.samples), np.float32), counted)
        number = np.arange(first, first + len(level.sizes))
        nodes = Trees(number, np.zeros_like(number), np.full(len(number), np.inf, np.float32), number.copy(), sums)
        first += len(number)
        dividable = level.sizes >= 2 * _LEAST_IN_LEAF
        level = level.some(dividable)
        best = _best(level, sums[dividable], columns, counted, rng)
        found = np.isfinite(best.explained)
        dividable[dividable] = found
        nodes.feature[dividable], nodes.threshold[dividable] = best.feature[found], best.threshold[found]
        nodes.child[dividable] = first + 2 * np.arange(found.sum())
        level = level.some(found)
        right = _beyond(level, columns, best.feature[found], best.threshold[found])
        level = level.divided(right)
        levels.append(replace(nodes, value=sums[:, :-1] / sums[:, -1:] + middle))
    return replace(_joined(levels), roots=levels[0].roots)


def _best(level: _Level, sums: Image, columns: Image, counted: Image, rng: np.random.Generator) -> _Splits:
    """The best of as many random splits of each node as half of the features, each with another one."""
    count, nodes = len(columns), len(level.sizes)
    order, first = rng.permutation(count), rng.integers(count, size=nodes)
    best = _Splits(np.zeros(nodes, np.intp), np.zeros(nodes, np.float32), np.full(nodes, -np.inf, np.float32))
    if not nodes:
        return best
    for turn in range(-(-count // 2)):
        feature = order[(first + turn) % count]
        values = _of(level, columns, feature)
        least, most = np.minimum.reduceat(values, level.starts), np.maximum.reduceat(values, level.starts)
        threshold = least + rng.random(nodes, np.float32) * (most - least)
        right = level.sums(as_image(values > threshold[level.node_of]), counted)
        best = best.or_better(_Splits(feature, threshold, _explained(right, sums)))
    return best


def _explained(right: Image, sums: Image) -> Image:
    """The squares (a,) that two halves explain, by their sums and, last, their counts (a, C + 1)."""
    left = sums - right
    explained = sum((half[:, :-1] ** 2).sum(axis=1) / np.maximum(half[:, -1], 1) for half in (left, right))
    return np.where(np.minimum(left[:, -1], right[:, -1]) >= _LEAST_IN_LEAF, explained, -np.inf).astype(np.float32)


def _of(level: _Level, columns: Image, feature: Indexes) -> Image:
    """What each sample (s,) shows of its node's feature (a,)."""
    return columns.ravel().take((feature * columns.shape[1])[level.node_of] + level.samples)


def _beyond(level: _Level, columns: Image, feature: Indexes, threshold: Image) -> Mask:
    """The samples (s,) beyond their node's threshold (a,)."""
    return np.asarray(_of(level, columns, feature) > threshold[level.node_of])


def _joined(parts: Sequence[Trees]) -> Trees:
    """Trees of one numbering: nodes one after the other."""
    fields = ("roots", "feature", "threshold", "child", "value")
    return Trees(*(np.concatenate([getattr(part, name) for part in parts]) for name in fields))
