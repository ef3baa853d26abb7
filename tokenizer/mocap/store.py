"""The pose store: one HDF5 file of body poses with their provenance, read by training as plain arrays.

``pose_body`` (N,21,3) float32 axis-angle, ``betas`` (N,10) float32, ``source_index`` (N,) int32, and one row a source
in ``sources/*``: name, split, frame rate, licence, frames, digest. Attributes: ``format``, ``format_version``,
``command``, ``digest`` (sha256 over the sources in order).
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from glob import escape
from pathlib import Path
from types import TracebackType

import h5py
import numpy as np

from ..engine.errors import fail
from ..engine.hdf5 import plain_datasets, reading
from ..engine.hdf5_writing import writing

FORMAT = "pose-token-hmr/poses"
FORMAT_VERSION = 1
NUM_JOINTS, NUM_BETAS = 21, 10
_CHUNK = 4096
_BUFFERED = 4 * _CHUNK
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


class PoseStoreWriter:
    """Writes a store beside its target and renames it when whole: ``with PoseStoreWriter(path, command) as writer``.

    An exception inside the block, a full disk or a kill leave what was at ``path`` before. Raises ``UserError`` if
    ``path`` is something that is not a pose store.
    """

    def __init__(self, path: str | Path, command: str) -> None:
        self.command = command
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

        Raises ``UserError`` for another shape or for numbers that are not finite.
        """
        pose_body = np.ascontiguousarray(pose_body, dtype="<f4")
        if pose_body.shape[1:] != (NUM_JOINTS, 3):
            raise fail(f"Poses of {name} have the wrong shape", got=pose_body.shape, expected="(n, 21, 3)")
        padded = np.zeros((len(pose_body), NUM_BETAS), dtype="<f4")
        given = np.asarray(betas, dtype=np.float32)[..., :NUM_BETAS]
        padded[:, : given.shape[-1]] = given
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
        for key in ("pose_body", "betas", "source_index") if self._waiting else ():
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
        self._file.attrs["command"], self._file.attrs["digest"] = _storable(self.command), _digest(self._sources)


class PoseStore:
    """A store opened for reading; each call reads just what it returns, so that many workers can share one file. It
    raises ``UserError`` when the file was replaced since it was opened.

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
        with reading(self.path, FORMAT, FORMAT_VERSION, what="pose store", next_step=_REMEDY) as file:
            if file.attrs.get("digest") != self.digest:
                raise fail(f"{self.path} was replaced since it was opened", next_step="Start again")
            data = file[name]
            values = np.empty((sum(b - a for a, b in runs), *data.shape[1:]), dtype=data.dtype)
            filled = 0
            for a, b in runs:
                if b > a:
                    data.read_direct(values, np.s_[a:b], np.s_[filled : filled + b - a])
                filled += b - a
        return values


def open_store(path: str | Path) -> PoseStore:
    """Open and check a store.

    Raises ``UserError`` for a file that is missing, cut short, being written, of another or newer format, misshapen, or
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
    fields = []
    for key in Source.__dataclass_fields__:
        column = columns[f"sources/{key}"]
        fields.append((column.asstr()[()] if h5py.check_string_dtype(column.dtype) else column[()]).tolist())
    sources = [Source(*row) for row in zip(*fields, strict=True)]
    total = sum(source.frames for source in sources)
    shapes = {"pose_body": (total, NUM_JOINTS, 3), "betas": (total, NUM_BETAS), "source_index": (total,)}
    wrong = [f"{key} {columns[key].shape}, not {shape}" for key, shape in shapes.items() if columns[key].shape != shape]
    if wrong or _digest(sources) != file.attrs["digest"]:
        got = "; ".join(wrong) or "a digest that does not match"
        raise fail(f"{path} is damaged", got=got, next_step=_REMEDY)
    return PoseStore(path, sources, str(file.attrs["digest"]), str(file.attrs["command"]))


def _digest(sources: list[Source]) -> str:
    lines = [f"{s.name}\t{s.split}\t{s.fps:.6f}\t{s.frames}\t{s.digest}" for s in sources]
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


def _storable(text: str) -> str:
    """File names may hold bytes that are no UTF-8, which HDF5 would refuse."""
    return text.encode("utf-8", "backslashreplace").decode()
