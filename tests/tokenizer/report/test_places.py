"""How far a token reaches and how stable it is: summaries by layer, on numbers written by hand."""

from __future__ import annotations

import torch

from tokenizer.report.places import Places, spread, token_map

ROTATIONS = torch.zeros(4, 21)
ROTATIONS[0, 3], ROTATIONS[1, :], ROTATIONS[2, 0], ROTATIONS[3, 20] = 8.0, 2.0, 1.0, 3.0
CHANGES = torch.zeros(21, 4)
CHANGES[:, 2] = 0.5
STABLE = torch.tensor([[1.0, 0.8, 0.6, 0.4], [0.5, 0.5, 0.3, 0.1], [0.0, 0.2, 0.2, 0.0]])
PLACES = Places(2, ROTATIONS, CHANGES, STABLE)


def test_the_largest_rotation_is_taken_in_each_layer():
    assert PLACES.largest_rotations().tolist() == [8.0, 3.0]


def test_the_stable_share_of_a_layer_is_the_mean_of_its_tokens():
    assert torch.allclose(PLACES.stable_by_layer(), torch.tensor([[0.9, 0.5], [0.5, 0.2], [0.1, 0.1]]))


def test_spread_is_one_for_one_joint_and_all_for_equal_ones():
    joints, tokens = spread(PLACES)
    assert abs(joints - (1 + 21 + 1 + 1) / 4) < 1e-4
    assert abs(tokens - 1) < 1e-4


def test_a_map_of_tokens_has_a_row_a_layer_or_sixteen_to_a_row():
    layered = token_map(torch.arange(4.0), 2, unit="%")
    assert "(0–1)" in layered and "(2–3)" in layered
    flat = token_map(torch.arange(32.0), 1, unit="%")
    assert "from 0" in flat and "from 16" in flat and "from 8" not in flat
