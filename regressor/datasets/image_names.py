"""Image files by the names that annotations give them, which come from other folders, computers and systems."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from pathlib import Path

from .image_files import IMAGE_SUFFIXES


class ImageFolder:
    """A folder of images, in which names are looked up.

    Where there is no file of a name as it is, it may be written as on Windows (``images\\a.jpg``), begin in folders
    that are not there (``C:\\photos\\a.jpg``, ``/data/upload/a.jpg``), in other letter case, or with umlauts in two
    pieces. ``others``: folders in which it is looked up where the root has none of it.
    """

    def __init__(self, root: Path, others: Sequence[Path] = ()) -> None:
        self.root, self.others = root, tuple(others)
        self._listed: dict[Path, dict[str, Path]] = {}

    def find(self, name: str) -> Path:
        """The file of that name, or the path where it was expected; the longest end of ``name`` that exists counts."""
        try:
            if (self.root / name).is_file():
                return self.root / name
        except (OSError, ValueError):  # a name that no file can have
            return self.root / "?"
        parts = [part for part in name.replace("\\", "/").split("/") if part not in ("", ".", "..")]
        for root in (self.root, *self.others):
            for first in range(len(parts)):
                path = self._below(root, parts[first:])
                if path is not None:
                    return path
        return self.root.joinpath(*parts)

    def find_stem(self, stem: str) -> Path | None:
        """The image whose name without its ending is ``stem``, of several endings the first in ``IMAGE_SUFFIXES``; the
        root itself where that is an image."""
        if self.root.is_file():
            return self.root
        listed = [self._files(root) for root in (self.root, *self.others)]
        matches = (files.get(_plain(stem + suffix)) for files in listed for suffix in IMAGE_SUFFIXES)
        return next((path for path in matches if path is not None), None)

    def _below(self, root: Path, parts: list[str]) -> Path | None:
        path = root
        for part in parts:
            entry = self._files(path).get(_plain(part))
            if entry is None:
                return None
            path = entry
        return path if path.is_file() else None

    def _files(self, folder: Path) -> dict[str, Path]:
        if folder not in self._listed:
            try:
                self._listed[folder] = {_plain(path.name): path for path in sorted(folder.iterdir(), reverse=True)}
            except OSError:
                self._listed[folder] = {}
        return self._listed[folder]


def _plain(name: str) -> str:
    return unicodedata.normalize("NFC", name).casefold()
