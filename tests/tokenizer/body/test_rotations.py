"""Rotations against hand-written values and scipy, and their properties."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation

from tokenizer.body import rotations as r
from tokenizer.body.skeleton import BODY_JOINT_NAMES, body_index, mirror_permutation


def random_axis_angle(count=200, largest=3.0, seed=0):
    generator = torch.Generator().manual_seed(seed)
    direction = torch.nn.functional.normalize(torch.randn(count, 3, generator=generator), dim=-1)
    return direction * torch.rand(count, 1, generator=generator) * largest


def test_quarter_turn_about_z_golden():
    matrix = r.axis_angle_to_matrix(torch.tensor([0.0, 0.0, math.pi / 2]))
    assert torch.allclose(matrix, torch.tensor([[0.0, -1, 0], [1, 0, 0], [0, 0, 1]]), atol=1e-6)
    assert torch.allclose(r.matrix_to_rot6d(matrix), torch.tensor([0.0, -1, 0, 1, 0, 0]), atol=1e-6)


def test_agrees_with_scipy_beyond_pi():
    vectors = random_axis_angle(largest=9.0)
    expected = Rotation.from_rotvec(vectors.numpy()).as_matrix()
    assert np.abs(r.axis_angle_to_matrix(vectors).numpy() - expected).max() < 2e-6


def test_round_trips():
    vectors = random_axis_angle()
    matrix = r.axis_angle_to_matrix(vectors)
    assert torch.allclose(r.matrix_to_axis_angle(matrix), vectors, atol=2e-5)
    assert torch.allclose(r.rot6d_to_matrix(r.matrix_to_rot6d(matrix)), matrix, atol=1e-6)
    quaternion = r.matrix_to_quaternion(matrix)
    assert torch.allclose(quaternion.norm(dim=-1), torch.ones(len(vectors)), atol=1e-6)


@pytest.mark.parametrize("axis", range(3))
def test_half_turns_survive(axis):
    vector = torch.zeros(3)
    vector[axis] = math.pi
    matrix = r.axis_angle_to_matrix(vector)
    assert torch.allclose(r.axis_angle_to_matrix(r.matrix_to_axis_angle(matrix)), matrix, atol=1e-5)


def test_gradients_exist_at_zero():
    vector = torch.zeros(3, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(r.axis_angle_to_matrix, (vector + 0.0,))
    r.axis_angle_to_matrix(vector).sum().backward()
    assert torch.isfinite(vector.grad).all()


def test_any_six_numbers_become_a_rotation():
    matrix = r.rot6d_to_matrix(torch.randn(4, 5, 6))
    assert matrix.shape == (4, 5, 3, 3)
    assert torch.allclose(matrix @ matrix.transpose(-1, -2), torch.eye(3).expand(4, 5, 3, 3), atol=1e-5)
    assert torch.allclose(torch.linalg.det(matrix), torch.ones(4, 5), atol=1e-5)


@pytest.mark.parametrize("angle", [0.0, 1e-4, 0.5, 3.0, math.pi])
def test_geodesic_distance_is_the_angle(angle):
    axis = torch.nn.functional.normalize(torch.tensor([1.0, 2.0, -1.0], dtype=torch.float64), dim=0)
    turned = r.axis_angle_to_matrix(axis * angle)
    assert float(r.geodesic_distance(torch.eye(3, dtype=torch.float64), turned)) == pytest.approx(angle, abs=1e-7)


def test_mirroring_twice_is_nothing_and_once_swaps_sides():
    pose = torch.eye(3).repeat(21, 1, 1)
    pose[body_index("left_elbow")] = r.axis_angle_to_matrix(torch.tensor([0.1, 0.2, 0.3]))
    permutation = mirror_permutation(BODY_JOINT_NAMES)
    mirrored = r.mirror_rotations(pose, permutation)
    expected = r.axis_angle_to_matrix(torch.tensor([0.1, -0.2, -0.3]))
    assert torch.allclose(mirrored[body_index("right_elbow")], expected, atol=1e-6)
    assert torch.allclose(mirrored[body_index("left_elbow")], torch.eye(3))
    assert torch.allclose(r.mirror_rotations(mirrored, permutation), pose, atol=1e-6)
