"""The files of mocap under some folders, with their names in the store and the splits that folders decide."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from ..engine.errors import fail
from .datasets import SPLITS
from .readers import SUFFIXES


@dataclass(frozen=True)
class MocapFile:
    """A file to read; ``name`` is its path from the given source on; ``split`` is None where no folder decides."""

    path: Path
    name: str
    split: str | None


def find_files(sources: list[Path]) -> list[MocapFile]:
    """Every file of ``SUFFIXES`` under ``sources``, sorted by name; links are followed, hidden files are not looked at.

    A folder named train, val or test on the way, the innermost, decides the split; where none is named val, clips of
    train are left to be drawn, too. Names begin with the folder given, or the nearest above it that is not named so.
    Raise ``UserError`` for a source that is not there.
    """
    by_path: dict[Path, MocapFile] = {}
    for source in sources:
        if not source.exists():
            expected = f"mocap files ({', '.join(SUFFIXES)}) or folders of them"
            raise fail(f"No file or folder at {source}", expected=expected)
        base = Path(os.path.abspath(source))  # noqa: PTH100 — keeps links, drops "..": the name is what was given
        top = base.parent if base.is_file() else base
        while top.name in SPLITS:
            top = top.parent
        for path in [base] if base.is_file() else _walk(base):
            name = path.relative_to(top.parent)
            splits = [part for part in name.parts[:-1] if part in SPLITS]
            by_path.setdefault(path, MocapFile(path, name.as_posix(), splits[-1] if splits else None))
    files = list(by_path.values())
    if not any(file.split == "val" for file in files):
        files = [replace(file, split=None) if file.split == "train" else file for file in files]
    return sorted(files, key=lambda file: file.name)


def _walk(base: Path) -> Iterator[Path]:
    visited = set()
    for folder, inner, names in os.walk(base, followlinks=True):
        status = Path(folder).stat()
        if (status.st_dev, status.st_ino) in visited:
            inner.clear()  # a link back to a folder above
            continue
        visited.add((status.st_dev, status.st_ino))
        inner[:] = sorted(name for name in inner if not name.startswith("."))
        yield from (
            Path(folder, name) for name in names if Path(name).suffix.lower() in SUFFIXES and not name.startswith(".")
        )
