"""A shard that stays open while samples are drawn from it: annotation in memory, pictures read one by one."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path

import numpy as np

from tokenizer.engine.errors import fail
from tokenizer.engine.hdf5 import plain_datasets, reading

from .shard_file import COLUMNS, FORMAT, FORMAT_VERSION, REMEDY


class OpenShard:
    """``columns``: the arrays of ``COLUMNS``, of all people, to be read only.

    Raises ``UserError`` for a shard that is missing, damaged, incomplete, or not that of ``digest``.
    """

    def __init__(self, path: Path, digest: str) -> None:
        self._path = path
        with ExitStack() as stack:
            # Opened once: another file of that name, put there meanwhile, must not mix with this one.
            file = stack.enter_context(reading(path, FORMAT, FORMAT_VERSION, what="shard", next_step=REMEDY))
            if file.attrs["digest"] != digest:
                raise fail(f"{path} was changed since the folder was prepared", next_step=REMEDY)
            found = plain_datasets(file)
            count = len(found["jpeg_end"]) if "jpeg_end" in found else -1
            wrong = []
            for name, (kind, shape) in COLUMNS.items():
                if name not in found or found[name].shape != (count, *shape) or found[name].dtype != kind:
                    wrong.append(name)
            if wrong or "jpeg" not in found:
                raise fail(f"{path} is damaged", got=f"without, or misshapen, {', '.join(wrong) or 'jpeg'}",
                           next_step=REMEDY)  # fmt: skip
            self.columns = {name: found[name][:] for name in COLUMNS}
            self._ends = np.concatenate([[0], found["jpeg_end"][:]])
            self._bytes = found["jpeg"]
            self._stack = stack.pop_all()

    def jpeg(self, row: int) -> bytes:
        """The picture of one person. Raises ``UserError`` where the file is damaged."""
        try:
            data: bytes = self._bytes[self._ends[row] : self._ends[row + 1]].tobytes()
        except OSError as error:
            raise fail(f"{self._path} is damaged", got=str(error).splitlines()[0], next_step=REMEDY) from None
        return data

    def close(self) -> None:
        """Let go of the file."""
        self._stack.close()
