"""Checkpoints that survive a kill at any moment: written beside the target, synced, renamed; the one before is kept."""

from __future__ import annotations

import os
import pickle
import re
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any, cast

from ..errors import fail, plain_reason
from ..files.file_kinds import is_ours, kind_of

_NEXT_STEPS = {"regressor": "Give the file that `pose-regressor train` exported, such as RUN/regressor.pt"}
_NAME = re.compile(r"step_(\d{9})\.pt")


def write_atomically(path: str | Path, write: Callable[[IO[bytes]], None]) -> None:
    """Let ``write(file)`` fill a temporary file beside ``path``, sync it to disk and rename it over ``path``.

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


def save_checkpoint(folder: str | Path, step: int, state: dict[str, Any], *, keep: int = 2) -> Path:
    """Write ``state`` (tensors and plain values) as ``folder/step_NNNNNNNNN.pt``; keep the last ``keep``."""
    path = Path(folder) / f"step_{step:09d}.pt"
    save_state(path, {"step": step, **state})
    for old in _by_step(folder)[:-keep]:
        old.unlink(missing_ok=True)
    return path


def save_state(path: str | Path, state: dict[str, Any]) -> None:
    """Write one dictionary of tensors and plain values atomically. An ``OSError`` names ``path``."""
    import torch

    def fill(file: IO[bytes]) -> None:
        noting = _Noting(file)
        try:
            torch.save(state, cast(IO[bytes], noting))
        except RuntimeError:
            if noting.refusal is None:
                raise
            raise noting.refusal from None  # the zip writer of torch has only seen that too little was written

    write_atomically(path, fill)


class _Noting:
    """A file to write to; ``refusal`` is what the system said first, also where the writer does not pass it on."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self.refusal: OSError | None = None

    def write(self, data: Any) -> int:
        try:
            return self._file.write(data)
        except OSError as error:
            self.refusal = self.refusal or error
            raise

    def flush(self) -> None:
        self._file.flush()


def load_state(path: str | Path, *, what: str = "checkpoint") -> dict[str, Any]:
    """Read what ``save_state`` wrote, on the CPU, executing nothing of it.

    Raises ``UserError`` for a file that is missing, cut short, damaged, or holds anything but tensors and plain values.
    """
    import torch

    from ..files.torch_files import check_torch_file

    path = Path(path)
    if not path.is_file():
        if path.exists():
            raise fail(f"{path} is no {what}", got=kind_of(path), expected=f"a {what}", next_step=_NEXT_STEPS.get(what))
        raise fail(f"No {what} at {path}", next_step="Check the path, or train first")
    kind = kind_of(path)
    if not zipfile.is_zipfile(path) or kind.startswith(("an npz", "a zip")):
        start = f"{path} is no {what}" if is_ours(kind) else f"Cannot read {what} {path}"
        raise fail(start, got=kind, expected=f"a {what}", next_step=_NEXT_STEPS.get(what))
    try:
        check_torch_file(path)
        with zipfile.ZipFile(path) as archive:
            damaged = archive.testzip()
        if damaged is not None:
            raise ValueError(f"part {damaged} does not match its checksum")
        state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        got = reason_of(error)
        raise fail(f"Cannot read {what} {path}", got=got, expected="a file written by this project") from None
    if not isinstance(state, dict):
        raise fail(f"Cannot read {what} {path}", got=type(state).__name__, expected="a dictionary")
    return state


def reason_of(error: Exception) -> str:
    """One line on why a file could not be read, without torch's advice to read it unsafely."""
    if isinstance(error, pickle.UnpicklingError):
        return "something that is neither tensors nor plain values"
    text = plain_reason(error)
    # A bare key or number says nothing by itself.
    return text if " " in text else f"{type(error).__name__} {text}".rstrip()


def load_latest(folder: str | Path) -> dict[str, Any] | None:
    """The newest checkpoint of ``folder`` that is whole, or None where there is none; damaged ones are passed over.

    Raises ``UserError`` when checkpoints exist but not one can be read.
    """
    paths = _by_step(folder)
    for path in reversed(paths):
        try:
            return load_state(path)
        except Exception as error:
            last_error = error
    if paths:
        raise last_error
    return None


def _by_step(folder: str | Path) -> list[Path]:
    return sorted(path for path in Path(folder).glob("step_*.pt") if _NAME.fullmatch(path.name))
