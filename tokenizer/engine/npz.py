"""npz files: plain arrays read with one clear error, written whole."""

from __future__ import annotations

import io
from collections.abc import Collection, Mapping
from pathlib import Path

import numpy as np

from .checkpoint import write_bytes_atomically
from .errors import fail


def read_npz(path: str | Path, what: str = "npz", keys: Collection[str] | None = None) -> dict[str, np.ndarray]:
    """The arrays of an npz by name, all or those of ``keys`` that it has; pickled objects are refused.

    ``what`` names the file in messages: "Cannot read body model x.npz". Raises ``UserError`` if it is missing, no npz,
    cut short, damaged, or a wanted array holds objects.
    """
    try:
        with np.load(path, allow_pickle=False) as file:
            return {key: file[key] for key in file.files if keys is None or key in keys}
    except Exception as error:
        # Damage shows as any of a dozen exceptions: zlib.error, BadZipFile, NotImplementedError, struct.error, ...
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        reason = "pickled objects, which can run code" if "pickle" in reason else reason
        raise fail(f"Cannot read {what} {path}", got=reason, expected="an npz of plain arrays") from None


def write_npz(path: str | Path, arrays: Mapping[str, np.ndarray]) -> None:
    """Write arrays, compressed, whole or not at all."""
    memory = io.BytesIO()
    np.savez_compressed(memory, **arrays)  # type: ignore[arg-type]
    write_bytes_atomically(path, memory.getbuffer())
