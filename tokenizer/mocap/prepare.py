"""Walks mocap files into one pose store: in parallel, frame-rate aware, with every refusal counted and named."""

from __future__ import annotations

import hashlib
import os
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

import numpy as np

from ..engine.errors import UserError, fail
from ..engine.processes import available_cores, map_in_order
from .clip import jumping_frames
from .readers import SUFFIXES, holds_no_motion, read_clip
from .store import PoseStoreWriter

_SPLITS = ("train", "val", "test")
_CMU = "motion from the CMU Graphics Lab Motion Capture Database (mocap.cs.cmu.edu), funded by NSF EIA-0196217"
_FEW = 10


@dataclass(frozen=True)
class PrepareOptions:
    """``fps``: frames a second to keep (never more than a file has); ``trim``: middle share of each clip to keep;
    ``val_fraction``: share of clips that become val where folders do not say; ``joint_map`` for BVH; ``licence`` to
    record; ``max_jumps``: share of frames that may leap before a clip counts as broken (1: all)."""

    fps: float = 30.0
    trim: float = 1.0
    val_fraction: float = 0.1
    joint_map: dict[str, tuple[str, ...]] | None = None
    licence: str = "as the source's"
    max_jumps: float = 0.01


@dataclass
class PrepareReport:
    """What happened: clips and frames kept per split, frames read, and (file, reason) of everything left out."""

    clips: Counter[str] = field(default_factory=Counter)
    frames: Counter[str] = field(default_factory=Counter)
    frames_read: int = 0
    broken: list[tuple[Path, str]] = field(default_factory=list)
    skipped: list[tuple[Path, str]] = field(default_factory=list)


@dataclass(frozen=True)
class MocapFile:
    """A file to read; ``name`` is its path from the given source on; ``split`` is None where no folder decides."""

    path: Path
    name: str
    split: str | None


@dataclass(frozen=True)
class _Result:
    """A clip resampled, or why not. ``draw`` in [0, 1) comes from the clip's poses, as ``digest`` does."""

    file: MocapFile
    poses: np.ndarray | None = None
    betas: np.ndarray | None = None
    fps: float = 0.0
    frames_read: int = 0
    digest: bytes = b""
    broken: str = ""
    skipped: str = ""

    @property
    def draw(self) -> float:
        return int.from_bytes(self.digest[:6], "big") / 2**48


def find_files(sources: list[Path]) -> list[MocapFile]:
    """Every .npz, .pkl and .bvh under ``sources``, sorted by name; links are followed, hidden files are not looked at.

    A folder named train, val or test on the way, the innermost, decides the split; where none is named val, clips of
    train are left to be drawn, too. Raises ``UserError`` for a source that is not there.
    """
    found = []
    for source in sources:
        if not source.exists():
            raise fail(
                f"No file or folder at {source}", expected=f"mocap files ({', '.join(SUFFIXES)}) or folders of them"
            )
        base = Path(os.path.abspath(source))  # noqa: PTH100 — keeps links, drops "..": the name is what was given
        for path in [base] if base.is_file() else _walk(base):
            name = path.relative_to(base.parent)
            splits = [part for part in name.parts[:-1] if part in _SPLITS]
            found.append(MocapFile(path, name.as_posix(), splits[-1] if splits else None))
    if not any(file.split == "val" for file in found):
        found = [replace(file, split=None) if file.split == "train" else file for file in found]
    return sorted(found, key=lambda file: file.name)


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
            Path(folder, name)
            for name in names
            if Path(name).suffix.lower() in SUFFIXES and not name.startswith(".")
        )  # fmt: skip


