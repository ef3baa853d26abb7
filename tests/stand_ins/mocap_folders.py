"""Mocap files of drawn motion, and the command that prepares them."""

from __future__ import annotations

from pathlib import Path

import numpy as np


def save_clip(path: Path, frames: int = 8, seed: int = 0, fps: float = 30.0, **changes: object) -> Path:
    """A slow random walk in AMASS's SMPL-H layout."""
    draw = np.random.default_rng(seed)
    poses = np.cumsum(draw.normal(size=(frames, 156)) * 0.02, 0)
    path.parent.mkdir(parents=True, exist_ok=True)
    content = {"poses": poses, "trans": np.zeros((frames, 3)), "betas": np.full(16, 0.1), "mocap_framerate": fps}
    np.savez(path, **{**content, **changes})
    return path
