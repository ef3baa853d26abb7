"""Clips as files."""

from __future__ import annotations

import numpy as np


def write_clip(path, width=156, frames=50, **changes):
    draw = np.random.default_rng(0)
    arrays = {
        "poses": draw.normal(size=(frames, width)) * 0.3,
        "trans": draw.normal(size=(frames, 3)),
        "betas": draw.normal(size=16),
        "gender": np.array(b"female"),
        "mocap_framerate": np.array(120.0),
    }
    np.savez(path, **(arrays | changes))
    return dict(np.load(path))
