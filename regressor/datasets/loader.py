"""Training batches: worker processes read crops in the sampler's order and prefetch them."""

from __future__ import annotations

import copy
import multiprocessing
import re
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import chain, islice
from typing import Any, cast

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset

from tokenizer import Body
from tokenizer.engine.errors import UserError, fail
from tokenizer.engine.processes import allow_open_files, available_cores, start_worker

from ..config import RegressorConfig
from ..sample import Sample, checked_confidences, join, take, without_images
from .augmentation.augment import augment
from .crop_dataset import CropDataset
from .cropping import Framing, PictureOf, own_pictures
from .mixtures import Mixture
from .posed_keypoints import with_posed_keypoints
from .sampler import CHANGES, RankPartition
from .shards import ShardStore

_CACHED_BYTES = 1 << 30
"""A crop store of that size at most is read into memory."""


class Stream(Dataset[Any]):
    """``stream[step]`` is this process's share of the batch of a step: its rows ``own``.

    Raise ``UserError`` where the system does not let all shards of the shuffle buffers be open at once.
    """

    def __init__(self, mixture: Mixture, config: RegressorConfig, body: Body, own: slice) -> None:
        self._config, self._own = config, own
        self._stores = [mixture.stores[name] for name in mixture.shares]
        self._partitions = [
            RankPartition(self._stores, list(mixture.shares.values()), config, partition)
            for partition in range(max(1, config.data.rank_partitions))
        ]
        self._body = copy.deepcopy(body).cpu()  # where batches are made; training moves its own
        self._cached: dict[int, Sample] = {}
        # Each partition reads one shuffle buffer of shards, or is between two; other shards may be closed.
        buffers = len(np.unique(self._positions(0, own)[1])) + 1
        shards = [store for store in self._stores if isinstance(store, ShardStore)]
        allow_open_files(sum(store.keep_open(buffers * config.data.shuffle_buffer) for store in shards))

    def __getstate__(self) -> dict[str, Any]:
        return {**vars(self), "_cached": {}}

    def __getitem__(self, step: int) -> Sample | UserError:
        """Return the augmented rows ``own`` of the batch of ``step``, or an error, which ``prefetch`` raises."""
        try:
            return self.rows(step, self._own)
        except UserError as error:
            return error

    def rows(self, step: int, own: slice) -> Sample:
        """Return the rows ``own`` of the batch of ``step``, with the keypoints of their annotated bodies.

        See ``with_posed_keypoints``. Raise ``UserError`` where a shard cannot be read, and for confidences outside
        [0, 1].
        """
        positions, partitions = self._positions(step, own)
        sources, rows = np.empty(len(positions), np.int64), np.empty(len(positions), np.int64)
        for partition in np.unique(partitions).tolist():
            of_partition = partitions == partition
            sources[of_partition], rows[of_partition] = self._partitions[partition].samples(positions[of_partition])
        parts, places, pictures = [], [], {}
        for source in np.unique(sources).tolist():
            places.append(np.flatnonzero(sources == source))
            part, pictures[source] = self._read(source, rows[places[-1]])
            parts.append(part)
        inside = np.concatenate([np.arange(len(members)) for members in places])
        back = np.argsort(np.concatenate(places))
        sample, inside = take(join(parts), torch.from_numpy(back)), inside[back]
        for points in (sample["keypoints_2d"], sample["keypoints_3d"]):
            checked_confidences(points[..., -1])

        def picture(number: int, framing: Framing) -> np.ndarray:
            return pictures[int(sources[number])](int(inside[number]), framing)

        kinds = [np.full(len(positions), number) for number in (self._config.seed, CHANGES)]
        seeds = np.stack([*kinds, partitions, positions], 1)
        pelvis = self._body.rest_pelvis(sample["betas"])
        changed = augment(sample, self._config.augment, seeds.tolist(), pelvis, picture)
        return with_posed_keypoints(changed, self._body)

    def annotation(self, at_most: int) -> Sample:
        """Return the annotation of the first samples of the stream, without images."""
        count = min(at_most, sum(store.count("train") for store in self._stores))
        sources, rows = self._partitions[0].samples(np.arange(count))
        return join([self._read(source, rows[sources == source])[0] for source in np.unique(sources).tolist()])

    def _positions(self, step: int, own: slice) -> tuple[np.ndarray, np.ndarray]:
        """Return the position of each row in its rank partition, and its partition."""
        of_partition = self._config.optim.batch // len(self._partitions)
        partitions, places = np.divmod(np.arange(own.start, own.stop), of_partition)
        return step * of_partition + places, partitions

    def _read(self, source: int, rows: np.ndarray) -> tuple[Sample, PictureOf]:
        """Return the annotation of ``rows`` of a data set, without images, and their pictures."""
        store = self._stores[source]
        if isinstance(store, ShardStore) or _bytes(store) > _CACHED_BYTES:
            sample, picture = store.people(rows, "train")
            return without_images(sample), picture
        if source not in self._cached:
            self._cached[source] = store.sample(np.arange(store.count("train")), "train")
        cached = self._cached[source]
        of_all = own_pictures(cached["image"])
        sample = take(without_images(cached), torch.from_numpy(rows))
        return sample, lambda number, framing: of_all(int(rows[number]), framing)

    def batches(self, first: int, last: int, workers: int, device: torch.device) -> Iterator[Sample]:
        """Yield the batches of the steps ``first`` to ``last`` - 1, prefetched by ``workers`` processes, or made here.

        Raise ``UserError`` where a shard cannot be read.
        """
        return prefetch(self, range(first, last), workers, device)


