"""One dictionary of tensors and plain values in one file of ``torch.save``: checkpoints, regressors, backbones."""

from __future__ import annotations

import pickle
import zipfile
from pathlib import Path
from typing import IO, Any, cast

from ..errors import fail, plain_reason
from .atomic import write_atomically
from .file_kinds import is_ours, kind_of

_NEXT_STEPS = {"regressor": "Give the file that `pose-regressor train` exported, such as RUN/regressor.pt"}


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

    from .torch_files import check_torch_file

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
