"""A Gaussian model of reflectance that finds its own settings: how much to expect of each group of features.

    reflectance = mean + sum over features j of w_j * feature_j + field + noise

Coefficients are drawn around what is expected of them with a variance for each group, the field is a membrane with a
variance, noise has heavy tails. The variances are those that make the data most likely: expectation maximization
(Dempster et al. 1977, MacKay 1992), the heavy tails as weights of Student's t.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from scipy.sparse.linalg import splu

from cloudfree.arrays import Float64Array

# Errors of neighbours go together: so many pixels count as one independent sample.
_PX_PER_INDEPENDENT = 10.0
_FREEDOM = 5.0  # of Student's t
_PROBES = 6  # random vectors that estimate a trace
_PULL_OF_MEAN = 1e-4  # in independent samples
_LEAST = 1e-8


@dataclass(frozen=True)
class Samples:
    """Some pixels of a scene, and what is known of them.

    design (n, features): the last is one everywhere. group_of (features,): the number of each one's group, -1 for that
    one. target (n, C): reflectance. weight (n,) 0..1: how far a pixel can be believed to be ground. at_nodes (n,
    nodes), sparse, and `precision` (nodes, nodes): the field at the pixels, and how stiff it is.
    """

    design: Float64Array
    group_of: NDArray[np.intp]
    target: Float64Array
    weight: Float64Array
    at_nodes: Any
    precision: Any


@dataclass(frozen=True)
class Fit:
    """Coefficients (features, C), zero of groups that were left out; field (nodes, C), zero without one.

    `variance` (groups, C) and `field_variance` are in units of the `noise` (C,), the variance of one pixel; `tail` (n,)
    are the weights of Student's t.
    """

    coefficients: Float64Array
    field: Float64Array
    variance: Float64Array
    field_variance: float
    noise: Float64Array
    tail: Float64Array


def fit(
    samples: Samples,
    groups: Sequence[int],
    expected: Float64Array,
    *,
    with_field: bool,
    start: Fit | None,
    iterations: int,
) -> Fit:
    """The model with some groups of features, and a field or none, by its evidence.

    expected (features, C): the mean that coefficients are drawn around. `start` is a fit to like samples to go on from,
    if there is one; fewer iterations are enough then.
    """
    used = np.flatnonzero(np.isin(samples.group_of, [*groups, -1]))
    step = _Step.of(samples, used, expected, with_field=with_field)
    state = start or step.beginning()
    for _ in range(iterations):
        state = step.taken(state)
    return state


@dataclass(frozen=True)
class _Step:
    """What stays the same from iteration to iteration.

    `spread` (used,) is the variance of each used feature: an expected size of its contribution, not of its coefficient,
    is what features of a group have in common.
    """

    samples: Samples
    used: NDArray[np.intp]
    design: Float64Array
    target: Float64Array
    expected: Float64Array
    spread: Float64Array
    with_field: bool

    @classmethod
    def of(cls, samples: Samples, used: NDArray[np.intp], expected: Float64Array, *, with_field: bool) -> _Step:
        design = samples.design[:, used]
        left_over = samples.target - samples.design @ expected
        return cls(samples, used, design, left_over, expected, design.var(axis=0) + 1e-6, with_field)

    def beginning(self) -> Fit:
        s, bands = self.samples, self.target.shape[1]
        groups = int(s.group_of.max()) + 1
        return Fit(
            self.expected,
            np.zeros((s.precision.shape[0], bands)),
            np.full((groups, bands), 1 / _PX_PER_INDEPENDENT),
            1 / _PX_PER_INDEPENDENT,
            np.median(np.abs(self.target - np.median(self.target, axis=0)), axis=0) ** 2 + _LEAST,
            np.ones(len(s.target)),
        )

    def taken(self, last: Fit) -> Fit:
        """One iteration: what the data say of coefficients and field, then what these say of the variances."""
        s, bands = self.samples, self.target.shape[1]
        weight = s.weight * last.tail / _PX_PER_INDEPENDENT
        weighted = self.design * weight[:, None]
        gram, moment = weighted.T @ self.design, weighted.T @ self.target
        field = _FieldStep.of(self, weight, last.field_variance) if self.with_field else None
        if field:
            gram, moment = gram - field.coupling.T @ field.of_design, moment - field.coupling.T @ field.of_target
        solved = np.empty((len(self.used), bands))
        variance, freedom, uncertain = last.variance.copy(), np.zeros(bands), np.zeros_like(gram)
        for band in range(bands):
            pull = self._pull(last.variance[:, band])
            covariance = np.linalg.inv(gram + np.diag(pull))
            solved[:, band] = covariance @ moment[:, band]
            freedom[band] = (1 - np.diag(covariance) * pull).sum()
            uncertain += covariance / bands
            size = (solved[:, band] ** 2 / last.noise[band] + np.diag(covariance)) * self.spread
            self._update(variance[:, band], size)
        left_over = self.target - self.design @ solved
        nodes, field_variance = last.field, last.field_variance
        if field:
            nodes = field.of_target - field.of_design @ solved
            left_over -= s.at_nodes @ nodes
            freedom += field.freedom(last.field_variance)
            field_variance = field.variance(nodes, last.noise, uncertain)
        count = weight.sum()
        noise = (weight @ left_over**2) / np.maximum(count - freedom, 0.2 * count + _LEAST) + _LEAST
        coefficients = self.expected.copy()
        coefficients[self.used] += solved
        return Fit(coefficients, nodes, variance, field_variance, noise, _tail(left_over / np.sqrt(noise), weight))

    def _pull(self, variance: Float64Array) -> Float64Array:
        """Precision (used,) of coefficients in units of the noise's: weak of the mean, which may be anything."""
        group = self.samples.group_of[self.used]
        members = np.bincount(group[group >= 0], minlength=len(variance))
        return np.where(group < 0, _PULL_OF_MEAN, self.spread * members[group] / variance[group])

    def _update(self, variance: Float64Array, size: Float64Array) -> None:
        """Each group's variance (groups,), in place, from the expected sizes (used,) of its contributions."""
        group = self.samples.group_of[self.used]
        for number in np.unique(group[group >= 0]):
            variance[number] = max(_LEAST, size[group == number].sum())


