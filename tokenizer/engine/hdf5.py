"""HDF5 files of ours, read with nothing taken on trust."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import h5py

from .errors import UserError, fail


@contextmanager
def reading(path: str | Path, file_format: str, version: int, *, what: str, next_step: str) -> Iterator[h5py.File]:
    """Open a file of ours for reading; whatever is wrong with it, here or inside the block, becomes one ``UserError``.

    That is: missing, cut short, being written, of another format, or of a newer version.
    """
    path = Path(path)
    if not path.is_file():
        raise fail(f"No {what} at {path}", next_step=next_step)
    try:
        with h5py.File(path, "r") as file:
            if file.attrs.get("format") != file_format:
                got = f"format {file.attrs.get('format')!r}"
                raise fail(f"{path} is no {what}", got=got, expected=repr(file_format))
            found = int(file.attrs["format_version"])
            if found > version:
                raise fail(f"{path} was written by a newer version", got=f"format_version {found}",
                           expected=f"at most {version}", next_step="Upgrade pose-token-hmr")  # fmt: skip
            yield file
    except UserError:
        raise
    except BlockingIOError:  # HDF5 locks a file that it writes
        remedy = "Wait until it has ended, then try again"
        raise fail(f"{path} is being written by another process", expected="a whole file", next_step=remedy) from None
    except Exception as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise fail(f"Cannot read {what} {path}", got=reason, expected="a whole file", next_step=next_step) from None


def plain_datasets(file: h5py.File) -> dict[str, h5py.Dataset]:
    """Every data set by path, at most one group deep. Raises ``UserError`` for links and outside storage."""
    found: dict[str, h5py.Dataset] = {}
    groups: list[tuple[str, h5py.Group]] = [("", file)]
    for prefix, group in groups:
        for name in group:
            link = group.get(name, getlink=True)
            if not isinstance(link, h5py.HardLink):
                raise fail(f"{file.filename} holds a link", got=f"{type(link).__name__} {prefix}{name}",
                           expected="plain data sets only", next_step="Do not use this file")  # fmt: skip
            item = group[name]
            if isinstance(item, h5py.Group) and not prefix:
                groups.append((f"{name}/", item))
            elif not isinstance(item, h5py.Dataset) or item.is_virtual or item.external:
                raise fail(f"{file.filename} holds data outside itself, or nested groups", got=f"{prefix}{name}",
                           expected="plain data sets only", next_step="Do not use this file")  # fmt: skip
            else:
                found[f"{prefix}{name}"] = item
    return found


def format_of(path: str | Path) -> str | None:
    """The ``format`` attribute of an HDF5 file; None for any other file."""
    try:
        with h5py.File(path, "r") as file:
            return str(file.attrs.get("format"))
    except OSError:
        return None
