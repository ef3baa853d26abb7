"""npz files: plain arrays read with one clear error and within limits of memory, written whole."""

from __future__ import annotations

import io
import math
import zipfile
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import IO

import numpy as np

from ..errors import fail, plain_reason
from .atomic import write_bytes_atomically
from .file_kinds import kind_of

_MOST_ARRAY = 4 << 30
_MOST_GROWTH, _ALWAYS_ALLOWED = 100, 1 << 28
"""What is compressed may grow to 256 MiB, or to a hundred times the file."""


def read_npz(path: str | Path, what: str = "npz", keys: Collection[str] | None = None) -> dict[str, np.ndarray]:
    """The arrays of an npz by name, all or those of ``keys`` that it has; pickled objects are refused.

    ``what`` names the file in messages: "Cannot read body model x.npz". Shapes are compared with the bytes there are,
    and bytes with the file, before memory is taken. Raises ``UserError`` if it is missing, no npz, cut short, damaged,
    far larger than its file, or a wanted array holds objects.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            most = min(_MOST_ARRAY, max(_ALWAYS_ALLOWED, _MOST_GROWTH * Path(path).stat().st_size))
            arrays = {}
            for entry in archive.infolist():
                name = entry.filename.removesuffix(".npy")
                if keys is None or name in keys:
                    most -= entry.file_size
                    if most < 0:
                        raise ValueError("arrays that are far larger than the file, once unpacked")
                    with archive.open(entry) as file:
                        arrays[name] = _read_array(file, entry.file_size)
            return arrays
    except Exception as error:
        # Damage shows as any of a dozen exceptions: zlib.error, BadZipFile, NotImplementedError, struct.error, ...
        reason = kind_of(path) if isinstance(error, zipfile.BadZipFile) else plain_reason(error)
        reason = "pickled objects, which can run code" if "pickle" in reason else reason
        raise fail(f"Cannot read {what} {path}", got=reason, expected="an npz of plain arrays") from None


def read_npy(path: str | Path) -> np.ndarray:
    """The one array of a npy file, within its size. Raises ``OSError``, and ``ValueError`` for any other file."""
    path = Path(path)
    with path.open("rb") as file:
        return _read_array(file, path.stat().st_size)


def _read_array(file: IO[bytes], size: int) -> np.ndarray:
    """One array in numpy's format, of ``size`` bytes with its header."""
    version = np.lib.format.read_magic(file)
    read_header = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    shape, fortran, dtype = read_header(file)
    if dtype.hasobject:
        raise ValueError("pickled objects")
    count = math.prod(shape)
    if min(shape, default=0) < 0 or count * dtype.itemsize > size - file.tell() or (not dtype.itemsize and count):
        raise ValueError(f"an array of shape {shape} {dtype} in {size:,} bytes")
    content = bytearray(count * dtype.itemsize)
    view, done = memoryview(content), 0
    while done < len(content):
        block = file.read(min(1 << 20, len(content) - done))
        if not block:
            raise ValueError("an array that is cut short")
        view[done : done + len(block)] = block
        done += len(block)
    array = np.frombuffer(content, dtype, count).reshape(shape, order="F" if fortran else "C")
    check_values(array)
    return array


def check_values(array: np.ndarray) -> None:
    """Raise ``ValueError`` for truth values other than 0 and 1, which numpy takes on trust, and for texts of numbers
    that are no characters."""
    if array.dtype.kind == "b" and array.size and int(array.view(np.uint8).max()) > 1:
        raise ValueError("truth values that are neither true nor false")
    if array.dtype.kind == "U" and array.size:
        characters = np.ascontiguousarray(array).reshape(-1).view(np.dtype("u4").newbyteorder(array.dtype.byteorder))
        if int(characters.max()) > 0x10FFFF:
            raise ValueError("texts of numbers that are no characters")


def write_npz(path: str | Path, arrays: Mapping[str, np.ndarray]) -> None:
    """Write arrays, compressed, whole or not at all."""
    memory = io.BytesIO()
    np.savez_compressed(memory, **arrays)  # type: ignore[arg-type]
    write_bytes_atomically(path, memory.getbuffer())
