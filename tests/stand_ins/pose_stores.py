"""Pose stores of drawn clips."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from tokenizer.mocap.store import PoseStoreWriter


def poses_of(frames: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(frames, 21, 3)).astype(np.float32)


def write(path: Path, clips: list[tuple[str, str, int]], command: str = "test") -> Path:
    with PoseStoreWriter(path, command) as writer:
        for seed, (name, split, frames) in enumerate(clips):
            writer.add(name, split, poses_of(frames, seed), np.full(16, 0.1 * seed), fps=30, licence="none")
    return path
