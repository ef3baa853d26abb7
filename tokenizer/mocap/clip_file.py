"""A clip as a file that commands change and write again: poses in parts, everything else carried along.

Clips in AMASS's layout may be longer than memory: they are read and written in parts, and keep every array that they
have. Any other motion is read whole, by ``read_clip``, and becomes AMASS's layout: z up, SMPL-H.
"""

from __future__ import annotations

import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from scipy.spatial.transform import Rotation

from ..engine.errors import fail
from ..engine.files.npz_streams import NpzReader, NpzWriter
from .clip import BEYOND, RATE_KEYS, Clip
from .joint_maps import JointMap
from .parameters import VIDEO_FPS
from .readers import read_clip, refuse_other_kinds

BATCH = 4096
"""Frames in memory at a time."""
BODY = slice(3, 66)
_WIDTHS = (156, 165)
_Y_TO_Z_UP = Rotation.from_euler("x", 90, degrees=True)


@dataclass
class ClipFile:
    """``frames`` poses of ``width`` numbers and ``dtype``; ``has_body``: they stand in ``pose_body``, too; ``notes``:
    what was assumed of the file or left out of it."""

    path: Path
    frames: int
    width: int
    dtype: np.dtype
    has_body: bool
    notes: tuple[str, ...]
    _reader: NpzReader | None = None
    _poses: np.ndarray = field(default_factory=lambda: np.zeros((0, 0)))
    _others: dict[str, np.ndarray] = field(default_factory=dict)

    def parts(self) -> Iterator[np.ndarray]:
        """Poses (n, width) of up to ``BATCH`` frames. Raise ``UserError`` for numbers that are not finite."""
        if self._reader is None:
            yield from (self._poses[start : start + BATCH] for start in range(0, self.frames, BATCH))
            return
        first = 0
        for part in self._reader.rows("poses", BATCH):
            good = (np.abs(part) < BEYOND).all(1)
            if not good.all():
                where = f"in its poses, first in frame {first + int((~good).argmax())}"
                raise fail(f"{self.path} holds numbers that are not finite", got=where)
            first += len(part)
            yield part

    def carry(self, writer: NpzWriter) -> None:
        """Write everything but the poses."""
        if self._reader is None:
            for name, values in self._others.items():
                writer.array(name, values)
            return
        for name, header in self._reader.headers.items():
            if name not in ("poses", "pose_body") and not header.dtype.hasobject:
                writer.copy(name, self._reader)


@contextmanager
def open_clip(path: str | Path, joint_map: JointMap | None = None) -> Iterator[ClipFile]:
    """Open any motion that ``read_clip`` knows. Raise its ``UserError``."""
    path = Path(path)
    refuse_other_kinds(path)
    if not _is_amass(path):
        yield _of_clip(path, read_clip(path, joint_map))
        return
    with NpzReader(path, "clip") as reader:
        poses = reader.headers["poses"]
        if not poses.shape[0]:
            raise fail(f"{path} holds no frames")
        left = [name for name, header in reader.headers.items() if header.dtype.hasobject]
        notes = (f"not carried along, being objects: {', '.join(left)}",) if left else ()
        has_body = "pose_body" in reader.headers
        yield ClipFile(path, poses.shape[0], poses.shape[1], poses.dtype, has_body, notes, reader)


def _is_amass(path: Path) -> bool:
    """Whether an npz holds numbers under ``poses`` in SMPL-H's or SMPL-X's layout."""
    if path.suffix.lower() != ".npz" or not zipfile.is_zipfile(path):
        return False
    with NpzReader(path, "clip") as reader:
        header = reader.headers.get("poses")
    return header is not None and header.dtype.kind == "f" and len(header.shape) == 2 and header.shape[1] in _WIDTHS


def _of_clip(path: Path, clip: Clip) -> ClipFile:
    """Another format's clip in AMASS's layout: its world turned z up where y is known to be."""
    frames, notes = len(clip.root), clip.notes
    root, place = clip.root, clip.translation
    if clip.up == "y":
        root = (_Y_TO_Z_UP * Rotation.from_rotvec(root)).as_rotvec()
        place = _Y_TO_Z_UP.apply(place)
    elif clip.up == "unknown":
        notes = (*notes, "which axis points up is not known: the world stays as it is")
    if not clip.fps:
        notes = (*notes, f"single poses, written as {VIDEO_FPS:g} a second")
    poses = np.zeros((frames, 156), np.float32)
    poses[:, :3], poses[:, BODY] = root, clip.pose_body.reshape(frames, 63)
    others = {
        "trans": place.astype(np.float32),
        "betas": clip.betas,
        "gender": np.array(clip.gender),
        RATE_KEYS[0]: np.array(clip.fps or VIDEO_FPS),
    }
    return ClipFile(path, frames, 156, poses.dtype, False, notes, None, poses, others)
