"""The lanes of a batch: each draws from its own part of every data set, so that processes need not read the same."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ..config import RegressorConfig
from .order import Order, Turns
from .store import CropStore

TURNS, ORDER, CHANGES = range(3)
"""What is drawn: each kind has seeds of its own."""


class Lane:
    """The endless sequence of samples of one lane, of data sets that have their turns by ``weights``."""

    def __init__(
        self, stores: Sequence[CropStore], weights: Sequence[float], config: RegressorConfig, lane: int
    ) -> None:
        self._turns = Turns(weights, [config.seed, TURNS, lane])
        self._parts = [own_parts(store.part_counts("train"), lane, config.data.lanes) for store in stores]
        self._orders = [Order([count for _, count in parts], [config.seed, ORDER, lane, number], config.data.window)
                        for number, parts in enumerate(self._parts)]  # fmt: skip

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
