"""Figures beyond the motion of the data, of tokenizers whose answers are known."""

from __future__ import annotations

import pytest
import torch

from tokenizer.evaluation.repair import robustness


class Remembers:
    """Gives back every pose as it was, hidden joints included."""

    num_codes = 4

    def encode(self, rotations, visible=None):
        self.last = rotations
        return torch.zeros(len(rotations), 1, dtype=torch.int64)

    def decode(self, ids):
        return self.last


def test_who_remembers_all_has_no_error_and_the_neighbour_knows_what_it_is_given(open_body):
    generator = torch.Generator().manual_seed(0)
    poses = 0.3 * torch.randn(30, 21, 3, generator=generator)
    figures = robustness(Remembers(), poses, torch.cat([torch.zeros(5, 21, 3), poses]), open_body)
    assert figures == pytest.approx(dict.fromkeys(figures, 0.0), abs=0.05) and len(figures) == 6
    beside = robustness(Remembers(), poses, torch.zeros(5, 21, 3), open_body)
    angles = torch.linalg.norm(poses, dim=-1).rad2deg()
    # The only neighbour is the pose of rest: it is off by how far each joint turns.
    assert beside["hidden_limb_neighbour_deg"] == pytest.approx(float(angles.mean()), rel=0.1)
    assert beside["hidden_joints_neighbour_deg"] == pytest.approx(float(angles.mean()), rel=0.1)
