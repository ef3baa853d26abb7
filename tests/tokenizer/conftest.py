"""Poses that several tests of training share."""

from __future__ import annotations

import numpy as np
import pytest

from tokenizer.mocap.store import PoseStoreWriter, open_store


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    """A pose store of 300 random poses to train on and 50 to validate on."""
    path = tmp_path_factory.mktemp("poses") / "poses.h5"
    draw = np.random.default_rng(0)
    with PoseStoreWriter(path, "test") as writer:
        for split, count in (("train", 300), ("val", 50)):
            writer.add(split, split, 0.3 * draw.normal(size=(count, 21, 3)), np.zeros(10), fps=30, licence="none")
    return open_store(path)
