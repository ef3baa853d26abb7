"""HDF5 files of ours, read with nothing taken on trust."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import h5py

from ..errors import UserError, fail, plain_reason
from .contents import check_version
from .file_kinds import is_ours, kind_of


@contextmanager
def reading(path: str | Path, file_format: str, version: int, *, what: str, next_step: str) -> Iterator[h5py.File]:
    """Open a file of ours for reading; whatever is wrong with it, here or inside the block, becomes one ``UserError``.

    That is: missing, cut short, being written, of another format, or of a newer version.
    """
    path = Path(path)
    if not path.exists():
        raise fail(f"No {what} at {path}", next_step=next_step)
    if path.is_dir():
        raise fail(f"{path} is no {what}", got=kind_of(path), expected=f"a {what}", next_step=next_step)
    try:
        if not h5py.is_hdf5(path):
            start = f"{path} is no {what}" if is_ours(kind := kind_of(path)) else f"Cannot read {what} {path}"
            raise fail(start, got=kind, expected=f"a {what}", next_step=next_step)
        with h5py.File(path, "r") as file:
            if file.attrs.get("format") != file_format:
                raise fail(f"{path} is no {what}", got=kind_of(path), expected=f"a {what}", next_step=next_step)
            check_version(file.attrs.get("format_version"), version, path, next_step=next_step)
            yield file
    except UserError:
        raise
    except BlockingIOError:  # HDF5 locks a file that it writes
        remedy = "Wait until it has ended, then try again"
        raise fail(f"{path} is being written by another process", expected="a whole file", next_step=remedy) from None
    except Exception as error:
        reason = plain_reason(error)
        raise fail(f"Cannot read {what} {path}", got=reason, expected="a whole file", next_step=next_step) from None


def plain_datasets(file: h5py.File) -> dict[str, h5py.Dataset]:
    """Every data set by path, at most one group deep.

    Raises ``UserError`` for links, for storage outside the file, for compressed data and for more data than the file
    has bytes: a few kilobytes can claim gigabytes, which are then found nowhere.
    """
    datasets: dict[str, h5py.Dataset] = {}
    groups: list[tuple[str, h5py.Group]] = [("", file)]
    for prefix, group in groups:
        for name in group:
            link = group.get(name, getlink=True)
            if not isinstance(link, h5py.HardLink):
                raise fail(
                    f"{file.filename} holds a link",
                    got=f"{type(link).__name__} {prefix}{name}",
                    expected="plain data sets only",
                    next_step="Do not use this file",
                )
            item = group[name]
            if isinstance(item, h5py.Group) and not prefix:
                groups.append((f"{name}/", item))
            elif not isinstance(item, h5py.Dataset) or item.is_virtual or item.external:
                raise fail(
                    f"{file.filename} holds data outside itself, or nested groups",
                    got=f"{prefix}{name}",
                    expected="plain data sets only",
                    next_step="Do not use this file",
                )
            else:
                datasets[f"{prefix}{name}"] = item
    _check_sizes(file, datasets)
    return datasets


def _check_sizes(file: h5py.File, datasets: dict[str, h5py.Dataset]) -> None:
    size = Path(file.filename).stat().st_size
    claimed = 0
    for name, data in datasets.items():
        if data.shape is None or not (data.dtype.kind in "biufS" or h5py.check_string_dtype(data.dtype)):
            raise fail(
                f"{file.filename} holds something else than numbers and texts",
                got=f"{name} of {data.dtype}",
                next_step="Do not use this file",
            )
        settings = data.id.get_create_plist()
        filters = {settings.get_filter(number)[0] for number in range(settings.get_nfilters())}
        if filters - {h5py.h5z.FILTER_FLETCHER32}:
            raise fail(
                f"{file.filename} holds compressed data",
                got=name,
                expected="data as it was written",
                next_step="Undo the compression with `h5repack -f NONE`",
            )
        claimed += data.size * data.dtype.itemsize
        if data.chunks and data.size:  # which are read whole
            claimed = max(claimed, math.prod(data.chunks) * data.dtype.itemsize)
    if claimed > size:
        raise fail(
            f"{file.filename} claims more data than it has bytes",
            got=f"{claimed:,} bytes of data",
            expected=f"at most the {size:,} of the file",
            next_step="Do not use this file",
        )


def read_texts(data: h5py.Dataset) -> list[str]:
    """The texts of a data set (N,) of texts, in blocks that a hostile file cannot make large.

    Raises ``UserError`` where they are longer than the whole file: many rows can name one long text.
    """
    size = Path(data.file.filename).stat().st_size
    rows = max(1, min(4096, (64 << 20) // max(1, size)))
    texts: list[str] = []
    length = 0
    for first in range(0, len(data), rows):
        block = data.asstr()[first : first + rows].tolist()
        length += sum(map(len, block))
        if length > size:
            raise fail(
                f"{data.file.filename} claims more text than it has bytes",
                got=data.name,
                next_step="Do not use this file",
            )
        texts += block
    return texts


def format_of(path: str | Path) -> str | None:
    """The ``format`` attribute of an HDF5 file; None for any other file."""
    try:
        with h5py.File(path, "r") as file:
            return str(file.attrs.get("format"))
    except OSError:
        return None
