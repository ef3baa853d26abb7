"""The pose store: one HDF5 file of body poses with their provenance, read by training as plain arrays.

``pose_body`` (N,21,3) float32 axis-angle, ``betas`` (N,10) float32, ``source_index`` (N,) int32, and one row a source
in ``sources/*``: name, split, frame rate, licence, frames, digest. Attributes: ``format``, ``format_version``,
``command``, ``test_sources``: names, one a line, of what no training may look at; ``digest``: sha256 over the sources
in order, each with the sha256 of its poses and betas, and in version 2 over its licence and its exact frame rate, too.
What is read is compared with these digests first, once.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from glob import escape
from itertools import chain
from pathlib import Path
from types import TracebackType
from typing import Any

import h5py
import numpy as np

from ..engine.errors import fail
from ..engine.files.hdf5 import plain_datasets, read_texts, reading
from ..engine.files.hdf5_writing import writing

FORMAT = "pose-token-hmr/poses"
FORMAT_VERSION = 2
NUM_JOINTS, NUM_BETAS = 21, 10
DRAWN = ("embedded", "composed")
"""First parts of the names of sources whose poses were drawn."""
_CHUNK = 4096
_ARRAYS = ("pose_body", "betas", "source_index")
_BUFFERED = 4 * _CHUNK
_CHECKED_AT_ONCE = 16 * _CHUNK
_MOST_SOURCES = 10_000_000
_MOST_TEXT = 16_000
_REMEDY = "Make one with `pose-tokenizer prepare` or `pose-tokenizer sample`"


@dataclass(frozen=True)
class Source:
    """Where a run of frames comes from. ``fps`` is the rate in the store; ``digest`` is of its poses and betas."""

    name: str
    split: str
    fps: float
    licence: str
    frames: int
    digest: str

    @property
    def drawn(self) -> bool:
        """Whether its poses were drawn one by one (``mocap.drawn``), and are no motion."""
        return self.name.partition("/")[0] in DRAWN or self.name.startswith("embedded prior, seed ")


class PoseStoreWriter:
    """Write a store next to its target, rename it when complete: ``with PoseStoreWriter(path, command) as writer``.

    An exception inside the block, a full disk or a kill leave what was at ``path`` before. Raise ``UserError`` if
    ``path`` is something that is not a pose store. ``former_digest``: of the same poses in a store of version 1.
    """

    def __init__(self, path: str | Path, command: str, *, former_digest: str = "") -> None:
        self.command, self._former = command, former_digest
        self._writing = writing(path, FORMAT, FORMAT_VERSION)
        self._sources: list[Source] = []
        self._waiting: list[dict[str, np.ndarray]] = []

    def __enter__(self) -> PoseStoreWriter:
        self._file = self._writing.__enter__()
        shapes: dict[str, tuple[int, ...]] = {"pose_body": (NUM_JOINTS, 3), "betas": (NUM_BETAS,), "source_index": ()}
        for name, shape in shapes.items():
            kind = np.int32 if name == "source_index" else np.float32
            # A checksum a chunk: reading a flipped byte fails instead of training on it.
            self._file.create_dataset(
                name, (0, *shape), kind, maxshape=(None, *shape), chunks=(_CHUNK, *shape), fletcher32=True
            )
        return self

    def add(self, name: str, split: str, pose_body: np.ndarray, betas: np.ndarray, *, fps: float, licence: str) -> None:
        """Append one source: ``pose_body`` (n,21,3) axis-angle in radians, ``betas`` (up to 10,) or (n, up to 10).

        Raise ``UserError`` for another shape or for numbers that are not finite.
        """
        pose_body = np.ascontiguousarray(pose_body, dtype="<f4")
        if pose_body.shape[1:] != (NUM_JOINTS, 3):
            raise fail(f"Poses of {name} have the wrong shape", got=pose_body.shape, expected="(n, 21, 3)")
        padded = np.zeros((len(pose_body), NUM_BETAS), dtype="<f4")
        own_betas = np.asarray(betas, dtype=np.float32)[..., :NUM_BETAS]
        padded[:, : own_betas.shape[-1]] = own_betas
        if not np.isfinite(pose_body).all() or not np.isfinite(padded).all():
            raise fail(f"Poses or betas of {name} are not finite")
        digest = hashlib.sha256(pose_body.tobytes() + padded.tobytes()).hexdigest()
        index = np.full(len(pose_body), len(self._sources), dtype=np.int32)
        self._waiting.append({"pose_body": pose_body, "betas": padded, "source_index": index})
        self._sources.append(Source(_storable(name), split, float(fps), _storable(licence), len(pose_body), digest))
        if sum(len(rows["betas"]) for rows in self._waiting) >= _BUFFERED:
            self._flush()

    def move(self, number: int, split: str) -> None:
        """Put source ``number``, counted from 0 as added, into another split."""
        self._sources[number] = replace(self._sources[number], split=split)

    def _flush(self) -> None:
        """Write what waits: small clips one by one would cost more in HDF5 calls than in bytes."""
        for key in _ARRAYS if self._waiting else ():
            values, data = np.concatenate([rows[key] for rows in self._waiting]), self._file[key]
            start = len(data)
            data.resize(start + len(values), axis=0)
            data[start:] = values
        self._waiting.clear()
        self._file.check()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is None:
            try:
                self._finish()
            except BaseException as late:
                self._writing.__exit__(type(late), late, late.__traceback__)
                raise
        self._writing.__exit__(kind, error, trace)

    def _finish(self) -> None:
        self._flush()
        group = self._file.create_group("sources")
        text = h5py.string_dtype()
        for key in ("name", "split", "licence", "digest"):
            group.create_dataset(key, data=[getattr(source, key) for source in self._sources], dtype=text)
        group.create_dataset("fps", data=np.array([source.fps for source in self._sources]))
        group.create_dataset("frames", data=np.array([source.frames for source in self._sources], dtype=np.int64))
        self._file.attrs["command"] = _storable(self.command)
        reserved = [source.name for source in self._sources if source.split == "test"]
        # An attribute holds at most 64 KiB; the rest is in `sources`.
        self._file.attrs["test_sources"] = "\n".join(reserved)[:_MOST_TEXT]
        self._file.attrs["former_digest"] = self._former
        self._file.attrs["digest"] = _digest(self._sources, FORMAT_VERSION)


class PoseStore:
    """A store opened for reading; each call reads just what it returns, so that many workers can share one file. It
    raises ``UserError`` when the file was replaced since it was opened, and where its content, which is compared the
    first time that it is read, is not that of its digest.

    ``sources``: list of ``Source``; ``digest``: sha256 that names the content, ``former_digest`` the one that it had as
    a store of version 1; ``command``: what made it; ``version``: of the format; ``note``: what to know about it.
    """

    def __init__(
        self, path: Path, sources: list[Source], digest: str, command: str, version: int, former_digest: str = ""
    ) -> None:
        self.path, self.sources, self.digest, self.command, self.version = path, sources, digest, command, version
        self.former_digest = former_digest
        self._checked, self._checked_at = set[int](), (0, 0)
        self.note = ""
        if version < FORMAT_VERSION:
            self.note = (
                f"{path} is a pose store of version {version}, whose digest leaves out licences; rewrite it with "
                f"`pose-tokenizer inspect {path} --upgrade`"
            )

    def holds(self, digest: str) -> bool:
        """Whether ``digest`` names these very poses: it is the store's, or the one it had before it was upgraded."""
        return digest == self.digest or (bool(self.former_digest) and digest == self.former_digest)

    def check(self) -> None:
        """Raise ``UserError`` unless all poses, betas and indices are those that the digest was taken of, and finite.

        A million poses take about half a second the first time, and no more memory than a few blocks.
        """
        with self._reading() as file:
            self._check(file, None)

    def poses(self, split: str | None = None) -> np.ndarray:
        """(N,21,3) float32 axis-angle of one split, or of all."""
        return self._read("pose_body", split)

    def betas(self, split: str | None = None) -> np.ndarray:
        """(N,10) float32."""
        return self._read("betas", split)

    def source_index(self, split: str | None = None) -> np.ndarray:
        """(N,) int32: which of ``sources`` each frame comes from."""
        return self._read("source_index", split)

    @contextmanager
    def _reading(self) -> Iterator[h5py.File]:
        with reading(self.path, FORMAT, FORMAT_VERSION, what="pose store", next_step=_REMEDY) as file:
            if file.attrs.get("digest") != self.digest:
                raise fail(f"{self.path} was replaced since it was opened", next_step="Start again")
            yield file

    def _read(self, name: str, split: str | None) -> np.ndarray:
        runs: list[list[int]] = []
        for _, first, last in self._rows(split):
            if runs and runs[-1][1] == first:
                runs[-1][1] = last
            else:
                runs.append([first, last])
        with self._reading() as file:
            self._check(file, split)
            data = file[name]
            values = np.empty((sum(b - a for a, b in runs), *data.shape[1:]), dtype=data.dtype)
            filled = 0
            for a, b in runs:
                if b > a:
                    data.read_direct(values, np.s_[a:b], np.s_[filled : filled + b - a])
                filled += b - a
        return values

    def _rows(self, split: str | None) -> list[tuple[int, int, int]]:
        """(number, first row, row after the last) of the sources of a split, or of all."""
        ranges, first = [], 0
        for number, source in enumerate(self.sources):
            if split in (None, source.split):
                ranges.append((number, first, first + source.frames))
            first += source.frames
        return ranges

    def _check(self, file: h5py.File, split: str | None) -> None:
        status = self.path.stat()
        if (status.st_mtime_ns, status.st_size) != self._checked_at:
            self._checked, self._checked_at = set(), (status.st_mtime_ns, status.st_size)
        unchecked = [rows for rows in self._rows(split) if rows[0] not in self._checked]
        for block in _blocks(unchecked):
            if len(block) == 1:
                ((number, first, last),) = block
                parts = [(a, min(a + _CHECKED_AT_ONCE, last)) for a in range(first, last, _CHECKED_AT_ONCE)]
                self._check_source(number, [_read_parts(file[name], parts) for name in _ARRAYS])
            else:
                start, stop = block[0][1], block[-1][2]
                arrays = [file[name][start:stop] for name in _ARRAYS]
                for number, first, last in block:
                    self._check_source(number, ([values[first - start : last - start]] for values in arrays))
            self._checked.update(number for number, _, _ in block)

    def _check_source(self, number: int, arrays: Iterable[Iterable[np.ndarray]]) -> None:
        """Raise ``UserError`` unless the poses, betas and indices of a source, each in parts, are its own."""
        source, digest, finite = self.sources[number], hashlib.sha256(), True
        poses, betas, index = arrays
        for values in chain(poses, betas):
            finite &= bool(np.isfinite(values).all())
            digest.update(values.tobytes())
        wrong = ""
        if not finite:
            wrong = "numbers that are not finite"
        elif digest.hexdigest() != source.digest:
            wrong = "other poses or betas than its digest was taken of: it was edited"
        elif any((values != number).any() for values in index):
            wrong = "frames that are said to be of other sources"
        if wrong:
            raise fail(
                f"{self.path} is damaged",
                got=f"{source.name} with {wrong}",
                next_step="Prepare it again, or restore a copy",
            )


