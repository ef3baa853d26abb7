"""Poses that no file holds, drawn by a seed: from the embedded source, and composed ones; alone or with mocap."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np

from ..engine.errors import fail
from .composed import compose
from .prior import ACKNOWLEDGEMENT, sample
from .store import PoseStore, PoseStoreWriter

SOURCES: dict[str, tuple[Callable[[int, int], np.ndarray], str]] = {
    "embedded": (sample, ACKNOWLEDGEMENT),
    "composed": (compose, "CC0: angles drawn at random"),
}
"""Name, which is that of the data set in a store → how (count, seed) become poses (count,21,3), and their terms."""


def add_drawn(writer: PoseStoreWriter, counts: Mapping[str, int], seed: int, split: str = "train") -> dict[str, int]:
    """Add ``counts`` poses of each source to a split, one source of the store each; return those of which there are."""
    added = {name: counts[name] for name in SOURCES if counts.get(name)}
    for name, count in added.items():
        draw, licence = SOURCES[name]
        # Each split has its own seeds.
        own_seed = 2 * seed + (split != "train")
        writer.add(f"{name}/seed {own_seed}", split, draw(count, own_seed), np.zeros(10), fps=30.0, licence=licence)
    return added


def write_samples(out: str | Path, count: int, seed: int, composed: int = 0) -> None:
    """Write a pose store with ``count`` embedded and ``composed`` poses to train on; and a tenth as many of the
    embedded ones, of another seed, to validate. Raise ``UserError`` for fewer than 10, and for less than none."""
    if count < 10 or composed < 0:
        raise fail("Too few poses", got=f"{count} embedded, {composed} composed", expected="at least 10 embedded")
    with PoseStoreWriter(out, f"pose-tokenizer sample --count {count} --composed {composed} --seed {seed}") as writer:
        add_drawn(writer, {"embedded": count, "composed": composed}, seed)
        add_drawn(writer, {"embedded": count // 10}, seed, "val")


def mocap_poses(store: PoseStore, split: str) -> np.ndarray:
    """Return the poses (N,21,3) of a split that come from files; all of it where none does."""
    poses, owner = store.poses(split), store.source_index(split)
    from_files = np.array([not source.drawn for source in store.sources])
    return poses[from_files[owner]] if from_files[owner].any() else poses
