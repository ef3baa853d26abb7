"""A vocabulary as a prior, measured on tokenizers whose answers are known."""

from __future__ import annotations

import pytest
import torch

from tokenizer.body.rotations import axis_angle_to_matrix
from tokenizer.evaluation.repair import completion_errors, denoising_errors, frame_stability

RIGHT = axis_angle_to_matrix(torch.tensor([torch.pi / 2, 0.0, 0.0]))


class Turns:
    """Remembers a pose; hidden joints come back turned by 90°."""

    def encode(self, rotations, visible=None):
        visible = torch.ones(rotations.shape[:2], dtype=torch.bool) if visible is None else visible
        self.last = torch.where(visible[..., None, None], rotations, rotations @ RIGHT)
        self.hidden = (~visible).sum(1)
        return torch.arange(len(rotations))[:, None]

    def decode(self, ids):
        return self.last[ids[:, 0]]


class Rests:
    """Knows one pose."""

    def __init__(self, pose):
        self.pose = pose

    def encode(self, rotations, visible=None):
        return torch.zeros(len(rotations), 1, dtype=torch.int64)

    def decode(self, ids):
        return self.pose.expand(len(ids), 21, 3, 3)


@pytest.mark.parametrize(("share", "count"), [(0.2, 4), (0.4, 8), (0.6, 13)])
def test_only_hidden_joints_count(share, count):
    tokenizer = Turns()
    assert completion_errors(tokenizer, 0.3 * torch.randn(50, 21, 3), share) == pytest.approx(90, abs=0.1)
    assert (tokenizer.hidden == count).all()


def test_noise_before_and_after(open_body):
    poses = 0.3 * torch.randn(40, 21, 3)
    before, after = denoising_errors(Turns(), poses, 10.0, open_body)
    assert before == pytest.approx(after, rel=1e-5) and 40 < before < 120
    zero, kept = denoising_errors(Rests(torch.eye(3)), torch.zeros(30, 21, 3), 10.0, open_body)
    assert zero > 40 and kept == pytest.approx(0, abs=1e-3)


def test_neighbours_in_time():
    class Signs:
        def encode(self, rotations, visible=None):
            return (rotations[:, :2, 1, 2] > 0).long()

    swings = torch.zeros(4, 21, 3)
    swings[:, 0, 0] = torch.tensor([1.0, -1, 1, -1])  # one token always changes, the other never
    assert frame_stability(Signs(), [swings]) == 0.5
    assert frame_stability(Signs(), [swings, torch.zeros(4, 21, 3)]) == 0.75
