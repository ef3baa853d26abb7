"""The pose store: one HDF5 file of body poses with their provenance, read by training as plain arrays.

``pose_body`` (N,21,3) float32 axis-angle, ``betas`` (N,10) float32, ``source_index`` (N,) int32, and one row a source
in ``sources/*``: name, split, frame rate, licence, frames, digest. Attributes: ``format``, ``format_version``,
``command``, ``digest`` (sha256 over the sources in order).
"""

from __future__ import annotations

import contextlib
import hashlib
import os
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

import h5py
import numpy as np

from ..engine.errors import UserError, fail

FORMAT = "pose-token-hmr/poses"
FORMAT_VERSION = 1
NUM_JOINTS, NUM_BETAS = 21, 10
_CHUNK = 4096


@dataclass(frozen=True)
class Source:
    """Where a run of frames comes from. ``fps`` is the frame rate in the store; ``digest`` is of its poses."""

    name: str
    split: str
    fps: float
    licence: str
    frames: int
    digest: str


class PoseStoreWriter:
    """Writes a store beside its target and renames it when whole: ``with PoseStoreWriter(path, command) as writer``.

    An exception inside the block, a full disk or a kill leave what was at ``path`` before. Raises ``UserError`` if
    ``path`` is something that is not a pose store.
    """

    def __init__(self, path: str | Path, command: str) -> None:
        self.path, self.command = Path(path), command
        if self.path.exists() and not _is_store(self.path):
            raise fail(f"{self.path} exists and is no pose store", next_step="Choose another --out")
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self._partial = self.path.with_name(f"{self.path.name}.{os.getpid()}.partial")
        self._sources: list[Source] = []
        self._frames = 0

    def __enter__(self) -> PoseStoreWriter:
        self._file = h5py.File(self._partial, "w")
        shapes: dict[str, tuple[int, ...]] = {"pose_body": (NUM_JOINTS, 3), "betas": (NUM_BETAS,), "source_index": ()}
        for name, shape in shapes.items():
            kind = np.int32 if name == "source_index" else np.float32
            self._file.create_dataset(name, (0, *shape), kind, maxshape=(None, *shape), chunks=(_CHUNK, *shape))
        return self

    def add(self, name: str, split: str, pose_body: np.ndarray, betas: np.ndarray, *, fps: float, licence: str) -> None:
        """Append one source: ``pose_body`` (n,21,3) axis-angle in radians, ``betas`` (up to 10,) or (n, up to 10)."""
        pose_body = np.ascontiguousarray(pose_body, dtype=np.float32)
        if pose_body.shape[1:] != (NUM_JOINTS, 3):
            raise fail(f"Poses of {name} have the wrong shape", got=pose_body.shape, expected="(n, 21, 3)")
        padded = np.zeros((len(pose_body), NUM_BETAS), dtype=np.float32)
        given = np.asarray(betas, dtype=np.float32)[..., :NUM_BETAS]
        padded[:, : given.shape[-1]] = given
        digest = hashlib.sha256(pose_body.astype("<f4").tobytes()).hexdigest()
        start, self._frames = self._frames, self._frames + len(pose_body)
        rows = {"pose_body": pose_body, "betas": padded, "source_index": np.full(len(pose_body), len(self._sources))}
        for key, values in rows.items():
            self._file[key].resize(self._frames, axis=0)
            self._file[key][start:] = values
        self._sources.append(Source(name, split, float(fps), licence, len(pose_body), digest))

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if error is None:
                self._finish()
        finally:
            _close_quietly(self._file)
            self._partial.unlink(missing_ok=True)
        if isinstance(error, (OSError, RuntimeError)) and not isinstance(error, UserError):
            raise self._write_error(error) from None

    def _finish(self) -> None:
        try:
            group = self._file.create_group("sources")
            text = h5py.string_dtype()
            for key in ("name", "split", "licence", "digest"):
                group.create_dataset(key, data=[getattr(source, key) for source in self._sources], dtype=text)
            group.create_dataset("fps", data=np.array([source.fps for source in self._sources]))
            group.create_dataset("frames", data=np.array([source.frames for source in self._sources], dtype=np.int64))
            attributes = {"format": FORMAT, "format_version": FORMAT_VERSION, "command": self.command}
            for key, value in (attributes | {"digest": _digest(self._sources)}).items():
                self._file.attrs[key] = value
            self._file.close()
            with self._partial.open("rb") as file:
                os.fsync(file.fileno())
            self._partial.replace(self.path)
        except (OSError, RuntimeError) as error:
            raise self._write_error(error) from None

    def _write_error(self, error: Exception) -> UserError:
        reason = str(error).splitlines()[0]
        return fail(f"Cannot write {self.path}", got=reason, next_step="Free some disk space; nothing was changed")


