"""What ``prepare`` takes from one file: checked, and thinned out to the rate asked for."""

from __future__ import annotations

import hashlib
import json
import math
from dataclasses import dataclass, field, replace
from typing import Literal

import numpy as np

from ..engine.errors import UserError, fail
from ..engine.shares import parse_shares
from .clip import jumping_frames
from .datasets import canonical_name, dataset_of
from .files import MocapFile
from .journal import Journal
from .readers import holds_no_motion, read_clip
from .store import NUM_JOINTS
from .takes import fingerprint

_FEW = 10
_VERSION = 2
"""Raised when the same file and options would give other poses: journals of older versions are not gone on with."""


@dataclass(frozen=True)
class PrepareOptions:
    """``fps``: frames a second to keep (never more than a file has); ``trim``: middle share of each clip to keep, but
    for the data sets that ``trim_of`` names by their canonical names; ``val_fraction``: share of clips that become val
    where folders do not name one; ``joint_map`` for BVH; ``licence`` to record; ``max_jumps``: share of frames that may
    leap before a clip counts as broken (1: all); ``split``: what decides where folders do not: the names of takes or
    the data set, as in the paper; ``test_share``: share of the takes, of those that would be train, reserved as test;
    ``drawn``: how many poses to add of each source of ``drawn.SOURCES``, with ``seed``."""

    fps: float = 30.0
    trim: float = 1.0
    val_fraction: float = 0.1
    joint_map: dict[str, tuple[str, ...]] | None = None
    licence: str = "as the source's"
    max_jumps: float = 0.01
    split: Literal["by-clip", "by-dataset"] = "by-clip"
    trim_of: dict[str, float] = field(default_factory=dict)
    test_share: float = 0.0
    drawn: dict[str, int] = field(default_factory=dict)
    seed: int = 0

    def trimmed_to(self, file: MocapFile) -> float:
        """The share of a file that is kept."""
        return self.trim_of.get(dataset_of(file.name), self.trim)


@dataclass(frozen=True)
class ThinnedClip:
    """A clip thinned out, or why not: ``poses`` (n,21,3) axis-angle, ``betas`` (k,) or (n,k), their rate, the frames
    that the file has and the digest of all their poses; what was assumed of it;
    and a fingerprint of the motion, see ``takes``."""

    poses: np.ndarray
    betas: np.ndarray
    fps: float = 0.0
    frames_read: int = 0
    digest: str = ""
    broken: str = ""
    skipped: str = ""
    notes: tuple[str, ...] = ()
    fingerprint: str = ""

    def keep(self, journal: Journal, key: str) -> None:
        """Put this into a journal."""
        names = ("fps", "frames_read", "digest", "broken", "skipped", "notes", "fingerprint")
        facts = {name: getattr(self, name) for name in names}
        facts |= {"poses": self.poses.shape, "betas": self.betas.shape}
        journal.add(key, facts, self.poses.astype("<f4").tobytes() + self.betas.astype("<f4").tobytes())

    @classmethod
    def from_journal(cls, journal: Journal, key: str) -> ThinnedClip:
        """What ``keep`` put there."""
        facts, payload = journal.read(key)
        shapes = {name: facts.pop(name) for name in ("poses", "betas")}
        values = np.frombuffer(payload, "<f4")
        where = int(np.prod(shapes["poses"]))
        facts.pop("key")
        facts["notes"] = tuple(facts["notes"])
        return cls(values[:where].reshape(shapes["poses"]), values[where:].reshape(shapes["betas"]), **facts)


def parse_trim(text: str) -> tuple[float, dict[str, float]]:
    """``0.6,moyo=0.8`` → the share of every clip, 1 where it is not said, and those of data sets by canonical name.

    Raise ``UserError`` for a text of another form and for shares that are not in (0, 1].
    """
    first, _, per_dataset = text.partition(",")
    if "=" in first:
        return 1.0, parse_shares(text, canonical_name, what="--trim", most=1)
    try:
        trim = float(first)
    except ValueError:
        trim = math.nan
    if not 0 < trim <= 1:
        raise fail(
            "--trim holds what is not a share of a clip",
            got=text,
            expected="shares above 0, at most 1, such as 0.6 or 0.6,moyo=0.8",
        )
    return trim, parse_shares(per_dataset, canonical_name, what="--trim", most=1)


def purpose(options: PrepareOptions, strict: bool) -> str:
    """Return what results in a journal depend on, in addition to the files, see ``key_and_size``."""
    parts = (options.fps, options.joint_map, options.max_jumps, strict)
    return hashlib.sha256(json.dumps([_VERSION, *parts], sort_keys=True).encode()).hexdigest()


def key_and_size(file: MocapFile, options: PrepareOptions) -> tuple[str, int]:
    """A name for what is taken of a file, without reading it, from its path, size and time of change and the share that
    is kept; and its bytes."""
    try:
        status = file.path.stat()
    except OSError:
        return f"absent {file.path}", 0
    return f"{status.st_size} {status.st_mtime_ns} {options.trimmed_to(file):g} {file.path}", status.st_size


def sample_file(file: MocapFile, options: PrepareOptions) -> ThinnedClip:
    """Read one file, check it, and keep the frames asked for; what is wrong with it is said in the result."""
    nothing = ThinnedClip(np.zeros((0, NUM_JOINTS, 3)), np.zeros(0))
    if holds_no_motion(file.path):
        return replace(nothing, skipped="holds a body shape, no motion")
    try:
        clip = read_clip(file.path, options.joint_map)
    except UserError as error:
        return replace(nothing, broken=str(error))
    count = len(clip.pose_body)
    jumps = int(jumping_frames(clip.pose_body, clip.fps).sum()) if clip.fps else 0
    if jumps >= _FEW and jumps > options.max_jumps * count:
        reason = fail(
            f"{file.path} jumps",
            got=f"{jumps} of {count} frames in which a joint turns faster than 1440°/s",
            expected=f"at most {options.max_jumps:.0%}",
        )
        return replace(nothing, broken=str(reason))
    digest = hashlib.sha256(clip.pose_body.tobytes()).hexdigest()
    # Single poses have no clock to thin them by, and no beginning or end to leave out.
    frames = frames_to_keep(count, clip.fps, options.fps, options.trimmed_to(file)) if clip.fps else np.arange(count)
    betas = clip.betas[frames] if clip.betas.ndim == 2 else clip.betas
    return ThinnedClip(
        clip.pose_body[frames],
        betas[..., :10],
        min(clip.fps, options.fps),
        count,
        digest,
        notes=clip.notes,
        fingerprint=fingerprint(clip.pose_body),
    )


def frames_to_keep(count: int, fps: float, target_fps: float, trim: float) -> np.ndarray:
    """Indices of the frames nearest to a clock of ``target_fps`` within the middle ``trim`` share of a clip.

    Frames are taken as they are, never blended or repeated: a pose between two is nobody's pose.
    """
    margin = (count - max(1, round(count * trim))) // 2
    step = max(1.0, fps / target_fps)
    frames = np.arange(margin, count - margin, step).round().astype(np.int64)
    return frames[frames < count]
