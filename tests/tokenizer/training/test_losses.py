"""Losses of stage 1 against values worked out by hand."""

from __future__ import annotations

import math

import pytest
import torch

from tokenizer.body.rotations import axis_angle_to_matrix
from tokenizer.training.losses import consistency_loss, rotation_loss, vertex_area_weights


@pytest.mark.parametrize(("kind", "expected"), [("mse", 4 / 9), ("geodesic", math.pi / 2)])
def test_a_quarter_rotation_costs_its_angle_or_its_changed_entries(kind, expected):
    target = torch.eye(3).expand(2, 21, 3, 3)
    quarter = axis_angle_to_matrix(torch.tensor([math.pi / 2, 0.0, 0.0])).expand(2, 21, 3, 3)
    assert rotation_loss(quarter, target, kind).item() == pytest.approx(expected, abs=1e-5)


def test_vertices_of_large_faces_weigh_more():
    vertices = torch.tensor([[0.0, 0, 0], [1, 0, 0], [0, 1, 0], [3, 0, 0], [0, 3, 0]])
    weights = vertex_area_weights(vertices, torch.tensor([[0, 1, 2], [0, 3, 4]]))
    torch.testing.assert_close(weights, torch.tensor([1.0, 0, 0, 1, 1]))


def test_consistency_compares_bounded_latents():
    latents = torch.zeros(2, 3, 4)
    assert consistency_loss(latents, latents).item() == 0
    assert consistency_loss(latents, latents + 100).item() == pytest.approx(1)
