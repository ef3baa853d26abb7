"""Joints that stand still in the data are named, data set by data set."""

from __future__ import annotations

import numpy as np
import pytest

from tokenizer.body.skeleton import body_index
from tokenizer.mocap.still_joints import still_notes, still_shares
from tokenizer.mocap.store import PoseStoreWriter, open_store


@pytest.fixture
def store(tmp_path):
    draw = np.random.default_rng(0)
    with PoseStoreWriter(tmp_path / "p.h5", "test") as writer:
        for number, (name, split) in enumerate(
            (("cmu/a", "train"), ("cmu/b", "train"), ("kit/c", "train"), ("kit/d", "val"))
        ):
            poses = 0.3 * draw.standard_normal((30 - 10 * (number == 1), 21, 3))
            if name.startswith("cmu"):
                poses[:, [body_index("left_collar"), body_index("right_collar")]] = [0.1, 0, 0]
            if name == "cmu/a":
                poses[:, body_index("spine3")] = 1e-3 * draw.standard_normal((30, 3))
            writer.add(name, split, poses, np.zeros(10), fps=30, licence="none")
    return open_store(tmp_path / "p.h5")


def test_shares_by_data_set(store):
    shares = still_shares(store, "train")
    assert [*shares] == ["CMU", "KIT"] and set(shares["KIT"].values()) == {0.0}
    assert {name: share for name, share in shares["CMU"].items() if share} == {
        "spine3": pytest.approx(0.6),
        "left_collar": 1.0,
        "right_collar": 1.0,
    }


def test_notes(store):
    assert still_notes(store, "train") == [
        "CMU: joints that never move: left_collar, right_collar; that stay still in most train poses: spine3 (60%)"
    ]
    assert still_notes(store, "val") == []
    assert "in most of the poses" in still_notes(store, None)[0]
