"""Walks mocap files into one pose store: in parallel, frame-rate aware, with every refusal counted and named."""

from __future__ import annotations

import hashlib
import multiprocessing
import os
import signal
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from itertools import islice
from pathlib import Path

import numpy as np

from ..engine.errors import UserError, fail
from .amass import holds_no_motion, read_amass
from .bvh import read_bvh
from .store import PoseStoreWriter

_SPLITS = ("train", "val", "test")
_LICENCES = {"cmu": "CMU Graphics Lab Motion Capture Database (mocap.cs.cmu.edu), NSF EIA-0196217"}


@dataclass(frozen=True)
class PrepareOptions:
    """``fps``: frames a second to keep (never more than a file has); ``trim``: middle share of each clip to keep;
    ``val_fraction``: share of clips that become val where folders do not say; ``joint_map`` for BVH."""

    fps: float = 30.0
    trim: float = 1.0
    val_fraction: float = 0.1
    joint_map: dict[str, tuple[str, ...]] | None = None
    licence: str = "as the source's"


@dataclass
class PrepareReport:
    """What happened: clips and frames per split, and (file, reason) of everything left out."""

    clips: dict[str, int] = field(default_factory=dict)
    frames: dict[str, int] = field(default_factory=dict)
    broken: list[tuple[Path, str]] = field(default_factory=list)
    skipped: list[tuple[Path, str]] = field(default_factory=list)


@dataclass(frozen=True)
class _Item:
    path: Path
    name: str
    split: str


@dataclass(frozen=True)
class _Result:
    item: _Item
    poses: np.ndarray | None = None
    betas: np.ndarray | None = None
    fps: float = 0.0
    problem: str = ""


def find_files(sources: list[Path], val_fraction: float) -> list[tuple[Path, str, str]]:
    """(file, name, split) of every .npz and .bvh under ``sources``, sorted by name.

    A folder named train, val or test on the way decides the split; else a hash of the name does, so that a clip stays
    in its split when others come. Raises ``UserError`` for a source that is not there.
    """
    found = []
    for source in sources:
        if source.is_file():
            files = [source]
        elif source.is_dir():
            files = sorted(path for path in source.rglob("*") if path.suffix.lower() in (".npz", ".bvh"))
        else:
            raise fail(f"No file or folder at {source}", expected="mocap files (.npz, .bvh) or folders of them")
        base = source.parent.resolve()
        for path in files:
            name = path.resolve().relative_to(base).as_posix()
            chosen = [part for part in Path(name).parts[:-1] if part in _SPLITS]
            draw = int.from_bytes(hashlib.sha256(path.name.encode()).digest()[:8], "big") / 2**64
            found.append((path, name, chosen[-1] if chosen else ("val" if draw < val_fraction else "train")))
    return sorted(found, key=lambda entry: entry[1])


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
    those of an earlier one is skipped. ``progress(done, total)`` counts files. Raises ``UserError`` if no poses remain.
    """
    items = [_Item(*entry) for entry in find_files(sources, options.val_fraction)]
    if not items:
        raise fail("No poses found", got=f"no .npz or .bvh file under {', '.join(map(str, sources))}",
                   expected="AMASS-layout npz or BVH files")  # fmt: skip
    report, seen = PrepareReport(), set()
    workers = min(workers or os.cpu_count() or 1, len(items))
    with PoseStoreWriter(out, command) as writer:
        for done, result in enumerate(_results(items, options, workers), 1):
            if progress is not None:
                progress(done, len(items))
            if result.poses is None or result.betas is None:
                if strict and result.problem.startswith("!"):
                    raise UserError(result.problem[1:] + " (--strict stops at the first broken file)")
                target = report.broken if result.problem.startswith("!") else report.skipped
                target.append((result.item.path, result.problem.removeprefix("!")))
                continue
            digest = hashlib.sha256(result.poses.tobytes()).digest()
            if digest in seen:
                report.skipped.append((result.item.path, "the same poses as an earlier file"))
                continue
            seen.add(digest)
            split = result.item.split
            known = (text for key, text in _LICENCES.items() if key in result.item.name.lower())
            licence = next(known, options.licence)
            writer.add(result.item.name, split, result.poses, result.betas, fps=result.fps, licence=licence)
            report.clips[split] = report.clips.get(split, 0) + 1
            report.frames[split] = report.frames.get(split, 0) + len(result.poses)
        if not report.frames:
            reasons = "; ".join(reason for _, reason in report.broken[:3]) or "only files without motion"
            raise fail("No poses found", got=f"{len(items)} files, none usable: {reasons}")
    return report


def _results(items: list[_Item], options: PrepareOptions, workers: int) -> Iterator[_Result]:
    """Clips in order; at most a few per worker are in memory at once."""
    read = partial(_read, options=options)
    if workers == 1:
        yield from map(read, items)
        return
    with multiprocessing.get_context("spawn").Pool(workers, _ignore_interrupts) as pool:
        remaining, pending = iter(items), []
        for item in islice(remaining, 4 * workers):
            pending.append(pool.apply_async(read, (item,)))
        while pending:
            yield pending.pop(0).get()
            for item in islice(remaining, 1):
                pending.append(pool.apply_async(read, (item,)))


def _ignore_interrupts() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def _read(item: _Item, options: PrepareOptions) -> _Result:
    """One file, resampled; ``problem`` starts with ``!`` where the file is broken rather than of another kind."""
    if holds_no_motion(item.path):
        return _Result(item, problem="holds a body shape, no motion")
    try:
        is_bvh = item.path.suffix.lower() == ".bvh"
        clip = read_bvh(item.path, options.joint_map) if is_bvh else read_amass(item.path)
    except UserError as error:
        return _Result(item, problem=f"!{error}")
    kept = frames_to_keep(len(clip.pose_body), clip.fps, options.fps, options.trim)
    return _Result(item, clip.pose_body[kept], clip.betas[:10], min(clip.fps, options.fps))


def frames_to_keep(count: int, fps: float, target_fps: float, trim: float) -> np.ndarray:
    """Indices of the frames nearest to a clock of ``target_fps`` within the middle ``trim`` share of a clip."""
    margin = (count - max(1, round(count * trim))) // 2
    step = max(1.0, fps / target_fps)
    return np.arange(margin, count - margin, step).round().astype(np.int64).clip(max=count - 1)
