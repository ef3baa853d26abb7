"""A shard that stays open while samples are drawn from it: annotation in memory, pictures read one by one."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path

import numpy as np

from tokenizer.engine.errors import fail
from tokenizer.engine.hdf5 import plain_datasets, reading

from .shard_file import COLUMNS, FORMAT, FORMAT_VERSION, LATER, REMEDY, content_digest

_LARGEST_JPEG = 1 << 28
_CHECKED: set[tuple[str, int, int, str]] = set()
"""Files, by name, time, size and digest, whose content this process has compared with the digest."""


class OpenShard:
    """``columns``: the arrays of ``COLUMNS``, of all people, to be read only.

    Raises ``UserError`` for a shard that is missing, damaged, incomplete, not of ``people``, or whose content is not
    that of ``digest``; the content is read for that the first time that this process opens the file.
    """

    def __init__(self, path: Path, digest: str, people: int) -> None:
        self._path = path
        with ExitStack() as stack:
            # Opened once: another file of that name, put there meanwhile, must not mix with this one.
            file = stack.enter_context(reading(path, FORMAT, FORMAT_VERSION, what="shard", next_step=REMEDY))
            if file.attrs["digest"] != digest:
                raise fail(f"{path} was changed since the folder was prepared", next_step=REMEDY)
            found = plain_datasets(file)
            count = len(found["jpeg_end"]) if "jpeg_end" in found and found["jpeg_end"].ndim == 1 else -1
            wrong = []
            for name, (kind, shape) in COLUMNS.items():
                if name in LATER and name not in found:
                    continue
                if name not in found or found[name].shape != (count, *shape) or found[name].dtype != kind:
                    wrong.append(name)
            if wrong or "jpeg" not in found:
                raise fail(f"{path} is damaged", got=f"without, or misshapen, {', '.join(wrong) or 'jpeg'}",
                           next_step=REMEDY)  # fmt: skip
            status = path.stat()
            version = (str(path), status.st_mtime_ns, status.st_size, digest)
            if version not in _CHECKED:
                if count != people or content_digest(found) != digest:
                    raise fail(f"{path} is not what its digest says: it was changed", next_step=REMEDY)
                _CHECKED.add(version)
            self.columns = {
                name: found[name][:] if name in found else np.zeros((count, *shape), kind)
                for name, (kind, shape) in COLUMNS.items()
            }
            self._ends = np.concatenate([[0], found["jpeg_end"][:]])
            steps = np.diff(self._ends)
            if steps.min() < 0 or steps.max() > _LARGEST_JPEG or self._ends[-1] != len(found["jpeg"]):
                raise fail(f"{path} is damaged", got="pictures that overlap, or are far too large", next_step=REMEDY)
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