def _bytes(store: CropDataset) -> int:
    return store.count("train") * 3 * store.size**2


_DIED = re.compile(r"DataLoader worker \(pid")
"""In what torch raises when a worker dies; what a worker itself raised names it without a pid."""


def prefetch(batches: Dataset[Any], steps: range, workers: int, device: torch.device) -> Iterator[Sample]:
    """Yield ``batches[step]`` of each step, prefetched by ``workers`` processes; without workers it is made here.

    Raise the ``UserError`` that a worker returned in place of a sample. See ``worker_errors``.
    """
    loader: Any = (batches[step] for step in steps)
    if workers:
        loader = DataLoader(
            batches,
            batch_size=None,
            sampler=cast(Any, steps),
            num_workers=workers,
            prefetch_factor=3,
            pin_memory=device.type == "cuda",
            worker_init_fn=start_worker,
            multiprocessing_context=multiprocessing.get_context("spawn"),
        )
    for batch in loader:
        if isinstance(batch, UserError):
            raise batch
        yield batch


def started(batches: Iterator[Sample]) -> Iterator[Sample]:
    """Return the same batches, the first already made, so that no step's time includes the start of the workers."""
    first = list(islice(batches, 1))
    return chain(first, batches)


@contextmanager
def worker_errors() -> Iterator[None]:
    """Turn the death of a worker process into a ``UserError``.

    Torch raises it from a signal handler: anywhere in the training, not only where it waits for a batch.
    """
    try:
        yield
    except RuntimeError as error:
        if not _DIED.search(str(error)):
            raise
        raise fail(
            "A process that reads training data ended",
            got=" ".join(str(error).split()),
            expected='enough memory, also in /dev/shm; a script that trains needs an `if __name__ == "__main__"` guard',
            next_step="Try --set data.workers=1, or 0",
        ) from None


def wanted_workers(mixture: Mixture, choice: int, device: torch.device, processes: int) -> int:
    """Return ``choice``, or for -1 as many workers as help: none on a CPU with all crops cached, else up to 8 a GPU.

    ``processes``: those that train on this machine.
    """
    if choice >= 0:
        return choice
    cached = all(not isinstance(store, ShardStore) for store in mixture.stores.values())
    if cached and device.type == "cpu":
        return 0
    return max(1, min(8, available_cores() // processes - 1))
