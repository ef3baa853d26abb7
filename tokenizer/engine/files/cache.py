"""Files kept between runs, and locks, so that several processes make them once."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout


def cache_folder() -> Path:
    """``$POSE_TOKEN_HMR_CACHE``, or ``~/.cache/pose-token-hmr``."""
    return Path(os.environ.get("POSE_TOKEN_HMR_CACHE") or Path.home() / ".cache" / "pose-token-hmr")


@contextmanager
def locked(path: Path, *, wait: bool = True) -> Iterator[bool]:
    """Wait until no other process holds the lock file ``path``, and hold it. It is let go when the process dies, too.

    Yield whether it was acquired: without ``wait``, False where another process has it. The file stays. Raise
    ``OSError`` where none can be.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    lock = FileLock(path)
    try:
        lock.acquire(blocking=wait)
    except Timeout:
        yield False
        return
    try:
        yield True
    finally:
        lock.release()