@dataclass(frozen=True)
class _FieldStep:
    """The field, solved for every right-hand side that an iteration needs.

    `coupling` (nodes, used); the field that follows each feature, `of_design` (nodes, used), and the target's bands,
    `of_target` (nodes, C); random `probes` (nodes, p) and the field that follows them.
    """

    precision: Any
    coupling: Float64Array
    of_design: Float64Array
    of_target: Float64Array
    probes: Float64Array
    of_probes: Float64Array

    @classmethod
    def of(cls, step: _Step, weight: Float64Array, variance: float) -> _FieldStep:
        s = step.samples
        weighted = (s.at_nodes.T @ sparse.diags_array(weight)).tocsr()
        system = (weighted @ s.at_nodes + s.precision / variance).tocsc()
        solve = splu(system, permc_spec="MMD_AT_PLUS_A", options={"SymmetricMode": True}).solve
        coupling = weighted @ step.design
        probes = np.sign(np.random.default_rng(1).normal(size=(len(coupling), _PROBES)))
        ends = np.cumsum([coupling.shape[1], step.target.shape[1]])
        of_design, of_target, of_probes = np.split(
            solve(np.hstack([coupling, weighted @ step.target, probes])), ends, axis=1
        )
        return cls(s.precision, coupling, of_design, of_target, probes, of_probes)

    def freedom(self, variance: float) -> float:
        """How many numbers of the data the field takes up."""
        return len(self.probes) - self._trace() / variance

    def variance(self, nodes: Float64Array, noise: Float64Array, uncertain: Float64Array) -> float:
        """The most likely one, given nodes (nodes, C) and the covariance (used, used) of the coefficients."""
        bent = (np.einsum("nb,nb->b", nodes, self.precision @ nodes) / noise).mean()
        unsure = self._trace() + np.trace(self.of_design.T @ (self.precision @ self.of_design) @ uncertain)
        return float(max(1e-6, (bent + unsure) / len(nodes)))

    def _trace(self) -> float:
        """Of the precision times the field's covariance (Hutchinson 1990)."""
        return float((self.probes * (self.precision @ self.of_probes)).sum() / self.probes.shape[1])


def _tail(deviation: Float64Array, weight: Float64Array) -> Float64Array:
    """Weights (n,) of Student's t for what is left over (n, C), in standard deviations, correlated between bands."""
    bands = deviation.shape[1]
    scatter = (deviation * weight[:, None]).T @ deviation / (weight.sum() + _LEAST) + 1e-3 * np.eye(bands)
    squared = np.einsum("nb,bc,nc->n", deviation, np.linalg.inv(scatter), deviation)
    return np.asarray((_FREEDOM + bands) / (_FREEDOM + squared))
