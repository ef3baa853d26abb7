"""Forward kinematics and skinning against positions worked out by hand."""

from __future__ import annotations

import math

import torch

from tokenizer.body.rotations import axis_angle_to_matrix
from tokenizer.body.skinning import KinematicTree, skin

REST = torch.tensor([[[0.0, 0, 0], [1, 0, 0], [2, 0, 0]]])


def bent_arm():
    """A chain of three joints along x; the middle one rotates by 90° about z."""
    angles = torch.zeros(1, 3, 3)
    angles[0, 1, 2] = math.pi / 2
    return KinematicTree((-1, 0, 1))(axis_angle_to_matrix(angles), REST)


def test_a_child_follows_the_rotation_of_its_parent():
    world, positions = bent_arm()
    torch.testing.assert_close(positions, torch.tensor([[[0.0, 0, 0], [1, 0, 0], [1, 1, 0]]]), atol=1e-6, rtol=0)
    torch.testing.assert_close(world[:, 2], world[:, 1])


def test_vertices_move_with_their_joint_whether_the_batch_shares_them_or_not():
    world, positions = bent_arm()
    vertices = torch.tensor([[[0.5, 0, 0], [1.5, 0, 0]]])
    weights = torch.tensor([[1.0, 0, 0], [0, 1, 0]])
    expected = torch.tensor([[[0.5, 0, 0], [1, 0.5, 0]]])
    torch.testing.assert_close(skin(vertices, weights, REST, world, positions), expected, atol=1e-6, rtol=0)
    two = (t.expand(2, *t.shape[1:]) for t in (vertices, world, positions))
    vertices, world, positions = two
    moved = skin(vertices, weights, REST, world, positions)
    torch.testing.assert_close(moved, expected.expand(2, -1, -1), atol=1e-6, rtol=0)