class PoseStore:
    """A store opened for reading; each call reads just what it returns, so that many workers can share one file.

    ``sources``: list of ``Source``; ``digest``: sha256 that names the content; ``command``: what made it.
    """

    def __init__(self, path: Path, sources: list[Source], digest: str, command: str) -> None:
        self.path, self.sources, self.digest, self.command = path, sources, digest, command

    def poses(self, split: str | None = None) -> np.ndarray:
        """(N,21,3) float32 axis-angle of one split, or of all."""
        return self._read("pose_body", split)

    def betas(self, split: str | None = None) -> np.ndarray:
        """(N,10) float32."""
        return self._read("betas", split)

    def source_index(self, split: str | None = None) -> np.ndarray:
        """(N,) int32: which of ``sources`` each frame comes from."""
        return self._read("source_index", split)

    def _read(self, name: str, split: str | None) -> np.ndarray:
        ends = np.cumsum([source.frames for source in self.sources])
        runs: list[list[int]] = []
        for source, end in zip(self.sources, ends, strict=True):
            if split in (None, source.split):
                if runs and runs[-1][1] == end - source.frames:
                    runs[-1][1] = int(end)
                else:
                    runs.append([int(end - source.frames), int(end)])
        try:
            with h5py.File(self.path, "r") as file:
                data = file[name]
                values = np.empty((sum(b - a for a, b in runs), *data.shape[1:]), dtype=data.dtype)
                filled = 0
                for a, b in runs:
                    if b > a:
                        data.read_direct(values, np.s_[a:b], np.s_[filled : filled + b - a])
                    filled += b - a
        except (OSError, KeyError) as error:
            raise fail(f"Cannot read pose store {self.path}", got=str(error).splitlines()[0]) from None
        return values


def open_store(path: str | Path) -> PoseStore:
    """Open and check a store.

    Raises ``UserError`` for a file that is missing, cut short, being written, of another or newer format, misshapen, or
    with data outside itself.
    """
    path = Path(path)
    if not path.is_file():
        raise fail(f"No pose store at {path}", next_step="Make one with `pose-tokenizer prepare` or `… sample`")
    try:
        with h5py.File(path, "r") as file:
            return _open(file, path)
    except UserError:
        raise
    except Exception as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise fail(f"Cannot read pose store {path}", got=reason, expected="a whole store",
                   next_step="Prepare it again") from None  # fmt: skip


def _open(file: h5py.File, path: Path) -> PoseStore:
    if file.attrs.get("format") != FORMAT:
        raise fail(f"{path} is no pose store", got=f"format {file.attrs.get('format')!r}", expected=repr(FORMAT))
    if int(file.attrs["format_version"]) > FORMAT_VERSION:
        raise fail(f"{path} was written by a newer version", got=f"format_version {file.attrs['format_version']}",
                   expected=f"at most {FORMAT_VERSION}", next_step="Upgrade pose-token-hmr")  # fmt: skip
    columns: dict[str, Any] = {}
    for name in ("pose_body", "betas", "source_index", *(f"sources/{f}" for f in Source.__dataclass_fields__)):
        item = file.get(name)
        links = [file.get(part, getlink=True) for part in (name, name.split("/")[0])]
        plain = all(isinstance(link, h5py.HardLink) for link in links)
        if not isinstance(item, h5py.Dataset) or not plain or item.is_virtual or item.external:
            raise fail(f"{path} is no plain pose store", got=f"{name} missing or stored outside the file")
        columns[name] = item
    fields = {}
    for key in Source.__dataclass_fields__:
        column = columns[f"sources/{key}"]
        fields[key] = column.asstr()[()] if h5py.check_string_dtype(column.dtype) else column[()]
    sources = [Source(**{k: v.item() if hasattr(v, "item") else str(v) for k, v in zip(fields, row, strict=True)})
               for row in zip(*fields.values(), strict=True)]  # fmt: skip
    total = sum(source.frames for source in sources)
    shapes = {"pose_body": (total, NUM_JOINTS, 3), "betas": (total, NUM_BETAS), "source_index": (total,)}
    wrong = [f"{key} {columns[key].shape}, not {shape}" for key, shape in shapes.items() if columns[key].shape != shape]
    if wrong or _digest(sources) != file.attrs["digest"]:
        got = "; ".join(wrong) or "a digest that does not match"
        raise fail(f"{path} is damaged", got=got, next_step="Prepare it again")
    return PoseStore(path, sources, str(file.attrs["digest"]), str(file.attrs["command"]))


def _digest(sources: list[Source]) -> str:
    lines = [f"{s.name}\t{s.split}\t{s.fps:.6f}\t{s.frames}\t{s.digest}" for s in sources]
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


def _is_store(path: Path) -> bool:
    try:
        with h5py.File(path, "r") as file:
            return bool(file.attrs.get("format") == FORMAT)
    except OSError:
        return False


def _close_quietly(file: h5py.File) -> None:
    """Closing flushes, which fails again where writing has failed; the first error is the one to tell."""
    with contextlib.suppress(OSError, RuntimeError):
        file.close()
