"""Checkpoints of a training: one file a step, written atomically; the latest few are kept."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from ..files.state_files import load_state, save_state

_NAME = re.compile(r"step_(\d{9})\.pt")


def save_checkpoint(folder: str | Path, step: int, state: dict[str, Any], *, keep: int = 2) -> Path:
    """Write ``state`` (tensors and plain values) as ``folder/step_NNNNNNNNN.pt``; keep the last ``keep``."""
    path = Path(folder) / f"step_{step:09d}.pt"
    save_state(path, {"step": step, **state})
    for old in _by_step(folder)[:-keep]:
        old.unlink(missing_ok=True)
    return path


def load_latest(folder: str | Path) -> dict[str, Any] | None:
    """Return the latest valid checkpoint of ``folder``, or None where there is none; damaged ones are skipped.

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
