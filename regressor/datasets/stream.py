"""The batches of a training run: which samples, how changed, all a function of (seed, step); read by several workers.

A batch has lanes, each with its own part of the shards, so that processes that train together need not read the same
ones. What a batch holds does not depend on how many processes or workers there are.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
from collections.abc import Iterator
from typing import Any, cast

import cv2
import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from tokenizer import Body
from tokenizer.body.skeleton import NUM_BODY_JOINTS, index
from tokenizer.engine.errors import UserError, fail
from tokenizer.engine.processes import available_cores

from ..augmentation import augment
from ..batches import join, take
from ..config import RegressorConfig
from .mixtures import Mixture
from .order import Order, Turns
from .picture import PictureOf, own_pictures
from .sample import Sample
from .shards import ShardStore
from .store import CropStore

_HELD_BYTES = 1 << 30
"""A crop store of that size at most is read into memory."""
_TURNS, _ORDER, _CHANGES = range(3)


class Stream(Dataset[Any]):
    """``stream[step]`` is what this process has of the batch of a step: the rows ``own`` of it."""

    def __init__(self, mixture: Mixture, config: RegressorConfig, body: Body, own: slice) -> None:
        self._config, self._own = config, own
        self._names = list(mixture.shares)
        self._stores = [mixture.stores[name] for name in self._names]
        self._lanes = [_Lane(self._stores, list(mixture.shares.values()), config, lane)
                       for lane in range(max(1, config.data.lanes))]  # fmt: skip
        self._pelvis = _rest_pelvis(body)
        self._held: dict[int, Sample] = {}

    def __getstate__(self) -> dict[str, Any]:
        return {**vars(self), "_held": {}}

    def __getitem__(self, step: int) -> Sample | UserError:
        """The rows ``own`` of the batch of ``step``, changed; an error is handed on, to be raised by who asked."""
        try:
            return self.rows(step, self._own)
        except UserError as error:
            return error

    def rows(self, step: int, own: slice) -> Sample:
        """Some rows of the batch of ``step``. Raises ``UserError`` where a shard cannot be read."""
        turns, lanes = self._turns(step, own)
        sources, rows = np.empty(len(turns), np.int64), np.empty(len(turns), np.int64)
        for lane in np.unique(lanes).tolist():
            here = lanes == lane
            sources[here], rows[here] = self._lanes[lane].samples(turns[here])
        seeds = np.stack([np.full(len(turns), self._config.seed), np.full(len(turns), _CHANGES), lanes, turns], 1)
        parts, places = [], []
        for source in np.unique(sources).tolist():
            here = np.flatnonzero(sources == source)
            sample, picture = self._read(source, rows[here])
            template, directions = self._pelvis
            pelvis = template + sample["betas"] @ directions.T
            parts.append(augment(sample, self._config.augment, seeds[here].tolist(), pelvis, picture))
            places.append(here)
        return take(join(parts), torch.from_numpy(np.argsort(np.concatenate(places))))

    def annotation(self, at_most: int) -> Sample:
        """What is known of the first samples there will be, without images."""
        count = min(at_most, sum(store.count("train") for store in self._stores))
        sources, rows = self._lanes[0].samples(np.arange(count))
        found = [self._read(source, rows[sources == source])[0] for source in np.unique(sources).tolist()]
        return join([{**sample, "image": sample["image"][..., :0, :0]} for sample in found])

    def _turns(self, step: int, own: slice) -> tuple[np.ndarray, np.ndarray]:
        """Number of each row in its lane, and its lane."""
        of_lane = self._config.optim.batch // len(self._lanes)
        lanes, places = np.divmod(np.arange(own.start, own.stop), of_lane)
        return step * of_lane + places, lanes

    def _read(self, source: int, rows: np.ndarray) -> tuple[Sample, PictureOf]:
        store = self._stores[source]
        if isinstance(store, ShardStore) or _bytes(store) > _HELD_BYTES:
            return store.people(rows, "train")
        if source not in self._held:
            self._held[source] = store.sample(np.arange(store.count("train")), "train")
        sample = take(self._held[source], torch.from_numpy(rows))
        return sample, own_pictures(sample["image"])

    def batches(self, first: int, last: int, workers: int, device: torch.device) -> Iterator[Sample]:
        """Those of the steps from ``first`` to before ``last``, made ahead by ``workers`` processes, or here by none.

        Raises ``UserError`` where a shard cannot be read, or a worker dies.
        """
        steps = range(first, last)
        loader: Any = (self[step] for step in steps)
        if workers:
            loader = DataLoader(
                self, batch_size=None, sampler=cast(Any, steps), num_workers=workers, prefetch_factor=3,
                pin_memory=device.type == "cuda", worker_init_fn=_start_worker,
                multiprocessing_context=multiprocessing.get_context("spawn"),
            )  # fmt: skip
        try:
            for batch in loader:
                if isinstance(batch, UserError):
                    raise batch
                yield batch
        except RuntimeError as error:
            if "DataLoader worker" not in str(error):
                raise
            raise fail("A process that reads training data ended", got=str(error).splitlines()[0],
                       expected="enough memory, also in /dev/shm",
                       next_step="Try --set data.workers=1, or 0") from None  # fmt: skip


class _Lane:
    def __init__(self, stores: list[CropStore], weights: list[float], config: RegressorConfig, lane: int) -> None:
        self._turns = Turns(weights, [config.seed, _TURNS, lane])
        self._parts = [_own_parts(store.part_counts("train"), lane, config.data.lanes) for store in stores]
        self._orders = [Order([count for _, count in parts], [config.seed, _ORDER, lane, number], config.data.window)
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


def _own_parts(counts: list[int], lane: int, lanes: int) -> list[tuple[int, int]]:
    """(first row, count) of the shards of a lane; where there are fewer than lanes, each lane reads them all."""
    starts = np.cumsum(counts) - counts
    parts = list(zip(starts.tolist(), counts, strict=True))
    return parts[lane::lanes] if len(parts) >= lanes > 0 else parts


def _bytes(store: CropStore) -> int:
    return store.count("train") * 3 * store.size**2


def _rest_pelvis(body: Body) -> tuple[Tensor, Tensor]:
    """Where the pelvis rests, metres: (3,) and what each beta adds (3,10); it depends linearly on them."""
    betas = torch.cat([torch.zeros(1, 10), torch.eye(10)])
    rest = torch.eye(3).expand(NUM_BODY_JOINTS, 3, 3)
    places = body.cpu().joints(rest, betas=betas)[:, index("pelvis")]
    return places[0], (places[1:] - places[0]).T


def wanted_workers(mixture: Mixture, choice: int, device: torch.device, processes: int) -> int:
    """``choice``, or for -1 as many as help: none on a CPU where everything is held in memory, else up to 8 a GPU."""
    if choice >= 0:
        return choice
    held = all(not isinstance(store, ShardStore) for store in mixture.stores.values())
    if held and device.type == "cpu":
        return 0
    return max(1, min(8, available_cores() // processes - 1))


def _start_worker(_: int) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    os.environ["OMP_NUM_THREADS"] = "1"
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
