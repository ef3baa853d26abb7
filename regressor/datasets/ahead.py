"""Batches made ahead by other processes, and what is said where one of those dies."""

from __future__ import annotations

import multiprocessing
import os
import re
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import chain, islice
from typing import Any, cast

import cv2
import torch
from torch.utils.data import DataLoader, Dataset

from tokenizer.engine.errors import UserError, fail
from tokenizer.engine.processes import available_cores

from .mixtures import Mixture
from .sample import Sample
from .shards import ShardStore

_DIED = re.compile(r"DataLoader worker \(pid")
"""In what torch raises when a worker dies; what a worker itself raised names it without a pid."""


def made_ahead(batches: Dataset[Any], steps: range, workers: int, device: torch.device) -> Iterator[Sample]:
    """``batches[step]`` of each step, made by ``workers`` processes, or here by none.

    Raises the ``UserError`` that a batch is in place of a sample. See ``named_deaths``.
    """
    loader: Any = (batches[step] for step in steps)
    if workers:
        loader = DataLoader(
            batches, batch_size=None, sampler=cast(Any, steps), num_workers=workers, prefetch_factor=3,
            pin_memory=device.type == "cuda", worker_init_fn=_start_worker,
            multiprocessing_context=multiprocessing.get_context("spawn"),
        )  # fmt: skip
    for batch in loader:
        if isinstance(batch, UserError):
            raise batch
        yield batch


def started(batches: Iterator[Sample]) -> Iterator[Sample]:
    """The same batches, the first of them made by now: to start the processes that make them is no time of a step."""
    first = list(islice(batches, 1))
    return chain(first, batches)


@contextmanager
def named_deaths() -> Iterator[None]:
    """Turns the death of a process that makes batches into a ``UserError``.

    Torch raises it from a signal handler: at whatever the training is busy with, not only where it waits for a batch.
    """
    try:
        yield
    except RuntimeError as error:
        if not _DIED.search(str(error)):
            raise
        raise fail("A process that reads training data ended", got=" ".join(str(error).split()),
                   expected="enough memory, also in /dev/shm; a script that trains needs an "
                            '`if __name__ == "__main__"` guard',
                   next_step="Try --set data.workers=1, or 0") from None  # fmt: skip


def wanted_workers(mixture: Mixture, choice: int, device: torch.device, processes: int) -> int:
    """``choice``, or for -1 as many as help: none on a CPU where everything is held in memory, else up to 8 a GPU.

    ``processes``: those that train on this machine.
    """
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
