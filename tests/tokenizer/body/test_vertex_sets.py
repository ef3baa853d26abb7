"""Sets of vertices: what moves them, and a few that represent the whole."""

from __future__ import annotations

import numpy as np

from tokenizer.body.skeleton import index
from tokenizer.body.vertex_sets import moving_joints, well_spread_vertices


def test_fingers_count_as_hands():
    parents = (*[-1] * 22, index("left_wrist"), 22)
    weights = np.eye(24)[[0, 22, 23]]
    assert moving_joints(weights, parents).tolist() == [0, index("left_hand"), index("left_hand")]


def test_well_spread_vertices_come_with_their_mirror_images():
    half = np.random.default_rng(0).uniform(0.1, 1, (40, 3))
    template = np.concatenate([half, half * [-1, 1, 1]])
    chosen = well_spread_vertices(template, 10)
    assert len(set(chosen.tolist())) == 10 and {(v + 40) % 80 for v in chosen.tolist()} == set(chosen.tolist())
    assert np.array_equal(chosen, well_spread_vertices(template, 10))
