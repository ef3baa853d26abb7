"""Memory, or space on a disk, that does not suffice, reported as a user error with a next step."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager

from ..errors import fail

_SIGNS = (
    "out of memory",  # CUDA, MPS
    "DefaultCPUAllocator: can't allocate memory",
    "DefaultCPUAllocator: not enough memory",  # Windows
    "CUBLAS_STATUS_ALLOC_FAILED",
)
"""PyTorch has no one type for it: on a CPU it is a ``RuntimeError`` like any other."""


@contextmanager
def memory_errors(doing: str, next_step: str) -> Iterator[None]:
    """Within, memory that runs out, the CPU's or a GPU's, is a ``UserError`` that says ``doing`` what, and the
    ``next_step``; any other error passes. Decorates functions, too."""
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        text = str(error)
        if not isinstance(error, MemoryError) and not any(sign in text for sign in _SIGNS):
            raise
        raise fail(
            f"Memory ran out {doing}", got=text.strip().splitlines()[0] if text.strip() else None, next_step=next_step
        ) from None


DISK_FULL_ADVICE = "Free some disk space, then resume with --resume"
_DISK = {errno.ENOSPC, errno.EFBIG, getattr(errno, "EDQUOT", errno.ENOSPC)}


@contextmanager
def disk_errors(next_step: str) -> Iterator[None]:
    """Within, a disk that takes no more is a ``UserError`` that says which file and the ``next_step``; any other error
    passes. Decorates functions, too."""
    try:
        yield
    except OSError as error:
        if error.errno not in _DISK:
            raise
        raise fail(f"Cannot write {error.filename or 'a file'}", got=error.strerror, next_step=next_step) from None
