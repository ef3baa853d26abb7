"""Files that survive a kill at any moment: written next to the target, synced, renamed."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import IO


def write_atomically(path: str | Path, write: Callable[[IO[bytes]], None]) -> None:
    """Let ``write(file)`` fill a temporary file next to ``path``, sync it to disk and rename it over ``path``.

    Whatever interrupts (a full disk, a kill), ``path`` holds either its old content or all of the new. An ``OSError``
    names ``path``.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f"{path.name}.{os.getpid()}.partial")
    try:
        with partial.open("wb") as file:
            write(file)
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
    except OSError as error:
        error.filename = str(path)
        raise
    finally:
        partial.unlink(missing_ok=True)
    sync_folder(path.parent)


def sync_folder(folder: Path) -> None:
    """Sync the names in ``folder`` to disk, where the system can: Windows opens no folders."""
    if not hasattr(os, "O_DIRECTORY"):
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_text_atomically(path: str | Path, text: str) -> None:
    """``write_atomically`` for text, UTF-8."""
    write_bytes_atomically(path, text.encode())


def write_bytes_atomically(path: str | Path, data: bytes | memoryview) -> None:
    """``write_atomically`` for bytes."""

    def fill(file: IO[bytes]) -> None:
        file.write(data)

    write_atomically(path, fill)


def append_line(path: str | Path, line: str, *, sync: bool = False) -> None:
    """Append one line to a text file, UTF-8; with ``sync`` it is on the disk on return.

    An ``OSError`` names ``path``.
    """
    path = Path(path)
    new = not path.exists()
    try:
        with path.open("a", encoding="utf-8") as file:
            file.write(f"{line}\n")
            if sync:
                file.flush()
                os.fsync(file.fileno())
    except OSError as error:
        error.filename = str(path)
        raise
    if new and sync:
        sync_folder(path.parent)
