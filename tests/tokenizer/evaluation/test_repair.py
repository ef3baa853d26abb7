"""A vocabulary as a prior, measured on tokenizers whose answers are known."""

from __future__ import annotations

import pytest
import torch

from tokenizer.body.rotations import axis_angle_to_matrix
from tokenizer.body.skeleton import body_index
from tokenizer.evaluation.repair import (
    NearestNeighbour,
    completion_errors,
    denoising_errors,
    frame_stability,
    limb_completion_errors,
    turned_errors,
)

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


def test_only_the_hidden_limb_counts():
    class Bends(Turns):
        """Turns what is hidden of a left leg, and nothing else."""

        def decode(self, ids):
            return self.last[ids[:, 0]] if self.hidden_leg else self.pose

        def encode(self, rotations, visible=None):
            self.pose, self.hidden_leg = rotations, not visible[:, body_index("left_knee")].any()
            assert (visible.sum(1) == 17).all()
            return super().encode(rotations, visible)

    errors = limb_completion_errors(Bends(), 0.3 * torch.randn(30, 21, 3))
    assert errors == pytest.approx({"left_arm": 0, "left_leg": 90, "right_arm": 0, "right_leg": 0}, abs=0.1)


def test_the_nearest_neighbour_is_nearest_in_what_is_visible():
    known = torch.zeros(3, 21, 3)
    known[1, body_index("left_knee"), 0] = 1.0
    known[2, body_index("left_knee"), 0] = 1.2
    known[2, body_index("head"), 0] = -0.5
    neighbour = NearestNeighbour(known)
    pose = axis_angle_to_matrix(known[2:])
    visible = torch.ones(1, 21, dtype=torch.bool)
    assert neighbour.encode(pose).tolist() == [[2]]
    visible[0, body_index("left_knee")] = False
    assert neighbour.encode(pose, visible).tolist() == [[2]], "by the head"
    turned = pose.clone()
    turned[0, body_index("head")] = torch.eye(3)
    assert neighbour.encode(turned).tolist() == [[1]] and torch.equal(neighbour.decode(torch.tensor([[2]])), pose)
    assert len(NearestNeighbour(torch.zeros(50, 21, 3), at_most=20).known) == 20


def test_turned_poses_are_what_has_to_come_back(open_body):
    poses = 0.3 * torch.randn(40, 21, 3)
    assert turned_errors(Turns(), poses, {"collar": 20.0}, open_body) == pytest.approx(0, abs=1e-3)
    # A tokenizer that knows rest alone is off by what collars, and they alone, turn: more for larger turns.
    small, large = (
        turned_errors(Rests(torch.eye(3)), torch.zeros(200, 21, 3), {"collar": deg}, open_body) for deg in (5.0, 20.0)
    )
    assert large == pytest.approx(4 * small, rel=0.1) and 20 < large < 200
    assert turned_errors(Rests(torch.eye(3)), torch.zeros(9, 21, 3), {}, open_body) == pytest.approx(0, abs=1e-3)
