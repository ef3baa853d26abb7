"""npz files larger than memory: rows of their arrays read and written in parts, other members copied as they are."""

from __future__ import annotations

import errno
import math
import shutil
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import numpy as np

from ..errors import UserError, fail
from .npz import check_values

_COPIED_AT_ONCE = 1 << 20
_MOST_GROWTH, _ALWAYS_ALLOWED = 100, 1 << 28
_LEVEL = 1
"""Rotations hardly compress: more effort costs time and saves nothing."""


@dataclass(frozen=True)
class Header:
    """What a member says of itself before its numbers."""

    shape: tuple[int, ...]
    fortran: bool
    dtype: np.dtype


class NpzReader:
    """``with NpzReader(path, what) as reader``: ``headers`` of all members; rows of one in parts.

    Raises ``UserError`` for a file that is missing, no npz, damaged or far larger than its bytes.
    """

    def __init__(self, path: str | Path, what: str) -> None:
        self.path, self.what = Path(path), what

    def __enter__(self) -> NpzReader:
        with self._damage():
            self._archive = zipfile.ZipFile(self.path)
            entries = [entry for entry in self._archive.infolist() if entry.filename.endswith(".npy")]
            if sum(e.file_size for e in entries) > max(_ALWAYS_ALLOWED, _MOST_GROWTH * self.path.stat().st_size):
                raise ValueError("arrays that are far larger than the file, once unpacked")
            self._entries = {entry.filename.removesuffix(".npy"): entry for entry in entries}
            self.headers = {name: self._header(name) for name in self._entries}
        return self

    def __exit__(self, *_: object) -> None:
        self._archive.close()

    def rows(self, name: str, count: int) -> Iterator[np.ndarray]:
        """The array of ``name`` in parts of up to ``count`` rows; one in columns' order is read whole."""
        header = self.headers[name]
        with self._damage(), self._archive.open(self._entries[name]) as file:
            _read_header(file)
            row = math.prod(header.shape[1:])
            if header.fortran and len(header.shape) > 1:
                whole = _numbers(file, header.shape[0] * row, header.dtype).reshape(header.shape, order="F")
                parts: Iterator[np.ndarray] = (whole[i : i + count] for i in range(0, len(whole), count))
            else:
                sizes = [min(count, header.shape[0] - i) for i in range(0, header.shape[0], count)]
                parts = (_numbers(file, n * row, header.dtype).reshape(n, *header.shape[1:]) for n in sizes)
            for part in parts:
                check_values(part)
                yield part

    def copy(self, name: str, target: IO[bytes]) -> None:
        """Copy the member as it is, its checksum checked."""
        with self._damage(), self._archive.open(self._entries[name]) as file:
            shutil.copyfileobj(file, target, _COPIED_AT_ONCE)

    def _header(self, name: str) -> Header:
        with self._archive.open(self._entries[name]) as file:
            header = _read_header(file)
            size = 0 if header.dtype.hasobject else math.prod(header.shape) * header.dtype.itemsize
            if min(header.shape, default=0) < 0 or size > self._entries[name].file_size - file.tell():
                raise ValueError(f"an array of shape {header.shape} {header.dtype} in fewer bytes")
            return header

    @contextmanager
    def _damage(self) -> Iterator[None]:
        try:
            yield
        except (UserError, GeneratorExit):
            raise
        except OSError as error:
            if error.errno in (None, errno.ENOENT, errno.EINVAL, errno.EISDIR, errno.EACCES):  # not of a full disk
                raise fail(f"Cannot read {self.what} {self.path}", got=error.strerror or error) from None
            raise
        except Exception as error:  # damage shows as any of a dozen exceptions
            reason = str(error).splitlines()[0] if str(error) else type(error).__name__
            raise fail(f"Cannot read {self.what} {self.path}", got=reason, expected="an npz of plain arrays") from None


class NpzWriter:
    """Members of an npz one after the other into an open file: whole arrays, rows in parts, copies of a reader's."""

    def __init__(self, file: IO[bytes]) -> None:
        self._archive = zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED, compresslevel=_LEVEL)

    def __enter__(self) -> NpzWriter:
        return self

    def __exit__(self, *_: object) -> None:
        self._archive.close()

    def array(self, name: str, values: np.ndarray) -> None:
        """Write one array."""
        with self._member(name) as file:
            np.lib.format.write_array(file, np.asanyarray(values), allow_pickle=False)

    def rows(self, name: str, shape: tuple[int, ...], dtype: np.dtype, parts: Iterator[np.ndarray]) -> None:
        """Write an array of ``shape`` whose rows come in parts. Raises ``ValueError`` if they are not so many."""
        about = {"descr": np.lib.format.dtype_to_descr(dtype), "fortran_order": False, "shape": shape}
        written = 0
        with self._member(name) as file:
            np.lib.format.write_array_header_1_0(file, about)
            for part in parts:
                file.write(np.ascontiguousarray(part, dtype).tobytes())
                written += len(part)
        if written != shape[0]:
            raise ValueError(f"{written} rows of {shape[0]}")

    def copy(self, name: str, reader: NpzReader) -> None:
        """Write a reader's member as it is."""
        with self._member(name) as file:
            reader.copy(name, file)

    def _member(self, name: str) -> IO[bytes]:
        return self._archive.open(f"{name}.npy", mode="w", force_zip64=True)


def _read_header(file: IO[bytes]) -> Header:
    version = np.lib.format.read_magic(file)
    read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    return Header(*read(file))


def _numbers(file: IO[bytes], count: int, dtype: np.dtype) -> np.ndarray:
    data = file.read(count * dtype.itemsize)
    if len(data) != count * dtype.itemsize:
        raise ValueError("an array that is cut short")
    return np.frombuffer(data, dtype, count)
