"""Files kept between runs, and locks, so that several processes make them once."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


def cache_folder() -> Path:
    """``$POSE_TOKEN_HMR_CACHE``, or ``~/.cache/pose-token-hmr``."""
    return Path(os.environ.get("POSE_TOKEN_HMR_CACHE") or Path.home() / ".cache" / "pose-token-hmr")


@contextmanager
def locked(path: Path, *, wait: bool = True) -> Iterator[bool]:
    """Wait until no other process holds the lock file ``path``, and hold it. It is let go when the process dies, too.

    Gives whether it is held: without ``wait``, False where another holds it. Raises ``OSError`` where none can be.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        except BlockingIOError:
            yield False
        else:
            yield True
