"""Which sample comes when: (seed, step) alone decide."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ..config import RegressorConfig
from .crop_dataset import CropDataset

_KEPT = 4
_CYCLE = 10_000


class Order:
    """Pass after pass over the samples of shards, each sample once a pass.

    Shards come in a new order in each pass, and samples are shuffled among ``window`` shards in a row: whoever reads
    them needs no more than those at a time.
    """

    def __init__(self, counts: Sequence[int], seed: Sequence[int], window: int) -> None:
        self._counts = np.asarray(counts, dtype=np.int64)
        self._starts = np.cumsum(self._counts) - self._counts
        self._seed, self._window = list(seed), window
        self._groups: dict[tuple[int, int], np.ndarray] = {}

    def rows(self, positions: np.ndarray) -> np.ndarray:
        """Positions (N,) in the endless sequence → rows (N,), samples numbered in the given order of shards."""
        epochs, places = np.divmod(positions, self._counts.sum())
        out = np.empty(len(positions), np.int64)
        for epoch in np.unique(epochs).tolist():
            shards = np.random.default_rng([*self._seed, epoch]).permutation(len(self._counts))
            ends = np.cumsum(self._counts[shards])
            ends = ends[
                np.minimum(np.arange(self._window - 1, len(ends) + self._window - 1, self._window), len(ends) - 1)
            ]
            here = np.flatnonzero(epochs == epoch)
            groups = np.searchsorted(ends, places[here], side="right")
            for group in np.unique(groups).tolist():
                some = here[groups == group]
                members = shards[group * self._window : (group + 1) * self._window]
                first = ends[group - 1] if group else 0
                out[some] = self._shuffled(epoch, group, members)[places[some] - first]
        return out

    def _shuffled(self, epoch: int, group: int, shards: np.ndarray) -> np.ndarray:
        key = (epoch, group)
        if key not in self._groups:
            rows = np.concatenate([np.arange(self._counts[shard]) + self._starts[shard] for shard in shards])
            while len(self._groups) >= _KEPT:
                del self._groups[next(iter(self._groups))]
            self._groups[key] = np.random.default_rng([*self._seed, epoch, group]).permutation(rows)
        return self._groups[key]


class Turns:
    """Whose turn it is, by ``weights`` (D,): in each cycle of 10,000 turns everyone has their share, at least one turn,
    shuffled anew."""

    def __init__(self, weights: Sequence[float], seed: Sequence[int]) -> None:
        wanted = np.asarray(weights, dtype=np.float64) / sum(weights) * _CYCLE
        self._turns = np.maximum(np.floor(wanted), 1).astype(np.int64)
        short = _CYCLE - int(self._turns.sum())
        for number in np.argsort(self._turns - wanted, kind="stable")[: max(short, 0)]:
            self._turns[number] += 1
        self._seed = list(seed)
        self._cycles: dict[int, tuple[np.ndarray, np.ndarray]] = {}

    def take(self, turns: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Turns (N,) → who (N,), and how often each has had a turn before (N,)."""
        cycles, places = np.divmod(turns, self._turns.sum())
        who, before = np.empty(len(turns), np.int64), np.empty(len(turns), np.int64)
        for cycle in np.unique(cycles).tolist():
            here = cycles == cycle
            names, earlier = self._cycle(cycle)
            who[here], before[here] = names[places[here]], earlier[places[here]]
        return who, before

    def _cycle(self, cycle: int) -> tuple[np.ndarray, np.ndarray]:
        if cycle not in self._cycles:
            names = np.repeat(np.arange(len(self._turns)), self._turns)
            names = np.random.default_rng([*self._seed, cycle]).permutation(names)
            earlier = np.empty(len(names), np.int64)
            for number, turns in enumerate(self._turns):
                earlier[names == number] = cycle * turns + np.arange(turns)
            while len(self._cycles) >= _KEPT:
                del self._cycles[next(iter(self._cycles))]
            self._cycles[cycle] = names, earlier
        return self._cycles[cycle]


TURNS, ORDER, CHANGES = range(3)
"""What is drawn: each kind has seeds of its own."""


class Lane:
    """The endless sequence of samples of one lane, of data sets that have their turns by ``weights``."""

    def __init__(
        self, stores: Sequence[CropDataset], weights: Sequence[float], config: RegressorConfig, lane: int
    ) -> None:
        self._turns = Turns(weights, [config.seed, TURNS, lane])
        self._parts = [own_parts(store.part_counts("train"), lane, config.data.rank_partitions) for store in stores]
        self._orders = [
            Order([count for _, count in parts], [config.seed, ORDER, lane, number], config.data.shuffle_buffer)
            for number, parts in enumerate(self._parts)
        ]

    def samples(self, turns: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Numbers (N,) in this lane → which data set (N,), and which row of its train split (N,)."""
        sources, positions = self._turns.take(turns)
        rows = np.empty(len(turns), np.int64)
        for source in np.unique(sources).tolist():
            here = sources == source
            found = self._orders[source].rows(positions[here])
            starts, counts = np.array(self._parts[source], np.int64).T
            ends = np.cumsum(counts)
            part = np.searchsorted(ends, found, side="right")
            rows[here] = starts[part] + found - (ends - counts)[part]
        return sources, rows


def own_parts(counts: Sequence[int], lane: int, lanes: int) -> list[tuple[int, int]]:
    """(first row, count) of what a lane has of shards of ``counts`` samples.

    Lanes have equally many, to one, so that every sample counts alike: the shard at a border is shared. Of fewer
    samples than lanes each lane has all.
    """
    ends = np.cumsum(counts, dtype=np.int64)
    total, lanes = int(ends[-1]), max(1, lanes)
    first, last = (lane * total // lanes, (lane + 1) * total // lanes) if total >= lanes else (0, total)
    low, high = np.maximum(ends - counts, first), np.minimum(ends, last)
    return [(start, end - start) for start, end in zip(low.tolist(), high.tolist(), strict=True) if end > start]