def _read_parts(data: h5py.Dataset, parts: list[tuple[int, int]]) -> Iterator[np.ndarray]:
    for first, last in parts:
        yield data[first:last]


def _blocks(rows: list[tuple[int, int, int]]) -> Iterator[list[tuple[int, int, int]]]:
    """Neighbouring sources whose frames are read at once: about 64,000 of them, or one long source."""
    block: list[tuple[int, int, int]] = []
    for row_range in rows:
        if block and (row_range[1] != block[-1][2] or row_range[2] - block[0][1] > _CHECKED_AT_ONCE):
            yield block
            block = []
        block.append(row_range)
    if block:
        yield block


def upgrade(path: str | Path) -> PoseStore:
    """Rewrite a store of an older version, checked, in this one; the file is replaced when the new one is whole.

    Raise ``UserError`` where its content is not that of its digest, or the disk refuses.
    """
    old = open_store(path)
    old.check()
    if old.version < FORMAT_VERSION:
        with (
            old._reading() as file,
            PoseStoreWriter(old.path, old.command, former_digest=old.digest) as writer,
        ):
            for number, first, last in old._rows(None):
                source = old.sources[number]
                writer.add(
                    source.name,
                    source.split,
                    file["pose_body"][first:last],
                    file["betas"][first:last],
                    fps=source.fps,
                    licence=source.licence,
                )
    return open_store(path)


