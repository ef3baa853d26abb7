"""Joints that stand still in the data: what is never seen to move, a vocabulary cannot hold."""

from __future__ import annotations

from collections import Counter, defaultdict

import numpy as np

from ..body.skeleton import BODY_JOINT_NAMES
from .datasets import dataset_of
from .store import PoseStore

_STILL_DEG = 0.5
_OFTEN = 0.5
_ALWAYS = 0.999
_MOST_SHOWN = 5


def still_shares(store: PoseStore, split: str | None) -> dict[str, dict[str, float]]:
    """Return for each data set in a split (None: in all) and each body joint the share of its poses that lie in clips
    in which the joint stays within half a degree of where it is first."""
    poses, owner = store.poses(split), store.source_index(split)
    starts = np.flatnonzero(np.diff(owner, prepend=-1))
    still: dict[str, np.ndarray] = defaultdict(lambda: np.zeros(len(BODY_JOINT_NAMES)))
    count: Counter[str] = Counter()
    for first, last in zip(starts, [*starts[1:], len(poses)], strict=True):
        dataset, clip = dataset_of(store.sources[owner[first]].name), poses[first:last]
        # The distance of two rotation vectors is never below the angle between their rotations.
        moved = np.linalg.norm(clip - clip[:1], axis=-1).max(0)
        still[dataset] += len(clip) * (moved < np.radians(_STILL_DEG))
        count[dataset] += len(clip)
    return {name: dict(zip(BODY_JOINT_NAMES, still[name] / count[name], strict=True)) for name in sorted(count)}


def still_notes(store: PoseStore, split: str | None) -> list[str]:
    """Return a sentence for each data set in a split that names the joints that never move, and those that stay still
    in most of its poses; none for data sets without such."""
    notes = []
    for dataset, shares in still_shares(store, split).items():
        never = [name for name, share in shares.items() if share > _ALWAYS]
        seldom = [f"{name} ({share:.0%})" for name, share in shares.items() if _OFTEN <= share <= _ALWAYS]
        parts = [f"never move: {', '.join(never)}"] if never else []
        parts += [f"stay still in most {split or 'of the'} poses: {', '.join(seldom)}"] if seldom else []
        if parts:
            notes.append(f"{dataset}: joints that {'; that '.join(parts)}")
    more = len(notes) - _MOST_SHOWN
    return notes[:_MOST_SHOWN] + ([f"joints stay still in {more} more data sets"] if more > 0 else [])
