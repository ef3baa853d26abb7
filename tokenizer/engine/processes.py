"""Worker processes: how many cores there are, work in order over several processes, and open files per process."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from itertools import islice
from typing import TypeVar

from .errors import fail

Item = TypeVar("Item")
Result = TypeVar("Result")
_PREFETCH = 4


def available_cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def map_in_order(
    function: Callable[[Item], Result], items: Iterable[Item], workers: int
) -> Generator[Result, None, None]:
    """``function`` of each item, in order; at most a few results per worker are in memory at once.

    ``function`` must be picklable. With one worker it runs in this process. Exceptions of ``function`` pass through.
    Raises ``UserError`` when a worker dies.
    """
    if workers <= 1:
        yield from map(function, items)
        return
    remaining = iter(items)
    pool = ProcessPoolExecutor(workers, multiprocessing.get_context("spawn"), start_worker)
    try:
        pending: list[Future[Result]] = [pool.submit(function, item) for item in islice(remaining, _PREFETCH * workers)]
        while pending:
            result = pending.pop(0).result()
            pending.extend(pool.submit(function, item) for item in islice(remaining, 1))
            yield result
    except BrokenProcessPool:
        reason = 'perhaps out of memory, or a script without an `if __name__ == "__main__"` guard'
        raise fail("A worker process ended at once", got=reason, next_step="Try --workers 1") from None
    finally:
        pool.shutdown(cancel_futures=True)


def start_worker(_number: int = 0) -> None:
    """Prepare a worker process: Ctrl-C is left to the parent, and it uses one thread, as there is a worker per core.

    ``_number``: that of the worker, which a ``DataLoader`` gives.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    os.environ["OMP_NUM_THREADS"] = "1"
    if "torch" in sys.modules:
        sys.modules["torch"].set_num_threads(1)
    if "cv2" in sys.modules:
        sys.modules["cv2"].setNumThreads(1)


_OTHERS = 1000
"""Files of all else: libraries, run folders, batches that other processes hand over."""


def allow_open_files(count: int) -> None:
    """Raise the limit of this process, and of those it starts, to ``count`` files and some others.

    Windows has no such limit. Raises ``UserError`` where the system allows fewer than ``count`` and a hundred.
    """
    try:
        import resource
    except ImportError:
        return
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = float("inf") if hard == resource.RLIM_INFINITY else hard
    if most < count + 100:
        raise fail(
            "Too many shards would be open at a time",
            got=f"{count:,}",
            expected=f"files within `ulimit -Hn`, {most:,}",
            next_step="Lower data.shuffle_buffer",
        )
    if soft != resource.RLIM_INFINITY and soft < count + _OTHERS:
        resource.setrlimit(resource.RLIMIT_NOFILE, (int(min(count + _OTHERS, most)), hard))
