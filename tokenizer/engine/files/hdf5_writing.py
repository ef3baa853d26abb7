"""Writes an HDF5 file whole or not at all, also where the disk refuses halfway.

HDF5 does not recover from a failed write: closing the file fails too, and the interpreter crashes when it ends. So
HDF5 is given a file that notes the first refusal and takes everything after it without storing it; HDF5 then closes in
peace, the file is thrown away and the refusal is raised.
"""

from __future__ import annotations

import io
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import h5py

from ..errors import fail
from .atomic import sync_folder
from .hdf5 import format_of

T = TypeVar("T")


class _Disk(io.RawIOBase):
    """A file that never fails to HDF5; ``refusal`` is what the system, or the user's Ctrl-C, said first."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("w+b", buffering=0)
        self.refusal: BaseException | None = None

    def _attempt(self, act: Callable[[], T], otherwise: T) -> T:
        if self.refusal is None:
            try:
                return act()
            except (OSError, KeyboardInterrupt) as error:
                self.refusal = error
        return otherwise

    def seek(self, offset: int, whence: int = 0) -> int:
        return self._attempt(lambda: self._file.seek(offset, whence), 0)

    def tell(self) -> int:
        return self._attempt(self._file.tell, 0)

    def truncate(self, size: int | None = None) -> int:
        return self._attempt(lambda: self._file.truncate(size), size or 0)

    def readinto(self, buffer: Any) -> int:
        return self._attempt(lambda: self._file.readinto(buffer) or 0, len(buffer))

    def write(self, data: Any) -> int:
        return self._attempt(lambda: self._write_all(memoryview(data)), len(data))

    def _write_all(self, data: memoryview) -> int:
        done = 0
        while done < len(data):
            done += self._file.write(data[done:]) or 0
        return done

    def sync_and_close(self) -> None:
        self._attempt(lambda: os.fsync(self._file.fileno()), None)
        self.close_file()

    def close_file(self) -> None:
        """Let go of the file, which systems such as Windows do not remove while it is open."""
        try:
            self._file.close()
        except OSError as error:
            self.refusal = self.refusal or error


class WholeFile(h5py.File):
    """An HDF5 file being written; ``check()`` raises what the disk has refused so far, so that long work stops soon."""

    def __init__(self, path: Path) -> None:
        self.disk = _Disk(path)
        super().__init__(self.disk, "w")

    def check(self) -> None:
        if self.disk.refusal is not None:
            raise self.disk.refusal


def refuse_other(path: Path, file_format: str) -> None:
    """Raise ``UserError`` where ``path`` holds something that is not of ``file_format``, which must not be replaced."""
    if path.exists() and format_of(path) != file_format:
        raise fail(
            f"{path} exists and is something else",
            expected=f"a file of format {file_format!r}",
            next_step="Choose another --out",
        )


@contextmanager
def writing(path: str | Path, file_format: str, version: int) -> Iterator[WholeFile]:
    """Fill an HDF5 file next to ``path``; it is synced and renamed when the block ends well.

    An exception, a full disk or a kill leave what was at ``path`` before. Raises ``UserError`` when the disk refuses,
    or when ``path`` holds something that is not of ``file_format``.
    """
    path = Path(path)
    refuse_other(path, file_format)
    partial = path.with_name(f"{path.name}.{os.getpid()}.partial")
    disk: _Disk | None = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with WholeFile(partial) as file:
            disk = file.disk
            file.attrs["format"], file.attrs["format_version"] = file_format, version
            yield file
        disk.sync_and_close()
        file.check()
        partial.replace(path)
        sync_folder(path.parent)
    except OSError as error:
        remedy = "Free some disk space, or choose another --out; nothing was changed"
        raise fail(f"Cannot write {path}", got=error.strerror or error, next_step=remedy) from None
    finally:
        if disk is not None:
            disk.close_file()
        partial.unlink(missing_ok=True)
