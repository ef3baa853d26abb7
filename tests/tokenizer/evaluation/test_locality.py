"""Stability and locality against a vocabulary whose meaning is known: token i says how joint i is bent."""

from __future__ import annotations

import math

import pytest
import torch

from tokenizer.body.rotations import axis_angle_to_matrix, matrix_to_axis_angle
from tokenizer.evaluation.locality import effective_number, joints_to_tokens, tokens_to_joints

STEP = math.radians(20)


class OneJointATokenEach:
    """The first 4 joints' angle about x in steps of 20°; all else is lost."""

    num_codes = 9

    def encode(self, rotations):
        return ((matrix_to_axis_angle(rotations)[:, :4, 0] / STEP).round().long() + 4).clamp(0, 8)

    def decode(self, ids):
        pose = torch.zeros(len(ids), 21, 3)
        pose[:, :4, 0] = (ids - 4) * STEP
        return axis_angle_to_matrix(pose)


def two_kinds_of_poses(count=40):
    """Joint 0 at ±20°, joint 1 at 0° or 60°, joint 2 always at 40°, joint 3 at 0°."""
    pose = torch.zeros(count, 21, 3)
    pose[:, 0, 0] = STEP * torch.tensor([1.0, -1.0]).repeat(count // 2)
    pose[count // 2 :, 1, 0] = 3 * STEP
    pose[:, 2, 0] = 2 * STEP
    return axis_angle_to_matrix(pose)


@pytest.mark.parametrize("batch", [2048, 7])
def test_a_token_turns_its_own_joint_by_the_difference(batch):
    turns = tokens_to_joints(OneJointATokenEach(), two_kinds_of_poses(), batch=batch)
    expected = torch.zeros(4, 21)
    expected[0, 0], expected[1, 1] = 40.0, 60.0  # tokens 2 and 3 never differ from one pose to another
    assert torch.allclose(turns, expected, atol=1e-3)


def test_a_joint_changes_its_own_token_alone():
    changes = joints_to_tokens(OneJointATokenEach(), two_kinds_of_poses(400), degrees=15.0)
    own = changes[:4].diagonal()
    assert (own > 0.1).all() and (own < 0.6).all()
    assert float(changes.sum()) == pytest.approx(float(own.sum()))
    small = joints_to_tokens(OneJointATokenEach(), two_kinds_of_poses(400), degrees=1.0)
    assert (small == 0).all(), "ids sit in the middle of their cells, 10° from the next"


def test_work_is_watched():
    seen = []

    def watch(numbers):
        for number in numbers:
            seen.append(number)
            yield number

    tokens_to_joints(OneJointATokenEach(), two_kinds_of_poses(4), watch=watch)
    joints_to_tokens(OneJointATokenEach(), two_kinds_of_poses(4), watch=watch)
    assert seen == [*range(4), *range(21)]


def test_effective_number_counts_equal_shares():
    effects = torch.tensor([[1.0, 0, 0, 0], [2.0, 2, 0, 0], [5.0, 5, 5, 5], [0.0, 0, 0, 0], [3.0, 1, 0, 0]])
    expected = torch.tensor([1.0, 2, 4, 0, math.exp(-0.75 * math.log(0.75) - 0.25 * math.log(0.25))])
    assert torch.allclose(effective_number(effects), expected, atol=1e-5)