def prepare(
    sources: list[Path],
    out: str | Path,
    options: PrepareOptions,
    *,
    command: str = "",
    workers: int | None = None,
    strict: bool = False,
    progress: Callable[[int, int], None] | None = None,
) -> PrepareReport:
    """Read every clip under ``sources`` and write the pose store ``out``; the same input gives the same digest.

    A broken file is left out and listed with its reason, or, with ``strict``, stops everything. A clip whose poses are
    those of an earlier one is skipped. Where no folder decides the split, the clip's own poses do, so that it stays
    where it is when others come or it is renamed. ``progress(done, total)`` counts files. Raises ``UserError`` if no
    poses remain.
    """
    files = find_files(sources)
    if not files:
        raise fail("No poses found", got=f"no {', '.join(SUFFIXES)} file under {', '.join(map(str, sources))}",
                   expected="AMASS-layout npz (archives unpacked), MOYO pickles or BVH files")  # fmt: skip
    report, seen = PrepareReport(), set()
    drawn: list[tuple[float, int, int]] = []
    workers = max(1, min(workers or available_cores(), len(files)))
    read = partial(_read, options=options)
    with PoseStoreWriter(out, command) as writer, closing(map_in_order(read, files, workers)) as results:
        for done, result in enumerate(results, 1):
            if progress is not None:
                progress(done, len(files))
            report.frames_read += result.frames_read
            if result.broken:
                if strict:
                    raise UserError(f"{result.broken} (--strict stops at the first broken file.)")
                report.broken.append((result.file.path, result.broken))
            elif result.skipped or result.digest in seen:
                report.skipped.append((result.file.path, result.skipped or "the same poses as an earlier file"))
            elif result.poses is not None and result.betas is not None:
                seen.add(result.digest)
                split = result.file.split or ("val" if result.draw < options.val_fraction else "train")
                if result.file.split is None:
                    drawn.append((result.draw, report.clips.total(), len(result.poses)))
                folders = {part.lower() for part in Path(result.file.name).parts}
                licence = f"{options.licence}; {_CMU}" if folders & {"cmu", "cmu_bvh"} else options.licence
                writer.add(result.file.name, split, result.poses, result.betas, fps=result.fps, licence=licence)
                report.clips[split] += 1
                report.frames[split] += len(result.poses)
        if not report.frames:
            reasons = "; ".join(reason for _, reason in report.broken[:3]) or "only files without motion"
            raise fail("No poses found", got=f"{len(files)} files, none usable: {reasons}")
        _leave_no_split_empty(writer, report, drawn, options.val_fraction)
    return report


def _leave_no_split_empty(
    writer: PoseStoreWriter, report: PrepareReport, drawn: list[tuple[float, int, int]], val_fraction: float
) -> None:
    """A handful of clips may all have been drawn into one split; then the clip nearest to the other goes there."""
    if not val_fraction or len(drawn) < 2:
        return
    for empty, other, (_, number, frames) in (("val", "train", min(drawn)), ("train", "val", max(drawn))):
        if not report.clips[empty]:
            writer.move(number, empty)
            for counts, amount in ((report.clips, 1), (report.frames, frames)):
                counts[empty] += amount
                counts[other] -= amount


def _read(file: MocapFile, options: PrepareOptions) -> _Result:
    """One file, checked and resampled."""
    if holds_no_motion(file.path):
        return _Result(file, skipped="holds a body shape, no motion")
    try:
        clip = read_clip(file.path, options.joint_map)
    except UserError as error:
        return _Result(file, broken=str(error))
    count = len(clip.pose_body)
    jumps = int(jumping_frames(clip.pose_body, clip.fps).sum()) if clip.fps else 0
    if jumps >= _FEW and jumps > options.max_jumps * count:
        reason = fail(f"{file.path} jumps", got=f"{jumps} of {count} frames in which a joint turns faster than 1440°/s",
                      expected=f"at most {options.max_jumps:.0%}")  # fmt: skip
        return _Result(file, broken=str(reason))
    digest = hashlib.sha256(clip.pose_body.tobytes()).digest()
    # Single poses have no clock to thin them by, and no beginning or end to leave out.
    kept = frames_to_keep(count, clip.fps, options.fps, options.trim) if clip.fps else np.arange(count)
    betas = clip.betas[kept] if clip.betas.ndim == 2 else clip.betas
    return _Result(file, clip.pose_body[kept], betas[..., :10], min(clip.fps, options.fps), count, digest)


def frames_to_keep(count: int, fps: float, target_fps: float, trim: float) -> np.ndarray:
    """Indices of the frames nearest to a clock of ``target_fps`` within the middle ``trim`` share of a clip.

    Frames are taken as they are, never blended or repeated: a pose between two is nobody's pose.
    """
    margin = (count - max(1, round(count * trim))) // 2
    step = max(1.0, fps / target_fps)
    return np.arange(margin, count - margin, step).round().astype(np.int64).clip(max=count - 1)
