"""How sure a mean over samples is, and whether two regressors really differ on the same samples.

Frames of one sequence resemble each other: where sequences are known, they are drawn as wholes (cluster bootstrap;
Davison and Hinkley, Bootstrap Methods and their Application, 1997, section 3.8).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

_AT_ONCE = 64


@dataclass(frozen=True)
class Paired:
    """Mean of (b − a), its 95 % interval, and the two-sided p-value that it is 0."""

    difference: float
    low: float
    high: float
    p_value: float


def clusters(sequences: Sequence[str] | None) -> tuple[np.ndarray | None, str]:
    """Names of each sample's sequence (None: no sequences) → numbers (N,) of those drawn together, None where each is
    drawn on its own; and what is drawn, in words. Of a single sequence nothing can be drawn but its samples."""
    if sequences is None:
        return None, "samples"
    numbers = np.unique(list(sequences), return_inverse=True)[1]
    if not numbers.any():
        return None, "samples of the only sequence, hence too narrow"
    return numbers, "whole sequences"


def bootstrap_interval(
    values: np.ndarray, groups: np.ndarray | None = None, *, resamples: int = 2000, seed: int = 0
) -> np.ndarray:
    """Values (N,M) → 95 % intervals of their means (M,2), by the percentiles of means of resampled groups.

    ``groups`` (N,) int: samples of the same number are drawn together (default: each on its own).
    """
    sums, sizes = _grouped(values, groups)
    draw = np.random.default_rng(seed)
    means = []
    for start in range(0, resamples, _AT_ONCE):
        times = draw.multinomial(len(sizes), np.full(len(sizes), 1 / len(sizes)), min(_AT_ONCE, resamples - start))
        means.append(times @ sums / (times @ sizes)[:, None])
    return np.quantile(np.concatenate(means), [0.025, 0.975], axis=0).T


def paired_test(
    a: np.ndarray, b: np.ndarray, groups: np.ndarray | None = None, *, resamples: int = 10_000, seed: int = 0
) -> Paired:
    """Errors (N,) of two on the same samples: bootstrap interval, and a sign-flip permutation test over groups.

    Under the null hypothesis which of the two a group's errors belong to is chance: signs of differences flip at will.
    """
    apart = np.asarray(b, np.float64) - np.asarray(a, np.float64)
    sums, _ = _grouped(apart[:, None], groups)
    draw = np.random.default_rng(seed)
    observed, extreme = abs(sums.sum()), 0
    for start in range(0, resamples, _AT_ONCE):
        signs = draw.choice([-1.0, 1.0], (min(_AT_ONCE, resamples - start), len(sums)))
        # The observed arrangement itself counts as extreme, whatever the rounding of its sum.
        extreme += int((abs(signs @ sums[:, 0]) >= observed * (1 - 1e-12)).sum())
    low, high = bootstrap_interval(apart[:, None], groups, resamples=min(resamples, 2000), seed=seed)[0]
    return Paired(float(apart.mean()), float(low), float(high), (extreme + 1) / (resamples + 1))


def _grouped(values: np.ndarray, groups: np.ndarray | None) -> tuple[np.ndarray, np.ndarray]:
    """Sums (G,M) and sizes (G,) of groups."""
    values = np.asarray(values, np.float64)
    if groups is None:
        return values, np.ones(len(values))
    _, numbers = np.unique(groups, return_inverse=True)
    sums = np.zeros((numbers.max() + 1, values.shape[1]))
    np.add.at(sums, numbers, values)
    return sums, np.bincount(numbers).astype(np.float64)
