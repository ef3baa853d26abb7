"""Which sample comes when: decided by (seed, step) alone."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ..config import RegressorConfig
from .crop_dataset import CropDataset

_KEPT = 4
_CYCLE = 10_000


class ShuffledSampler:
    """An endless sequence over the samples of shards, each sample once an epoch.

    Shards come in a new order in each epoch, and samples are shuffled among ``shuffle_buffer`` consecutive shards: a
    reader needs no more than those at a time.
    """

    def __init__(self, counts: Sequence[int], seed: Sequence[int], shuffle_buffer: int) -> None:
        self._counts = np.asarray(counts, dtype=np.int64)
        self._starts = np.cumsum(self._counts) - self._counts
        self._seed, self._buffer = list(seed), shuffle_buffer
        self._groups: dict[tuple[int, int], np.ndarray] = {}

    def rows(self, positions: np.ndarray) -> np.ndarray:
        """Map positions (N,) in the sequence to rows (N,), samples numbered in the given order of shards."""
        epochs, places = np.divmod(positions, self._counts.sum())
        out = np.empty(len(positions), np.int64)
        for epoch in np.unique(epochs).tolist():
            shards = np.random.default_rng([*self._seed, epoch]).permutation(len(self._counts))
            ends = np.cumsum(self._counts[shards])
            ends = ends[
                np.minimum(np.arange(self._buffer - 1, len(ends) + self._buffer - 1, self._buffer), len(ends) - 1)
            ]
            in_epoch = np.flatnonzero(epochs == epoch)
            groups = np.searchsorted(ends, places[in_epoch], side="right")
            for group in np.unique(groups).tolist():
                members = in_epoch[groups == group]
                buffered = shards[group * self._buffer : (group + 1) * self._buffer]
                first = ends[group - 1] if group else 0
                out[members] = self._shuffled(epoch, group, buffered)[places[members] - first]
        return out

    def _shuffled(self, epoch: int, group: int, shards: np.ndarray) -> np.ndarray:
        key = (epoch, group)
        if key not in self._groups:
            rows = np.concatenate([np.arange(self._counts[shard]) + self._starts[shard] for shard in shards])
            while len(self._groups) >= _KEPT:
                del self._groups[next(iter(self._groups))]
            self._groups[key] = np.random.default_rng([*self._seed, epoch, group]).permutation(rows)
        return self._groups[key]


class WeightedSampler:
    """An endless sequence over D data sets by ``weights`` (D,).

    In each cycle of 10,000 positions every data set has its share, at least one, in a newly shuffled order.
    """

    def __init__(self, weights: Sequence[float], seed: Sequence[int]) -> None:
        exact_counts = np.asarray(weights, dtype=np.float64) / sum(weights) * _CYCLE
        self._per_cycle = np.maximum(np.floor(exact_counts), 1).astype(np.int64)
        short = _CYCLE - int(self._per_cycle.sum())
        for number in np.argsort(self._per_cycle - exact_counts, kind="stable")[: max(short, 0)]:
            self._per_cycle[number] += 1
        self._seed = list(seed)
        self._cycles: dict[int, tuple[np.ndarray, np.ndarray]] = {}

    def datasets(self, positions: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Map positions (N,) to data sets (N,), and to how many earlier positions each of these had (N,)."""
        cycles, places = np.divmod(positions, self._per_cycle.sum())
        chosen, before = np.empty(len(positions), np.int64), np.empty(len(positions), np.int64)
        for cycle in np.unique(cycles).tolist():
            in_cycle = cycles == cycle
            names, earlier = self._cycle(cycle)
            chosen[in_cycle], before[in_cycle] = names[places[in_cycle]], earlier[places[in_cycle]]
        return chosen, before

    def _cycle(self, cycle: int) -> tuple[np.ndarray, np.ndarray]:
        if cycle not in self._cycles:
            names = np.repeat(np.arange(len(self._per_cycle)), self._per_cycle)
            names = np.random.default_rng([*self._seed, cycle]).permutation(names)
            earlier = np.empty(len(names), np.int64)
            for number, count in enumerate(self._per_cycle):
                earlier[names == number] = cycle * count + np.arange(count)
            while len(self._cycles) >= _KEPT:
                del self._cycles[next(iter(self._cycles))]
            self._cycles[cycle] = names, earlier
        return self._cycles[cycle]


DATASET, ORDER, CHANGES = range(3)
"""Kinds of random draws, each with its own seeds."""


class RankPartition:
    """The endless sequence of samples of one rank partition, over data sets by ``weights``."""

    def __init__(
        self, stores: Sequence[CropDataset], weights: Sequence[float], config: RegressorConfig, partition: int
    ) -> None:
        self._datasets = WeightedSampler(weights, [config.seed, DATASET, partition])
        self._parts = [
            partition_rows(store.part_counts("train"), partition, config.data.rank_partitions) for store in stores
        ]
        self._orders = [
            ShuffledSampler(
                [count for _, count in parts], [config.seed, ORDER, partition, number], config.data.shuffle_buffer
            )
            for number, parts in enumerate(self._parts)
        ]

    def samples(self, positions: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Map positions (N,) in this partition to data sets (N,), and to rows of their train splits (N,)."""
        sources, earlier = self._datasets.datasets(positions)
        rows = np.empty(len(positions), np.int64)
        for source in np.unique(sources).tolist():
            of_source = sources == source
            shuffled = self._orders[source].rows(earlier[of_source])
            starts, counts = np.array(self._parts[source], np.int64).T
            ends = np.cumsum(counts)
            part = np.searchsorted(ends, shuffled, side="right")
            rows[of_source] = starts[part] + shuffled - (ends - counts)[part]
        return sources, rows


def partition_rows(counts: Sequence[int], number: int, partitions: int) -> list[tuple[int, int]]:
    """Return (first row, count) of what rank partition ``number`` has of shards of ``counts`` samples.

    Partitions have equally many samples, up to one, so that every sample has the same weight; a shard at a border is
    shared. With fewer samples than partitions each has all.
    """
    ends = np.cumsum(counts, dtype=np.int64)
    total, partitions = int(ends[-1]), max(1, partitions)
    first, last = 0, total
    if total >= partitions:
        first, last = number * total // partitions, (number + 1) * total // partitions
    low, high = np.maximum(ends - counts, first), np.minimum(ends, last)
    return [(start, end - start) for start, end in zip(low.tolist(), high.tolist(), strict=True) if end > start]
