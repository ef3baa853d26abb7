"""Finished parts of long work, kept in one file next to its output, so that a killed run resumes.

A record is a line, ``checksum payload-bytes JSON``, and then the payload. Records are only appended; what a kill or a
power cut left half-written fails its checksum and is cut off when the file is opened again.
"""

from __future__ import annotations

import json
import os
import zlib
from contextlib import ExitStack, suppress
from pathlib import Path
from types import TracebackType
from typing import IO, Any

from ..engine.errors import fail
from ..engine.files.cache import locked


class Journal:
    """``with Journal(path, purpose) as journal``: records by key, those of an earlier run with the same ``purpose``.

    A file of another purpose is started afresh. The file stays when the block ends, until ``discard()``; an empty one
    does not. Raise ``UserError`` while another process has it open, or when the disk refuses.
    """

    def __init__(self, path: str | Path, purpose: str) -> None:
        self.path = Path(path)
        self._purpose = purpose
        self._offsets: dict[str, int] = {}

    def __enter__(self) -> Journal:
        with ExitStack() as stack:
            try:
                self.path.parent.mkdir(parents=True, exist_ok=True)
                if not self._lock(stack):
                    message = f"Another process is writing {self.path.with_suffix('')}"
                    raise fail(message, next_step="Wait until it has ended")
                self._file: IO[bytes] = stack.enter_context(self.path.open("a+b", buffering=0))
                self._recover()
            except OSError as error:
                raise fail(f"Cannot write {self.path}", got=error.strerror or error) from None
            self._held = stack.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with self._held:
            if not self._offsets:
                self.discard()

    def __contains__(self, key: str) -> bool:
        return key in self._offsets

    def __len__(self) -> int:
        return len(self._offsets)

    def add(self, key: str, facts: dict[str, Any], payload: bytes = b"") -> None:
        """Append a record: ``facts`` as JSON holds them, and bytes. Raise ``UserError`` when the disk refuses."""
        try:
            offset = self._file.seek(0, 2)
            self._append({"key": key, **facts}, payload)
        except OSError as error:
            remedy = f"Free some disk space and run the same again; {len(self)} finished files are in {self.path}"
            raise fail(f"Cannot write {self.path}", got=error.strerror or error, next_step=remedy) from None
        self._offsets[key] = offset

    def read(self, key: str) -> tuple[dict[str, Any], bytes]:
        """The record of ``key``, which must be there. Raise ``UserError`` for one that has been damaged since."""
        self._file.seek(self._offsets[key])
        record = self._next()
        if record is None:
            raise fail(f"{self.path} was changed while it was in use", next_step=f"Remove {self.path} and start again")
        return record

    def discard(self) -> None:
        """Remove the file: its work is done, or of no use."""
        self._offsets.clear()
        self._file.close()
        self.path.unlink(missing_ok=True)

    def _lock(self, resources: ExitStack) -> bool:
        """Lock out other processes while ``resources`` is open. Return success (True on disks without locks)."""
        path = self.path.with_name(f"{self.path.name}.lock")
        try:
            is_locked = resources.enter_context(locked(path, wait=False))
        except (OSError, NotImplementedError):
            return True
        if is_locked:
            resources.callback(_remove, path)
        return is_locked

    def _recover(self) -> None:
        self._file.seek(0)
        header = self._next()
        end = 0
        if header is not None and header[0].get("purpose") == self._purpose:
            end = self._file.tell()
            while (record := self._next()) is not None:
                self._offsets[record[0]["key"]] = end
                end = self._file.tell()
        self._file.truncate(end)
        if not end:
            self._append({"purpose": self._purpose}, b"")

    def _append(self, facts: dict[str, Any], payload: bytes) -> None:
        text = json.dumps(facts).encode()
        checksum = zlib.crc32(payload, zlib.crc32(text))
        data = memoryview(b"%08x %d %s\n%s" % (checksum, len(payload), text, payload))
        while data:
            data = data[self._file.write(data) or 0 :]

    def _next(self) -> tuple[dict[str, Any], bytes] | None:
        """The record at the file's position, or None at the end and where there is no whole one."""
        start = self._file.tell()
        head = self._file.read(4096)
        while b"\n" not in head and (more := self._file.read(65536)):
            head += more
        line, newline, _ = head.partition(b"\n")
        try:
            checksum, size, text = line.split(b" ", 2)
            begin, length = start + len(line) + 1, int(size)
            if not newline or not 0 <= length <= os.fstat(self._file.fileno()).st_size - begin:
                return None
            self._file.seek(begin)
            payload = self._file.read(length)
            if int(checksum, 16) != zlib.crc32(payload, zlib.crc32(text)):
                return None
            return json.loads(text), payload
        except ValueError:
            return None


def _remove(lock: Path) -> None:
    """Before it is let go; where a lock in use cannot be removed (Windows) it stays."""
    with suppress(OSError):
        lock.unlink()
