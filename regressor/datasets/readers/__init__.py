"""Readers of other people's data sets: one file a format; ``FORMATS`` names them."""

from __future__ import annotations

from importlib import import_module

from tokenizer.engine.errors import fail

from ..annotation import Reader

FORMATS = {
    "evaluation-npz": ("evaluation_npz", "test"),
    "coco": ("coco", "train"),
    "4dhumans": ("four_d_humans", "train"),
    "bedlam": ("bedlam", "train"),
    "3dpw": ("three_dpw", "test"),
    "emdb": ("emdb", "test"),
    "synthetic": ("synthetic", "train"),
}
"""By name: the module with its ``read``, and the split where no folder names one."""


def reader(name: str) -> Reader:
    """The reader of a format. Raises ``UserError`` for an unknown one."""
    read: Reader = import_module(f".{_known(name)[0]}", __name__).read
    return read


def default_split(name: str) -> str:
    """Return the split of a format where no folder names one. Raises ``UserError`` for an unknown one."""
    return _known(name)[1]


def _known(name: str) -> tuple[str, str]:
    if name not in FORMATS:
        raise fail(f"Unknown format {name!r}", expected=f"one of {', '.join(FORMATS)}")
    return FORMATS[name]
