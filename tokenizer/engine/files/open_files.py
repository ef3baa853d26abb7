"""How many files a process may have open at a time."""

from __future__ import annotations

from ..errors import fail

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
