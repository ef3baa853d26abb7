"""A folder of mocap files."""

from __future__ import annotations

import pytest
from mocap_folders import save_clip


@pytest.fixture
def folder(tmp_path):
    for seed in range(6):
        save_clip(tmp_path / "mocap" / f"subject{seed % 2}" / f"clip{seed}_poses.npz", seed=seed, frames=6 + seed)
    return tmp_path / "mocap"
