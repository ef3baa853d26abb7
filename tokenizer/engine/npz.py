"""npz files of other people: plain arrays, or one clear error."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

import numpy as np

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
        raise fail(f"Cannot read {what} {path}", got=reason, expected="an npz of plain arrays") from None