def open_store(path: str | Path) -> PoseStore:
    """Open and check a store.

    Raise ``UserError`` for a file that is missing, cut short, being written, of another or newer format, misshapen, or
    with data outside itself.
    """
    path = Path(path)
    parts = [*path.parent.glob(f"{escape(path.name)}.*.partial"), *path.parent.glob(f"{escape(path.name)}.unfinished")]
    if parts and not path.exists():
        remedy = "Wait until it is whole; if nothing runs any more, give the command that was writing it again"
        raise fail(f"{path} is still being written", got=parts[0].name, expected="a whole store", next_step=remedy)
    with reading(path, FORMAT, FORMAT_VERSION, what="pose store", next_step=_REMEDY) as file:
        return _open(file, path)


def _open(file: h5py.File, path: Path) -> PoseStore:
    columns = plain_datasets(file)
    expected = ["pose_body", "betas", "source_index", *(f"sources/{key}" for key in Source.__dataclass_fields__)]
    missing = [name for name in expected if name not in columns]
    if missing:
        raise fail(f"{path} is damaged", got=f"no {', '.join(missing)}", next_step=_REMEDY)
    version = int(file.attrs["format_version"])
    texts, numbers = ("name", "split", "licence", "digest"), ("fps", "frames")
    count = columns["sources/name"].size
    if any(columns[f"sources/{key}"].shape != (count,) for key in (*texts, *numbers)) or count > _MOST_SOURCES:
        raise fail(f"{path} is damaged", got="sources of different numbers", next_step=_REMEDY)
    fields: dict[str, list[Any]] = {key: read_texts(columns[f"sources/{key}"]) for key in texts}
    fields |= {key: columns[f"sources/{key}"][()].tolist() for key in numbers}
    sources = [Source(**dict(zip(fields, row, strict=True))) for row in zip(*fields.values(), strict=True)]
    if any(source.frames < 0 for source in sources):
        raise fail(f"{path} is damaged", got="a source of fewer than no frames", next_step=_REMEDY)
    total = sum(source.frames for source in sources)
    shapes = {"pose_body": (total, NUM_JOINTS, 3), "betas": (total, NUM_BETAS), "source_index": (total,)}
    wrong = [f"{key} {columns[key].shape}, not {shape}" for key, shape in shapes.items() if columns[key].shape != shape]
    kinds = {"pose_body": "<f4", "betas": "<f4", "source_index": "<i4"}
    wrong += [f"{key} of {columns[key].dtype}" for key, kind in kinds.items() if columns[key].dtype != np.dtype(kind)]
    if wrong or _digest(sources, version) != file.attrs["digest"]:
        got = "; ".join(wrong) or "a digest that does not match"
        raise fail(f"{path} is damaged", got=got, next_step=_REMEDY)
    if str(file.attrs.get("former_digest", "")) not in ("", _digest(sources, 1)):
        raise fail(f"{path} is damaged", got="a former digest that is of other poses", next_step=_REMEDY)
    return PoseStore(
        path,
        sources,
        str(file.attrs["digest"]),
        str(file.attrs["command"]),
        version,
        str(file.attrs.get("former_digest", "")),
    )


def _digest(sources: list[Source], version: int) -> str:
    if version == 1:
        lines = [f"{s.name}\t{s.split}\t{s.fps:.6f}\t{s.frames}\t{s.digest}" for s in sources]
        return hashlib.sha256("\n".join(lines).encode()).hexdigest()
    digest = hashlib.sha256(f"{FORMAT} {version}\n".encode())
    for s in sources:
        digest.update(json.dumps([s.name, s.split, s.fps, s.licence, s.frames, s.digest]).encode() + b"\n")
    return digest.hexdigest()


def _storable(text: str) -> str:
    """File names may hold bytes that are no UTF-8, which HDF5 would refuse."""
    return text.encode("utf-8", "backslashreplace").decode()
